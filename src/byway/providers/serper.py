"""Serper: results of Google. https://serper.dev (seen 2026-11-21; responses and errors from its users' logs)."""

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
    text_at,
    unexpected_response,
    web_result,
    with_site_operators,
)

INFO: Final = ProviderInfo(
    title="Serper",
    url="https://google.serper.dev",
    signup="https://serper.dev",
    free="2,500 searches at sign-up",
    best_for="general search with Google's results",
    variables=("BACKEND_AI_SERPER_API_KEY",),
)


def request(query: SearchQuery, key: str) -> Call:
    """The call for a query, with the API key in it."""
    # More than ten results cost a second credit.
    body: dict[str, Any] = {"q": with_site_operators(query), "num": max(10, query.count)}
    if query.freshness is not None:
        body["tbs"] = f"qdr:{query.freshness[0]}"
    if query.place is not None and query.place.country:
        body["gl"] = query.place.country.lower()
        if query.place.city:
            body["location"] = ", ".join(filter(None, (query.place.city, query.place.region)))
    headers = (("content-type", "application/json"), ("x-api-key", key))
    return Call("POST", "/search", headers, msgspec.json.encode(body))


def read(status: int, body: Any) -> list[WebResult]:
    """The results in a response. Raises SearchError."""
    if status != 200:
        reason = text_at(body, "message")
        if "credits" in reason.lower():
            # Its status for this is 400.
            raise SearchError(
                "unavailable",
                f"Serper responded with HTTP {status}: {reason.rstrip('.')}. Buy credits, or use another provider.",
                status,
            )
        raise http_error(status, reason, "Serper")
    if not isinstance(body, dict) or not {"organic", "searchParameters"} & body.keys():
        raise unexpected_response(status, "Serper")
    results = [
        web_result(item.get("title"), item.get("link"), item.get("snippet"), item.get("date"))
        for item in objects_at(body, "organic")
    ]
    box = body.get("answerBox")
    if isinstance(box, dict):
        results.insert(0, web_result(box.get("title"), box.get("link"), box.get("snippet") or box.get("answer")))
    return [result for result in results if result is not None]
