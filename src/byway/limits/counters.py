"""The counts of one rule: a Counts for each name, in a bounded table that a client cannot make forget."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from byway.limits.bucket import Bucket, Rate
from byway.limits.budgets import Spending
from byway.limits.rules import Rule

#: Names of one rule that have counts of their own. Others share one.
MOST_NAMES: Final = 10_000
#: The oldest names that are looked at to make room.
_CANDIDATES: Final = 8
#: What buckets count, by their place.
UNITS: Final = ("requests", "tokens", "input tokens", "output tokens")
REQUESTS, TOKENS, INPUT_TOKENS, OUTPUT_TOKENS = range(len(UNITS))
#: The name of the counts that are shared.
SHARED: Final = "(other names)"


class Counts:
    """The state of one limit for one name."""

    __slots__ = ("buckets", "most_running", "name", "rule", "running", "spending")

    def __init__(self, rule: Rule, name: str, now: float, at: float) -> None:
        """`now` is of the monotonic clock, `at` in seconds since the epoch."""
        self.name = name
        self.running = 0
        self.buckets: tuple[tuple[int, Bucket], ...] = ()
        """The buckets that the rule has, each with its place in UNITS."""
        self.spending: Spending | None = None
        self._follow(rule, now, at)

    def change(self, rule: Rule, now: float, at: float) -> None:
        """Follow another rule, with what was counted so far."""
        if self.spending is not None and self.rule.period != rule.period:
            self.spending = None
        self._follow(rule, now, at)

    def _follow(self, rule: Rule, now: float, at: float) -> None:
        known = dict(self.buckets)
        self.rule = rule
        self.most_running = math.inf if rule.concurrency is None else rule.concurrency
        rates = enumerate((rule.requests, rule.tokens, rule.input_tokens, rule.output_tokens))
        self.buckets = tuple((kind, _bucket(known.get(kind), rate, now)) for kind, rate in rates if rate is not None)
        if rule.budget is None:
            self.spending = None
        else:
            if self.spending is None:
                self.spending = Spending(rule.period, at)
            self.spending.budget = rule.budget

    def is_fresh(self, now: float, at: float) -> bool:
        """Whether it is in the state of a new one, so that it can be made again without a difference."""
        if self.running:
            return False
        for _, bucket in self.buckets:
            if bucket.level(now) < bucket.capacity:
                return False
        spending = self.spending
        if spending is not None:
            spending.turn(at)
            return not spending.spent and not spending.reserved
        return True


def _bucket(known: Bucket | None, rate: Rate, now: float) -> Bucket:
    """The bucket with this rate, with what was taken from it so far."""
    if known is None:
        return Bucket(rate, now)
    if known.rate != rate:
        known.change(rate, now)
    return known


class CountTable:
    """The counts of one rule, by name. Those that were not used for the longest time are first."""

    def __init__(self, rule: Rule, most: int = MOST_NAMES) -> None:
        self.rule = rule
        self.matcher = rule.matcher() if rule.name != "*" else None
        """None: it matches every name."""
        self._most = most
        self._by_name: OrderedDict[str, Counts] = OrderedDict()
        self.forget: Callable[[], None] = _forget_nothing
        """Called when counts are removed: nothing may use them any more."""
        self._shared: Counts | None = None
        self._loaded = rule.budget is None

    @property
    def loaded(self) -> bool:
        """Its spending contains that of earlier runs. Until then requests with a budget are refused."""
        return self._loaded

    @loaded.setter
    def loaded(self, loaded: bool) -> None:
        self._loaded = loaded
        for counts in self.used():
            if counts.spending is not None:
                counts.spending.loaded = loaded

    def change(self, rule: Rule, now: float, at: float) -> None:
        """Follow another rule for the same names, with what was counted so far."""
        if rule.budget is None:
            self.loaded = True
        elif self.rule.budget is None or self.rule.period != rule.period:
            self.loaded = False
        self.rule = rule
        for counts in self.used():
            counts.change(rule, now, at)

    def get(self, name: str, now: float, at: float) -> Counts:
        """The counts of `name`.

        With a full table the oldest counts that are in their first state make room. When there are none, the name
        shares its counts with others: nobody can reset a count by sending many names.
        """
        counts = self._by_name.get(name)
        if counts is not None:
            self._by_name.move_to_end(name)
            return counts
        if len(self._by_name) >= self._most and not self._make_room(now, at):
            if self._shared is None:
                self._shared = self._make(SHARED, now, at)
            return self._shared
        counts = self._by_name[name] = self._make(name, now, at)
        return counts

    def _make(self, name: str, now: float, at: float) -> Counts:
        counts = Counts(self.rule, name, now, at)
        if counts.spending is not None:
            counts.spending.loaded = self._loaded
        return counts

    def find(self, name: str) -> Counts | None:
        """The counts of `name`, or None while it has none. It does not become the one that was used last."""
        return self._by_name.get(name)

    def _make_room(self, now: float, at: float) -> bool:
        for name in [name for name, _ in zip(self._by_name, range(_CANDIDATES), strict=False)]:
            if self._by_name[name].is_fresh(now, at):
                del self._by_name[name]
                self.forget()
                return True
            # The next name without room looks at others.
            self._by_name.move_to_end(name)
        return False

    def used(self) -> list[Counts]:
        """All counts, the one that was used last first."""
        shared = [] if self._shared is None else [self._shared]
        return [*shared, *reversed(self._by_name.values())]


def _forget_nothing() -> None:
    """No plan uses the counts of the table."""
