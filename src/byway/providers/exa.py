"""Exa. https://docs.exa.ai/reference/search (seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from byway.call import Call
from byway.providers.protocol import (
    ProviderInfo,
    SearchQuery,
    WebResult,
    http_error,
    objects_at,
    plain_domains,
    text_at,
    unexpected_response,
    web_result,
)

INFO: Final = ProviderInfo(
    title="Exa",
    url="https://api.exa.ai",
    signup="https://dashboard.exa.ai",
    free="a free trial",
    best_for="technical content, search by meaning",
)
_SNIPPET_CHARACTERS: Final = 1_200
_MAX_RESULTS: Final = 100


def request(query: SearchQuery, key: str) -> Call:
    """The call for a query, with the API key in it."""
    # Without `contents`, results have no snippets.
    body: dict[str, Any] = {
        "query": query.text,
        "numResults": min(_MAX_RESULTS, max(1, query.count)),
        "contents": {"text": {"maxCharacters": _SNIPPET_CHARACTERS}},
    }
    if query.allowed:
        body["includeDomains"] = _domains(query.allowed)
    if query.blocked:
        body["excludeDomains"] = _domains([entry for entry in query.blocked if "*" not in entry])
    if query.since:
        body["startPublishedDate"] = f"{query.since}T00:00:00.000Z"
    if query.place is not None and len(query.place.country) == 2:
        body["userLocation"] = query.place.country.upper()
    headers = (("content-type", "application/json"), ("x-api-key", key))
    return Call("POST", "/search", headers, msgspec.json.encode(body))


def _domains(entries: Sequence[str]) -> list[str]:
    """Domain filters. Subdomains need an entry of their own (https://exa.ai/docs/changelog/domain-path-filter, seen
    2026-11-21)."""
    domains = plain_domains(entries)
    return [*domains, *(f"*.{domain}" for domain in domains if "/" not in domain)]


def read(status: int, body: Any) -> list[WebResult]:
    """The results in a response. Raises SearchError."""
    if status != 200:
        raise http_error(status, text_at(body, "error") or text_at(body, "tag"), "Exa")
    if not isinstance(body, dict) or "results" not in body:
        raise unexpected_response(status, "Exa")
    results = []
    for item in objects_at(body, "results"):
        more = item.get("highlights")
        highlights = [text for text in more if isinstance(text, str)] if isinstance(more, list) else []
        snippet = item.get("summary") or " … ".join(highlights) or item.get("text")
        results.append(web_result(item.get("title"), item.get("url"), snippet, text_at(item, "publishedDate")[:10]))
    return [result for result in results if result is not None]
