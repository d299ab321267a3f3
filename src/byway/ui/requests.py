"""The page Requests: the last requests, live."""

from __future__ import annotations

from typing import Any

from byway.admin.requests import row
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.ui.page import Outcome, parse_number, query_fields, send_card, send_page

#: Requests that the page shows.
_SHOWN = 100


def _data(context: RequestContext) -> dict[str, Any]:
    recent = context.gateway.requests
    return {"rows": [row(request) for request in recent.newest(_SHOWN)], "count": recent.count}


async def index(context: RequestContext) -> None:
    """Send the page."""
    await send_page(
        context,
        "requests",
        "Requests",
        here="/requests",
        lead="The last requests, newest first. Prompts and answers are not recorded; nothing is stored on disk.",
        **_data(context),
    )


async def rows(context: RequestContext) -> None:
    """Send the table when there are requests that the page has not shown."""
    if query_fields(context)["after"] == str(context.gateway.requests.count):
        await context.begin(204, [])
        await context.send({"type": "http.response.body", "body": b""})
        return
    await send_card(context, "requests", "table", **_data(context))


async def details(context: RequestContext) -> None:
    """Send the details of one request."""
    seen = context.gateway.requests.find(parse_number(context.tail))
    if seen is None:
        raise Problem("not_found", "That request is no longer in the list.")
    line = seen.line
    fields = [(name, getattr(line, name)) for name in line.__struct_fields__]
    outcome = Outcome("bad", f"HTTP {line.status}", seen.error) if seen.error else None
    await send_page(
        context,
        "request",
        f"Request {line.id}",
        here="/requests",
        outcome=outcome,
        row=row(seen),
        fields=[(name.replace("_", " "), value) for name, value in fields if value not in (None, "", False)],
    )


ROUTES = (
    Route("GET", "/requests", index, "admin", "page"),
    Route("GET", "/requests/rows", rows, "admin", "page"),
    Route("GET", "/requests/*", details, "admin", "page"),
)
