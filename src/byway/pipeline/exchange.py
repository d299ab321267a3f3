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

from byway.backend import Backend, protocol_of
from byway.backends import repairs
from byway.backends.errors import overflow_by_size
from byway.backends.itemrepairs import BY_CHAT, BY_RESPONSES, lacks_path, lasts
from byway.backends.openai.tools import left_out, tools_over_limit
from byway.backends.protocol import FIRST, AnswerReader, Attempt, Target
from byway.largebodies import LARGE, off_loop
from byway.learned import LearnedRepair
from byway.logs import log
from byway.messages.events import BlockDelta, MessageDelta, MessageStop, Part, Passthrough, WholeAnswer, has_content
from byway.messages.request import Request, declared_tools
from byway.messages.stream import fold
from byway.messages.tokens import Estimate
from byway.pipeline import forced, ownquota, recorded, servertools, targets, verdicts, warmup
from byway.pipeline.compaction import compacted, compaction_request
from byway.pipeline.reply import HeldReply, Record, Reply
from byway.pipeline.resolve import resolve, unread_pdfs
from byway.problems import Problem
from byway.runtime import Runtime
from byway.upstream.credentials import with_client_credential

#: The least seconds between two warnings of too many tools for one backend.
_TOOLS_WARNING_SECONDS: Final = 60.0
_ERROR_LIMIT: Final = 1 << 20
#: Bytes of a request that are translated in the time in which one byte of an answer is read that looks like the beginning of a
#: call, or is one of many brackets.
_ANSWER_WEIGHT: Final = 16
#: Bytes of an answer that are read on the event loop at once: about 30 ms.
_PIECE: Final = LARGE // _ANSWER_WEIGHT
#: Bytes of an answer: 128,000 tokens, each in an event of its own, are about 40 MB.
_ANSWER_LIMIT: Final = 128 << 20
#: Statuses and kinds of a refusal that may name a part of the call. The last three only refuse images and documents.
_REFUSING: Final = frozenset((400, 404, 405, 422, 415, 500, 501))
_NAMING: Final = frozenset((400, 404, 422))
_NO_PATH: Final = frozenset((404, 405))
_REPAIRABLE: Final = frozenset(("invalid_request", "model_not_found"))
#: Bytes of a refusal that are read for a repair, and characters that are kept of it.
_REFUSAL_LIMIT: Final = 1 << 16
_QUOTED: Final = 200
#: Repairs that a chat completion cannot have when it passes through: its client would not get the form that it requires.
_NOT_FOR_CHAT: Final = ("emulate ", "stream on")


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


def _warn_of_tools(backend: Backend, request: Request, target: Target) -> None:
    """Log that the backend gets only some of the request's tools, at most once a minute for each backend."""
    now = time.monotonic()
    if now >= backend.tools_warning_due and (number := tools_over_limit(request, target.vendor)):
        backend.tools_warning_due = now + _TOOLS_WARNING_SECONDS
        log(
            "The request has more tools than the backend accepts: the last ones are left out",
            logging.WARNING,
            tools=number,
            most=target.vendor.max_tools,
            backend=target.backend,
        )


