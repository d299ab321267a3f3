"""Searching the web: each provider's words, its failures, fallbacks, domains, and what is remembered."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from providers import KEY, Given, Provided, Seen, brave_error

from byway.config import ConfigError, load
from byway.search import Failed, Query
from byway.search.searching import PROVIDERS, Found, Searcher
from byway.secrets import Scrubber

NAMES = sorted(PROVIDERS)


def settings(server: Provided, *names: str, key: str = KEY, **more: Any) -> Any:
    first, *others = names
    one = {"provider": first, "api_key": key, "base_url": server.url}
    fallback = [{"provider": name, "api_key": key, "base_url": server.url} for name in others]
    return load(json.dumps({"web_search": {"enabled": True, **one, "fallback": fallback, **more}}), {}).web_search


def search(given: Any, query: Query | str = "rust", times: int = 1) -> Found:
    async def act() -> Found:
        searcher = Searcher(given, patience=0.01)
        try:
            for _ in range(times):
                found = await searcher.search(Query(query) if isinstance(query, str) else query)
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
    assert first.age == {"exa": "2026-11-19", "searxng": ""}.get(name, "2 days ago")


@pytest.mark.parametrize("name", NAMES)
def test_the_key_goes_to_its_provider_in_the_provider_s_own_header(name: str) -> None:
    with Provided() as server:
        search(settings(server, name))
        (seen,) = server.seen
    header = {"brave": "x-subscription-token", "searxng": "authorization"}.get(name, "x-api-key")
    assert seen.headers[header] in (KEY, f"Bearer {KEY}")
    assert KEY not in seen.path and KEY not in json.dumps(seen.query)


@pytest.mark.parametrize("name", NAMES)
def test_domains_are_kept_whatever_the_provider_makes_of_them(name: str) -> None:
    with Provided() as server:
        allowed = search(settings(server, name), Query("rust", allowed=("rust-lang.org",)))
        blocked = search(settings(server, name), Query("rust", blocked=("rust-lang.org",)))
        (one, two) = server.seen
    assert [result.url for result in allowed.results] == ["https://blog.rust-lang.org/2026/11/rust-1.99/"]
    assert [result.url for result in blocked.results] == ["https://example.com/rust"]
    if name == "exa":
        assert one.json["includeDomains"] == two.json["excludeDomains"] == ["rust-lang.org"]
    else:
        assert one.text == "rust (site:rust-lang.org)" and two.text == "rust -site:rust-lang.org"


FAILURES: tuple[tuple[str, Given, str, str], ...] = (
    ("serper", (403, {"message": "Unauthorized.", "statusCode": 403}), "unavailable", "web_search.api_key"),
    ("serper", (400, {"message": "Not enough credits", "statusCode": 400}), "unavailable", "credits"),
    ("serper", (400, {"message": "Missing query parameter", "statusCode": 400}), "invalid_tool_input", "Missing query"),
    ("brave", (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "x", 422)), "unavailable", "refuses the key"),
    ("brave", (404, brave_error("SUBSCRIPTION_NOT_FOUND", "x", 404)), "unavailable", "refuses the key"),
    ("brave", (422, {"errors": [{"code": "VALIDATION", "detail": "bad q"}]}), "invalid_tool_input", "bad q"),
    (
        "brave",
        (429, brave_error("RATE_LIMITED", "Request rate limit exceeded for plan.", 429)),
        "too_many_requests",
        "Wait",
    ),
    ("brave", (429, brave_error("QUOTA_LIMITED", "x", 429)), "too_many_requests", "quota"),
    ("exa", (401, {"error": "Invalid API key"}), "unavailable", "web_search.api_key"),
    ("exa", (402, {"error": "NO_MORE_CREDITS"}), "unavailable", "credits"),
    ("exa", (429, {"error": "rate limit exceeded"}), "too_many_requests", "Wait"),
    ("searxng", (403, b"<!doctype html>"), "unavailable", "formats"),
    ("searxng", (429, b"Too Many Requests"), "too_many_requests", "Wait"),
    ("searxng", (200, {"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]}), "unavailable", "No engine"),
    *((name, (500, b"oops"), "unavailable", "HTTP 500") for name in NAMES),
    *((name, (200, b"<html>"), "unavailable", "") for name in NAMES),
    *((name, (200, [1, 2]), "unavailable", "") for name in NAMES),
)


@pytest.mark.parametrize(("name", "given", "code", "words"), FAILURES)
def test_a_failure_has_its_official_code_and_says_what_to_do(name: str, given: Given, code: str, words: str) -> None:
    with Provided(lambda seen: given) as server, pytest.raises(Failed) as raised:
        search(settings(server, name))
    assert raised.value.code == code and words in raised.value.message
    assert len(server.seen) == (2 if given[0] == 429 else 1), "patience is asked for once"


def test_a_rate_limit_that_passes_is_not_seen() -> None:
    limits = iter([True])
    with Provided(lambda seen: (429, brave_error("RATE_LIMITED", "x", 429)) if next(limits, False) else None) as server:
        assert len(search(settings(server, "brave")).results) == 2


def test_the_next_provider_is_asked_when_one_fails() -> None:
    def instead(seen: Seen) -> Given | None:
        return (500, b"down") if seen.path == "/res/v1/web/search" else None

    with Provided(instead) as server:
        assert search(settings(server, "brave", "searxng")).provider == "searxng"


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
        with pytest.raises(Failed) as raised:
            search(settings(server, "brave", timeout=0.2))
        release.set()
    assert raised.value.code == "unavailable" and "web_search.timeout" in raised.value.message


def test_a_query_that_brave_does_not_take_is_not_sent() -> None:
    with Provided() as server:
        for text in ("x" * 401, "word " * 51):
            with pytest.raises(Failed) as raised:
                search(settings(server, "brave"), text)
            assert raised.value.code == "query_too_long"
        assert server.seen == []


def test_nothing_listens() -> None:
    given = load('web_search: {enabled: true, provider: searxng, base_url: "http://127.0.0.1:1"}', {}).web_search
    with pytest.raises(Failed, match="does not answer"):
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
    assert [one.path for one in raised.value.complaints if one.severity == "error"][:1] == [path]


def test_results_are_at_most_as_many_as_asked_for_and_each_once() -> None:
    rows = [{"title": f"t{at % 7}", "url": f"https://example.com/{at % 7}", "content": "x" * 5000} for at in range(50)]
    with Provided(lambda seen: (200, {"results": rows})) as server:
        found = search(settings(server, "searxng"), Query("a", count=5))
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
