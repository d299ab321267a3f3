"""The page Requests: the last requests, live, with filters; and one of them with its times and attempts."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from byway.admin.inspection import RequestDetails, details
from byway.admin.requests import EVERY, RecentRequest, by_session, filter_choices, row, sums
from byway.backends.repairs import describe
from byway.display import latency
from byway.problems import Problem
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, Route
from byway.routes.requests import find_request, read_filter
from byway.ui.page import Form, Outcome, parse_number, query_fields, send_card, send_page

#: Requests that the page shows, and requests of one session when they are grouped.
_SHOWN: Final = 100
_SHOWN_OF_SESSION: Final = 10
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
_COUNTS: Final = frozenset(("input_tokens", "cached_tokens", "output_tokens"))
#: The fields of the form, in the order of a URL.
_FIELDS: Final = ("failed", "model", "session", "key", "account", "agent", "text", "group", "until")
#: The words for the phases of a request.
PHASES: Final = {
    "admission": "Admission",
    "failed attempts": "Failed attempts",
    "queue": "Queue",
    "connect": "Connect",
    "first token": "First token",
    "stream": "Stream",
    "answer": "Answer",
}


def _data(context: RequestContext, form: Form) -> dict[str, Any]:
    """What the list shows for the fields of the form. `until` is the last request of a paused list."""
    recent, account = context.gateway.requests, visible_account(context)
    chosen = read_filter(form)
    until = parse_number(form["until"])
    requests = [
        request for request in recent.of_account(account, chosen=chosen) if not until or request.number <= until
    ]
    fields = {name: form[name] for name in _FIELDS if form[name]}
    shown = requests[:_SHOWN]
    groups = by_session(requests) if form["group"] == "session" else ()
    return {
        "rows": () if groups else [row(request) for request in shown],
        "groups": [
            (group, [row(request) for request in group.requests[:_SHOWN_OF_SESSION]], len(group.requests))
            for group in groups
        ],
        "shown_of_session": _SHOWN_OF_SESSION,
        "more": 0 if groups else len(requests) - len(shown),
        "sums": sums(requests),
        "count": recent.newest_number(account),
        "until": until,
        "is_filtered": chosen != EVERY,
        "query": urlencode(fields),
        "query_with": lambda **more: urlencode({**fields, **more}),
        "query_without": lambda name: urlencode({key: value for key, value in fields.items() if key != name}),
    }


async def index(context: RequestContext) -> None:
    """Send the page."""
    form = query_fields(context)
    kept = context.gateway.requests.of_account(visible_account(context))
    await send_page(
        context,
        "requests",
        "Requests",
        here="/requests",
        lead="The last requests, newest first, in memory only. Prompts and answers are recorded only while you record them.",
        form=form,
        choices=filter_choices(kept),
        **_data(context, form),
    )


async def rows(context: RequestContext) -> None:
    """Send the table; with `after`, only when there are requests that the page has not shown."""
    form = query_fields(context)
    if form["after"] == str(context.gateway.requests.newest_number(visible_account(context))):
        await context.begin(204, [])
        await context.send({"type": "http.response.body", "body": b""})
        return
    data = _data(context, form)
    # A poll leaves the address of the page as it is.
    address = f"{context.runtime.config.server.root_path}/requests{'?' if data['query'] else ''}{data['query']}"
    headers = [] if form["after"] else [(b"hx-replace-url", address.encode())]
    await send_card(context, "requests", "table", headers=headers, **data)


def summary(request: RecentRequest) -> dict[str, Any]:
    """What the page shows of a request that has ended."""
    line = request.line
    fields = [(label, getattr(line, name), name) for name, label in _LABELS.items()]
    shown = [
        (label, latency(value) if name in ("ms", "first_ms") else f"{value:,}" if name in _COUNTS else value)
        for label, value, name in fields
        if value not in (None, "", False)
    ]
    if request.agent:
        shown.append(("Client", request.agent))
    outcome = Outcome("bad", f"HTTP {line.status}", request.error) if request.error else None
    known = details(request)
    return {
        "row": row(request),
        "fields": shown,
        "outcome": outcome,
        "details": known,
        "phases": _bar(known),
        "attempts": [(attempt, [describe(repair) for repair in attempt.repairs]) for attempt in known.attempts],
    }


def _bar(known: RequestDetails) -> list[tuple[str, str, float, float, str]]:
    """The phases as (name, class, start and width in percent, duration). The shortest one is still visible."""
    total = sum(phase.ms for phase in known.phases) or 1.0
    return [
        (
            PHASES[phase.name],
            phase.name.replace(" ", "-"),
            100 * phase.start_ms / total,
            max(0.4, 100 * phase.ms / total),
            latency(phase.ms) if phase.ms >= 10 else f"{phase.ms:g} ms",
        )
        for phase in known.phases
    ]


async def show(context: RequestContext) -> None:
    """Send the page of one request."""
    request = _seen(context)
    await send_page(
        context, "request", f"Request {request.line.id}", here="/requests", is_drawer=False, **summary(request)
    )


async def drawer(context: RequestContext) -> None:
    """Send one request as a panel beside the list."""
    await send_card(context, "request", "inspector", is_drawer=True, **summary(_seen(context)))


def _seen(context: RequestContext) -> RecentRequest:
    try:
        return find_request(context, context.tail)
    except Problem:
        raise Problem("not_found", "That request is no longer in the list.") from None


ROUTES = (
    Route("GET", "/requests", index, "account", "page"),
    Route("GET", "/requests/rows", rows, "account", "page"),
    Route("GET", "/requests/{number}", show, "account", "page"),
    Route("GET", "/requests/{number}/drawer", drawer, "account", "page"),
)
