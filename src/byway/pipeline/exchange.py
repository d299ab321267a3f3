"""THE LINE: one request from parsed to last event. Targets, retry, failover, what is committed when, pings, and the meter.

What goes to the client leaves through a Reply; a Reply knows no backend and the line knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from byway.backend import Backend, after_reading
from byway.backends.protocol import Target
from byway.logs import log
from byway.messages import pdf
from byway.messages.events import Event, Frame, MessageDelta, MessageStart, Started, Usage
from byway.messages.request import Request
from byway.messages.stream import fold
from byway.pipeline import forced, servertools, verdicts
from byway.problems import Problem
from byway.routing.route import TargetName
from byway.runtime import Runtime
from byway.secrets.names import Scrubber

#: A retry of the only target left waits this long, or as long as the backend asks when that is no longer than `_PATIENCE`.
_PAUSE: Final = 0.25
_PATIENCE: Final = 2.0
_ERROR_LIMIT: Final = 1 << 20
#: Bytes of an answer: 128,000 tokens in events of their own are about 40 MB.
_ANSWER_LIMIT: Final = 128 << 20
_NO_CONTENT: Final = frozenset(("message_start", "ping"))


class Record(Struct, gc=False):
    """What a request came to: for the log, the meter, and later the page."""

    asked: str = ""
    alias: str = ""
    backend: str = ""
    model: str = ""
    tries: int = 0
    first: float | None = None
    """Seconds from the request's last byte to the first content event."""
    usage: Usage | None = None
    estimated: bool = False
    """The backend gave no usage: Byway has counted by itself."""
    stop_reason: str | None = None


class Reply(Protocol):
    """The client's side of an exchange."""

    @property
    def sent(self) -> bool:
        """Content has gone out: from now on a Problem becomes an `error` event."""

    def aim(self, backend: str, model: str) -> None:
        """Who is being asked now; what an earlier target said is forgotten."""

    async def send(self, events: list[Event]) -> None: ...


async def answer(runtime: Runtime, request: Request, reply: Reply, record: Record, session: str = "") -> None:
    """Answer `request` through `reply` by way of the first target that can.

    The next target may be tried until content has gone out. With one target left no cool-down refuses a request, and
    one retry follows a failed connection, 429 or 5xx. A backend that says how long an answer may be is asked again for
    one of that length. Raises the last target's Problem when none could answer.
    """
    began = time.monotonic()
    record.asked = request.model
    route = runtime.remembered_route(request.model) or await runtime.route(request.model, session)
    record.alias = route.alias
    places = list(runtime.targets(route))
    failed: list[Problem] = []
    retried = False
    at = 0
    while True:
        live = runtime.backends[places[at].backend]
        record.tries += 1
        try:
            await _attempt(runtime, live, places[at], request, reply, record, began)
        except Problem as problem:
            if not reply.sent and live.learn_from(problem, places[at].model, request):
                continue
            if problem.row.blame == "backend":
                runtime.cooldown.failed(live.name, time.monotonic())
            if reply.sent or not problem.row.failover:
                raise
            failed.append(problem)
            at += 1
            if at < len(places):
                continue
            pause = _PAUSE if problem.retry_after is None else problem.retry_after
            if retried or not problem.row.again or pause > _PATIENCE:
                raise _with_others(failed, runtime.scrubber) from None
            retried = True
            places.append(places[-1])
            await asyncio.sleep(pause)
        else:
            runtime.cooldown.succeeded(live.name)
            return


def _with_others(failed: list[Problem], scrubber: Scrubber) -> Problem:
    """The last Problem, with a word on those of the targets before it."""
    last = failed[-1]
    others = dict.fromkeys(problem.message for problem in failed[:-1] if problem.message != last.message)
    if others:
        last.message = f"{last.message} (tried before: {' / '.join(scrubber.scrub(text)[:200] for text in others)})"
    return last


