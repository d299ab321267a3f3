"""Limits: what was spent before, how much of each limit is used, and the edits that add and remove one."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from byway.admin.config import CurrentConfig
from byway.admin.errors import invalid
from byway.admin.prices import list_prices
from byway.config.editing import Append, Edit, Remove
from byway.config.limitchecks import AMOUNTS
from byway.config.limits import LimitSubject, Period
from byway.config.settings import Config
from byway.display import dollars, listing
from byway.limits.limiter import CostRow, LimitedCaller, Limiter, LimitUse, RequestNames, SpentSum
from byway.logs import log
from byway.problems import Problem
from byway.runtime import Runtime
from byway.secrets.names import literal
from byway.store import StoreError
from byway.store.protocol import UsageProtocol
from byway.usage.recorder import UsageRecorder


async def load_spending(limiter: Limiter, recorder: UsageRecorder | None, usage: UsageProtocol | None) -> None:
    """Read what was spent in the current periods, if a budget needs it. After a failure such budgets refuse requests.

    Without records of usage a budget starts at zero with the process.
    """
    now, at = time.monotonic(), time.time()
    if not limiter.needs_loading(now, at):
        return
    if recorder is None or usage is None:
        limiter.trust_counts()
        return
    load = limiter.start_loading(now, at)

    def read() -> list[SpentSum]:
        recorder.flush()
        if recorder.status.problem:
            raise StoreError(recorder.status.problem)
        # Thousands of names take longer than the event loop may be blocked.
        return limiter.sum_up(load, {start: _rows(usage, start) for start in load.starts})

    try:
        sums = await asyncio.to_thread(read)
    except StoreError as error:
        if not limiter.reported:
            limiter.reported = True
            log(
                "Requests with a budget are refused: what was spent cannot be read. Byway retries every second.",
                logging.ERROR,
                reason=str(error)[:300],
            )
        return
    if limiter.reported:
        log("What was spent can be read again: budgets admit requests")
    limiter.reported = False
    limiter.finish_loading(load, sums, time.monotonic(), time.time())


def _rows(usage: UsageProtocol, since: int) -> list[CostRow]:
    return [
        CostRow(
            RequestNames(row.key, row.account, row.group, row.organization, alias=row.alias),
            row.backend,
            row.model,
            row.cost,
        )
        for row in usage.costs(since)
    ]


class LimitInfo(Struct, frozen=True):
    """One limit for one name, and how much of it is used."""

    path: str
    """Its path in the config, such as `limits.0`."""
    subject: str = msgspec.field(name="for")
    name: str
    """The name that is counted; the pattern of the limit while nothing was counted."""
    unit: str
    """`requests`, `tokens`, `input tokens`, `output tokens`, `concurrency` or `budget`."""
    limit: float
    """For a budget in US dollars."""
    used: float
    period: str
    """`minute`, `second`, `now`, `day`, `week` or `month`."""
    resets_at: datetime.datetime | None
    """When all of it is available again."""
    per_second: float = 0.0
    """How much of a limit with the period `second` is available again each second. Its `limit` is the capacity."""

    @property
    def text(self) -> str:
        """The use in words: `$12.40 of $20.00 per month`."""
        used = dollars(self.used) if self.unit == "budget" else f"{self.used:,.0f}"
        return f"{used} of {self.allowed_text}"

    @property
    def allowed_text(self) -> str:
        """What is allowed, in words: `$20.00 per month`."""
        if self.unit == "budget":
            return f"{dollars(self.limit)} per {self.period}"
        if self.unit == "concurrency":
            return f"{self.limit:,.0f} at once"
        if self.per_second:
            return f"{self.limit:,.0f} {self.unit} at once, {self.per_second:g} per second"
        return f"{self.limit:,.0f} {self.unit} per {self.period}"

    @property
    def subject_text(self) -> str:
        """What is limited: `key ci`, or `each key`."""
        if self.subject == "global":
            return "all requests"
        return f"each {self.subject}" if self.name == "*" else f"{self.subject} {self.name}"

    @property
    def number(self) -> int | None:
        """The place in the list `limits`; None for other limits."""
        section, _, number = self.path.partition(".")
        return int(number) if section == "limits" else None


class NewLimit(Struct, forbid_unknown_fields=True):
    """A limit to add."""

    subject: LimitSubject = msgspec.field(name="for")
    name: str = "*"
    """A name, or a pattern such as `team-*`. Each name has a count of its own."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget: float | None = None
    """US dollars per period."""
    period: Period = "month"


def list_limits(limiter: Limiter | None) -> list[LimitInfo]:
    """Every limit with its use; of limits with many names the ones that were used last."""
    if limiter is None:
        return []
    return [_info(use) for use in limiter.uses(time.monotonic(), time.time())]


def own_limits(limiter: Limiter | None, caller: LimitedCaller, keys: Iterable[str]) -> list[LimitInfo]:
    """The limits that apply to an account whatever model it requests, and to the keys with these ids."""
    if limiter is None:
        return []
    callers = [RequestNames(key, caller.account, caller.group, caller.organization) for key in keys or ("",)]
    return [_info(use) for use in limiter.uses_of(callers, time.monotonic(), time.time())]


def configured_limits(config: Config) -> list[LimitInfo]:
    """The limits of a config, as unused."""
    at = time.time()
    return [_info(use) for use in Limiter(config, 0.0, at).uses(0.0, at)]


def _info(use: LimitUse) -> LimitInfo:
    resets = datetime.datetime.fromtimestamp(use.resets_at, datetime.UTC) if use.resets_at else None
    return LimitInfo(use.path, use.subject, use.name, use.unit, use.limit, use.used, use.period, resets, use.per_second)


def add_limit(limit: NewLimit) -> list[Edit]:
    """The edits that add a limit. Raises Problem without an amount; the config checks the rest."""
    values: dict[str, Any] = {"for": limit.subject}
    if limit.name not in ("", "*"):
        values["name"] = literal(limit.name)
    values |= {name: value for name in AMOUNTS if (value := getattr(limit, name)) is not None}
    if len(values.keys() & AMOUNTS) == 0:
        raise invalid("budget", f"a limit needs one of {', '.join(AMOUNTS)}")
    if limit.budget is not None:
        values["period"] = limit.period
    return [Append(("limits",), values)]


def remove_limit(current: CurrentConfig, number: int) -> list[Edit]:
    """The edits that remove a limit of the list `limits`. Raises Problem when there is none with this number."""
    if number >= len(current.config.limits):
        raise Problem("not_found", f"There is no limit {number}. The config has {len(current.config.limits)} limits.")
    return [Remove(("limits", number) if len(current.config.limits) > 1 else ("limits",))]


def unpriced_targets(runtime: Runtime) -> list[str]:
    """The targets that budgets count as free because their price is unknown; none without a budget."""
    if runtime.limiter is None or not runtime.limiter.has_budgets:
        return []
    return [info.target for info in list_prices(runtime) if info.price is None]


def unpriced_warning(targets: Iterable[str]) -> str:
    """The warning about targets that budgets count as free; empty without any."""
    names = list(targets)
    if not names:
        return ""
    return (
        f"Budgets count {listing(names)} as free, because the price is unknown. Set it under `prices`; "
        "`byway prices` shows why it is unknown."
    )
