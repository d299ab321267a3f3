"""Serper: Google's results. https://serper.dev (seen 2026-11-21; answers and errors as its users log them)."""

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
    text_at,
    unexpected_response,
    web_result,
    with_site_operators,
)

URL: Final = "https://google.serper.dev"


def request(query: SearchQuery, key: str) -> Call:
    """The call for `query`, with the key in it."""
    # More than ten cost a second credit.
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
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        said = text_at(body, "message")
        if "credits" in said.lower():
            # It says 400 for this.
            raise SearchError(
                "unavailable",
                f"Serper says HTTP {status}: {said.rstrip('.')}. Buy credits, or name another provider.",
                status,
            )
        raise http_error(status, said, "Serper")
    if not isinstance(body, dict) or not {"organic", "searchParameters"} & body.keys():
        raise unexpected_response(status, "Serper")
    found = [
        web_result(one.get("title"), one.get("link"), one.get("snippet"), one.get("date"))
        for one in objects_at(body, "organic")
    ]
    answer = body.get("answerBox")
    if isinstance(answer, dict):
        found.insert(
            0, web_result(answer.get("title"), answer.get("link"), answer.get("snippet") or answer.get("answer"))
        )
    return [one for one in found if one is not None]
