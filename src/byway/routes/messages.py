"""`POST /v1/messages`: parses the request, runs the exchange, and sends the answer as a stream or as one message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from byway.guardrails.rules import Guardrails
from byway.largebodies import LARGE, off_loop
from byway.logs import log_exception
from byway.messages import claudecode, sse, stream
from byway.messages import request as messages
from byway.messages.blocks import FILE_MARK
from byway.messages.events import MessageStop, Part, Ping, has_content, starts
from byway.messages.request import Request
from byway.pipeline import exchange, warmup
from byway.pipeline.guarding import guard
from byway.pipeline.reply import opening
from byway.pipeline.watch import ClientGone
from byway.problems import Problem
from byway.routes.admission import admit
from byway.routes.context import Header, RequestContext, answerer, api, broken, error_event
from byway.upstream.credentials import CLIENT_HEADERS, CLIENT_KIND

_STREAM: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
#: Seconds that a ping is sent before it is due, because `beat` is called every 50 ms.
_EARLY: Final = 0.2


async def read(context: RequestContext) -> Request:
    """Read the body as a Messages request."""
    body = await context.body()
    given = context.headers
    headers = forwarded(given.get(b"anthropic-version"), given.get(b"anthropic-beta"), given.get(b"user-agent"))
    if context.runtime.forwards_credentials:
        headers = _with_credential(headers, context)
    id = f"msg_{context.id}"
    if len(body) <= LARGE:
        request = messages.parse(body, headers, id)
    else:
        request = await off_loop(len(body), messages.parse, body, headers, id)
    # A reference to a file makes a request loose. In all others none is looked for: that would take as long as parsing them.
    if request.loose and FILE_MARK in body:
        from byway.files.resolve import MESSAGES
        from byway.routes.files import with_files

        resolved = await with_files(context, body, MESSAGES)
        if resolved is not body:
            request = await off_loop(len(resolved), messages.parse, resolved, headers, id)
    return request


class _PrivateHeaders(dict[str, str]):
    """Headers of a request with the caller's credential, which no log or traceback may show."""

    def __repr__(self) -> str:
        return f"_PrivateHeaders({', '.join(self)})"


def _with_credential(headers: Mapping[str, str], context: RequestContext) -> Mapping[str, str]:
    """The headers with the caller's credential for a backend. A key of Byway is none, and never goes on."""
    given = _PrivateHeaders(headers)
    for name in CLIENT_HEADERS:
        value = context.headers.get(name.encode(), b"")
        key = (value[7:] if value[:7].lower() == b"bearer " else value).strip()
        if key and not context.runtime.keyring.contains(key):
            given[name] = value.decode("latin-1")
    if kind := context.header(CLIENT_KIND.encode()):
        given[CLIENT_KIND] = kind
    return given


@lru_cache(64)
def forwarded(version: bytes | None, beta: bytes | None, agent: bytes | None) -> Mapping[str, str]:
    """The headers that belong to the request itself, and the name of the client. Cached: a client repeats them."""
    given = {"anthropic-version": version, "anthropic-beta": beta, "user-agent": agent}
    return {name: value.decode("latin-1") for name, value in given.items() if value is not None}


async def create(context: RequestContext) -> None:
    """Answer a Messages request, as a stream if it sets `stream`."""
    request = await read(context)
    if context.caller.sign_in and claudecode.is_quota_probe(request):
        # The client wants to read headers. A model would be loaded for it, or lose its cache.
        await context.answer(stream.fold(warmup.empty(request)))
        return
    await serve(context, request, StreamReply(context, request) if request.stream else WholeReply(context))


def serve(context: RequestContext, request: Request, reply: StreamReply | WholeReply) -> Awaitable[None]:
    """Answer `request` through `reply`. Every failure reaches the client as an error."""
    admit(context, request)
    guardrails = context.runtime.guardrails
    if guardrails is None:
        answer = exchange.answer(context.runtime, request, reply, context.record, context.session)
    else:
        answer = _answer_guarded(context, request, reply, guardrails)
    return deliver(context, reply, answer)


class ClientReply(Protocol):
    """A reply whose end, failures and pings reach the client."""

    def finish(self) -> Awaitable[None]: ...
    async def fail(self, problem: Problem) -> None: ...
    def beat(self, now: float) -> None: ...
    def close(self) -> None: ...


async def deliver(context: RequestContext, reply: ClientReply, answer: Awaitable[None]) -> None:
    """Await `answer`, which writes to `reply`. Every failure reaches the client as an error."""
    try:
        with context.gateway.exchanges.watch(context.receive, reply.beat):
            await answer
            await reply.finish()
    except Problem as problem:
        await reply.fail(problem)
    except ClientGone:
        raise
    except Exception:
        log_exception("Internal error on a request. Please report this bug.", id=f"req_{context.id}")
        await reply.fail(broken())
    finally:
        reply.close()


