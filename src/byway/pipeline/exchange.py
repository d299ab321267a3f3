"""One Messages request or chat completion, from the parsed request to the last event.

`answer` runs it over the targets. Each attempt takes one turn of the model, or several: a forced tool choice, server
tools that Byway runs, verdicts on tool calls.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from byway.backend import Backend
from byway.backends.protocol import FIRST, Attempt, Target
from byway.largebodies import off_loop
from byway.logs import log
from byway.messages.events import Part, has_content, reported
from byway.messages.request import Request
from byway.messages.stream import fold
from byway.pipeline import forced, servertools, targets, verdicts
from byway.pipeline.reply import HeldReply, Record, Reply
from byway.pipeline.resolve import resolve
from byway.problems import Problem
from byway.runtime import Runtime

_ERROR_LIMIT: Final = 1 << 20
#: Bytes of an answer: 128,000 tokens, each in an event of its own, are about 40 MB.
_ANSWER_LIMIT: Final = 128 << 20


async def answer(runtime: Runtime, request: Request, reply: Reply, record: Record, session: str = "") -> None:
    """Answer `request` through `reply` by the first target that can. Raises the last target's Problem when none can."""
    await targets.run(runtime, request.model, _Exchange(runtime, request, reply, record), record, session)


async def whole(runtime: Runtime, request: Request) -> tuple[bytes, Record]:
    """The answer to a request of Byway's own as one JSON message, and its record. Raises Problem."""
    held, record = HeldReply(), Record()
    await answer(runtime, request, held, record)
    return fold(held.parts), record


class _Exchange:
    """A request as a call for `targets.run`."""

    __slots__ = ("_at", "_attempt", "_began", "_record", "_reply", "_request", "_runtime")

    def __init__(self, runtime: Runtime, request: Request, reply: Reply, record: Record) -> None:
        self._runtime = runtime
        self._request = request
        self._reply = reply
        self._record = record
        self._began = time.monotonic()
        self._attempt = FIRST
        self._at: tuple[str, str] = ("", "")
        """The backend and model that `_attempt` is for."""

    @property
    def started(self) -> bool:
        return self._reply.sent

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        """Shorten the answer to a length that the backend has named."""
        total, limit = problem.facts.get("total"), self._request.params.max_tokens
        if isinstance(total, int) and isinstance(limit, int):
            # The server named the tokens of prompt and answer in one number.
            limits = (limit, target.max_output, self._attempt.room)
            problem.facts["tokens"] = total - min(number for number in limits if number is not None)
        attempt = backend.learn_from(problem, target.model, self._attempt)
        if attempt is None:
            return False
        self._attempt = attempt
        return True

    async def attempt(self, backend: Backend, target: Target) -> bool:
        request, reply, config = self._request, self._reply, self._runtime.config
        at = target.backend, target.model
        if at != self._at:
            self._at, self._attempt = at, FIRST
        reply.aim(target.backend, target.model)
        target = await resolve(request, target, self._runtime.pdfs)
        judging: verdicts.JudgedReply | None = None
        if config.safeguards.classifier and request.params.safeguards and not target.vendor.runs_classifier:
            self._attempt = replace(self._attempt, judged=True)
            reply = judging = verdicts.JudgedReply(reply)
        turn = _ModelTurn(backend, target, self._attempt, self._record, self._began)
        answered = True
        served = (
            servertools.served(self._runtime, request, target)
            if request.params.tools or config.web_search.always
            else None
        )
        step = None if request.chat else forced.step(request, target)
        if served:
            answered = await servertools.answer(request, served, reply, turn.run, self._record)
        elif step is None:
            await turn.run(request, reply)
        else:
            await _forced(step, turn, reply)
        if judging is not None:
            results = await verdicts.verdicts(self._runtime, request, judging.calls, partial(whole, self._runtime))
            await judging.finish(results)
        return answered


async def _forced(step: forced.Step, turn: _ModelTurn, reply: Reply) -> None:
    """Take as many turns of the model as `step` needs; raises Problem."""
    request = step.request
    while True:
        held = HeldReply()
        await turn.run(request, held)
        following = step.next(held.parts)
        if not isinstance(following, Request):
            await reply.send(following)
            return
        request = following


class _ModelTurn:
    """Turns of the model at one target: each sends a request and passes the answer on."""

    __slots__ = ("_attempt", "_backend", "_began", "_record", "_target")

    def __init__(self, backend: Backend, target: Target, attempt: Attempt, record: Record, began: float) -> None:
        self._backend = backend
        self._target = target
        self._attempt = attempt
        self._record = record
        self._began = began

    async def run(self, request: Request, reply: Reply) -> None:
        """Send `request` and pass its answer to `reply`; raises Problem."""
        backend, target, record = self._backend, self._target, self._record
        call = await off_loop(request.weight, backend.protocol.request, request, target, self._attempt)
        if request.loose and not backend.protocol.NATIVE and request.unknown:
            log(
                "Blocks of types that Byway does not know go on as text",
                logging.WARNING,
                types=" ".join(request.unknown),
            )
        problem = None
        if target.window is not None:
            problem = await off_loop(request.weight, backend.too_long, target, call.body)
        if problem is not None:
            raise problem
        guess = backend.counter.estimate(request, target.model, call.body, tools=target.tools is not False)
        attempt = Attempt(guess.tokens, self._attempt.room, self._attempt.judged)
        reader = backend.protocol.reader(request, target, attempt)
        answer = await backend.send(call)
        del call
        size = 0
        try:
            if answer.status != 200:
                body = await answer.body(_ERROR_LIMIT)
                if not reader.read_error(body):
                    raise backend.protocol.problem(answer.status, answer.headers, body, target)
            while not reader.finished:
                data = await answer.read()
                if not data:
                    break
                size += len(data)
                if size > _ANSWER_LIMIT:
                    raise Problem(
                        "broken",
                        f"The answer of backend {target.backend!r} is over {_ANSWER_LIMIT >> 20} MiB and did not end.",
                    )
                parts = reader.feed(data)
                if parts:
                    if record.first is None and has_content(parts):
                        record.first = time.monotonic() - self._began
                    _note(parts, record)
                    await reply.send(parts)
                    if reply.sent and (request.body or request.chat):
                        request.content.release()
            parts = reader.close()
            record.estimated = reader.estimated
            if parts:
                _note(parts, record)
                await reply.send(parts)
            used = record.usage
            if used is not None and not record.estimated:
                prompt = used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens
                backend.counter.learn(target.model, guess, prompt)
        finally:
            answer.close()


def _note(parts: Sequence[Part], record: Record) -> None:
    """Keep the latest usage and stop reason: both are running totals."""
    latest = reported(parts)
    if latest is not None:
        record.usage = latest[0]
        record.stop_reason = latest[1] or record.stop_reason
