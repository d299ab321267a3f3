"""The loop over targets, the same for every kind of call: order, failover, one retry, cool-down, and the record.

A TargetCall makes one attempt at one target. Another attempt may follow until it reports that content has started.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from byway.backend import Backend
from byway.backends.protocol import Target
from byway.inspector.attempts import MOST_ATTEMPTS, PROBLEM_LIMIT, FailedAttempt
from byway.pipeline.reply import Record
from byway.problems import Problem
from byway.routing.permission import not_permitted, permitted_targets
from byway.routing.route import TargetName, TargetRoute
from byway.runtime import Runtime
from byway.scrub import Scrubber

#: Seconds before the one retry of the last target, unless the backend names a time with `retry-after`.
_PAUSE: Final = 0.25
#: A `retry-after` above this many seconds is left to the client.
_PATIENCE: Final = 2.0
#: Repairs of one request, over all its targets.
_REPAIRS: Final = 3
#: Characters of each earlier problem that are quoted in the last one.
_QUOTED: Final = 200
#: Earlier problems that are quoted; the others are counted.
_QUOTES: Final = 2


class TargetCall(Protocol):
    """One kind of call: a Messages request, a token count, and so on."""

    @property
    def started(self) -> bool:
        """Content has reached the client: no other attempt may follow."""

    async def attempt(self, backend: Backend, target: Target) -> bool:
        """Make one attempt at `target`; raises Problem. Returns whether the backend itself has answered."""

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        """Change the next attempt at `target` by what `problem` says; returns False when it says nothing useful."""


async def run(runtime: Runtime, model: str, call: TargetCall, record: Record, session: str = "") -> None:
    """Make `call` at the targets of `model`, in order, until one has answered.

    A refused API key rests, and the next key of the backend is used.

    A failure of the backend starts its cool-down, which puts it last for other requests. When the last target fails
    with a failed connection, 429 or 5xx, it is tried once more. Raises the last target's Problem when all have failed.
    """
    record.requested = model
    if record.models:
        route = await _permitted_route(runtime, model, record, session)
    else:
        route = runtime.remembered_route(model) or await runtime.route(model, session, probe=record.probe)
    record.alias = route.alias
    places = runtime.targets(route)
    if runtime.forwards_credentials:
        places = _without_failover(places, runtime)
    failed: list[Problem] = []
    retried = False
    repairs = rotations = index = 0
    while True:
        place = places[index]
        backend = runtime.backends[place.backend]
        target = backend.registry.target(place.model)
        record.tries += 1
        record.backend, record.model = target.backend, target.model
        try:
            answered = await call.attempt(backend, target)
        except Problem as error:
            problem = error
            _note_failure(record, problem, runtime.scrubber)
            if backend.keys is not None and not call.started:
                if backend.rest_key(record.key, problem) and rotations < len(backend.keys):
                    rotations += 1
                    continue
                problem = backend.keys.most_useful(problem, time.monotonic())
            if not call.started and repairs < _REPAIRS and call.repair(backend, target, problem):
                repairs += 1
                continue
            if problem.row.blame == "backend":
                runtime.cooldown.failed(backend.name, time.monotonic())
            if call.started or not problem.row.failover or backend.forwards_credential:
                raise problem from None
            failed.append(problem)
            index += 1
            if index < len(places):
                continue
            pause = _PAUSE if problem.retry_after is None else problem.retry_after
            if retried or not problem.row.again or pause > _PATIENCE:
                raise _with_earlier(failed, runtime.scrubber) from None
            retried = True
            places = (*places, place)
            await asyncio.sleep(pause)
        else:
            if answered:
                runtime.cooldown.succeeded(backend.name)
            return


def _note_failure(record: Record, problem: Problem, scrubber: Scrubber) -> None:
    """Keep what the page shows of an attempt that has failed."""
    if len(record.failed) < MOST_ATTEMPTS:
        record.failed += (
            FailedAttempt(
                record.backend,
                record.model,
                time.monotonic(),
                record.sent,
                record.connecting,
                problem.kind,
                problem.facts.get("status"),
                scrubber.scrub(problem.message)[:PROBLEM_LIMIT],
                record.repairs,
            ),
        )
    record.sent, record.connecting = None, 0.0


async def _permitted_route(runtime: Runtime, model: str, record: Record, session: str) -> TargetRoute:
    """The route of `model` with the targets that the client's key may use. Raises Problem when there is none."""
    try:
        route = await runtime.route(model, session, probe=record.probe)
    except Problem:
        # Its message names every model.
        raise not_permitted(record.models, model) from None
    return TargetRoute(permitted_targets(record.models, model, route), route.alias)


def _without_failover(places: tuple[TargetName, ...], runtime: Runtime) -> tuple[TargetName, ...]:
    """The targets, so that a credential of the caller goes to the first target or to none."""
    forwarding = [place for place in places if runtime.backends[place.backend].forwards_credential]
    if places[0] in forwarding:
        return places[:1]
    return tuple(place for place in places if place not in forwarding)


def _with_earlier(failed: list[Problem], scrubber: Scrubber) -> Problem:
    """The last Problem, with the messages of the earlier ones added."""
    last = failed[-1]
    earlier = dict.fromkeys(problem.message for problem in failed[:-1] if problem.message != last.message)
    if earlier:
        quoted = " / ".join(scrubber.scrub(text)[:_QUOTED] for text in list(earlier)[:_QUOTES])
        if len(earlier) > _QUOTES:
            quoted += f" / and {len(earlier) - _QUOTES} more"
        last.message = f"{last.message} (tried before: {quoted})"
    return last
