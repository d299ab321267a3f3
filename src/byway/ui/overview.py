"""The page Overview at the root: what this Byway does at the moment. A member sees its own numbers."""

from __future__ import annotations

import time
from typing import Final

from byway.admin import usagechart as chart
from byway.admin.usagereport import UsageQuery, read_time, usage_report, visible_usage
from byway.problems import Problem
from byway.routes import health
from byway.routes.admin import run
from byway.routes.authorize import require_account
from byway.routes.context import RequestContext, Route
from byway.ui.login import closed
from byway.ui.page import failure, send_page

_SINCE: Final = "24h"


async def index(context: RequestContext) -> None:
    """Send the page to a browser, and the hello to a program."""
    if b"text/html" not in context.headers.get(b"accept", b""):
        await health.hello(context)
        return
    try:
        require_account(context)
    except Problem as problem:
        if problem.kind != "authentication":
            raise
        await closed(context)
        return
    now = time.time()
    query = UsageQuery(since=read_time(_SINCE, now, "since"), where=visible_usage(context.caller))
    usage = context.gateway.services.store.usage
    outcome = total = None
    try:
        total = (await run(lambda: usage_report(usage, query, now))).total
    except Problem as problem:
        outcome = failure(context, problem)
    await send_page(
        context,
        "overview",
        "Overview",
        here="/",
        lead="The last 24 hours.",
        outcome=outcome,
        total=total,
        texts=chart.row_texts(total) if total else None,
    )


#: It is open because its endpoint checks the login itself: a program gets the hello, a browser the page.
ROUTES = (Route("GET", "/", index, "open", "page"),)
