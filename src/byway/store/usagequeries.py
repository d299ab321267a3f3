"""The SQL that sums up usage, and its result. `byway.store.usage` has the tables and runs it.

Queries read the sums per hour, day and session. Only those of short periods (`exact`) read the records, and a limited number.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final, NamedTuple

import msgspec

from byway.store.firsttokens import bucket_expression

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
#: The names by which usage is summed up, in the order of the table `series`.
NAMES: Final = ("organization", "account", "group", "key", "agent", "tag", "alias", "backend", "model")
#: All that `by` may be. `target` is `backend/model`.
KINDS: Final = (*NAMES, "target", "session", "hour", "day")
#: The sums, in the order of their tables and of UsageSums.
SUMS: Final = (
    "requests", "errors", "estimated", "unpriced", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens",
    "reasoning_tokens", "cost", "latency_ms", "first_ms", "with_content",
)  # fmt: skip
_TOTALS: Final = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_HIGHEST: Final = "ORDER BY sum(cost) DESC, sum(input_tokens) + sum(output_tokens) DESC"
_SECONDS: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
#: An hour after all others.
_LAST_HOUR: Final = 1 << 40
#: Records that an exact query reads, the newest ones.
MOST_EXACT: Final = 200_000
#: The histograms of the tables of sums.
_FIRST_TABLES: Final = {"hours": "first_hours", "days": "first_days"}
_EXACT: Final = (
    "WITH exact AS MATERIALIZED (SELECT at / 60000000 AS minute, series, session, 1 AS requests, status >= 400 AS errors,"
    " estimated, cost IS NULL AS unpriced, input_tokens, cached_tokens, cache_write_tokens, output_tokens,"
    " reasoning_tokens, coalesce(cost, 0) AS cost, latency_ms, coalesce(first_ms, 0) AS first_ms,"
    f" first_ms IS NOT NULL AS with_content FROM records WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT {MOST_EXACT}) "
)


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage counts. A field that is None does not matter."""

    organization: str | None = None
    account: str | None = None
    group: str | None = None
    key: str | None = None
    agent: str | None = None
    tag: str | None = None
    alias: str | None = None
    backend: str | None = None
    model: str | None = None
    session: str | None = None


EVERYTHING: Final = UsageFilter()


class UsageSums(msgspec.Struct, kw_only=True):
    """The sums of usage records: of all, or of those with one name."""

    name: str = ""
    """The name of the key, account and so on. That of a day or hour is its start in UTC, in ISO 8601."""
    at: float | None = None
    """The start of the day or hour in seconds since the epoch; None for the whole time."""
    requests: int = 0
    errors: int = 0
    """Requests with a status of 400 or more."""
    estimated: int = 0
    """Requests whose tokens Byway has estimated."""
    unpriced: int = 0
    """Requests whose cost is not known: `cost` does not contain them."""
    input_tokens: int = 0
    """Tokens of prompts that were neither read from a cache nor written to it."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Includes the reasoning tokens."""
    reasoning_tokens: int = 0
    cost: int = 0
    """In nano-dollars."""
    latency_ms: int = 0
    """The sum over all requests."""
    first_ms: int = 0
    """The sum over the requests with content."""
    with_content: int = 0
    """Requests with content."""


class FirstTokens(NamedTuple):
    """The times to the first token, as the number of requests in each bucket of `byway.store.firsttokens`."""

    at: float | None
    """The start of the minute, hour or day in seconds since the epoch; None for the whole time."""
    counts: dict[int, int]


class NamedCost(NamedTuple):
    """What requests with these names have cost. The first fields are NAMES."""

    organization: str
    account: str
    group: str
    key: str
    agent: str
    tag: str
    alias: str
    backend: str
    model: str
    cost: int
    """In nano-dollars."""


COSTS: Final = (
    "SELECT series." + ", series.".join(f'"{name}"' for name in NAMES) + ", part.cost"
    " FROM (SELECT series, sum(cost) AS cost FROM days WHERE day >= ? GROUP BY series) AS part"
    " JOIN series ON series.id = part.series WHERE part.cost > 0"
)
"""The costs of each combination of names since the start of a day."""


def query(
    by: str | None,
    since: float,
    until: float | None,
    where: UsageFilter,
    every: str | None,
    limit: int,
    exact: bool = False,
) -> tuple[str, list[Any]]:
    """The SQL of `UsageStore.sums` and its values. Raises ValueError for a `by` or `every` that does not exist."""
    if by is not None and by not in KINDS:
        raise ValueError(f"Usage cannot be summed up by {by!r}. Use one of {', '.join(KINDS)}.")
    _check_every(every, exact)
    if exact and by in _SECONDS:
        raise ValueError(f"Usage of a short period is not summed up by {by}. Use every='minute'.")
    bucket = by if by in _SECONDS else every
    by_session = by == "session" or where.session is not None
    named = by in NAMES or by == "target"
    filters = {name: value for name in NAMES if (value := getattr(where, name)) is not None}
    chosen = " AND ".join(f'"{name}" = ?' for name in filters)
    conditions = "".join(
        (
            " AND session = ?" if where.session is not None else "",
            f" AND series IN (SELECT id FROM series WHERE {chosen})" if filters else "",
        )
    )
    kept = [*(["start"] if bucket else []), *(["session"] if by == "session" else []), *(["series"] if named else [])]
    grouping = f" GROUP BY {_list(kept)}" if kept else ""
    parts: list[str] = []
    values: list[Any] = []
    for table, column, seconds, first, end in _exact_spans() if exact else _spans(since, until, bucket, by_session):
        start = f"{column} / 24 * {DAY}" if bucket == "day" and column == "hour" else f"{column} * {seconds}"
        # Few rows are left of each part, so that joining the names costs little.
        condition = f"{column} >= ? AND {column} < ?{conditions}"
        span = [first, end, *([] if where.session is None else [where.session]), *filters.values()]
        if by == "session":
            # The highest ones first, by few columns: sorting all columns of many sessions takes several times as long.
            condition += (
                f" AND session IN (SELECT session FROM {table} WHERE {condition} GROUP BY session {_HIGHEST} LIMIT ?)"
            )
            span += [*span, limit]
        parts.append(
            f"SELECT {start if bucket else 'NULL'} AS start, {'session' if by == 'session' else 'NULL'} AS session,"
            f" {'series' if named else 'NULL'} AS series, {_TOTALS} FROM {table}"
            f" WHERE {condition}{grouping}"
        )
        values += span
    name = "''"
    if named:
        name = "series.backend || '/' || series.model" if by == "target" else f'series."{by}"'
    elif by == "session":
        name = "session"
    order = "ORDER BY start, name" if bucket else f"{_HIGHEST}, name"
    groups = [*(["start"] if bucket else []), *(["name"] if named or by == "session" else [])]
    statement = (
        f"SELECT {name} AS name, start, {_TOTALS} FROM ({' UNION ALL '.join(parts)}) AS part"
        f"{' JOIN series ON series.id = part.series' if named else ''}"
        f"{f' GROUP BY {_list(groups)} {order}' if groups else ''} LIMIT ?"
    )
    values.append(limit)
    return (_EXACT + statement, [*_exact_period(since, until), *values]) if exact else (statement, values)


