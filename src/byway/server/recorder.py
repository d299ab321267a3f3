"""Records a request of an account that records: its body as it is read, and its response as it is sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from byway.inspector.recording import RecordedExchange, header_texts
from byway.largebodies import LARGE, off_loop
from byway.logs import log
from byway.problems import Problem
from byway.routes.admission import SESSION
from byway.routes.context import Endpoint, Header, Receive, RequestContext, Responder, Send
from byway.scrub import Scrubber

#: The ends of the paths of requests that are recorded.
_RECORDED: Final = (
    *("/messages", "/responses", "/completions", "/embeddings", "/rerank", "/moderations"),
    *("/api/chat", "/api/generate", "/api/embed"),
)
#: The headers that name a conversation.
_SESSIONS: Final = (SESSION, b"session-id", b"session_id", b"thread-id")


async def serve_recorded(
    context: RequestContext, endpoint: Endpoint, refuse: Callable[[RequestContext, Problem], Awaitable[None]]
) -> None:
    """Call `endpoint`, and record the request when its account records it. Raises Problem when the response has begun."""
    exchange = _begin(context)
    if exchange is None:
        await endpoint(context)
        return
    try:
        await endpoint(context)
    except Problem as problem:
        if context.status:
            raise
        await refuse(context, problem)
    finally:
        context.record.recording = None
        exchange.cleaning = asyncio.create_task(_clean(exchange, context.gateway.runtime.scrubber))


def _begin(context: RequestContext) -> RecordedExchange | None:
    if not context.path.endswith(_RECORDED):
        return None
    session = next((context.header(name) for name in _SESSIONS if name in context.headers), "")
    exchange = context.gateway.recordings.begin(f"req_{context.id}", context.caller.account, session, time.monotonic())
    if exchange is None:
        return None
    exchange.started = context.started
    exchange.method, exchange.path = context.scope["method"], context.path
    exchange.headers = header_texts(context.headers)
    context.record.recording = exchange
    context.tap(lambda receive, send, responder: RecordedConnection(exchange, receive, send, responder))
    return exchange


async def _clean(exchange: RecordedExchange, scrubber: Scrubber) -> None:
    try:
        # In the thread for large bodies, also when these are small: there may be many.
        await off_loop(LARGE + 1, exchange.clean, scrubber)
    except Exception as error:
        exchange.forget()
        log(
            "A recorded request was deleted: its secrets could not be removed",
            logging.ERROR,
            problem=type(error).__name__,
        )


class RecordedConnection(Responder):
    """The connection of a request that is recorded. What passes through stays as it is."""

    __slots__ = ("_exchange", "_receive", "_responder", "_send")

    def __init__(self, exchange: RecordedExchange, receive: Receive, send: Send, responder: Responder | None) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._responder = responder

    def whole_body(self) -> bytes | None:
        body = None if self._responder is None else self._responder.whole_body()
        if body is not None:
            self._exchange.add(self._exchange.request, body, time.monotonic())
        return body

    async def receive(self) -> MutableMapping[str, Any]:
        """Receive a message of ASGI."""
        message = await self._receive()
        if message["type"] == "http.request" and message["body"]:
            self._exchange.add(self._exchange.request, bytes(message["body"]), time.monotonic())
        return message

    def respond(self, status: int, headers: list[Header], body: bytes, lines: bytes) -> None:
        exchange = self._exchange
        exchange.status, exchange.response_headers = status, header_texts(headers)
        exchange.add(exchange.response, body, time.monotonic())
        if self._responder is not None:
            self._responder.respond(status, headers, body, lines)

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        exchange = self._exchange
        if message["type"] == "http.response.start":
            exchange.status, exchange.response_headers = message["status"], header_texts(message["headers"])
        elif message.get("body"):
            exchange.add(exchange.response, bytes(message["body"]), time.monotonic())
        await self._send(message)
