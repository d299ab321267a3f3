"""Searching the web: each provider's words, its failures, fallbacks, domains, and what is remembered."""

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
from providers import KEY, Given, Provided, Seen, brave_error

from byway.config import ConfigError, load
from byway.providers import registry
from byway.providers.protocol import SearchError, SearchQuery, UserLocation, web_result, with_site_operators
from byway.providers.registry import PROVIDERS
from byway.runtime import Runtime
from byway.search.chain import Clock, SearchAnswer, Searcher, matching
from byway.secrets.names import Scrubber

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


def settings(server: Provided, *names: str, key: str = KEY, **more: Any) -> Any:
    first, *others = names
    one = {"provider": first, "api_key": key, "base_url": server.url}
    fallback = [{"provider": name, "api_key": key, "base_url": server.url} for name in others]
    return load(json.dumps({"web_search": {"enabled": True, **one, "fallback": fallback, **more}}), {}).web_search


def search(given: Any, query: SearchQuery | str = "rust", times: int = 1) -> SearchAnswer:
    async def act() -> SearchAnswer:
        searcher = Searcher(given, FakeClock().clock)
        try:
            for _ in range(times):
                found = await searcher.search(SearchQuery(query) if isinstance(query, str) else query)
            return found
        finally:
            await searcher.close()

    return asyncio.run(act())


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_s_results_are_plain_and_lead_to_the_web_alone(name: str) -> None:
    with Provided() as server:
        found = search(settings(server, name))
    assert found.provider == name
    assert [one.url for one in found.results] == [
        "https://blog.rust-lang.org/2026/11/rust-1.99/",
        "https://example.com/rust",
    ]
    first = found.results[0]
    assert (first.title, first.snippet) == ("Rust 1.99 released", "The team & friends.")
    assert first.age == {"exa": "2026-11-19", "searxng": "2026-11-19", "tavily": ""}.get(name, "2 days ago")


@pytest.mark.parametrize("name", NAMES)
def test_the_key_goes_to_its_provider_in_the_provider_s_own_header(name: str) -> None:
    with Provided() as server:
        search(settings(server, name))
        (seen,) = server.seen
    header = {"serper": "x-api-key", "exa": "x-api-key", "brave": "x-subscription-token"}.get(name, "authorization")
    assert seen.headers[header] in (KEY, f"Bearer {KEY}")
    assert KEY not in seen.path and KEY not in json.dumps(seen.query)


@pytest.mark.parametrize("name", NAMES)
def test_domains_are_kept_whatever_the_provider_makes_of_them(name: str) -> None:
    with Provided() as server:
        allowed = search(settings(server, name), SearchQuery("rust", allowed=("rust-lang.org",)))
        blocked = search(settings(server, name), SearchQuery("rust", blocked=("rust-lang.org",)))
        (one, two) = server.seen
    assert [web_result.url for web_result in allowed.results] == ["https://blog.rust-lang.org/2026/11/rust-1.99/"]
    assert [web_result.url for web_result in blocked.results] == ["https://example.com/rust"]
    if name == "exa":
        assert one.json["includeDomains"] == two.json["excludeDomains"] == ["rust-lang.org", "*.rust-lang.org"]
    elif name == "tavily":
        assert one.json["include_domains"] == two.json["exclude_domains"] == ["rust-lang.org"]
    else:
        assert one.text == "rust (site:rust-lang.org)" and two.text == "rust -site:rust-lang.org"


