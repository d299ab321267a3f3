"""`/v1/batches`: OpenAI's batches, whose requests and results are files of `/v1/files`.

Shapes: https://platform.openai.com/docs/api-reference/batch and the `openai` SDK 3.52.0 (both seen 2026-11-30).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from byway.admin.errors import invalid
from byway.batches.batch import NewRequest, StoredBatch
from byway.batches.lines import ENDPOINTS, INPUT_LIMIT, BatchLines, LineError, OpenAIDetail
from byway.batches.splitter import InvalidBatch
from byway.batches.worker import BatchWorker
from byway.files.service import FileService
from byway.routes.context import RequestContext, api
from byway.routes.files import file_service, owner_of
from byway.routes.listing import list_page
from byway.routes.messagebatches import create_batch, stored
from byway.routes.operation import decode, number, query, read_body
from byway.store.files import FileRecord

_MOST_LISTED: Final = 100
_MOST_METADATA: Final = 16
#: Bytes of the input file that are read at once.
_PIECE: Final = 256 << 10
_encode: Final = msgspec.json.Encoder().encode
_decode_detail: Final = msgspec.json.Decoder(OpenAIDetail).decode


class _Expiry(msgspec.Struct):
    anchor: Literal["created_at"]
    seconds: int


class _NewBatch(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None
    output_expires_after: _Expiry | None = None


_new_batch: Final = msgspec.json.Decoder(_NewBatch)


async def create(context: RequestContext) -> None:
    """Create a batch of the requests in an uploaded file."""
    worker, files = context.gateway.batch_worker, file_service(context)
    sent: _NewBatch = decode(_new_batch, await read_body(context))
    _check(sent)
    record = await files.record(owner_of(context.caller), sent.input_file_id)
    if record.purpose != "batch":
        raise invalid("input_file_id", f"file {record.id} has the purpose {record.purpose!r}; upload it with `batch`")
    if record.size > INPUT_LIMIT:
        raise invalid("input_file_id", f"file {record.id} is over {INPUT_LIMIT >> 20} MiB")
    expires = sent.output_expires_after
    detail = OpenAIDetail(record.id, sent.metadata, None if expires is None else float(expires.seconds))
    quota = context.runtime.config.batches.quota
    batch = await create_batch(
        context,
        "openai",
        sent.endpoint,
        _encode(detail).decode(),
        lambda batch: _receive(worker, files, record, batch, quota, detail),
    )
    await context.answer(_encode(_shown(batch)))


def _check(sent: _NewBatch) -> None:
    if sent.endpoint not in ENDPOINTS:
        raise invalid("endpoint", f"{sent.endpoint[:80]!r} has no batches here; use {', '.join(ENDPOINTS)}")
    metadata = sent.metadata or {}
    if len(metadata) > _MOST_METADATA or any(len(key) > 64 or len(text) > 512 for key, text in metadata.items()):
        raise invalid("metadata", "at most 16 pairs, with keys of 64 and values of 512 characters")
    expires = sent.output_expires_after
    if expires is not None and not 3_600 <= expires.seconds <= 2_592_000:
        raise invalid("output_expires_after.seconds", "from 3600 to 2592000")


async def _receive(
    worker: BatchWorker, files: FileService, record: FileRecord, batch: StoredBatch, quota: int, detail: OpenAIDetail
) -> StoredBatch:
    """Read the input file into the batch and acknowledge it. A file with an invalid line makes a failed batch."""
    lines, store = BatchLines(batch.endpoint), worker.store

    def add(requests: Sequence[NewRequest]) -> None:
        if requests and not lines.errors:
            try:
                store.add(batch, lines.count - len(requests), requests, quota)
            except InvalidBatch as error:
                lines.errors.append(LineError("duplicate_custom_id", str(error).partition(": ")[2], param="custom_id"))

    reader = await files.open(record)
    try:
        while piece := await files.call(reader.read, _PIECE):
            await stored(lambda piece=piece: add(lines.feed(piece)))  # type: ignore[misc]
    finally:
        reader.close()

    def end() -> StoredBatch:
        add(lines.close())
        if lines.errors:
            failed = msgspec.structs.replace(detail, errors=tuple(lines.errors))
            return store.fail(batch, _encode(failed).decode(), time.time())
        return store.acknowledge(batch, time.time())

    return await stored(end)


async def listed(context: RequestContext) -> None:
    """List the caller's batches, the newest first."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    fields = query(context)
    limit = number(fields.get("limit", "20"), "limit", _MOST_LISTED, 1)

    def read() -> tuple[list[StoredBatch], bool]:
        after = worker.store.get(fields["after"], owner, "openai").number if "after" in fields else None
        return worker.store.page(owner, "openai", limit, after=after)

    batches, has_more = await stored(read)
    page = list_page([_shown(batch) for batch in batches], [batch.id for batch in batches], has_more=has_more)
    await context.answer(_encode({"object": "list", **page}))


async def retrieve(context: RequestContext) -> None:
    """Return one batch."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    await context.answer(_encode(_shown(await stored(lambda: worker.store.get(context.tail, owner, "openai")))))


async def cancel(context: RequestContext) -> None:
    """Cancel a batch: requests without a result are not answered any more."""
    worker, owner = context.gateway.batch_worker, owner_of(context.caller)
    batch = await stored(lambda: worker.store.cancel(context.tail, owner, "openai", time.time()))
    worker.notify()
    await context.answer(_encode(_shown(batch)))


def _shown(batch: StoredBatch) -> dict[str, Any]:
    detail = _decode_detail(batch.detail)
    status = _status(batch, detail)
    ended = _seconds(batch.ended)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": detail.errors} if detail.errors else None,
        "input_file_id": detail.input_file,
        "completion_window": "24h",
        "status": status,
        "output_file_id": detail.output_file or None,
        "error_file_id": detail.error_file or None,
        "created_at": _seconds(batch.created),
        "in_progress_at": None if detail.errors else _seconds(batch.created),
        "expires_at": _seconds(batch.expires),
        "finalizing_at": None if detail.errors else ended,
        "completed_at": ended if status == "completed" else None,
        "failed_at": ended if status == "failed" else None,
        "expired_at": ended if status == "expired" else None,
        "cancelling_at": _seconds(batch.canceled),
        "cancelled_at": ended if status == "cancelled" else None,
        "request_counts": {"total": batch.total, "completed": batch.succeeded, "failed": batch.errored},
        "metadata": detail.metadata,
    }


def _status(batch: StoredBatch, detail: OpenAIDetail) -> str:
    if detail.errors:
        return "failed"
    if batch.state == "ended":
        return {"canceled": "cancelled", "expired": "expired"}.get(batch.rest, "completed")
    if batch.canceled:
        return "cancelling"
    return "in_progress" if batch.left else "finalizing"


def _seconds(at: float) -> int | None:
    return int(at) if at else None


_PATH: Final = "/v1/batches"
ROUTES = (
    *api("POST", _PATH, create, "write", "chat"),
    *api("GET", _PATH, listed, "read", "chat"),
    *api("GET", _PATH + "/{id}", retrieve, "read", "chat"),
    *api("POST", _PATH + "/{id}/cancel", cancel, "write", "chat"),
)
