"""What Byway does at the moment: requests, tokens, latency and cost of a period, and the steps of the first run.

Sums of hours and days are kept by UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway.admin import aliases
from byway.admin.errors import invalid
from byway.admin.exports import ClientSetup
from byway.admin.requests import RecentRequests
from byway.admin.usagereport import UsageRow, iso, usage_row
from byway.display import count, latency
from byway.prices.price import NANO
from byway.runtime import Runtime
from byway.store import UsageFilter, UsageSums
from byway.store.firsttokens import percentile
from byway.store.protocol import UsageProtocol
from byway.store.usagequeries import DAY, HOUR, MINUTE

OverviewPeriod = Literal["1h", "24h", "7d", "30d"]


class _Grid(NamedTuple):
    """How a period is divided into bars."""

    seconds: int
    """The width of a bar."""
    bars: int
    every: str
    """What the store sums up by; a bar may have several of them."""


_GRIDS: Final[Mapping[OverviewPeriod, _Grid]] = {
    "1h": _Grid(MINUTE, 60, "minute"),
    "24h": _Grid(HOUR, 24, "hour"),
    "7d": _Grid(4 * HOUR, 42, "hour"),
    "30d": _Grid(DAY, 30, "day"),
}
PERIODS: Final = tuple(_GRIDS)
DEFAULT_PERIOD: Final[OverviewPeriod] = "24h"
#: Models and sessions that are listed.
MOST_NAMES: Final = 6
#: Rows that the store returns for a period: hours of 7 days.
_MOST_ROWS: Final = 1_000
_MEDIAN: Final = 0.5
_TAIL: Final = 0.95


class OverviewBar(Struct, frozen=True):
    """A part of the period. Parts without requests are contained."""

    at: str
    """Its start, in ISO 8601."""
    requests: int
    errors: int
    """Requests that failed: a status of 400 or more."""
    input_tokens: int
    """Tokens of prompts that the cache did not return."""
    cached_tokens: int
    output_tokens: int
    cost: float | None
    """US dollars; null when the cost of no request is known."""
    first_p50_ms: float | None
    """Milliseconds to the first token that half of the requests did not exceed; null without an answer."""
    first_p95_ms: float | None
    """The same for 95 of 100 requests."""


class Overview(Struct, frozen=True):
    """The numbers of a period."""

    period: OverviewPeriod
    since: str
    """The start of the period, in ISO 8601."""
    seconds: int
    """The width of a bar."""
    total: UsageRow
    first_p50_ms: float | None
    first_p95_ms: float | None
    bars: tuple[OverviewBar, ...]
    models: tuple[UsageRow, ...]
    """The first models, as `backend/model`: by cost, then by tokens."""
    sessions: tuple[UsageRow, ...]
    """The first sessions, in the same order."""


class SetupStep(Struct, frozen=True):
    """A step of the first run."""

    name: str
    title: str
    done: bool
    text: str
    """What was found, or what to do."""
    where: str
    """The path of the page where it is done."""


def read_period(text: str) -> OverviewPeriod:
    """Read a period; the default for "". Raises Problem."""
    for period in PERIODS:
        if text == period:
            return period
    if text:
        raise invalid("period", f"{text[:20]!r} is not one of {', '.join(PERIODS)}")
    return DEFAULT_PERIOD


def overview(usage: UsageProtocol, period: OverviewPeriod, where: UsageFilter, now: float) -> Overview:
    """The numbers of a period that ends now. It reads the database and blocks. Raises StoreError."""
    grid = _GRIDS[period]
    since = now - now % grid.seconds - (grid.bars - 1) * grid.seconds
    exact = grid.every == "minute"
    sums = usage.sums(None, since, None, where, every=grid.every, limit=_MOST_ROWS, exact=exact)
    firsts = usage.first_tokens(since, None, where, every=grid.every, exact=exact)
    parts = [UsageSums(at=since + number * grid.seconds) for number in range(grid.bars)]
    counts: list[dict[int, int]] = [{} for _ in parts]
    total, all_counts = UsageSums(), dict[int, int]()
    for row in sums:
        _add(parts[_place(row.at, since, grid)], row)
        _add(total, row)
    for first in firsts:
        place = counts[_place(first.at, since, grid)]
        for bucket, number in first.counts.items():
            place[bucket] = place.get(bucket, 0) + number
            all_counts[bucket] = all_counts.get(bucket, 0) + number
    models = usage.sums("target", since, None, where, limit=MOST_NAMES, exact=exact)
    sessions = usage.sums("session", since, None, where, limit=MOST_NAMES + 1, exact=exact)
    return Overview(
        period,
        iso(since),
        grid.seconds,
        usage_row(total),
        percentile(all_counts, _MEDIAN),
        percentile(all_counts, _TAIL),
        tuple(map(_bar, parts, counts)),
        tuple(map(usage_row, models)),
        # Requests without a session are no session.
        tuple(usage_row(row) for row in sessions if row.name)[:MOST_NAMES],
    )


def _place(at: float | None, since: float, grid: _Grid) -> int:
    """The number of the bar. A clock that is ahead belongs to the last one."""
    return max(0, min(int(((at or since) - since) // grid.seconds), grid.bars - 1))


def _add(total: UsageSums, row: UsageSums) -> None:
    for name, value in msgspec.structs.asdict(row).items():
        if name not in ("name", "at"):
            setattr(total, name, getattr(total, name) + value)


def _bar(sums: UsageSums, counts: Mapping[int, int]) -> OverviewBar:
    return OverviewBar(
        iso(sums.at or 0.0),
        sums.requests,
        sums.errors,
        sums.input_tokens + sums.cache_write_tokens,
        sums.cached_tokens,
        sums.output_tokens,
        None if sums.requests and sums.unpriced >= sums.requests else sums.cost / NANO,
        percentile(counts, _MEDIAN),
        percentile(counts, _TAIL),
    )


# ------------------------------------------------------------------------------------------------------ the first run


def has_answered(usage: UsageProtocol, where: UsageFilter, now: float) -> bool:
    """Whether a client's request was answered in the last 30 days. It reads the database and blocks. Raises StoreError."""
    (total,) = usage.sums(None, now - 30 * DAY, None, where)
    return total.requests > total.errors


