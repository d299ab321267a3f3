"""Endpoints of the OpenAI API that pass through to the backend of the requested model: embeddings, images, audio, and so on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from byway.backends.openai.endpoints import DEFAULT, ENDPOINTS, OpenAIEndpoint, PassedRequest, read_json
from byway.files.multipart import form_field, form_parts
from byway.fronts.chat import envelope
from byway.largebodies import off_loop
from byway.messages.events import Part, Passthrough, WholeAnswer
from byway.pipeline import targets
from byway.pipeline.guarding import GuardedReply, check_fields
from byway.pipeline.passthrough import PassthroughCall
from byway.pipeline.reply import Reply
from byway.problems import Problem
from byway.routes.admission import admit
from byway.routes.bodystream import read_upload
from byway.routes.context import Endpoint, Header, RequestContext, Route, answerer, api, client_message, latin
from byway.routes.messages import deliver

#: Headers of the backend that belong to the answer itself.
_PASSED: Final = ("content-type", "content-disposition")
_EVENTS: Final = b"text/event-stream"
#: What a browser must not make of the answer of a backend.
_SAFE: Final[Header] = (b"x-content-type-options", b"nosniff")
#: Characters of a field of a form that are read as the name of the model.
_LONGEST_NAME: Final = 1000


async def _read(context: RequestContext, endpoint: OpenAIEndpoint) -> PassedRequest:
    """Read the request. Raises Problem."""
    kind = context.header(b"content-type")
    if not kind.lower().startswith("multipart/form-data"):
        body = await context.body()
        return await off_loop(len(body), read_json, body, endpoint)
    upload = await read_upload(context)
    return await off_loop(len(upload), _read_form, upload, kind)


def _read_form(body: bytearray, kind: str) -> PassedRequest:
    """Find the model in a form. Raises Problem `invalid_request`."""
    parts = {part.name: part for part in reversed(form_parts(body, kind))}
    flag = parts.get("stream")
    streams = flag is not None and bytes(body[flag.start : flag.end]).strip().lower() in (b"true", b"1")
    if "model" not in parts:
        start = max(0, body.find(b"--"))
        field = form_field("model", "", kind)
        return PassedRequest(DEFAULT, streams, kind, body, (start, start), field[:-2], b"\r\n")
    place = parts["model"]
    if place.filename is not None or place.end - place.start > _LONGEST_NAME:
        raise Problem("invalid_request", "model: Input should be the name of a model")
    model = body[place.start : place.end].decode("utf-8", "replace").strip()
    return PassedRequest(model or DEFAULT, streams, kind, body, (place.start, place.end))


def _fields(request: PassedRequest) -> bytes:
    """The texts of a request, as JSON for guardrails: of a form, its fields without the files."""
    if request.model_at is None:
        return bytes(request.body)
    parts = form_parts(request.body, request.content_type)
    texts = [request.body[part.start : part.end].decode("utf-8", "replace") for part in parts if part.filename is None]
    return msgspec.json.encode(texts)


def _endpoint(endpoint: OpenAIEndpoint) -> Endpoint:
    async def pass_through(context: RequestContext) -> None:
        await _serve(context, endpoint)

    return pass_through


async def _serve(context: RequestContext, endpoint: OpenAIEndpoint) -> None:
    """Pass a request through. Every failure reaches the client as an error in the form of the OpenAI API."""
    request = await _read(context, endpoint)
    admit(context, request)
    reply = _PassthroughReply(context, streams=request.streams)
    await deliver(context, reply, _answer(context, endpoint, request, reply))


async def _answer(
    context: RequestContext, endpoint: OpenAIEndpoint, request: PassedRequest, client: _PassthroughReply
) -> None:
    runtime, record = context.runtime, context.record
    guardrails, reply = runtime.guardrails, client
    guarded: Reply = reply
    if guardrails is not None:
        if guardrails.checks("input"):
            await check_fields(guardrails, _fields(request), request.model, record)
        if endpoint.writes_text and guardrails.checks("output"):
            guarded = GuardedReply(guardrails, reply, record, lambda message: None)
    call = PassthroughCall(
        runtime,
        endpoint,
        request,
        client,
        guarded,
        record,
        user_agent=context.header(b"user-agent"),
        checked=guarded is not reply,
    )
    await targets.run(runtime, request.model, call, record, context.session)


class _PassthroughReply:
    """The reply to a request that passes through: the bytes of the backend.

    A stream that the client has requested starts after `timeouts.commit_after`, and comments keep it alive, as for a Messages
    request. Any other answer starts with its first bytes.
    """

    def __init__(self, context: RequestContext, *, streams: bool) -> None:
        self.sent = False
        self._context = context
        self._streams = streams
        self._headers: tuple[Header, ...] = ()
        self._committed = False
        self._events = False
        """The answer consists of events."""
        self._wraps = False
        """The response started as a stream, and the backend does not stream: its answer becomes one event."""
        self._between = True
        """The last bytes were the end of an event."""
        self._pieces: list[bytes] = []
        self._active = True
        self._closed = False
        self._timeouts = context.runtime.config.timeouts
        self._last = self._started_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def aim(self, backend: str, model: str) -> None:
        self._headers = answerer(backend, model)

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Send the head of the answer. `headers` are those of the backend."""
        events = headers.get("content-type", "").lower().startswith(_EVENTS.decode())
        if self._committed:
            self._wraps = not events
            return
        self._committed, self._events = True, events
        kept = [(name.encode(), latin(headers[name])) for name in _PASSED if name in headers]
        if events:
            kept += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await self._context.begin(200, [*kept, _SAFE, *self._headers])

    async def send(self, parts: Sequence[Part]) -> None:
        data = b"".join(part.data for part in parts if isinstance(part, Passthrough | WholeAnswer))
        if not data:
            return
        if not self.sent:
            self.sent = True
            self._context.release_body()
        if self._wraps:
            self._pieces.append(data)
            return
        self._active = True
        self._between = data.endswith((b"\n\n", b"\r\n\r\n"))
        await self._context.send({"type": "http.response.body", "body": data, "more_body": True})

    def beat(self, now: float) -> None:
        """Start a stream when the backend is slow, and send a comment when it is silent between two events."""
        if self._active:
            self._active, self._last = False, now
        if self._closed or not self._streams or (self._task is not None and not self._task.done()):
            return
        if not self._committed:
            if now - self._started_at >= self._timeouts.commit_after:
                self._task = asyncio.get_running_loop().create_task(self._commit())
        elif self._events and self._between and now - self._last >= self._timeouts.ping_after:
            self._task = asyncio.get_running_loop().create_task(self._ping())

    async def _commit(self) -> None:
        await self.begin({"content-type": _EVENTS.decode()})
        await self._ping()

    async def _ping(self) -> None:
        if self._closed or not self._between:
            return
        self._active = True
        await self._context.send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})

    async def finish(self) -> None:
        self.close()
        if self._context.metered:
            self._context.settle()
        last = b""
        if self._wraps:
            last = b"data: %b\n\ndata: [DONE]\n\n" % b"".join(self._pieces).replace(b"\n", b" ")
        await self._context.send({"type": "http.response.body", "body": last})

    async def fail(self, problem: Problem) -> None:
        """Send the Problem as the response, or as the last event. Any other answer that has begun is cut off."""
        self.close()
        if not self._committed:
            raise problem
        self._context.problem = problem
        if self._context.metered:
            self._context.settle()
        if self._events:
            event = b"data: %b\n\n" % envelope(problem, client_message(problem, self._context.runtime))
            await self._context.send({"type": "http.response.body", "body": event})

    def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()


ROUTES: Final[tuple[Route, ...]] = tuple(
    chain.from_iterable(api("POST", endpoint.path, _endpoint(endpoint), "write", "chat") for endpoint in ENDPOINTS)
)
