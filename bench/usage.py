"""Fills a usage database with records of a year and measures its queries: `python -m bench.usage [RECORDS] [FOLDER]`.

`make long` runs it with ten million records and writes the times to bench/results/usage.md.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from byway.store import UsageFilter, UsageStore
from byway.usage.record import UsageRecord

#: 2026-01-01 00:00 UTC.
START: Final = 1_767_225_600.0
DAYS: Final = 365
END: Final = START + DAYS * 86_400
RECORDS: Final = 10_000_000
_BATCH: Final = 10_000
_MODELS: Final = (("cloud", "opus"), ("cloud", "sonnet"), ("cloud", "haiku"), ("local", "qwen3"), ("local", "gpt-oss"))


class QueryTime(NamedTuple):
    """A query, the rows of its answer, and how long it took the first time and at best."""

    name: str
    rows: int
    first: float
    best: float


def records(count: int) -> Iterator[UsageRecord]:
    """Records of a team: 50 accounts with 2 keys each, 20 tags, 5 models, a session of some 40 requests at a time."""
    choice = random.Random(11)
    sessions: dict[int, str] = {}
    step = DAYS * 86_400 / count
    for number in range(count):
        account = choice.randrange(50)
        key = account * 2 + choice.randrange(2)
        session = sessions.get(key)
        if session is None or choice.random() < 1 / 40:
            session = sessions[key] = f"{choice.getrandbits(64):016x}-{key}"
        backend, model = _MODELS[key % 5 if choice.random() < 0.8 else choice.randrange(5)]
        cost = 900_000 + choice.randrange(9_000_000) if backend == "cloud" else 0
        yield UsageRecord(
            f"req_{number:024x}", START + number * step, "default", f"account-{account}", f"group-{account % 5}",
            f"key-{key}", session, "claude-cli", f"team-{account % 20}", "claude-opus-4", "opus", backend, model, 200,
            choice.randrange(2_000), choice.randrange(100_000), choice.randrange(3_000), choice.randrange(900),
            choice.randrange(300), False, cost, 900.0 + choice.randrange(9_000), 300.0 + choice.randrange(900),
        )  # fmt: skip


def fill(store: UsageStore, count: int) -> float:
    """Add `count` records as the writer does. Returns the seconds that the store took."""
    position, seconds = 0, 0.0
    batch: list[UsageRecord] = []
    for record in records(count):
        batch.append(record)
        if len(batch) == _BATCH:
            begun = time.perf_counter()
            position = store.add("bench", position, position + 1, batch)
            seconds += time.perf_counter() - begun
            batch = []
    begun = time.perf_counter()
    store.add("bench", position, position + 1, batch)
    return seconds + time.perf_counter() - begun


def queries(store: UsageStore) -> Iterator[QueryTime]:
    """Run the queries of `byway usage`, the page and the limits."""
    week, month = END - 7 * 86_400, END - 30 * 86_400
    account = UsageFilter(account="account-7")
    for name, run in {
        "total of a year": lambda: store.sums(None, START, END),
        "by key, a year": lambda: store.sums("key", START, END),
        "by account, 30 days": lambda: store.sums("account", month, END),
        "by model, from an hour to an hour": lambda: store.sums("model", START + 5 * 3_600, END - 3 * 3_600),
        "by tag, a year": lambda: store.sums("tag", START, END),
        "by backend, a year": lambda: store.sums("backend", START, END),
        "by day, a year": lambda: store.sums("day", START, END),
        "by hour, 7 days": lambda: store.sums("hour", week, END),
        "by session, 7 days": lambda: store.sums("session", week, END),
        "by session, 30 days": lambda: store.sums("session", month, END),
        "by session, a year": lambda: store.sums("session", START, END),
        "models for each day, 30 days": lambda: store.sums("model", month, END, every="day"),
        "one account by model, a year": lambda: store.sums("model", START, END, account),
        "one session": lambda: store.sums(
            "hour", START, END, UsageFilter(session=store.sums("session", week, END)[0].name)
        ),
    }.items():
        yield _timed(name, run)
    yield _timed("export of an hour", lambda: list(store.records(END - 3_600, END)))


def _timed(name: str, run: Callable[[], Sequence[object]]) -> QueryTime:
    times = []
    rows = 0
    for _ in range(3):
        begun = time.perf_counter()
        rows = len(run())
        times.append(time.perf_counter() - begun)
    return QueryTime(name, rows, times[0], min(times))


def report(count: int, folder: Path) -> str:
    """Fill a database with `count` records, and return the times as Markdown."""
    store = UsageStore(folder)
    seconds = fill(store, count)
    store.close()
    store = UsageStore(folder)
    lines = [
        f"| {time.name} | {time.rows:,} | {time.first * 1000:,.1f} | {time.best * 1000:,.1f} |"
        for time in queries(store)
    ]
    size = store.path.stat().st_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exported = sum(1 for _ in store.records())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    store.close()
    return "\n".join(
        [
            "# Usage queries",
            "",
            f"Times with {count:,} records of a year: 50 accounts, 100 keys, 20 tags, 5 models. The file has"
            f" {size / 1e9:.2f} GB.",
            f"Adding a record took {seconds / count * 1e6:.0f} µs. An export of all {exported:,} records let the process grow"
            f" by {grown / 1024:.0f} MiB.",
            "Here all sessions of the year are kept; by default they are kept for 90 days (`usage.keep_records`).",
            "",
            "| Query | Rows | First, ms | Best of 3, ms |",
            "|---|---|---|---|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as scratch:
        print(report(number, Path(scratch)))
