"""Readiness: tests a model by real requests through Byway's own request line, and keeps the last result of each model.

The probes are those of `admin.probes`. `server.probing` sends their requests: this module knows no HTTP.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from byway import __version__
from byway.admin import probes
from byway.admin.probes import PROBES, Facts, Probe, ProbeAnswer, ProbeResult
from byway.admin.suitability import Conclusion, Measured, conclude
from byway.backend import Backend
from byway.backends.repairs import describe
from byway.bounded import BoundedDict
from byway.learned import LIFETIME
from byway.logs import log, log_exception
from byway.problems import Problem
from byway.routing.route import TargetName
from byway.runtime import Runtime
from byway.store import StoredReadiness, StoreError, StoreProtocol
from byway.store.bounds import MAX_READINESS

#: Sends a request of a probe: the body, whether it is a token count, and the seconds that the answer may take.
Ask = Callable[[bytes, bool, float], Awaitable[ProbeAnswer]]

#: Models that are tested at the same time.
_MOST_RUNS: Final = 2
#: Seconds for the answer to one probe, for a model to load, and the longest pause before a request is sent once more.
_ANSWER_SECONDS: Final = 300.0
_LOADING_SECONDS: Final = 180.0
_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 20.0
#: Tokens that a test uses, about: the long prompt is sent twice.
INPUT_TOKENS: Final = 2 * probes.LONG_PROMPT + 3_000
OUTPUT_TOKENS: Final = 2_000
_TEMPORARY: Final = frozenset(("rate_limit", "busy", "overloaded"))
_encode: Final = msgspec.json.Encoder().encode
_FACT_NAMES: Final[Mapping[str, str]] = {
    "address": "the backend's address",
    "path": "the model file",
    "type": "the backend's type",
    "protocol": "the backend's protocol",
    "window": "the window",
    "tools": "the model's support of tools",
    "vision": "the model's support of images",
    "byway": "Byway's version",
}


class Readiness(Struct, frozen=True):
    """What a test of a model has shown."""

    backend: str
    model: str
    state: Literal["not tested", "running", "done"]
    current: str
    """The probe that runs now; empty when the test has ended."""
    at: datetime.datetime | None
    """When the test ended."""
    results: tuple[ProbeResult, ...]
    passed: int
    total: int
    verdict: str = ""
    """`good for agent work`, `usable with limits`, `chat only` or `does not work`; empty while the test runs."""
    reasons: tuple[str, ...] = ()
    action: str = ""
    """What to do next."""
    learned: tuple[str, ...] = ()
    """What Byway changes in calls to this model, because the backend has refused them otherwise."""
    window: int | None = None
    self_hosted: bool = True
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """In dollars; null when no price is known."""
    prompt_speed: float | None = None
    """Tokens of the long prompt per second."""
    answer_speed: float | None = None
    """Tokens of answers per second."""
    old: str = ""
    """Why the result may not be true any more; empty when nothing has changed."""

    @property
    def name(self) -> str:
        return f"{self.backend}/{self.model}"


class _Kept(Struct):
    """A result with the facts of its time."""

    readiness: Readiness
    facts: dict[str, Any]


class _Run:
    """A test in progress."""

    def __init__(self, target: TargetName) -> None:
        self.target = target
        self.current = PROBES[0].title
        self.facts = Facts()
        self.answers: list[ProbeAnswer] = []
        self.task: asyncio.Task[None] | None = None

    def shown(self, backend: Backend) -> Readiness:
        results = tuple(self.facts.results.values())
        return Readiness(
            self.target.backend,
            self.target.model,
            "running",
            self.current,
            None,
            results,
            _passed(results),
            len(PROBES),
            window=self.facts.window,
            self_hosted=backend.self_hosted,
        )


class ReadinessTests:
    """The tests of this Byway: those that run, and the last result of each model."""

    def __init__(self, store: StoreProtocol, runtime: Callable[[], Runtime], ask: Ask) -> None:
        """`runtime` returns the present one. Raises StoreError."""
        self._store = store
        self._runtime = runtime
        self._ask = ask
        self._runs: dict[tuple[str, str], _Run] = {}
        self._kept: BoundedDict[tuple[str, str], _Kept] = BoundedDict(MAX_READINESS)
        for record in reversed(store.readiness()):
            try:
                kept = _Kept(
                    msgspec.json.decode(record.result, type=Readiness), msgspec.json.decode(record.facts, type=dict)
                )
            except msgspec.MsgspecError:
                # Of another version of Byway.
                continue
            self._kept[(record.backend, record.model)] = kept

    async def start(self, name: str) -> Readiness:
        """Start to test the first target of a model name. A test of it that runs already continues. Raises Problem."""
        target = await self.target(name)
        key = (target.backend, target.model)
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= _MOST_RUNS:
                names = " and ".join(f"{backend}/{model}" for backend, model in self._runs)
                raise Problem("busy", f"{names} are being tested. Wait until a test has ended, then start this one.")
            run = self._runs[key] = _Run(target)
            run.task = asyncio.get_running_loop().create_task(self._test(run))
            # Also for a task that is cancelled before it has started.
            run.task.add_done_callback(lambda _: self._runs.pop(key))
        return run.shown(self._runtime().backends[target.backend])

    async def target(self, name: str) -> TargetName:
        """The first target of a model name. Raises Problem `model_not_found`."""
        route = await self._runtime().route(name, probe=True)
        return route.targets[0]

    def find(self, backend: str, model: str) -> Readiness | None:
        """The test that runs, else the last result; None when the model was never tested."""
        live = self._runtime().backends.get(backend)
        run = self._runs.get((backend, model))
        if run is not None and live is not None:
            return run.shown(live)
        kept = self._kept.get((backend, model))
        return None if kept is None else _with_age(kept, live)

    def state(self, target: TargetName) -> Readiness:
        """The test that runs, else the last result; without one the state `not tested`."""
        known = self.find(target.backend, target.model)
        if known is not None:
            return known
        live = self._runtime().backends[target.backend]
        window = live.registry.get(target.model).window
        return Readiness(
            target.backend,
            target.model,
            "not tested",
            "",
            None,
            (),
            0,
            len(PROBES),
            window=window,
            self_hosted=live.self_hosted,
        )

    def results(self) -> list[Readiness]:
        """The tests that run, then the last result of each model of a configured backend, the newest first."""
        backends = self._runtime().backends
        running = [
            run.shown(backends[run.target.backend]) for run in self._runs.values() if run.target.backend in backends
        ]
        done = [
            _with_age(kept, backends[key[0]])
            for key, kept in reversed(self._kept.items())
            if key not in self._runs and key[0] in backends
        ]
        return [*running, *done]

    async def forget(self, backend: str, model: str) -> bool:
        """Remove the result of a model. Raises Problem."""
        if self._kept.pop((backend, model), None) is None:
            return False
        try:
            await asyncio.to_thread(self._store.remove_readiness, backend, model)
        except StoreError as error:
            raise Problem("internal", str(error)) from None
        return True

    async def close(self) -> None:
        """Cancel the tests that run."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------- a test

    async def _test(self, run: _Run) -> None:
        try:
            for probe in PROBES:
                run.current = probe.title
                run.facts.results[probe.name] = await self._probe(run, probe)
            await self._keep(run)
        except Exception:
            name = f"{run.target.backend}/{run.target.model}"
            log_exception("The test of a model failed unexpectedly. Please report this bug.", model=name)

    async def _probe(self, run: _Run, probe: Probe) -> ProbeResult:
        facts = run.facts
        plain = facts.results.get("plain")
        if plain is not None and plain.state == "failed" and plain.cause != "wrong answer":
            return probes.result(probe, probes.Judgement("not run", "not run", "there is no plain answer"))
        self._look(run)
        if skipped := probe.skip(facts):
            return probes.result(probe, skipped)
        answer = ProbeAnswer(0)
        for body in probe.bodies(facts):
            stream = {} if probe.counts else {"stream": True}
            name = f"{run.target.backend}/{run.target.model}"
            answer = await self._answer(run, _encode({"model": name, **body, **stream}), probe.counts)
            if not probes.is_refused(answer):
                break
        facts.answers[probe.name] = answer
        return probes.result(probe, probes.judge(probe, answer, facts), answer)

    def _look(self, run: _Run) -> None:
        """Take the facts of the model as they are now: a refusal may have named its window."""
        live = self._runtime().backends.get(run.target.backend)
        if live is not None:
            known = live.registry.get(run.target.model)
            run.facts.window, run.facts.vision, run.facts.tools = known.window, known.vision, known.tools

    async def _answer(self, run: _Run, body: bytes, counts: bool) -> ProbeAnswer:
        """The answer to a request, which is sent again while the model loads, and once after a temporary refusal."""
        started = time.monotonic()
        repeated = False
        while True:
            answer = await self._ask(body, counts, _ANSWER_SECONDS)
            run.answers.append(answer)
            if answer.problem == "loading" and time.monotonic() - started < _LOADING_SECONDS:
                await asyncio.sleep(_PAUSE)
            elif answer.problem in _TEMPORARY and not repeated:
                repeated = True
                await asyncio.sleep(min(_PAUSE if answer.retry_after is None else answer.retry_after, _LONGEST_PAUSE))
            else:
                return answer

    async def _keep(self, run: _Run) -> None:
        """Store the result of a test that has ended."""
        runtime = self._runtime()
        live = runtime.backends.get(run.target.backend)
        if live is None:
            # The backend was removed meanwhile.
            return
        key = (run.target.backend, run.target.model)
        readiness = _readiness(run, live, runtime)
        kept = _Kept(readiness, facts_of(live, run.target.model))
        self._kept.pop(key, None)
        self._kept[key] = kept
        now = time.time() if readiness.at is None else readiness.at.timestamp()
        record = StoredReadiness(*key, now, _encode(kept.facts).decode(), _encode(readiness))
        log("Tested a model", model=readiness.name, verdict=readiness.verdict, passed=readiness.passed)
        try:
            await asyncio.to_thread(self._store.save_readiness, record)
        except StoreError as error:
            log("The result of a test was not stored", logging.WARNING, problem=str(error))


