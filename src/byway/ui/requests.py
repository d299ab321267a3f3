"""The page Requests: the last requests, live."""

from __future__ import annotations

from typing import Any, Final

from byway.admin.requests import row
from byway.display import latency
from byway.problems import Problem
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, Route
from byway.ui.page import Outcome, parse_number, query_fields, send_card, send_page

#: Requests that the page shows.
_SHOWN = 100
#: The fields of a request, in the order in which the page shows them.
_LABELS: Final = {
    "requested": "Requested model",
    "alias": "Alias",
    "backend": "Backend",
    "model": "Model",
    "tries": "Attempts",
    "ms": "Duration",
    "first_ms": "First token after",
    "input_tokens": "Input tokens, not cached",
    "cached_tokens": "Input tokens from the cache",
    "output_tokens": "Output tokens",
    "estimated": "Tokens estimated by Byway",
    "stop": "Stop reason",
    "problem": "Problem",
    "upstream_status": "Status of the backend",
    "reason": "Reason",
    "probe": "Test by Byway itself",
    "key": "Key",
    "account": "Account",
    "session": "Session",
    "method": "Method",
    "path": "Path",
    "status": "Status",
    "id": "Request id",
}


def _data(context: RequestContext) -> dict[str, Any]:
    recent, account = context.gateway.requests, visible_account(context)
    rows = [row(request) for request in recent.of_account(account, _SHOWN)]
    return {"rows": rows, "count": recent.newest_number(account)}


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
    if query_fields(context)["after"] == str(context.gateway.requests.newest_number(visible_account(context))):
        await context.begin(204, [])
        await context.send({"type": "http.response.body", "body": b""})
        return
    await send_card(context, "requests", "table", **_data(context))


async def details(context: RequestContext) -> None:
    """Send the details of one request."""
    seen = context.gateway.requests.find(parse_number(context.tail), visible_account(context))
    if seen is None:
        raise Problem("not_found", "That request is no longer in the list.")
    line = seen.line
    fields = [(label, getattr(line, name)) for name, label in _LABELS.items()]
    times = {"ms", "first_ms"}
    fields = [
        (label, latency(value) if name in times and value is not None else value)
        for (name, label), (_, value) in zip(_LABELS.items(), fields, strict=True)
    ]
    outcome = Outcome("bad", f"HTTP {line.status}", seen.error) if seen.error else None
    await send_page(
        context,
        "request",
        f"Request {line.id}",
        here="/requests",
        outcome=outcome,
        row=row(seen),
        fields=[(label, value) for label, value in fields if value not in (None, "", False)],
    )


ROUTES = (
    Route("GET", "/requests", index, "account", "page"),
    Route("GET", "/requests/rows", rows, "account", "page"),
    Route("GET", "/requests/*", details, "account", "page"),
)
