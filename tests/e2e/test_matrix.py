"""Every front by every protocol of a backend, driven by the official SDKs: the table of docs/fronts.md is true.

A feature that a pair does not carry is tested too: its test must fail, or the table is wrong.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from gateway import Gateway
from matrix import FEATURES, LIMITS, PROTOCOLS
from scripted import Asked, Reply, Say, Scripted, Tool, anthropic_error, cut, openai_error

BACKENDS: dict[str, dict[str, Any]] = {
    "chat": {"type": "generic"},
    "messages": {"type": "anthropic", "api_key": "sk-backend"},
    "responses": {"type": "openai", "protocol": "responses", "api_key": "sk-backend"},
}
TOOLS = {
    "read_file": {"path": {"type": "string"}},
    "write_file": {"path": {"type": "string"}, "content": {"type": "string"}},
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def _png() -> str:
    """A PNG of 8 by 8 red pixels in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (8).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    pixels = zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


PNG = _png()


@dataclass
class Turn:
    """An answer, whatever the API of the client is."""

    text: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Id, name and input of each tool call."""
    thinking: str = ""
    is_cut: bool = False
    """It ended at the token limit."""
    usage: tuple[int, int] = (0, 0)


class Client(ABC):
    """A conversation in one API, by its official SDK. Arguments of a turn: `schema`, `tools`, `forced`, `limit`, `thinks`."""

    status: type[Exception]
    """What its SDK raises for an error status."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self.model = model
        self.history: list[Any] = []
        self.connect(gateway.url)

    @abstractmethod
    def connect(self, url: str) -> None: ...
    @abstractmethod
    def close(self) -> None: ...
    @staticmethod
    def _closed_at_the_end(stream: Any) -> Iterator[Any]:
        with stream:
            yield from stream

    @abstractmethod
    def user(self, text: str, image: str = "") -> None: ...
    @abstractmethod
    def result(self, id: str, text: str) -> None: ...
    @abstractmethod
    def whole(self, **options: Any) -> Turn: ...
    @abstractmethod
    def stream(self, **options: Any) -> Turn: ...