class _Exchange:
    """A request as a call for `targets.run`."""

    __slots__ = (
        "_at", "_attempt", "_began", "_learning", "_passes", "_record", "_refused", "_reply", "_request", "_runtime", "_tried",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, request: Request, reply: Reply, record: Record) -> None:
        self._runtime = runtime
        self._request = request
        self._reply = reply
        self._record = record
        record.began = self._began = time.monotonic()
        self._attempt = FIRST
        self._at: tuple[str, str] = ("", "")
        """The backend and model that `_attempt` is for."""
        self._learning: list[repairs.NamedRepair] = []
        """Repairs of this target that are tried for the first time."""
        self._refused: _Refused | None = None
        self._tried: tuple[str, str] = ("", "")
        """The backend and model of the last attempt."""
        self._passes = bool(request.content.chat)
        """The client's own bytes go to the backend, in an API other than Messages."""

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
        if backend.forwards_credential:
            # Its calls are the caller's own, unchanged.
            return False
        attempt = backend.learn_from(problem, target.model, self._attempt) or self._repaired(backend, problem)
        if attempt is None:
            return False
        self._at, self._attempt = (target.backend, target.model), attempt
        return True

    def _repaired(self, backend: Backend, problem: Problem) -> Attempt | None:
        """The next attempt by the words of a refusal; None when they name nothing that can be changed."""
        refused = self._refused
        if refused is None or problem.kind not in _REPAIRABLE or problem.facts.get("status") not in _REFUSING:
            return None
        words, cause = repairs.refusal(refused.answer), str(problem.facts.get("cause", ""))
        match: repairs.NamedRepair | None
        if problem.facts.get("status") in _NO_PATH and lacks_path(words.text, refused.sent):
            match = repairs.NamedRepair(BY_CHAT, words.text[:_QUOTED])
        elif cause.startswith("modality:"):
            match = repairs.find_media(cause, words, refused.sent)
        elif problem.facts.get("status") in _NAMING:
            match = repairs.find(words, refused.sent)
        else:
            return None
        if match is None or match.repair in self._attempt.repairs:
            return None
        if match.repair in (BY_CHAT, BY_RESPONSES):
            if not self._may_change_protocol(backend, match.repair):
                match = repairs.find(words, refused.sent, other_api=False)
                if match is None or match.repair in self._attempt.repairs:
                    return None
        elif problem.kind == "model_not_found" and match.repair != "messages images":
            return None
        if self._passes and match.repair.startswith(_NOT_FOR_CHAT):
            return None
        self._learning.append(match)
        return replace(self._attempt, repairs=repairs.combine(self._attempt.repairs, match.repair))

    def _may_change_protocol(self, backend: Backend, repair: str) -> bool:
        """Return whether a request may go by another API: where the config leaves it open, and once in each direction."""
        if backend.settings.protocol != "auto" or BY_CHAT in self._attempt.repairs or backend.protocol.NATIVE:
            return False
        return repair == BY_CHAT or self._translated().untranslatable is None

    def _learn(self, backend: Backend, target: Target) -> None:
        """Remember the repairs with which the backend has accepted the call."""
        now, scrub = time.time(), self._runtime.scrubber.scrub
        for repair, words in self._learning:
            if repair not in self._attempt.repairs or not lasts(repair):
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

    def _choose_attempt(self, backend: Backend, target: Target) -> None:
        """Keep the attempt that a repair has made for this target; begin anew at another target."""
        at = target.backend, target.model
        if at != self._at:
            self._at, self._attempt = at, self._first_attempt(backend, target)
            self._learning.clear()
        self._record.repairs = self._attempt.repairs

    def _first_attempt(self, backend: Backend, target: Target) -> Attempt:
        learned = self._runtime.learned.get(target.backend, backend.address, target.model, time.time())
        if not learned:
            return FIRST
        known = [record.repair for record in learned if repairs.known(record.repair)]
        if self._request.chat:
            known = [repair for repair in known if not repair.startswith(_NOT_FOR_CHAT)]
            if BY_RESPONSES in known and self._translated().untranslatable is not None:
                known.remove(BY_RESPONSES)
        return Attempt(repairs=tuple(known))

    def _translated(self) -> Request:
        """The Messages request of a chat completion: a backend needs it that has another API."""
        request = self._request
        if (translation := request.content.translation) is not None:
            self._request = translation()
            request.content.release()
        return self._request

    async def attempt(self, backend: Backend, target: Target) -> bool:
        request, reply, runtime, record = self._request, self._reply, self._runtime, self._record
        self._refused = None
        if record.usage is not None or record.turns:
            record.end_failed_attempt(*self._tried)
        self._tried = target.backend, target.model
        admission = record.admission
        if admission is not None and admission.plan.target_plan is not None:
            admission.enter(target.backend, target.model, time.monotonic(), time.time())
        if self._attempt is not FIRST or not runtime.learned.is_empty():
            if request.size > LARGE and request.content.translation is not None:
                await off_loop(request.size, self._translated)
            self._choose_attempt(backend, target)
            # The choice may have translated the request, which frees what it was before.
            request = self._request
        reply.aim(target.backend, target.model)
        if runtime.prompts is not None:
            request = await off_loop(request.weight, runtime.prompts.apply, request, target.backend, target.model)
        content = request.content
        if backend.vendor.responses_models and (content.chat or content.responses):
            # The client's API is used where the server has both: its bytes pass through unchanged.
            target = replace(target, vendor=backend.vendor if content.chat else backend.by_responses)
        if self._attempt.repairs:
            target = _without_media(backend.repaired(target, self._attempt.repairs), self._attempt.repairs)
        if content.translation is not None and not protocol_of(target).passes(request, target):
            request = await off_loop(request.size, self._translated)
            content = request.content
        if content.responses:
            self._passes = protocol_of(target).passes(request, target)
        if content.documents and (files := await off_loop(request.weight, unread_pdfs, request, target)):
            target = await resolve(files, target, runtime.pdfs)
        params = content.params
        if params.compaction and not backend.protocol.NATIVE and (summary := compaction_request(request)):
            await self._compact(backend, target, summary)
            return True
        judging: verdicts.JudgedReply | None = None
        if params.safeguards and not target.vendor.runs_classifier:
            reply = judging = verdicts.JudgedReply(reply)
        if params.max_tokens == 0 and not backend.protocol.NATIVE and not content.chat:
            if judging is not None and (calls := warmup.last_calls(request)):
                judging.calls += calls
                await judging.send(warmup.empty(request))
                await self._judge(judging)
                return False
            reply = warmup.EmptyReply(reply)
        answered, served = True, None
        search = runtime.config.web_search
        if (
            (params.tools or search.always)
            and not (self._passes and target.vendor.responses_extras)
            and not target.vendor.runs_web_tools
            and (search.inject != "off" or not declared_tools(request).plain)
        ):
            served = servertools.served(runtime, request, target)
        choice = params.tool_choice
        # The prompt is freed when its answer begins: this frame, which lives as long as the answer, must not hold it.
        del params, content
        if served:
            take_turn = partial(self._take_turn, backend, target)
            answered = await servertools.answer(request, served, reply, take_turn, record)
        elif choice is not None and (step := self._forced_step(request, target)) is not None:
            await _forced(step, partial(self._take_turn, backend, target), reply)
        else:
            await self._take_turn(backend, target, request, reply)
        if judging is not None:
            await self._judge(judging)
        return answered

    async def _compact(self, backend: Backend, target: Target, summary: Request) -> None:
        """Let the model write a summary and answer with it."""
        held = HeldReply()
        await self._take_turn(backend, target, summary, held)
        await self._reply.send(compacted(self._request, held.parts))

    async def _judge(self, reply: verdicts.JudgedReply) -> None:
        """Send the end of an answer with the verdicts on its calls."""
        await reply.finish(await verdicts.verdicts(self._runtime, self._request, reply.calls, self._classify))

    async def _classify(self, question: Request) -> tuple[bytes, Record]:
        """The classifier's answer, whose usage counts with this request."""
        message, record = await whole(self._runtime, question)
        self._record.others += (record,)
        return message, record

    def _forced_step(self, request: Request, target: Target) -> forced.Step | None:
        """The step of a forced tool choice or output format that takes turns of its own; None when one turn is enough."""
        if self._passes:
            return None
        return forced.step(request, target, emulate="emulate tool_choice" in self._attempt.repairs)

    async def _take_turn(self, backend: Backend, target: Target, request: Request, reply: Reply) -> None:
        """Take one turn of the model at `target`: send `request` and pass its answer to `reply`; raises Problem."""
        record, attempt = self._record, self._attempt
        if record.usage is not None:
            record.end_turn()
        protocol, weight = protocol_of(target), request.weight
        if weight <= LARGE:
            call = protocol.request(request, target, attempt)
        else:
            call = await off_loop(weight, protocol.request, request, target, attempt)
        if attempt.repairs:
            call = replace(call, body=await off_loop(len(call.body), repairs.apply, call.body, attempt.repairs))
        if request.loose and not protocol.NATIVE:
            unknown = await off_loop(weight, lambda: request.unknown)
            if unknown:
                names = " ".join(unknown)
                log("Blocks of types that Byway does not know go on as text", logging.WARNING, types=names)
        if request.content.params.tools and not protocol.NATIVE:
            tools = request.content.tool_set
            if tools is not None and not tools.plain and request.extra is None and (types := left_out(request)):
                log(
                    "Server tools that this backend cannot run are left out",
                    types=" ".join(types),
                    backend=target.backend,
                )
            most = target.vendor.max_tools
            if most is not None and len(request.content.params.tools) > most:
                _warn_of_tools(backend, request, target)
        if target.window is not None:
            problem = await off_loop(weight, backend.too_long, target, call.body)
            if problem is not None:
                raise problem
        if weight <= LARGE:
            guess, reader = _expect(backend, target, request, call.body, attempt)
        else:
            guess, reader = await off_loop(weight, _expect, backend, target, request, call.body, attempt)
        if backend.forwards_credential:
            call = with_client_credential(call, request.headers, target.backend)
        recording = record.recording
        answer = await (
            backend.send(call) if recording is None else recorded.send(recording, backend, target, call, record.repairs)
        )
        if record.sent is None:
            record.sent, record.connecting = answer.sent_at, answer.connecting
        if backend.keys is not None:
            record.key = answer.key
        elif backend.forwards_credential:
            record.quota = ownquota.header_lines(answer.headers)
        size = passed = 0
        held = True
        try:
            if answer.status != 200:
                body = await answer.body(_ERROR_LIMIT)
                if not reader.read_error(body):
                    if answer.status in _REFUSING:
                        if request.content.translation is not None:
                            # A repair may need it.
                            await off_loop(request.size, self._translated)
                        self._refused = _Refused(call.body, body[:_REFUSAL_LIMIT])
                    problem = protocol.problem(answer.status, answer.headers, body, target)
                    if backend.forwards_credential:
                        raise ownquota.problem_of_caller(problem, answer.headers)
                    raise problem if target.window is None else overflow_by_size(problem, guess.tokens, target.window)
            del call
            while not (reader.finished or answer.is_read):
                data = await answer.read()
                if not data:
                    break
                size += len(data)
                if size > _ANSWER_LIMIT:
                    raise Problem(
                        "broken",
                        f"The answer of backend {target.backend!r} is over {_ANSWER_LIMIT >> 20} MiB and did not end.",
                    )
                if size - passed < _PIECE:
                    parts = reader.feed(data)
                else:
                    parts = await off_loop(_ANSWER_WEIGHT * (size - passed), reader.feed, data)
                if parts:
                    passed = size
                    if record.first is None and has_content(parts):
                        record.first = time.monotonic() - self._began
                    if type(parts[-1]) is not BlockDelta:
                        _note(parts, record)
                    await reply.send(parts)
                    if held and reply.sent:
                        held = False
                        request.content.release()
            if size - passed < _PIECE:
                parts = reader.close()
            else:
                parts = await off_loop(_ANSWER_WEIGHT * (size - passed), reader.close)
            answer.finish()
            record.estimated = reader.estimated
            record.reasoning += reader.reasoning
            if parts:
                _note(parts, record)
                await reply.send(parts)
            if record.estimated and protocol.NATIVE and record.usage is not None:
                record.usage = reader.spent(size)
            used = record.usage
            if used is not None and not record.estimated:
                prompt = used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens
                backend.counter.learn(target.model, guess, prompt)
        except BaseException:
            if size and record.first is not None:
                # The client has disconnected, or the answer was cut: the backend bills what it has sent.
                record.usage, record.estimated = reader.spent(size), True
            raise
        finally:
            answer.close()
        if self._learning:
            self._learn(backend, target)


