"""What a caller has spent in the current day, week and month, and of its budgets, for the client's own screens."""

from __future__ import annotations

import datetime
from typing import Final, NamedTuple

from byway.access.keys import Caller
from byway.config.limits import Period
from byway.limits.budgets import period_bounds
from byway.limits.limiter import Limiter, RequestNames
from byway.limits.refusals import PERIOD_NAMES
from byway.store import UsageFilter
from byway.store.protocol import UsageProtocol

#: Nano-dollars of a cent.
_CENT: Final = 10_000_000


class SpentCents(NamedTuple):
    """Cents of the current day, week and month in UTC. A week starts on Monday."""

    day: int
    week: int
    month: int


class BudgetUse(NamedTuple):
    """A budget that applies to a caller, and what is used of it. Cents and whole percents."""

    period: str
    """`daily`, `weekly` or `monthly`."""
    limit: int
    used: int
    percent: int
    resets_at: str
    """When the period ends, in ISO 8601, to the second."""


def budget_use(limiter: Limiter | None, caller: Caller, now: float, at: float) -> list[BudgetUse]:
    """The budgets that apply to a caller whatever model it requests. `now` is of the monotonic clock, `at` of the system's."""
    if limiter is None or not limiter.has_budgets:
        return []
    names = RequestNames(caller.key, caller.account, caller.group, caller.organization)
    uses: list[BudgetUse] = []
    for counts in limiter.budgets(names, now, at):
        spending, budget = counts.spending, counts.rule.budget
        if spending is not None and budget:
            end = datetime.datetime.fromtimestamp(spending.end, datetime.UTC)
            uses.append(
                BudgetUse(
                    PERIOD_NAMES[counts.rule.period],
                    _rounded(budget),
                    _rounded(spending.spent),
                    spending.spent * 100 // budget,
                    f"{end:%Y-%m-%dT%H:%M:%S}.000Z",
                )
            )
    return uses


def spent_cents(store: UsageProtocol, caller: Caller, now: float) -> SpentCents:
    """What the caller's account has spent; without an account, what its key or sign-in has spent."""
    where = UsageFilter(account=caller.account) if caller.account else UsageFilter(key=caller.key)

    def cents(period: Period) -> int:
        return _rounded(sum(sums.cost for sums in store.sums(since=period_bounds(period, now)[0], where=where)))

    return SpentCents(cents("day"), cents("week"), cents("month"))


def _rounded(nano: int) -> int:
    return (nano + _CENT // 2) // _CENT
