"""The page Troubleshooting: problems first, each with a button for its fix, then what is fine, and a report for an issue."""

from __future__ import annotations

from typing import Any

from byway.clients.checks import first_served
from byway.clients.diagnosis import machine_report
from byway.clients.fixes import FIXES, make_fix
from byway.display import count
from byway.problems import Problem
from byway.roles import changes_all
from byway.routes.admin import who
from byway.routes.context import RequestContext, Route, is_htmx
from byway.ui.menu import PAGES
from byway.ui.page import Outcome, failure, query_fields, read_form, send_card, send_page, status_of


async def index(context: RequestContext) -> None:
    """Send the page, whose checks are loaded after it, or the checks alone. Without JavaScript `?run=1` has both."""
    if is_htmx(context):
        await _card(context, None)
        return
    await _page(context, await _data(context) if query_fields(context)["run"] else None)


async def _page(context: RequestContext, data: dict[str, Any] | None, outcome: Outcome | None = None) -> None:
    await send_page(
        context,
        "troubleshooting",
        "Troubleshooting",
        here="/trouble",
        lead="Live checks of everything that commonly fails, in Byway and in the clients on its machine.",
        status=status_of(outcome),
        loaded=data is not None,
        **(data or {}) | ({"outcome": outcome} if outcome else {}),
    )


async def _card(context: RequestContext, outcome: Outcome | None) -> None:
    context.runtime = context.gateway.runtime
    data = await _data(context)
    if not is_htmx(context):
        await _page(context, data, outcome)
        return
    await send_card(context, "troubleshooting", "all", status_of(outcome), outcome=outcome, **data)


async def _data(context: RequestContext) -> dict[str, Any]:
    report = await machine_report(context.gateway)
    bad, warnings = report.list.counts
    parts = [*([count(bad, "problem")] if bad else []), *([count(warnings, "warning")] if warnings else [])]
    titles = dict(PAGES)
    return {
        "title_text": ", ".join(parts) or "No problems",
        "rows": report.list,
        "healthy": count(len(report.list.healthy), "check"),
        "unreadable": report.problem,
        "report": report.text,
        "may_change": changes_all(context.caller.role, context.caller.scopes),
        "labels": {**FIXES, "set-aliases": f"Use {first_served(context.runtime)} for all names"},
        "page_titles": {path: f"Open {title}" for path, title in titles.items()},
    }


async def fix(context: RequestContext) -> None:
    """Make a fix and run the checks again."""
    name = (await read_form(context))["fix"]
    try:
        outcome = Outcome("good", await make_fix(context.gateway, name, who(context)))
    except Problem as problem:
        outcome = failure(context, problem)
    await _card(context, outcome)


ROUTES = (Route("GET", "/trouble", index, "admin", "page"), Route("POST", "/trouble/fix", fix, "admin", "page"))
