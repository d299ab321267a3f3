"""CPU of translation by Responses beside chat completions, in one process: `python -m bench.translation`.

Both protocols take turns, and the smallest of many runs counts, so that the load of the machine cancels out. A number is
microseconds; the ratio is what counts, and 1.2 is its limit.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any, Final

from byway.backends.openai import completions
from byway.backends.protocol import BackendProtocol, Target
from byway.backends.responses import responses
from byway.backends.vendors import VENDORS
from byway.messages.request import Request, parse
from byway.messages.sse import encode

LIMIT: Final = 1.2
_RUNS: Final = 60
_PIECES: Final = 400
_PIECE: Final = "some text"
_CHAT: Final = Target("box", "gpt-5.6", VENDORS["openai"].by("chat"))
_ITEMS: Final = Target("box", "gpt-5.6", VENDORS["openai"].by("responses"))
_READ: Final = {
    "description": "Reads a file from the local filesystem. " * 12,
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


def _request(turns: int) -> Request:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Read the files."}]
    for at in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{at}", "name": "Read0", "input": {"path": f"file{at}.txt"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{at}", "content": "A line of the file.\n" * 20}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]},
            {"role": "user", "content": [result]},
        ]
    tools = [{**_READ, "name": f"Read{at}"} for at in range(24)]
    body = {"model": "sonnet", "max_tokens": 4096, "stream": True, "system": "Be brief. " * 400, "tools": tools}
    return parse(json.dumps({**body, "messages": messages}).encode(), {}, "msg_1")


def _chat_stream() -> list[bytes]:
    """Chunks as OpenAI sends them."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795972730, "model": "gpt-5.6"}
    deltas = [{"content": _PIECE} for _ in range(_PIECES)]
    chunks: list[dict[str, Any]] = [
        {**common, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**common, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": _PIECES}})
    return [*(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks), b"data: [DONE]\n\n"]


def _item_stream() -> list[bytes]:
    """Events as OpenAI sends them."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    events: list[dict[str, Any]] = [{"type": "response.output_item.added", "output_index": 0, "item": item}]
    delta = {"type": "response.output_text.delta", **place, "delta": _PIECE, "logprobs": []}
    events += [{**delta, "sequence_number": at} for at in range(_PIECES)]
    item = {**item, "content": [{"type": "output_text", "text": _PIECE * _PIECES, "annotations": []}]}
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    usage = {"input_tokens": 10, "output_tokens": _PIECES, "total_tokens": _PIECES + 10}
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
    events.append({"type": "response.completed", "response": answer})
    return [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events]


def _read(protocol: BackendProtocol, target: Target, request: Request, stream: list[bytes]) -> None:
    reader = protocol.reader(request, target)
    for data in stream:
        encode(reader.feed(data))
    encode(reader.close())


def _cpu(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare() -> dict[str, tuple[float, float]]:
    """Microseconds by chat completions and by Responses: of a small and a large request, and of an answer."""
    small, large = _request(0), _request(40)
    chat, items = _chat_stream(), _item_stream()
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "small request": (lambda: completions.request(small, _CHAT), lambda: responses.request(small, _ITEMS)),
        "request of 41 turns": (lambda: completions.request(large, _CHAT), lambda: responses.request(large, _ITEMS)),
        f"answer of {_PIECES} pieces": (
            lambda: _read(completions, _CHAT, small, chat),
            lambda: _read(responses, _ITEMS, small, items),
        ),
    }
    gc.disable()
    figures = {}
    for name, (by_chat, by_items) in pairs.items():
        times = [(_cpu(by_chat), _cpu(by_items)) for _ in range(_RUNS)]
        figures[name] = (min(first for first, _ in times) * 1e6, min(second for _, second in times) * 1e6)
    gc.enable()
    return figures


def main() -> None:
    for name, (by_chat, by_items) in compare().items():
        mark = "" if by_items <= LIMIT * by_chat else f"   over {LIMIT}"
        print(f"{name:24} chat {by_chat:9.0f} us   responses {by_items:9.0f} us   {by_items / by_chat:5.2f}{mark}")


if __name__ == "__main__":
    main()
