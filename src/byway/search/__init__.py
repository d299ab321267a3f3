"""Searching the web: what a query and a result are, and how providers fail. A module for each provider, all of them pure."""

from __future__ import annotations

import html
import re
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from byway import urls
from byway.backends import Call
from byway.domains import permitted

#: The official codes, of the `anthropic` SDK 2.11.0 (`web_search_tool_result_error_code.py`, seen 2026-11-21).
Code = Literal[
    "invalid_tool_input", "unavailable", "max_uses_exceeded", "too_many_requests", "query_too_long", "request_too_large"
]
#: Letters of a title and of a snippet that are kept.
_TITLE: Final = 300
_SNIPPET: Final = 1_500
_MARKUP: Final = re.compile(r"<[^<>]{0,200}>")
_SPACE: Final = re.compile(r"\s+")


class Place(Struct, frozen=True):
    """Where the user is, roughly: `user_location` of the tool."""

    city: str = ""
    region: str = ""
    country: str = ""
    """Two letters."""
    timezone: str = ""


class Query(Struct, frozen=True):
    """What is searched for. Of the two lists of domains at most one has entries."""

    text: str
    count: int = 10
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    place: Place | None = None


class Result(Struct, frozen=True):
    """One thing that was found."""

    title: str
    url: str
    snippet: str = ""
    age: str = ""
    """As the provider says it: "2 days ago", "2026-11-01"."""


class Failed(Exception):
    """A search that gave nothing: the official code, the provider's status (0: none came), and words for a person."""

    def __init__(self, code: Code, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.status = status


class Provider(Protocol):
    """How one provider is asked, and how its answer is read. A module satisfies this."""

    URL: str
    """Where it is when the config gives no `base_url`; empty: the config has to."""

    def request(self, query: Query, key: str) -> Call:
        """The call, with the key in it."""

    def read(self, status: int, body: Any) -> list[Result]:
        """What `body` (decoded JSON, None for what is none) says; raises Failed."""


def result(title: Any, url: Any, snippet: Any = "", age: Any = "") -> Result | None:
    """A result in plain text, or None for one that leads nowhere: only http and https addresses are given on."""
    if not isinstance(url, str):
        return None
    try:
        urls.parse(url)
    except ValueError:
        return None
    return Result(_plain(title, _TITLE) or url, url, _plain(snippet, _SNIPPET), _plain(age, 60))


def _plain(said: Any, most: int) -> str:
    """Text on one line, without markup and entities."""
    if not isinstance(said, str):
        return ""
    text = _SPACE.sub(" ", html.unescape(_MARKUP.sub("", said))).strip()
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def operators(query: Query) -> str:
    """The query with its domains as `site:` operators, for providers without fields for them.

    A path is left to `fitting`: engines understand `site:` with paths in different ways.
    """
    hosts = [domain.partition("/")[0] for domain in query.allowed]
    if hosts:
        return f"{query.text} ({' OR '.join(f'site:{host}' for host in hosts)})"
    return " ".join([query.text, *(f"-site:{entry}" for entry in query.blocked if "/" not in entry)])


def fitting(query: Query, found: list[Result]) -> list[Result]:
    """Those of `found` that the query's domains let pass, each address once, as many as were asked for."""
    kept: dict[str, Result] = {}
    for one in found:
        if permitted(urls.parse(one.url), query.allowed, query.blocked):
            kept.setdefault(one.url, one)
    return list(kept.values())[: query.count]


def refused(status: int, said: str, name: str) -> Failed:
    """The failure of an HTTP status that means the same with every provider."""
    words = f"{name} answered with HTTP {status}{f': {said[:300]}' if said else ''}."
    if status == 429:
        return Failed("too_many_requests", f"{words} Wait a moment, or take a larger plan.", status)
    if status in (401, 403):
        return Failed("unavailable", f"{words} Check `web_search.api_key`.", status)
    if status == 402:
        return Failed("unavailable", f"{words} Its credits are used up.", status)
    if status in (400, 422):
        return Failed("invalid_tool_input", words, status)
    return Failed("unavailable", words, status)


def listed(body: Any, *path: str) -> list[dict[str, Any]]:
    """The list of objects at `path` in a decoded answer; none where it is something else."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return [one for one in body if isinstance(one, dict)] if isinstance(body, list) else []
