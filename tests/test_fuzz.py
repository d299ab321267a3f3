"""Damaged requests through the whole app, without a network: each gets an answer or a 4xx, none an internal failure.

The requests are recordings of Claude Code, made shorter; the damage is seeded, so that a failure can be repeated.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import codexrecordings
import pytest
import responsesfake
from properties import examples

from byway import config
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.gateway import Gateway
from byway.messages import carriers
from byway.messages.request import parse
from byway.problems import Problem
from byway.routes.context import broken
from byway.runtime import Runtime
from byway.server.app import App

FOLDER = Path(__file__).parent / "recorded" / "prefix"
#: Damaged requests for each front.
ROUNDS = 2500
SEED = 11
#: Characters that are kept of each text.
KEPT = 60
REPLIES = {
    "openai": {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "local",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    },
}
#: What takes the place of a value. A bytes value is written as it is: it may be no JSON.
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, "", "x", " \n", "\x00", "\ud83d\ude00", [], {}, [[]], [{}]),
    *({"type": "zzz"}, {"type": 5}, {"type": None}, [{"type": "text", "text": "a"}]),
    *(b'"\xff"', b'{"type":"zzz","x":"\xff"}', b'[{"type":"zzz"},{"type":"text","text":"\xc3"}]'),
    *(b'"\\ud800"', b'"\\udc00x"', b"1e999", b"-", b"[" * 900, b"[" * 300 + b"]" * 300),
    *(b'{"a":' * 200 + b"1" + b"}" * 200, b"9" * 5000, b"NaN", b'"a\nb"'),
)


def shortened(value: Any) -> Any:
    """The JSON value with its texts cut, so that damage hits the structure."""
    if isinstance(value, str):
        return value[:KEPT]
    if isinstance(value, list):
        return [shortened(item) for item in value[:6]]
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value


@cache
def requests() -> list[dict[str, Any]]:
    """The recorded requests, each form once."""
    bodies = [
        shortened(item["body"])
        for path in sorted(FOLDER.glob("*.json"))
        if not path.stem.startswith("openings")
        for item in json.loads(path.read_text())["requests"]
    ]
    forms = {json.dumps(body): body for body in bodies}
    # A PDF is read in a process of its own: `test_pdf` damages those.
    return [body for text, body in forms.items() if "application/pdf" not in text]


@cache
def chats() -> list[dict[str, Any]]:
    """The same requests as chat completions."""
    target = Target("box", "local", VENDORS["generic"])
    results = []
    for body in requests():
        try:
            results.append(json.loads(completions.request(parse(json.dumps(body).encode(), {}, "msg_1"), target).body))
        except Problem:
            continue
    return results


@cache
def responses() -> list[dict[str, Any]]:
    """Requests of Codex to the Responses API, and one with what it does not send."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"}
    # No data: damaged, it would be a PDF, which is read in a process of its own.
    file = {"type": "input_file", "filename": "a.pdf", "file_url": "https://a.org/a.pdf"}
    thinking = {"type": "reasoning", "summary": [], "encrypted_content": carriers.pack_thinking("", "sig")}
    shell = {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}}
    shell_output = {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    other = {
        "model": "local",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}, image, file]},
            thinking,
            shell,
            {"type": "shell_call_output", "call_id": "s", "output": [shell_output]},
            {"type": "compaction", "encrypted_content": carriers.pack_summary("so far")},
            {"type": "item_reference", "id": "msg_1"},
        ],
        "tools": [
            {"type": "shell"},
            {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "user_location": {"city": "Graz"}},
            {"type": "function", "name": "f", "parameters": {"type": "object"}},
            {"type": "file_search"},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object", "properties": {}}}},
        "previous_response_id": None,
        "temperature": 0.5,
        "metadata": {"a": "b"},
    }
    return [other, *(shortened({**codexrecordings.body(name), "stream": False}) for name in codexrecordings.names())]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    yield path
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def damaged(body: dict[str, Any], chance: random.Random) -> bytes:
    """The request with one value replaced, or with a few bytes changed, left out or repeated."""
    if chance.random() < 0.5:
        mark = "a-mark-that-is-in-no-recording"
        changed = json.loads(json.dumps(body))
        path = chance.choice(list(places(changed))[1:])
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = mark
        odd = chance.choice(ODD)
        written = odd if isinstance(odd, bytes) else json.dumps(odd).encode()
        return json.dumps(changed).encode().replace(b'"%b"' % mark.encode(), written)
    data = bytearray(json.dumps(body, ensure_ascii=False).encode())
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.randint(1, 4)]
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 40)]
        if not data:
            break
    return bytes(data)


class Answered:
    sent_at = connecting = 0.0
    is_read = False
    status = 200

    def __init__(self, reply: Any) -> None:
        self.headers: dict[str, str] = {}
        self._data = [json.dumps(reply).encode()]
        self.on_close: Callable[[], None] = lambda: None

    async def read(self) -> bytes:
        return self._data.pop() if self._data else b""

    async def body(self, limit: int = 0) -> bytes:
        return self._data[0]

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        """Give back the slot of the backend, as the real answer does."""
        self.on_close()


class Network:
    def __init__(self, protocol: str) -> None:
        self._protocol = protocol

    async def open(self, call: Call) -> Answered:
        if call.path.endswith("/responses"):
            return Answered(json.loads(responsesfake.whole(responsesfake.message("Hello"))))
        return Answered(
            {"input_tokens": 7} if "count" in call.path or "token" in call.path else REPLIES[self._protocol]
        )

    async def close(self) -> None:
        """Nothing is open."""


async def send_all(vendor: str, path: str, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    backend = {"name": "box", "type": vendor, "url": "http://127.0.0.1:9", "models": ["local"]}
    aliases = {"default": ["box/local"]}
    text = json.dumps({"backends": [backend], "model_aliases": aliases, "safeguards": {"classifier": "judge"}})
    runtime = Runtime(config.load(text, {}))
    live = runtime.backends["box"]
    live.upstream = cast(Any, Network(VENDORS[vendor].protocol))
    app = App(Gateway(runtime))
    answers = []
    for body in bodies:
        sent: list[Any] = []

        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive(messages: list[Any] = messages) -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 38080),
        }
        await app(scope, receive, send)
        answers.append((sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])))
    await runtime.close()
    return answers


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        ("generic", "/v1/messages"),
        ("llamacpp", "/v1/messages"),
        ("anthropic", "/v1/messages"),
        ("generic", "/v1/messages/count_tokens"),
        ("vllm", "/v1/messages/count_tokens"),
        ("generic", "/v1/chat/completions"),
        ("anthropic", "/v1/chat/completions"),
        ("generic", "/v1/responses"),
        ("anthropic", "/v1/responses"),
        ("openai", "/v1/responses"),
        ("generic", "/v1/responses/input_tokens"),
    ],
)
def test_a_damaged_request_is_answered_or_rejected(vendor: str, path: str) -> None:
    chance = random.Random(f"{SEED} {vendor} {path}")
    forms = chats() if "chat" in path else responses() if "responses" in path else requests()
    bodies = [damaged(chance.choice(forms), chance) for _ in range(examples(ROUNDS))]
    failure = broken().message.encode()
    for body, (status, answer) in zip(bodies, asyncio.run(send_all(vendor, path, bodies)), strict=True):
        assert status < 500, (status, answer[:300], body)
        assert failure not in answer, body
    assert ROUNDS
