"""Exa. https://docs.exa.ai/reference/search (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.backends import Call
from byway.search import Failed, Query, Result, listed, refused, result

URL: Final = "https://api.exa.ai"
_SNIPPET: Final = 1_200


def request(query: Query, key: str) -> Call:
    """The call for `query`, with the key in it."""
    # A search without `contents` has no snippets.
    body: dict[str, Any] = {
        "query": query.text,
        "numResults": min(100, max(1, query.count)),
        "contents": {"text": {"maxCharacters": _SNIPPET}},
    }
    if query.allowed:
        body["includeDomains"] = list(query.allowed)
    if query.blocked:
        body["excludeDomains"] = list(query.blocked)
    if query.place is not None and len(query.place.country) == 2:
        body["userLocation"] = query.place.country.upper()
    headers = (("content-type", "application/json"), ("x-api-key", key))
    return Call("POST", "/search", headers, msgspec.json.encode(body))


def read(status: int, body: Any) -> list[Result]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        said = body.get("error") if isinstance(body, dict) else ""
        raise refused(status, said if isinstance(said, str) else "", "Exa")
    if not isinstance(body, dict):
        raise Failed("unavailable", "Exa's answer was not understood.", status)
    found = []
    for one in listed(body, "results"):
        lights = [text for text in one.get("highlights") or () if isinstance(text, str)]
        snippet = one.get("summary") or " … ".join(lights) or one.get("text")
        found.append(result(one.get("title"), one.get("url"), snippet, str(one.get("publishedDate") or "")[:10]))
    return [one for one in found if one is not None]
