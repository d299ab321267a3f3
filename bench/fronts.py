"""`python -m bench fronts`: CPU of the same conversation by each API, answered by a backend of chat completions.

The Messages API is translated, chat completions pass through, and Responses are translated. All use one Byway in turn. The
ratio is that of one round, whose parts take less than a second, and the median of the rounds counts: so the speed of the
machine, which changes from second to second, nearly cancels out. Byway is started several times: where a process happens to lie
in memory makes one API up to 4 % faster or slower than another.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import meter, peers
from bench.bodies import MODEL, body

#: Each API may cost this much of the Messages API.
LIMITS: Final = {"chat": 1.0, "responses": 1.2}
#: Differences that are noise.
_NOISE: Final = 0.03
STARTS: Final = 5
TOKENS: Final = 20
STREAMED_TOKENS: Final = 200
#: Rows: bytes of the Messages request, tokens of the answer, streamed, and requests of a round.
ROWS: Final = {
    "1 KB": (1024, TOKENS, False, 600),
    "60 KB": (60_000, TOKENS, False, 200),
    "1 KB, 200 chunks at once": (1024, STREAMED_TOKENS, True, 120),
    "60 KB, 200 chunks at once": (60_000, STREAMED_TOKENS, True, 80),
}


def _texts(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """The same conversation as a chat completion."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": _texts(request["system"])}]
    for message in request["messages"]:
        blocks = _blocks(message["content"])
        results = [block for block in blocks if block["type"] == "tool_result"]
        calls = [block for block in blocks if block["type"] == "tool_use"]
        for block in results:
            messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]})
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        if text or calls:
            made: dict[str, Any] = {"role": message["role"], "content": text}
            if calls:
                made["tool_calls"] = [
                    {
                        "id": call["id"],
                        "type": "function",
                        "function": {"name": call["name"], "arguments": json.dumps(call["input"])},
                    }
                    for call in calls
                ]
            messages.append(made)
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool.get("description", ""),
                "parameters": tool["input_schema"],
            },
        }
        for tool in request["tools"]
    ]
    return {"model": request["model"], "messages": messages, "tools": tools, "stream": request.get("stream", False)}


def _as_responses(request: dict[str, Any]) -> dict[str, Any]:
    """The same conversation as a Responses request, in the form of Codex."""
    items: list[dict[str, Any]] = [_item("developer", _texts(request["system"]))]
    for message in request["messages"]:
        for block in _blocks(message["content"]):
            match block["type"]:
                case "tool_result":
                    output = {"type": "function_call_output", "call_id": block["tool_use_id"]}
                    items.append({**output, "output": block["content"]})
                case "tool_use":
                    call = {"type": "function_call", "call_id": block["id"], "name": block["name"]}
                    items.append({**call, "arguments": json.dumps(block["input"])})
                case _:
                    items.append(_item(message["role"], block["text"]))
    tools = [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool.get("description", ""),
            "strict": False,
            "parameters": tool["input_schema"],
        }
        for tool in request["tools"]
    ]
    options = {"store": False, "include": ["reasoning.encrypted_content"], "stream": request.get("stream", False)}
    return {"model": request["model"], "input": items, "tools": tools, "parallel_tool_calls": True, **options}


def _item(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    role = "developer" if role == "system" else role
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


FORMS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    "messages": ("/v1/messages", lambda request: request),
    "chat": ("/v1/chat/completions", _as_chat),
    "responses": ("/v1/responses", _as_responses),
}


def message(api: str, size: int, tokens: int, *, stream: bool) -> bytes:
    """The HTTP request of one conversation by an API. `size`: bytes of its Messages request."""
    path, form = FORMS[api]
    request = form(json.loads(body(size, tokens=tokens, gap=0, stream=stream)))
    content = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def send(port: int, message: bytes, requests: int) -> None:
    """Send a request so many times over one connection. Raises Unusable when an answer is no 200."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        data = b""
        for _ in range(requests):
            connection.sendall(message)
            while b"\r\n\r\n" not in data:
                data += connection.recv(1 << 16)
            head, _, data = data.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise peers.Unusable(f"byway answered {head[:100]!r} {data[:300]!r}")
            lower = head.lower()
            if b"transfer-encoding: chunked" in lower:
                while not data.endswith(b"0\r\n\r\n"):
                    data += connection.recv(1 << 16)
                data = b""
            else:
                length = int(lower.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
                while len(data) < length:
                    data += connection.recv(1 << 16)
                data = data[length:]


def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Microseconds of CPU of a request by each API in each round, for each row. `rounds`: of each start of Byway."""
    models = [MODEL.format(tokens=tokens, gap=0).removeprefix("claude-") for tokens in (TOKENS, STREAMED_TOKENS)]
    costs: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS}
    with tempfile.TemporaryDirectory(prefix="byway-fronts-") as folder:
        programs = peers.Programs(Path(folder))
        with peers.mock(programs, models) as backend:
            for start in range(STARTS):
                print(f"bench: start {start + 1} of {STARTS}", file=sys.stderr, flush=True)
                with peers.byway(programs, backend, "openai", models) as peer:
                    for row, made in costs.items():
                        made += _rounds(peer, *ROWS[row], rounds)
    return costs


def _rounds(
    peer: peers.Peer, size: int, tokens: int, stream: bool, requests: int, rounds: int
) -> Iterator[dict[str, float]]:
    assert peer.pid
    messages = {api: message(api, size, tokens, stream=stream) for api in FORMS}
    for data in messages.values():
        send(peer.port, data, 20)
    for _ in range(rounds):
        cost: dict[str, float] = {}
        for api, data in messages.items():
            before = meter.cpu(peer.pid)
            send(peer.port, data, requests)
            cost[api] = (meter.cpu(peer.pid) - before) / requests
        yield cost


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench fronts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row and start (default: %(default)s)")
    options = parser.parse_args(arguments)
    within = True
    try:
        for row, costs in measure(options.rounds).items():
            parts = [f"messages {median([cost['messages'] for cost in costs]):.0f} us"]
            for api, limit in LIMITS.items():
                ratio = median([cost[api] / cost["messages"] for cost in costs])
                is_over = ratio > limit + _NOISE
                within = within and not is_over
                mark = "  OVER" if is_over else ""
                parts.append(
                    f"{api} {median([cost[api] for cost in costs]):.0f} us ({ratio:.2f}, limit {limit:g}){mark}"
                )
            print(f"{row:28} {'   '.join(parts)}", flush=True)
    except peers.Unusable as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    return 0 if within else 1
