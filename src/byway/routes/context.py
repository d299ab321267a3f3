"""RequestContext, one HTTP request on its way through Byway; Route, the value that declares an endpoint; and error envelopes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from byway.access.keys import ANONYMOUS
from byway.fronts.chat import envelope as chat_envelope
from byway.gateway import Gateway
from byway.largebodies import LARGE
from byway.pipeline.reply import Record
from byway.problems import MESSAGE_LIMIT, Problem
from byway.runtime import Runtime

#: The ASGI scope: method, path, headers (a dict), client, server.
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT: Final = 32 << 20
#: After a refusal the rest of a body is read and thrown away for a moment: a client that is still sending would see its
#: connection reset and never read the refusal.
_LINGER: Final = 2.0
_encode: Final = msgspec.json.Encoder().encode
Header = tuple[bytes, bytes]
_JSON: Final[Header] = (b"content-type", b"application/json")


class Responder(ABC):
    """What Byway's own server passes as ASGI `send`: whole bodies and responses in one call, without ASGI's messages, which
    cost twice as much. Any other ASGI server works too, without it."""

    __slots__ = ()

    @abstractmethod
    def whole_body(self) -> bytes | None:
        """The request's whole body when it is there and unread; else None, and `receive` returns it."""

    @abstractmethod
    def respond(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole response; `headers` hold its length and nothing about the connection."""


class RequestContext:
    """One HTTP request: what the client sent, its caller, the runtime it keeps, and its outcome."""

    __slots__ = (
        "_responder",
        "caller",
        "gateway",
        "headers",
        "id",
        "origin",
        "path",
        "problem",
        "receive",
        "record",
        "reserved",
        "route",
        "runtime",
        "scope",
        "send",
        "session",
        "status",
        "tail",
    )

    def __init__(
        self, gateway: Gateway, scope: AsgiScope, headers: dict[bytes, bytes], receive: Receive, send: Any, id: str
    ) -> None:
        self.gateway = gateway
        self.scope = scope
        self.path: str = scope["path"]
        self.tail = ""
        """The part of the path that the route's `*` matches, or the decoded segment that its `{name}` matches."""
        self.headers = headers
        self.receive = receive
        self.send: Send = send
        self._responder: Responder | None = send if isinstance(send, Responder) else None
        self.id = id
        """24 random hex digits: `req_` and `msg_` ids are made of it."""
        self.runtime: Runtime = gateway.runtime
        self.route: Route | None = None
        """The route that answers; None until it is found."""
        self.caller = ANONYMOUS
        self.record = Record()
        self.status = 0
        self.origin = b""
        """The request's Origin when `server.allowed_origins` contains it."""
        self.problem: Problem | None = None
        self.reserved = 0
        """Bytes that this request holds of the budget for large bodies."""
        self.session = ""
        """Claude Code's id of the conversation, from `x-claude-code-session-id`."""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """The whole body; raises Problem `too_large` above 32 MiB, without reading what says its length."""
        if self._responder is not None and (body := self._responder.whole_body()) is not None:
            return body
        length = int(self.headers.get(b"content-length") or 0)
        if length > BODY_LIMIT:
            raise _too_large()
        if length > LARGE:
            await self._reserve(length)
        message = await self.receive()
        if not message.get("more_body"):
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            return bytes(message["body"])
        parts = [message["body"]]
        size = len(message["body"])
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message["body"])
            size += len(message["body"])
            if size > BODY_LIMIT:
                raise _too_large()
            if size > LARGE and not self.reserved:
                # A chunked body does not declare its length.
                await self._reserve(BODY_LIMIT)
        return b"".join(parts)

    async def _reserve(self, size: int) -> None:
        await self.gateway.large_bodies.reserve(size)
        self.reserved = size

    def release_body(self) -> None:
        """Return the body's share of the budget for large bodies: its memory is free, or about to be."""
        if self.reserved:
            self.gateway.large_bodies.release(self.reserved)
            self.reserved = 0

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the head; every answer carries `request-id`."""
        await self.send({"type": "http.response.start", "status": status, "headers": self._headed(status, headers)})

    def _headed(self, status: int, headers: list[Header]) -> list[Header]:
        self.status = status
        headers.append((b"request-id", b"req_" + self.id.encode()))
        if self.origin:
            headers += [(b"access-control-allow-origin", self.origin), (b"vary", b"origin")]
        return headers

    async def answer(self, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> None:
        """Send a whole answer of JSON."""
        headed = self._headed(status, [_JSON, (b"content-length", b"%d" % len(body)), *headers])
        if self.scope["method"] == "HEAD":
            body = b""
        if self._responder is not None:
            self._responder.respond(status, headed, body)
            return
        await self.send({"type": "http.response.start", "status": status, "headers": headed})
        await self.send({"type": "http.response.body", "body": body})

    def _error_body(self, problem: Problem) -> bytes:
        """The error in the envelope of the route; an unknown path gets the Messages API's."""
        kind = "messages" if self.route is None else self.route.envelope
        if kind == "chat":
            return chat_envelope(problem.status, problem.row.type, client_message(problem, self.runtime))
        if kind == "admin":
            return admin_envelope(problem, self.id, self.runtime)
        return envelope(problem, self.id, self.runtime)

    async def refuse(self, problem: Problem) -> None:
        """Send a Problem as an error in the route's envelope."""
        self.problem = problem
        body = self._error_body(problem)
        headers = retry_headers(problem)
        if self.record.backend:
            headers.append((b"x-byway-backend", latin(self.record.backend)))
        if problem.kind != "too_large" or self.record.backend:
            await self.answer(body, problem.status, headers)
            return
        headers += [_JSON, (b"content-length", b"%d" % len(body))]
        await self.begin(problem.status, [*headers, (b"connection", b"close")])
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER):
                while (await self.receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
        await self.send({"type": "http.response.body", "body": b""})


async def preflight(context: RequestContext) -> None:
    """Answer a CORS preflight: a browser sends it before a page of an allowed origin may send its request."""
    wanted = context.headers.get(b"access-control-request-headers", b"content-type, x-api-key, authorization")
    await context.begin(
        204,
        [
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", b"600"),
        ],
    )
    await context.send({"type": "http.response.body", "body": b""})


def broken() -> Problem:
    """The Problem for an unexpected exception in Byway itself."""
    return Problem(
        "internal", "Internal error in Byway. This is a bug: please report it with the traceback in Byway's log."
    )


def _too_large() -> Problem:
    return Problem(
        "too_large", f"The request body is over {BODY_LIMIT >> 20} MiB. Send less, or send files by reference."
    )


@lru_cache(256)
def latin(text: str) -> bytes:
    """Text as a header value; characters that a header cannot hold are replaced."""
    shown = text if text.isprintable() else "".join([char if char.isprintable() else " " for char in text])
    return shown.encode("latin-1", "replace")


@lru_cache(256)
def answerer(backend: str, model: str) -> tuple[Header, Header]:
    """The headers that name the target of the answer."""
    return (b"x-byway-backend", latin(backend)), (b"x-byway-model", latin(model))


def retry_headers(problem: Problem) -> list[Header]:
    """The headers that tell a client when, and whether, to retry."""
    headers: list[Header] = []
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(0, round(problem.retry_after))).encode()))
    if problem.retry is not None:
        headers.append((b"x-should-retry", b"true" if problem.retry else b"false"))
    return headers


