"""Spending by day, week and month in UTC, in nano-dollars. The caller passes the time, in seconds since the epoch."""

from __future__ import annotations

import datetime
from typing import Final

from byway.bounded import BoundedDict
from byway.config.limits import Period

_DAY: Final = 86_400
#: Days from the epoch, a Thursday, back to the Monday before it.
_MONDAY: Final = 3
#: The last second that `datetime` can express, less one month.
_LATEST: Final = 253_399_622_400
#: Periods whose sums are kept: the current one, and others in which the clock has been.
_KEPT: Final = 4


def period_bounds(period: Period, at: float) -> tuple[int, int]:
    """The first second of the period that contains `at`, and the first second after it. A week starts on Monday."""
    at = min(max(at, 0.0), _LATEST)
    day = int(at // _DAY)
    if period == "day":
        return day * _DAY, (day + 1) * _DAY
    if period == "week":
        monday = (day + _MONDAY) // 7 * 7 - _MONDAY
        return monday * _DAY, (monday + 7) * _DAY
    first = datetime.datetime.fromtimestamp(at, datetime.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + datetime.timedelta(days=31)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())


class Spending:
    """What one subject of a budget has spent in the current period, and what its running requests may cost.

    The sums of some earlier periods are kept: a clock that is set to another period and back loses nothing.
    """

    __slots__ = ("_earlier", "_period", "budget", "end", "loaded", "reserved", "spent", "start")

    def __init__(self, period: Period, now: float) -> None:
        self._period = period
        self._earlier: BoundedDict[int, int] = BoundedDict(_KEPT)
        self.budget = 0
        self.loaded = False
        """`spent` contains what was spent before the start of the process. Until then requests are refused."""
        self.spent = 0
        self.reserved = 0
        """The estimated cost of running requests."""
        self.start, self.end = period_bounds(period, now)

    def turn(self, now: float) -> None:
        """Start another period when `now` is not in the current one."""
        if not self.start <= now < self.end:
            start, end = period_bounds(self._period, now)
            if start != self.start:
                self._earlier[self.start] = self.spent
                self.spent = self._earlier.pop(start, 0)
                self.start, self.end = start, end

    def has_room(self, cost: int) -> bool:
        """Whether a request of estimated `cost` fits beside the running ones. With none running, any request fits."""
        return not self.reserved or self.spent + self.reserved + cost <= self.budget
