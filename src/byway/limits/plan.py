"""Plan: the limits that apply together to a request. It counts the request in all of them, or in none.

`now` is of the monotonic clock, `at` in seconds since the epoch. Nothing is awaited between the check and the count, so that
parallel requests never pass a limit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from byway.limits import refusals
from byway.limits.bucket import Bucket
from byway.limits.counters import UNITS, Counts
from byway.problems import Problem
from byway.usage.record import MOST_COST, MOST_TOKENS


class TargetPlan(Protocol):
    """Returns the plan of an attempt at a target."""

    def __call__(self, backend: str, model: str, now: float, at: float) -> Plan: ...


class Plan:
    """The counts of all limits that apply to a request, or to an attempt at a target."""

    __slots__ = ("_buckets", "_token_buckets", "budgets", "counts", "target_plan", "units")

    def __init__(self, counts: Sequence[Counts], target_plan: TargetPlan | None = None) -> None:
        self.counts = counts
        # A reload may change what a rule limits. A running request ends in what it was counted in.
        self.budgets = tuple(each.spending for each in counts if each.spending is not None)
        self._buckets = tuple(pair for each in counts for pair in each.buckets)
        self._token_buckets = tuple(pair for each in counts for pair in each.token_buckets)
        self.units = refusals.by_unit(counts)
        self.target_plan = target_plan
        """Limits of backends and models apply to each attempt: `Admission.enter`. None: there are none."""

    def admit(self, tokens: int, cost: int, now: float, at: float) -> Admission:
        """Count a request of about `tokens` input tokens that may `cost` as many nano-dollars. Raises Problem."""
        self.count(tokens, cost, now, at)
        return Admission(self, tokens, cost)

    def count(self, tokens: int, cost: int, now: float, at: float) -> None:
        """Count a request in all limits. Raises Problem when one of them refuses it, and counts it in none.

        Each limit is checked and counted in one step. A request that may not fit is taken back afterwards.
        """
        # What the bucket of each of UNITS must hold. Nothing is taken for the answer before its tokens are known.
        wanted, taken = (1, tokens, tokens, 1), (1, tokens, tokens, 0)
        fits = True
        for counts in self.counts:
            if counts.running >= counts.most_running:
                fits = False
            counts.running += 1
        for spending in self.budgets:
            if at >= spending.end or at < spending.start:
                spending.turn(at)
            if spending.spent + spending.reserved + cost >= spending.budget or not spending.loaded:
                fits = False
            spending.reserved += cost
        for kind, bucket in self._buckets:
            if now >= bucket.due:
                bucket.refill(now, taken[kind])
            if bucket.held < wanted[kind] and bucket.lacks(wanted[kind]):
                fits = False
            bucket.held -= taken[kind]
        if not fits:
            self._change(-1, taken, cost, now)
            self._check(wanted, cost, now, at)
            self._change(1, taken, cost, now)

    def _change(self, sign: int, taken: tuple[int, int, int, int], cost: int, now: float) -> None:
        """Count a request, or take it back when `sign` is negative."""
        for counts in self.counts:
            counts.running += sign
        for spending in self.budgets:
            spending.reserved += sign * cost
        for kind, bucket in self._buckets:
            bucket.correct(sign * taken[kind], now)

    def _check(self, wanted: tuple[int, int, int, int], cost: int, now: float, at: float) -> None:
        """Raise the Problem of the limit that refuses the request for the longest time, if one does."""
        problems = [_refusal(counts, wanted, cost, now, at) for counts in self.counts]
        refusing = [problem for problem in problems if problem is not None]
        if refusing:
            raise max(refusing, key=_severity)

    def settle(
        self, tokens: int, reserved: int, input_tokens: int, output_tokens: int, cost: int, now: float, at: float
    ) -> None:
        """End a request: replace its estimates, `tokens` and `reserved`, by what it has used.

        A `cost` counts in the period of `at`.
        """
        for counts in self.counts:
            counts.running -= 1
        for spending in self.budgets:
            spending.reserved -= reserved
            if cost:
                if at >= spending.end or at < spending.start:
                    spending.turn(at)
                spending.spent += cost
        # Of each of UNITS.
        differences = (0, input_tokens + output_tokens - tokens, input_tokens - tokens, output_tokens)
        for kind, bucket in self._token_buckets:
            if difference := differences[kind]:
                bucket.correct(difference, now)


class Admission(msgspec.Struct, eq=False, gc=False):
    """A request that was admitted. It is counted until `settle`."""

    plan: Plan
    _tokens: int
    _cost: int
    _at_target: Plan | None = None
    _settled: bool = False

    def enter(self, backend: str, model: str, now: float, at: float) -> None:
        """Count an attempt at a target in the limits of its backend and model. Raises Problem."""
        self.leave(now)
        if self.plan.target_plan is not None:
            plan = self.plan.target_plan(backend, model, now, at)
            plan.count(self._tokens, self._cost, now, at)
            self._at_target = plan

    def leave(self, now: float) -> None:
        """End a failed attempt at a target: its tokens are available again."""
        if self._at_target is not None:
            self._at_target.settle(self._tokens, self._cost, 0, 0, 0, now, 0.0)
            self._at_target = None

    def settle(self, input_tokens: int, output_tokens: int, cost: int, now: float, at: float) -> None:
        """End the request with what it has really used. `input_tokens` has no tokens that were read from a cache.

        A backend may report any number: a negative one would give back what others have used.

        Ends only once: later calls change nothing.
        """
        if self._settled:
            return
        self._settled = True
        # The numbers joined bit by bit are negative when one of them is, and at least as large as each of them.
        if not 0 <= input_tokens | output_tokens | cost <= MOST_TOKENS:
            input_tokens, output_tokens, cost = _limited(input_tokens, output_tokens, cost)
        if self._at_target is not None:
            self._at_target.settle(self._tokens, self._cost, input_tokens, output_tokens, cost, now, at)
        self.plan.settle(self._tokens, self._cost, input_tokens, output_tokens, cost, now, at)

    def add(
        self, backend: str, model: str, input_tokens: int, output_tokens: int, cost: int, now: float, at: float
    ) -> None:
        """Count what else the request has used: a failed attempt at a target, or a request of Byway's own for it."""
        input_tokens, output_tokens, cost = _limited(input_tokens, output_tokens, cost)
        plans = [self.plan]
        if self.plan.target_plan is not None:
            plans.append(self.plan.target_plan(backend, model, now, at))
        for plan in plans:
            for counts in plan.counts:
                counts.running += 1
            plan.settle(0, 0, input_tokens, output_tokens, cost, now, at)


