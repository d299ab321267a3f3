"""Who answers: the backends and how they are doing, others to add, and the models that Byway runs itself. The page as a whole;
its cards are `backends`, `adding`, and `local` with `loading` and `downloads`."""

from __future__ import annotations

from byway.routes.context import RequestContext, Route
from byway.ui import adding, backends, downloads, loading, local
from byway.ui.page import Said, query, show, status


async def page(context: RequestContext, said: Said | None = None, card: str = "", **views: object) -> None:
    """The whole page, where `said` is the outcome of an action in `card`; `views` replace what a card shows.

    What takes a while to find out comes after it, unless that is asked for: a browser without JavaScript does.
    """
    asked = query(context)
    whole = context.scope["method"] == "POST" or asked["whole"] == "1"
    await show(
        context,
        "models",
        "Models",
        here="/models",
        lead="Who answers, how they are doing, and the models that Byway runs itself.",
        status=status(said),
        said=said,
        card=card,
        table=views.get("table") or await backends.table(context),
        editor=views.get("editor") or await backends.editor(context, asked["edit"]),
        adder=views.get("adder") or await adding.adder(context, asked["type"]),
        found=views.get("found") or (await adding.servers(context) if whole else None),
        shelf=views.get("shelf") or (await local.shelved(context) if whole else None),
        loader=views.get("loader") or await loading.loader(context, asked["file"], asked["name"]),
        jobs=views.get("jobs") or downloads.jobs(context),
    )


async def index(context: RequestContext) -> None:
    """The page."""
    await page(context)


ROUTES = (
    Route("GET", "/models", index, "admin", "page"),
    *backends.ROUTES,
    *adding.ROUTES,
    *local.ROUTES,
    *loading.ROUTES,
    *downloads.ROUTES,
)
