"""Recent requests, live: did my client reach Byway, and what happened?"""

from __future__ import annotations

from typing import Any

from byway.admin.requests import row
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.ui.page import Said, number, part, query, show

#: So many are shown.
_SHOWN = 100


def _data(context: RequestContext) -> dict[str, Any]:
    recent = context.gateway.requests
    return {"rows": [row(one) for one in recent.newest(_SHOWN)], "count": recent.count}


async def index(context: RequestContext) -> None:
    """The page."""
    await show(
        context,
        "requests",
        "Requests",
        here="/requests",
        lead="What clients asked of this Byway, newest first. No prompts, no answers, and nothing of it on the disk.",
        **_data(context),
    )


async def rows(context: RequestContext) -> None:
    """The table again, where there is something that the page has not seen."""
    if query(context)["after"] == str(context.gateway.requests.count):
        await context.begin(204, [])
        await context.send({"type": "http.response.body", "body": b""})
        return
    await part(context, "requests", "table", **_data(context))


async def one(context: RequestContext) -> None:
    """Everything that is known of one request."""
    seen = context.gateway.requests.find(number(context.tail))
    if seen is None:
        raise Problem("not_found", "That request is not remembered any more.")
    line = seen.line
    fields = [(name, getattr(line, name)) for name in line.__struct_fields__]
    said = Said("bad", f"HTTP {line.status}", seen.error) if seen.error else None
    await show(
        context,
        "request",
        f"Request {line.id}",
        here="/requests",
        said=said,
        row=row(seen),
        fields=[(name.replace("_", " "), value) for name, value in fields if value not in (None, "", False)],
    )


ROUTES = (
    Route("GET", "/requests", index, "admin", "page"),
    Route("GET", "/requests/rows", rows, "admin", "page"),
    Route("GET", "/requests/*", one, "admin", "page"),
)