class Messages(Client):
    status = anthropic.APIStatusError

    def connect(self, url: str) -> None:
        self._sdk = anthropic.Anthropic(base_url=f"{url}/anthropic", api_key="dummy", max_retries=0)

    def close(self) -> None:
        self._sdk.close()

    def user(self, text: str, image: str = "") -> None:
        blocks: list[Any] = [{"type": "text", "text": text}]
        if image:
            blocks.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}})
        self.history.append({"role": "user", "content": blocks})

    def result(self, id: str, text: str) -> None:
        block = {"type": "tool_result", "tool_use_id": id, "content": text}
        last = self.history[-1]
        if last["role"] == "user":
            last["content"].append(block)
        else:
            self.history.append({"role": "user", "content": [block]})

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.model, "messages": self.history}
        fields["max_tokens"] = options.get("limit") or 4096
        if options.get("tools"):
            fields["tools"] = [
                {"name": name, "description": name, "input_schema": {"type": "object", "properties": properties}}
                for name, properties in TOOLS.items()
            ]
        if options.get("forced"):
            fields["tool_choice"] = {"type": "tool", "name": options["forced"]}
        if options.get("schema"):
            form = {"type": "json_schema", "schema": options["schema"]}
            fields["extra_body"] = {"output_config": {"format": form}}
        if options.get("stop"):
            fields["stop_sequences"] = [options["stop"]]
        if options.get("thinks"):
            fields["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        return fields

    def _turn(self, message: Any) -> Turn:
        turn = Turn(is_cut=message.stop_reason == "max_tokens")
        for block in message.content:
            if block.type == "text":
                turn.text += block.text
            elif block.type == "thinking":
                turn.thinking += block.thinking
            elif block.type == "tool_use":
                turn.calls.append((block.id, block.name, block.input))
        turn.usage = (message.usage.input_tokens, message.usage.output_tokens)
        content = [block.model_dump(exclude_none=True, exclude={"caller"}) for block in message.content]
        self.history.append({"role": "assistant", "content": content})
        return turn

    def whole(self, **options: Any) -> Turn:
        return self._turn(self._sdk.messages.create(**self._fields(options)))

    def stream(self, **options: Any) -> Turn:
        with self._sdk.messages.stream(**self._fields(options)) as stream:
            return self._turn(stream.get_final_message())


class Chat(Client):
    status = openai.APIStatusError

    def connect(self, url: str) -> None:
        self._sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="dummy", max_retries=0)

    def close(self) -> None:
        self._sdk.close()

    def user(self, text: str, image: str = "") -> None:
        parts: list[Any] = [{"type": "text", "text": text}]
        if image:
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}})
        self.history.append({"role": "user", "content": parts})

    def result(self, id: str, text: str) -> None:
        self.history.append({"role": "tool", "tool_call_id": id, "content": text})

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.model, "messages": self.history}
        if options.get("limit"):
            fields["max_tokens"] = options["limit"]
        if options.get("tools"):
            fields["tools"] = [
                {
                    "type": "function",
                    "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
                }
                for name, properties in TOOLS.items()
            ]
        if options.get("forced"):
            fields["tool_choice"] = {"type": "function", "function": {"name": options["forced"]}}
        if options.get("schema"):
            schema = {"name": "answer", "strict": True, "schema": options["schema"]}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        if options.get("stop"):
            fields["stop"] = [options["stop"]]
        if options.get("answers"):
            fields["n"] = options["answers"]
        if options.get("thinks"):
            fields["reasoning_effort"] = "medium"
        return fields

    def _turn(self, text: str, thinking: str, calls: list[Any], reason: str, usage: Any) -> Turn:
        turn = Turn(text, thinking=thinking, is_cut=reason == "length")
        turn.calls = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls
        ]
        turn.usage = (usage.prompt_tokens, usage.completion_tokens)
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        if thinking:
            message["reasoning_content"] = thinking
        self.history.append(message)
        return turn

    def whole(self, **options: Any) -> Turn:
        answer = self._sdk.chat.completions.create(**self._fields(options))
        choice = answer.choices[0]
        calls = [call.model_dump(exclude_none=True) for call in choice.message.tool_calls or ()]
        thinking = getattr(choice.message, "reasoning_content", None) or ""
        return self._turn(choice.message.content or "", thinking, calls, choice.finish_reason, answer.usage)

    def stream(self, **options: Any) -> Turn:
        fields = self._fields(options)
        text = thinking = reason = ""
        calls: dict[int, dict[str, Any]] = {}
        usage = None
        chunks = self._sdk.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
        for chunk in self._closed_at_the_end(chunks):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                delta = choice.delta
                text += delta.content or ""
                thinking += getattr(delta, "reasoning_content", None) or ""
                reason = choice.finish_reason or reason
                for piece in delta.tool_calls or ():
                    call = calls.setdefault(piece.index, {"id": "", "type": "function", "function": {}})
                    call["id"] = piece.id or call["id"]
                    for name in ("name", "arguments"):
                        call["function"][name] = call["function"].get(name, "") + (getattr(piece.function, name) or "")
        assert reason, "the stream has no finish reason"
        return self._turn(text, thinking, [calls[at] for at in sorted(calls)], reason, usage)


