"""The page Requests: the last requests, live, with filters, and the form that records them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from byway.admin import recording
from byway.admin.requests import EVERY, RecentRequest, by_session, filter_choices, row, sums
from byway.roles import changes_all, changes_own
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, Route
from byway.routes.requests import read_filter
from byway.ui.inspector import MINUTES
from byway.ui.page import Form, parse_number, query_fields, send_card, send_page

#: Requests that the page shows, and requests of one session when they are grouped.
_SHOWN: Final = 100
_SHOWN_OF_SESSION: Final = 10
#: The fields of the form, in the order of a URL.
_FIELDS: Final = ("failed", "model", "session", "key", "account", "agent", "text", "group", "until")


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
        "clouds": _clouds(context, requests),
        "recorded": context.gateway.recordings.ids(context.caller.account),
        "query": urlencode(fields),
        "query_with": lambda **more: urlencode({**fields, **more}),
        "query_without": lambda name: urlencode({key: value for key, value in fields.items() if key != name}),
    }


def _clouds(context: RequestContext, requests: Iterable[RecentRequest]) -> frozenset[int]:
    """The numbers of the requests that a cloud has answered."""
    backends = context.runtime.backends
    return frozenset(
        request.number
        for request in requests
        if (backend := backends.get(request.line.backend)) is not None and not backend.runs_here(request.line.model)
    )


async def index(context: RequestContext) -> None:
    """Send the page."""
    form = query_fields(context)
    kept, caller = context.gateway.requests.of_account(visible_account(context)), context.caller
    await send_page(
        context,
        "requests",
        "Requests",
        here="/requests",
        lead="The last requests, newest first, in memory only. Prompts and answers are kept only while you record.",
        form=form,
        choices=filter_choices(kept),
        recording=recording.state(context.gateway.recordings, context.caller.account),
        may_record=changes_all(caller.role, caller.scopes) or changes_own(caller.role),
        minutes=MINUTES,
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


ROUTES = (
    Route("GET", "/requests", index, "account", "page"),
    Route("GET", "/requests/rows", rows, "account", "page"),
)
