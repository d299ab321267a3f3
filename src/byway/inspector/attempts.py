"""The attempts of a request: the targets that were tried, how long each took, and why the failed ones failed. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

#: Failed attempts that are kept of one request, and characters of the problem of each.
MOST_ATTEMPTS: Final = 24
PROBLEM_LIMIT: Final = 500


class FailedAttempt(Struct, frozen=True, gc=False):
    """One attempt at a target that has failed."""

    backend: str
    model: str
    ended: float
    """By the monotonic clock."""
    sent: float | None
    """When its call was sent, by the same clock; None when no backend has received it."""
    connecting: float
    """Seconds that it took to connect."""
    problem: str
    """The kind of the problem."""
    status: int | str | None
    """The status of the backend's answer; None without one."""
    message: str
    """Without secrets, at most PROBLEM_LIMIT characters."""
    repairs: tuple[str, ...]
    """Changes of the call that earlier refusals have named."""


class RequestTimes(Struct, frozen=True, gc=False):
    """The times of a request that has ended, as the pipeline has measured them: monotonic seconds."""

    started: float
    """The head of the request had arrived."""
    ended: float
    began: float | None = None
    """The exchange began: the request was read and admitted."""
    sent: float | None = None
    """The call of the last attempt was sent to the backend."""
    connecting: float = 0.0
    """Seconds that the connection for that call took; 0 when an open one was used."""
    first: float | None = None
    """Seconds from `began` to the first content event."""
    failed: tuple[FailedAttempt, ...] = ()
    repairs: tuple[str, ...] = ()
    """Changes of the last attempt's call."""


class AttemptEntry(Struct, frozen=True, omit_defaults=True, gc=False):
    """One attempt of a request."""

    backend: str
    model: str
    outcome: str
    """`answered`, or the kind of its problem; `disconnected` when the client has left."""
    ms: float
    """How long it took, with the pause before it."""
    sent_ms: float | None = None
    """When its call was sent, from the start of the request."""
    connect_ms: float = 0.0
    status: int | str | None = None
    """The status of the backend's answer, where it is known."""
    message: str = ""
    repairs: tuple[str, ...] = ()


class Phase(Struct, frozen=True, gc=False):
    """A part of a request's time.

    `admission` (reading, limits), `failed attempts`, `queue` (routing, translation, waiting for a slot), `connect`,
    `first token`, `stream`; `answer` when there was no token.
    """

    name: str
    start_ms: float
    ms: float


def attempts(times: RequestTimes, backend: str, model: str, problem: str, status: int) -> tuple[AttemptEntry, ...]:
    """The attempts of a request in order. `backend`, `model`, `problem` and `status` are those of the request itself."""
    entries = []
    began = times.started
    for failed in times.failed:
        entries.append(
            AttemptEntry(
                failed.backend,
                failed.model,
                failed.problem,
                _ms(failed.ended - began),
                None if failed.sent is None else _ms(failed.sent - times.started),
                _ms(failed.connecting),
                failed.status,
                failed.message,
                failed.repairs,
            )
        )
        began = failed.ended
    # Without `sent` the problem of the request is that of the last failed attempt.
    if backend and not (problem and times.failed and times.sent is None):
        outcome = problem or ("disconnected" if status == 499 else "answered")
        entries.append(
            AttemptEntry(
                backend,
                model,
                outcome,
                _ms(times.ended - began),
                None if times.sent is None else _ms(times.sent - times.started),
                _ms(times.connecting),
                200 if outcome == "answered" else None,
                repairs=times.repairs,
            )
        )
    return tuple(entries)


def phases(times: RequestTimes) -> tuple[Phase, ...]:
    """The parts of a request's time in order, without empty ones. Together they are its whole duration."""
    failed = times.failed[-1].ended if times.failed else None
    sent, first = times.sent, times.first
    began = times.started if times.began is None else times.began
    marks: list[tuple[str, float]] = [("admission", began)]
    if failed is not None:
        marks.append(("failed attempts", failed))
    if sent is not None:
        marks += [("queue", sent - times.connecting), ("connect", sent)]
        if first is None:
            marks.append(("answer", times.ended))
        else:
            marks += [("first token", began + first), ("stream", times.ended)]
    else:
        marks.append(("queue", times.ended))
    parts = []
    at = times.started
    for name, until in marks:
        # The clock of the event loop, which has measured some of them, stands still while it works.
        until = min(max(at, until), times.ended)
        if until > at:
            parts.append(Phase(name, _ms(at - times.started), _ms(until - at)))
        at = until
    return tuple(parts)


def _ms(seconds: float) -> float:
    """Milliseconds with one decimal."""
    return round(max(0.0, seconds) * 1000, 1)
