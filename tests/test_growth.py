"""The work for a request or an answer grows in proportion to its size, in every dimension that a client or a backend sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from growth import assert_linear

from byway.backends import anthropic
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.fronts import chat
from byway.messages.events import Passthrough
from byway.messages.request import parse
from byway.messages.sse import EVENT_LIMIT, Decoder
from byway.messages.stream import fold
from byway.messages.tokens import Counter, weigh

CHAT = Target("box", "local", VENDORS["generic"])
NATIVE = Target("box", "claude-y", VENDORS["anthropic"])
HI = {"role": "user", "content": "Hi"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": [HI], **fields}).encode()


def turns(size: int) -> bytes:
    return body(messages=[HI, {"role": "assistant", "content": "Hello"}] * size + [HI])


def blocks(size: int) -> bytes:
    return body(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * size}])


def unknown_blocks(size: int) -> bytes:
    return body(messages=[{"role": "user", "content": [{"type": "zzz", "x": 1}] * size}])


def system_blocks(size: int) -> bytes:
    return body(system=[{"type": "text", "text": f"Rule {at}."} for at in range(size)])


def claude_code_system(size: int) -> bytes:
    """A prompt of Claude Code: its texts are reordered."""
    texts = ["You are Claude Code.", *(f"Working directory: /{at}\nToday's date is {at}\n\nx" for at in range(size))]
    return body(system=[{"type": "text", "text": text} for text in texts])


def tool_results(size: int) -> bytes:
    calls = [{"type": "tool_use", "id": f"t{at}", "name": "Read", "input": {}} for at in range(size)]
    results = [{"type": "tool_result", "tool_use_id": f"t{at}", "content": "x"} for at in range(size)]
    return body(messages=[HI, {"role": "assistant", "content": calls}, {"role": "user", "content": results}])


def long_loop(size: int) -> bytes:
    """A tool loop: one call and one result in each turn."""
    pairs: list[Any] = [HI]
    for at in range(size):
        pairs += (
            {"role": "assistant", "content": [{"type": "tool_use", "id": f"t{at}", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{at}", "content": "x"}]},
        )
    return body(messages=pairs)


def stop_sequences(size: int) -> bytes:
    return body(stop_sequences=[f"stop {at}" for at in range(size)])


REQUESTS = [turns, blocks, unknown_blocks, system_blocks, claude_code_system, tool_results, long_loop, stop_sequences]
NATIVE_REQUESTS = [turns, unknown_blocks, tool_results]


@pytest.mark.parametrize("make", REQUESTS, ids=lambda make: make.__name__)
def test_a_chat_call_is_built_in_linear_time(make: Callable[[int], bytes]) -> None:
    assert_linear(make, lambda data: completions.request(parse(data, {}, "msg_1"), CHAT), 200)


@pytest.mark.parametrize("make", NATIVE_REQUESTS, ids=lambda make: make.__name__)
def test_a_native_call_is_built_in_linear_time(make: Callable[[int], bytes]) -> None:
    assert_linear(make, lambda data: anthropic.request(parse(data, {}, "msg_1"), NATIVE), 200)


@pytest.mark.parametrize("make", [turns, blocks, tool_results], ids=lambda make: make.__name__)
def test_tokens_are_estimated_in_linear_time(make: Callable[[int], bytes]) -> None:
    def run(data: bytes) -> None:
        weigh(data)
        Counter().estimate(parse(data, {}, "msg_1"), "m", data)

    assert_linear(make, run, 200)


def test_a_text_full_of_marks_is_estimated_in_linear_time() -> None:
    marks = '"data:image/png;base64,' + "A" * 1000 + '" <tool_call> \\" '
    assert_linear(lambda size: body(messages=[{"role": "user", "content": marks * size}]), weigh, 50)


def chat_turns(size: int) -> bytes:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    pair = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    return body(messages=[HI, *pair * size])


def chat_parts(size: int) -> bytes:
    return body(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * size}])


def chat_system(size: int) -> bytes:
    return body(messages=[{"role": "system", "content": "a"}] * size + [HI])


@pytest.mark.parametrize("make", [chat_turns, chat_parts, chat_system], ids=lambda make: make.__name__)
def test_a_chat_completion_is_read_in_linear_time(make: Callable[[int], bytes]) -> None:
    assert_linear(make, lambda data: chat.read(data, {}, "msg_1"), 200)


LINES = {
    "events": lambda size: b'data: {"a":1}\n\n' * size,
    "lines of one event": lambda size: b"data: a\n" * size + b"\n",
    "comments": lambda size: b": ping\n" * size,
    "empty lines": lambda size: b"\n" * size,
    "carriage returns": lambda size: b"data: a\r\r" * size,
    "one long line": lambda size: b"data: " + b"a" * size + b"\n\n",
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_an_event_stream_is_decoded_in_linear_time(kind: str, piece: int) -> None:
    def run(data: bytes) -> None:
        decoder = Decoder()
        for at in range(0, len(data), piece):
            decoder.feed(data[at : at + piece])

    assert_linear(LINES[kind], run, 2000, EVENT_LIMIT // 8)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return b"data: %b\n\n" % json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode()


def call_piece(arguments: str, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name, "id": "c"} if name else {})
    return {"tool_calls": [{"index": 0, "id": "c" if name else None, "function": function}]}


ANSWERS: dict[str, Callable[[int], list[bytes]]] = {
    "pieces of text": lambda size: [chunk({"content": "a"})] * size,
    "blank pieces before a text": lambda size: [chunk({"content": " \n"})] * size + [chunk({"content": "a"})],
    "pieces of thinking": lambda size: [chunk({"reasoning_content": "a"})] * size,
    "thinking and text in turns": lambda size: [chunk({"reasoning_content": "a"}), chunk({"content": "b"})] * size,
    "pieces of arguments": lambda size: [chunk(call_piece('{"a":"', "f"))] + [chunk(call_piece("a"))] * size,
    "openers of tool calls": lambda size: [chunk({"content": "<tool_call>x "})] * size,
    "openers of thinking": lambda size: [chunk({"content": "<think>x "})] * size,
    "halves of an opener": lambda size: [chunk({"content": "<tool_"}), chunk({"content": "x"})] * size,
    "one text of many marks": lambda size: [
        chunk({"content": "<tool_call>x </think> ```json { [TOOL_CALLS] <function=" * size})
    ],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_is_read_and_folded_in_linear_time(kind: str) -> None:
    request = parse(body(stream=True, tools=[{"name": "f", "input_schema": {}}]), {}, "msg_1")

    def run(pieces: list[bytes]) -> None:
        reader = completions.reader(request, CHAT)
        parts = [part for piece in pieces for part in reader.feed(piece)]
        parts += reader.feed(chunk({}, "stop"))
        fold([*parts, *reader.close()])

    assert_linear(ANSWERS[kind], run, 200)


def test_an_answer_that_passes_through_is_read_and_folded_in_linear_time() -> None:
    def event(**fields: Any) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (fields["type"].encode(), json.dumps(fields).encode())

    usage = {"input_tokens": 1, "output_tokens": 1}
    start = event(type="message_start", message={"model": "claude-y", "content": [], "usage": usage})
    block = event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
    text = event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
    cited = event(type="content_block_delta", index=0, delta={"type": "citations_delta", "citation": {}})
    request = parse(body(stream=True), {}, "msg_1")

    def run(pieces: list[bytes]) -> None:
        reader = anthropic.reader(request, NATIVE)
        fold([part for piece in pieces for part in reader.feed(piece)])

    assert_linear(lambda size: [start, block, *[text, cited] * size], run, 200)


def test_parts_of_a_passed_through_event_are_joined_in_linear_time() -> None:
    data = b'data: {"type":"message_start","message":{"content":[],"x":"'

    def run(parts: list[Passthrough]) -> None:
        fold(parts)

    def make(size: int) -> list[Passthrough]:
        return [Passthrough(data, "start"), *[Passthrough(b"a" * 64, "content")] * size, Passthrough(b'"}}\n\n', "end")]

    assert_linear(make, run, 1000)