def first_query(
    since: float, until: float | None, where: UsageFilter, every: str | None, exact: bool
) -> tuple[str, list[Any]]:
    """The SQL of `UsageStore.first_tokens` and its values. Raises ValueError for an `every` that does not exist."""
    _check_every(every, exact)
    if where.session is not None:
        raise ValueError("Times to the first token are not kept by session.")
    filters = {name: value for name in NAMES if (value := getattr(where, name)) is not None}
    chosen = " AND ".join(f'"{name}" = ?' for name in filters)
    condition = f" AND series IN (SELECT id FROM series WHERE {chosen})" if filters else ""
    if exact:
        start = f"at / {_SECONDS[every] * 1_000_000} * {_SECONDS[every]}" if every else "NULL"
        return (
            f"SELECT {start} AS start, {bucket_expression('first_ms')} AS bucket, count(*) FROM"
            f" (SELECT at, series, first_ms FROM records WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT {MOST_EXACT}) AS part"
            f" WHERE first_ms IS NOT NULL{condition} GROUP BY start, bucket ORDER BY start",
            [*_exact_period(since, until), *filters.values()],
        )
    parts: list[str] = []
    values: list[Any] = []
    for table, column, seconds, first, end in _spans(since, until, every, by_session=False):
        start = f"{column} / 24 * {DAY}" if every == "day" and column == "hour" else f"{column} * {seconds}"
        parts.append(
            f"SELECT {start if every else 'NULL'} AS start, bucket, requests FROM {_FIRST_TABLES[table]}"
            f" WHERE {column} >= ? AND {column} < ?{condition}"
        )
        values += [first, end, *filters.values()]
    return (
        f"SELECT start, bucket, sum(requests) FROM ({' UNION ALL '.join(parts)}) AS part"
        " GROUP BY start, bucket ORDER BY start",
        values,
    )


def first_tokens_of(rows: list[tuple[Any, ...]]) -> list[FirstTokens]:
    """The result of `first_query`, one for each start."""
    result: list[FirstTokens] = []
    for start, bucket, count in rows:
        at = None if start is None else float(start)
        if not result or result[-1].at != at:
            result.append(FirstTokens(at, {}))
        result[-1].counts[bucket] = count
    return result


def _check_every(every: str | None, exact: bool) -> None:
    if every is not None and (every not in _SECONDS or exact != (every == "minute")):
        raise ValueError(f"Usage cannot be summed up every {every!r}. Use hour or day, or minute for a short period.")


def _exact_spans() -> list[tuple[str, str, int, int, int]]:
    # The period is that of the common table: this part has all of it.
    return [("exact", "minute", MINUTE, 0, _LAST_HOUR)]


def _exact_period(since: float, until: float | None) -> tuple[int, int]:
    return int(since * 1e6), 1 << 62 if until is None else int(until * 1e6)


def _list(names: list[str]) -> str:
    return ", ".join(names)


def _spans(
    since: float, until: float | None, bucket: str | None, by_session: bool
) -> list[tuple[str, str, int, int, int]]:
    """The parts of the time as (table, column, seconds, first, end): whole days, and the hours before and after them."""
    first = int(since // HOUR)
    last = _LAST_HOUR if until is None else math.ceil(until / HOUR)
    if by_session:
        return [("sessions", "hour", HOUR, first, last)]
    first_day, last_day = -(-first // 24), last // 24
    if bucket == "hour" or last_day <= first_day:
        return [("hours", "hour", HOUR, first, last)]
    spans = [("days", "day", DAY, first_day, last_day)]
    if first < first_day * 24:
        spans.append(("hours", "hour", HOUR, first, first_day * 24))
    if last_day * 24 < last and until is not None:
        spans.append(("hours", "hour", HOUR, last_day * 24, last))
    return spans


def sums_of(row: tuple[Any, ...], by: str | None) -> UsageSums:
    """A row of the result of `query`."""
    name, start, *values = row
    at = None if start is None else float(start)
    if by in _SECONDS and at is not None:
        name = time.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H:00Z", time.gmtime(at))
    return UsageSums(name=name, at=at, **{name: value or 0 for name, value in zip(SUMS, values, strict=True)})