def _limited(input_tokens: int, output_tokens: int, cost: int) -> tuple[int, int, int]:
    """The numbers, or the nearest ones that can be counted."""
    return (
        max(0, min(input_tokens, MOST_TOKENS)),
        max(0, min(output_tokens, MOST_TOKENS)),
        max(0, min(cost, MOST_COST)),
    )


def _refusal(counts: Counts, wanted: tuple[int, int, int, int], cost: int, now: float, at: float) -> Problem | None:
    """The Problem of the limit that refuses the request; None when there is room."""
    rule, spending = counts.rule, counts.spending
    if spending is not None and rule.budget is not None:
        if not spending.loaded:
            return refusals.unreadable()
        spending.turn(at)
        if spending.spent >= rule.budget:
            return refusals.over_budget(counts, spending, at)
        if not spending.has_room(cost):
            return refusals.running_use_budget(counts, spending, now, at)
    if rule.concurrency is not None and counts.running >= rule.concurrency:
        return refusals.too_many_running(counts, now, at)
    longest, what = 0.0, ""
    for kind, bucket in counts.buckets:
        if (wait := bucket.wait(wanted[kind], now)) > longest:
            longest, what = wait, _amount(bucket, UNITS[kind])
    return refusals.too_many(counts, what, longest, now, at) if what else None


def _severity(problem: Problem) -> tuple[bool, float]:
    return problem.kind == "budget", problem.retry_after or 0.0


def _amount(bucket: Bucket, unit: str) -> str:
    """What a bucket allows: `60 requests per minute`."""
    rate = bucket.rate
    if rate.step:
        return f"{rate.limit} {unit.removesuffix('s') if rate.limit == 1 else unit} per minute"
    return f"{rate.per_second:g} {unit} per second, {rate.capacity:g} at once"
