"""Limits without a server: buckets, budgets and concurrency, exact under every order of events and in bounded memory."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byway.config import Config, ConfigError, load
from byway.limits.bucket import Bucket, Rate, per_minute, per_second
from byway.limits.budgets import Spending, period_bounds
from byway.limits.counters import SHARED, CountTable
from byway.limits.limiter import CostRow, Limiter, RequestNames
from byway.limits.plan import Admission
from byway.limits.rules import Rule, browser_address, counted_address, make_rules
from byway.prices.price import NANO
from byway.problems import Problem

MINUTE = 60.0
#: 2026-11-30 12:00 UTC, a Monday.
NOON = 1_796_040_000.0


def config(*limits: dict[str, Any], **sections: Any) -> Config:
    return load(json.dumps({"limits": list(limits), **sections}), {})


def limiter(*limits: dict[str, Any], before: Limiter | None = None, **sections: Any) -> Limiter:
    """A limiter at time 0 of its clock, and at noon. Its budgets have nothing to read."""
    made = Limiter(config(*limits, **sections), 0.0, NOON, before)
    made.trust_counts()
    return made


def admitted(limits: Limiter, number: int, now: float = 0.0, **names: str) -> int:
    """How many of `number` requests at the same time pass."""
    passed = 0
    for _ in range(number):
        try:
            limits.admit(RequestNames(**names), now, NOON + now)
        except Problem:
            continue
        passed += 1
    return passed


def refusal(limits: Limiter, now: float = 0.0, at: float | None = None, cost: int = 0, **names: str) -> Problem:
    with pytest.raises(Problem) as raised:
        limits.admit(RequestNames(**names), now, NOON + now if at is None else at, cost=cost)
    return raised.value


# --------------------------------------------------------------------------------------------------------------- buckets

rates = st.one_of(
    st.integers(1, 10_000).map(per_minute),
    st.builds(per_second, st.floats(0.01, 1000), st.integers(0, 1000)),
)


@given(rates, st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=60))
def test_a_bucket_never_gives_more_than_its_capacity_and_what_was_refilled(
    rate: Rate, uses: list[tuple[float, int]]
) -> None:
    bucket, now, taken = Bucket(rate, 0.0), 0.0, 0
    for pause, amount in uses:
        now += pause
        if bucket.wait(amount, now) == 0.0:
            bucket.correct(amount, now)
            taken += amount
    most = max((amount for _, amount in uses), default=0)
    # An amount above the capacity passes when the bucket is full, and leaves a debt.
    assert taken <= rate.capacity + rate.per_second * now + max(0.0, most - rate.capacity) + 0.01


@given(rates, st.floats(0, 1000), st.integers(1, 20_000), st.floats(0, 300))
@example(per_minute(1000), 0.0001, 1000, 0.0)
@example(per_minute(1000), 100.0 + 1e-5, 1000, 0.0)
def test_the_amount_can_be_taken_after_the_wait_and_not_much_earlier(
    rate: Rate, used: float, amount: int, pause: float
) -> None:
    bucket = Bucket(rate, 0.0)
    bucket.wait(0, 5.0)
    bucket.correct(used, 5.0)
    now = 5.0 + pause
    wait = bucket.wait(amount, now)
    if wait:
        assert bucket.wait(amount, now + wait * 0.99 - 0.001) > 0.0 or wait < 0.01
        assert bucket.wait(amount, now + wait + 1e-4) == 0.0


@given(rates, st.integers(1, 100))
def test_a_bucket_gives_exactly_its_capacity_to_a_burst(rate: Rate, more: int) -> None:
    bucket, passed = Bucket(rate, 7.0), 0
    for _ in range(int(rate.capacity) + more):
        if bucket.wait(1, 7.0) == 0.0:
            bucket.correct(1, 7.0)
            passed += 1
    assert passed == int(rate.capacity)


def test_a_limit_per_minute_is_exact_for_a_burst_of_seconds_and_refills_in_tenths() -> None:
    bucket, passed = Bucket(per_minute(100), 0.0), 0
    bucket.wait(1, 1000.0)
    for number in range(200):
        if bucket.wait(1, 1000.0 + number * 0.02) == 0.0:
            bucket.correct(1, 1000.0 + number * 0.02)
            passed += 1
    assert passed == 100
    assert bucket.wait(1, 1004.0) == pytest.approx(2.0)
    assert bucket.level(1006.0) == pytest.approx(10.0)
    assert bucket.level(1060.0) == 100.0


def test_a_clock_that_is_set_back_refills_nothing_and_a_jump_forwards_fills_once() -> None:
    bucket = Bucket(per_second(1, 10), 1000.0)
    bucket.wait(10, 1000.0)
    bucket.correct(10, 1000.0)
    assert bucket.level(0.0) == 0.0
    assert bucket.level(3.0) == pytest.approx(3.0)
    assert bucket.level(1e12) == 10.0


def test_a_debt_after_a_long_pause_is_not_refilled_by_the_pause() -> None:
    limits = limiter({"for": "key", "output_tokens_per_minute": 60})
    limits.admit(RequestNames(key="a"), 1000.0, NOON).settle(0, 120, 0, 2000.0, NOON)
    assert refusal(limits, 2000.1, key="a").retry_after == pytest.approx(66, abs=6)


# ------------------------------------------------------------------------------------------------------------- budgets


def utc(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("day", "2026-11-30T23:59:59", "2026-11-30", "2026-12-01"),
        ("week", "2026-11-30T00:00:00", "2026-11-30", "2026-12-07"),
        ("week", "2026-11-29T23:59:59", "2026-11-23", "2026-11-30"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
        ("week", "1970-01-01T00:00:00", "1969-12-29", "1970-01-05"),
    ],
)
def test_periods_start_at_midnight_utc_on_monday_and_on_the_first(period: Any, at: str, start: str, end: str) -> None:
    assert period_bounds(period, utc(at)) == (int(utc(start)), int(utc(end)))


@given(st.sampled_from(["day", "week", "month"]), st.floats(0, 253_000_000_000))
def test_each_time_is_in_its_period_and_periods_follow_each_other(period: Any, at: float) -> None:
    start, end = period_bounds(period, at)
    assert start <= at < end
    assert period_bounds(period, end)[0] == end
    assert period_bounds(period, start) == (start, end)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 100)), max_size=30))
def test_spending_returns_with_its_period_when_the_clock_is_set_to_another_one_and_back(
    uses: list[tuple[int, int]],
) -> None:
    spending = Spending("day", NOON)
    sums = [0, 0, 0]
    for day, cost in uses:
        spending.turn(NOON + day * 86_400)
        spending.spent += cost
        sums[day] += cost
        assert spending.spent == sums[day]


def test_a_budget_is_open_until_it_is_spent_and_again_in_the_next_period() -> None:
    limits = limiter({"for": "key", "budget": 20, "period": "day"})
    limits.admit(RequestNames(key="a"), 0, NOON).settle(0, 0, 19 * NANO, 1, NOON)
    limits.admit(RequestNames(key="a"), 2, NOON).settle(0, 0, 2 * NANO, 3, NOON)
    problem = refusal(limits, 4, key="a")
    assert (problem.status, problem.row.type, problem.retry) == (429, "billing_error", False)
    assert problem.message == (
        'The budget of key "a" ($20.00 per day) is used up; wait until 2026-12-01 00:00 UTC, or have the budget raised in Byway.'
    )
    assert problem.retry_after == pytest.approx(12 * 3600, abs=10)
    headers = dict(problem.headers)
    prefix = b"anthropic-ratelimit-unified-"
    assert headers[prefix + b"status"] == b"rejected"
    assert headers[prefix + b"overage-period"] == b"daily"
    assert headers[prefix + b"overage-disabled-reason"] == b"org_spend_cap_reached"
    assert prefix + b"overage-scope" not in headers
    assert prefix + b"representative-claim" not in headers
    assert admitted(limits, 1, 4, key="b") == 1
    limits.admit(RequestNames(key="a"), 5, utc("2026-12-01"))


def test_parallel_requests_reserve_what_they_may_cost() -> None:
    limits = limiter({"for": "account", "budget": 1})
    names = RequestNames(account="ada")
    first = limits.admit(names, 0, NOON, cost=2 * NANO)
    problem = refusal(limits, account="ada", cost=1)
    assert (problem.row.type, problem.retry) == ("rate_limit_error", True), "waiting helps"
    first.settle(0, 0, NANO // 2, 1, NOON)
    second = limits.admit(names, 2, NOON, cost=NANO // 4)
    limits.admit(names, 2, NOON, cost=NANO // 4)
    assert refusal(limits, 2, account="ada", cost=1).kind == "limit"
    second.settle(0, 0, NANO, 3, NOON)
    assert refusal(limits, 3, account="ada").kind == "budget"


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20)), max_size=80),
)
def test_a_budget_is_exceeded_by_the_errors_of_estimates_only(budget: int, steps: list[tuple[bool, int, int]]) -> None:
    limits = limiter({"for": "key", "budget": budget})
    running: list[tuple[Admission, int, int]] = []
    spent = error = 0
    for starts, estimate, real in steps:
        if starts:
            if spent >= budget * NANO:
                assert refusal(limits, key="a").kind == "budget"
                continue
            try:
                admission = limits.admit(RequestNames(key="a"), 0, NOON, cost=estimate * NANO)
            except Problem as problem:
                assert problem.kind == "limit" and running
                continue
            # A request alone passes whatever it may cost.
            error += estimate * NANO if not any(other for _, other, _ in running) else 0
            running.append((admission, estimate, real))
        elif running:
            admission, estimate, real = running.pop(0)
            admission.settle(0, 0, real * NANO, 0, NOON)
            spent += real * NANO
            error += max(0, real - estimate) * NANO
            assert spent <= budget * NANO + error


def test_a_budget_is_closed_until_earlier_spending_was_read() -> None:
    limits = Limiter(config({"for": "key", "budget": 5}, {"for": "model", "name": "big*", "budget": 5}), 0, NOON)
    problem = refusal(limits, key="a")
    assert problem.kind == "budget" and dict(problem.headers) == {
        b"anthropic-ratelimit-unified-overage-disabled-reason": b"fetch_error"
    }
    assert problem.retry_after is None and problem.retry is False
    limits.admit(RequestNames(), 0, NOON)
    reading = limits.start_loading(0, NOON)
    (start,) = reading.starts
    rows = [
        CostRow(RequestNames(key="a", alias="big"), "box", "m", 3 * NANO),
        CostRow(RequestNames(key="a"), "box", "bigger", NANO),
        CostRow(RequestNames(key="b", alias="small"), "box", "m", 9 * NANO),
    ]
    limits.finish_loading(reading, limits.sum_up(reading, {start: rows}), 1, NOON)
    assert {(use.subject, use.name): use.used for use in limits.uses(1, NOON)} == {
        ("key", "a"): 4.0,
        ("key", "b"): 9.0,
        ("model", "big"): 3.0,
        ("model", "bigger"): 1.0,
    }
    assert refusal(limits, key="b").kind == "budget"
    limits.admit(RequestNames(key="a"), 0, NOON)


def test_a_clock_that_was_wrong_at_the_start_loses_no_spending() -> None:
    """A machine without a battery starts in 1970 until it gets the time from the network."""
    limits = Limiter(config({"for": "key", "budget": 5}), 0, 0.0)
    limits.finish_loading(limits.start_loading(0, 0.0), (), 0, 0.0)
    limits.admit(RequestNames(key="a"), 0, 0.0).settle(0, 0, NANO, 0, 0.0)
    assert not limits.needs_loading(10, 10.0)
    assert limits.needs_loading(10, NOON + 100_000)
    at = NOON + 100_000
    reading = limits.start_loading(10, at)
    limits.admit(RequestNames(key="a"), 11, at).settle(0, 0, NANO, 11, at)
    rows = [CostRow(RequestNames(key="a"), "", "", 2 * NANO)]
    limits.finish_loading(reading, limits.sum_up(reading, {reading.starts[0]: rows}), 12, at)
    assert [use.used for use in limits.uses(12, at)] == [3.0], "what was read, and what was spent while it was read"
    assert not limits.needs_loading(13, at + 1)


# ------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("subject", ["key", "account", "group", "organization", "address", "global"])
def test_of_200_requests_at_once_exactly_100_pass(subject: str) -> None:
    limits = limiter({"for": subject, "requests_per_minute": 100})
    names: dict[str, Any] = {} if subject == "global" else {subject: "10.0.0.1"}
    assert admitted(limits, 200, **names) == 100


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "end", "wait"]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 300),
            st.integers(0, 300),
        ),
        max_size=120,
    )
)
def test_every_limit_holds_under_any_order_of_events(steps: list[tuple[str, str, int, int]]) -> None:
    limits = limiter(
        {"for": "key", "requests_per_minute": 5, "concurrency": 3},
        {"for": "global", "input_tokens_per_minute": 1000, "concurrency": 4},
    )
    now = 0.0
    running: list[tuple[str, Admission]] = []
    started: list[tuple[float, str]] = []
    for step, key, tokens, used in steps:
        if step == "wait":
            now += used / 10
        elif step == "end" and running:
            _, admission = running.pop(0)
            admission.settle(used, 0, 0, now, NOON + now)
            admission.settle(used, 0, 0, now, NOON + now)
        elif step == "start":
            before = limits.uses(now, NOON + now)
            try:
                admission = limits.admit(RequestNames(key=key), now, NOON + now, tokens=tokens)
            except Problem as problem:
                assert problem.status == 429 and (problem.retry_after or 0) >= 1
                after = {(use.subject, use.name, use.unit): use.used for use in limits.uses(now, NOON + now)}
                assert all(after[use.subject, use.name, use.unit] == use.used for use in before if use.name != "*")
                continue
            running.append((key, admission))
            started.append((now, key))
        assert len(running) <= 4
        for name in "ab":
            assert sum(1 for other, _ in running if other == name) <= 3
            since = [at for at, other in started if other == name and at > now - 60]
            assert len(since) <= 10, "one full bucket and one minute of refilling"


def test_a_refused_request_starts_no_refill() -> None:
    limits = limiter({"for": "key", "requests_per_minute": 10}, {"for": "global", "concurrency": 1})
    running = limits.admit(RequestNames(key="b"), 0, NOON)
    assert refusal(limits, 0, key="a").message.startswith("Limit reached for all requests together: 1 request at once.")
    running.settle(0, 0, 0, 1, NOON)

    def answered(number: int, now: float) -> int:
        passed = 0
        for _ in range(number):
            with contextlib.suppress(Problem):
                limits.admit(RequestNames(key="a"), now, NOON + now).settle(0, 0, 0, now, NOON + now)
                passed += 1
        return passed

    assert [answered(20, now) for now in (5, 7, 12)] == [10, 0, 1], (
        "a tenth of 10 follows 6 seconds after the first use"
    )


def test_the_limit_that_takes_longest_names_the_wait() -> None:
    limits = limiter(
        {"for": "global", "requests_per_minute": 60},
        {"for": "key", "name": "a", "requests_per_minute": 1},
    )
    assert admitted(limits, 3, key="a") == 1
    problem = refusal(limits, key="a")
    assert (
        problem.message
        == 'Limit reached for key "a": 1 request per minute. Retry in 60 s, or have the limit raised in Byway.'
    )
    assert (problem.kind, problem.status, problem.retry_after, problem.retry) == ("limit", 429, 60, None)
    assert dict(problem.headers)[b"anthropic-ratelimit-requests-remaining"] == b"0"
    assert admitted(limits, 100, key="b") == 59, "what one limit refused is counted in none"


def test_tokens_are_counted_as_estimated_first_and_then_as_used() -> None:
    limits = limiter({"for": "key", "tokens_per_minute": 1000})
    names = RequestNames(key="a")
    first = limits.admit(names, 0, NOON, tokens=900)
    with pytest.raises(Problem):
        limits.admit(names, 0, NOON, tokens=200)
    first.settle(100, 50, 0, 1, NOON)
    assert [use.used for use in limits.uses(1, NOON)] == [150.0]
    second = limits.admit(names, 1, NOON, tokens=850)
    second.settle(850, 500, 0, 2, NOON)
    assert refusal(limits, 2, key="a").retry_after == 28 or refusal(limits, 2, key="a").retry_after == 34


def test_a_prompt_above_the_limit_passes_when_nothing_else_was_used() -> None:
    limits = limiter({"for": "key", "input_tokens_per_minute": 1000})
    limits.admit(RequestNames(key="a"), 0, NOON, tokens=5000).settle(5000, 9, 0, 0, NOON)
    assert refusal(limits, 200, key="a").kind == "limit"
    assert admitted(limits, 1, 301, key="a") == 1


def test_names_and_patterns_limit_only_what_they_match() -> None:
    limits = limiter(
        {"for": "key", "name": "ci-*", "requests_per_minute": 1},
        {"for": "group", "name": "students", "requests_per_minute": 2},
    )
    assert [admitted(limits, 5, key=key) for key in ("ci-1", "ci-2", "ada")] == [1, 1, 5]
    assert [admitted(limits, 5, group=group) for group in ("students", "staff")] == [2, 5]


# -------------------------------------------------------------------------------------------------------------- targets


def test_a_limit_for_models_counts_the_models_of_backends_and_not_invented_names() -> None:
    limits = limiter({"for": "model", "requests_per_minute": 1}, {"for": "backend", "name": "box", "concurrency": 1})
    admission = limits.admit(RequestNames(requested="invented"), 0, NOON)
    admission.enter("cloud", "m", 0, NOON)
    other = limits.admit(RequestNames(requested="invented-2"), 0, NOON)
    with pytest.raises(Problem) as raised:
        other.enter("cloud", "m", 0, NOON)
    assert 'model "cloud/m"' in raised.value.message and raised.value.row.failover
    other.enter("box", "m", 0, NOON)
    third = limits.admit(RequestNames(requested="x"), 0, NOON)
    with pytest.raises(Problem) as raised:
        third.enter("box", "other", 0, NOON)
    assert 'backend "box": 1 request at once' in raised.value.message
    other.leave(0)
    third.enter("box", "other", 0, NOON)


def test_a_limit_for_a_model_counts_an_alias_or_a_target_once() -> None:
    limits = limiter({"for": "model", "name": "opus", "requests_per_minute": 10})
    for names, target in (
        (RequestNames(requested="opus"), "opus"),
        (RequestNames(requested="claude-opus-5", alias="opus"), "big"),
        (RequestNames(requested="x"), "opus"),
        (RequestNames(requested="x"), "big"),
    ):
        limits.admit(names, 0, NOON).enter("box", target, 0, NOON)
    assert [use.used for use in limits.uses(0, NOON)] == [3.0]


# ------------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("peer", "forwarded", "real", "rightmost", "address"),
    [
        ("203.0.113.9", b"198.51.100.1", b"", True, "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.9", b"192.0.2.1", True, "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.9, 10.0.0.2", b"", True, "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.9", b"", False, "198.51.100.1"),
        ("10.0.0.1", b"", b"192.0.2.1", True, "192.0.2.1"),
        ("10.0.0.1", b"unknown, ", b"", True, "10.0.0.1"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", b"", True, "10.0.0.3"),
        ("::ffff:10.0.0.1", b"2001:db8::1", b"", True, "2001:db8::1"),
        ("10.0.0.1", b"198.51.100.1:443, 203.0.113.9:52000", b"", True, "203.0.113.9"),
        ("10.0.0.1", b"[2001:db8::1]:443", b"", True, "2001:db8::1"),
        ("10.0.0.1", b"[2001:db8::1]", b"", True, "2001:db8::1"),
        ("10.0.0.1", b"203.0.113.9:http", b"", True, "10.0.0.1"),
        ("", b"198.51.100.1", b"", True, ""),
    ],
)
def test_only_a_trusted_proxy_names_the_address_of_its_client(
    peer: str, forwarded: bytes, real: bytes, rightmost: bool, address: str
) -> None:
    limits = limiter(
        {"for": "address", "requests_per_minute": 1},
        server={"trusted_proxies": ["10.0.0.0/8"]},
        rate_limiting={"use_rightmost_xff": rightmost},
    )
    scope = {"client": (peer, 5), "server": ("127.0.0.1", 80)}
    headers = {b"x-forwarded-for": forwarded, b"x-real-ip": real}
    assert limits.address(scope, headers) == address
    assert limits.address({"client": (peer, 5), "server": ("/tmp/socket", None)}, headers) == ""


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::/64"),
        ("socket", "198.51.100.1", "socket"),
    ],
)
def test_failed_logins_are_counted_by_the_address_before_trusted_proxies(
    peer: str, forwarded: str, address: str
) -> None:
    assert counted_address(browser_address(peer, forwarded, ("10.0.0.0/8",))) == address


@pytest.mark.parametrize(("rightmost", "address"), [(True, "203.0.113.9"), (False, "198.51.100.1")])
def test_a_long_list_of_addresses_is_read_and_remembered_in_part(rightmost: bool, address: str) -> None:
    limits = limiter(
        {"for": "address", "requests_per_minute": 1},
        server={"trusted_proxies": ["10.0.0.0/8"]},
        rate_limiting={"use_rightmost_xff": rightmost},
    )
    read: list[bytes] = []

    def client_address(peer: str, forwarded: bytes, real: bytes) -> str:
        read.append(forwarded)
        return limits._client_address(peer, forwarded, real)

    limits.client_address = client_address  # type: ignore[assignment]
    header = b"198.51.100.1, " + b"192.0.2.7," * 6000 + b" 203.0.113.9"
    scope = {"server": ("127.0.0.1", 38080), "client": ("10.0.0.1", 5)}
    assert limits.address(scope, {b"x-forwarded-for": header}) == address
    assert all(len(text) <= 1024 and text.count(b",") > 50 for text in read)
    untrusting = limiter({"for": "address", "requests_per_minute": 1})
    for number in range(9):
        untrusting.address(scope, {b"x-forwarded-for": b"%d" % number})
    assert untrusting.client_address.cache_info().currsize == 1


def test_the_addresses_of_one_ipv6_network_share_a_count() -> None:
    limits = limiter({"for": "address", "requests_per_minute": 1})
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"]
    assert [admitted(limits, 1, address=address) for address in addresses] == [1, 0, 1, 1, 1]


def test_the_rate_limiting_section_limits_clients_keys_and_backends() -> None:
    bucket = {"requests_per_second": 1, "burst_capacity": 3}
    limits = limiter(
        server={"trusted_proxies": ["10.0.0.1"]},
        rate_limiting={
            "enabled": True,
            "limits": {"per_client": bucket, "global": {"requests_per_second": 100, "burst_capacity": 100}},
            "whitelist": ["192.168.0.0/16"],
            "bypass_keys": ["secret-1"],
        },
    )
    assert [admitted(limits, 9, address=address) for address in ("192.0.2.1", "192.0.2.2")] == [3, 3]
    assert [admitted(limits, 9, key=key, address="192.0.2.1") for key in ("a", "b")] == [3, 3], (
        "a key is known by itself"
    )
    assert admitted(limits, 9, 2.0, key="a") == 2
    assert limits.skips("192.168.7.7", ()) and not limits.skips("192.0.2.1", (b"secret-2",))
    assert limits.skips("192.0.2.1", (b"other", b"secret-1"))
    for _ in range(200):
        limits.admit(RequestNames(key="a"), 0, NOON, skip=True)


# --------------------------------------------------------------------------------------------------------------- memory


def test_invented_names_do_not_grow_the_table_and_reset_no_count() -> None:
    table = CountTable(Rule("address", requests=per_minute(5)), most=100)
    attacker = table.get("attacker", 0, NOON)
    attacker.buckets[0][1].correct(5, 0.0)
    for number in range(5000):
        counts = table.get(f"invented-{number}", 0, NOON)
        if counts.buckets[0][1].wait(1, 0.0) == 0.0:
            counts.buckets[0][1].correct(1, 0.0)
    assert len(table.used()) <= 101
    assert table.get("attacker", 0, NOON) is attacker
    assert attacker.buckets[0][1].wait(1, 0.0) > 0
    assert {counts.name for counts in table.used()} >= {SHARED, "attacker"}
    assert table.get("later", 120.0, NOON).name == "later", "counts that are full again make room"


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20)), max_size=150))
def test_a_full_table_never_gives_a_name_more_than_its_limit(uses: list[tuple[int, float]]) -> None:
    table = CountTable(Rule("address", requests=per_minute(2)), most=5)
    now, passed = 0.0, dict.fromkeys(map(str, range(31)), 0)
    for number, pause in uses:
        now += pause
        counts = table.get(str(number), now, NOON)
        if counts.buckets[0][1].wait(1, now) == 0.0:
            counts.buckets[0][1].correct(1, now)
            passed[str(number)] += 1
    assert len(table.used()) <= 6
    # A name may have used its own counts, and then the shared ones.
    assert all(number <= 2 * (2 + now / 30) for number in passed.values())


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 15), st.booleans()), max_size=120))
def test_no_name_exceeds_its_limit_while_counts_are_removed_and_callers_are_remembered(
    steps: list[tuple[str, float, bool]],
) -> None:
    limits = limiter({"for": "address", "requests_per_minute": 2, "concurrency": 2})
    limits.tables[0]._most = 3
    now, passed = 0.0, dict.fromkeys("abcdefgh", 0)
    running: list[tuple[str, Admission]] = []
    for name, pause, ends in steps:
        now += pause
        if ends and running:
            running.pop(0)[1].settle(0, 0, 0, now, NOON + now)
        try:
            running.append((name, limits.admit(RequestNames(address=name), now, NOON + now)))
        except Problem:
            continue
        passed[name] += 1
        assert sum(1 for other, _ in running if other == name) <= 4, "its own places, and the shared ones"
        assert len(limits.tables[0].used()) <= 4
    assert all(number <= 2 * (2 + now / 30 + 0.2) for number in passed.values())


def test_invented_models_and_addresses_leave_the_limiter_small() -> None:
    limits = limiter(
        {"for": "model", "name": "x-*", "requests_per_minute": 1},
        {"for": "address", "requests_per_minute": 1},
        {"for": "backend", "requests_per_minute": 100_000_000},
    )
    for table in limits.tables:
        table._most = 300
    for number in range(6_000):
        names = RequestNames(requested=f"x-{number}", address=f"10.0.{number % 250}.{number // 250}")
        with contextlib.suppress(Problem):
            limits.admit(names, 0, NOON).enter("box", f"m-{number % 7}", 0, NOON)
    assert len(limits.plans) <= 4096
    assert all(len(table.used()) <= 301 for table in limits.tables)


def test_a_request_is_not_slower_with_more_keys_that_have_limits() -> None:
    def make(size: int) -> Limiter:
        keys = [{"key": f"key-number-{number}", "id": f"k{number}", "rate_limit": 1000} for number in range(size)]
        return limiter(api_keys={"api_keys": keys})

    few, many = make(10), make(200)
    assert admitted(many, 1, key="k199") == 1 and len(many._tables_of(RequestNames(key="k7"))) == 1
    assert len(few._tables_of(RequestNames(key="k7"))) == 1
    assert many._indexes[0].patterns == [], "exact names are looked up"


# --------------------------------------------------------------------------------------------------------------- reload


def test_a_reload_keeps_the_counts_of_limits_that_stay_or_change_their_amount() -> None:
    first = limiter(
        {"for": "key", "requests_per_minute": 3},
        {"for": "global", "concurrency": 2},
        {"for": "account", "budget": 5},
    )
    admission = first.admit(RequestNames(key="a", account="ada"), 0, NOON)
    first.admit(RequestNames(key="a", account="ada"), 0, NOON).settle(0, 0, 4 * NANO, 0, NOON)
    second = Limiter(
        config(
            {"for": "account", "budget": 6},
            {"for": "key", "requests_per_minute": 4},
            {"for": "global", "concurrency": 1},
        ),
        0,
        NOON,
        first,
    )
    assert not second.needs_loading(0, NOON)
    assert refusal(second, key="a").message.startswith("Limit reached for all requests together: 1 request at once.")
    admission.settle(0, 0, NANO, 0, NOON)
    assert admitted(second, 1, key="a") == 1
    assert [(use.path, use.name, use.used) for use in second.uses(0, NOON)] == [
        ("limits.0", "ada", 5.0),
        ("limits.1", "a", 3.0),
        ("limits.2", "all", 1.0),
    ]


def test_a_request_that_runs_during_a_reload_ends_in_the_budget_that_reserved_its_cost() -> None:
    first = limiter({"for": "account", "budget": 5})
    names = RequestNames(account="ada")
    admission = first.admit(names, 0, NOON, cost=2 * NANO)
    second = limiter({"for": "account", "budget": 6}, before=first)
    assert refusal(second, account="ada", cost=5 * NANO).kind == "limit", "the running request may cost 2 dollars"
    admission.settle(0, 0, NANO, 1, NOON)
    assert [use.used for use in second.uses(1, NOON)] == [1.0]
    second.admit(names, 2, NOON, cost=NANO)
    assert refusal(second, 2, account="ada", cost=5 * NANO).kind == "limit"
    second.admit(names, 2, NOON, cost=4 * NANO)


# --------------------------------------------------------------------------------------------------------------- config


def test_the_reference_form_of_limits_is_read_with_both_forms_of_a_key_s_rate() -> None:
    text = """
