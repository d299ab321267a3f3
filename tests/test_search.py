"""Web search: each provider's requests, responses and errors, fallbacks, domain lists, pacing and the cache."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from growth import assert_linear
from providers import KEY, FakeProviders, ProviderRequest, ProviderResponse, brave_error

from byway.config import ConfigError, load
from byway.providers import registry
from byway.providers.protocol import SearchError, SearchQuery, UserLocation, web_result, with_site_operators
from byway.providers.registry import PROVIDERS
from byway.runtime import Runtime
from byway.scrub import Scrubber
from byway.search.chain import Clock, SearchAnswer, Searcher, matching

NAMES = sorted(PROVIDERS)


class FakeClock:
    """A clock that stands still; each sleep returns at once and is recorded."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)


def settings(server: FakeProviders, *names: str, key: str = KEY, **more: Any) -> Any:
    first, *others = names
    main = {"provider": first, "api_key": key, "base_url": server.url}
    fallback = [{"provider": name, "api_key": key, "base_url": server.url} for name in others]
    return load(json.dumps({"web_search": {"enabled": True, **main, "fallback": fallback, **more}}), {}).web_search


def search(given: Any, query: SearchQuery | str = "rust", times: int = 1) -> SearchAnswer:
    async def act() -> SearchAnswer:
        searcher = Searcher(given, FakeClock().clock)
        try:
            for _ in range(times):
                answer = await searcher.search(SearchQuery(query) if isinstance(query, str) else query)
            return answer
        finally:
            await searcher.close()

    return asyncio.run(act())


@pytest.mark.parametrize("name", NAMES)
def test_results_are_plain_text_with_web_urls(name: str) -> None:
    with FakeProviders() as server:
        answer = search(settings(server, name))
    assert answer.provider == name
    assert [result.url for result in answer.results] == [
        "https://blog.rust-lang.org/2026/11/rust-1.99/",
        "https://example.com/rust",
    ]
    first = answer.results[0]
    assert (first.title, first.snippet) == ("Rust 1.99 released", "The team & friends.")
    assert first.age == {"exa": "2026-11-19", "searxng": "2026-11-19", "tavily": ""}.get(name, "2 days ago")


@pytest.mark.parametrize("name", NAMES)
def test_api_key_is_sent_in_the_provider_s_header(name: str) -> None:
    with FakeProviders() as server:
        search(settings(server, name))
        (seen,) = server.seen
    header = {"serper": "x-api-key", "exa": "x-api-key", "brave": "x-subscription-token"}.get(name, "authorization")
    assert seen.headers[header] in (KEY, f"Bearer {KEY}")
    assert KEY not in seen.path and KEY not in json.dumps(seen.query)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_filtered_by_the_domain_lists(name: str) -> None:
    with FakeProviders() as server:
        allowed = search(settings(server, name), SearchQuery("rust", allowed=("rust-lang.org",)))
        blocked = search(settings(server, name), SearchQuery("rust", blocked=("rust-lang.org",)))
        (allow, block) = server.seen
    assert [result.url for result in allowed.results] == ["https://blog.rust-lang.org/2026/11/rust-1.99/"]
    assert [result.url for result in blocked.results] == ["https://example.com/rust"]
    if name == "exa":
        assert allow.json["includeDomains"] == block.json["excludeDomains"] == ["rust-lang.org", "*.rust-lang.org"]
    elif name == "tavily":
        assert allow.json["include_domains"] == block.json["exclude_domains"] == ["rust-lang.org"]
    else:
        assert allow.text == "rust (site:rust-lang.org)" and block.text == "rust -site:rust-lang.org"


