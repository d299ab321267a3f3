"""One Messages request or chat completion, from the parsed request to the last event.

`answer` runs it over the targets. Each attempt takes one turn of the model, or several: a forced tool choice, server
tools that Byway runs, verdicts on tool calls.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from byway.backend import Backend
from byway.backends import repairs
from byway.backends.openai.tools import left_out
from byway.backends.protocol import FIRST, Attempt, Target
from byway.largebodies import LARGE, off_loop
from byway.learned import LearnedRepair
from byway.logs import log
from byway.messages.events import MessageDelta, Part, Passthrough, WholeAnswer, has_content
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
#: Statuses and kinds of a refusal that may name a part of the call.
_REFUSING: Final = frozenset((400, 404, 422))
_REPAIRABLE: Final = frozenset(("invalid_request", "model_not_found"))
#: Bytes of a refusal that are read for a repair, and characters that are kept of it.
_REFUSAL_LIMIT: Final = 1 << 16
_QUOTED: Final = 200
#: Repairs that a chat completion cannot have when it passes through: its client would not get the form that it requires.
_NOT_FOR_CHAT: Final = frozenset(("emulate tool_choice", "stream on"))


class _Refused(NamedTuple):
    """A call that was refused, and the answer to it."""

    sent: bytes
    answer: bytes


def answer(
    runtime: Runtime, request: Request, reply: Reply, record: Record, session: str = ""
) -> Coroutine[None, None, None]:
    """Answer `request` through `reply` by the first target that can. Raises the last target's Problem when none can."""
    return targets.run(runtime, request.model, _Exchange(runtime, request, reply, record), record, session)


async def whole(runtime: Runtime, request: Request) -> tuple[bytes, Record]:
    """The answer to a request of Byway's own as one JSON message, and its record. Raises Problem."""
    held, record = HeldReply(), Record()
    await answer(runtime, request, held, record)
    return fold(held.parts), record


