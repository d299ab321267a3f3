"""The database of usage records: sums, queries, retention, bounds, and damaged or replaced files."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byway.store import StoreError, UsageFilter, UsageStore, UsageSums, usage
from byway.store.usagequeries import DAY, HOUR, KINDS, SUMS
from byway.usage.record import UsageRecord

#: 2026-11-30 00:00 UTC, a Monday.
MONDAY = 1_795_996_800.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    opened = UsageStore(tmp_path)
    yield opened
    opened.close()


def record(number: int = 0, at: float = MONDAY, **fields: Any) -> UsageRecord:
    usual: dict[str, Any] = {
        "key": "key_a",
        "backend": "cloud",
        "model": "large",
        "session": "s1",
        "input_tokens": 10,
        "cached_tokens": 100,
        "cache_write_tokens": 5,
        "output_tokens": 20,
        "reasoning_tokens": 7,
        "cost": 1_000,
        "latency_ms": 100.0,
        "first_ms": 40.0,
    }
    return UsageRecord(f"req_{number:024x}", at, **(usual | fields))


def add(store: UsageStore, *records: UsageRecord) -> None:
    start = store.position("journal")
    assert store.add("journal", start, start + 1, records) == start + 1


def test_a_total_adds_up_every_field(store: UsageStore) -> None:
    add(store, record(1), record(2, cost=None, status=500, estimated=True, first_ms=None))
    assert store.sums() == [
        UsageSums(
            requests=2,
            errors=1,
            estimated=1,
            unpriced=1,
            input_tokens=20,
            cached_tokens=200,
            cache_write_tokens=10,
            output_tokens=40,
            reasoning_tokens=14,
            cost=1_000,
            latency_ms=200,
            first_ms=40,
            with_content=1,
        )
    ]


def test_an_empty_store_has_a_total_of_zeros_and_no_names(store: UsageStore) -> None:
    assert store.sums() == [UsageSums()]
    assert store.sums("key") == store.sums("day") == []
    assert list(store.records()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_all_names_add_up_to_the_total(store: UsageStore, kind: str) -> None:
    names = ("organization", "account", "group", "key", "agent", "tag", "alias", "backend", "model", "session")
    add(
        store,
        *(
            record(number, MONDAY + 5_000 * number, **{name: f"{name}-{number % 3}" for name in names})
            for number in range(60)
        ),
    )
    rows = store.sums(kind)
    total = store.sums()[0]
    assert len(rows) == {"hour": 60, "day": 4}.get(kind, 3)
    for name in SUMS:
        assert sum(getattr(row, name) for row in rows) == getattr(total, name)
    assert total.requests == 60


def test_names_come_by_cost_then_by_tokens(store: UsageStore) -> None:
    add(
        store,
        record(1, key="cheap", cost=1),
        record(2, key="unknown", cost=None, input_tokens=9),
        record(3, key="unknown-large", cost=None, input_tokens=99),
        record(4, key="dear", cost=5),
    )
    assert [row.name for row in store.sums("key")] == ["dear", "cheap", "unknown-large", "unknown"]
    assert [row.name for row in store.sums("key", limit=2)] == ["dear", "cheap"]
    assert [row.name for row in store.sums("target")] == ["cloud/large"]


def test_the_highest_sessions_come_first_with_all_their_sums(store: UsageStore) -> None:
    add(
        store,
        *(
            record(number, MONDAY + HOUR * number, session=f"s{number % 5}", account="ab"[number % 2], cost=number % 5)
            for number in range(100)
        ),
    )
    rows = store.sums("session", limit=2)
    assert [(row.name, row.requests, row.cost, row.output_tokens) for row in rows] == [
        ("s4", 20, 80, 400),
        ("s3", 20, 60, 400),
    ]
    part = store.sums("session", MONDAY, MONDAY + 10 * HOUR, UsageFilter(account="a"), limit=1)
    assert [(row.name, row.requests, row.cost) for row in part] == [("s4", 1, 4)]
    series = store.sums("session", MONDAY, MONDAY + 30 * HOUR, every="day", limit=10)
    assert sum(row.requests for row in series) == 30


def test_any_range_of_hours_is_summed_up_exactly(store: UsageStore) -> None:
    """Whole days come from the sums per day, the rest from those per hour."""
    add(store, *(record(number, MONDAY + HOUR * number) for number in range(24 * 4)))
    for first in (0, 1, 23, 24, 25, 47, 48):
        for last in (first, first + 1, 24, 30, 48, 49, 72, 95, 96):
            since, until = MONDAY + HOUR * first, MONDAY + HOUR * last
            expected = max(0, last - first)
            assert store.sums(None, since, until)[0].requests == expected
            assert sum(row.requests for row in store.sums("hour", since, until)) == expected
            assert sum(row.requests for row in store.sums("day", since, until)) == expected
            assert sum(row.requests for row in store.sums("session", since, until)) == expected
    days = store.sums("day", MONDAY + HOUR * 12, MONDAY + HOUR * 60)
    assert [(row.name, row.requests) for row in days] == [("2026-11-30", 12), ("2026-12-01", 24), ("2026-12-02", 12)]
    assert [row.at for row in days] == [MONDAY, MONDAY + DAY, MONDAY + 2 * DAY]
    assert store.sums("hour", MONDAY)[0].name == "2026-11-30T00:00Z"


def test_a_range_without_an_end_contains_the_present_day_and_records_of_a_clock_that_is_ahead(
    store: UsageStore,
) -> None:
    add(store, record(1, MONDAY), record(2, MONDAY + 20_000 * DAY))
    assert store.sums(None, MONDAY - 5 * HOUR)[0].requests == 2
    assert len(list(store.records(MONDAY))) == 2


def test_a_series_has_sums_per_name_and_day(store: UsageStore) -> None:
    add(store, *(record(number, MONDAY + DAY * (number // 2), model="ab"[number % 2]) for number in range(6)))
    rows = store.sums("model", MONDAY, MONDAY + 3 * DAY, every="day")
    assert [(row.name, row.at) for row in rows] == [(m, MONDAY + DAY * day) for day in range(3) for m in "ab"]
    totals = store.sums(None, MONDAY, every="hour")
    assert [(row.at, row.requests) for row in totals] == [(MONDAY + DAY * day, 2) for day in range(3)]


def test_a_filter_restricts_sums_and_records(store: UsageStore) -> None:
    add(
        store,
        *(record(number, account="ab"[number % 2], session=f"s{number % 3}", tag="x") for number in range(12)),
    )
    only = UsageFilter(account="a", tag="x")
    assert store.sums(where=only)[0].requests == len(list(store.records(where=only))) == 6
    session = UsageFilter(account="a", session="s0")
    assert store.sums(where=session)[0].requests == len(list(store.records(where=session))) == 2
    assert store.sums("session", where=only)[0].requests == 2
    assert store.sums(where=UsageFilter(key="missing")) == [UsageSums()]


def test_an_unknown_kind_is_an_error_that_lists_the_known_ones(store: UsageStore) -> None:
    with pytest.raises(ValueError, match="one of organization, account"):
        store.sums("key; DROP TABLE records")
    with pytest.raises(ValueError, match="hour or day"):
        store.sums("key", every="week")


def test_records_come_in_the_order_of_time_with_every_field(store: UsageStore) -> None:
    given = [
        record(
            number, MONDAY + number, organization="o", account="a", group="g", agent="claude-cli", tag="t", alias="opus"
        )
        for number in range(2_500)
    ]
    add(store, *reversed(given))
    assert list(store.records()) == given
    assert list(store.records(MONDAY + 10, MONDAY + 12)) == given[10:12]


def test_records_of_the_same_microsecond_are_all_kept(store: UsageStore) -> None:
    add(store, *(record(number) for number in range(50)))
    add(store, *(record(number) for number in range(50, 100)))
    assert len({row.id for row in store.records()}) == store.sums()[0].requests == 100


def test_the_same_part_of_a_journal_is_added_once(store: UsageStore) -> None:
    assert store.add("a", 0, 100, [record(1)]) == 100
    assert store.add("a", 0, 100, [record(1)]) == 100
    assert store.add("b", 0, 50, [record(2)]) == 50
    assert store.position("a") == 100
    store.keep_journals(["b", "c"])
    assert (store.position("a"), store.position("b"), store.sums()[0].requests) == (0, 50, 2)
    store.keep_journals([])
    assert store.position("b") == 0


# No query may read the table of records, or all of another table.


def test_no_query_scans_a_table(store: UsageStore) -> None:
    add(store, record())
    filters = (UsageFilter(), UsageFilter(account="a"), UsageFilter(session="s"))
    for kind, where, every, until in itertools.product(
        (None, *KINDS), filters, (None, "day"), (None, MONDAY + 40 * DAY + 2 * HOUR)
    ):
        plan = store.plan(kind, MONDAY - 3 * HOUR, until, where, every)
        tables = [line for line in plan if line.startswith(("SCAN ", "SEARCH "))]
        # Series are limited in number.
        read = [line for line in tables if line.split()[1] not in ("part", "(subquery", "series")]
        assert read, plan
        assert all(line.startswith("SEARCH ") for line in read), plan
        assert not [line for line in tables if "records" in line], plan


# Retention.


def test_retention_removes_old_records_and_older_sums(store: UsageStore) -> None:
    add(store, *(record(number, MONDAY + DAY * number) for number in range(10)))
    while store.remove_old(MONDAY + 8 * DAY, MONDAY + 5 * DAY):
        pass
    assert len(list(store.records())) == 2
    assert sum(row.requests for row in store.sums("session")) == 2
    assert store.sums()[0].requests == sum(row.requests for row in store.sums("hour")) == 5


def test_retention_takes_steps(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_STEP", 10)
    add(store, *(record(number, MONDAY + number, session=f"s{number}") for number in range(45)))
    left = []
    more = True
    while more:
        more = store.remove_old(MONDAY + 40, MONDAY + 40)
        left.append(len(list(store.records())))
    assert left == [35, 25, 15, 5]


def test_sums_are_kept_at_least_as_long_as_records(store: UsageStore) -> None:
    add(store, record())
    store.remove_old(MONDAY - DAY, MONDAY + DAY)
    assert store.sums()[0].requests == 1


def test_series_without_sums_make_room(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_SERIES", 4)
    add(store, *(record(number, MONDAY, model=f"m{number}") for number in range(4)))
    add(store, record(9, MONDAY + DAY, model="new"))
    while store.remove_old(MONDAY + DAY, MONDAY + DAY):
        pass
    add(store, record(10, MONDAY + DAY, model="newer"))
    assert {row.name for row in store.sums("model")} == {"(other)", "newer"}


# Bounds.


def test_names_beyond_the_limit_are_summed_up_as_other(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_SERIES", 5)
    monkeypatch.setattr(usage, "MOST_COARSE_SERIES", 8)
    for number in range(30):
        add(store, record(number, key=f"k{number % 10}", model=f"m{number}"))
    keys, models = store.sums("key"), store.sums("model")
    assert sum(row.requests for row in keys) == sum(row.requests for row in models) == 30
    assert len(models) == 6
    assert len(keys) == 9
    assert {row.name for row in keys} >= {"k0", "(other)"}


def test_sessions_beyond_the_limit_of_an_hour_are_summed_up_as_other(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MOST_SESSIONS", 3)
    for hour in range(5):
        add(store, *(record(number, MONDAY + HOUR * hour, session=f"s{number}") for number in range(5)))
    assert {row.name: row.requests for row in store.sums("session")} == {"s0": 5, "s1": 5, "s2": 5, "(other)": 10}
    assert len(store._sessions) <= 3


def test_absurd_numbers_of_a_backend_do_not_break_the_sums(store: UsageStore) -> None:
    add(store, *(record(number, input_tokens=1 << 53, output_tokens=-5, cost=1 << 62) for number in range(2_000)))
    total = store.sums()[0]
    assert (total.input_tokens, total.output_tokens, total.cost) == (2_000 * 10**9, 0, 2_000 * 10**15)


# Files that are damaged, replaced or read by another process.


def test_a_damaged_file_is_an_error_until_it_is_moved_away(store: UsageStore) -> None:
    store.path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"usage\.db is damaged"):
        add(store, record())
    with pytest.raises(StoreError, match=r"usage\.db is damaged"):
        store.sums()
    store.path.rename(store.path.with_suffix(".old"))
    add(store, record())
    assert store.sums()[0].requests == 1


def test_a_file_that_is_removed_while_it_is_open_is_created_again(store: UsageStore) -> None:
    add(store, record(1))
    assert store.sums()[0].requests == 1
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store.path}{suffix}").unlink(missing_ok=True)
    add(store, record(2))
    assert [row.id for row in store.records()] == [record(2).id]
    assert store.sums()[0].requests == 1


def test_another_process_reads_while_records_are_added(store: UsageStore, tmp_path: Path) -> None:
    add(store, record(1))
    reader = UsageStore(tmp_path)
    export = reader.records()
    first = next(export)
    add(store, record(2))
    assert (first.id, reader.sums()[0].requests) == (record(1).id, 2)
    reader.close()


def test_the_file_is_private_and_belongs_to_byway(store: UsageStore) -> None:
    add(store, record())
    assert store.path.stat().st_mode & 0o077 == 0
    store.close()
    with sqlite3.connect(store.path) as file:
        file.execute("PRAGMA application_id = 1")
    file.close()
    with pytest.raises(StoreError, match="another program"):
        store.sums()