LIMIT = {"x-ratelimit-limit": "1, 2000", "x-ratelimit-remaining": "0, 1500", "x-ratelimit-reset": "1, 1419704"}
KEYLESS = "Check its `api_key`"
#: Provider, its response, the official code, a part of the message, and the number of requests.
FAILURES: tuple[tuple[str, ProviderResponse, str, str, int], ...] = (
    ("serper", (403, {"message": "Unauthorized.", "statusCode": 403}), "unavailable", KEYLESS, 1),
    ("serper", (400, {"message": "Not enough credits", "statusCode": 400}), "unavailable", "Buy credits", 1),
    ("serper", (400, {"message": "Missing query parameter"}), "invalid_tool_input", "Missing query", 1),
    ("serper", (429, {"message": "Too many requests"}), "too_many_requests", "Wait", 2),
    ("brave", (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "x", 422)), "unavailable", KEYLESS, 1),
    ("brave", (404, brave_error("SUBSCRIPTION_NOT_FOUND", "x", 404)), "unavailable", KEYLESS, 1),
    ("brave", (422, {"errors": [{"code": "VALIDATION", "detail": "bad q"}]}), "invalid_tool_input", "bad q", 1),
    ("brave", (429, brave_error("RATE_LIMITED", "For plan.", 429), LIMIT), "too_many_requests", "For plan. Wait", 2),
    ("brave", (429, brave_error("QUOTA_LIMITED", "x", 429)), "too_many_requests", "quota", 1),
    ("brave", (500, {"type": "ErrorResponse", "error": "odd"}), "unavailable", "HTTP 500", 1),
    ("exa", (400, {"error": "Invalid request body", "tag": "INVALID_REQUEST_BODY"}), "invalid_tool_input", "body", 1),
    ("exa", (401, {"error": "Invalid API key"}), "unavailable", KEYLESS, 1),
    ("exa", (402, {"error": "x", "tag": "NO_MORE_CREDITS"}), "unavailable", "credits", 1),
    ("exa", (429, {"error": "rate limit exceeded"}), "too_many_requests", "Wait", 2),
    ("tavily", (401, {"detail": {"error": "Unauthorized: invalid API key."}}), "unavailable", KEYLESS, 1),
    ("tavily", (429, {"detail": {"error": "Slow down."}}, {"retry-after": "60"}), "too_many_requests", "Wait", 1),
    ("tavily", (432, {"detail": {"error": "This exceeds your plan's limit."}}), "unavailable", "credits", 1),
    ("tavily", (433, {"detail": "pay-as-you-go limit"}), "unavailable", "credits", 1),
    ("tavily", (400, {"detail": {"error": "Query is too long. Max 400."}}), "query_too_long", "too long", 1),
    ("tavily", (422, {"detail": [{"msg": "Field required"}]}), "invalid_tool_input", "Field required", 1),
    ("searxng", (400, {"error": "No query"}), "invalid_tool_input", "No query", 1),
    ("searxng", (403, b"<!doctype html>"), "unavailable", "formats", 1),
    ("searxng", (404, b"<!doctype html>"), "unavailable", "base_url", 1),
    ("searxng", (429, b"Too Many Requests"), "too_many_requests", "Wait", 2),
    ("searxng", (200, {"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]}), "unavailable", "CAPTCHA", 1),
    *((name, (500, b"oops"), "unavailable", "HTTP 500", 1) for name in NAMES),
    *((name, (413, b"big"), "request_too_large", "HTTP 413", 1) for name in NAMES),
    *((name, (414, b"long"), "query_too_long", "HTTP 414", 1) for name in NAMES),
    *((name, (302, b"", {"location": "https://example.com/"}), "unavailable", "redirects", 1) for name in NAMES),
    *((name, (200, b"<html>"), "unavailable", "base_url", 1) for name in NAMES),
    *((name, (200, b'{"results": ['), "unavailable", "base_url", 1) for name in NAMES),
    *((name, (200, b"[" * 100_000), "unavailable", "base_url", 1) for name in NAMES),
    *((name, (200, [1, 2]), "unavailable", "base_url", 1) for name in NAMES),
    *((name, (200, {"message": "something else"}), "unavailable", "base_url", 1) for name in NAMES),
    *((name, (200, b"x" * (5 << 20)), "unavailable", "sent more than", 1) for name in NAMES),
    *((name, (200, b"{", {"content-length": "99"}), "unavailable", "in the middle of its answer", 1) for name in NAMES),
)


@pytest.mark.parametrize(("name", "given", "code", "words", "times"), FAILURES)
def test_failure_has_the_official_code_and_a_message_with_advice(
    name: str, given: ProviderResponse, code: str, words: str, times: int
) -> None:
    # The fake removes headers from the response.
    with FakeProviders(lambda seen: copy.deepcopy(given)) as server, pytest.raises(SearchError) as raised:
        search(settings(server, name))
    assert raised.value.code == code and words in raised.value.message
    assert "backends" not in raised.value.message and ".." not in raised.value.message
    assert len(server.seen) == times, "one retry, and only after a rate limit"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [None, 1, "x", [], [None, 1, "x", {}, {"url": 1, "link": 1}, {"url": "ftp://a/"}]])
def test_malformed_results_are_dropped(name: str, rows: Any) -> None:
    body = {"organic": rows, "results": rows, "web": {"results": rows}, "answerBox": rows}
    with FakeProviders(lambda seen: (200, body)) as server:
        assert search(settings(server, name)).results == []


def test_searches_start_one_interval_apart_after_a_429() -> None:
    """Brave's smallest plan allows one search per second."""
    fake = FakeClock()
    limits = iter([True])

    def limited(seen: ProviderRequest) -> ProviderResponse | None:
        return (429, brave_error("RATE_LIMITED", "x", 429), dict(LIMIT)) if next(limits, False) else None

    async def act(given: Any) -> None:
        searcher = Searcher(given, fake.clock)
        try:
            await searcher.search(SearchQuery("first"))
            assert fake.slept == [0, 1.1], "the retry waits for one interval"
            fake.slept.clear()
            await asyncio.gather(*(searcher.search(SearchQuery(f"second {n}")) for n in range(3)))
            assert sorted(fake.slept) == [2.2, 3.3, 4.4]
            fake.slept.clear()
            fake.time += 61
            await asyncio.gather(*(searcher.search(SearchQuery(f"third {n}")) for n in range(3)))
            assert fake.slept == [0, 0, 0], "a minute later searches are no longer paced"
        finally:
            await searcher.close()

    with FakeProviders(limited) as server:
        asyncio.run(act(settings(server, "brave")))
    assert len(server.seen) == 8


def test_search_fails_when_its_turn_is_later_than_its_timeout() -> None:
    fake = FakeClock()
    limits = iter([True])

    def limited(seen: ProviderRequest) -> ProviderResponse | None:
        return (429, {"message": "slow down"}) if next(limits, False) else None

    async def act(given: Any) -> None:
        searcher = Searcher(given, fake.clock)
        try:
            for number in range(2):
                await searcher.search(SearchQuery(f"{number}"))
            with pytest.raises(SearchError, match="Too many searches wait") as raised:
                await searcher.search(SearchQuery("too late"))
            assert raised.value.code == "too_many_requests"
        finally:
            await searcher.close()

    with FakeProviders(limited) as server:
        asyncio.run(act(settings(server, "serper", timeout=3)))
    assert len(server.seen) == 3


def test_half_surrogates_are_replaced() -> None:
    body = rb'{"results": [{"title": "cut \ud83d", "url": "https://example.com/", "text": "\udc00 text"}]}'
    with FakeProviders(lambda seen: (200, body)) as server:
        (result,) = search(settings(server, "exa"), "half \ud83d").results
    assert (result.title, result.snippet) == ("cut ?", "? text")
    assert server.seen[0].text == "half ?"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<strong>Vec&lt;String&gt;</strong> and Vec<String>", "Vec<String> and Vec<String>"),
        ('<a href="https://a.example/">x</a><br/>y <span class="b">z</span>', "xy z"),
        ("a < b, b > c, <i", "a < b, b > c, <i"),
        ("&amp;lt; &#x27;q&#39; &nbsp; end", "&lt; 'q' end"),
        ("safe\U000e0069\U000e0067\u202e\u200b\x1b[31m text", "safe[31m text"),
        ("two\n\tlines", "two lines"),
        (["no", "text"], ""),
    ],
)
def test_markup_and_invisible_characters_are_removed(given: Any, shown: str) -> None:
    result = web_result("t", "https://example.com/", given)
    assert result is not None and result.snippet == shown


