"""Brave Search. https://api-dashboard.search.brave.com/app/documentation (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.call import Call
from byway.providers.protocol import (
    ProviderInfo,
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

INFO: Final = ProviderInfo(
    title="Brave Search",
    url="https://api.search.brave.com",
    signup="https://api-dashboard.search.brave.com/register",
    free="2,000 a month, one a second",
    best_for="its own index, low cost",
    variables=("BACKEND_AI_BRAVE_API_KEY",),
)
_MAX_CHARACTERS: Final = 400
_MAX_WORDS: Final = 50
_MAX_RESULTS: Final = 20
#: It rejects any other country (params.ts of brave-search-mcp-server, seen 2026-11-21).
_COUNTRIES: Final = frozenset(
    "AR AU AT BE BR CA CL DK FI FR DE HK IN ID IT JP KR MY MX NL NZ NO CN PL PT PH RU SA ZA ES SE CH TW TR GB US".split()
)


def request(query: SearchQuery, key: str) -> Call:
    """The call for a query, with the API key in it. Raises SearchError for a query that is too long."""
    text = with_site_operators(query, _MAX_CHARACTERS)
    if len(text) > _MAX_CHARACTERS or len(query.text.split()) > _MAX_WORDS:
        raise SearchError(
            "query_too_long", f"Brave accepts {_MAX_CHARACTERS} characters and {_MAX_WORDS} words, domains included."
        )
    if len(text.split()) > _MAX_WORDS:
        if query.allowed:
            raise SearchError("request_too_large", f"Brave accepts {_MAX_WORDS} words, domains included.")
        text = query.text
    parameters = {"q": text, "count": str(max(10, result_count(query, _MAX_RESULTS))), "text_decorations": "false"}
    if query.freshness is not None:
        parameters["freshness"] = f"p{query.freshness[0]}"
    headers = [("accept", "application/json"), ("x-subscription-token", key)]
    if query.place is not None:
        country = query.place.country.upper()
        parameters["country"] = country if country in _COUNTRIES else "ALL"
        headers += _location_headers(query.place)
    return Call("GET", f"/res/v1/web/search?{urlencode(parameters)}", tuple(headers), b"")


def _location_headers(place: UserLocation) -> list[tuple[str, str]]:
    """The user's location, without values that a header cannot hold."""
    values = (("x-loc-city", place.city), ("x-loc-state-name", place.region), ("x-loc-country", place.country.upper()))
    return [(name, text) for name, text in values if text.isascii() and text.isprintable() and 0 < len(text) <= 100]


def read(status: int, body: Any) -> list[WebResult]:
    """The results in a response. Raises SearchError."""
    if status != 200:
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            # The documentation has a list, the servers send an object.
            error = next(iter(objects_at(body, "errors")), {})
        code, reason = text_at(error, "code"), text_at(error, "detail")
        if code in ("SUBSCRIPTION_TOKEN_INVALID", "SUBSCRIPTION_NOT_FOUND"):
            # Its statuses for these are 422 and 404.
            raise SearchError(
                "unavailable",
                f"Brave rejected the API key (HTTP {status}, {code}). Check its `api_key` in `web_search`.",
                status,
            )
        if code == "QUOTA_LIMITED":
            raise SearchError(
                "too_many_requests", f"Brave: the plan's quota is used up (HTTP {status}). Upgrade the plan.", status
            )
        raise http_error(status, reason or code, "Brave")
    if not isinstance(body, dict) or not {"web", "query", "type"} & body.keys():
        raise unexpected_response(status, "Brave")
    results = []
    for item in objects_at(body, "web", "results"):
        more = item.get("extra_snippets")
        snippets = [text_at(item, "description"), *(more[:2] if isinstance(more, list) else ())]
        snippet = " ".join(text for text in snippets if isinstance(text, str))
        results.append(web_result(item.get("title"), item.get("url"), snippet, item.get("age") or item.get("page_age")))
    return [result for result in results if result is not None]
