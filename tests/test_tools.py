"""Tools of a request in chat form: the cache between requests, names, and the places that errors name."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway.backends.openai import completions, toolformats
from byway.backends.openai import tools as chat_tools
from byway.backends.openai.schema import Budget
from byway.backends.openai.tools import ChatTool, left_out, tool_list, wire_name
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages import tools as declared
from byway.messages.request import parse
from byway.problems import Problem

CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
CHAT = [row.name for row in VENDORS.values() if row.protocol == "openai"]


def body(*tools: dict[str, Any], **fields: Any) -> bytes:
    table = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "tools": tools, **fields}
    return json.dumps(table).encode()


def sent(data: bytes, vendor: str = "generic") -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(
        completions.request(parse(data, {}, "msg_1"), Target("box", "m", VENDORS[vendor])).body
    )
    return parsed


@pytest.mark.parametrize("vendor", CHAT)
def test_a_cached_tool_does_not_keep_its_request_in_memory(vendor: str) -> None:
    data = body({"name": f"kept_{vendor}", "description": "It is kept.", "input_schema": CLOSED})
    target = Target("box", "m", VENDORS[vendor])
    before = sys.getrefcount(data)
    request = parse(data, {}, "msg_1")
    completions.request(request, target)
    completions.reader(request, target)
    del request
    assert sys.getrefcount(data) == before


@pytest.mark.parametrize("vendor", CHAT)
def test_a_cached_tool_is_sent_in_the_same_bytes(vendor: str) -> None:
    target = Target("box", "m", VENDORS[vendor])
    for strict in (None, True, None, False):
        data = body({"name": "again", "description": "é", "input_schema": CLOSED, "strict": strict})
        first, second = (completions.request(parse(data, {}, "msg_1"), target).body for _ in range(2))
        assert first == second
        text = json.loads(first)["tools"][0]["function"]
        assert text["description"] == "é" and text.get("strict") == (
            True if strict and target.vendor.strict_tools else None
        )


def test_a_changed_tool_is_not_taken_from_the_cache() -> None:
    for words in ("one", "two"):
        text = sent(body({"name": "changing", "description": words, "input_schema": CLOSED}))
        assert text["tools"][0]["function"]["description"] == words
    for name in ("a", "b"):
        schema = {"type": "object", "properties": {name: {"type": "string"}}}
        text = sent(body({"name": "changing", "description": "two", "input_schema": schema}))
        assert [*text["tools"][0]["function"]["parameters"]["properties"]] == [name]


def test_an_error_names_the_place_of_the_tool_in_the_request() -> None:
    late = {"name": "Late", "defer_loading": True}
    with pytest.raises(Problem, match=r"^tools\.2\.input_schema: Input should be an object"):
        sent(body(late, {"name": "Read"}, {"name": "Bad", "input_schema": []}))
    change = {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": {"name": "X", "input_schema": 3}},
    }
    messages = [{"role": "user", "content": "Hi"}, {"role": "system", "content": [change]}]
    with pytest.raises(Problem, match=r"^messages: tool\.input_schema: Input should be an object"):
        sent(body(messages=messages))


def test_tools_that_are_added_later_come_last() -> None:
    tools: list[dict[str, Any]] = [
        {"name": "A"},
        {"name": "B", "defer_loading": True},
        {"name": "C"},
        {"name": "D", "defer_loading": True},
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
    results = []
    for name in ("", "D", "B"):
        if name:
            change = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": name}}
            messages += [{"role": "system", "content": [change]}, {"role": "user", "content": "Go"}]
        results.append([tool["function"]["name"] for tool in sent(body(*tools, messages=messages))["tools"]])
    assert results == [["A", "C"], ["A", "C", "D"], ["A", "C", "D", "B"]]


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_becomes_a_valid_one_and_two_names_stay_different(name: str, other: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wire_name(name))
    assert wire_name(wire_name(name)) == wire_name(name)
    assert (
        (wire_name(name) == wire_name(other)) == (name == other) or other == wire_name(name) or name == wire_name(other)
    )


def test_a_long_name_is_shortened_equally_in_tools_history_and_choice() -> None:
    name = "mcp__a server__" + "x" * 80
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
    ]
    text = sent(body({"name": name}, messages=messages, tool_choice={"type": "tool", "name": name}))
    names = {
        text["tools"][0]["function"]["name"],
        text["tool_choice"]["function"]["name"],
        text["messages"][1]["tool_calls"][0]["function"]["name"],
    }
    assert names == {wire_name(name)} and wire_name(name) != name


def test_the_types_of_server_tools_that_are_left_out_are_known_for_the_log() -> None:
    read, code = {"name": "Read"}, {"type": "code_execution_20250825", "name": "code"}
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert left_out(parse(body(read), {}, "msg_1")) == []
    assert left_out(parse(body(read, code, search), {}, "msg_1")) == ["code_execution_20250825"]
    assert left_out(parse(body(code), {}, "msg_1")) == [], "the only tool is refused"
    forced = {"type": "tool", "name": "code"}
    assert left_out(parse(body(read, code, tool_choice=forced), {}, "msg_1")) == []


def test_requests_with_the_same_tools_share_what_was_made_of_them() -> None:
    target = Target("box", "m", VENDORS["generic"])
    read, write = {"name": "Read", "description": "Reads."}, {"name": "Write"}

    def offered(*tools: dict[str, Any], model: Target = target) -> list[ChatTool]:
        return tool_list(parse(body(*tools), {}, "msg_1"), model, Budget())

    first = offered(read, write)
    assert offered(read, write) is first
    assert [tool.function["name"] for tool in offered(write, read)] == ["Write", "Read"]
    changed = offered({**read, "description": "Reads a file."}, write)
    assert b"a file" in bytes(changed[0].function["description"]) and offered(read, write)[0] == first[0]
    assert offered(read, write, model=Target("box", "m", VENDORS["openai"])) is not first


@pytest.mark.parametrize(
    "long",
    [
        {"citations": {"a": [[]] * 400_000}},
        {"allowed_domains": ["a"] * 20_000},
        {"type": "custom" + "m" * 600_000},
        {"name": "n" * 600_000},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_tool_with_a_long_field_is_not_kept(long: dict[str, Any]) -> None:
    tool = {"name": "Read", "input_schema": {"type": "object"}, **long}
    request = parse(body(tool), {}, "msg_1")
    caches: tuple[dict[Any, Any], ...] = declared._shared, chat_tools._converted, toolformats._cache
    for cache in caches:
        cache.clear()
    with contextlib.suppress(Problem):
        tool_list(request, Target("box", "m", VENDORS["generic"]), Budget())
    toolformats.argument_types(request)
    assert not declared._shared
    assert "name" not in long or not any(map(len, caches)), "names are keys of the other caches"


def test_tools_that_depend_on_the_conversation_are_not_shared() -> None:
    target = Target("box", "m", VENDORS["generic"])
    late = {"name": "Late", "defer_loading": True}
    result = {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "tool_reference", "tool_name": "Late"}]}
    use = {"type": "tool_use", "id": "x", "name": "Read", "input": {}}
    messages = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    for expected, given_messages in (["Read"], None), (["Read", "Late"], messages), (["Read"], None):
        fields = {"messages": given_messages} if given_messages else {}
        tools = tool_list(parse(body({"name": "Read"}, late, **fields), {}, "msg_1"), target, Budget())
        assert [tool.function["name"] for tool in tools] == expected