def client_message(problem: Problem, runtime: Runtime) -> str:
    """The problem's message for the client: without secrets, and of bounded length."""
    message = runtime.scrubber.scrub(problem.message)
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def envelope(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """The error body of the Messages API, without secrets."""
    error: dict[str, Any] = {"type": problem.row.type, "message": client_message(problem, runtime)}
    if details := problem.facts.get("details"):
        error["details"] = msgspec.Raw(str(details).encode())
    return _encode({"type": "error", "error": error, "request_id": f"req_{id}"})


def error_event(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """A Problem as the event that ends a stream."""
    return b"event: error\ndata: %b\n\n" % envelope(problem, id, runtime)


def admin_envelope(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """The error body of the admin API: that of the Messages API with the invalid field, or the conflicts of a change."""
    error: dict[str, Any] = {"type": problem.row.type, "message": client_message(problem, runtime)}
    if field := problem.facts.get("field"):
        error["field"] = field
    if problem.kind == "stale":
        conflicts = runtime.scrubber.scrub(str(problem.facts.get("conflicts") or "[]"))
        error |= {"etag": problem.facts.get("etag", ""), "conflicts": msgspec.Raw(conflicts.encode())}
    return _encode({"type": "error", "error": error, "request_id": f"req_{id}"})


Endpoint = Callable[[RequestContext], Awaitable[None]]
Scope = Literal["open", "read", "write", "files", "admin"]
"""What a route requires: nothing, a key with that scope, or (admin) also a login of the page or the owner's socket."""
Envelope = Literal["messages", "chat", "page", "admin"]
"""The form of a route's errors: the Messages API's, OpenAI's, a page where a login is required, or the admin API's."""


class Route(NamedTuple):
    """One endpoint. A `path` that ends in `*` matches everything below it; `{name}` in it matches one segment."""

    method: str
    path: str
    endpoint: Endpoint
    scope: Scope
    envelope: Envelope = "messages"
    operation: Any = None
    """For the admin API: an `operation.Operation`, from which the OpenAPI document is generated."""


#: Where the API's paths are served. The longer ones serve base URLs that end in `/v1` or `/v1/messages`.
PREFIXES: Final = ("", "/anthropic", "/v1", "/anthropic/v1", "/v1/messages", "/anthropic/v1/messages")


def api(method: str, path: str, endpoint: Endpoint, scope: Scope, envelope: Envelope = "messages") -> tuple[Route, ...]:
    """The routes of an API endpoint, one under each prefix."""
    return tuple(Route(method, prefix + path, endpoint, scope, envelope) for prefix in PREFIXES)
