"""The official tool search, run by Byway: what it finds, its blocks, its errors, and the tools that the model gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from growth import assert_linear
from strict import check_event, check_message
from test_targets import Network, ask, runtime

from byway.backends.openai.definedtools import function
from byway.messages import sse
from byway.messages.request import Request, parse
from byway.messages.tools import Tool
from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParserPool
from byway.parsing.worker import parse as work
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.search.ranking import rank, words
from byway.search.tools import ToolSearcher, ToolSearchError

REGEX = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
BM25 = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}


def tool(name: str, description: str = "", **arguments: str) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": text} for argument, text in arguments.items()}
    schema = {"type": "object", "properties": properties}
    return {"name": name, "description": description, "input_schema": schema, "defer_loading": True}


DEFERRED = [
    tool("get_weather", "Get the weather at a place", location="The city"),
    tool("slack_send", "Send a message to a Slack channel", channel="Where to send"),
    tool("get_user_data", "Read a user", id="The user's number"),
    tool("searchFiles", "Find files", glob="Like **/*.py in the Slack export"),
    tool("broken", "No schema") | {"input_schema": "none"},
]


class InProcess(ParserPool):
    """Runs the worker's function in this process."""

    async def parse(self, job: ParseJob, data: bytes) -> Any:
        parsed = work(job, data)
        if parsed.problem:
            raise ParseError("unreadable", parsed.problem)
        return parsed


def find(kind: dict[str, str], given: dict[str, Any], tools: list[dict[str, Any]] = DEFERRED) -> list[str]:
    values = [msgspec.json.decode(json.dumps(tool), type=Tool) for tool in tools]
    return asyncio.run(ToolSearcher(InProcess()).find(kind["type"], given, values))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("weather", ["get_weather"]),
        ("get_.*_data", ["get_user_data"]),
        ("(?i)slack", ["slack_send", "searchFiles"]),
        ("Slack", ["slack_send", "searchFiles"]),
        ("user|city", ["get_user_data", "get_weather"]),
        (r"^get_\w+$", ["get_weather", "get_user_data"]),
        ("glob", ["searchFiles"]),
        ("nothing", []),
    ],
)
def test_a_pattern_is_searched_in_names_descriptions_and_arguments(pattern: str, names: list[str]) -> None:
    """Names come first."""
    assert find(REGEX, {"pattern": pattern}) == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("weather city", ["get_weather"]),
        ("send messages", ["slack_send"]),
        ("Slack", ["slack_send", "searchFiles"]),
        ("file search", ["searchFiles"]),
        ("xylophone", []),
    ],
)
def test_a_query_in_plain_words_ranks_the_tools(query: str, names: list[str]) -> None:
    assert find(BM25, {"query": query}) == names


def test_one_search_finds_five_tools_or_as_many_as_the_model_sets() -> None:
    many = [tool(f"tool_{number}") for number in range(30)]
    assert [len(find(REGEX, {"pattern": "tool", **limit}, many)) for limit in ({}, {"limit": 2}, {"limit": 99})] == [
        5,
        2,
        20,
    ]
    assert len(find(BM25, {"query": "tool", "limit": "all"}, many)) == 5


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (REGEX, {}, "`pattern` is empty"),
        (REGEX, {"pattern": 5}, "`pattern` is empty"),
        (REGEX, {"pattern": "a" * 201}, "longer than 200"),
        (REGEX, {"pattern": "get_("}, "not a regular expression"),
        (REGEX, {"pattern": "a{99999999999}"}, "not a regular expression"),
        (BM25, {"query": "   "}, "`query` is empty"),
    ],
)
def test_an_invalid_search_has_the_official_error(kind: dict[str, str], given: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolSearchError, match=words) as caught:
        find(kind, given)
    assert caught.value.code == "invalid_tool_input"


def test_a_pattern_that_takes_too_long_has_the_official_error() -> None:
    class Slow(ParserPool):
        async def parse(self, job: ParseJob, data: bytes) -> Any:
            raise ParseError("limit", "it takes too much time")

    with pytest.raises(ToolSearchError) as caught:
        asyncio.run(ToolSearcher(Slow()).find(REGEX["type"], {"pattern": "(a+)+$"}, [Tool("aaaaaaaa")]))
    assert caught.value.code == "execution_time_exceeded"