LIMIT = {"x-ratelimit-limit": "1, 2000", "x-ratelimit-remaining": "0, 1500", "x-ratelimit-reset": "1, 1419704"}
KEYLESS = "Check its `api_key`"
#: What a provider says, the official code, words of what a person is told, and how often it is asked.
FAILURES: tuple[tuple[str, Given, str, str, int], ...] = (
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
def test_a_failure_has_its_official_code_and_says_what_to_do(
    name: str, given: Given, code: str, words: str, times: int
) -> None:
    # The fake takes headers out of what it is given.
    with Provided(lambda seen: copy.deepcopy(given)) as server, pytest.raises(SearchError) as raised:
        search(settings(server, name))
    assert raised.value.code == code and words in raised.value.message
    assert "backends" not in raised.value.message and ".." not in raised.value.message
    assert len(server.seen) == times, "patience is asked for once, and where it may help"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [None, 1, "x", [], [None, 1, "x", {}, {"url": 1, "link": 1}, {"url": "ftp://a/"}]])
def test_results_of_no_use_are_no_results(name: str, rows: Any) -> None:
    body = {"organic": rows, "results": rows, "web": {"results": rows}, "answerBox": rows}
    with Provided(lambda seen: (200, body)) as server:
        assert search(settings(server, name)).results == []


def test_searches_start_one_interval_apart_after_a_429() -> None:
    """Brave's smallest plan allows one search per second."""
    fake = FakeClock()
    limits = iter([True])

    def limited(seen: Seen) -> Given | None:
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

    with Provided(limited) as server:
        asyncio.run(act(settings(server, "brave")))
    assert len(server.seen) == 8


def test_search_fails_when_its_turn_is_later_than_its_timeout() -> None:
    fake = FakeClock()
    limits = iter([True])

    def limited(seen: Seen) -> Given | None:
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

    with Provided(limited) as server:
        asyncio.run(act(settings(server, "serper", timeout=3)))
    assert len(server.seen) == 3


def test_half_an_emoji_spoils_nothing() -> None:
    body = rb'{"results": [{"title": "cut \ud83d", "url": "https://example.com/", "text": "\udc00 text"}]}'
    with Provided(lambda seen: (200, body)) as server:
        (one,) = search(settings(server, "exa"), "half \ud83d").results
    assert (one.title, one.snippet) == ("cut ?", "? text")
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
def test_text_is_plain(given: Any, shown: str) -> None:
    one = web_result("t", "https://example.com/", given)
    assert one is not None and one.snippet == shown


def test_long_text_is_cut() -> None:
    one = web_result("t" * 5000, "https://example.com/", "<" * 3_000_000)
    assert one is not None and (len(one.title), len(one.snippet)) == (300, 1500)


FRESH = {"serper": "qdr:w", "brave": "pw", "tavily": "week", "searxng": "week"}


@pytest.mark.parametrize("name", NAMES)
def test_freshness_is_asked_for_in_each_provider_s_words(name: str) -> None:
    with Provided() as server:
        search(settings(server, name, freshness="week"))
        search(settings(server, name), SearchQuery("rust", freshness="week"))
        search(settings(server, name))
    first, second, third = [one.json or one.query for one in server.seen]
    said = {"serper": "tbs", "brave": "freshness", "exa": "startPublishedDate"}.get(name, "time_range")
    assert first[said] == second[said] and said not in third
    if name == "exa":
        begun = datetime.fromisoformat(first[said])
        assert 6.9 < (datetime.now(UTC) - begun).total_seconds() / 86400 < 8.1
    else:
        assert first[said] == FRESH[name]


def test_the_user_s_place_is_told_where_the_provider_takes_it() -> None:
    query = SearchQuery("rust", place=UserLocation("Z\u00fcrich", "Zurich", "ch", "Europe/Zurich"))
    with Provided() as server:
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