class Responses(Client):
    status = openai.APIStatusError

    def connect(self, url: str) -> None:
        self._sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="dummy", max_retries=0)

    def close(self) -> None:
        self._sdk.close()

    def user(self, text: str, image: str = "") -> None:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if image:
            parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{image}", "detail": "auto"})
        self.history.append({"type": "message", "role": "user", "content": parts})

    def result(self, id: str, text: str) -> None:
        self.history.append({"type": "function_call_output", "call_id": id, "output": text})

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.model, "input": self.history, "store": False}
        fields["include"] = ["reasoning.encrypted_content"]
        if options.get("limit"):
            fields["max_output_tokens"] = options["limit"]
        if options.get("tools"):
            fields["tools"] = [
                {
                    "type": "function",
                    "name": name,
                    "strict": False,
                    "parameters": {"type": "object", "properties": properties},
                }
                for name, properties in TOOLS.items()
            ]
        if options.get("forced"):
            fields["tool_choice"] = {"type": "function", "name": options["forced"]}
        if options.get("schema"):
            form = {"type": "json_schema", "name": "answer", "strict": True, "schema": options["schema"]}
            fields["text"] = {"format": form}
        if options.get("thinks"):
            fields["reasoning"] = {"effort": "medium", "summary": "auto"}
        return fields

    def _turn(self, answer: Any) -> Turn:
        assert answer.status in ("completed", "incomplete"), answer
        turn = Turn(answer.output_text, is_cut=answer.status == "incomplete")
        for item in answer.output:
            if item.type == "function_call":
                turn.calls.append((item.call_id, item.name, json.loads(item.arguments)))
            elif item.type == "reasoning":
                turn.thinking += "".join(part.text for part in [*item.summary, *(item.content or ())])
            self.history.append(item.model_dump(exclude_none=True, mode="json"))
        turn.usage = (answer.usage.input_tokens, answer.usage.output_tokens)
        return turn

    def whole(self, **options: Any) -> Turn:
        return self._turn(self._sdk.responses.create(**self._fields(options)))

    def stream(self, **options: Any) -> Turn:
        final = None
        for event in self._closed_at_the_end(self._sdk.responses.create(**self._fields(options), stream=True)):
            if event.type in ("response.completed", "response.incomplete"):
                final = event.response
            elif event.type in ("response.failed", "error"):
                raise openai.APIError(str(event), None, body=None)  # type: ignore[arg-type]
        assert final is not None, "the stream has no end"
        return self._turn(final)


CLIENTS: dict[str, type[Client]] = {"messages": Messages, "chat": Chat, "responses": Responses}

# ------------------------------------------------------------------------------------------------------ what arrives


def results(request: Asked) -> list[str]:
    """The texts of the tool results in a request to a backend, in their order."""
    body = request.json
    if request.responses:
        return [_text(item["output"]) for item in body["input"] if item.get("type") == "function_call_output"]
    if request.anthropic:
        blocks = [block for message in body["messages"] for block in _blocks(message)]
        return [_text(block["content"]) for block in blocks if block["type"] == "tool_result"]
    return [_text(message["content"]) for message in body["messages"] if message["role"] == "tool"]


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def has_image(request: Asked) -> bool:
    """Whether the image arrives as one of the protocol, and not as text."""
    body = request.json
    if request.responses:
        items = [part for item in body["input"] for part in _parts(item)]
        return any(part["type"] == "input_image" and PNG in part["image_url"] for part in items)
    if request.anthropic:
        blocks = [block for message in body["messages"] for block in _blocks(message)]
        return any(block["type"] == "image" and block["source"]["data"] == PNG for block in blocks)
    parts = [part for message in body["messages"] for part in _parts(message)]
    return any(part["type"] == "image_url" and PNG in part["image_url"]["url"] for part in parts)


def _parts(item: dict[str, Any]) -> list[dict[str, Any]]:
    content = item.get("content")
    return content if isinstance(content, list) else []


def schema_of(request: Asked) -> Any:
    """The JSON schema that the backend must follow."""
    body = request.json
    if request.responses:
        return body["text"]["format"]["schema"]
    if request.anthropic:
        return body["output_config"]["format"]["schema"]
    return body["response_format"]["json_schema"]["schema"]


def demanded(request: Asked) -> str:
    """The tool that the backend must call; "any" when it is not named and the only one."""
    choice = request.json.get("tool_choice")
    if isinstance(choice, str):
        names = re.findall(r'"name": ?"(\w+_file)"', request.body.decode())
        return names[0] if choice in ("required", "any") and len(set(names)) == 1 else choice
    return str((choice.get("function") or choice).get("name"))


