"""Recent requests, live: did my client reach Byway, and what happened?"""

from __future__ import annotations

from typing import Any

from byway.admin.requests import row
from byway.problems import Problem
from byway.routes.context import Ask, Routes
from byway.ui.page import Said, number, part, query, show

#: So many are shown.
_SHOWN = 100


def _data(ask: Ask) -> dict[str, Any]:
    recent = ask.app.recent
    return {"rows": [row(one) for one in recent.newest(_SHOWN)], "count": recent.count}


async def index(ask: Ask) -> None:
    """The page."""
    await show(
        ask,
        "requests",
        "Requests",
        here="/requests",
        lead="What clients asked of this Byway, newest first. No prompts, no answers, and nothing of it on the disk.",
        **_data(ask),
    )


async def rows(ask: Ask) -> None:
    """The table again, where there is something that the page has not seen."""
    if query(ask)["after"] == str(ask.app.recent.count):
        await ask.begin(204, [])
        await ask.send({"type": "http.response.body", "body": b""})
        return
    await part(ask, "requests", "table", **_data(ask))


async def one(ask: Ask) -> None:
    """Everything that is known of one request."""
    seen = ask.app.recent.find(number(ask.tail))
    if seen is None:
        raise Problem("not_found", "That request is not remembered any more.")
    line = seen.line
    fields = [(name, getattr(line, name)) for name in line.__struct_fields__]
    said = Said("bad", f"HTTP {line.status}", seen.error) if seen.error else None
    await show(
        ask,
        "request",
        f"Request {line.id}",
        here="/requests",
        said=said,
        row=row(seen),
        fields=[(name.replace("_", " "), value) for name, value in fields if value not in (None, "", False)],
    )


ROUTES: Routes = (("GET", "/requests", index), ("GET", "/requests/rows", rows), ("GET", "/requests/*", one))