def test_long_lists_of_domains() -> None:
    many = tuple(f"site-number-{n}.example" for n in range(60))
    with Provided() as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "brave"), SearchQuery("rust", allowed=many))
        assert raised.value.code == "request_too_large" and server.seen == []
        found = search(settings(server, "brave"), SearchQuery("rust", blocked=("example.com", *many))).results
        assert len(server.seen[0].text) <= 400 and server.seen[0].text.startswith("rust -site:example.com")
        search(settings(server, "brave"), SearchQuery("word " * 45, blocked=tuple("abcdefghij")))
        assert server.seen[1].text == " ".join(["word"] * 45)
        assert [one.url for one in found] == ["https://blog.rust-lang.org/2026/11/rust-1.99/"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_kept_too(name: str) -> None:
    with Provided() as server:
        for entry, count in (("rust-lang.org/2026", 1), ("rust-lang.org/2025", 0), ("rust-lang.org/*/rust-1.99", 1)):
            assert len(search(settings(server, name), SearchQuery("rust", allowed=(entry,))).results) == count
            found = search(settings(server, name), SearchQuery("rust", blocked=(entry,))).results
            assert len(found) == 2 - count
    assert "*" not in json.dumps([one.text for one in server.seen])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_tool_input"),
        (" \n\t ", "invalid_tool_input"),
        ("\u202e", "invalid_tool_input"),
        ("x" * 2001, "query_too_long"),
    ],
)
def test_what_is_no_query_is_not_sent(text: str, code: str) -> None:
    with Provided() as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "serper"), text)
        assert raised.value.code == code and server.seen == []


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_that_repeats_the_key_is_not_quoted(name: str) -> None:
    said = f"the key {KEY} is bad"
    given = {"message": said, "error": said, "detail": {"error": said}, "errors": [{"detail": said}]}
    with Provided(lambda seen: (400, given)) as server, pytest.raises(SearchError) as raised:
        search(settings(server, name))
    assert KEY not in raised.value.message and "[secret]" in raised.value.message


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with (
        Provided() as other,
        Provided(lambda seen: (307, b"", {"location": f"{other.url}/search"})) as server,
        pytest.raises(SearchError, match="redirects"),
    ):
        search(settings(server, "serper"))
    assert other.seen == []


def test_a_rate_limit_that_passes_is_not_seen() -> None:
    limits = iter([True])

    def limited(seen: Seen) -> Given | None:
        return (429, brave_error("RATE_LIMITED", "x", 429)) if next(limits, False) else None

    with Provided(limited) as server:
        assert len(search(settings(server, "brave")).results) == 2


def test_the_next_provider_is_asked_when_one_fails() -> None:
    def instead(seen: Seen) -> Given | None:
        return (500, b"down") if seen.path == "/res/v1/web/search" else None

    with Provided(instead) as server:
        assert search(settings(server, "brave", "searxng")).provider == "searxng"


