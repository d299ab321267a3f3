"""`POST /v1/messages`: parse, hand to the line, and carry events (or the one answer folded of them) to the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from byway.largebodies import off_loop
from byway.logs import log_exception
from byway.messages import claudecode, sse, stream
from byway.messages import request as messages
from byway.messages.events import Part, Ping, has_content, starts
from byway.messages.request import Request
from byway.pipeline import exchange
from byway.pipeline.reply import opening
from byway.pipeline.watch import ClientGone
from byway.problems import Problem
from byway.routes.context import Header, RequestContext, answerer, api, broken, error_event

_STREAM: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
#: A ping goes out a little before it is due, since beats come every 50 ms.
_EARLY: Final = 0.2
#: Byway sends this header when it tests its own endpoint. Such a request is marked in the log and in the list of requests.
PROBE: Final = b"x-byway-probe"


async def read(context: RequestContext) -> Request:
    """Read the body as a Messages request."""
    body = await context.body()
    given = context.headers
    headers = _forwarded(given.get(b"anthropic-version"), given.get(b"anthropic-beta"))
    return await off_loop(len(body), messages.parse, body, headers, f"msg_{context.id}")


@lru_cache(64)
def _forwarded(version: bytes | None, beta: bytes | None) -> Mapping[str, str]:
    """The headers that are part of what is asked for. A client sends the same ones again and again."""
    given = {"anthropic-version": version, "anthropic-beta": beta}
    return {name: value.decode("latin-1") for name, value in given.items() if value is not None}


async def create(context: RequestContext) -> None:
    """Answer a Messages request, as a stream when it asks for one."""
    request = await read(context)
    await serve(context, request, Stream(context, request) if request.stream else Whole(context))


async def serve(context: RequestContext, request: Request, reply: Stream | Whole) -> None:
    """Have the line answer `request` through `reply`; whatever happens, the client hears how it ended."""
    context.session = context.header(b"x-claude-code-session-id")
    context.record.probe = PROBE in context.headers
    try:
        with context.gateway.exchanges.watch(context.receive, reply.beat):
            await exchange.answer(context.runtime, request, reply, context.record, context.session)
            await reply.finish()
    except Problem as problem:
        await reply.fail(problem)
    except ClientGone:
        raise
    except Exception:
        log_exception("Byway failed on a request: please report this", id=f"req_{context.id}")
        await reply.fail(broken())
    finally:
        reply.close()


class Whole:
    """The reply to a client that did not ask for a stream: nothing goes out before the answer is whole."""

    __slots__ = ("_ask", "_headers", "_parts")
    sent = False

    def __init__(self, context: RequestContext) -> None:
        self._ask = context
        self._parts: list[Part] = []
        self._headers: tuple[Header, ...] = ()

    def aim(self, backend: str, model: str) -> None:
        self._parts = []
        self._headers = answerer(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        self._parts += parts

    def finish(self) -> Awaitable[None]:
        return self._ask.answer(stream.fold(self._parts), headers=self._headers)

    async def fail(self, problem: Problem) -> None:
        raise problem

    def beat(self, now: float) -> None:
        """Nothing can be shown before the answer is whole."""

    def close(self) -> None:
        """Nothing is held."""


class Stream:
    """The reply to a client that asked for a stream.

    Nothing is committed before the first content event or `timeouts.commit_after`: until then an error keeps its status.
    After that the client never sees more than `timeouts.ping_after` of silence. `beat` sees to both, so that a chunk costs
    no more than a mark.
    """

    def __init__(self, context: RequestContext, request: Request) -> None:
        self.sent = False
        self._ask = context
        self._encode: Callable[[Iterable[Part]], bytes] = sse.encode
        self._opening = opening(request)
        self._committed = False
        self._began = False
        """`message_start` has gone out."""
        self._closed = False
        self._pending: list[Part] = []
        self._headers: tuple[Header, ...] = ()
        self._spoke = True
        """Something went out since the last beat."""
        self._timeouts = context.runtime.config.timeouts
        self._last = self._came = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def aim(self, backend: str, model: str) -> None:
        self._pending = []
        self._headers = answerer(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        if not self.sent:
            self._pending += parts
            if not has_content(parts):
                return
            self.sent = True
            self._ask.release_body()
            parts, self._pending = self._pending, []
            if self._began:
                parts = [part for part in parts if not starts(part)]
            await self._head()
            self._began = True
        self._spoke = True
        await self._ask.send({"type": "http.response.body", "body": self._encode(parts), "more_body": True})

    async def _head(self) -> None:
        if not self._committed:
            self._committed = True
            await self._ask.begin(200, [*_STREAM, *self._headers])

    def beat(self, now: float) -> None:
        """Commit when the backend is slow, and ping when it is silent."""
        if self._spoke:
            self._spoke = False
            self._last = now
        if self._closed or (self._task is not None and not self._task.done()):
            return
        if not self._committed:
            if now - self._came >= self._timeouts.commit_after:
                self._task = asyncio.get_running_loop().create_task(self._commit())
        elif now - self._last >= self._timeouts.ping_after - _EARLY:
            self._task = asyncio.get_running_loop().create_task(self._show([Ping()]))

    async def _commit(self) -> None:
        """Show the client that somebody is here."""
        await self._head()
        if not self._began:
            self._began = True
            await self._show([self._opening, Ping()])

    async def _show(self, parts: list[Part]) -> None:
        self._spoke = True
        await self._ask.send({"type": "http.response.body", "body": self._encode(parts), "more_body": True})

    async def finish(self) -> None:
        self.close()
        await self._ask.send({"type": "http.response.body", "body": b""})

    async def fail(self, problem: Problem) -> None:
        """Before anything is committed the Problem is the answer; after that, the last event."""
        self.close()
        if not self._committed:
            claudecode.show_message(problem, self._ask.header(b"user-agent"))
            raise problem
        self._ask.problem = problem
        await self._ask.send({"type": "http.response.body", "body": self._failure(problem)})

    def _failure(self, problem: Problem) -> bytes:
        """The last event of a stream that failed."""
        return error_event(problem, self._ask.id, self._ask.runtime)

    def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()


ROUTES = api("POST", "/v1/messages", create, "write")