def thought(request: Asked) -> bool:
    """Whether the thinking of an earlier turn is in the request, as its backend returned it."""
    body = request.body.decode()
    if request.responses:
        return any(
            item.get("type") == "reasoning" and item.get("encrypted_content") == "gAAAAenc"
            for item in request.json["input"]
        )
    if request.anthropic:
        blocks = [block for message in request.json["messages"] for block in _blocks(message)]
        return any(block["type"] == "thinking" and block["thinking"] == THOUGHT for block in blocks)
    return THOUGHT in body


THOUGHT = "The file must be read first."

# --------------------------------------------------------------------------------------------------------- the pairs


@dataclass
class Pair:
    """A front and a backend."""

    gateway: Gateway
    front: str
    backend: str
    server: Scripted
    folder: Path

    closing: contextlib.ExitStack

    def client(self) -> Client:
        client = CLIENTS[self.front](self.gateway, f"{self.backend}/local")
        self.closing.callback(client.close)
        return client

    def play(self, *turns: Say | Reply) -> None:
        self.server.play(list(turns))


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Scripted]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Scripted()) for name in BACKENDS}


@pytest.fixture(scope="module")
def gateway(servers: dict[str, Scripted]) -> Iterator[Gateway]:
    rows = [{"name": name, "url": servers[name].url, "models": ["local"], **row} for name, row in BACKENDS.items()]
    with Gateway({"backends": rows, "model_aliases": {"default": ["chat/local"]}}) as running:
        yield running


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, gateway: Gateway, servers: dict[str, Scripted], tmp_path: Path
) -> Iterator[Pair]:
    front, backend = request.param
    with contextlib.ExitStack() as closing:
        yield Pair(gateway, front, backend, servers[backend], tmp_path, closing)


def check_text(pair: Pair) -> None:
    pair.play(*[Say("Hello there, you.", tokens=(100, 20))] * 2)
    for way in ("whole", "stream"):
        client = pair.client()
        client.user("Say hello.")
        turn = getattr(client, way)()
        assert turn.text == "Hello there, you." and turn.usage == (100, 20) and not turn.is_cut


def check_tool_loop(pair: Pair) -> None:
    (pair.folder / "in.txt").write_text("text of the file")
    source, target = str(pair.folder / "in.txt"), str(pair.folder / "out.txt")
    pair.play(
        Say("I read.", [Tool("read_file", {"path": source})]),
        Say("", [Tool("write_file", {"path": target, "content": "written: ü"})]),
        Say("All done"),
    )
    client = pair.client()
    client.user("Read in.txt and write out.txt.")
    for _ in range(5):
        turn = client.stream(tools=True)
        if not turn.calls:
            break
        for id, name, given in turn.calls:
            path = Path(given["path"])
            client.result(id, path.read_text() if name == "read_file" else str(path.write_text(given["content"])))
    assert turn.text == "All done" and Path(target).read_text() == "written: ü"
    assert results(pair.server.last) == ["text of the file", "10"]


def check_parallel_calls(pair: Pair) -> None:
    calls = [Tool("read_file", {"path": f"/{number}.txt"}) for number in range(3)]
    calls = [Tool(call.name, call.input, f"call_{number}") for number, call in enumerate(calls)]
    pair.play(*[Say("", calls), Say("All done")] * 2)
    for way in ("whole", "stream"):
        client = pair.client()
        client.user("Read three files.")
        turn = getattr(client, way)(tools=True)
        assert [given["path"] for _, _, given in turn.calls] == ["/0.txt", "/1.txt", "/2.txt"]
        assert len({id for id, _, _ in turn.calls}) == 3
        for number, (id, _, _) in enumerate(turn.calls):
            client.result(id, f"content {number}")
        assert getattr(client, way)(tools=True).text == "All done"
        assert results(pair.server.last) == ["content 0", "content 1", "content 2"]


def check_forced_tool(pair: Pair) -> None:
    pair.play(Say("", [Tool("write_file", {"path": "/x", "content": "y"})]))
    client = pair.client()
    client.user("Do it.")
    assert [name for _, name, _ in client.stream(tools=True, forced="write_file").calls] == ["write_file"]
    assert demanded(pair.server.last) == "write_file"


