"""The work of reading a chat answer grows linearly with every dimension of the answer, also a hostile one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from growth import assert_linear

from byway.backends.openai import completions, passthrough
from byway.backends.openai.toolparser import ToolCallParser
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.fronts import chat
from byway.messages import request as messages
from byway.problems import Problem

TOOLS = [
    {
        "name": name,
        "input_schema": {
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "limit": {"type": "integer"}, "edits": {"type": "array"}},
        },
    }
    for name in ("Read", "Bash")
]
BODY = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}], "tools": TOOLS}
TARGET = Target("box", "local", VENDORS["generic"])
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def read(chunks: list[bytes]) -> None:
    """Read an answer that comes in these pieces. A hostile one may end with a problem, but no later than it is read."""
    reader = completions.reader(messages.parse(json.dumps(BODY).encode(), {}, "msg_x"), TARGET)
    try:
        for chunk in chunks:
            if reader.finished:
                break
            reader.feed(chunk)
        reader.close()
    except Problem:
        pass


def event(**delta: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()


def call(arguments: str, **fields: Any) -> bytes:
    return event(tool_calls=[{"index": 0, **fields, "function": {"arguments": arguments}}])


def pieces(text: str) -> Callable[[int], list[bytes]]:
    """An answer with a text piece `text`, n times."""
    return lambda n: [event(content="So:")] + [event(content=text)] * n + [END]


def arguments(first: str, piece: str) -> Callable[[int], list[bytes]]:
    """An answer with a tool call whose arguments have `first` and n times `piece`."""
    start = event(tool_calls=[{"index": 0, "id": "a", "function": {"name": "Read", "arguments": first}}])
    return lambda n: [start] + [call(piece)] * n + [END]


CHUNKS: dict[str, Callable[[int], list[bytes]]] = {
    "text": pieces(" word"),
    "text in lines": pieces("line\n"),
    "text with a bracket in each piece": pieces(" <a"),
    "code": pieces("`a` "),
    "code blocks": pieces("```\na\n```\n"),
    "thinking": lambda n: [event(reasoning_content=" word")] * n + [END],
    "thinking with openers": lambda n: [event(reasoning_content="<tool_call>x ")] * n + [END],
    "blank bytes before the answer": lambda n: [b" \n"] * n + [END],
    "bytes of a byte order mark before the answer": lambda n: [b"\xef"] * n + [END],
    "a line byte by byte": lambda n: [b'data: {"x":"'] + [b"a"] * n + [b'"}\n\n', END],
    "a whole answer byte by byte": lambda n: [b'{"x":"'] + [b"a"] * n + [b'"}'],
    "comments": lambda n: [b": keep-alive\n\n"] * n + [END],
    "blank argument pieces": arguments("", " "),
    "argument pieces": arguments('{"file_path": "', "a"),
    "argument pieces with raw line ends": arguments('{"file_path": "', "a\n"),
    "argument pieces with quotation marks": arguments('{"edits": [', '"a",'),
    "argument pieces that begin with braces": arguments('{"a": [', '{"b":1},'),
    "argument pieces that begin like the whole": arguments('{"a":', '{"a":'),
    "blank pieces behind one that may be a repetition": lambda n: (
        arguments('{"a":', '{"a":"' + "x" * n)(1)[:-1] + [call(" ")] * n + [END]
    ),
    "argument pieces behind the end": arguments('{"a":1}', '{"a":1}'),
    "argument pieces that close too much": arguments('{"a":1}', "}"),
    "argument pieces of a list": arguments("[", "1,"),
    "pieces that repeat id and name": lambda n: (
        [event(tool_calls=[{"index": 0, "id": "a", "function": {"name": "Read", "arguments": "1"}}])] * n + [END]
    ),
    "text while a call is open": lambda n: arguments('{"a":', "")(0)[:1] + [event(content="x")] * n + [END],
    "names in pieces": lambda n: [event(tool_calls=[{"index": 0, "function": {"name": "Rea"}}])] * n + [END],
}


@pytest.mark.parametrize("make", CHUNKS.values(), ids=CHUNKS.keys())
def test_reading_grows_linearly_with_the_number_of_chunks(make: Callable[[int], list[bytes]]) -> None:
    # Large from the start: below this, fixed costs of each chunk can hide work that grows faster.
    assert_linear(make, read, size=8000)


TEXTS = {
    "openers without a call": "<tool_call>x ",
    "openers alone": "<tool_call>",
    "openers of functions": "<function=",
    "openers of an offered function": "<function=Read>",
    "openers of lists": "[TOOL_CALLS]x ",
    "openers with half a name": "<tool_call>Rea",
    "openers with a brace": "<tool_call>{",
    "calls": '<tool_call>{"name":"Read","arguments":{}}</tool_call>',
    "calls that are none": '<tool_call>{"name":"Nope","arguments":{}}</tool_call>',
    "calls that are not JSON": "<tool_call>{}}</tool_call>",
    "parameters": "<function=Read><parameter=a>",
    "thinking tags": "<think>a</think>",
    "closing tags": "</think>x",
    "channels": "<|channel|>x",
    "channels with a message": "<|channel|>final<|message|>x<|end|>",
    "channels without a message": "<|channel|>" + "x" * 300,
    "brackets": "[",
    "angle brackets": "<",
    "code blocks": "```json\n{\n```\n",
    "code blocks with openers": "```\n<tool_call>x\n",
    "inline code with openers": "`<tool_call>x",
    "objects": '{"name": ',
    "blank lines": "\n \n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_reading_grows_linearly_with_the_marks_in_one_piece(text: str) -> None:
    assert_linear(lambda n: [event(content=text * (n // len(text))), END], read, size=32_000)


@pytest.mark.parametrize("name", ["openers with half a name", "thinking tags", "channels", "code blocks", "objects"])
def test_parsing_grows_linearly_with_the_marks_in_small_pieces(name: str) -> None:
    def make(n: int) -> list[str]:
        text = TEXTS[name] * (n // len(TEXTS[name]))
        return [text[at : at + 7] for at in range(0, len(text), 7)]

    def run(pieces: list[str]) -> None:
        parser = ToolCallParser(
            lambda kind, text: None, lambda calls, text: None, {"Read": {}, "Bash": {}}, tags=True, bare=True
        )
        for piece in pieces:
            parser.feed(piece)
        parser.flush(cut=False)

    assert_linear(make, run, size=32_000)


ENTRIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "with ids": lambda at: {"index": at, "id": f"c{at}", "function": {"name": "Read", "arguments": f'{{"a":{at}}}'}},
    "with one id": lambda at: {"index": at, "id": "c", "function": {"name": "Read", "arguments": f'{{"a":{at}}}'}},
    "with index 0": lambda at: {"index": 0, "function": {"name": "Read", "arguments": f'{{"a":{at}}}'}},
    "without index and id": lambda at: {"function": {"name": "Read", "arguments": f'{{"a":{at}}}'}},
    "all the same": lambda at: {"function": {"name": "Read", "arguments": '{"a":1}'}},
    "unknown names": lambda at: {"index": at, "function": {"name": f"x{at}", "arguments": "{}"}},
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
@pytest.mark.parametrize("together", [True, False], ids=["in one chunk", "in a chunk each"])
def test_reading_grows_linearly_with_the_tool_calls(entry: Callable[[int], dict[str, Any]], together: bool) -> None:
    def make(n: int) -> list[bytes]:
        # An answer has at most 1,000 calls, so the answer is repeated where one is too quick to measure.
        entries = [entry(at) for at in range(min(n, 900))]
        chunks = [event(tool_calls=entries)] if together else [event(tool_calls=[item]) for item in entries]
        return [*chunks, END]

    def run(answers: list[list[bytes]]) -> None:
        for chunks in answers:
            read(chunks)

    assert_linear(lambda n: [make(n // 40)] * 8, run, size=4500)


@pytest.mark.parametrize("size", [64, 4096], ids=["small", "large"])
def test_reading_grows_linearly_with_cumulative_text(size: int) -> None:
    def make(n: int) -> list[bytes]:
        # The answer itself is quadratic in its pieces, so their number stays and their size grows.
        text = "word " * (n // 5)
        step = max(1, len(text) // 16)
        return [event(content=text[: at + step]) for at in range(0, len(text), step)] + [END]

    assert_linear(make, read, size=size)


def test_reading_grows_linearly_with_cumulative_arguments() -> None:
    def make(n: int) -> list[bytes]:
        whole = json.dumps({"file_path": "a" * n})
        step = max(1, len(whole) // 16)
        return [call(whole[: at + step], id="a") for at in range(0, len(whole), step)] + [END]

    assert_linear(make, read)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: [event(content="x")] * n + [END],
        lambda n: [b"data: " + json.dumps({"choices": [{"delta": {"content": "x"}}] * n}).encode() + b"\n\n", END],
        lambda n: [b": comment\n\n"] * n + [END],
        lambda n: [b" "] * n + [END],
    ],
    ids=["chunks", "choices", "comments", "blanks"],
)
def test_passing_through_grows_linearly(make: Callable[[int], list[bytes]]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    request = chat.read(json.dumps(body).encode(), {}, "msg_x")[0]

    def run(chunks: list[bytes]) -> None:
        reader = passthrough.PassthroughReader(request, TARGET)
        for chunk in chunks:
            reader.feed(chunk)

    assert_linear(make, run)
