"""Brave Search. https://api-dashboard.search.brave.com/app/documentation (seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.backends import Call
from byway.search import Failed, Query, Result, listed, operators, refused, result

URL: Final = "https://api.search.brave.com"
#: Letters and words of a query.
_LONGEST: Final = 400
_MOST_WORDS: Final = 50
_MOST: Final = 20


def request(query: Query, key: str) -> Call:
    """The call for `query`, with the key in it. Raises Failed for a query that is too long."""
    text = operators(query)
    if len(text) > _LONGEST or len(text.split()) > _MOST_WORDS:
        raise Failed("query_too_long", f"Brave takes {_LONGEST} letters and {_MOST_WORDS} words, domains included.")
    asked = {"q": text, "count": str(min(_MOST, max(10, query.count))), "text_decorations": "false"}
    if query.place is not None and len(query.place.country) == 2:
        asked["country"] = query.place.country.upper()
    headers = (("accept", "application/json"), ("x-subscription-token", key))
    return Call("GET", f"/res/v1/web/search?{urlencode(asked)}", headers, b"")


def read(status: int, body: Any) -> list[Result]:
    """What an answer says, given its status and its decoded JSON; raises Failed."""
    if status != 200:
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            # Its documentation has a list, its servers an object.
            error = next(iter(listed(body, "errors")), {})
        code, said = str(error.get("code") or ""), str(error.get("detail") or "")
        if code in ("SUBSCRIPTION_TOKEN_INVALID", "SUBSCRIPTION_NOT_FOUND"):
            # 422 and 404, not 401.
            raise Failed("unavailable", f"Brave refuses the key ({code}). Check `web_search.api_key`.", status)
        if code == "QUOTA_LIMITED":
            raise Failed("too_many_requests", "Brave: the plan's quota is used up.", status)
        raise refused(status, said or code, "Brave")
    if not isinstance(body, dict):
        raise Failed("unavailable", "Brave's answer was not understood.", status)
    found = []
    for one in listed(body, "web", "results"):
        more = [text for text in one.get("extra_snippets") or () if isinstance(text, str)]
        snippet = " ".join([str(one.get("description") or ""), *more[:2]])
        found.append(result(one.get("title"), one.get("url"), snippet, one.get("age") or one.get("page_age")))
    return [one for one in found if one is not None]