def _expect(
    backend: Backend, target: Target, request: Request, body: bytes, attempt: Attempt
) -> tuple[Estimate, AnswerReader]:
    """The estimate for the prompt of a call with `body`, and what reads its answer."""
    guess = backend.counter.estimate(request, target.model, body, tools=target.tools is not False)
    return guess, protocol_of(target).reader(request, target, Attempt(guess.tokens, attempt.room, attempt.repairs))


def _without_media(target: Target, learned: tuple[str, ...]) -> Target:
    """The target without the kinds of content that it has refused: they are translated to texts, where there is any."""
    if "messages images" in learned:
        target = replace(target, vision=False)
    if "messages documents" in learned and target.vendor.files:
        target = replace(target, vendor=replace(target.vendor, files=False))
    return target


async def _forced(step: forced.Step, take_turn: servertools.TakeTurn, reply: Reply) -> None:
    """Take as many turns of the model as `step` needs; raises Problem."""
    request = step.request
    while True:
        held = HeldReply()
        await take_turn(request, held)
        following = step.next(held.parts)
        if not isinstance(following, Request):
            await reply.send(following)
            return
        request = following


def _note(parts: Sequence[Part], record: Record) -> None:
    """Keep the latest usage and stop reason: both are running totals."""
    for part in reversed(parts):
        if type(part) is MessageStop:
            continue
        if type(part) is MessageDelta:
            record.usage, record.stop_reason = part.usage, part.delta.stop_reason
            return
        if (type(part) is Passthrough or type(part) is WholeAnswer) and part.usage is not None:
            record.usage = part.usage
            record.stop_reason = part.stop_reason or record.stop_reason
            return
