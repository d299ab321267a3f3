"""The page Troubleshooting: live checks, each with its state and the next action."""

from __future__ import annotations

from typing import Any

from byway.clients.checks import checks
from byway.routes.context import RequestContext, Route
from byway.ui.page import is_htmx, send_card, send_page


async def _data(context: RequestContext) -> dict[str, Any]:
    results = await checks(context.gateway)
    return {"checks": results, "bad": sum(check.state == "bad" for check in results)}


async def index(context: RequestContext) -> None:
    """Send the page."""
    if is_htmx(context):
        await send_card(context, "troubleshooting", "all", **await _data(context))
        return
    await send_page(
        context,
        "troubleshooting",
        "Troubleshooting",
        here="/trouble",
        lead="Live checks of everything that commonly fails.",
        **await _data(context),
    )


ROUTES = (Route("GET", "/trouble", index, "admin", "page"),)
