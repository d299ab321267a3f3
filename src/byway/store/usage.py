"""UsageStore: usage records and their sums per hour and day, in a database file of their own.

The file is not that of the keys: millions of records make no key slow, and damage to it closes no access.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import add, attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from byway.store.database import DURABLE, Database, Schema, StoreError
from byway.store.firsttokens import bucket_expression, bucket_of
from byway.store.usagequeries import (
    COSTS,
    DAY,
    EVERYTHING,
    HOUR,
    NAMES,
    SUMS,
    FirstTokens,
    NamedCost,
    UsageFilter,
    UsageSums,
    first_query,
    first_tokens_of,
    query,
    sums_of,
)
from byway.usage.record import MOST_COST, MOST_TOKENS, OTHER, UsageRecord
from byway.usage.writer import move_journal

USAGE_FILE: Final = "usage.db"
#: Combinations of names. Beyond the first number a new combination loses agent, tag, alias and model; beyond the second,
#: all names but the organization's.
MOST_SERIES: Final = 20_000
MOST_COARSE_SERIES: Final = 30_000
#: Sessions of one hour. Further ones are summed up as `(other)`.
MOST_SESSIONS: Final = 2_000
#: Rows that one step of retention removes of each table, about.
_STEP: Final = 1_000
#: Records that an export reads at once.
_PAGE: Final = 1_000
_LATEST: Final = 1 << 62

_names_of: Final = attrgetter(*NAMES)
_COLUMNS: Final = tuple(f'"{name}"' for name in NAMES)
_SUM_COLUMNS: Final = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)
#: `records` has a row for each request, for exports and the last minutes. The other tables are for queries: sums for each
#: combination of names (a *series*) and, in `sessions`, for each session. All change in the transaction that adds the records.
_SCHEMA: Final = Schema(
    # "Bywu"
    0x42797775,
    (
        (
            f"CREATE TABLE series (id INTEGER PRIMARY KEY, {', '.join(f'{name} TEXT NOT NULL' for name in _COLUMNS)},"
            f" UNIQUE ({', '.join(_COLUMNS)}))",
            # `at`: microseconds since the epoch; of two records with the same time, one gets a later one.
            "CREATE TABLE records (at INTEGER PRIMARY KEY, id TEXT NOT NULL, series INTEGER NOT NULL,"
            " session TEXT NOT NULL, requested TEXT NOT NULL, status INTEGER NOT NULL, input_tokens INTEGER NOT NULL,"
            " cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,"
            " reasoning_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, cost INTEGER, latency_ms REAL NOT NULL,"
            " first_ms REAL)",
            f"CREATE TABLE hours (hour INTEGER, series INTEGER, {_SUM_COLUMNS}, PRIMARY KEY (hour, series)) WITHOUT ROWID",
            f"CREATE TABLE days (day INTEGER, series INTEGER, {_SUM_COLUMNS}, PRIMARY KEY (day, series)) WITHOUT ROWID",
            f"CREATE TABLE sessions (hour INTEGER, session TEXT, series INTEGER, {_SUM_COLUMNS},"
            " PRIMARY KEY (hour, session, series)) WITHOUT ROWID",
            "CREATE INDEX hours_of_session ON sessions (session, hour)",
            "CREATE TABLE journals (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID",
        ),
        (
            # How many requests had their first token within the times of a bucket.
            "CREATE TABLE first_hours (hour INTEGER, series INTEGER, bucket INTEGER, requests INTEGER NOT NULL,"
            " PRIMARY KEY (hour, series, bucket)) WITHOUT ROWID",
            "CREATE TABLE first_days (day INTEGER, series INTEGER, bucket INTEGER, requests INTEGER NOT NULL,"
            " PRIMARY KEY (day, series, bucket)) WITHOUT ROWID",
            f"INSERT INTO first_hours SELECT at / 3600000000, series, {bucket_expression('first_ms')}, count(*)"
            " FROM records WHERE first_ms IS NOT NULL GROUP BY 1, 2, 3",
            "INSERT INTO first_days SELECT hour / 24, series, bucket, sum(requests) FROM first_hours GROUP BY 1, 2, 3",
        ),
    ),
    "usage records",
    DURABLE,
)
_READ_ONLY: Final = _SCHEMA._replace(settings=("trusted_schema = OFF", "query_only = ON"))
_ADD_RECORDS: Final = "INSERT OR IGNORE INTO records"
_PAGE_OF_RECORDS: Final = (
    "SELECT at, id, series, session, requested, status, input_tokens, cached_tokens, cache_write_tokens, output_tokens,"
    " reasoning_tokens, estimated, cost, latency_ms, first_ms FROM records WHERE at >= ? AND at < ? ORDER BY at LIMIT ?"
)
_FIND_SERIES: Final = f"SELECT id FROM series WHERE {' AND '.join(f'{column} = ?' for column in _COLUMNS)}"
_ADD_SERIES: Final = f"INSERT INTO series ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(NAMES))})"
_NAMES_OF_SERIES: Final = f"SELECT {', '.join(_COLUMNS)} FROM series WHERE id = ?"
_COUNT_SERIES: Final = "SELECT count(*) FROM series"


def _addition(table: str, *key: str) -> str:
    """The statement that adds to a row of sums."""
    values = ", ".join("?" * (len(key) + len(SUMS)))
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    columns = ", ".join(key)
    return (
        f"INSERT INTO {table} ({columns}, {', '.join(SUMS)}) VALUES ({values})"
        f" ON CONFLICT ({columns}) DO UPDATE SET {added}"
    )


_ADD_HOUR: Final = _addition("hours", "hour", "series")
_ADD_DAY: Final = _addition("days", "day", "series")
_ADD_SESSION: Final = _addition("sessions", "hour", "session", "series")


def _first_addition(table: str, column: str) -> str:
    """The statement that adds to a row of a histogram."""
    return (
        f"INSERT INTO {table} VALUES (?, ?, ?, ?)"
        f" ON CONFLICT ({column}, series, bucket) DO UPDATE SET requests = requests + excluded.requests"
    )


_ADD_FIRST_HOUR: Final = _first_addition("first_hours", "hour")
_ADD_FIRST_DAY: Final = _first_addition("first_days", "day")


class UsageStore:
    """The usage records in a data folder. Any thread may use it, and other processes may read it at the same time.

    The file is opened by the first call, and again after an error and when it was replaced. Every method raises StoreError
    while it cannot be used.
    `UsageProtocol` describes the methods.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / USAGE_FILE
        self.before_query: Callable[[], None] = lambda: move_journal(folder, self)
        """Moves the records of the journal to the database. A running Byway has a writer that does it."""
        self._lock = threading.RLock()
        self._writing: tuple[Database, Hashable] | None = None
        self._reading: tuple[Database, Hashable] | None = None
        self._series: dict[tuple[str, ...], int] = {}
        self._sessions: dict[int, set[str]] = {}
        """The sessions of the last hours."""
        self._tidied = -1
        """The hour in which unused series were removed last."""

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            for opened in (self._writing, self._reading):
                if opened is not None:
                    opened[0].close()
            self._writing = self._reading = None
            self._series.clear()

    # ------------------------------------------------------------------------------------------------------------- writing

    def position(self, journal: str) -> int:
        with self._changing() as database:
            return _position(database, journal)

    def add(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> int:
        with self._changing() as database, database.change():
            position = _position(database, journal)
            if position != start:
                return position
            self._add(database, records)
            database.run("INSERT OR REPLACE INTO journals VALUES (?, ?)", (journal, end))
            return end

    def keep_journals(self, journals: Sequence[str]) -> None:
        names = msgspec.json.encode(journals).decode()
        with self._changing() as database, database.change():
            database.run("DELETE FROM journals WHERE name NOT IN (SELECT value FROM json_each(?))", (names,))

    def remove_old(self, before: float, before_sums: float) -> bool:
        before_sums = min(before, before_sums)
        with self._changing() as database, database.change():
            more = [
                _remove_step(database, "records", "at", int(before * 1e6), rows=1),
                _remove_step(database, "sessions", "hour", int(before // HOUR)),
                _remove_step(database, "hours", "hour", int(before_sums // HOUR)),
                _remove_step(database, "days", "day", int(before_sums // DAY)),
                _remove_step(database, "first_hours", "hour", int(before_sums // HOUR)),
                _remove_step(database, "first_days", "day", int(before_sums // DAY)),
            ]
            hour = int(time.time() // HOUR)
            if not any(more) and hour != self._tidied:
                self._tidied = hour
                # New names need room when half of the series are taken. Days are kept longest: they have every used one.
                if database.count(_COUNT_SERIES) > MOST_SERIES // 2:
                    self._series.clear()
                    database.run("DELETE FROM series WHERE id NOT IN (SELECT series FROM days)")
            return any(more)

    def _add(self, database: Database, records: Sequence[UsageRecord]) -> None:
        rows: dict[int, tuple[Any, ...]] = {}
        parts: defaultdict[tuple[int, str, int], list[tuple[int, ...]]] = defaultdict(list)
        first_hours: Counter[tuple[int, int, int]] = Counter()
        for record in records:
            series = self._series_of(database, record)
            at = int(record.at * 1e6)
            while at in rows:
                at += 1
            rows[at], part = _values(at, record, series)
            hour = int(record.at // HOUR)
            parts[hour, self._session_of(hour, record.session), series].append(part)
            if record.first_ms is not None:
                first_hours[hour, series, bucket_of(record.first_ms)] += 1
        sessions = {key: list(map(sum, zip(*group, strict=True))) for key, group in parts.items()}
        if database.insert_rows(_ADD_RECORDS, list(rows.values())) != len(rows):
            _add_later(database, rows)
        hours: dict[tuple[int, int], list[int]] = {}
        days: dict[tuple[int, int], list[int]] = {}
        for (hour, _, series), sums in sessions.items():
            _sum_up(hours, (hour, series), sums)
            _sum_up(days, (hour // 24, series), sums)
        database.run_many(_ADD_HOUR, [(*key, *sums) for key, sums in hours.items()])
        database.run_many(_ADD_DAY, [(*key, *sums) for key, sums in days.items()])
        database.run_many(_ADD_SESSION, [(*key, *sums) for key, sums in sessions.items() if key[1]])
        first_days: Counter[tuple[int, int, int]] = Counter()
        for (hour, series, bucket), count in first_hours.items():
            first_days[hour // 24, series, bucket] += count
        database.run_many(_ADD_FIRST_HOUR, [(*key, count) for key, count in first_hours.items()])
        database.run_many(_ADD_FIRST_DAY, [(*key, count) for key, count in first_days.items()])

    def _series_of(self, database: Database, record: UsageRecord) -> int:
        """The id of the record's combination of names. A new one is added, or replaced when there are too many."""
        names = _names_of(record)
        id = self._series.get(names)
        if id is None:
            if len(self._series) >= MOST_SERIES:
                self._series.clear()
            id = self._series[names] = _add_series(database, names)
        return id

    def _session_of(self, hour: int, session: str) -> str:
        """The session by which a record is summed up; empty when it has none."""
        sessions = self._sessions.get(hour)
        if sessions is None:
            for old in sorted(self._sessions)[:-2]:
                del self._sessions[old]
            sessions = self._sessions[hour] = set()
        if session not in sessions:
            if len(sessions) >= MOST_SESSIONS:
                return OTHER
            sessions.add(session)
        return session

    # ------------------------------------------------------------------------------------------------------------- queries

    def sums(
        self,
        by: str | None = None,
        since: float = 0.0,
        until: float | None = None,
        where: UsageFilter = EVERYTHING,
        *,
        every: str | None = None,
        limit: int = 1_000,
        exact: bool = False,
    ) -> list[UsageSums]:
        statement, values = query(by, since, until, where, every, limit, exact)
        self._move_journal()
        sums = [sums_of(row, by) for row in self._rows(statement, values)]
        return sums or ([UsageSums()] if by is None and every is None else [])

    def first_tokens(
        self,
        since: float = 0.0,
        until: float | None = None,
        where: UsageFilter = EVERYTHING,
        *,
        every: str | None = None,
        exact: bool = False,
    ) -> list[FirstTokens]:
        statement, values = first_query(since, until, where, every, exact)
        self._move_journal()
        return first_tokens_of(self._rows(statement, values))

    def costs(self, since: float) -> list[NamedCost]:
        return [NamedCost(*row) for row in self._rows(COSTS, (int(since // DAY),))]

    def records(
        self, since: float = 0.0, until: float | None = None, where: UsageFilter = EVERYTHING
    ) -> Iterator[UsageRecord]:
        series: dict[int, tuple[str, ...]] = {}
        conditions = [(name, value) for name, value in msgspec.structs.asdict(where).items() if value is not None]
        self._move_journal()
        at = int(since * 1e6)
        end = _LATEST if until is None else int(until * 1e6)
        while True:
            rows = self._rows(_PAGE_OF_RECORDS, (at, end, _PAGE))
            for row in rows:
                if row[2] not in series:
                    names = self._rows(_NAMES_OF_SERIES, (row[2],))
                    # Missing when retention has removed it since.
                    series[row[2]] = names[0] if names else ("",) * len(NAMES)
                record = _record(row, series[row[2]])
                if all(getattr(record, name) == value for name, value in conditions):
                    yield record
            if len(rows) < _PAGE:
                return
            at = rows[-1][0] + 1

    def _move_journal(self) -> None:
        """Let the query contain every request that was answered before it, as far as the database can be changed."""
        with contextlib.suppress(StoreError, OSError):
            self.before_query()

    def plan(
        self, by: str | None, since: float, until: float | None, where: UsageFilter, every: str | None
    ) -> list[str]:
        """How SQLite runs the query of `sums`: which tables it searches, and which it scans."""
        statement, values = query(by, since, until, where, every, 1)
        return [str(row[3]) for row in self._rows(f"EXPLAIN QUERY PLAN {statement}", values)]

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            database = self._reader()
        try:
            return database.rows(statement, values)
        except StoreError:
            with self._lock:
                if self._reading is not None and self._reading[0] is database:
                    database.close()
                    self._reading = None
            raise

    # ------------------------------------------------------------------------------------------------------------ the file

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Database]:
        """The database for a change. After an error it is opened again."""
        with self._lock:
            if self._writing is not None and self._writing[1] != self._identity():
                self.close()
            if self._writing is None:
                database = Database(self.path, _SCHEMA)
                self._writing = database, self._identity()
            try:
                yield self._writing[0]
            except BaseException:
                self.close()
                raise

    def _reader(self) -> Database:
        """A connection of its own for queries, which do not wait for changes then. The caller holds the lock."""
        if self._reading is not None and self._reading[1] != self._identity():
            self._reading[0].close()
            self._reading = None
        if self._reading is None:
            if self._writing is None:
                # Only this connection creates and migrates the file.
                with self._changing():
                    pass
            self._reading = Database(self.path, _READ_ONLY), self._identity()
        return self._reading[0]

    def _identity(self) -> Hashable:
        """A value that changes when the file is replaced; None while there is no file."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _position(database: Database, journal: str) -> int:
    return database.count("SELECT position FROM journals WHERE name = ?", (journal,))


def _remove_step(database: Database, table: str, column: str, end: int, rows: int = 0) -> bool:
    """Remove about _STEP rows before `end`. Returns whether there are more.

    `rows` is 1 when a value of the column has one row. Rows of the same hour or day are removed together.
    """
    last = database.row(
        f"SELECT {column} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT 1 OFFSET {_STEP}", (end,)
    )
    until = end if last is None else int(last[0]) + 1 - rows
    database.run(f"DELETE FROM {table} WHERE {column} < ?", (until,))
    return last is not None


def _add_series(database: Database, names: tuple[str, ...]) -> int:
    """The id of a combination of names, which is added when there is room; else that of a coarser one."""
    organization, account, group, key, _, _, _, backend, _ = names
    choices = (
        (MOST_SERIES, names),
        (MOST_COARSE_SERIES, (organization, account, group, key, OTHER, OTHER, OTHER, backend, OTHER)),
        (math.inf, (organization, *[OTHER] * (len(NAMES) - 1))),
    )
    for most, chosen in choices:
        row = database.row(_FIND_SERIES, chosen)
        if row is not None:
            return int(row[0])
        if database.count(_COUNT_SERIES) < most:
            return database.insert(_ADD_SERIES, chosen)
    raise AssertionError("the last choice has no limit")


def _values(at: int, record: UsageRecord, series: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The columns of a record, and what it adds to the sums."""
    tokens: tuple[int, ...] = (
        record.input_tokens, record.cached_tokens, record.cache_write_tokens, record.output_tokens, record.reasoning_tokens,
    )  # fmt: skip
    # Joined bit by bit they are negative when one of them is, and at least as large as each of them.
    if not 0 <= tokens[0] | tokens[1] | tokens[2] | tokens[3] | tokens[4] <= MOST_TOKENS:
        tokens = tuple(max(0, min(count, MOST_TOKENS)) for count in tokens)
    cost, latency, first = record.cost, record.latency_ms, record.first_ms
    if cost is not None and not 0 <= cost <= MOST_COST:
        cost = max(0, min(cost, MOST_COST))
    values = (
        at, record.id, series, record.session, record.requested, record.status, *tokens, record.estimated, cost, latency, first,
    )  # fmt: skip
    sums = (
        1, record.status >= 400, record.estimated, cost is None, *tokens, cost or 0, round(latency), round(first) if first else 0,
        first is not None,
    )  # fmt: skip
    return values, sums


def _add_later(database: Database, rows: dict[int, tuple[Any, ...]]) -> None:
    """Add those of the records whose time another record had before, with a later time."""
    for at, (_, id, *values) in rows.items():
        row = database.row("SELECT id FROM records WHERE at = ?", (at,))
        spread = 1
        while row is None or row[0] != id:
            # Ever further away, so that a clock that stands still costs little.
            spread *= 2
            at += 1 + secrets.randbelow(spread)
            if database.insert_rows(_ADD_RECORDS, [(at, id, *values)]):
                break


def _sum_up(table: dict[Any, list[int]], key: tuple[Any, ...], sums: list[int]) -> None:
    before = table.get(key)
    table[key] = sums if before is None else list(map(add, before, sums))


def _record(row: tuple[Any, ...], names: tuple[str, ...]) -> UsageRecord:
    organization, account, group, key, agent, tag, alias, backend, model = names
    return UsageRecord(
        id=row[1],
        at=row[0] / 1e6,
        organization=organization,
        account=account,
        group=group,
        key=key,
        session=row[3],
        agent=agent,
        tag=tag,
        requested=row[4],
        alias=alias,
        backend=backend,
        model=model,
        status=row[5],
        input_tokens=row[6],
        cached_tokens=row[7],
        cache_write_tokens=row[8],
        output_tokens=row[9],
        reasoning_tokens=row[10],
        estimated=bool(row[11]),
        cost=row[12],
        latency_ms=row[13],
        first_ms=row[14],
    )