async def _answer_guarded(
    context: RequestContext, request: Request, reply: StreamReply | WholeReply, guardrails: Guardrails
) -> None:
    """Answer a request within the guardrails. Raises Problem `policy_blocked`."""
    record, blocked = context.record, context.gateway.blocked_answers
    guarded = await guard(guardrails, blocked, request, reply, record, context.caller.key)
    await exchange.answer(context.runtime, request, guarded, record, context.session)


class WholeReply:
    """The reply to a request without `stream`: sends the whole answer at the end."""

    __slots__ = ("_context", "_headers", "_parts")
    sent = False

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._parts: list[Part] = []
        self._headers: tuple[Header, ...] = ()

    def aim(self, backend: str, model: str) -> None:
        self._parts = []
        self._headers = answerer(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        self._parts += parts

    def finish(self) -> Awaitable[None]:
        return self._context.answer(stream.fold(self._parts), headers=self._headers)

    async def fail(self, problem: Problem) -> None:
        raise problem

    def beat(self, now: float) -> None:
        """Nothing is sent before the answer is complete."""

    def close(self) -> None:
        """There is nothing to release."""


class StreamReply:
    """The reply to a request with `stream`.

    The response starts with the first content event, or after `timeouts.commit_after`; until then an error keeps its
    status. From then on a ping follows every `timeouts.ping_after` of silence. `beat` checks both times, so that a chunk
    only sets a flag.
    """

    head: Sequence[Header] = _STREAM
    """Headers of the response."""

    def __init__(self, context: RequestContext, request: Request) -> None:
        self.sent = False
        self._context = context
        self._encode: Callable[[Iterable[Part]], bytes] = sse.encode
        self._request = request
        self._committed = False
        self._opened = False
        """`message_start` was sent."""
        self._closed = False
        self._pending: list[Part] = []
        self._end = b""
        """The last events, which `finish` sends with the end of the response."""
        self._headers: tuple[Header, ...] = ()
        self._active = True
        """Something was sent since the last beat."""
        self._timeouts = context.runtime.config.timeouts
        self._last = self._started_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def aim(self, backend: str, model: str) -> None:
        self._pending = []
        self._headers = answerer(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        is_first = not self.sent
        if is_first:
            self._pending += parts
            if not has_content(parts):
                return
            self.sent = True
            self._context.release_body()
            parts, self._pending = self._pending, []
            if self._opened:
                parts = [part for part in parts if not starts(part)]
            await self._head()
            self._opened = True
        data = self._encode(parts)
        if data and not is_first and type(parts[-1]) is MessageStop:
            # Nothing follows but the end of the response: one system call sends both.
            self._end += data
        elif data:
            self._active = True
            await self._context.send({"type": "http.response.body", "body": data, "more_body": True})

    async def _head(self) -> None:
        if not self._committed:
            self._committed = True
            await self._context.begin(200, [*self.head, *self._headers])

    def beat(self, now: float) -> None:
        """Start the response when the backend is slow, and send a ping when it is silent."""
        if self._active:
            self._active = False
            self._last = now
        if self._closed or (self._task is not None and not self._task.done()):
            return
        if not self._committed:
            if now - self._started_at >= self._timeouts.commit_after:
                self._task = asyncio.get_running_loop().create_task(self._commit())
        elif now - self._last >= self._timeouts.ping_after - _EARLY:
            self._task = asyncio.get_running_loop().create_task(self._send_now([Ping()]))

    async def _commit(self) -> None:
        """Start the response before the backend has sent anything."""
        await self._head()
        if not self._opened:
            self._opened = True
            await self._send_now([opening(self._request), Ping()])

    async def _send_now(self, parts: list[Part]) -> None:
        self._active = True
        await self._context.send({"type": "http.response.body", "body": self._encode(parts), "more_body": True})

    async def finish(self) -> None:
        self.close()
        if self._context.metered:
            self._context.settle()
        await self._context.send({"type": "http.response.body", "body": self._end})

    async def fail(self, problem: Problem) -> None:
        """Send the Problem as the response, or as the last event when the response has started."""
        self.close()
        if not self._committed:
            claudecode.show_message(problem, self._context.header(b"user-agent"))
            raise problem
        self._context.problem = problem
        if self._context.metered:
            self._context.settle()
        await self._context.send({"type": "http.response.body", "body": self._end + self._failure(problem)})

    def _failure(self, problem: Problem) -> bytes:
        """The last event of a stream that failed."""
        return error_event(problem, self._context.id, self._context.runtime)

    def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()


ROUTES = api("POST", "/v1/messages", create, "write")
