"""The page Models, in four tabs: backends, local models, downloads, readiness; and the page that adds a backend. Each card is a
module: `backends`, `adding`, `local`, `loading`, `downloads`, `readiness`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from byway.routes.context import Endpoint, RequestContext, Route, is_htmx
from byway.ui import adding, backends, downloads, loading, local, readiness
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import query_fields, send_card, send_page, status_of


class Tab(NamedTuple):
    """A tab of the page, or the page that adds a backend."""

    path: str
    title: str
    lead: str


TABS: Final = {
    "backends": Tab("/models", "Backends", "The backends that answer requests, with their state and models."),
    "local": Tab("/models/local", "Local", "Model files on this machine. Byway runs a loaded model itself."),
    "download": Tab("/models/download", "Download", "Models that this machine can run, from the hub."),
    "readiness": Tab("/models/readiness", "Readiness", "Which models are good enough for Claude Code."),
}
_ADD: Final = Tab(
    "/models/add", "Add backend", "A cloud, an aggregator, or a model server. Test it, then choose its models."
)
#: The tab of each template.
_TAB_OF: Final = {
    "backends": "backends",
    "local": "local",
    "loading": "local",
    "downloads": "download",
    "readiness": "readiness",
    "adding": "add",
}


async def index(context: RequestContext) -> None:
    """Send the tab Backends."""
    fields = query_fields(context)
    # Links of earlier versions name the form of another tab.
    if fields["type"]:
        await _send_page(context, "add", card_view("adding", "", "", None))
    elif fields["file"] or fields["name"]:
        await _send_page(context, "local", card_view("loading", "", "", None))
    else:
        await _send_page(context, "backends", card_view("backends", "", "", None))


async def local_index(context: RequestContext) -> None:
    """Send the tab Local."""
    await _send_page(context, "local", card_view("local", "", "", None))


async def download_index(context: RequestContext) -> None:
    """Send the tab Download."""
    await _send_page(context, "download", card_view("downloads", "", "", None))


async def readiness_index(context: RequestContext) -> None:
    """Send the tab Readiness."""
    await _send_page(context, "readiness", card_view("readiness", "", "", None))


async def _readiness(context: RequestContext, view: CardView, complete: bool) -> dict[str, Any]:
    return {"readiness": view.data.get("readiness") or readiness.tab(context, query_fields(context)["model"])}


async def _backends(context: RequestContext, view: CardView, complete: bool) -> dict[str, Any]:
    data = view.data
    return {
        "table": data.get("table") or await backends.table(context),
        "editor": data.get("editor") or await backends.editor(context, query_fields(context)["edit"]),
    }


async def _local(context: RequestContext, view: CardView, complete: bool) -> dict[str, Any]:
    data, fields = view.data, query_fields(context)
    return {
        "shelf": data.get("shelf") or (await local.library(context) if complete else None),
        "loader": data.get("loader") or await loading.loader(context, fields["file"], fields["name"]),
    }


async def _download(context: RequestContext, view: CardView, complete: bool) -> dict[str, Any]:
    return {
        "jobs": view.data.get("jobs") or downloads.jobs(context),
        "catalogue": await downloads.catalogue(context),
    }


async def _add(context: RequestContext, view: CardView, complete: bool) -> dict[str, Any]:
    data = view.data
    return {
        "adder": data.get("adder") or await adding.add_form(context, query_fields(context)["type"]),
        "discovered": data.get("discovered") or (await adding.servers(context) if complete else None),
    }


_DATA: Final[dict[str, Callable[[RequestContext, CardView, bool], Awaitable[dict[str, Any]]]]] = {
    "backends": _backends,
    "local": _local,
    "download": _download,
    "readiness": _readiness,
    "add": _add,
}


async def _send_page(context: RequestContext, name: str, view: CardView) -> None:
    """Send a whole tab with the outcome of an action in one card.

    Lists that take a while to make are loaded by the page itself, except for a browser without JavaScript.
    """
    complete = context.scope["method"] == "POST" or query_fields(context)["whole"] == "1"
    tab = TABS.get(name, _ADD)
    await send_page(
        context,
        "add" if name == "add" else "models",
        _ADD.title if name == "add" else "Models",
        here="/models",
        lead=tab.lead,
        status=status_of(view.outcome),
        outcome=view.outcome,
        card=view.card,
        tab=name,
        tabs=TABS,
        **await _DATA[name](context, view, complete),
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
            await _send_page(context, _TAB_OF[view.template], view)

    checked: Endpoint = endpoint
    return Route(route.method, route.path, checked, "admin", "page")


ROUTES = (
    Route("GET", "/models", index, "admin", "page"),
    Route("GET", "/models/local", local_index, "admin", "page"),
    Route("GET", "/models/download", download_index, "admin", "page"),
    Route("GET", "/models/readiness", readiness_index, "admin", "page"),
    *backends.ROUTES,
    *local.ROUTES,
    *downloads.ROUTES,
    *readiness.ROUTES,
    *(
        _route(route)
        for cards in (backends.CARDS, adding.CARDS, local.CARDS, loading.CARDS, downloads.CARDS, readiness.CARDS)
        for route in cards
    ),
)
