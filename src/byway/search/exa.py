"""Exa. https://docs.exa.ai/reference/search (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.backends.protocol import Call
from byway.search.provider import (
    SearchQuery,
    WebResult,
    http_error,
    objects_at,
    plain_domains,
    text_at,
    unexpected_response,
    web_result,
)

URL: Final = "https://api.exa.ai"
_SNIPPET: Final = 1_200


def request(query: SearchQuery, key: str) -> Call:
    """The call for `query`, with the key in it."""
    # A search without `contents` has no snippets.
    body: dict[str, Any] = {
        "query": query.text,
        "numResults": min(100, max(1, query.count)),
        "contents": {"text": {"maxCharacters": _SNIPPET}},
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


def _domains(entries: Any) -> list[str]:
    """Paths it knows; subdomains it wants named (https://exa.ai/docs/changelog/domain-path-filter, seen 2026-11-21)."""
    named = plain_domains(entries)
    return [*named, *(f"*.{entry}" for entry in named if "/" not in entry)]


def read(status: int, body: Any) -> list[WebResult]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        raise http_error(status, text_at(body, "error") or text_at(body, "tag"), "Exa")
    if not isinstance(body, dict) or "results" not in body:
        raise unexpected_response(status, "Exa")
    found = []
    for one in objects_at(body, "results"):
        more = one.get("highlights")
        lights = [text for text in more if isinstance(text, str)] if isinstance(more, list) else []
        snippet = one.get("summary") or " … ".join(lights) or one.get("text")
        found.append(web_result(one.get("title"), one.get("url"), snippet, text_at(one, "publishedDate")[:10]))
    return [one for one in found if one is not None]
