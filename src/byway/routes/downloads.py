"""`/byway/downloads`: downloads of model files."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import downloads
from byway.admin.downloads import DownloadInfo, DownloadList
from byway.admin.errors import as_problems
from byway.routes.context import RequestContext
from byway.routes.operation import number, operation


class DownloadSource(Struct, forbid_unknown_fields=True):
    """What to download."""

    source: str
    """`owner/repo[:quantisation]` of the hub, or the URL of a .gguf file."""


async def show(context: RequestContext) -> DownloadList:
    """List the downloads, newest first."""
    return downloads.list_downloads(context.gateway.services.downloads)


async def start(context: RequestContext, body: DownloadSource) -> DownloadInfo:
    """Start a download. It continues in the background."""
    return downloads.start_download(context.gateway.services.downloads, body.source, context.runtime.config)


async def cancel(context: RequestContext) -> DownloadInfo:
    """Stop a download. The bytes that have arrived are kept, so it can be resumed."""
    return await downloads.cancel_download(context.gateway.services.downloads, number(context.tail, "number"))


async def resume(context: RequestContext) -> DownloadInfo:
    """Resume a download that was stopped or has failed."""
    services, config = context.gateway.services, context.runtime.config
    return downloads.resume_download(services.downloads, number(context.tail, "number"), config)


async def forget(context: RequestContext) -> DownloadInfo:
    """Stop a download and remove its incomplete file. A complete file is kept."""
    with as_problems():
        return await downloads.forget_download(context.gateway.services.downloads, number(context.tail, "number"))


ROUTES = (
    operation("GET", "/byway/downloads", show, response=DownloadList),
    operation("POST", "/byway/downloads", start, request=DownloadSource, response=DownloadInfo, status=201),
    operation("POST", "/byway/downloads/{number}/cancel", cancel, response=DownloadInfo),
    operation("POST", "/byway/downloads/{number}/resume", resume, response=DownloadInfo),
    operation("DELETE", "/byway/downloads/{number}", forget, response=DownloadInfo),
)