def test_long_title_and_snippet_are_cut() -> None:
    result = web_result("t" * 5000, "https://example.com/", "<" * 3_000_000)
    assert result is not None and (len(result.title), len(result.snippet)) == (300, 1500)


FRESH = {"serper": "qdr:w", "brave": "pw", "tavily": "week", "searxng": "week"}


@pytest.mark.parametrize("name", NAMES)
def test_freshness_is_sent_in_each_provider_s_format(name: str) -> None:
    with FakeProviders() as server:
        search(settings(server, name, freshness="week"))
        search(settings(server, name), SearchQuery("rust", freshness="week"))
        search(settings(server, name))
    first, second, third = [request.json or request.query for request in server.seen]
    field = {"serper": "tbs", "brave": "freshness", "exa": "startPublishedDate"}.get(name, "time_range")
    assert first[field] == second[field] and field not in third
    if name == "exa":
        first_day = datetime.fromisoformat(first[field])
        assert 6.9 < (datetime.now(UTC) - first_day).total_seconds() / 86400 < 8.1
    else:
        assert first[field] == FRESH[name]


def test_user_location_is_sent_where_the_provider_accepts_it() -> None:
    query = SearchQuery("rust", place=UserLocation("Z\u00fcrich", "Zurich", "ch", "Europe/Zurich"))
    with FakeProviders() as server:
        for name in ("serper", "brave", "exa"):
            search(settings(server, name), query)
        search(settings(server, "brave"), SearchQuery("rust", place=UserLocation("Reykjavik\r\nx: y", "", "is")))
    serper, brave, exa, elsewhere = server.seen
    assert (serper.json["gl"], serper.json["location"]) == ("ch", "Z\u00fcrich, Zurich")
    assert brave.query["country"] == "CH" and brave.headers["x-loc-state-name"] == "Zurich"
    assert "x-loc-city" not in brave.headers, "a header cannot carry it"
    assert exa.json["userLocation"] == "CH"
    assert (
        elsewhere.query["country"] == "ALL" and "x-loc-city" not in elsewhere.headers and "x" not in elsewhere.headers
    )


