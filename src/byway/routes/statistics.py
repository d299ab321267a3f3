"""`/byway/health`, `/byway/statistics` and `/byway/metrics/history`: whether each part works, and what was counted."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from msgspec import Struct

from byway.admin.errors import invalid
from byway.admin.usagereport import DEFAULT_SINCE, read_time
from byway.metrics.totals import ModelTotals, model_totals
from byway.routes.admin import run
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, number, operation, query
from byway.routes.parthealth import PartHealth, health_of_parts

#: The most points of an answer.
_MOST_POINTS: Final = 1_000


class GatewayHealth(Struct, frozen=True):
    """The health of every part."""

    healthy: bool
    """No part has the state `error` or `failed`."""
    parts: tuple[PartHealth, ...]
    backends: tuple[PartHealth, ...]


class ModelStatistics(Struct, frozen=True):
    """The requests to one model of a backend since the start of the process."""

    backend: str
    model: str
    requests: int
    errors: int
    input_tokens: int
    """Without `cached_tokens`."""
    cached_tokens: int
    output_tokens: int
    mean_ms: float | None
    """Mean duration of a request; null without one."""
    mean_first_ms: float | None
    """Mean time to the first content; null without any."""


class Statistics(Struct, frozen=True):
    """What was counted since the start of the process."""

    enabled: bool
    """`metrics.enabled`: requests are counted."""
    running: int
    """Requests to models that run now."""
    problems: dict[str, int]
    """Failed requests by the kind of the problem."""
    models: tuple[ModelStatistics, ...]


class HistoryPoint(Struct, frozen=True):
    """What was counted in one step of a history."""

    at: int
    """The start of the step: seconds since the epoch."""
    requests: int
    errors: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    mean_ms: float | None
    mean_first_ms: float | None


class History(Struct, frozen=True):
    """The history of a period. Steps without requests are missing."""

    enabled: bool
    """The history is kept."""
    since: int
    until: int
    step: int
    """Seconds."""
    points: tuple[HistoryPoint, ...]


async def health(context: RequestContext) -> GatewayHealth:
    """Return the health of every part, with the reason where one does not work."""
    gateway = context.gateway
    scrub = gateway.runtime.scrubber.scrub
    parts = tuple(PartHealth(part.name, part.state, scrub(part.message)) for part in health_of_parts(gateway))
    backends = tuple(
        PartHealth(status.name, status.state, scrub(status.message)) for status in gateway.runtime.statuses()
    )
    return GatewayHealth(
        all(part.state not in ("error", "failed") for part in (*parts, *backends)),
        parts,
        backends,
    )


async def statistics(context: RequestContext) -> Statistics:
    """Return what was counted since the start, by backend and model."""
    gateway = context.gateway
    metrics = gateway.metrics
    if metrics is None:
        return Statistics(False, len(gateway.exchanges), {}, ())
    totals = await asyncio.to_thread(lambda: model_totals(metrics))
    return Statistics(
        True,
        len(gateway.exchanges),
        dict(metrics.problems),
        tuple(_model_statistics(*key, total) for key, total in sorted(totals.items())),
    )


def _model_statistics(backend: str, model: str, total: ModelTotals) -> ModelStatistics:
    return ModelStatistics(
        backend,
        model,
        total.requests,
        total.errors,
        total.input_tokens,
        total.cached_tokens,
        total.output_tokens,
        _mean_ms(total.seconds, total.requests),
        _mean_ms(total.first_seconds, total.first_count),
    )


def _point(at: int, totals: ModelTotals) -> HistoryPoint:
    return HistoryPoint(
        at,
        totals.requests,
        totals.errors,
        totals.input_tokens,
        totals.cached_tokens,
        totals.output_tokens,
        _mean_ms(totals.seconds, totals.requests),
        _mean_ms(totals.first_seconds, totals.first_count),
    )


def _mean_ms(seconds: float, count: int) -> float | None:
    return round(1000 * seconds / count, 1) if count else None


async def history(context: RequestContext) -> History:
    """Return the requests, tokens and times of a period, in steps."""
    form, now, gateway = query(context), time.time(), context.gateway
    since = int(read_time(form.get("since") or DEFAULT_SINCE, now, "since"))
    until = int(read_time(form["until"], now, "until", end=True)) if form.get("until") else int(now) + 1
    if until <= since:
        raise invalid("until", "the end of the period is not after its start")
    shortest = -(-(until - since) // _MOST_POINTS)
    step = max(1, number(form["step"], "step", 86_400 * 366)) if form.get("step") else max(shortest, 60)
    if step < shortest:
        raise invalid("step", f"this period has more than {_MOST_POINTS:,} such steps; use at least {shortest}")
    stored = gateway.history
    if stored is None:
        return History(False, since, until, step, ())
    backend, model = form.get("backend", ""), form.get("model", "")

    def read() -> tuple[HistoryPoint, ...]:
        stored.save(now)
        return tuple(
            _point(at, ModelTotals._make(totals))
            for at, _, _, totals in stored.store.history(since, until, step, backend, model)
        )

    return History(stored.enabled, since, until, step, await run(read))


ROUTES: Final = (
    operation("GET", "/byway/health", health, response=GatewayHealth),
    operation("GET", "/byway/statistics", statistics, response=Statistics),
    operation(
        "GET",
        "/byway/metrics/history",
        history,
        response=History,
        parameters=(
            Parameter("since", f"The start: `24h`, `7d`, `4w`, a date or a time, in UTC. Default: {DEFAULT_SINCE}."),
            Parameter("until", "The end. Default: now."),
            Parameter("step", f"Seconds of a step. At most {_MOST_POINTS:,} steps. Default: at least 60.", int),
            Parameter("backend", "Only requests to this backend."),
            Parameter("model", "Only requests to this model."),
        ),
    ),
)
