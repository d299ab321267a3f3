"""What every search provider shares: query, result, error, the protocol of its module, and helpers to read its responses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from byway import urls
from byway.call import Call

#: Codes of the official API: `anthropic` SDK 2.11.0, `web_search_tool_result_error_code.py` (seen 2026-11-21).
SearchErrorCode = Literal[
    "invalid_tool_input", "unavailable", "max_uses_exceeded", "too_many_requests", "query_too_long", "request_too_large"
]
Freshness = Literal["day", "week", "month", "year"]
#: Characters of a query; no engine reads more.
_MAX_QUERY: Final = 2_000
#: Characters of a title, a snippet and an age that are kept.
_MAX_TITLE: Final = 300
_MAX_SNIPPET: Final = 1_500
_MAX_AGE: Final = 60
#: Longer URLs are of no use to a model.
_MAX_URL: Final = 2_048
#: Characters of a provider's error message that are shown.
_MAX_MESSAGE: Final = 300
#: Tags that engines put into snippets. Not every tag: in a snippet about code, `Vec<String>` is text.
_MARKUP: Final = re.compile(
    r"</?(?:a|abbr|b|br|cite|code|div|em|font|h[1-6]|hr|i|img|li|mark|ol|p|pre|s|small|span|strong|sub|sup|tt|u|ul|wbr)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_SPACE: Final = re.compile(r"\s+")
#: Control characters, marks that change the direction of text, and tag characters: invisible, but a model reads them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


class UserLocation(Struct, frozen=True):
    """The user's approximate location: `user_location` of the tool."""

    city: str = ""
    region: str = ""
    country: str = ""
    """Two letters (ISO 3166)."""
    timezone: str = ""


class SearchQuery(Struct, frozen=True):
    """A search. At most one of the two domain lists has entries."""

    text: str
    count: int = 10
    """The number of results."""
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    place: UserLocation | None = None
    freshness: Freshness | None = None
    since: str = ""
    """The first day that `freshness` includes (2026-11-14), for providers that take a date."""


class WebResult(Struct, frozen=True):
    """One search result."""

    title: str
    url: str
    snippet: str = ""
    age: str = ""
    """In the provider's words: "2 days ago", "2026-11-01"."""


class SearchError(Exception):
    """A failed search: the official code, the provider's HTTP status (0: no response), and a message for a person.

    `rate_limited`: requests came too fast, so the same search may succeed in a moment.
    """

    def __init__(self, code: SearchErrorCode, message: str, status: int = 0, *, rate_limited: bool = False) -> None:
        super().__init__(message)
        self.code: SearchErrorCode = code
        self.message = message
        self.status = status
        self.rate_limited = rate_limited


class ProviderInfo(NamedTuple):
    """The facts of a provider that config, secrets, settings page, CLI and docs show. Plans of 2026: prices change."""

    title: str
    url: str
    """The base URL of its API. Empty: it is self-hosted, and the config sets `base_url`."""
    signup: str
    """Where to get an API key, or installation instructions."""
    free: str
    """The free tier."""
    best_for: str
    keyed: bool = True
    """It needs an API key."""
    variables: tuple[str, ...] = ()
    """Environment variables that other products use for its API key; `BYWAY_<NAME>_API_KEY` always works."""


class SearchProvider(Protocol):
    """The module of one provider."""

    INFO: ProviderInfo

    def request(self, query: SearchQuery, key: str) -> Call:
        """The call for a query, with the API key in it. Raises SearchError for a query that the provider rejects."""

    def read(self, status: int, body: Any) -> list[WebResult]:
        """The results in a response. `body` is decoded JSON, None if it is not JSON. Raises SearchError."""


# ---------------------------------------------------------------------------------------------------------------- queries


def normalize(query: SearchQuery) -> SearchQuery:
    """`query` without invisible characters. Raises SearchError when it is empty or too long for every provider."""
    text = _SPACE.sub(" ", _INVISIBLE.sub("", query.text.encode("utf-8", "replace").decode())).strip()
    if not text:
        raise SearchError("invalid_tool_input", "The query is empty.")
    if len(text) > _MAX_QUERY:
        raise SearchError(
            "query_too_long", f"The query has {len(text):,} characters; the limit is {_MAX_QUERY:,}. Shorten it."
        )
    return replace(query, text=text)


