"""Tavily. https://docs.tavily.com/documentation/api-reference/endpoint/search (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.call import Call
from byway.providers.protocol import (
    ProviderInfo,
    SearchError,
    SearchQuery,
    WebResult,
    http_error,
    objects_at,
    plain_domains,
    result_count,
    text_at,
    unexpected_response,
    web_result,
)

INFO: Final = ProviderInfo(
    title="Tavily",
    url="https://api.tavily.com",
    signup="https://app.tavily.com",
    free="1,000 a month",
    best_for="search for agents",
)
_MAX_CHARACTERS: Final = 400
_MAX_RESULTS: Final = 20


def request(query: SearchQuery, key: str) -> Call:
    """The call for a query, with the API key in it. Raises SearchError for a query that is too long."""
    if len(query.text) > _MAX_CHARACTERS:
        raise SearchError("query_too_long", f"Tavily accepts {_MAX_CHARACTERS} characters.")
    body: dict[str, Any] = {
        "query": query.text,
        "max_results": result_count(query, _MAX_RESULTS),
        "search_depth": "basic",
    }
    if query.allowed:
        body["include_domains"] = plain_domains(query.allowed)
    if query.blocked:
        body["exclude_domains"] = plain_domains([entry for entry in query.blocked if "*" not in entry])
    if query.freshness is not None:
        body["time_range"] = query.freshness
    headers = (("content-type", "application/json"), ("authorization", f"Bearer {key}"))
    return Call("POST", "/search", headers, msgspec.json.encode(body))


def read(status: int, body: Any) -> list[WebResult]:
    """The results in a response. Raises SearchError."""
    if status != 200:
        # Validation errors are a list, all others an object or a string.
        reason = text_at(body, "detail", "error") or text_at(body, "detail")
        reason = reason or "; ".join(text_at(item, "msg") for item in objects_at(body, "detail"))
        raise http_error(status, reason, "Tavily")
    if not isinstance(body, dict) or "results" not in body:
        raise unexpected_response(status, "Tavily")
    results = [
        web_result(item.get("title"), item.get("url"), item.get("content"), item.get("published_date"))
        for item in objects_at(body, "results")
    ]
    return [result for result in results if result is not None]