async def _attempt(
    runtime: Runtime, live: Backend, place: TargetName, request: Request, reply: Reply, record: Record, began: float
) -> None:
    """Have one target answer; raises Problem."""
    target = live.registry.target(place.model)
    record.backend, record.model = target.backend, target.model
    reply.aim(target.backend, target.model)
    classifier = runtime.config.safeguards.classifier
    request.judged = bool(classifier and request.params.safeguards and not target.vendor.runs_classifier)
    judged = verdicts.Judged(reply) if request.judged else None
    served = (
        servertools.served(runtime, request, target.vendor)
        if request.params.tools or runtime.config.web_search.always
        else None
    )
    step = None if request.chat else forced.step(request, target)
    if served:
        ask = partial(_ask, live, target, record=record, began=began)
        await servertools.look(request, served, judged or reply, ask, record)
    elif step is None:
        await _ask(live, target, request, judged or reply, record, began)
    else:
        await _take(step, live, target, judged or reply, record, began)
    if judged is not None:
        await judged.finish(await verdicts.verdicts(runtime, request, judged.calls, whole))


async def _take(step: forced.Step, live: Backend, target: Target, reply: Reply, record: Record, began: float) -> None:
    """As many turns of the model as a step takes; raises Problem."""
    asked = step.request
    while True:
        held = Held()
        await _ask(live, target, asked, held, record, began)
        found = step.next(held.events)
        if not isinstance(found, Request):
            await reply.send(found)
            return
        asked = found


class Held:
    """The reply to one turn of several: kept until it is known what it was good for."""

    sent = False

    def __init__(self) -> None:
        self.events: list[Event] = []

    def aim(self, backend: str, model: str) -> None:
        self.events = []

    async def send(self, events: list[Event]) -> None:
        self.events += events


async def whole(runtime: Runtime, request: Request) -> tuple[bytes, Record]:
    """The answer to a request that Byway itself asks, as one JSON message, and what it came to; raises Problem."""
    held, record = Held(), Record()
    await answer(runtime, request, held, record)
    return fold(held.events), record


async def _ask(live: Backend, target: Target, request: Request, reply: Reply, record: Record, began: float) -> None:
    """One turn of the model: send the request and pass its answer to `reply`; raises Problem."""
    try:
        call = live.protocol.request(request, target)
    except pdf.Unread as unread:
        call = await after_reading(unread, live.protocol.request, request, target)
    if request.loose and not live.protocol.NATIVE and request.unknown:
        log("Blocks of types that Byway does not know go on as text", logging.WARNING, types=" ".join(request.unknown))
    problem = None if target.window is None else live.too_long(target, call.body)
    if problem is not None:
        raise problem
    guess = live.counter.estimate(request, target, call.body)
    request.estimate = guess.tokens
    reader = live.protocol.reader(request, target)
    answer = await live.send(call)
    del call
    size = 0
    try:
        if answer.status != 200:
            body = await answer.body(_ERROR_LIMIT)
            raise live.protocol.problem(answer.status, answer.headers, body, target)
        while not reader.finished:
            data = await answer.read()
            if not data:
                break
            size += len(data)
            if size > _ANSWER_LIMIT:
                raise Problem(
                    "broken", f"Backend {target.backend!r} sent over {_ANSWER_LIMIT >> 20} MiB and did not end."
                )
            events = reader.feed(data)
            if events:
                if record.first is None and has_content(events):
                    record.first = time.monotonic() - began
                _meter(events, record)
                await reply.send(events)
                if reply.sent and (request.body or request.chat):
                    request.drop()
        events = reader.close()
        record.estimated = reader.estimated
        if events:
            _meter(events, record)
            await reply.send(events)
        used = record.usage
        if used is not None and not record.estimated:
            prompt = used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens
            live.counter.learn(target.model, guess, prompt)
    finally:
        answer.close()


def _meter(events: list[Event], record: Record) -> None:
    """Keep the latest usage and stop reason: they are running totals."""
    for event in reversed(events):
        if type(event) is MessageDelta:
            record.usage, record.stop_reason = event.usage, event.delta.stop_reason
            return
        if type(event) is Frame and event.usage is not None:
            record.usage = event.usage
            record.stop_reason = event.stop_reason or record.stop_reason
            return


def has_content(events: list[Event]) -> bool:
    """Is there more in `events` than a beginning and pings?"""
    return events[-1].name not in _NO_CONTENT or any(event.name not in _NO_CONTENT for event in events)


def opening(request: Request) -> MessageStart:
    """The `message_start` of an answer whose backend has not said a word yet."""
    return MessageStart(Started(request.id, request.model, Usage(input_tokens=request.estimate)))
