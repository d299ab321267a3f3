"""`/byway/batches`: the batches of all clients and their progress, for the owner and the CLI."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import batches
from byway.admin.batches import BatchInfo
from byway.admin.errors import run
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class BatchList(Struct, frozen=True):
    """Batches, newest first."""

    batches: tuple[BatchInfo, ...]
    problem: str = ""
    """Why their database cannot be used; empty while it can."""


async def show(context: RequestContext) -> BatchList:
    """List batches with their progress: those of the caller's account, or all for an owner."""
    worker, account = context.gateway.batches, visible_account(context)
    if worker is None:
        return BatchList((), context.gateway.batches_problem)
    return BatchList(tuple(await run(lambda: batches.list_batches(worker.store, account))), worker.problem)


async def cancel(context: RequestContext) -> BatchInfo:
    """Cancel a batch. Requests that have no result yet are not answered any more."""
    worker, account = context.gateway.batch_worker, visible_account(context)
    info = await run(lambda: batches.cancel_batch(worker.store, context.tail, account))
    worker.notify()
    return info


async def delete(context: RequestContext) -> BatchInfo:
    """Delete a batch that has ended, with its results."""
    worker, account = context.gateway.batch_worker, visible_account(context)
    info = await run(lambda: batches.delete_batch(worker.store, context.tail, account))
    worker.notify()
    return info


ROUTES = (
    operation("GET", "/byway/batches", show, response=BatchList, scope="account"),
    operation("POST", "/byway/batches/{id}/cancel", cancel, response=BatchInfo, scope="account"),
    operation("DELETE", "/byway/batches/{id}", delete, response=BatchInfo, scope="account"),
)
