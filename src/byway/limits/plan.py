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
from byway.limits.counters import INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS, TOKENS, UNITS, Counts
from byway.problems import Problem
from byway.usage.record import MOST_COST, MOST_TOKENS


class TargetPlan(Protocol):
    """Returns the plan of an attempt at a target."""

    def __call__(self, backend: str, model: str, now: float, at: float) -> Plan: ...


class Plan:
    """The counts of all limits that apply to a request, or to an attempt at a target."""

    __slots__ = (
        "_answer_buckets", "_prompt_buckets", "_request_buckets", "budgets", "counts", "headers", "target_plan",
        "token_buckets",
    )  # fmt: skip

    def __init__(self, counts: Sequence[Counts], target_plan: TargetPlan | None = None) -> None:
        self.counts = counts
        # A reload may change what a rule limits. A running request ends in what it was counted in.
        self.budgets = tuple(each.spending for each in counts if each.spending is not None)
        buckets = [pair for each in counts for pair in each.buckets]
        self._request_buckets = tuple(bucket for kind, bucket in buckets if kind == REQUESTS)
        self._prompt_buckets = tuple(bucket for kind, bucket in buckets if kind in (TOKENS, INPUT_TOKENS))
        self._answer_buckets = tuple(bucket for kind, bucket in buckets if kind == OUTPUT_TOKENS)
        self.token_buckets = tuple(pair for pair in buckets if pair[0] != REQUESTS)
        """The buckets that are corrected when it is known what a request has used, each with its place in UNITS."""
        self.headers = refusals.QuotaHeaders(counts, self.budgets)
        self.target_plan = target_plan
        """Limits of backends and models apply to each attempt: `Admission.enter`. None: there are none."""

    def admit(self, tokens: int, cost: int, now: float, at: float) -> Admission:
        """Count a request of about `tokens` input tokens that may `cost` as many nano-dollars. Raises Problem."""
        self.count(tokens, cost, now, at)
        return Admission(self, tokens, cost)

    def count(self, tokens: int, cost: int, now: float, at: float) -> None:
        """Count a request as `admit` does, which `Admission.settle` ends. When a limit refuses it, it is counted in none.

        Each limit is checked and counted in one step. A request that may not fit is taken back afterwards.
        """
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
        for bucket in self._request_buckets:
            if now >= bucket.due:
                bucket.refill(now, 1)
            if bucket.held < 1 and bucket.lacks(1):
                fits = False
            bucket.held -= 1
        for bucket in self._prompt_buckets:
            if now >= bucket.due:
                bucket.refill(now, tokens)
            if bucket.held < tokens and bucket.lacks(tokens):
                fits = False
            bucket.held -= tokens
        for bucket in self._answer_buckets:
            # Nothing is taken for the answer before its tokens are known.
            if now >= bucket.due:
                bucket.refill(now, 0)
            if bucket.held < 1 and bucket.lacks(1):
                fits = False
        if not fits:
            self._change(-1, tokens, cost, now)
            self._check(tokens, cost, now, at)
            self._change(1, tokens, cost, now)

    def _change(self, sign: int, tokens: int, cost: int, now: float) -> None:
        """Count a request, or take it back when `sign` is negative."""
        for counts in self.counts:
            counts.running += sign
        for spending in self.budgets:
            spending.reserved += sign * cost
        for bucket in self._request_buckets:
            bucket.correct(sign, now)
        for bucket in self._prompt_buckets:
            bucket.correct(sign * tokens, now)

    def _check(self, tokens: int, cost: int, now: float, at: float) -> None:
        """Raise the Problem of the limit that refuses the request for the longest time, if one does."""
        problems = [_refusal(counts, tokens, cost, now, at) for counts in self.counts]
        refusing = [problem for problem in problems if problem is not None]
        if refusing:
            raise max(refusing, key=_severity)


class Admission(msgspec.Struct, eq=False, gc=False):
    """A request that was admitted, or an attempt at a target. It is counted in its plan until `settle`."""

    plan: Plan
    _tokens: int
    _cost: int
    _at_target: Admission | None = None
    """The attempt at a target that is counted now."""
    _settled: bool = False

    def enter(self, backend: str, model: str, now: float, at: float) -> None:
        """Count an attempt at a target in the limits of its backend and model. Raises Problem."""
        self.leave(now)
        if self.plan.target_plan is not None:
            self._at_target = self.plan.target_plan(backend, model, now, at).admit(self._tokens, self._cost, now, at)

    def leave(self, now: float) -> None:
        """End a failed attempt at a target: its tokens are available again."""
        if self._at_target is not None:
            self._at_target.settle(0, 0, 0, now, 0.0)
            self._at_target = None

    def settle(self, input_tokens: int, output_tokens: int, cost: int, now: float, at: float) -> None:
        """End the request: replace its estimates by what it has really used. A `cost` counts in the period of `at`.

        `input_tokens` has no tokens that were read from a cache. A backend may report any number: a negative one would give
        back what others have used.

        Ends only once: later calls change nothing.
        """
        if self._settled:
            return
        self._settled = True
        # The numbers joined bit by bit are negative when one of them is, and at least as large as each of them.
        if not 0 <= input_tokens | output_tokens | cost <= MOST_TOKENS:
            input_tokens, output_tokens, cost = _limited(input_tokens, output_tokens, cost)
        if self._at_target is not None:
            self._at_target.settle(input_tokens, output_tokens, cost, now, at)
        plan = self.plan
        tokens = self._tokens
        for counts in plan.counts:
            counts.running -= 1
        for spending in plan.budgets:
            spending.reserved -= self._cost
            if cost:
                if at >= spending.end or at < spending.start:
                    spending.turn(at)
                spending.spent += cost
        # What each of UNITS has used beyond the estimate.
        more = (0, input_tokens + output_tokens - tokens, input_tokens - tokens, output_tokens)
        for kind, bucket in plan.token_buckets:
            if amount := more[kind]:
                # As `bucket.correct`.
                if now >= bucket.due:
                    bucket.refill(now, amount)
                bucket.held -= amount
                if bucket.held >= bucket.capacity:
                    bucket.fill()

    def add(
        self, backend: str, model: str, input_tokens: int, output_tokens: int, cost: int, now: float, at: float
    ) -> None:
        """Count what else the request has used: a failed attempt at a target, or a request of Byway's own for it."""
        plans = [self.plan]
        if self.plan.target_plan is not None:
            plans.append(self.plan.target_plan(backend, model, now, at))
        for plan in plans:
            for counts in plan.counts:
                counts.running += 1
            Admission(plan, 0, 0).settle(input_tokens, output_tokens, cost, now, at)


def _limited(input_tokens: int, output_tokens: int, cost: int) -> tuple[int, int, int]:
    """The numbers, or the nearest ones that can be counted."""
    return (
        max(0, min(input_tokens, MOST_TOKENS)),
        max(0, min(output_tokens, MOST_TOKENS)),
        max(0, min(cost, MOST_COST)),
    )


def _refusal(counts: Counts, tokens: int, cost: int, now: float, at: float) -> Problem | None:
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
    # What the bucket of each of UNITS must hold.
    wanted = (1, tokens, tokens, 1)
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
