"""SearXNG: an instance of your own, without a key. https://docs.searxng.org/dev/search_api.html (seen 2026-11-21).

Its settings must allow JSON: `search: {formats: [html, json]}`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.backends.protocol import Call
from byway.search.provider import Failed, Query, Result, listed, operators, refused, result, text_of

URL: Final = ""


def request(query: Query, key: str) -> Call:
    """The call for `query`, with the key in it."""
    headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
    if key:
        # For an instance behind a proxy that asks for one.
        headers = (*headers, ("authorization", f"Bearer {key}"))
    asked = {"q": operators(query), "format": "json"}
    if query.freshness is not None:
        asked["time_range"] = query.freshness
    return Call("GET", f"/search?{urlencode(asked)}", headers, b"")


def read(status: int, body: Any) -> list[Result]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status == 403:
        raise Failed(
            "unavailable",
            "SearXNG refuses JSON (HTTP 403). Put `search: {formats: [html, json]}` into its settings.yml, and see that its "
            "limiter lets this machine in.",
            status,
        )
    if status != 200:
        raise refused(status, text_of(body, "error"), "SearXNG")
    if not isinstance(body, dict) or "results" not in body:
        raise Failed(
            "unavailable",
            "The answer was no SearXNG's. Is its `base_url` in `web_search` right, and does its settings.yml have "
            "`search: {formats: [html, json]}`?",
            status,
        )
    found = [
        result(one.get("title"), one.get("url"), one.get("content"), text_of(one, "publishedDate")[:10])
        for one in listed(body, "results")
    ]
    kept = [one for one in found if one is not None]
    silent = body.get("unresponsive_engines")
    if not kept and silent:
        raise Failed("unavailable", f"No engine of the SearXNG answered: {str(silent)[:200]}", status)
    return kept
