"""`/v1/messages/batches`: the Message Batches API (https://platform.claude.com/docs/en/api/messages/batches, seen 2026-11-30)."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from byway.admin.errors import invalid, run
from byway.batches.batch import BODY_LIMIT, BatchApi, NewRequest, StoredBatch, new_id
from byway.batches.lines import result_line
from byway.batches.splitter import BatchBodySplitter
from byway.batches.worker import BatchWorker
from byway.config import BatchSettings
from byway.logs import log
from byway.problems import Problem
from byway.routes.authorize import OWNER
from byway.routes.bodystream import body_parts
from byway.routes.context import RequestContext, api, public_url
from byway.routes.files import owner_of
from byway.routes.listing import list_page
from byway.routes.operation import number, query
from byway.store import StoreError

#: The headers of the request that each request of the batch has too.
_HEADERS: Final = ("anthropic-version", "anthropic-beta", "user-agent")
_MOST_LISTED: Final = 1_000
_UNUSABLE: Final = (
    "The database of batches cannot be used at the moment. The disk may be full; Byway's log has the reason."
)
T = TypeVar("T")
_encode: Final = msgspec.json.Encoder().encode


async def stored(function: Callable[[], T]) -> T:
    """Call a function of the store in a thread. The reason of a failure, which names files, goes to the log. Raises Problem."""

    def call() -> T:
        try:
            return function()
        except StoreError as error:
            log("A request about batches failed: their database cannot be used", logging.ERROR, problem=str(error))
            raise Problem("internal", _UNUSABLE) from None

    return await run(call)


async def create(context: RequestContext) -> None:
    """Create a batch. The body goes to the disk while it arrives."""
    worker, settings = context.gateway.batch_worker, context.runtime.config.batches
    batch = await create_batch(
        context, "messages", "/v1/messages", "{}", lambda batch: _receive(context, worker, settings, batch)
    )
    await context.answer(_encode(_shown(context, batch)))


async def create_batch(
    context: RequestContext,
    api: BatchApi,
    endpoint: str,
    detail: str,
    receive: Callable[[StoredBatch], Awaitable[StoredBatch]],
) -> StoredBatch:
    """Create a batch of the caller, whose requests `receive` adds. When that fails nothing of the batch is left."""
    worker = context.gateway.batch_worker

    def begin() -> StoredBatch:
        return worker.store.begin(
            new_id("msgbatch_" if api == "messages" else "batch_", os.urandom(18)),
            api,
            owner_of(context.caller),
            key=context.caller.key,
            by_socket=context.caller is OWNER,
            endpoint=endpoint,
            headers=_kept_headers(context),
            detail=detail,
            now=time.time(),
            quota=context.runtime.config.batches.quota,
        )

    batch = await stored(begin)
    try:
        return await receive(batch)
    except BaseException:
        with contextlib.suppress(Problem):
            await asyncio.shield(stored(lambda: worker.store.discard(batch)))
        raise
    finally:
        worker.notify()


async def _receive(
    context: RequestContext, worker: BatchWorker, settings: BatchSettings, batch: StoredBatch
) -> StoredBatch:
    """Read the body into the batch and acknowledge it. Raises Problem."""
    splitter, store = BatchBodySplitter(), worker.store

    def add(part: bytes) -> None:
        first = splitter.count
        requests: Sequence[NewRequest] = splitter.feed(part)
        if requests:
            store.add(batch, first, requests, settings.quota)

    async for part in body_parts(context, BODY_LIMIT):
        await stored(lambda part=part: add(part))  # type: ignore[misc]

    def end() -> StoredBatch:
        splitter.close()
        return store.acknowledge(batch, time.time())

    return await stored(end)


async def listed(context: RequestContext) -> None:
    """List the caller's batches, the newest first."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    fields = query(context)
    limit = number(fields.get("limit", "20"), "limit", _MOST_LISTED, 1)
    if "after_id" in fields and "before_id" in fields:
        raise invalid("before_id", "send either before_id or after_id")

    def read() -> tuple[list[StoredBatch], bool]:
        edges = {
            name: worker.store.get(fields[f"{name}_id"], owner, "messages").number
            for name in ("after", "before")
            if f"{name}_id" in fields
        }
        return worker.store.page(owner, "messages", limit, **edges)

    batches, has_more = await stored(read)
    page = list_page([_shown(context, batch) for batch in batches], [batch.id for batch in batches], has_more=has_more)
    await context.answer(_encode(page))


