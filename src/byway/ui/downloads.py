"""Downloads on the card Local models: begin, watch, stop, go on, give up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from byway.admin import downloads
from byway.admin.downloads import DownloadInfo
from byway.admin.errors import as_problems
from byway.local.downloads import BackgroundDownload, Downloads
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.ui.backends import answer
from byway.ui.page import Form, Said, failed, form, part, query, wants_part


class Jobs(NamedTuple):
    """The downloads, and the free space that they have."""

    jobs: tuple[BackgroundDownload, ...]
    running: int
    spare: int | None
    ended: bool = False
    """One has ended since the page looked last."""
    begun: bool = False
    """One was begun just now: the field is empty again."""


def jobs(context: RequestContext, before: int = 0) -> Jobs:
    """The downloads; `before`: so many ran when the page looked last."""
    running = context.gateway.services.downloads
    return Jobs(tuple(running.jobs), running.running, running.free_space(), running.running < before)


async def progress(context: RequestContext) -> None:
    """The downloads alone, for a page that looks again."""
    running = query(context)["running"]
    before = int(running) if running.isascii() and running.isdigit() and len(running) < 4 else 0
    await part(context, "downloads", "downloads", jobs=jobs(context, before), said=None, card="")


async def download(context: RequestContext) -> None:
    """Start a download."""
    what = (await form(context))["what"]
    services, config = context.gateway.services, context.runtime.config
    if not what:
        said: Said | None = Said("bad", "What is it called?", "`owner/repo` of the hub, or the URL of a .gguf file.")
    else:
        said = _begun(context, lambda: downloads.start_download(services.downloads, what, config))
    view = jobs(context)._replace(begun=said is None and wants_part(context))
    await answer(context, "downloads", "downloads", "downloads", said, jobs=view)


async def again(context: RequestContext) -> None:
    """Resume a download."""
    number = _job(await form(context))
    services, config = context.gateway.services, context.runtime.config
    said = _begun(context, lambda: downloads.resume_download(services.downloads, number, config))
    await answer(context, "downloads", "downloads", "downloads", said, jobs=jobs(context))


def _begun(context: RequestContext, start: Callable[[], DownloadInfo]) -> Said | None:
    try:
        start()
    except Problem as problem:
        return failed(context, problem)
    return None


async def stop(context: RequestContext) -> None:
    """Stop a download; the bytes that have arrived are kept."""
    await _ended(context, downloads.cancel_download)


async def forget(context: RequestContext) -> None:
    """Take a download off the list, and remove its incomplete file."""
    await _ended(context, downloads.forget_download)


async def _ended(context: RequestContext, end: Callable[[Downloads, int], Awaitable[DownloadInfo]]) -> None:
    said = None
    try:
        with as_problems():
            await end(context.gateway.services.downloads, _job(await form(context)))
    except Problem as problem:
        said = failed(context, problem)._replace(kind="warn" if problem.kind == "not_found" else "bad")
    await answer(context, "downloads", "downloads", "downloads", said, jobs=jobs(context))


def _job(fields: Form) -> int:
    number = fields["job"]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0


ROUTES = (
    Route("GET", "/models/downloads", progress, "admin", "page"),
    Route("POST", "/models/download", download, "admin", "page"),
    Route("POST", "/models/downloads/again", again, "admin", "page"),
    Route("POST", "/models/downloads/stop", stop, "admin", "page"),
    Route("POST", "/models/downloads/forget", forget, "admin", "page"),
)
