"""Downloads on the card Local models: begin, watch, stop, go on, give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from byway.local.downloads import BackgroundDownload
from byway.routes.context import RequestContext, Route
from byway.ui.backends import answer
from byway.ui.page import Form, Said, form, part, query, wants_part


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
    downloads = context.gateway.services.downloads
    return Jobs(tuple(downloads.jobs), downloads.running, downloads.room(), downloads.running < before)


async def progress(context: RequestContext) -> None:
    """The downloads alone, for a page that looks again."""
    running = query(context)["running"]
    before = int(running) if running.isascii() and running.isdigit() and len(running) < 4 else 0
    await part(context, "downloads", "downloads", jobs=jobs(context, before), said=None, card="")


async def download(context: RequestContext) -> None:
    """Begin a download."""
    what = (await form(context))["what"]
    config = context.runtime.config
    said = None
    if not what:
        said = Said("bad", "What is it called?", "`owner/repo` of the hub, or the URL of a .gguf file.")
    else:
        said = _begun(
            lambda: context.gateway.services.downloads.begin(what, config.local_models, local_only=config.local_only)
        )
    view = jobs(context)._replace(begun=said is None and wants_part(context))
    await answer(context, "downloads", "downloads", "downloads", said, jobs=view)


async def again(context: RequestContext) -> None:
    """Go on with a download."""
    number = _job(await form(context))
    config = context.runtime.config
    said = _begun(
        lambda: context.gateway.services.downloads.again(number, config.local_models, local_only=config.local_only)
    )
    await answer(context, "downloads", "downloads", "downloads", said, jobs=jobs(context))


def _begun(begin: Callable[[], BackgroundDownload]) -> Said | None:
    try:
        begin()
    except ValueError as error:
        return Said("bad", str(error))
    return None


async def stop(context: RequestContext) -> None:
    """Stop a download; what has come is kept."""
    await _ended(context, context.gateway.services.downloads.cancel)


async def forget(context: RequestContext) -> None:
    """Take a download off the list, with what has come of a file that is not whole."""
    await _ended(context, context.gateway.services.downloads.forget)


async def _ended(context: RequestContext, end: Callable[[int], Any]) -> None:
    said = None
    try:
        await end(_job(await form(context)))
    except ValueError as error:
        said = Said("warn", str(error))
    except OSError as error:
        said = Said("bad", f"{error.filename} cannot be removed: {error.strerror or error}.")
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