def with_site_operators(query: SearchQuery, longest: int = 2 * _MAX_QUERY) -> str:
    """The query with its domains as `site:` operators, at most `longest` characters.

    For providers without fields for domains. Entries with a path are left to `chain.matching`, because engines treat
    paths after `site:` in different ways; so are blocked domains that do not fit. Raises SearchError when the allowed
    domains do not fit.
    """
    parts = [query.text]
    hosts = dict.fromkeys(domain.partition("/")[0] for domain in query.allowed)
    if hosts:
        parts.append(f" ({' OR '.join(f'site:{host}' for host in hosts)})")
    length = sum(map(len, parts))
    if length > longest >= len(query.text):
        raise SearchError(
            "request_too_large", f"The query with its {len(hosts)} domains has more than {longest} characters."
        )
    for entry in query.blocked:
        if "/" not in entry and length + len(entry) + 7 <= longest:
            parts.append(f" -site:{entry}")
            length += len(parts[-1])
    return "".join(parts)


def plain_domains(entries: Sequence[str]) -> list[str]:
    """Domains for providers that have fields for them but no `*` in paths."""
    return list(dict.fromkeys(entry.partition("*")[0].rstrip("/") for entry in entries))


def result_count(query: SearchQuery, most: int) -> int:
    """The number of results to request: the maximum when the domain lists may drop some."""
    return most if query.allowed or query.blocked else min(most, query.count)


# -------------------------------------------------------------------------------------------------------------- responses


def web_result(title: Any, url: Any, snippet: Any = "", age: Any = "") -> WebResult | None:
    """A result in plain text. None unless its URL is an http or https URL of at most 2,048
    characters."""
    if not isinstance(url, str) or len(url) > _MAX_URL:
        return None
    try:
        urls.parse(url)
    except ValueError:
        return None
    return WebResult(_plain(title, _MAX_TITLE) or url, url, _plain(snippet, _MAX_SNIPPET), _plain(age, _MAX_AGE))


def _plain(value: Any, limit: int) -> str:
    """A text on one line, without markup and entities, cut at `limit` characters."""
    if not isinstance(value, str):
        return ""
    # Its table of entities is large, and only results of a search need it.
    import html

    # Services that cut text by UTF-16 send half of an emoji, which cannot be encoded.
    text = value[: 8 * limit].encode("utf-8", "replace").decode()
    text = _INVISIBLE.sub("", html.unescape(_MARKUP.sub("", text)))
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def objects_at(body: Any, *path: str) -> list[dict[str, Any]]:
    """The objects in the list at `path` of a response; empty where there is no list."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return [item for item in body if isinstance(item, dict)] if isinstance(body, list) else []


def text_at(body: Any, *path: str) -> str:
    """The string at `path` of a response; empty where there is none."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, str) else ""


def http_error(status: int, reason: str, title: str) -> SearchError:
    """The error for an HTTP status that means the same for every provider. `reason` is the provider's message."""
    end = "" if reason[-1:] in (".", "!") and reason else "."
    text = f"{title} responded with HTTP {status}{f': {reason[:_MAX_MESSAGE]}' if reason else ''}{end}"
    if status == 429:
        return SearchError(
            "too_many_requests",
            f"{text} Wait a moment, upgrade the plan, or add another provider under `web_search.fallback`.",
            status,
            rate_limited=True,
        )
    if status in (401, 403):
        return SearchError("unavailable", f"{text} Check its `api_key` in `web_search`.", status)
    if status in (402, 432, 433):
        return SearchError("unavailable", f"{text} Its credits are used up: buy more, or use another provider.", status)
    if status == 414 or (status in (400, 413, 422) and "too long" in reason.lower()):
        return SearchError("query_too_long", text, status)
    if status == 413:
        return SearchError("request_too_large", text, status)
    if status in (400, 422):
        return SearchError("invalid_tool_input", text, status)
    if 300 <= status < 400:
        return SearchError(
            "unavailable", f"{text} Byway does not follow redirects: set `base_url` to the final address.", status
        )
    if status in (404, 405):
        return SearchError("unavailable", f"{text} Check its `base_url` in `web_search`.", status)
    return SearchError("unavailable", text, status)


def unexpected_response(status: int, title: str) -> SearchError:
    """The error for a response that does not have the documented format."""
    return SearchError(
        "unavailable", f"Unexpected response from {title}. Check its `base_url` in `web_search`.", status
    )