class _Exchange:
    """A request as a call for `targets.run`."""

    __slots__ = ("_at", "_attempt", "_began", "_learning", "_record", "_refused", "_reply", "_request", "_runtime")

    def __init__(self, runtime: Runtime, request: Request, reply: Reply, record: Record) -> None:
        self._runtime = runtime
        self._request = request
        self._reply = reply
        self._record = record
        self._began = time.monotonic()
        self._attempt = FIRST
        self._at: tuple[str, str] = ("", "")
        """The backend and model that `_attempt` is for."""
        self._learning: list[repairs.NamedRepair] = []
        """Repairs of this target that are tried for the first time."""
        self._refused: _Refused | None = None

    @property
    def started(self) -> bool:
        return self._reply.sent

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        """Change what the backend has refused: a length of the answer that it names, or a part of the call."""
        total, limit = problem.facts.get("total"), self._request.params.max_tokens
        if isinstance(total, int) and isinstance(limit, int):
            # The server named the tokens of prompt and answer in one number.
            limits = (limit, target.max_output, self._attempt.room)
            problem.facts["tokens"] = total - min(number for number in limits if number is not None)
        attempt = backend.learn_from(problem, target.model, self._attempt) or self._repaired(problem)
        self._refused = None
        if attempt is None:
            return False
        self._attempt = attempt
        return True

    def _repaired(self, problem: Problem) -> Attempt | None:
        """The next attempt by the words of a refusal; None when they name nothing that can be changed."""
        refused = self._refused
        if refused is None or problem.kind not in _REPAIRABLE or problem.facts.get("status") not in _REFUSING:
            return None
        match = repairs.find(repairs.refusal(refused.answer), refused.sent)
        if match is None or match.repair in self._attempt.repairs:
            return None
        if problem.kind == "model_not_found" and match.repair != "messages images":
            return None
        if self._request.chat and match.repair in _NOT_FOR_CHAT:
            return None
        self._learning.append(match)
        return replace(self._attempt, repairs=repairs.combine(self._attempt.repairs, match.repair))

    def _learn(self, backend: Backend, target: Target) -> None:
        """Remember the repairs with which the backend has accepted the call."""
        now, scrub = time.time(), self._runtime.scrubber.scrub
        for repair, words in self._learning:
            if repair not in self._attempt.repairs:
                continue
            words = scrub(words)[:_QUOTED]
            record = LearnedRepair(target.backend, backend.address, target.model, repair, words, now)
            self._runtime.learned.add(record)
            log(
                "Learned from a refusal",
                backend=target.backend,
                model=target.model,
                repair=repairs.describe(repair),
                refusal=words,
            )
        self._learning.clear()

    def _first_attempt(self, backend: Backend, target: Target) -> Attempt:
        learned = self._runtime.learned.get(target.backend, backend.address, target.model, time.time())
        if not learned:
            return FIRST
        known = [record.repair for record in learned if repairs.known(record.repair)]
        if self._request.chat:
            known = [repair for repair in known if repair not in _NOT_FOR_CHAT]
        return Attempt(repairs=tuple(known))

    async def attempt(self, backend: Backend, target: Target) -> bool:
        request, reply, config = self._request, self._reply, self._runtime.config
        params = request.content.params
        at = target.backend, target.model
        if at != self._at:
            learned = self._runtime.learned
            self._at, self._attempt = at, FIRST if learned.empty else self._first_attempt(backend, target)
            self._learning.clear()
        self._record.repairs = self._attempt.repairs
        reply.aim(target.backend, target.model)
        target = await resolve(request, target, self._runtime.pdfs)
        judging: verdicts.JudgedReply | None = None
        if config.safeguards.classifier and params.safeguards and not target.vendor.runs_classifier:
            self._attempt = replace(self._attempt, judged=True)
            reply = judging = verdicts.JudgedReply(reply)
        turn = _ModelTurn(backend, target, self._attempt, self._record, self._began)
        try:
            served = None
            if params.tools or config.web_search.always:
                served = servertools.served(self._runtime, request, target)
            if served:
                answered = await servertools.answer(request, served, reply, turn.run, self._record)
            elif (step := self._forced_step(request, target)) is None:
                answered = True
                await turn.run(request, reply)
            else:
                answered = True
                await _forced(step, turn, reply)
        finally:
            self._refused = turn.refused
        if self._learning:
            self._learn(backend, target)
        if judging is not None:
            results = await verdicts.verdicts(self._runtime, request, judging.calls, partial(whole, self._runtime))
            await judging.finish(results)
        return answered

    def _forced_step(self, request: Request, target: Target) -> forced.Step | None:
        """The step of a forced tool choice or output format that takes turns of its own; None when one turn is enough."""
        if request.content.chat:
            return None
        return forced.step(request, target, emulate="emulate tool_choice" in self._attempt.repairs)


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

    __slots__ = ("_attempt", "_backend", "_began", "_record", "_target", "refused")

    def __init__(self, backend: Backend, target: Target, attempt: Attempt, record: Record, began: float) -> None:
        self._backend = backend
        self._target = target
        self._attempt = attempt
        self._record = record
        self._began = began
        self.refused: _Refused | None = None

    async def run(self, request: Request, reply: Reply) -> None:
        """Send `request` and pass its answer to `reply`; raises Problem."""
        backend, target, record = self._backend, self._target, self._record
        params, weight = request.content.params, request.weight
        if weight <= LARGE:
            call = backend.protocol.request(request, target, self._attempt)
        else:
            call = await off_loop(weight, backend.protocol.request, request, target, self._attempt)
        if self._attempt.repairs:
            call = replace(call, body=await off_loop(len(call.body), repairs.apply, call.body, self._attempt.repairs))
        if request.loose and not backend.protocol.NATIVE and request.unknown:
            log(
                "Blocks of types that Byway does not know go on as text",
                logging.WARNING,
                types=" ".join(request.unknown),
            )
        if params.tools and not backend.protocol.NATIVE and (types := left_out(request)):
            log("Server tools that this backend cannot run are left out", types=" ".join(types), backend=target.backend)
        problem = None
        if target.window is not None:
            problem = await off_loop(weight, backend.too_long, target, call.body)
        if problem is not None:
            raise problem
        guess = backend.counter.estimate(request, target.model, call.body, tools=target.tools is not False)
        attempt = Attempt(guess.tokens, self._attempt.room, self._attempt.judged, self._attempt.repairs)
        reader = backend.protocol.reader(request, target, attempt)
        answer = await backend.send(call)
        size = 0
        held = True
        try:
            if answer.status != 200:
                body = await answer.body(_ERROR_LIMIT)
                if not reader.read_error(body):
                    if answer.status in _REFUSING:
                        self.refused = _Refused(call.body, body[:_REFUSAL_LIMIT])
                    raise backend.protocol.problem(answer.status, answer.headers, body, target)
            del call
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
                    if held and reply.sent:
                        held = False
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
    for part in reversed(parts):
        if type(part) is MessageDelta:
            record.usage, record.stop_reason = part.usage, part.delta.stop_reason
            return
        if (type(part) is Passthrough or type(part) is WholeAnswer) and part.usage is not None:
            record.usage = part.usage
            record.stop_reason = part.stop_reason or record.stop_reason
            return
