"""SearXNG, a self-hosted metasearch engine. https://docs.searxng.org/dev/search_api.html (seen 2026-11-21).

Its settings.yml must allow JSON: `search: {formats: [html, json]}`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.call import Call
from byway.providers.protocol import (
    ProviderInfo,
    SearchError,
    SearchQuery,
    WebResult,
    http_error,
    objects_at,
    text_at,
    web_result,
    with_site_operators,
)

INFO: Final = ProviderInfo(
    title="SearXNG",
    url="",
    signup="https://docs.searxng.org",
    free="free: your own instance, no key",
    best_for="privacy: no account, no tracking",
    keyed=False,
)


def request(query: SearchQuery, key: str) -> Call:
    """The call for a query."""
    headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
    if key:
        # For an instance behind a proxy that requires a token.
        headers = (*headers, ("authorization", f"Bearer {key}"))
    parameters = {"q": with_site_operators(query), "format": "json"}
    if query.freshness is not None:
        parameters["time_range"] = query.freshness
    return Call("GET", f"/search?{urlencode(parameters)}", headers, b"")


def read(status: int, body: Any) -> list[WebResult]:
    """The results in a response. Raises SearchError."""
    if status == 403:
        raise SearchError(
            "unavailable",
            "SearXNG refuses JSON (HTTP 403). Add `search: {formats: [html, json]}` to its settings.yml, and check that its "
            "limiter allows this machine.",
            status,
        )
    if status != 200:
        raise http_error(status, text_at(body, "error"), "SearXNG")
    if not isinstance(body, dict) or "results" not in body:
        raise SearchError(
            "unavailable",
            "Unexpected response from SearXNG. Check its `base_url` in `web_search`, and that its settings.yml has "
            "`search: {formats: [html, json]}`.",
            status,
        )
    results = [
        web_result(item.get("title"), item.get("url"), item.get("content"), text_at(item, "publishedDate")[:10])
        for item in objects_at(body, "results")
    ]
    kept = [result for result in results if result is not None]
    unresponsive = body.get("unresponsive_engines")
    if not kept and unresponsive:
        raise SearchError("unavailable", f"No engine of SearXNG responded: {str(unresponsive)[:200]}", status)
    return kept
