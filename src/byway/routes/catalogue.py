"""`/byway/model-catalogue`: models to download."""

from __future__ import annotations

from byway.admin import catalogue
from byway.admin.catalogue import Catalogue
from byway.routes.admin import run
from byway.routes.context import RequestContext
from byway.routes.operation import operation


async def show(context: RequestContext) -> Catalogue:
    """List models worth downloading, those that fit this machine first."""
    services = context.gateway.services
    jobs = tuple(services.downloads.jobs)
    return await run(lambda: catalogue.list_catalogue(services.folder, jobs))


ROUTES = (operation("GET", "/byway/model-catalogue", show, response=Catalogue),)
