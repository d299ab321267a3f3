"""Searching the web: what a query and a result are, and how providers fail. A module for each provider, all of them pure."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from byway import urls
from byway.backends.protocol import Call
from byway.domains import permitted

#: The official codes, of the `anthropic` SDK 2.11.0 (`web_search_tool_result_error_code.py`, seen 2026-11-21).
SearchErrorCode = Literal[
    "invalid_tool_input", "unavailable", "max_uses_exceeded", "too_many_requests", "query_too_long", "request_too_large"
]
Freshness = Literal["day", "week", "month", "year"]
#: Letters of a query; engines read less than that.
_LONGEST: Final = 2_000
#: Letters of a title and of a snippet that are kept.
_TITLE: Final = 300
_SNIPPET: Final = 1_500
#: What engines put around words. Not every tag: in the snippet of a page about code `Vec<String>` is text.
_MARKUP: Final = re.compile(
    r"</?(?:a|abbr|b|br|cite|code|div|em|font|h[1-6]|hr|i|img|li|mark|ol|p|pre|s|small|span|strong|sub|sup|tt|u|ul|wbr)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_SPACE: Final = re.compile(r"\s+")
#: Control characters, those that turn the direction of text, and tags: nobody sees them, but a model reads them.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


class UserLocation(Struct, frozen=True):
    """Where the user is, roughly: `user_location` of the tool."""

    city: str = ""
    region: str = ""
    country: str = ""
    """Two letters."""
    timezone: str = ""


class SearchQuery(Struct, frozen=True):
    """What is searched for. Of the two lists of domains at most one has entries."""

    text: str
    count: int = 10
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    place: UserLocation | None = None
    freshness: Freshness | None = None
    since: str = ""
    """The day on which `freshness` begins (2026-11-14), for providers that want a date."""


class WebResult(Struct, frozen=True):
    """One thing that was found."""

    title: str
    url: str
    snippet: str = ""
    age: str = ""
    """As the provider says it: "2 days ago", "2026-11-01"."""


class SearchError(Exception):
    """A search that gave nothing: the official code, the provider's status (0: none came), and words for a person.

    `again`: it is about how fast, so the same may work in a moment.
    """

    def __init__(self, code: SearchErrorCode, message: str, status: int = 0, *, again: bool = False) -> None:
        super().__init__(message)
        self.code: SearchErrorCode = code
        self.message = message
        self.status = status
        self.again = again


class SearchProvider(Protocol):
    """How one provider is asked, and how its answer is read. A module satisfies this."""

    URL: str
    """Where it is when the config gives no `base_url`; empty: the config has to."""

    def request(self, query: SearchQuery, key: str) -> Call:
        """The call, with the key in it."""

    def read(self, status: int, body: Any) -> list[WebResult]:
        """What `body` (decoded JSON, None for what is none) says; raises Failed."""


def web_result(title: Any, url: Any, snippet: Any = "", age: Any = "") -> WebResult | None:
    """A result in plain text, or None for one that leads nowhere: only http and https addresses are given on."""
    if not isinstance(url, str):
        return None
    try:
        urls.parse(url)
    except ValueError:
        return None
    return WebResult(_plain(title, _TITLE) or url, url, _plain(snippet, _SNIPPET), _plain(age, 60))


def _plain(said: Any, most: int) -> str:
    """Text on one line, without markup and entities."""
    if not isinstance(said, str):
        return ""
    # A half surrogate is what is left of an emoji that was cut through; nothing can encode it.
    said = said[: 8 * most].encode("utf-8", "replace").decode()
    text = _UNSEEN.sub("", html.unescape(_MARKUP.sub("", said)))
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def normalize(query: SearchQuery) -> SearchQuery:
    """`query` as every provider can take it. Raises Failed for one that none can."""
    text = _SPACE.sub(" ", _UNSEEN.sub("", query.text.encode("utf-8", "replace").decode())).strip()
    if not text:
        raise SearchError("invalid_tool_input", "The query is empty.")
    if len(text) > _LONGEST:
        raise SearchError("query_too_long", f"A query may have {_LONGEST:,} letters, and this one has {len(text):,}.")
    return replace(query, text=text)


def with_site_operators(query: SearchQuery, longest: int = 2 * _LONGEST) -> str:
    """The query with its domains as `site:` operators, for providers without fields for them; at most `longest` letters.

    A path is left to `fitting`: engines understand `site:` with paths in different ways. So are blocked domains for which
    there is no room. Raises Failed when there is none for the allowed ones.
    """
    text = query.text
    hosts = dict.fromkeys(domain.partition("/")[0] for domain in query.allowed)
    if hosts:
        text += f" ({' OR '.join(f'site:{host}' for host in hosts)})"
        if len(text) > longest >= len(query.text):
            raise SearchError(
                "request_too_large", f"The query with its {len(hosts)} domains has more than {longest} letters."
            )
    for entry in query.blocked:
        if "/" not in entry and len(text) + len(entry) + 7 <= longest:
            text += f" -site:{entry}"
    return text


def plain_domains(entries: Sequence[str]) -> list[str]:
    """Domains for providers with fields for them: without the `*` in paths, which they do not know."""
    return list(dict.fromkeys(entry.partition("*")[0].rstrip("/") for entry in entries))


def matching(query: SearchQuery, found: list[WebResult]) -> list[WebResult]:
    """Those of `found` that the query's domains let pass, each address once, as many as were asked for."""
    kept: dict[str, WebResult] = {}
    for one in found:
        if permitted(urls.parse(one.url), query.allowed, query.blocked):
            kept.setdefault(one.url, one)
    return list(kept.values())[: query.count]


