"""Who answers: the backends and how they are doing, others to add, and the models that Byway runs itself. The page as a whole;
its cards are `backends`, `adding`, and `local` with `loading` and `downloads`."""

from __future__ import annotations

from byway.routes.context import Ask, Routes
from byway.ui import adding, backends, downloads, loading, local
from byway.ui.page import Said, query, show, status


async def page(ask: Ask, said: Said | None = None, card: str = "", **views: object) -> None:
    """The whole page, where `said` is the outcome of an action in `card`; `views` replace what a card shows.

    What takes a while to find out comes after it, unless that is asked for: a browser without JavaScript does.
    """
    asked = query(ask)
    whole = ask.scope["method"] == "POST" or asked["whole"] == "1"
    await show(
        ask,
        "models",
        "Models",
        here="/models",
        lead="Who answers, how they are doing, and the models that Byway runs itself.",
        status=status(said),
        said=said,
        card=card,
        table=views.get("table") or await backends.table(ask),
        editor=views.get("editor") or await backends.editor(ask, asked["edit"]),
        adder=views.get("adder") or await adding.adder(ask, asked["type"]),
        found=views.get("found") or (await adding.servers(ask) if whole else None),
        shelf=views.get("shelf") or (await local.shelved(ask) if whole else None),
        loader=views.get("loader") or await loading.loader(ask, asked["file"], asked["name"]),
        jobs=views.get("jobs") or downloads.jobs(ask),
    )


async def index(ask: Ask) -> None:
    """The page."""
    await page(ask)


ROUTES: Routes = (
    ("GET", "/models", index),
    *backends.ROUTES,
    *adding.ROUTES,
    *local.ROUTES,
    *loading.ROUTES,
    *downloads.ROUTES,
)