def facts_of(backend: Backend, model: str) -> dict[str, Any]:
    """What a result depends on. Unknown facts are None."""
    known = backend.registry.get(model)
    return {
        "address": backend.address,
        "path": backend.settings.path,
        "type": backend.settings.type,
        "protocol": backend.settings.protocol,
        "window": known.window,
        "tools": known.tools,
        "vision": known.vision,
        "byway": __version__,
    }


def _with_age(kept: _Kept, backend: Backend | None) -> Readiness:
    """A result that says why it may not be true any more."""
    readiness = kept.readiness
    if backend is None:
        return msgspec.structs.replace(readiness, old="the backend was removed")
    now = facts_of(backend, readiness.model)
    changed = [
        words
        for name, words in _FACT_NAMES.items()
        if kept.facts.get(name) is not None and now[name] is not None and kept.facts[name] != now[name]
    ]
    if changed:
        return msgspec.structs.replace(readiness, old=f"{' and '.join(changed)} changed")
    if readiness.at is not None and time.time() - readiness.at.timestamp() > LIFETIME:
        return msgspec.structs.replace(readiness, old="older than 30 days")
    return readiness


def _passed(results: tuple[ProbeResult, ...]) -> int:
    return sum(result.state == "passed" for result in results)


def _readiness(run: _Run, backend: Backend, runtime: Runtime) -> Readiness:
    """The result of a test that has ended."""
    facts = run.facts
    results = tuple(facts.results.values())
    long = facts.answers.get("long_prompt")
    prompt_seconds = None
    prompt_speed = None
    if long is not None and not long.message and long.first_ms:
        prompt_seconds = long.first_ms / 1000
        prompt_speed = long.input_tokens / prompt_seconds if long.input_tokens else None
        if long.input_tokens:
            # A small window has a shorter prompt: what matters is how long Claude Code's own takes.
            prompt_seconds *= probes.LONG_PROMPT / long.input_tokens
    answered = [
        answer
        for answer in run.answers
        if answer.first_ms is not None and answer.output_tokens > 1 and answer.ms > answer.first_ms
    ]
    seconds = sum(answer.ms - (answer.first_ms or 0) for answer in answered) / 1000
    answer_speed = sum(answer.output_tokens for answer in answered) / seconds if seconds else None
    known = backend.registry.get(run.target.model)
    measured = Measured(known.window, backend.self_hosted, prompt_seconds, answer_speed)
    conclusion: Conclusion = conclude(facts.results, measured)
    repairs = {repair: None for answer in run.answers for repair in answer.repairs}
    costs = [answer.cost for answer in run.answers]
    cost = None if any(cost is None for cost in costs) else sum(cost or 0 for cost in costs) / 1e9
    return Readiness(
        run.target.backend,
        run.target.model,
        "done",
        "",
        datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC),
        results,
        _passed(results),
        len(PROBES),
        conclusion.verdict,
        tuple(runtime.scrubber.scrub(reason) for reason in conclusion.reasons),
        conclusion.action,
        tuple(describe(repair) for repair in repairs),
        known.window,
        backend.self_hosted,
        sum(answer.input_tokens for answer in run.answers),
        sum(answer.output_tokens for answer in run.answers),
        cost,
        None if prompt_speed is None else round(prompt_speed, 1),
        None if answer_speed is None else round(answer_speed, 1),
    )


def expected_cost(runtime: Runtime, backend: str, model: str) -> float | None:
    """What a test costs about, in dollars; None for a self-hosted model, and when no price is known."""
    if backend not in runtime.backends or runtime.backends[backend].self_hosted:
        return None
    cost = runtime.prices.estimate(backend, model, INPUT_TOKENS, OUTPUT_TOKENS, time.time())
    return cost / 1e9 if cost else None