def test_who_is_asked_and_who_has_failed_is_told() -> None:
    heard: list[tuple[str, str]] = []

    async def act(given: Any) -> None:
        searcher = Searcher(given, FakeClock().clock)
        try:
            await searcher.search(
                SearchQuery("rust"), lambda name, failed: heard.append((name, failed.code if failed else ""))
            )
        finally:
            await searcher.close()

    with Provided(lambda seen: (500, b"down") if seen.path == "/res/v1/web/search" else None) as server:
        asyncio.run(act(settings(server, "brave", "tavily", "exa")))
    assert heard == [("brave", ""), ("brave", "unavailable"), ("tavily", "")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web_search: {provider: brave}", "has no API key"),
        ("web_search: {provider: searxng}", "has no address"),
        ("{}", "web_search.provider"),
    ],
)
def test_a_config_that_is_not_complete_is_said_and_no_crash(text: str, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        search(load(text, {}).web_search)


def test_a_missing_variable_turns_off_its_own_provider_only() -> None:
    with Provided() as server:
        one = {"provider": "brave", "api_key": "${NOT_SET}", "base_url": server.url}
        given = {"enabled": True, **one, "fallback": [{"provider": "searxng", "base_url": server.url}]}
        config = load(json.dumps({"web_search": given}), {})
        assert config.web_search.enabled and search(config.web_search).provider == "searxng"
    assert [one.path for one in server.seen] == ["/search"]
    assert [one.message for one in config.warnings] == [
        "NOT_SET is not set, so search provider brave is disabled. Set the variable"
    ]
    assert not load(json.dumps({"web_search": {**given, "fallback": []}}), {}).web_search.enabled
    given = {"enabled": True, "provider": "searxng", "base_url": "${NOT_SET}"}
    assert not load(json.dumps({"web_search": given}), {}).web_search.enabled


def test_what_the_docs_say_to_write_works() -> None:
    page = (Path(__file__).parent.parent / "docs/web-search.md").read_text(encoding="utf-8")
    blocks = [one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if one.startswith("web_search:")]
    environ = {f"BYWAY_{name.upper()}_API_KEY": KEY for name in NAMES}
    named = [load(one, environ) for one in blocks]
    assert {one.web_search.provider for one in named} == set(NAMES)
    assert all(one.web_search.enabled and one.web_search.providers and not one.warnings for one in named)


def test_a_reload_takes_effect_and_what_did_not_change_is_kept() -> None:
    async def act(server: Provided) -> None:
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

    with Provided() as server:
        asyncio.run(act(server))
    assert [one.path for one in server.seen] == ["/res/v1/web/search", "/search"]


def test_an_answer_that_drips_is_given_up() -> None:
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
            given = {"enabled": True, "provider": "searxng", "base_url": url, "timeout": 0.3}
            searcher = Searcher(load(json.dumps({"web_search": given}), {}).web_search)
            with pytest.raises(SearchError, match=r"web_search\.timeout"):
                await searcher.search(SearchQuery("rust"))
            assert bytes_sent < 100
            await searcher.close()
            await asyncio.sleep(0.1)

    asyncio.run(act())


def test_the_same_search_is_made_once() -> None:
    with Provided() as server:
        search(settings(server, "brave"), times=3)
        assert len(server.seen) == 1
        search(settings(server, "brave", cache_ttl=0), times=2)
        assert len(server.seen) == 3


def test_a_provider_that_hangs_is_given_up() -> None:
    import threading

    release = threading.Event()

    def hang(seen: Seen) -> None:
        release.wait(5)

    with Provided(hang) as server:
        with pytest.raises(SearchError) as raised:
            search(settings(server, "brave", timeout=0.2))
        release.set()
    assert raised.value.code == "unavailable" and "web_search.timeout" in raised.value.message


def test_a_query_that_brave_does_not_take_is_not_sent() -> None:
    with Provided() as server:
        for text in ("x" * 401, "word " * 51):
            with pytest.raises(SearchError) as raised:
                search(settings(server, "brave"), text)
            assert raised.value.code == "query_too_long"
        assert server.seen == []


def test_nothing_listens() -> None:
    given = load('web_search: {enabled: true, provider: searxng, base_url: "http://127.0.0.1:1"}', {}).web_search
    with pytest.raises(SearchError, match="cannot be reached"):
        search(given)


def test_neither_key_nor_query_is_logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    from byway import logs

    logs.start("info", "json")
    with Provided() as server:
        search(settings(server, "serper"), "a very private question")
    logs.flush()
    said = capsys.readouterr().err
    line = json.loads(said.splitlines()[-1])
    assert (line["message"], line["provider"], line["status"], line["results"]) == (
        "web_search loop round complete", "serper", 200, 2,
    )  # fmt: skip
    assert "private" not in said and KEY not in said
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
def test_what_is_missing_is_said_with_its_path(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(text, {})
    assert [one.path for one in raised.value.problems if one.severity == "error"][:1] == [path]


def test_results_are_at_most_as_many_as_asked_for_and_each_once() -> None:
    rows = [{"title": f"t{at % 7}", "url": f"https://example.com/{at % 7}", "content": "x" * 5000} for at in range(50)]
    with Provided(lambda seen: (200, {"results": rows})) as server:
        found = search(settings(server, "searxng"), SearchQuery("a", count=5))
    assert len(found.results) == 5 and len({one.url for one in found.results}) == 5
    assert all(len(one.snippet) <= 1500 for one in found.results)


def test_a_provider_s_key_is_kept_out_of_what_clients_are_told() -> None:
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
