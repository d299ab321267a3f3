"""Sends the requests of readiness tests through the application: the same routes, targets, repairs and log lines as for a client.

They are marked as Byway's own: the page Requests lists them as probes, and they count for no client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway.access.keys import Caller
from byway.admin.probes import ProbeAnswer
from byway.admin.readiness import ReadinessTests
from byway.decoding import DECODE_ERRORS
from byway.gateway import Gateway
from byway.logs import log
from byway.messages.events import Passthrough
from byway.messages.sse import Decoder
from byway.messages.stream import fold
from byway.pipeline.watch import ClientGone
from byway.problems import Problem
from byway.routes.admission import PROBE
from byway.routes.context import Endpoint, RequestContext
from byway.routes.usagerecords import priced
from byway.scopes import SCOPES
from byway.server.app import App
from byway.server.internal import InternalExchange, internal_scope
from byway.store import StoreError

#: Who sends them: a caller of its own, because requests of the owner's socket are not listed.
_PROBER: Final = Caller("", SCOPES)
_HEADERS: Final = {
    b"content-type": b"application/json",
    b"anthropic-version": b"2023-06-01",
    b"user-agent": b"byway-probe",
    PROBE: b"readiness",
}
_STREAM: Final = b"text/event-stream"
#: Bytes of an answer: a probe allows 2,048 tokens.
_ANSWER_BYTES: Final = 4 << 20


def open_readiness(gateway: Gateway) -> None:
    """Read the last results of readiness tests. Without the store Byway starts without them, and the log has the reason."""
    if gateway.store is None:
        return
    try:
        gateway.readiness = ReadinessTests(gateway.store, lambda: gateway.runtime, ProbeApp(gateway).ask)
    except StoreError as error:
        log("Byway runs without readiness tests: their results cannot be read", logging.ERROR, problem=str(error))


class _ProbeExchange(InternalExchange):
    """The request of a probe and its response, which is cut when it is far longer than the probe allows."""

    __slots__ = ("_received", "too_long")

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._received = 0
        self.too_long = False

    async def __call__(self, message: Mapping[str, Any]) -> None:
        self._received += len(message.get("body", b""))
        if self._received > _ANSWER_BYTES:
            self.too_long = True
            raise ClientGone
        await super().__call__(message)


class _Content(Struct):
    """The parts of a message that probes look at."""

    content: tuple[dict[str, Any], ...] = ()
    stop_reason: str | None = None


class _Error(Struct):
    message: str = ""


class _Failure(Struct):
    error: _Error | None = None


class _Count(Struct):
    input_tokens: int


class ProbeApp(App):
    """The application for requests of readiness tests. Their caller is Byway itself, so that no host and no key is checked."""

    def _endpoint(self, context: RequestContext) -> Endpoint:
        context.caller = context.scope["caller"]
        route = context.route = self._find(context)["POST"]
        if context.gateway.draining:
            raise Problem("stopping", "Byway is stopping. Test the model again after its restart.")
        context.record.probe = True
        context.scope["contexts"].append(context)
        return route.endpoint

    async def ask(self, body: bytes, counts: bool, seconds: float) -> ProbeAnswer:
        """Send a request, a token count or one that is answered as a stream, and wait for its whole answer."""
        exchange = _ProbeExchange(body)
        contexts: list[RequestContext] = []
        path = "/v1/messages/count_tokens" if counts else "/v1/messages"
        scope = internal_scope(path, body, _HEADERS, _PROBER, contexts=contexts)
        started = time.monotonic()
        # A task of its own: the application takes a cancelled request for one whose client has disconnected, and returns.
        task = asyncio.get_running_loop().create_task(self(scope, exchange.receive, exchange))
        try:
            await asyncio.wait((task,), timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
        ms = round((time.monotonic() - started) * 1000, 1)
        if exchange.too_long:
            answer = ProbeAnswer(0, f"the answer is over {_ANSWER_BYTES >> 20} MiB and did not end", "broken")
        elif not exchange.status:
            message = f"no complete answer within {seconds:g} s" if not task.done() else "the answer was interrupted"
            answer = ProbeAnswer(0, message, "timeout")
        elif counts:
            answer = _count(exchange)
        else:
            answer = _answer(exchange)
        if not contexts:
            return msgspec.structs.replace(answer, ms=ms)
        return _measured(answer, contexts[0], ms)


def _measured(answer: ProbeAnswer, context: RequestContext, ms: float) -> ProbeAnswer:
    """An answer with what the record of its request has."""
    record = context.record
    usage, cost = priced(record, context.runtime.prices, time.time())
    cached = usage.cache_read_input_tokens
    if context.problem is not None:
        answer = msgspec.structs.replace(answer, message=answer.message, problem=context.problem.kind)
    return msgspec.structs.replace(
        answer,
        message=context.runtime.scrubber.scrub(answer.message),
        input_tokens=usage.input_tokens + cached + usage.cache_creation_input_tokens,
        cached_tokens=cached,
        output_tokens=usage.output_tokens,
        estimated=record.estimated,
        cost=cost,
        ms=ms,
        first_ms=None if record.first is None else round(record.first * 1000, 1),
        request_id=f"req_{context.id}",
        repairs=record.repairs,
    )


def _answer(exchange: InternalExchange) -> ProbeAnswer:
    """The answer to a Messages request."""
    if exchange.status != 200:
        return _failure(exchange)
    message = exchange.body
    try:
        if exchange.headers.get(b"content-type", b"").startswith(_STREAM):
            for name, data in Decoder().feed(message):
                if name == "error":
                    return ProbeAnswer(exchange.status, _message(data), "upstream")
            message = fold([Passthrough(message, "content")])
        content = msgspec.json.decode(message, type=_Content)
    except (UnicodeError, Problem, *DECODE_ERRORS) as error:
        text = error.message if isinstance(error, Problem) else str(error)
        return ProbeAnswer(exchange.status, text, "broken")
    return ProbeAnswer(exchange.status, content=content.content, stop=content.stop_reason or "")


def _count(exchange: InternalExchange) -> ProbeAnswer:
    """The answer to a token count."""
    if exchange.status != 200:
        return _failure(exchange)
    counted = msgspec.json.decode(exchange.body, type=_Count).input_tokens
    by_backend = exchange.headers.get(b"x-byway-count") == b"backend"
    return ProbeAnswer(exchange.status, counted=counted, by_backend=by_backend)


def _failure(exchange: InternalExchange) -> ProbeAnswer:
    problem = exchange.headers.get(b"x-byway-problem", b"").decode("latin-1")
    retry_after = exchange.headers.get(b"retry-after", b"")
    seconds = float(retry_after) if retry_after.isdigit() else None
    return ProbeAnswer(exchange.status, _message(exchange.body), problem or "upstream", retry_after=seconds)


def _message(body: bytes) -> str:
    """The message of an error."""
    try:
        error = msgspec.json.decode(body, type=_Failure).error
    except (UnicodeError, *DECODE_ERRORS):
        error = None
    return (error.message if error is not None else "") or "the answer is an error without a message"
