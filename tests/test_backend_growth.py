"""The work of the protocol modules grows linearly with each dimension of a request, a model list and an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from growth import assert_linear

from byway.backends import anthropic
from byway.backends.openai import completions, tools
from byway.backends.openai.schema import adapt
from byway.backends.protocol import BackendProtocol, Target
from byway.backends.vendors import VENDORS
from byway.messages import tools as declared
from byway.messages.request import parse
from byway.problems import Problem

OPENAI = Target("box", "m", VENDORS["generic"])
LLAMA = Target("box", "m", VENDORS["llamacpp"])
ANTHROPIC = Target("box", "other", VENDORS["anthropic"])
USER = {"role": "user", "content": "Hi"}


def forget_tools() -> None:
    """Empty the caches, so that tools are converted again."""
    tools._converted.clear()
    declared._shared.clear()


@pytest.fixture(autouse=True)
def _no_cached_tools() -> Iterator[None]:
    forget_tools()
    yield
    forget_tools()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": [USER], **fields}).encode()


def blocks(*content: dict[str, Any]) -> bytes:
    return body(messages=[USER, {"role": "assistant", "content": [*content]}, USER])


def tool(n: int, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"t{n}", "input_schema": schema}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def calls(n: int) -> bytes:
    """Tool calls of one assistant turn and their results."""
    ids = [f"toolu_{at}" for at in range(n)]
    used = [{"type": "tool_use", "id": id, "name": "Read", "input": {}} for id in ids]
    results = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in ids]
    return body(messages=[USER, {"role": "assistant", "content": used}, {"role": "user", "content": results}])


def nested_result(n: int) -> bytes:
    """A result of a server tool with much text below many levels."""
    content: Any = [text("x" * n)]
    for _ in range(min(n // 100, 200)):
        content = {"inner": content}
    return blocks({"type": "web_search_tool_result", "tool_use_id": "x", "content": content})


def turns(n: int) -> bytes:
    return body(
        messages=[{"role": "user" if at % 2 == 0 else "assistant", "content": f"turn {at}"} for at in range(n + 1)]
    )


REQUESTS: dict[str, Callable[[int], bytes]] = {
    "tools": lambda n: body(tools=[{"name": f"t{at}"} for at in range(n)]),
    "deferred tools": lambda n: body(tools=[{"name": f"t{at}", "defer_loading": at % 2 == 0} for at in range(n)]),
    "messages": turns,
    "text blocks of one turn": lambda n: blocks(*[text("some words of a text " * 5) for _ in range(n)]),
    "thinking blocks of one turn": lambda n: blocks(
        *[{"type": "thinking", "thinking": "hm", "signature": "s"} for _ in range(n)], text("x")
    ),
    "tool calls of one turn": calls,
    "blocks of an unknown type": lambda n: blocks(*[{"type": "zzz", "x": at} for at in range(n)]),
    "levels of a server tool's result": nested_result,
    "system texts": lambda n: body(system=[text(f"system {at}") for at in range(n)]),
    "marks in a system text": lambda n: body(
        system=[text("You are Claude Code"), text("<system-reminder>\n - Primary working directory: " * n)]
    ),
    "stop sequences": lambda n: body(stop_sequences=[f"s{at}" for at in range(n)]),
    "length of a tool's name": lambda n: body(tools=[{"name": "é" * n}]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_work_of_a_chat_request_grows_linearly(name: str) -> None:
    def run(data: bytes) -> None:
        forget_tools()
        completions.request(parse(data, {}, "msg_1"), OPENAI)

    assert_linear(REQUESTS[name], run)


@pytest.mark.parametrize("name", ["tools", "messages", "tool calls of one turn"])
def test_the_work_of_a_token_count_grows_linearly(name: str) -> None:
    def run(data: bytes) -> None:
        forget_tools()
        assert completions.count(parse(data, {}, "msg_1"), LLAMA) is not None

    assert_linear(REQUESTS[name], run)


@pytest.mark.parametrize("name", ["messages", "tools"])
def test_the_work_of_an_anthropic_request_grows_linearly(name: str) -> None:
    assert_linear(REQUESTS[name], lambda data: anthropic.request(parse(data, {}, "msg_1"), ANTHROPIC))


def test_the_work_of_removing_our_thinking_grows_linearly() -> None:
    def make(n: int) -> bytes:
        thinking = {"type": "thinking", "thinking": "hm", "signature": "byway.x"}
        return body(messages=[USER, *[{"role": "assistant", "content": [thinking, text("x")]}, USER] * n])

    assert_linear(make, lambda data: anthropic.request(parse(data, {}, "msg_1"), ANTHROPIC))


def test_the_work_of_beta_headers_grows_linearly() -> None:
    def make(n: int) -> str:
        return ",".join(f"beta-{at}" for at in range(n))

    def run(betas: str) -> None:
        request = parse(body(), {"anthropic-beta": betas}, "msg_1")
        for _ in range(10_000):
            assert betas == anthropic.request(request, ANTHROPIC).headers[-1][1]

    assert_linear(make, run)


def properties(n: int) -> dict[str, Any]:
    return {f"p{at}": {"type": "string", "description": "A text."} for at in range(n)}


def deep(n: int) -> dict[str, Any]:
    """A chain of schemas below the limit, n times."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        schema = {"type": "object", "properties": {"a": schema}}
    return {"properties": {f"p{at}": schema for at in range(n // 30)}}


def chained(n: int, key: str) -> dict[str, Any]:
    """Definitions that refer to the next, by a choice or by a property."""
    definitions: dict[str, Any] = {f"d{n}": {"type": "string"}}
    for at in range(n):
        reference = {"$ref": f"#/$defs/d{at + 1}"}
        definitions[f"d{at}"] = {key: [reference]} if key == "anyOf" else {"type": "object", key: {"a": reference}}
    return {"properties": {"a": {"$ref": f"#/$defs/d{n // 2}"}}, "$defs": definitions}


def shared(n: int, key: str) -> dict[str, Any]:
    """Many branches that refer to one wide definition."""
    branches = [{"$ref": "#/$defs/d"} for _ in range(n)]
    return {key: branches, "$defs": {"d": {"type": "object", "properties": properties(n)}}}


SCHEMAS: dict[str, Callable[[int], dict[str, Any]]] = {
    "width": lambda n: {"properties": properties(n)},
    "depth": deep,
    "definitions in a chain of choices": lambda n: chained(n, "anyOf"),
    "definitions in a chain of properties": lambda n: chained(n, "properties"),
    "oneOf branches": lambda n: {"properties": {"a": {"oneOf": [{"const": f"c{at}"} for at in range(n)]}}},
    "allOf branches": lambda n: {
        "properties": {"a": {"allOf": [{"properties": {f"p{at}": {}}, "required": [f"p{at}"]} for at in range(n)]}}
    },
    "branches at the top": lambda n: {"anyOf": [{"properties": {f"p{at}": {}}} for at in range(n)]},
    "branches at the top that share a definition": lambda n: shared(n, "anyOf"),
    "allOf branches that share a definition": lambda n: {"properties": {"a": shared(n, "allOf")}, **shared(n, "x")},
    "required names": lambda n: {"properties": properties(n), "required": [f"p{at}" for at in range(n)]},
    "enum values": lambda n: {"properties": {"a": {"enum": [f"v{at}" for at in range(n)]}}},
    "keywords that are refused": lambda n: {"properties": {"a": {f"x{at}": {"y": 1} for at in range(n)}}},
}


@pytest.mark.parametrize(
    ("name", "dialect"),
    [*((name, "plain") for name in SCHEMAS), ("definitions in a chain of choices", "grammar"), ("width", "grammar")],
)
def test_the_work_on_a_schema_grows_linearly(name: str, dialect: Any) -> None:
    def run(schema: bytes) -> None:
        try:
            adapt(schema, dialect, "tools.0.input_schema")
        except Problem as problem:
            assert "references" in problem.message

    assert_linear(lambda n: json.dumps(SCHEMAS[name](n)).encode(), run)


def doubling(levels: int) -> dict[str, Any]:
    """Each definition refers to the next one twice."""
    definitions: dict[str, Any] = {f"d{levels}": {"type": "string"}}
    for at in range(levels):
        reference = {"$ref": f"#/$defs/d{at + 1}"}
        definitions[f"d{at}"] = {"type": "object", "properties": {"a": reference, "b": reference}}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


@pytest.mark.parametrize("levels", [8, 11, 40])
def test_all_schemas_of_a_request_share_one_budget_for_references(levels: int) -> None:
    """400 tools whose definitions double at each level are refused, and quickly: the refusal takes less than one tool more."""
    data = body(tools=[tool(at, doubling(levels)) for at in range(400)])
    with pytest.raises(Problem, match=r"^tools\.\d+\.input_schema: .*references") as caught:
        completions.request(parse(data, {}, "msg_1"), OPENAI)
    assert caught.value.kind == "invalid_request"


def test_a_request_with_references_in_many_tools_is_within_the_budget() -> None:
    data = body(tools=[tool(at, doubling(4)) for at in range(100)])
    sent = json.loads(completions.request(parse(data, {}, "msg_1"), OPENAI).body)
    assert len(sent["tools"]) == 100


LISTS: dict[str, tuple[BackendProtocol, Callable[[int], dict[str, Any]]]] = {
    "openai": (completions, lambda n: {"data": [{"id": f"m{at}", "context_length": 4096} for at in range(n)]}),
    "anthropic": (anthropic, lambda n: {"data": [{"id": f"m{at}", "max_input_tokens": 4096} for at in range(n)]}),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_work_on_a_model_list_grows_linearly(name: str) -> None:
    protocol, make = LISTS[name]
    assert_linear(lambda n: json.dumps(make(n)).encode(), protocol.read_models)


ANSWERS: dict[str, Callable[[int], list[bytes]]] = {
    "blank bytes before the answer": lambda n: [b" "] * n,
    "chunks of one event": lambda n: [b"event: message_start\n", *[b"data: x\n"] * n],
    "line ends": lambda n: [b"event: ping\n", *[b"\n"] * n],
    "events": lambda n: [b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'] * n,
    "pings and deltas in one chunk": lambda n: [b'event: ping\ndata: {"type":"ping"}\n\ndata: {"type":"x"}\n\n' * n],
    "pieces of a JSON answer": lambda n: [b'{"type":"message","x":"', *[b"word "] * n],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_work_on_an_anthropic_answer_grows_linearly(name: str) -> None:
    request = parse(body(stream=True), {}, "msg_1")

    def run(chunks: list[bytes]) -> None:
        reader = anthropic.reader(request, ANTHROPIC)
        for chunk in chunks:
            reader.feed(chunk)

    assert_linear(ANSWERS[name], run)
