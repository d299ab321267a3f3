"""Web search and web fetch, run by Byway in whole requests: turns of the model, blocks, limits, and what the client sees."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from strict import check_event, check_message
from test_targets import Network, ask, chat_answer, runtime
from test_tool_search import calls, offered, request

from byway import urls
from byway.messages import sse
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.providers.protocol import SearchError, SearchQuery, WebResult
from byway.runtime import Runtime
from byway.web.fetch import FetchedPage, FetchError

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}
OWN = {"name": "get_weather", "input_schema": {"type": "object"}}
RESULTS = [WebResult("Oslo", "https://weather.example/oslo", "Rain.", "today")]
USED = {"prompt_tokens": 20, "completion_tokens": 5}
SAYS = (200, chat_answer(USED))


class FakeSearcher:
    """Gives the results or errors of a list in order, the last one again."""

    ready = True

    def __init__(self, *given: list[WebResult] | SearchError) -> None:
        self._given = list(given) or [RESULTS]
        self.queries: list[SearchQuery] = []

    async def search(self, query: SearchQuery) -> Any:
        self.queries.append(query)
        result = self._given.pop(0) if len(self._given) > 1 else self._given[0]
        if isinstance(result, SearchError):
            raise result
        return SimpleNamespace(results=result)

    async def close(self) -> None:
        """Nothing is open."""


class FakeFetcher:
    """Fetches any page that the conversation names."""

    def __init__(self) -> None:
        self.limits: list[dict[str, Any]] = []

    async def fetch(self, address: str, *, known: Any, **limits: Any) -> FetchedPage:
        self.limits.append(limits)
        if not any(known(urls.parse(address))):
            raise FetchError("url_not_allowed", "the URL is not in the conversation")
        return FetchedPage(address, "Oslo", "It rains.", "text/html", "2026-01-01T00:00:00Z", ())


def at_work(searcher: FakeSearcher | None = None, **sections: Any) -> Runtime:
    at = runtime("one", web_fetch={"enabled": True}, **sections)
    at.searcher = cast(Any, searcher or FakeSearcher())
    at.fetcher = cast(Any, FakeFetcher())
    return at


def kinds(answer: dict[str, Any]) -> list[str]:
    return [block["type"] for block in answer["content"]]


def searches(text: str) -> tuple[int, Any]:
    return 200, calls("web_search", {"query": text})


def test_a_model_searches_and_answers_with_the_results() -> None:
    searcher, network = FakeSearcher(), Network(searches("weather oslo"), SAYS)
    answer, record = ask(at_work(searcher), request({**SEARCH, "blocked_domains": ["ads.example"]}, OWN), one=network)
    assert [query.text for query in searcher.queries] == ["weather oslo"]
    assert searcher.queries[0].blocked == ("ads.example",)
    assert kinds(answer) == ["server_tool_use", "web_search_tool_result", "text"]
    use, result, text = answer["content"]
    assert use["input"] == {"query": "weather oslo"} and result["tool_use_id"] == use["id"]
    assert result["content"][0]["url"] == "https://weather.example/oslo" and text["text"] == "Hello"
    assert (answer["stop_reason"], record.stop_reason) == ("end_turn", "end_turn")
    usage = answer["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (30, 7), "the tokens of both turns"
    assert usage["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
    assert record.tries == 1 and not record.estimated
    # The model gets its own call back, with the results as plain JSON.
    sent = json.loads(network.calls[1].body)["messages"]
    assert json.loads(sent[-2]["tool_calls"][0]["function"]["arguments"]) == {"query": "weather oslo"}
    assert json.loads(sent[-1]["content"]) == [
        {"title": "Oslo", "url": "https://weather.example/oslo", "age": "today", "text": "Rain."}
    ]
    check_message(answer)


def test_text_before_a_search_is_kept_and_returned_to_the_model() -> None:
    turn = calls("web_search", {"query": "x"})
    turn["choices"][0]["message"]["content"] = "I look it up."
    network = Network((200, turn), SAYS)
    answer, _ = ask(at_work(), request(SEARCH), one=network)
    assert kinds(answer) == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert json.loads(network.calls[1].body)["messages"][-2]["content"] == "I look it up."


def test_claude_code_s_search_takes_no_turn_of_the_model() -> None:
    network = Network(SAYS)
    text = "Perform a web search for the query: weather oslo"
    searcher = FakeSearcher()
    answer, record = ask(at_work(searcher), request(SEARCH, messages=[{"role": "user", "content": text}]), one=network)
    assert not network.calls and [query.text for query in searcher.queries] == ["weather oslo"]
    assert kinds(answer) == ["server_tool_use", "web_search_tool_result", "text", "text"]
    assert "1. Oslo (today)" in answer["content"][3]["text"] and answer["stop_reason"] == "end_turn"
    assert record.estimated and answer["usage"]["output_tokens"] > 0 and answer["usage"]["input_tokens"] > 0
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert record.usage is not None and record.usage.output_tokens == answer["usage"]["output_tokens"]


def test_a_failed_search_is_a_block_and_is_not_counted() -> None:
    searcher = FakeSearcher(SearchError("unavailable", "no provider answered"), RESULTS)
    network = Network(searches("a"), searches("b"), SAYS)
    answer, _ = ask(at_work(searcher), request(SEARCH), one=network)
    results = [block["content"] for block in answer["content"] if block["type"] == "web_search_tool_result"]
    assert results[0] == {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    assert results[1][0]["title"] == "Oslo"
    ids = [block["id"] for block in answer["content"] if block["type"] == "server_tool_use"]
    assert len(set(ids)) == 2 and answer["usage"]["server_tool_use"]["web_search_requests"] == 1
    shown = json.loads(network.calls[1].body)["messages"][-1]["content"]
    assert json.loads(shown) == {"error": "unavailable: no provider answered"}
    check_message(answer)


@pytest.mark.parametrize("given", [{"query": ""}, {}, {"query": None}])
def test_an_empty_query_is_an_invalid_input(given: dict[str, Any]) -> None:
    searcher = FakeSearcher()
    answer, _ = ask(at_work(searcher), request(SEARCH), one=Network((200, calls("web_search", given)), SAYS))
    assert not searcher.queries and answer["content"][1]["content"]["error_code"] == "invalid_tool_input"


@pytest.mark.parametrize(
    ("tool", "sections", "most"),
    [
        ({**SEARCH, "max_uses": 2}, {}, 2),
        (SEARCH, {"web_search": {"max_tool_iterations": 3}}, 3),
        ({**SEARCH, "max_uses": 0}, {}, 0),
    ],
)
def test_the_searches_of_one_answer_are_limited(tool: dict[str, Any], sections: dict[str, Any], most: int) -> None:
    """The model calls the tool without end, also when it is not offered any more."""
    searcher, network = FakeSearcher(), Network(searches("again"))
    answer, _ = ask(at_work(searcher, **sections), request(tool, OWN), one=network)
    assert len(searcher.queries) == most
    assert ["web_search" in names for names in offered(network)][: most + 1] == [True] * max(most, 1) + [False] * (
        most > 0
    )
    codes = [
        block["content"]["error_code"]
        for block in answer["content"]
        if block["type"] == "web_search_tool_result" and isinstance(block["content"], dict)
    ]
    assert codes == ["max_uses_exceeded"] * 2 and answer["stop_reason"] == "end_turn"
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == most
    assert len(network.calls) == most + 3


def test_a_search_beside_a_call_of_the_clients_tool_waits_for_the_client() -> None:
    turn = calls("web_search", {"query": "x"})
    turn["choices"][0]["message"]["tool_calls"] += calls("get_weather", {"city": "Oslo"})["choices"][0]["message"][
        "tool_calls"
    ]
    searcher, network = FakeSearcher(), Network((200, turn))
    answer, _ = ask(at_work(searcher), request(SEARCH, OWN), one=network)
    assert kinds(answer) == ["tool_use"] and answer["content"][0]["name"] == "get_weather"
    assert answer["stop_reason"] == "tool_use" and not searcher.queries and len(network.calls) == 1


def test_a_forced_choice_holds_for_the_first_turn_only() -> None:
    network = Network(searches("x"), SAYS)
    ask(at_work(), request(SEARCH, OWN, tool_choice={"type": "tool", "name": "web_search"}), one=network)
    assert "tool_choice" not in json.loads(network.calls[1].body)


def test_a_streamed_search_has_valid_events() -> None:
    at = at_work()
    at.backends["one"].upstream = cast(Any, Network(searches("x"), SAYS))
    held = HeldReply()
    asyncio.run(exchange.answer(at, request(SEARCH, stream=True), held, Record()))
    events = [
        json.loads(line[6:]) for line in sse.encode(held.parts).decode().splitlines() if line.startswith("data: ")
    ]
    for event in events:
        check_event(event)
    starts = [(event["index"], event["content_block"]["type"]) for event in events if "content_block" in event]
    assert starts == [(0, "server_tool_use"), (1, "web_search_tool_result"), (2, "text")]
    assert [event["type"] for event in events].count("message_start") == 1


# --------------------------------------------------------------------------------------------------- searches for others


OWN_SEARCH = {"name": "web_search", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("inject", "tools", "fields", "managed"),
    [
        ("when_asked", [OWN_SEARCH, OWN], {}, True),
        ("when_asked", [OWN], {}, False),
        ("always", [OWN], {}, True),
        ("always", [], {}, True),
        ("always", [OWN], {"tool_choice": {"type": "auto"}}, True),
        ("always", [OWN], {"tool_choice": {"type": "any"}}, False),
        ("always", [OWN_SEARCH], {}, False),
        ("off", [OWN_SEARCH], {}, False),
    ],
)
def test_an_injected_search_is_not_shown_to_the_client(
    inject: str, tools: list[dict[str, Any]], fields: dict[str, Any], managed: bool
) -> None:
    searcher = FakeSearcher()
    settings = {"enabled": True, "provider": "searxng", "base_url": "http://127.0.0.1:9", "inject": inject}
    at = at_work(searcher, web_search=settings)
    if managed:
        network = Network(searches("x"), SAYS)
        answer, _ = ask(at, request(*tools, **fields), one=network)
        assert kinds(answer) == ["text"] and len(searcher.queries) == 1
        assert "web_search" in offered(network)[0] and len(offered(network)[0]) == len({*offered(network)[0]})
    else:
        network = Network(SAYS)
        ask(at, request(*tools, **fields), one=network)
        sent = json.loads(network.calls[0].body).get("tools", [])
        assert [tool["function"]["name"] for tool in sent] == [tool["name"] for tool in tools]
        assert not searcher.queries


# ------------------------------------------------------------------------------------------------------------------ pages


PAGE = "https://weather.example/oslo"
NAMED = [{"role": "user", "content": f"What does {PAGE} say?"}]


def fetches(url: str) -> tuple[int, Any]:
    return 200, calls("web_fetch", {"url": url})


def test_a_page_of_the_conversation_is_fetched_for_the_model() -> None:
    at, network = at_work(), Network(fetches(PAGE), SAYS)
    tool = {**FETCH, "allowed_domains": ["weather.example"], "max_content_tokens": 500}
    answer, _ = ask(at, request(tool, messages=NAMED), one=network)
    assert kinds(answer) == ["server_tool_use", "web_fetch_tool_result", "text"]
    assert answer["content"][0]["input"] == {"url": PAGE}
    assert answer["content"][1]["content"]["content"]["source"]["data"] == "It rains."
    assert json.loads(network.calls[1].body)["messages"][-1]["content"] == f"Oslo\n{PAGE}\n\nIt rains."
    assert answer["usage"]["server_tool_use"] == {"web_search_requests": 0, "web_fetch_requests": 1}
    (limits,) = cast(FakeFetcher, at.fetcher).limits
    assert tuple(limits["allowed"]) == ("weather.example",) and limits["max_content_tokens"] == 500
    assert limits["fresh"] is False
    check_message(answer)


def test_a_page_of_a_search_result_may_be_fetched_and_another_one_not() -> None:
    elsewhere = "https://evil.example/?q=secret"
    network = Network(searches("x"), fetches(PAGE), fetches(elsewhere), SAYS)
    answer, _ = ask(at_work(), request(SEARCH, {**FETCH, "use_cache": False}), one=network)
    contents = [block["content"] for block in answer["content"] if block["type"] == "web_fetch_tool_result"]
    assert contents[0]["type"] == "web_fetch_result"
    assert contents[1] == {"type": "web_fetch_tool_result_error", "error_code": "url_not_allowed"}
    assert answer["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 1}


@pytest.mark.parametrize(("tool", "most"), [(FETCH, 10), ({**FETCH, "max_uses": 1}, 1)])
def test_the_pages_of_one_answer_are_limited(tool: dict[str, Any], most: int) -> None:
    at, network = at_work(), Network(fetches(PAGE))
    answer, _ = ask(at, request(tool, OWN, messages=NAMED), one=network)
    assert len(cast(FakeFetcher, at.fetcher).limits) == most
    codes = [block["content"].get("error_code") for block in answer["content"] if block["type"].endswith("result")]
    assert codes == [None] * most + ["max_uses_exceeded"] * 2


def test_a_domain_list_that_is_invalid_is_an_error_that_names_its_place() -> None:
    tool = {**FETCH, "allowed_domains": ["a.example"], "blocked_domains": ["b.example"]}
    with pytest.raises(Problem, match=r"tools\.1\.") as caught:
        ask(at_work(), request(OWN, tool), one=Network(SAYS))
    assert caught.value.kind == "invalid_request"
