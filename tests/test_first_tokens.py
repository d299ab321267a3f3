"""Percentiles of the time to the first token, and sums of the last minutes."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from test_usage_store import MONDAY, add, record
from test_usage_store import store as store

from byway.store import UsageFilter, UsageStore, UsageSums
from byway.store.firsttokens import BOUNDS, bucket_expression, bucket_of, percentile
from byway.store.usagequeries import DAY, HOUR


def histogram(*times: float) -> dict[int, int]:
    counts: dict[int, int] = {}
    for time in times:
        counts[bucket_of(time)] = counts.get(bucket_of(time), 0) + 1
    return counts


# ------------------------------------------------------------------------------------------------------------ percentiles


def test_buckets_grow_by_a_quarter() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS)) and BOUNDS[0] == 10 and BOUNDS[-1] > 600_000
    assert all(high / low < 1.34 for low, high in itertools.pairwise(BOUNDS))


@settings(max_examples=examples(100))
@given(times=st.lists(st.floats(10, 600_000), min_size=1, max_size=60), share=st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_at_most_a_bucket_off(times: list[float], share: float) -> None:
    estimate = percentile(histogram(*times), share)
    exact = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    assert estimate is not None and exact / 1.34 <= estimate <= exact * 1.34


def test_times_beyond_the_bounds_have_a_percentile_too() -> None:
    assert percentile({}, 0.5) is None
    assert percentile(histogram(0.0, 1.0), 0.5) == 5.0
    assert percentile(histogram(1e9), 0.5) == BOUNDS[-1]


@settings(max_examples=examples(100))
@given(st.floats(0, 1e7))
def test_sql_and_python_agree_on_the_bucket(time: float) -> None:
    database = sqlite3.connect(":memory:")
    (bucket,) = database.execute(f"SELECT {bucket_expression('?1')}", (time,)).fetchone()
    database.close()
    assert bucket == bucket_of(time)


# -------------------------------------------------------------------------------------------------------------- the store


def test_first_tokens_are_counted_in_total_and_by_hour_and_day(store: UsageStore) -> None:
    add(
        store,
        record(1, MONDAY + 10, first_ms=40.0),
        record(2, MONDAY + HOUR, first_ms=41.0, model="small"),
        record(3, MONDAY + HOUR, first_ms=5_000.0),
        record(4, MONDAY + DAY, first_ms=40.0),
        record(5, MONDAY + DAY, first_ms=None),
    )
    fast, slow = bucket_of(40.0), bucket_of(5_000.0)
    assert store.first_tokens() == [(None, {fast: 3, slow: 1})]
    assert store.first_tokens(every="hour") == [
        (MONDAY, {fast: 1}),
        (MONDAY + HOUR, {fast: 1, slow: 1}),
        (MONDAY + DAY, {fast: 1}),
    ]
    assert store.first_tokens(MONDAY, every="day") == [(MONDAY, {fast: 2, slow: 1}), (MONDAY + DAY, {fast: 1})]
    assert store.first_tokens(MONDAY + HOUR, MONDAY + DAY, UsageFilter(model="small")) == [(None, {fast: 1})]
    with pytest.raises(ValueError, match="session"):
        store.first_tokens(where=UsageFilter(session="s1"))


def test_first_tokens_of_one_minute_come_from_the_records(store: UsageStore) -> None:
    add(store, record(1, MONDAY + 59, first_ms=40.0), record(2, MONDAY + 61, first_ms=40.0, account="ada"))
    fast = bucket_of(40.0)
    assert store.first_tokens(MONDAY, every="minute", exact=True) == [(MONDAY, {fast: 1}), (MONDAY + 60, {fast: 1})]
    assert store.first_tokens(MONDAY, where=UsageFilter(account="ada"), exact=True) == [(None, {fast: 1})]


def test_exact_sums_are_not_rounded_to_hours(store: UsageStore) -> None:
    add(
        store,
        record(1, MONDAY),
        record(2, MONDAY + 90, session="s2"),
        record(3, MONDAY + 3_000, model="small", status=500),
    )
    period = MONDAY + 60, MONDAY + 3_600
    assert [sums.requests for sums in store.sums(None, *period)] == [3]
    (total,) = store.sums(None, *period, exact=True)
    assert (total.requests, total.errors, total.input_tokens, total.cost, total.with_content) == (2, 1, 20, 2_000, 2)
    minutes = store.sums(None, *period, every="minute", exact=True)
    assert [(sums.at, sums.requests) for sums in minutes] == [(MONDAY + 60, 1), (MONDAY + 3_000, 1)]
    assert {sums.name for sums in store.sums("target", *period, exact=True)} == {"cloud/large", "cloud/small"}
    assert {sums.name for sums in store.sums("session", *period, exact=True)} == {"s1", "s2"}
    assert store.sums(None, MONDAY + DAY, exact=True) == [UsageSums()]


def test_exact_sums_are_those_of_whole_hours(store: UsageStore) -> None:
    add(
        store,
        *(record(number, MONDAY + number * 97, cost=None if number % 7 == 0 else number) for number in range(200)),
    )
    assert store.sums("target", MONDAY, MONDAY + DAY, exact=True) == store.sums("target", MONDAY, MONDAY + DAY)


def test_an_exact_query_reads_a_limited_number_of_records(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from byway.store import usagequeries

    monkeypatch.setattr(usagequeries, "_EXACT", usagequeries._EXACT.replace(f"{usagequeries.MOST_EXACT}", "2"))
    add(store, *(record(number, MONDAY + number) for number in range(5)))
    (total,) = store.sums(None, MONDAY, exact=True)
    assert total.requests == 2


@pytest.mark.parametrize(("every", "exact"), [("minute", False), ("hour", True), ("week", False)])
def test_minutes_are_for_short_periods_only(store: UsageStore, every: str, exact: bool) -> None:
    with pytest.raises(ValueError, match="minute for a short period"):
        store.sums(None, MONDAY, every=every, exact=exact)
    with pytest.raises(ValueError, match="minute for a short period"):
        store.first_tokens(MONDAY, every=every, exact=exact)


def test_retention_removes_first_tokens_with_the_sums(store: UsageStore) -> None:
    add(store, record(1, MONDAY - DAY), record(2, MONDAY))
    while store.remove_old(MONDAY, MONDAY):
        pass
    assert store.first_tokens(every="hour") == [(MONDAY, {bucket_of(40.0): 1})]
    assert store.first_tokens(every="day") == [(MONDAY, {bucket_of(40.0): 1})]


def test_a_database_of_an_older_version_gets_the_first_tokens_of_its_records(store: UsageStore, tmp_path: Path) -> None:
    add(store, record(1, MONDAY + 5), record(2, MONDAY + HOUR, first_ms=5_000.0), record(3, MONDAY, first_ms=None))
    wanted = store.first_tokens(every="hour"), store.first_tokens(every="day")
    store.close()
    database = sqlite3.connect(store.path)
    database.executescript("DROP TABLE first_hours; DROP TABLE first_days; PRAGMA user_version = 1")
    database.close()
    again = UsageStore(tmp_path)
    try:
        assert (again.first_tokens(every="hour"), again.first_tokens(every="day")) == wanted
    finally:
        again.close()