def test_patterns_of_this_process_and_the_ranking_take_linear_time() -> None:
    assert_linear(
        lambda size: [tool(f"t{n}", "weather of a place") for n in range(size)],
        lambda tools: find(BM25, {"query": "weather"}, tools),
    )
    pattern = "a" * 99 + "|" + "a" * 98 + "b"
    assert_linear(
        lambda size: [tool("t", "a" * 4000)] * (size // 100), lambda tools: find(REGEX, {"pattern": pattern}, tools)
    )


def test_words_are_split_at_case_and_underscores() -> None:
    assert words("getUserData slack_send HTTPServer2 Größe") == [
        "get",
        "user",
        "data",
        "slack",
        "send",
        "http",
        "server",
        "2",
        "gr",
        "öß",
        "e",
    ]
    assert rank("", [["a"]]) == [] and rank("a", []) == []


# ---------------------------------------------------------------------------------------------------------- whole requests


def request(*tools: dict[str, Any], **fields: Any) -> Request:
    body = {
        "model": "sonnet",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "Weather in Oslo?"}],
        **fields,
    }
    return parse(json.dumps({**body, "tools": list(tools)}).encode(), {}, "msg_0123456789abcdef01234567")


def calls(name: str, arguments: Any, tokens: int = 10) -> Any:
    call = {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"content": None, "tool_calls": [call]}
    usage = {"prompt_tokens": tokens, "completion_tokens": 2}
    return {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}


def offered(network: Network) -> list[list[str]]:
    return [[tool["function"]["name"] for tool in json.loads(call.body)["tools"]] for call in network.calls]


@pytest.mark.parametrize("kind", [REGEX, BM25])
def test_a_found_tool_is_offered_in_the_next_turn_and_called(kind: dict[str, str]) -> None:
    given = {"pattern": "weather"} if kind is REGEX else {"query": "weather"}
    network = Network((200, calls(kind["name"], given)), (200, calls("get_weather", {"location": "Oslo"}, 20)))
    answer, record = ask(runtime("one"), request(kind, *DEFERRED), one=network)
    assert offered(network) == [[kind["name"]], [kind["name"], "get_weather"]]
    search, result, call = answer["content"]
    assert (search["type"], search["name"], search["input"]) == ("server_tool_use", kind["name"], given)
    references = [{"type": "tool_reference", "tool_name": "get_weather"}]
    content = {"type": "tool_search_tool_search_result", "tool_references": references}
    assert result == {"type": "tool_search_tool_result", "tool_use_id": search["id"], "content": content}
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "get_weather", {"location": "Oslo"})
    assert answer["stop_reason"] == "tool_use" and record.tries == 1
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (30, 4)
    check_message(answer)


def test_a_failed_search_is_a_block_and_the_model_can_search_again() -> None:
    network = Network(
        (200, calls("tool_search_tool_regex", {"pattern": ""})),
        (200, calls("tool_search_tool_regex", {"pattern": "weather"})),
        (200, calls("get_weather", {"location": "Oslo"})),
    )
    answer, _ = ask(runtime("one"), request(REGEX, *DEFERRED), one=network)
    kinds = [block.get("content", {}).get("type") for block in answer["content"] if block["type"].endswith("result")]
    assert kinds == ["tool_search_tool_result_error", "tool_search_tool_search_result"]
    assert answer["content"][1]["content"]["error_code"] == "invalid_tool_input"
    assert "invalid_tool_input" in json.loads(network.calls[1].body)["messages"][-1]["content"]
    check_message(answer)


def test_a_streamed_search_has_valid_events() -> None:
    network = Network((200, calls("tool_search_tool_bm25", {"query": "weather"})), (200, calls("get_weather", {})))
    at = runtime("one")
    at.backends["one"].upstream = cast(Any, network)
    held = HeldReply()
    asyncio.run(exchange.answer(at, request(BM25, *DEFERRED, stream=True), held, Record()))
    events = [
        json.loads(line[6:]) for line in sse.encode(held.parts).decode().splitlines() if line.startswith("data: ")
    ]
    for event in events:
        check_event(event)
    starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert starts == ["server_tool_use", "tool_search_tool_result", "tool_use"]


def test_the_searches_of_one_answer_are_bounded() -> None:
    """The model calls the tool without end, also when it is not offered any more."""
    network = Network((200, calls("tool_search_tool_bm25", {"query": "weather"})))
    answer, _ = ask(runtime("one"), request(BM25, *DEFERRED), one=network)
    assert ["tool_search_tool_bm25" in names for names in offered(network)] == [True] * 10 + [False] * 3
    codes = [block["content"].get("error_code") for block in answer["content"] if block["type"].endswith("result")]
    assert codes == [None] * 10 + ["too_many_requests"] * 2 and answer["stop_reason"] == "end_turn"


def test_the_undated_types_are_known_too() -> None:
    for kind in ("tool_search_tool_regex", "tool_search_tool_bm25"):
        definition = function(Tool(kind, type=kind))
        assert definition is not None and definition.name == kind
