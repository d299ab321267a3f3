"""What can be asked of us, one module per resource; each exports its `ROUTES`. Here: what all of them are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from byway.access.keys import ANONYMOUS
from byway.fronts.chat import envelope as chat_envelope
from byway.messages.events import Frame
from byway.pipeline.exchange import Record
from byway.problems import MESSAGE_LIMIT, Problem
from byway.runtime import Runtime

if TYPE_CHECKING:
    from byway.server.app import App

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT: Final = 32 << 20
#: After a refusal the rest of a body is read and thrown away for a moment: a client that is still sending would see its
#: connection reset and never read the refusal.
_LINGER: Final = 2.0
_encode: Final = msgspec.json.Encoder().encode
Header = tuple[bytes, bytes]
_JSON: Final[Header] = (b"content-type", b"application/json")


class Gone(Exception):
    """The client has left; there is nobody to tell."""


class Ask:
    """One HTTP request on its way through: what came, who asks, the runtime that it keeps, and what became of it."""

    __slots__ = (
        "app",
        "caller",
        "headers",
        "id",
        "origin",
        "path",
        "problem",
        "receive",
        "record",
        "runtime",
        "scope",
        "send",
        "session",
        "status",
        "tail",
    )

    def __init__(
        self, app: App, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send, id: str
    ) -> None:
        self.app = app
        self.scope = scope
        self.path: str = scope["path"]
        self.tail = ""
        """What stands in the path where the route has a `*`."""
        self.headers = headers
        self.receive = receive
        self.send = send
        self.id = id
        """24 random letters: `req_` and `msg_` ids are made of it."""
        self.runtime: Runtime = app.runtime
        self.caller = ANONYMOUS
        self.record = Record()
        self.status = 0
        self.origin = b""
        """The page that asks, when `server.allowed_origins` has it."""
        self.problem: Problem | None = None
        self.session = ""
        """Claude Code's name for the conversation and all that belongs to it."""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """The whole body; raises Problem `too_large` above 32 MiB, without reading what says its length."""
        # Byway's own connection gives and takes whole bodies at once. What ASGI has as messages costs twice.
        taken = getattr(self.send, "taken", None)
        body: bytes | None = None if taken is None else taken()
        if body is not None:
            return body
        if int(self.headers.get(b"content-length") or 0) > BODY_LIMIT:
            raise _too_large()
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
        return b"".join(parts)

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
        whole = getattr(self.send, "whole", None)
        if whole is not None:
            whole(status, headed, body)
            return
        await self.send({"type": "http.response.start", "status": status, "headers": headed})
        await self.send({"type": "http.response.body", "body": body})

    def _envelope(self, problem: Problem) -> bytes:
        """The error's body as this path's clients know it: also where the door itself refuses."""
        if self.path.endswith("/chat/completions"):
            return chat_envelope(problem.row.status, problem.row.type, cleared(problem, self.runtime))
        return envelope(problem, self.id, self.runtime)

    async def refuse(self, problem: Problem) -> None:
        """Send a Problem as the official envelope."""
        self.problem = problem
        body = self._envelope(problem)
        headers = hints(problem)
        if self.record.backend:
            headers.append((b"x-byway-backend", latin(self.record.backend)))
        if problem.kind != "too_large" or self.record.backend:
            await self.answer(body, problem.row.status, headers)
            return
        headers += [_JSON, (b"content-length", b"%d" % len(body))]
        await self.begin(problem.row.status, [*headers, (b"connection", b"close")])
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER):
                while (await self.receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
        await self.send({"type": "http.response.body", "body": b""})


async def preflight(ask: Ask) -> None:
    """What a browser asks before a page of an allowed origin may send its request."""
    wanted = ask.headers.get(b"access-control-request-headers", b"content-type, x-api-key, authorization")
    await ask.begin(
        204,
        [
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", b"600"),
        ],
    )
    await ask.send({"type": "http.response.body", "body": b""})


def broken() -> Problem:
    """What a client hears when Byway itself failed."""
    return Problem("internal", "Byway itself failed; its log says more. This is a bug: please report it.")


def _too_large() -> Problem:
    return Problem(
        "too_large", f"The request body is over {BODY_LIMIT >> 20} MiB. Send less, or send files by reference."
    )


@lru_cache(256)
def latin(text: str) -> bytes:
    """Text as a header's value: what headers cannot hold is replaced."""
    shown = text if text.isprintable() else "".join([one if one.isprintable() else " " for one in text])
    return shown.encode("latin-1", "replace")


@lru_cache(256)
def answerer(backend: str, model: str) -> tuple[Header, Header]:
    """The headers that say who has answered."""
    return (b"x-byway-backend", latin(backend)), (b"x-byway-model", latin(model))


def hints(problem: Problem) -> list[Header]:
    """The headers that tell a client when, and whether, to try again."""
    found: list[Header] = []
    if problem.retry_after is not None:
        found.append((b"retry-after", str(max(0, round(problem.retry_after))).encode()))
    if problem.retry is not None:
        found.append((b"x-should-retry", b"true" if problem.retry else b"false"))
    return found


def cleared(problem: Problem, runtime: Runtime) -> str:
    """What a client is told, without secrets."""
    said = runtime.scrubber.scrub(problem.message)
    return said if len(said) <= MESSAGE_LIMIT else said[: MESSAGE_LIMIT - 1] + "…"


def envelope(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """The official error body, cleared of secrets."""
    said = cleared(problem, runtime)
    return _encode(
        {
            "type": "error",
            "error": {"type": problem.row.type, "message": said},
            "request_id": f"req_{id}",
        }
    )


def error_frame(problem: Problem, id: str, runtime: Runtime) -> Frame:
    """A Problem as the event that ends a stream."""
    return Frame("error", b"event: error\ndata: %b\n\n" % envelope(problem, id, runtime))


Endpoint = Callable[[Ask], Awaitable[None]]
#: Method, path below a front's prefix, endpoint. A path that ends in `*` takes whatever follows.
Routes = tuple[tuple[str, str, Endpoint], ...]