def check_thinking(pair: Pair) -> None:
    pair.play(*[Say("So.", thinking=THOUGHT)] * 2)
    for way in ("whole", "stream"):
        client = pair.client()
        client.user("Think.")
        turn = getattr(client, way)(thinks=True)
        assert turn.thinking == THOUGHT and turn.text == "So."


def check_thinking_again(pair: Pair) -> None:
    pair.play(Say("", [Tool("read_file", {"path": "/x"})], thinking=THOUGHT), Say("All done"))
    client = pair.client()
    client.user("Think, then read.")
    turn = client.stream(tools=True, thinks=True)
    client.result(turn.calls[0][0], "content")
    assert client.stream(tools=True, thinks=True).text == "All done"
    assert thought(pair.server.last)


def check_image(pair: Pair) -> None:
    pair.play(Say("Red."))
    client = pair.client()
    client.user("Which colour?", PNG)
    assert client.stream().text == "Red." and has_image(pair.server.last)


def check_structured_output(pair: Pair) -> None:
    pair.play(*[Say('{"city": "Wien"}')] * 2)
    for way in ("whole", "stream"):
        client = pair.client()
        client.user("Which city?")
        assert json.loads(getattr(client, way)(schema=SCHEMA).text) == {"city": "Wien"}
        assert schema_of(pair.server.last) == SCHEMA


def check_stop_sequence(pair: Pair) -> None:
    pair.play(Say("One two HALT three"))
    client = pair.client()
    client.user("Count.")
    turn = client.stream(stop="HALT")
    # The server ends the answer there, or Byway does where its protocol has none.
    sent = pair.server.last.json
    assert "HALT" in (sent.get("stop_sequences") or sent.get("stop") or ()) or turn.text == "One two "


def check_several_answers(pair: Pair) -> None:
    pair.play(Say("One"))
    client = pair.client()
    client.user("Say something.")
    try:
        client.whole(answers=2)
    except client.status as refusal:
        raise AssertionError("it is refused") from refusal
    assert pair.server.last.json.get("n") == 2


def check_limit(pair: Pair) -> None:
    pair.play(*[Say("cut o", stop="length")] * 2)
    for way in ("whole", "stream"):
        client = pair.client()
        client.user("Write a lot.")
        turn = getattr(client, way)(limit=64)
        assert turn.text == "cut o" and turn.is_cut


def check_error(pair: Pair) -> None:
    words = "The request is refused for a reason"
    replies = {
        400: ("invalid_request_error", "bad_value"),
        429: ("rate_limit_error", "rate_limit_exceeded"),
        413: ("request_too_large", "too_large"),
    }
    for status, (kind, code) in replies.items():
        refusal = (
            anthropic_error(status, kind, words)
            if pair.backend == "messages"
            else openai_error(status, words, "invalid_request_error", code)
        )
        pair.play(*[refusal] * 20)
        for way in ("whole", "stream"):
            client = pair.client()
            client.user("Say hello.")
            with pytest.raises(client.status) as failure:
                getattr(client, way)()
            error: Any = failure.value
            assert error.status_code == status and words in error.message, (status, way, error)


def check_cut_stream(pair: Pair) -> None:
    pair.play(Say("One two three four five six", edit=cut(4)))
    client = pair.client()
    client.user("Count.")
    with pytest.raises((anthropic.APIError, openai.APIError)):
        client.stream()


CHECKS: dict[str, Callable[[Pair], None]] = {
    feature: globals()[f"check_{feature.replace(' ', '_')}"] for feature in FEATURES
}
PAIRS = [pytest.param((front, backend), id=f"{front}-to-{backend}") for front in PROTOCOLS for backend in PROTOCOLS]


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
@pytest.mark.parametrize("feature", FEATURES)
def test_a_pair_carries_what_the_table_says(feature: str, pair: Pair) -> None:
    if (pair.front, pair.backend, feature) in LIMITS:
        with pytest.raises(AssertionError):
            CHECKS[feature](pair)
    else:
        CHECKS[feature](pair)