def setup_steps(
    runtime: Runtime, setup: ClientSetup, recent: RecentRequests, *, signed_in: bool, answered: bool
) -> tuple[SetupStep, ...]:
    """The steps that connect Claude Code with a model, with what is done. `answered`: a client's request once worked."""
    verified = next(
        (
            request
            for request in recent.newest()
            if request.line.probe and request.line.status < 400 and not request.error
        ),
        None,
    )
    return (
        _connect_step(runtime),
        _choose_step(runtime, setup, recent),
        SetupStep(
            "client",
            "Connect Claude Code",
            signed_in or answered,
            "A client is signed in."
            if signed_in
            else "A client has used this Byway."
            if answered
            # Claude Code reads them when it starts.
            else "Copy the lines into the shell that starts `claude`, or sign in with `byway connect --sign-in`.",
            "/claude#endpoint",
        ),
        SetupStep(
            "verify",
            "Verify",
            answered or verified is not None,
            f"{verified.line.model} answered in {latency(verified.line.ms)}."
            if verified is not None
            else "A client's request was answered."
            if answered
            else "Send one real request through Byway to the model.",
            "/claude#endpoint",
        ),
    )


def _connect_step(runtime: Runtime) -> SetupStep:
    ready = [
        backend
        for backend in runtime.backends.values()
        if backend.state in ("ready", "asleep") and (backend.models or not backend.vendor.managed)
    ]
    own = [backend for backend in ready if not (backend.vendor.managed and not backend.settings.path)]
    models = sum(len(backend.models or ()) for backend in own)
    if own:
        text = f"{count(len(own), 'backend')} ready, {count(models, 'model')}."
    elif ready:
        text = "Only the built-in model is ready. It is too small for agent work: add a model server, a cloud or a model file."
    else:
        text = "No backend is ready. Add a model server, a cloud or a model file."
    return SetupStep("model", "Connect a model", bool(own), text, "/models")


def _choose_step(runtime: Runtime, setup: ClientSetup, recent: RecentRequests) -> SetupStep:
    title, where = "Choose it for Claude Code", "/claude#quick"
    if not setup.backend or not setup.has_claude_names:
        return SetupStep("choose", title, False, "No model answers Claude's names yet.", where)
    target = f"{setup.model} at {setup.backend}"
    state = aliases.target_state(runtime, setup.backend, setup.model, recent.answered())
    if state not in ("ready", "asleep"):
        return SetupStep("choose", title, False, f"{target}: {state}.", where)
    if setup.is_builtin:
        return SetupStep("choose", title, False, f"{target} answers. Choose a model that can do agent work.", where)
    return SetupStep("choose", title, True, f"{target} answers Claude's names.", where)


def member_steps(has_key: bool, has_requests: bool) -> Sequence[SetupStep]:
    """The steps of a member, which has no access to backends and aliases."""
    return (
        SetupStep(
            "key",
            "Create a key",
            has_key,
            "You have a key." if has_key else "Clients need a key of yours, or sign in with `/login`.",
            "/account#keys",
        ),
        SetupStep(
            "client",
            "Connect Claude Code",
            has_requests,
            "Your requests arrive here." if has_requests else "Copy the lines into the shell that starts `claude`.",
            "/account#connect",
        ),
    )