def test_long_domain_lists_are_shortened_or_rejected() -> None:
    many = tuple(f"site-number-{n}.example" for n in range(60))
    with FakeProviders() as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "brave"), SearchQuery("rust", allowed=many))
        assert raised.value.code == "request_too_large" and server.seen == []
        answer = search(settings(server, "brave"), SearchQuery("rust", blocked=("example.com", *many))).results
        assert len(server.seen[0].text) <= 400 and server.seen[0].text.startswith("rust -site:example.com")
        search(settings(server, "brave"), SearchQuery("word " * 45, blocked=tuple("abcdefghij")))
        assert server.seen[1].text == " ".join(["word"] * 45)
        assert [result.url for result in answer] == ["https://blog.rust-lang.org/2026/11/rust-1.99/"]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_filtered_by_paths(name: str) -> None:
    with FakeProviders() as server:
        for entry, count in (("rust-lang.org/2026", 1), ("rust-lang.org/2025", 0), ("rust-lang.org/*/rust-1.99", 1)):
            assert len(search(settings(server, name), SearchQuery("rust", allowed=(entry,))).results) == count
            answer = search(settings(server, name), SearchQuery("rust", blocked=(entry,))).results
            assert len(answer) == 2 - count
    assert "*" not in json.dumps([request.text for request in server.seen])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_tool_input"),
        (" \n\t ", "invalid_tool_input"),
        ("\u202e", "invalid_tool_input"),
        ("x" * 2001, "query_too_long"),
    ],
)
def test_empty_or_long_query_is_not_sent(text: str, code: str) -> None:
    with FakeProviders() as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "serper"), text)
        assert raised.value.code == code and server.seen == []


