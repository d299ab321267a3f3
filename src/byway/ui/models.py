"""The page Models: backends, backends to add, and local models. Its cards are `backends`, `adding`, `local`, `loading` and
`downloads`."""

from __future__ import annotations

from byway.routes.context import Endpoint, RequestContext, Route
from byway.ui import adding, backends, downloads, loading, local
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import is_htmx, query_fields, send_card, send_page, status_of


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _send_page(context, card_view("", "", "", None))


async def _send_page(context: RequestContext, view: CardView) -> None:
    """Send the whole page with the outcome of an action in one card.

    Lists that take a while to make are loaded by the page itself, except for a browser without JavaScript.
    """
    fields, data = query_fields(context), view.data
    complete = context.scope["method"] == "POST" or fields["whole"] == "1"
    await send_page(
        context,
        "models",
        "Models",
        here="/models",
        lead="Backends and their state, and the models that Byway runs itself.",
        status=status_of(view.outcome),
        outcome=view.outcome,
        card=view.card,
        table=data.get("table") or await backends.table(context),
        editor=data.get("editor") or await backends.editor(context, fields["edit"]),
        adder=data.get("adder") or await adding.add_form(context, fields["type"]),
        discovered=data.get("discovered") or (await adding.servers(context) if complete else None),
        shelf=data.get("shelf") or (await local.library(context) if complete else None),
        loader=data.get("loader") or await loading.loader(context, fields["file"], fields["name"]),
        jobs=data.get("jobs") or downloads.jobs(context),
    )


def _route(route: CardRoute) -> Route:
    """The route of a card's action: it sends one card to htmx, and the whole page to a browser without JavaScript."""

    async def endpoint(context: RequestContext) -> None:
        view = await route.action(context)
        if is_htmx(context):
            status = status_of(view.outcome)
            await send_card(
                context, view.template, view.block, status, outcome=view.outcome, card=view.card, **view.data
            )
        else:
            await _send_page(context, view)

    checked: Endpoint = endpoint
    return Route(route.method, route.path, checked, "admin", "page")


ROUTES = (
    Route("GET", "/models", index, "admin", "page"),
    *backends.ROUTES,
    *local.ROUTES,
    *downloads.ROUTES,
    *(
        _route(route)
        for cards in (backends.CARDS, adding.CARDS, local.CARDS, loading.CARDS, downloads.CARDS)
        for route in cards
    ),
)