api_keys: {api_keys: [{key: k1, id: a, rate_limit: 1000}, {key: k2, rate_limit: {requests_per_second: 10, burst_capacity: 20}}]}
rate_limiting:
  enabled: true
  storage: memory
  limits:
    per_client: {requests_per_second: 10, burst_capacity: 20}
    per_backend: {requests_per_second: 100, burst_capacity: 200}
    per_model: {requests_per_second: 5}
    global: {requests_per_second: 1000, burst_capacity: 2000}
    per_api_key: {requests_per_second: 10, burst_capacity: 20}
"""
    loaded = load(text, {})
    assert [warning.path for warning in loaded.warnings] == []
    rules = [(rule.subject, rule.name, rule.requests and rule.requests[:2]) for rule in make_rules(loaded)]
    assert rules == [
        ("key", "a", (1000.0, 1000 / 60)),
        ("key", "key-2", (20.0, 10.0)),
        ("key", "*", (20.0, 10.0)),
        ("address", "*", (20.0, 10.0)),
        ("backend", "*", (200.0, 100.0)),
        ("model", "*", (5.0, 5.0)),
        ("global", "*", (2000.0, 1000.0)),
    ]


@pytest.mark.parametrize(
    ("section", "path", "words"),
    [
        ("limits: [{requests_per_minute: 5}]", "limits.0.for", "required: key, account, group"),
        ("limits: [{for: key}]", "limits.0", "the limit has no amount; set one of requests_per_minute"),
        ("limits: [{for: address, budget: 5}]", "limits.0.budget", "an address cannot have a budget"),
        ("limits: [{for: global, name: x, budget: 5}]", "limits.0.name", "a limit for global has no name"),
        ('limits: [{for: key, name: "", budget: 5}]', "limits.0.name", "is empty"),
        (
            "rate_limiting: {limits: {global: {requests_per_second: -1, burst_capacity: 5}}}",
            "rate_limiting.limits.global.requests_per_second",
            "expected a number of at least 0",
        ),
        ("limits: [{for: team, budget: 5}]", "limits.0.for", "'team' is not one of key, account"),
        ("limits: [{for: key, budget: -5}]", "limits.0.budget", "expected a number of at least 0.001"),
        ("limits: [{for: key, concurrency: 0}]", "limits.0.concurrency", "expected a whole number of at least 1"),
        ("rate_limiting: {enabled: true, storage: redis}", "rate_limiting.storage", "redis is not supported"),
    ],
)
def test_a_limit_that_cannot_work_is_an_error_of_the_config(section: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(section, {})
    assert [(problem.path, words in problem.message) for problem in raised.value.problems] == [(path, True)]


def test_a_limit_for_a_backend_that_does_not_exist_is_a_warning() -> None:
    names = ("bix", "box", "b*")
    limits = ", ".join(f"{{for: backend, name: '{name}', concurrency: 2}}" for name in names)
    loaded = load(f"backends: [{{name: box, type: ollama}}]\nlimits: [{limits}]", {})
    assert [str(warning) for warning in loaded.warnings] == [
        "limits.0.name: warning: no backend has the name 'bix', so this limit has no effect. The backends are box"
    ]


def test_a_bucket_without_a_rate_is_a_warning_and_no_limit() -> None:
    loaded = load("rate_limiting: {enabled: true, limits: {global: {burst_capacity: 5}}}", {})
    assert [str(warning) for warning in loaded.warnings] == [
        "rate_limiting.limits.global.requests_per_second: warning: is missing or 0, so this bucket limits nothing"
    ]
    assert not make_rules(loaded)