@pytest.mark.parametrize("name", NAMES)
def test_api_key_is_removed_from_error_messages(name: str) -> None:
    message = f"the key {KEY} is bad"
    given = {"message": message, "error": message, "detail": {"error": message}, "errors": [{"detail": message}]}
    with FakeProviders(lambda seen: (400, given)) as server, pytest.raises(SearchError) as raised:
        search(settings(server, name))
    assert KEY not in raised.value.message and "[secret]" in raised.value.message


def test_redirect_is_not_followed() -> None:
    with (
        FakeProviders() as other,
        FakeProviders(lambda seen: (307, b"", {"location": f"{other.url}/search"})) as server,
        pytest.raises(SearchError, match="redirects"),
    ):
        search(settings(server, "serper"))
    assert other.seen == []


def test_search_succeeds_after_a_short_rate_limit() -> None:
    limits = iter([True])

    def limited(seen: ProviderRequest) -> ProviderResponse | None:
        return (429, brave_error("RATE_LIMITED", "x", 429)) if next(limits, False) else None

    with FakeProviders(limited) as server:
        assert len(search(settings(server, "brave")).results) == 2


def test_next_provider_is_used_when_one_fails() -> None:
    def instead(seen: ProviderRequest) -> ProviderResponse | None:
        return (500, b"down") if seen.path == "/res/v1/web/search" else None

    with FakeProviders(instead) as server:
        assert search(settings(server, "brave", "searxng")).provider == "searxng"


