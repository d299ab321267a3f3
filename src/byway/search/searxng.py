"""SearXNG: an instance of your own, without a key. https://docs.searxng.org/dev/search_api.html (seen 2026-11-21).

Its settings must allow JSON: `search: {formats: [html, json]}`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.backends.protocol import Call
from byway.search.provider import (
    SearchError,
    SearchQuery,
    WebResult,
    http_error,
    objects_at,
    text_at,
    web_result,
    with_site_operators,
)

URL: Final = ""


def request(query: SearchQuery, key: str) -> Call:
    """The call for `query`, with the key in it."""
    headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
    if key:
        # For an instance behind a proxy that asks for one.
        headers = (*headers, ("authorization", f"Bearer {key}"))
    asked = {"q": with_site_operators(query), "format": "json"}
    if query.freshness is not None:
        asked["time_range"] = query.freshness
    return Call("GET", f"/search?{urlencode(asked)}", headers, b"")


def read(status: int, body: Any) -> list[WebResult]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status == 403:
        raise SearchError(
            "unavailable",
            "SearXNG refuses JSON (HTTP 403). Put `search: {formats: [html, json]}` into its settings.yml, and see that its "
            "limiter lets this machine in.",
            status,
        )
    if status != 200:
        raise http_error(status, text_at(body, "error"), "SearXNG")
    if not isinstance(body, dict) or "results" not in body:
        raise SearchError(
            "unavailable",
            "The answer was no SearXNG's. Is its `base_url` in `web_search` right, and does its settings.yml have "
            "`search: {formats: [html, json]}`?",
            status,
        )
    found = [
        web_result(one.get("title"), one.get("url"), one.get("content"), text_at(one, "publishedDate")[:10])
        for one in objects_at(body, "results")
    ]
    kept = [one for one in found if one is not None]
    silent = body.get("unresponsive_engines")
    if not kept and silent:
        raise SearchError("unavailable", f"No engine of the SearXNG answered: {str(silent)[:200]}", status)
    return kept
