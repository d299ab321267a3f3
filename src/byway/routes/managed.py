"""What Claude Code requests when it is signed in: `GET /managed/settings`, and the spending that `/usage` shows."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from byway.access.keys import SIGN_IN_ENDED
from byway.admin.managedsettings import client_settings
from byway.admin.spending import BudgetUse, SpentCents, budget_use, spent_cents
from byway.problems import Problem
from byway.routes.admin import run
from byway.routes.context import BASE_PREFIXES, RequestContext, Route, secure_origin
from byway.signin.settings import checksum, document, matches, web_search_settings
from byway.signin.tokens import mcp_token

_NO_STORE: Final = (b"cache-control", b"no-store")
#: Percent of a budget from which on its use is a warning.
_WARNING: Final = 75


async def settings(context: RequestContext) -> None:
    """Return the client's settings, or 304 when it has them. A client that gets an error does not start, so nothing is waited
    for."""
    if not context.caller.key:
        raise Problem("authentication", SIGN_IN_ENDED)
    values = client_settings(context.runtime, context.caller, _web_search(context))
    sum = checksum(values)
    etag = (b"etag", f'"{sum}"'.encode())
    if b"if-none-match" in context.headers and matches(context.header(b"if-none-match"), sum):
        await context.begin(304, [etag])
        await context.send({"type": "http.response.body", "body": b""})
        return
    await context.answer(document(values, sum), headers=(etag, (b"cache-control", b"no-cache")))


def _web_search(context: RequestContext) -> dict[str, Any]:
    """The settings for Byway's MCP server: a signed-in client has no WebSearch. It takes a server with https only (2.1.329);
    over http `byway connect --sign-in` adds it."""
    runtime, caller = context.runtime, context.caller
    if not caller.sign_in or not runtime.searcher.ready:
        return {}
    try:
        origin = secure_origin(context)
    except Problem:
        origin = ""
    prefix = "/anthropic" if "/anthropic" in context.path else ""
    url = f"{origin}{prefix}/mcp" if origin.startswith("https://") else ""
    return web_search_settings(url, mcp_token(runtime.secret, caller.key))


async def usage(context: RequestContext) -> None:
    """Return the budgets of the caller, or what it has spent today, this week and this month, in cents.

    Without usage records there is no answer.
    """
    caller, store = context.caller, context.gateway.store
    if not caller.key:
        raise Problem("authentication", SIGN_IN_ENDED)
    if budgets := budget_use(context.runtime.limiter, caller, time.monotonic(), time.time()):
        # The client shows the dollars of one budget: the one that is nearest to its end, as the headers of answers have it.
        nearest = max(budgets, key=lambda budget: budget.percent)
        body = {"extra_usage": _budget(nearest), "limits": [_row(budget, budget is nearest) for budget in budgets]}
    elif context.gateway.usage is None or store is None:
        raise Problem("not_found", "This Byway records no usage (`usage.enabled`).")
    else:
        cents = await run(lambda: spent_cents(store.usage, caller, time.time()))
        body = {"extra_usage": _spent(cents), "limits": []}
    await context.answer(msgspec.json.encode(body), headers=(_NO_STORE,))


def _budget(budget: BudgetUse) -> dict[str, Any]:
    return {
        "is_enabled": True,
        # The field has this name whatever the period.
        "monthly_limit": budget.limit,
        "used_credits": budget.used,
        "utilization": budget.percent,
        "currency": "USD",
    }


def _row(budget: BudgetUse, is_active: bool) -> dict[str, Any]:
    return {
        "kind": "spend",
        "group": budget.period,
        "percent": budget.percent,
        "resets_at": budget.resets_at,
        "severity": "normal" if budget.percent < _WARNING else "warning",
        "is_active": is_active,
    }


def _spent(cents: SpentCents) -> dict[str, Any]:
    return {
        "is_enabled": True,
        "monthly_limit": None,
        "used_credits": cents.month,
        "utilization": None,
        "currency": "USD",
        "daily": {"limit": None, "used_credits": cents.day, "utilization": None},
        "weekly": {"limit": None, "used_credits": cents.week, "utilization": None},
    }


ROUTES: Final = tuple(
    Route("GET", f"{prefix}{path}", endpoint, "read")
    for prefix in BASE_PREFIXES
    for path, endpoint in (("/managed/settings", settings), ("/api/oauth/usage", usage))
)
