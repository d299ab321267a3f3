"""The answer to a request that a limit refuses: its Problem with headers, and the headers of an admitted one.

The headers are those of https://docs.anthropic.com/en/api/rate-limits (seen 2026-11-20), and for budgets those that Claude
Code reads from a gateway (measured, 2.1.329).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from byway.display import dollars
from byway.limits.bucket import Bucket
from byway.limits.budgets import Spending
from byway.limits.counters import Counts
from byway.prices.price import NANO
from byway.problems import LONGEST_WAIT, Problem

Header = tuple[bytes, bytes]
_UNIFIED: Final = b"anthropic-ratelimit-unified-"
#: Seconds after which a client should retry when requests in progress are in its way.
_RETRY_SOON: Final = 2.0
#: Shares of a budget from which on the client shows a warning, the largest first.
_WARNED: Final = 0.75
_THRESHOLDS: Final = ((0.95, b"0.95"), (_WARNED, b"0.75"))
_MOST_SHOWN: Final = 0.99
_RESET: Final = _UNIFIED + b"reset"
_OVERAGE_RESET: Final = _UNIFIED + b"overage-reset"
_UTILIZATION: Final = _UNIFIED + b"overage-utilization"
_SURPASSED: Final = _UNIFIED + b"overage-surpassed-threshold"
#: The periods of budgets, as the client names them.
PERIOD_NAMES: Final = {"day": "daily", "week": "weekly", "month": "monthly"}
#: Subjects whose budget several callers share.
_GROUPS: Final = frozenset(("group", "organization", "model", "backend", "global"))
_UNREADABLE: Final = (
    "Byway cannot read what was spent, and a budget applies to this request; check the usage database with `byway doctor` "
    "and restart Byway."
)


def too_many(counts: Counts, amount: str, wait: float, now: float, at: float) -> Problem:
    """The Problem of a limit that allows the request after `wait` seconds. `amount` is what the limit allows."""
    seconds = max(1, math.ceil(wait))
    problem = Problem(
        "limit",
        f"Limit reached for {described(counts)}: {amount}. Retry in {seconds} s, or have the limit raised in Byway.",
        retry_after=seconds,
        retry=True if seconds <= LONGEST_WAIT else None,
    )
    for _, bucket in counts.buckets:
        bucket.level(now)
    problem.headers = header_pairs(QuotaHeaders((counts,)).lines(at))
    return problem


def too_many_running(counts: Counts, now: float, at: float) -> Problem:
    """The Problem of a caller that has too many requests in progress."""
    number = counts.rule.concurrency
    return too_many(counts, f"{number} request{'' if number == 1 else 's'} at once", _RETRY_SOON, now, at)


def running_use_budget(counts: Counts, spending: Spending, now: float, at: float) -> Problem:
    """The Problem of a request for which the budget has no room beside the running ones, whose cost is estimated."""
    left = dollars(max(0, (counts.rule.budget or 0) - spending.spent) / NANO)
    return too_many(counts, f"{left} of the budget is left, and requests in progress may use it", _RETRY_SOON, now, at)


def over_budget(counts: Counts, spending: Spending, at: float) -> Problem:
    """The Problem of a budget that is used up. Its message is one sentence, which Claude Code shows alone."""
    rule = counts.rule
    reset = datetime.datetime.fromtimestamp(spending.end, datetime.UTC)
    problem = Problem(
        "budget",
        f"The budget of {described(counts)} ({dollars((rule.budget or 0) / NANO)} per {rule.period}) is used up; wait until "
        f"{reset:%Y-%m-%d %H:%M} UTC, or have the budget raised in Byway.",
        retry_after=max(1, math.ceil(spending.end - at)),
    )
    end = b"%d" % spending.end
    problem.headers = (
        (_UNIFIED + b"status", b"rejected"),
        (_RESET, end),
        (_OVERAGE_RESET, end),
        (_UTILIZATION, b"1"),
        (_SURPASSED, b"1"),
        (_UNIFIED + b"overage-period", PERIOD_NAMES[rule.period].encode()),
        (_UNIFIED + b"overage-disabled-reason", b"org_spend_cap_reached"),
    )
    if rule.subject in _GROUPS:
        problem.headers += ((_UNIFIED + b"overage-scope", b"group_pool"),)
    return problem


def unreadable() -> Problem:
    """The Problem of a budget whose spending is unknown: access stays closed."""
    problem = Problem("budget", _UNREADABLE)
    problem.headers = ((_UNIFIED + b"overage-disabled-reason", b"fetch_error"),)
    return problem


def described(counts: Counts) -> str:
    """What is limited: `key "ci"`."""
    if counts.rule.subject == "global":
        return "all requests together"
    return f'{counts.rule.subject} "{counts.name}"'


def _form(unit: bytes) -> bytes:
    """The lines about a unit, with places for the limit, what is left of it, and the time at which all of it is."""
    prefix = b"anthropic-ratelimit-" + unit
    return b"".join(b"%b-%b\r\n" % (prefix, line) for line in (b"limit: %d", b"remaining: %%d", b"reset: %%b"))


#: The lines about each of UNITS.
_FORMS: Final = tuple(map(_form, (b"requests", b"tokens", b"input-tokens", b"output-tokens")))


class _UnitBuckets(NamedTuple):
    """The buckets of all limits of a request that count the same."""

    bucket: Bucket
    form: bytes
    """The lines about it, with places for what is left of its limit, and the time at which all of it is."""
    others: tuple[tuple[Bucket, bytes], ...]
    """Further buckets, each with its lines."""


# Each admitted request gets a dozen headers. As lines they take half the time of as many pairs of name and value.


class QuotaHeaders:
    """The headers about what is left of limits per minute and of budgets.

    Of several limits of a unit, it is that with the least left; of several budgets, that which is nearest to its end.
    """

    __slots__ = ("_budget", "_other_budgets", "_units")

    def __init__(self, all_counts: Sequence[Counts], budgets: Sequence[Spending] = ()) -> None:
        units: dict[int, list[tuple[Bucket, bytes]]] = {}
        for counts in all_counts:
            for kind, bucket in counts.buckets:
                units.setdefault(kind, []).append((bucket, _FORMS[kind] % bucket.rate.limit))
        self._units = tuple(_UnitBuckets(*pairs[0], tuple(pairs[1:])) for _, pairs in sorted(units.items()))
        self._budget, self._other_budgets = budgets[0] if budgets else None, tuple(budgets[1:])

    def lines(self, at: float) -> bytes:
        """The lines of the headers, right after a request was counted."""
        lines = b""
        after = at + 1
        for bucket, form, others in self._units:
            left = bucket.held
            if others:
                for other, its_form in others:
                    if other.held < left:
                        bucket, form, left = other, its_form, other.held
            full_at = _rfc3339(int(after + (bucket.capacity - left) * bucket.seconds_each))
            lines += form % (left if left > 0 else 0, full_at)
        budget = self._budget
        if budget is None:
            return lines
        if self._other_budgets:
            budget = max((budget, *self._other_budgets), key=_share)
        return lines + _budget_lines(budget.end, 1000 * budget.spent // budget.budget)


def header_pairs(lines: bytes) -> tuple[Header, ...]:
    """The headers in lines that each have a line end."""
    pairs = (line.partition(b": ") for line in lines.splitlines())
    return tuple((name, value) for name, _, value in pairs)


@lru_cache(256)
def _rfc3339(second: int) -> bytes:
    return f"{datetime.datetime.fromtimestamp(second, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}".encode()


def _share(spending: Spending) -> float:
    """The share of a budget that is used."""
    return spending.spent / spending.budget


@lru_cache(1024)
def _budget_lines(end: int, used: int) -> bytes:
    """The lines about a budget of which so many thousandths are used."""
    share = used / 1000
    status = b"allowed" if share < _WARNED else b"allowed_warning"
    # The client shows the budget as used up from 1 on, which it is not while requests are admitted.
    shown = min(share, _MOST_SHOWN)
    headers = [
        (_UNIFIED + b"status", status),
        (_UNIFIED + b"representative-claim", b"overage"),
        (_UNIFIED + b"overage-status", status),
        (_RESET, b"%d" % end),
        (_OVERAGE_RESET, b"%d" % end),
        (_UTILIZATION, b"%.2f" % shown),
    ]
    headers += [(_SURPASSED, text) for threshold, text in _THRESHOLDS if share >= threshold][:1]
    return b"".join(b"%b: %b\r\n" % header for header in headers)