def test_observer_receives_calls_and_errors() -> None:
    events: list[tuple[str, str]] = []

    async def act(given: Any) -> None:
        searcher = Searcher(given, FakeClock().clock)
        try:
            await searcher.search(
                SearchQuery("rust"), lambda name, error: events.append((name, error.code if error else ""))
            )
        finally:
            await searcher.close()

    with FakeProviders(lambda seen: (500, b"down") if seen.path == "/res/v1/web/search" else None) as server:
        asyncio.run(act(settings(server, "brave", "tavily", "exa")))
    assert events == [("brave", ""), ("brave", "unavailable"), ("tavily", "")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web_search: {provider: brave}", "has no API key"),
        ("web_search: {provider: searxng}", "has no address"),
        ("{}", "web_search.provider"),
    ],
)
def test_incomplete_config_is_an_error_of_the_search(text: str, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        search(load(text, {}).web_search)


def test_missing_variable_disables_its_provider_only() -> None:
    with FakeProviders() as server:
        main = {"provider": "brave", "api_key": "${NOT_SET}", "base_url": server.url}
        given = {"enabled": True, **main, "fallback": [{"provider": "searxng", "base_url": server.url}]}
        config = load(json.dumps({"web_search": given}), {})
        assert config.web_search.enabled and search(config.web_search).provider == "searxng"
    assert [request.path for request in server.seen] == ["/search"]
    assert [warning.message for warning in config.warnings] == [
        "NOT_SET is not set, so search provider brave is disabled. Set the variable"
    ]
    assert not load(json.dumps({"web_search": {**given, "fallback": []}}), {}).web_search.enabled
    given = {"enabled": True, "provider": "searxng", "base_url": "${NOT_SET}"}
    assert not load(json.dumps({"web_search": given}), {}).web_search.enabled


def test_config_examples_of_the_docs_work() -> None:
    page = (Path(__file__).parent.parent / "docs/web-search.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if block.startswith("web_search:")]
    environ = {f"BYWAY_{name.upper()}_API_KEY": KEY for name in NAMES}
    configs = [load(block, environ) for block in blocks]
    assert {config.web_search.provider for config in configs} == set(NAMES)
    assert all(config.web_search.enabled and config.web_search.providers and not config.warnings for config in configs)


def test_reload_replaces_the_searcher_only_when_its_settings_change() -> None:
    async def act(server: FakeProviders) -> None:
        search = {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": server.url}
        first = Runtime(load(json.dumps({"web_search": search}), {}))
        same = Runtime(load(json.dumps({"web_search": search, "logging": {"level": "debug"}}), {}), first)
        await first.close(same)
        assert same.searcher is first.searcher and (await same.searcher.search(SearchQuery("rust"))).provider == "brave"
        other = Runtime(load(json.dumps({"web_search": {**search, "provider": "exa"}}), {}), same)
        await same.close(other)
        assert (await other.searcher.search(SearchQuery("rust"))).provider == "exa"
        assert other.scrubber.scrub(f"the key {KEY}") == "the key [secret]"
        await other.close()

    with FakeProviders() as server:
        asyncio.run(act(server))
    assert [request.path for request in server.seen] == ["/res/v1/web/search", "/search"]


def test_slow_response_is_abandoned_at_the_timeout() -> None:
    bytes_sent = 0

    async def act() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    nonlocal bytes_sent
                    bytes_sent += 1
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            writer.close()

        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            given = {"enabled": True, "provider": "searxng", "base_url": url, "timeout": 0.15}
            searcher = Searcher(load(json.dumps({"web_search": given}), {}).web_search)
            with pytest.raises(SearchError, match=r"web_search\.timeout"):
                await searcher.search(SearchQuery("rust"))
            assert bytes_sent < 100
            await searcher.close()
            await asyncio.sleep(0.1)

    asyncio.run(act())


def test_same_search_is_cached() -> None:
    with FakeProviders() as server:
        search(settings(server, "brave"), times=3)
        assert len(server.seen) == 1
        search(settings(server, "brave", cache_ttl=0), times=2)
        assert len(server.seen) == 3


def test_cache_forgets_the_oldest_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.search.chain._CACHE_ENTRIES", 2)

    async def act(given: Any) -> None:
        searcher = Searcher(given)
        for text in ("a", "b", "c", "b", "c", "a"):
            await searcher.search(SearchQuery(text))
        await searcher.close()

    with FakeProviders() as server:
        asyncio.run(act(settings(server, "brave")))
    assert [request.text for request in server.seen] == ["a", "b", "c", "a"]


def test_cached_search_expires() -> None:
    fake = FakeClock()

    async def act(given: Any) -> None:
        searcher = Searcher(given, fake.clock)
        for seconds in (0, 59, 2):
            fake.time += seconds
            await searcher.search(SearchQuery("rust"))
        await searcher.close()

    with FakeProviders() as server:
        asyncio.run(act(settings(server, "brave", cache_ttl=60)))
    assert len(server.seen) == 2


def test_silent_provider_is_abandoned_at_the_timeout() -> None:
    import threading

    release = threading.Event()

    def hang(seen: ProviderRequest) -> None:
        release.wait(60)

    with FakeProviders(hang) as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "brave", timeout=0.1))
        release.set()
    assert raised.value.code == "unavailable" and "web_search.timeout" in raised.value.message


def test_query_over_brave_s_limits_is_not_sent() -> None:
    with FakeProviders() as server:
        for text in ("x" * 401, "word " * 51):
            with pytest.raises(SearchError) as raised:
                search(settings(server, "brave"), text)
            assert raised.value.code == "query_too_long"
        assert server.seen == []


def test_closed_port_is_reported() -> None:
    given = load('web_search: {enabled: true, provider: searxng, base_url: "http://127.0.0.1:1"}', {}).web_search
    with pytest.raises(SearchError, match="cannot be reached"):
        search(given)


def test_log_has_neither_key_nor_query(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    from byway import logs

    logs.start("info", "json")
    with FakeProviders() as server:
        search(settings(server, "serper"), "a very private question")
    logs.flush()
    output = capsys.readouterr().err
    line = json.loads(output.splitlines()[-1])
    assert (line["message"], line["provider"], line["status"], line["results"]) == (
        "web_search loop round complete", "serper", 200, 2,
    )  # fmt: skip
    assert "private" not in output and KEY not in output
    logging.getLogger("uvicorn").handlers.clear()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("web_search: {enabled: true}", "web_search.provider"),
        ("web_search: {enabled: true, provider: brave}", "web_search.api_key"),
        ("web_search: {enabled: true, provider: searxng}", "web_search.base_url"),
        ("web_search: {enabled: true, provider: searxng, base_url: 'ftp://x'}", "web_search.base_url"),
        (
            "web_search: {enabled: true, provider: searxng, base_url: 'http://a', fallback: [{provider: exa}]}",
            "web_search.fallback.0.api_key",
        ),
    ],
)
def test_missing_setting_is_reported_with_its_path(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(text, {})
    assert [problem.path for problem in raised.value.problems if problem.severity == "error"][:1] == [path]


def test_results_are_unique_and_limited_to_the_count() -> None:
    rows = [{"title": f"t{at % 7}", "url": f"https://example.com/{at % 7}", "content": "x" * 5000} for at in range(50)]
    with FakeProviders(lambda seen: (200, {"results": rows})) as server:
        answer = search(settings(server, "searxng"), SearchQuery("a", count=5))
    assert len(answer.results) == 5 and len({result.url for result in answer.results}) == 5
    assert all(len(result.snippet) <= 1500 for result in answer.results)


def test_scrubber_removes_all_provider_keys() -> None:
    text = json.dumps(
        {
            "web_search": {
                "enabled": True,
                "provider": "exa",
                "api_key": KEY,
                "fallback": [{"provider": "brave", "api_key": f"{KEY}-two"}],
            }
        }
    )
    scrubbed = Scrubber(load(text, {}).secrets).scrub(f"refused: {KEY} and {KEY}-two")
    assert KEY not in scrubbed and "-two" not in scrubbed


# ------------------------------------------------------------------------------------------------------------- registry


def test_every_provider_name_has_a_module_and_every_module_a_name() -> None:
    folder = Path(registry.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "registry", "protocol"}
    assert set(PROVIDERS) == set(get_args(registry.ProviderName)) == modules
    assert {name: getattr(module, "__name__", "") for name, module in PROVIDERS.items()} == {
        name: f"byway.providers.{name}" for name in modules
    }


@pytest.mark.parametrize("name", NAMES)
def test_provider_module_has_all_facts(name: Any) -> None:
    info = PROVIDERS[name].INFO
    assert info.title and info.free and info.best_for and info.signup.startswith("https://")
    assert info.url.startswith("https://") or not info.keyed, "a provider without an address is self-hosted"


@pytest.mark.parametrize("name", NAMES)
def test_docs_describe_every_provider(name: Any) -> None:
    info = PROVIDERS[name].INFO
    page = (Path(__file__).parent.parent / "docs/web-search.md").read_text(encoding="utf-8")
    row = f"| `{name}` | [{info.title}]({info.signup}) | {info.free} | {info.best_for} | {'yes' if info.keyed else 'no'} |"
    assert row in page
    secrets = (Path(__file__).parent.parent / "docs/secrets.md").read_text(encoding="utf-8")
    variables = [f"BYWAY_{name.upper()}_API_KEY", *info.variables]
    assert all((f"${{{variable}}}" in secrets) == info.keyed for variable in variables)


# --------------------------------------------------------------------------------------------------------------- growth


def test_reading_and_filtering_results_is_linear() -> None:
    query = SearchQuery("rust", count=10**9, blocked=tuple(f"blocked{at}.example" for at in range(100)))

    def make(size: int) -> Any:
        rows = [{"title": "t", "url": f"https://site{at}.example/", "description": "x"} for at in range(size)]
        return {"web": {"results": rows}}

    assert_linear(make, lambda body: matching(query, PROVIDERS["brave"].read(200, body)), 200)


def test_domains_are_added_to_a_query_in_linear_time() -> None:
    assert_linear(
        lambda n: SearchQuery("rust", blocked=tuple(f"host{at}.example" for at in range(n))),
        lambda query: with_site_operators(query, 10**9),
        1 << 14,
    )


def test_result_with_a_long_url_is_dropped() -> None:
    assert web_result("t", "https://example.com/" + "a" * 3000) is None
