"""`/byway/requests`: the last requests of clients with their sums, and one of them with its times and attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from byway.admin.inspection import RequestDetails, details
from byway.admin.requests import (
    RecentRequest,
    RequestEntry,
    RequestFilter,
    RequestSums,
    by_session,
    entry,
    recent_requests,
    sums,
)
from byway.problems import Problem
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, number, operation, query

#: Characters of a filter's field that are read.
_FIELD_LIMIT: Final = 200
_ON: Final = frozenset(("1", "on", "true", "yes"))


class SessionSums(Struct, frozen=True):
    """The sums of one session."""

    session: str
    agent: str
    """The client program."""
    first: float
    """When its oldest request in the list ended: seconds since the epoch."""
    last: float
    sums: RequestSums


class RequestPage(Struct, frozen=True):
    """The last requests of clients, newest first."""

    requests: tuple[RequestEntry, ...]
    count: int
    """The number of the newest request, also when a filter does not accept it."""
    sums: RequestSums
    sessions: tuple[SessionSums, ...]


def read_filter(form: Mapping[str, str]) -> RequestFilter:
    """The filter that the fields of a query or a form describe."""
    texts = {name: form.get(name, "").strip()[:_FIELD_LIMIT] for name in RequestFilter.__struct_fields__}
    return RequestFilter(**{**texts, "failed": texts["failed"].lower() in _ON})  # type: ignore[arg-type]


def find_request(context: RequestContext, numbered: str) -> RecentRequest:
    """The request of a number that the caller may see. Raises Problem."""
    digits = numbered if numbered.isascii() and numbered.isdigit() and len(numbered) < 12 else "0"
    request = context.gateway.requests.find(int(digits), visible_account(context))
    if request is None:
        raise Problem("not_found", f"Request {numbered[:20]} is no longer in the list.")
    return request


async def requests(context: RequestContext) -> RequestPage:
    """List the last requests with their sums, without prompts and answers. With `after`, only newer ones than that number."""
    form = query(context)
    after = number(form.get("after", "0"), "after")
    recent, account = context.gateway.requests, visible_account(context)
    chosen = recent_requests(recent, after, account, read_filter(form))
    sessions = tuple(
        SessionSums(group.session, group.agent, group.requests[-1].at, group.requests[0].at, group.sums)
        for group in by_session(chosen)
        if group.session
    )
    return RequestPage(tuple(map(entry, chosen)), recent.newest_number(account), sums(chosen), sessions)


async def show(context: RequestContext) -> RequestDetails:
    """Return one request with the parts of its time and its attempts."""
    return details(find_request(context, context.tail))


ROUTES: Final = (
    operation(
        "GET",
        "/byway/requests",
        requests,
        response=RequestPage,
        parameters=(
            Parameter("after", "Return only requests with a higher number.", int),
            Parameter("failed", "`1`: only requests that have failed."),
            Parameter("model", "A part of the requested model, of the alias, or of `backend/model`."),
            Parameter("session", "The beginning of a session id."),
            Parameter("key", "The id of a client's key."),
            Parameter("account", "The id of an account."),
            Parameter("agent", "The client program, such as `claude-cli`."),
            Parameter("text", "A part of anything in the list."),
        ),
        scope="account",
    ),
    operation("GET", "/byway/requests/{number}", show, response=RequestDetails, scope="account"),
)
