"""The tab Download: the catalogue of models, and downloads: start, progress, stop, resume, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from byway.admin import downloads
from byway.admin.catalogue import CatalogueModel, list_catalogue
from byway.admin.downloads import DownloadInfo
from byway.admin.errors import as_problems
from byway.display import machine_memory_text
from byway.local.downloads import BackgroundDownload, Downloads
from byway.problems import Problem
from byway.routes.admin import run
from byway.routes.context import RequestContext, Route, is_htmx
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import Form, Outcome, failure, query_fields, read_form, send_card


class CatalogueView(NamedTuple):
    """The catalogue in two parts, so that models which are too large can be folded."""

    models: tuple[CatalogueModel, ...]
    large: tuple[CatalogueModel, ...]
    memory: str
    """The memory of this machine as a sentence."""
    recommended: str
    """The name of the best model that fits."""


class DownloadsView(NamedTuple):
    """The downloads and the free disk space."""

    jobs: tuple[BackgroundDownload, ...]
    running: int
    spare: int | None
    ended: bool = False
    """A download has ended since the page last loaded the list."""
    begun: bool = False
    """A download was just started: the field is cleared."""


def jobs(context: RequestContext, before: int = 0) -> DownloadsView:
    """The downloads. `before`: how many were running when the page last loaded the list."""
    running = context.gateway.services.downloads
    return DownloadsView(tuple(running.jobs), running.running, running.free_space(), running.running < before)


async def catalogue(context: RequestContext) -> CatalogueView:
    """The models to download, those that fit this machine first."""
    services = context.gateway.services
    running = tuple(services.downloads.jobs)
    listed = await run(lambda: list_catalogue(services.folder, running))
    small = tuple(model for model in listed.models if model.fit.fit != "too large")
    best = next((model.name for model in small if model.fit.fit == "fits"), "")
    memory = machine_memory_text(listed.memory.total, listed.memory.free)
    return CatalogueView(small, listed.models[len(small) :], memory, best)


async def models(context: RequestContext) -> None:
    """Send the catalogue alone: the page loads it again when a download starts or ends."""
    await send_card(context, "download", "catalogue", catalogue=await catalogue(context), outcome=None, card="")


async def progress(context: RequestContext) -> None:
    """Send the downloads alone: the page loads them again while one runs."""
    running = query_fields(context)["running"]
    before = int(running) if running.isascii() and running.isdigit() and len(running) < 4 else 0
    await send_card(context, "downloads", "downloads", jobs=jobs(context, before), outcome=None, card="")


async def download(context: RequestContext) -> CardView:
    """Start a download."""
    what = (await read_form(context))["what"]
    services, config = context.gateway.services, context.runtime.config
    if not what:
        outcome: Outcome | None = Outcome(
            "bad", "The name is missing.", "Type `owner/repo` of the hub, or the URL of a .gguf file."
        )
    else:
        outcome = _begun(context, lambda: downloads.start_download(services.downloads, what, config))
    view = jobs(context)._replace(begun=outcome is None and is_htmx(context))
    return card_view("downloads", "downloads", "downloads", outcome, jobs=view)


async def again(context: RequestContext) -> CardView:
    """Resume a download."""
    number = _job(await read_form(context))
    services, config = context.gateway.services, context.runtime.config
    outcome = _begun(context, lambda: downloads.resume_download(services.downloads, number, config))
    return card_view("downloads", "downloads", "downloads", outcome, jobs=jobs(context))


def _begun(context: RequestContext, start: Callable[[], DownloadInfo]) -> Outcome | None:
    try:
        start()
    except Problem as problem:
        return failure(context, problem)
    return None


async def stop(context: RequestContext) -> CardView:
    """Stop a download; the bytes that have arrived are kept."""
    return await _ended(context, downloads.cancel_download)


async def forget(context: RequestContext) -> CardView:
    """Remove a download from the list, and its incomplete file."""
    return await _ended(context, downloads.forget_download)


async def _ended(context: RequestContext, end: Callable[[Downloads, int], Awaitable[DownloadInfo]]) -> CardView:
    outcome = None
    try:
        with as_problems():
            await end(context.gateway.services.downloads, _job(await read_form(context)))
    except Problem as problem:
        outcome = failure(context, problem)._replace(kind="warn" if problem.kind == "not_found" else "bad")
    return card_view("downloads", "downloads", "downloads", outcome, jobs=jobs(context))


def _job(fields: Form) -> int:
    number = fields["job"]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0


ROUTES = (
    Route("GET", "/models/downloads", progress, "admin", "page"),
    Route("GET", "/models/catalogue", models, "admin", "page"),
)
CARDS = (
    CardRoute("POST", "/models/download", download),
    CardRoute("POST", "/models/downloads/again", again),
    CardRoute("POST", "/models/downloads/stop", stop),
    CardRoute("POST", "/models/downloads/forget", forget),
)