def result_count(query: SearchQuery, most: int) -> int:
    """How many results to ask for, of `most`: more than are wanted where `fitting` may drop some."""
    return most if query.allowed or query.blocked else min(most, query.count)


def http_error(status: int, said: str, name: str) -> SearchError:
    """The failure of an HTTP status that means the same with every provider."""
    words = f"{name} answered with HTTP {status}{f': {said[:300]}' if said else ''}{'' if said[-1:] in '.!' and said else '.'}"
    if status == 429:
        return SearchError(
            "too_many_requests",
            f"{words} Wait a moment, take a larger plan, or name another provider in `fallback`.",
            status,
            again=True,
        )
    if status in (401, 403):
        return SearchError("unavailable", f"{words} Check its `api_key` in `web_search`.", status)
    if status in (402, 432, 433):
        return SearchError(
            "unavailable", f"{words} Its credits are used up: buy more, or name another provider.", status
        )
    if status == 414 or (status in (400, 413, 422) and "too long" in said.lower()):
        return SearchError("query_too_long", words, status)
    if status == 413:
        return SearchError("request_too_large", words, status)
    if status in (400, 422):
        return SearchError("invalid_tool_input", words, status)
    if 300 <= status < 400:
        return SearchError(
            "unavailable", f"{words} Redirects are not followed: give its final address as `base_url`.", status
        )
    if status in (404, 405):
        return SearchError("unavailable", f"{words} Is its `base_url` in `web_search` right?", status)
    return SearchError("unavailable", words, status)


def unexpected_response(status: int, name: str) -> SearchError:
    """The failure of an answer that is not what the provider's documentation says."""
    return SearchError(
        "unavailable", f"{name} answered, but not in its own words. Is its `base_url` in `web_search` right?", status
    )


def objects_at(body: Any, *path: str) -> list[dict[str, Any]]:
    """The list of objects at `path` in a decoded answer; none where it is something else."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return [one for one in body if isinstance(one, dict)] if isinstance(body, list) else []


def text_at(body: Any, *path: str) -> str:
    """The text at `path` in a decoded answer; empty where it is something else."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, str) else ""
