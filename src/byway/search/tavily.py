"""Tavily. https://docs.tavily.com/documentation/api-reference/endpoint/search (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.backends.protocol import Call
from byway.search.provider import (
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

URL: Final = "https://api.tavily.com"
_LONGEST: Final = 400
_MOST: Final = 20


def request(query: SearchQuery, key: str) -> Call:
    """The call for `query`, with the key in it. Raises Failed for a query that is too long."""
    if len(query.text) > _LONGEST:
        raise SearchError("query_too_long", f"Tavily takes {_LONGEST} letters.")
    body: dict[str, Any] = {"query": query.text, "max_results": result_count(query, _MOST), "search_depth": "basic"}
    if query.allowed:
        body["include_domains"] = plain_domains(query.allowed)
    if query.blocked:
        body["exclude_domains"] = plain_domains([entry for entry in query.blocked if "*" not in entry])
    if query.freshness is not None:
        body["time_range"] = query.freshness
    headers = (("content-type", "application/json"), ("authorization", f"Bearer {key}"))
    return Call("POST", "/search", headers, msgspec.json.encode(body))


def read(status: int, body: Any) -> list[WebResult]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        # The body that was refused is told in a list, everything else in `error`.
        said = text_at(body, "detail", "error") or text_at(body, "detail")
        said = said or "; ".join(text_at(one, "msg") for one in objects_at(body, "detail"))
        raise http_error(status, said, "Tavily")
    if not isinstance(body, dict) or "results" not in body:
        raise unexpected_response(status, "Tavily")
    found = [
        web_result(one.get("title"), one.get("url"), one.get("content"), one.get("published_date"))
        for one in objects_at(body, "results")
    ]
    return [one for one in found if one is not None]
