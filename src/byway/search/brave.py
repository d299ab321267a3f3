"""Brave Search. https://api-dashboard.search.brave.com/app/documentation (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.backends.protocol import Call
from byway.search.provider import (
    SearchError,
    SearchQuery,
    UserLocation,
    WebResult,
    http_error,
    objects_at,
    result_count,
    text_at,
    unexpected_response,
    web_result,
    with_site_operators,
)

URL: Final = "https://api.search.brave.com"
#: Letters and words of a query.
_LONGEST: Final = 400
_MOST_WORDS: Final = 50
_MOST: Final = 20
#: Any other country is refused (params.ts of brave-search-mcp-server, seen 2026-11-21).
_COUNTRIES: Final = frozenset(
    "AR AU AT BE BR CA CL DK FI FR DE HK IN ID IT JP KR MY MX NL NZ NO CN PL PT PH RU SA ZA ES SE CH TW TR GB US".split()
)


def request(query: SearchQuery, key: str) -> Call:
    """The call for `query`, with the key in it. Raises Failed for a query that is too long."""
    text = with_site_operators(query, _LONGEST)
    if len(text) > _LONGEST or len(query.text.split()) > _MOST_WORDS:
        raise SearchError(
            "query_too_long", f"Brave takes {_LONGEST} letters and {_MOST_WORDS} words, domains included."
        )
    if len(text.split()) > _MOST_WORDS:
        if query.allowed:
            raise SearchError("request_too_large", f"Brave takes {_MOST_WORDS} words, domains included.")
        text = query.text
    asked = {"q": text, "count": str(max(10, result_count(query, _MOST))), "text_decorations": "false"}
    if query.freshness is not None:
        asked["freshness"] = f"p{query.freshness[0]}"
    headers = [("accept", "application/json"), ("x-subscription-token", key)]
    if query.place is not None:
        country = query.place.country.upper()
        asked["country"] = country if country in _COUNTRIES else "ALL"
        headers += _where(query.place)
    return Call("GET", f"/res/v1/web/search?{urlencode(asked)}", tuple(headers), b"")


def _where(place: UserLocation) -> list[tuple[str, str]]:
    """The user's place; what a header cannot carry is left out."""
    said = (("x-loc-city", place.city), ("x-loc-state-name", place.region), ("x-loc-country", place.country.upper()))
    return [(name, text) for name, text in said if text.isascii() and text.isprintable() and 0 < len(text) <= 100]


def read(status: int, body: Any) -> list[WebResult]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            # Its documentation has a list, its servers an object.
            error = next(iter(objects_at(body, "errors")), {})
        code, said = text_at(error, "code"), text_at(error, "detail")
        if code in ("SUBSCRIPTION_TOKEN_INVALID", "SUBSCRIPTION_NOT_FOUND"):
            # 422 and 404, not 401.
            raise SearchError(
                "unavailable",
                f"Brave refuses the key (HTTP {status}, {code}). Check its `api_key` in `web_search`.",
                status,
            )
        if code == "QUOTA_LIMITED":
            raise SearchError(
                "too_many_requests", f"Brave: the plan's quota is used up (HTTP {status}). Take a larger plan.", status
            )
        raise http_error(status, said or code, "Brave")
    if not isinstance(body, dict) or not {"web", "query", "type"} & body.keys():
        raise unexpected_response(status, "Brave")
    found = []
    for one in objects_at(body, "web", "results"):
        more = one.get("extra_snippets")
        snippets = [text_at(one, "description"), *(more[:2] if isinstance(more, list) else ())]
        snippet = " ".join(text for text in snippets if isinstance(text, str))
        found.append(web_result(one.get("title"), one.get("url"), snippet, one.get("age") or one.get("page_age")))
    return [one for one in found if one is not None]
