"""Answers the requests of batches by the application itself, without HTTP: the same routes, limits, log lines and usage."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from byway.access.keys import ANONYMOUS, REFUSAL, Caller
from byway.batches.batch import BatchApi, BatchOutcome, BatchRequest, Rest, StoredBatch
from byway.batches.outputs import store_outputs
from byway.batches.store import BatchStore
from byway.batches.worker import BatchLimits, BatchWorker
from byway.decoding import DECODE_ERRORS
from byway.gateway import Gateway
from byway.logs import log
from byway.problems import Problem
from byway.routes.authorize import OWNER
from byway.routes.context import Endpoint, RequestContext
from byway.server.app import App
from byway.server.internal import InternalExchange, internal_scope
from byway.store import StoreError

#: Statuses of failures that may be temporary.
_TEMPORARY: Final = frozenset((408, 429, 500, 502, 503, 504, 529))
#: A request that was interrupted because Byway stops.
_INTERRUPTED: Final = (b"x-byway-problem", b"stopping")


def open_batches(gateway: Gateway, folder: Path) -> BatchWorker | None:
    """Open the batches of the data folder, and return their worker.

    Without its database Byway runs without batches, and the log has the reason.
    """

    def limits() -> BatchLimits:
        settings = gateway.runtime.config.batches
        return BatchLimits(settings.concurrency if settings.enabled else 0, settings.keep_results)

    async def complete(batch: StoredBatch, rest: Rest) -> str | None:
        if batch.api == "messages":
            return None
        if gateway.files is None:
            raise Problem("internal", "The results need files, and `files.enabled` is false.")
        return await store_outputs(gateway.files, store, batch, rest)

    try:
        store = BatchStore(folder)
    except StoreError as error:
        gateway.batches_problem = str(error)
        log("Byway runs without batches: their database cannot be opened", logging.ERROR, problem=str(error))
        return None
    gateway.batches = BatchWorker(store, BatchApp(gateway).answer, complete, limits)
    return gateway.batches


class _Unsupported(msgspec.Struct):
    """What a request of a batch cannot have."""

    stream: object = None
    max_tokens: object = None


_decode_unsupported: Final = msgspec.json.Decoder(_Unsupported).decode
_decode_headers: Final = msgspec.json.Decoder(dict[str, str]).decode


class BatchApp(App):
    """The application for requests of batches. Their caller is known, so that no host and no key is checked."""

    def _endpoint(self, context: RequestContext) -> Endpoint:
        context.caller = context.scope["caller"]
        route = context.route = self._find(context)["POST"]
        if context.gateway.draining:
            raise Problem("stopping", "Byway is stopping. The request is answered after its restart.")
        if problem := context.scope["problem"]:
            raise problem
        return route.endpoint

    async def answer(self, batch: StoredBatch, request: BatchRequest) -> BatchOutcome | None:
        """Answer a request of a batch; None when it was interrupted."""
        problem: Problem | None = None
        caller = self._caller(batch)
        if caller is None:
            problem = Problem("authentication", f"The key of this batch is not valid any more. {REFUSAL}")
        elif "write" not in caller.scopes:
            problem = Problem("permission", f"Key {caller.key} lacks the scope `write`.")
        else:
            problem = await asyncio.to_thread(_unsupported, request.body, batch.api)
        exchange = InternalExchange(request.body)
        headers = {
            name.encode("latin-1"): value.encode("latin-1") for name, value in _decode_headers(batch.headers).items()
        }
        scope = internal_scope(batch.endpoint, request.body, headers, caller or ANONYMOUS, problem=problem)
        await self(scope, exchange.receive, exchange)
        if not exchange.status or _INTERRUPTED in exchange.headers.items():
            return None
        return _outcome(exchange.status, exchange.headers, exchange.body)

    def _caller(self, batch: StoredBatch) -> Caller | None:
        """Who makes the requests of a batch; None when its key has ended."""
        if batch.from_socket:
            return OWNER
        keyring = self.gateway.runtime.keyring
        if not batch.key:
            return None if keyring.blocking else ANONYMOUS
        return keyring.caller(batch.key, time.time())


def _outcome(status: int, headers: Mapping[bytes, bytes], body: bytes) -> BatchOutcome:
    retry_after = headers.get(b"retry-after", b"")
    return BatchOutcome(
        status,
        body,
        headers.get(b"request-id", b"").decode("latin-1"),
        float(retry_after) if retry_after.isdigit() else None,
        status in _TEMPORARY and headers.get(b"x-should-retry") != b"false",
    )


def _unsupported(body: bytes, api: BatchApi) -> Problem | None:
    """Why a request cannot be in a batch. A body that is no such request is rejected by its route."""
    try:
        request = _decode_unsupported(body)
    except DECODE_ERRORS:
        return None
    if request.stream:
        return Problem("invalid_request", "stream: not supported in a batch. Leave it out.")
    if api == "messages" and request.max_tokens == 0:
        return Problem("invalid_request", "max_tokens: expected at least 1 in a batch, got 0.")
    return None