async def retrieve(context: RequestContext) -> None:
    """Return one batch."""
    await context.answer(_encode(_shown(context, await _find(context))))


async def cancel(context: RequestContext) -> None:
    """Cancel a batch: requests without a result are not answered any more."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    batch = await stored(lambda: worker.store.cancel(context.tail, owner, "messages", time.time()))
    worker.notify()
    await context.answer(_encode(_shown(context, batch)))


async def delete(context: RequestContext) -> None:
    """Delete a batch that has ended."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    batch = await stored(lambda: worker.store.delete(context.tail, owner, "messages"))
    worker.notify()
    await context.answer(_encode({"id": batch.id, "type": "message_batch_deleted"}))


async def results(context: RequestContext) -> None:
    """Stream the results of a batch that has ended, one JSON object in each line."""
    batch = await _find(context)
    if batch.state != "ended":
        raise Problem("not_found", f"Batch {batch.id} has no results yet: it is {batch.status}.")
    if batch.archived:
        raise Problem("not_found", f"The results of batch {batch.id} were removed, because they were too old.")
    # Results are read and formatted outside of the event loop.
    pages = (
        b"".join(result_line(result, batch.rest) for result in page)
        for page in context.gateway.batch_worker.store.results(batch)
    )
    lines = await stored(lambda: next(pages, None))
    await context.begin(200, [(b"content-type", b"application/x-jsonl")])
    while lines is not None:
        await context.send({"type": "http.response.body", "body": lines, "more_body": True})
        lines = await stored(lambda: next(pages, None))
    await context.send({"type": "http.response.body", "body": b""})


def _kept_headers(context: RequestContext) -> str:
    """The headers that each request of the batch has, as a JSON object. A credential is never stored."""
    names = list(_HEADERS)
    usage = context.gateway.usage
    if usage is not None and usage.tag_header:
        names.append(usage.tag_header.decode("latin-1"))
    headers = {name: value for name in names if (value := context.header(name.encode("latin-1")))}
    return _encode(headers).decode()


async def _find(context: RequestContext) -> StoredBatch:
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    return await stored(lambda: worker.store.get(context.tail, owner, "messages"))


def _shown(context: RequestContext, batch: StoredBatch) -> Mapping[str, Any]:
    results_url = None
    if batch.state == "ended" and not batch.archived:
        results_url = f"{public_url(context)}/v1/messages/batches/{batch.id}/results"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": batch.status,
        "request_counts": dict(_counts(batch)),
        "ended_at": _moment(batch.ended),
        "created_at": _moment(batch.created),
        "expires_at": _moment(batch.expires),
        "archived_at": _moment(batch.archived),
        "cancel_initiated_at": _moment(batch.canceled),
        "results_url": results_url,
    }


def _counts(batch: StoredBatch) -> Iterator[tuple[str, int]]:
    """The counts of requests. All are `processing` until the whole batch has ended."""
    has_ended = batch.state == "ended"
    yield "processing", 0 if has_ended else batch.total
    yield "succeeded", batch.succeeded if has_ended else 0
    yield "errored", batch.errored if has_ended else 0
    yield "canceled", batch.left if has_ended and batch.rest == "canceled" else 0
    yield "expired", batch.left if has_ended and batch.rest == "expired" else 0


def _moment(seconds: float) -> str | None:
    if not seconds:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


_PATH: Final = "/v1/messages/batches"
ROUTES = (
    *api("POST", _PATH, create, "write"),
    *api("GET", _PATH, listed, "read"),
    *api("GET", _PATH + "/{id}", retrieve, "read"),
    *api("DELETE", _PATH + "/{id}", delete, "write"),
    *api("POST", _PATH + "/{id}/cancel", cancel, "write"),
    *api("GET", _PATH + "/{id}/results", results, "read"),
)
