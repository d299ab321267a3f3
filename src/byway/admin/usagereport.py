"""Reports of usage: totals, rows and a chart for a period, and the export of records. Its queries are the store's.

All times are UTC, because the sums are kept by hours and days of UTC.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from byway.access.keys import Caller
from byway.admin.errors import invalid
from byway.prices.price import NANO
from byway.roles import sees_all
from byway.store import UsageFilter, UsageSums
from byway.store.protocol import UsageProtocol
from byway.store.usagequeries import DAY, HOUR, KINDS, NAMES
from byway.usage.record import UsageRecord

#: What usage can be listed by, in the order of the documentation.
BY: Final = tuple(KINDS)
#: The fields of a filter.
FILTERS: Final = (*NAMES, "session")
#: The period when none is given.
DEFAULT_SINCE: Final = "7d"
#: Rows of a report, and bars of a chart with their parts.
MOST_ROWS: Final = 1_000
MOST_BARS: Final = 2_000
#: Names that a chart shows; the others are added up.
CHART_NAMES: Final = 5
#: The name of those others.
OTHERS: Final = "other"
#: A period of up to this many hours is charted by the hour.
_HOURLY: Final = 48
_SPAN: Final = re.compile(r"([1-9]\d{0,4})([hdw])")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?Z?)?")
Measure = Literal["cost", "tokens", "requests"]
ExportFormat = Literal["csv", "jsonl"]


class UsageRow(Struct, frozen=True):
    """The usage of one name or of all."""

    name: str
    """The key, account, model and so on; the start of an hour or day; empty for all."""
    requests: int
    errors: int
    """Requests that failed: a status of 400 or more."""
    estimated: int
    """Requests whose tokens Byway has estimated, because the backend reported none."""
    input_tokens: int
    """Tokens of prompts that the cache neither returned nor stored."""
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    """With the tokens of thinking."""
    reasoning_tokens: int
    cost: float | None
    """US dollars, without the requests of `unpriced`; null when the cost of no request is known."""
    unpriced: int
    """Requests whose cost is unknown."""
    mean_ms: float | None
    """Milliseconds until an answer was complete, on average."""
    mean_first_ms: float | None
    """Milliseconds until the first content, on average."""


class UsageBar(Struct, frozen=True):
    """The usage of one hour or day, of one name or of all."""

    at: str
    """The start of the hour or day, in ISO 8601."""
    name: str
    requests: int
    tokens: int
    cost: float | None
    """US dollars; null when the cost of no request is known."""


class UsageReport(Struct, frozen=True):
    """The usage of a period."""

    since: str
    """The start of the period, in ISO 8601."""
    until: str | None
    """Its end, which does not belong to it; null for none."""
    by: str
    every: Literal["hour", "day"]
    """The width of the bars."""
    total: UsageRow
    rows: tuple[UsageRow, ...]
    """By cost, then by tokens, the highest first; hours and days by time."""
    more: bool
    """There are more rows than these."""
    bars: tuple[UsageBar, ...]
    """The chart: for each hour or day with usage a bar, or with `split` one for each of the first five names and the rest."""


class UsageQuery(Struct, frozen=True, kw_only=True):
    """What a report or an export is about."""

    by: str = "model"
    since: float
    """Seconds since the epoch."""
    until: float | None = None
    where: UsageFilter = UsageFilter()
    limit: int = MOST_ROWS
    split: bool = False
    """The chart has a part for each of the first names."""


def read_query(fields: Mapping[str, str], now: float, own: UsageFilter) -> UsageQuery:
    """Read a query from text fields: `by`, `since`, `until`, `limit`, `split`, and a filter by any of FILTERS.

    `own` is what the caller may see: its fields win. Raises Problem that names an invalid field.
    """
    by = fields.get("by") or "model"
    if by not in BY:
        raise invalid("by", f"{by[:40]!r} is not one of {', '.join(BY)}")
    since = read_time(fields.get("since") or DEFAULT_SINCE, now, "since")
    until = read_time(fields["until"], now, "until", end=True) if fields.get("until") else None
    if until is not None and until <= since:
        raise invalid("until", "the end of the period is not after its start")
    limit = fields.get("limit") or str(MOST_ROWS)
    if not limit.isascii() or not limit.isdigit() or not 0 < int(limit[:9]) <= MOST_ROWS:
        raise invalid("limit", f"a whole number from 1 to {MOST_ROWS:,}")
    return UsageQuery(
        by=by,
        since=since,
        until=until,
        where=narrowed({name: fields[name] for name in FILTERS if fields.get(name)}, own),
        limit=int(limit),
        split=fields.get("split") in ("1", "true"),
    )


def narrowed(fields: Mapping[str, str], own: UsageFilter) -> UsageFilter:
    """A filter by `fields` within what the caller may see."""
    allowed = {name: value for name, value in msgspec.structs.asdict(own).items() if value is not None}
    return UsageFilter(**{**fields, **allowed})


def visible_usage(caller: Caller) -> UsageFilter:
    """The usage that a caller may see: all, or only that of its own account."""
    return UsageFilter() if sees_all(caller.role, caller.scopes) else UsageFilter(account=caller.account)


def read_time(text: str, now: float, field: str, *, end: bool = False) -> float:
    """A moment as people write it, in seconds since the epoch. Raises Problem that names `field`.

    `24h` is the current hour and the 23 before it, `7d` today and the 6 days before it, `2w` 14 days. `2026-11-01` is the start
    of that day, as the `end` of a period its end; `2026-11-01T12:00` is a time.
    """
    text = text.strip()
    if span := _SPAN.fullmatch(text):
        amount, unit = int(span[1]), span[2]
        if unit == "h":
            return now - now % HOUR - (amount - 1) * HOUR
        return now - now % DAY - (amount * (7 if unit == "w" else 1) - 1) * DAY
    if _DATE.fullmatch(text):
        try:
            moment = datetime.datetime.fromisoformat(text.replace(" ", "T").removesuffix("Z")).replace(
                tzinfo=datetime.UTC
            )
        except ValueError:
            moment = None
        if moment is not None:
            return moment.timestamp() + (DAY if end and len(text) == 10 else 0)
    raise invalid(
        field, f"{text[:40]!r} is not a span such as 24h, 7d or 4w, a date such as 2026-11-01, or 2026-11-01T12:00"
    )


def usage_report(usage: UsageProtocol, query: UsageQuery, now: float) -> UsageReport:
    """The report of a query. It reads the database and blocks. Raises StoreError."""
    where = query.where
    period = query.since, query.until
    total = usage_row(usage.sums(None, *period, where)[0])
    rows = usage.sums(query.by, *period, where, limit=query.limit + 1)
    every: Literal["hour", "day"] = "hour" if _hours(query, now) <= _HOURLY else "day"
    if query.by in ("hour", "day") or not query.split:
        bars = [_bar(sums, "") for sums in usage.sums(every, *period, where, limit=MOST_BARS)]
    else:
        bars = _split_bars(usage, query, every, [sums.name for sums in rows[:CHART_NAMES]])
    return UsageReport(
        iso(query.since),
        None if query.until is None else iso(query.until),
        query.by,
        every,
        total,
        tuple(usage_row(sums) for sums in rows[: query.limit]),
        len(rows) > query.limit,
        tuple(bars),
    )


def _hours(query: UsageQuery, now: float) -> float:
    return ((now if query.until is None else min(query.until, now)) - query.since) / HOUR


def _split_bars(usage: UsageProtocol, query: UsageQuery, every: str, shown: Sequence[str]) -> list[UsageBar]:
    """A bar for each of the names `shown`, and one for all others."""
    period = query.since, query.until
    bars: list[UsageBar] = []
    others = {sums.at or 0.0: sums for sums in usage.sums(every, *period, query.where, limit=MOST_BARS)}
    for name in shown:
        if query.by == "target":
            backend, _, model = name.partition("/")
            where = msgspec.structs.replace(query.where, backend=backend, model=model)
        else:
            where = msgspec.structs.replace(query.where, **{query.by: name})
        for sums in usage.sums(every, *period, where, limit=MOST_BARS):
            bars.append(_bar(sums, name))
            if (rest := others.get(sums.at or 0.0)) is not None:
                _subtract(rest, sums)
    bars += [_bar(sums, OTHERS) for sums in others.values() if sums.requests > 0]
    return sorted(bars, key=lambda bar: bar.at)


def _subtract(total: UsageSums, sums: UsageSums) -> None:
    for name in (
        "requests",
        "unpriced",
        "cost",
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
    ):
        setattr(total, name, getattr(total, name) - getattr(sums, name))


def _dollars(sums: UsageSums) -> float | None:
    """The cost; None when that of no request is known."""
    return None if sums.requests and sums.unpriced >= sums.requests else sums.cost / NANO


def usage_row(sums: UsageSums) -> UsageRow:
    """Sums as a row of a report."""
    return UsageRow(
        sums.name,
        sums.requests,
        sums.errors,
        sums.estimated,
        sums.input_tokens,
        sums.cached_tokens,
        sums.cache_write_tokens,
        sums.output_tokens,
        sums.reasoning_tokens,
        _dollars(sums),
        sums.unpriced,
        round(sums.latency_ms / sums.requests, 1) if sums.requests else None,
        round(sums.first_ms / sums.with_content, 1) if sums.with_content else None,
    )


def _bar(sums: UsageSums, name: str) -> UsageBar:
    tokens = sums.input_tokens + sums.cached_tokens + sums.cache_write_tokens + sums.output_tokens
    return UsageBar(iso(sums.at or 0.0), name, sums.requests, tokens, _dollars(sums))


def iso(at: float) -> str:
    """A moment in UTC: `2026-11-01T12:00:00Z`."""
    # `strftime` writes a year before 1000 with fewer digits.
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


# ------------------------------------------------------------------------------------------------------------- export

#: The columns of an export. `cost` is in US dollars, with all its digits.
COLUMNS: Final = ("time", *(name for name in UsageRecord.__struct_fields__ if name != "at"))
#: Records that are encoded together.
_BATCH: Final = 500


def export(records: Iterable[UsageRecord], form: ExportFormat) -> Iterator[bytes]:
    """Records as CSV with a header, or as lines of JSON; in pieces. The header comes with the first records, so that a database
    that cannot be read is noticed before anything is sent."""
    head = _csv_lines([COLUMNS]) if form == "csv" else b""
    batch: list[tuple[Any, ...]] = []
    for record in records:
        batch.append(_values(record))
        if len(batch) == _BATCH:
            yield head + _encoded(batch, form)
            head, batch = b"", []
    if last := head + _encoded(batch, form):
        yield last


def _values(record: UsageRecord) -> tuple[Any, ...]:
    """The values of a record in the order of COLUMNS."""
    fields = msgspec.structs.asdict(record)
    at = fields.pop("at")
    milliseconds = int(at % 1 * 1000)
    fields["cost"] = None if record.cost is None else exact_dollars(record.cost)
    return (f"{iso(at)[:-1]}.{milliseconds:03d}Z", *fields.values())


def _encoded(batch: Sequence[tuple[Any, ...]], form: ExportFormat) -> bytes:
    if form == "csv":
        return _csv_lines([tuple(map(_cell, values)) for values in batch])
    return b"".join(
        msgspec.json.encode(
            {
                name: float(value) if name == "cost" and value else value
                for name, value in zip(COLUMNS, values, strict=True)
            }
        )
        + b"\n"
        for values in batch
    )


def _csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """A cell of CSV. Clients choose names: a spreadsheet must not take one for a formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def exact_dollars(nano: int) -> str:
    """Nano-dollars as dollars with all their digits: `0.0001305`."""
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def rows_as_csv(report: UsageReport) -> bytes:
    """The rows of a report as CSV with a header."""
    fields = UsageRow.__struct_fields__
    rows = ([_cell(getattr(row, field)) for field in fields] for row in report.rows)
    return _csv_lines([(report.by, *fields[1:]), *rows])
