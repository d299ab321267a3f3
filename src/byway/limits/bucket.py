"""Token buckets. The caller passes the time, in seconds of a clock that does not run backwards."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

#: Differences of floating-point sums that count as equal.
_ROUNDING: Final = 1e-6


class Rate(NamedTuple):
    """What a bucket may hold and how fast it fills."""

    capacity: float
    per_second: float
    step: float = 0.0
    """Seconds between two refills; 0.0 refills all the time.

    With a step, a burst that is shorter than it gets exactly the capacity."""
    limit: int = 0
    """The number of the config, for headers and tables."""


def per_minute(limit: int) -> Rate:
    """The rate of a limit per minute: the bucket holds one minute's worth and gets a tenth of it every 6 seconds."""
    return Rate(float(limit), limit / 60, 6.0, limit)


def per_second(limit: float, burst: int) -> Rate:
    """The rate of a limit per second, with a bucket that holds `burst`, or one second's worth."""
    capacity = float(burst or max(1, math.ceil(limit)))
    return Rate(capacity, limit, 0.0, int(capacity))


class Bucket:
    """A token bucket. Its level is below zero when more was used than expected; then it fills up first.

    Before `due`, its level is `held`, which may be changed. Later `refill` comes first.
    """

    __slots__ = ("_at", "capacity", "due", "held", "rate", "seconds_each")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.capacity = rate.capacity
        self.seconds_each = 1 / rate.per_second
        self.held = rate.capacity
        """What it holds, or held at the time of the last call."""
        self._at = now
        self.due = -math.inf
        """Before this time nothing is refilled: `held` is the level."""

    def lacks(self, amount: float) -> bool:
        """Whether `amount` could not be taken at the time of the last call.

        An amount above the capacity can be taken from a full bucket: it would never pass otherwise.
        """
        return self.held + _ROUNDING < min(amount, self.capacity)

    def wait(self, amount: float, now: float) -> float:
        """The seconds until `amount` can be taken; 0.0 when it can be taken now."""
        level = self.level(now)
        rate = self.rate
        missing = min(amount, rate.capacity) - level
        if missing <= _ROUNDING:
            return 0.0
        if not rate.step:
            return missing / rate.per_second
        steps = max(1, math.ceil((missing - _ROUNDING) / (rate.per_second * rate.step)))
        return max(_ROUNDING, self._at + steps * rate.step - now)

    def refill(self, now: float, amount: float) -> None:
        """Refill what is due, before `amount` is taken. From now on it refills, unless it stays full."""
        self.level(now)
        if now >= self.due and (amount or self.held < self.capacity):
            self.due = self._at + self.rate.step

    def correct(self, amount: float, now: float) -> None:
        """Take `amount` now, or return it when it is negative."""
        if now >= self.due:
            self.refill(now, amount)
        self.held -= amount
        if self.held >= self.capacity:
            self.fill()

    def fill(self) -> None:
        """Make it full: it refills from its next use on."""
        self.held = self.capacity
        self.due = -math.inf

    def change(self, rate: Rate, now: float) -> None:
        """Use another rate. What was taken stays taken."""
        used = self.capacity - self.level(now)
        self.rate, self.capacity, self.seconds_each = rate, rate.capacity, 1 / rate.per_second
        self.held = rate.capacity - used
        self.due = -math.inf

    def level(self, now: float) -> float:
        """What the bucket holds at `now`, after it was refilled."""
        rate = self.rate
        elapsed = now - self._at
        if self.held >= rate.capacity or elapsed < 0:
            # A full bucket starts to fill with the next use. A clock that was set back refills nothing.
            self._at = now
        elif rate.step:
            steps = math.floor(elapsed / rate.step + _ROUNDING)
            if steps:
                self.held = min(rate.capacity, self.held + steps * rate.step * rate.per_second)
                full = self.held >= rate.capacity
                self._at = now if full else self._at + steps * rate.step
                self.due = -math.inf if full else self._at + rate.step
        elif elapsed:
            self.held = min(rate.capacity, self.held + elapsed * rate.per_second)
            self._at = now
        return self.held

    def seconds_to_full(self, now: float) -> float:
        """The seconds until the bucket is full if nothing more is taken."""
        return self.wait(self.capacity, now)
