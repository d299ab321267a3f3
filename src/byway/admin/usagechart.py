"""The chart of a usage report: one column for each hour or day, and texts for people. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from byway.admin.usagereport import OTHERS, Measure, UsageBar, UsageReport, UsageRow
from byway.display import dollars, latency

_STEPS: Final = {"hour": datetime.timedelta(hours=1), "day": datetime.timedelta(days=1)}
_MOMENT: Final = datetime.timedelta(microseconds=1)


class ChartColumn(NamedTuple):
    """One hour or day of a chart, or several of them."""

    label: str
    total: float
    parts: tuple[tuple[str, float], ...]
    """The value of each name, in the order of the report's rows, with the others last. Zeros are left out."""


def chart_columns(report: UsageReport, measure: Measure, now: float, most: int) -> list[ChartColumn]:
    """The columns of a chart, the oldest first, at most `most`: a long period has several days in each. Empty without usage.

    The first column is the first hour or day with usage, because a period may begin long before that.
    """
    if not report.bars:
        return []
    step = _STEPS[report.every]
    values: dict[datetime.datetime, dict[str, float]] = {}
    for bar in report.bars:
        values.setdefault(datetime.datetime.fromisoformat(bar.at), {})[bar.name] = _value(bar, measure)
    last = datetime.datetime.fromtimestamp(now, datetime.UTC)
    if report.until is not None:
        last = min(last, datetime.datetime.fromisoformat(report.until) - _MOMENT)
    first = min(values)
    count = max(1, -(-(max(last, max(values)) - first + _MOMENT) // step))
    group = -(-count // most)
    order = [*(row.name for row in report.rows), OTHERS, ""]
    return [
        _column(report, [first + step * at for at in range(number, min(number + group, count))], values, order)
        for number in range(0, count, group)
    ]


def _column(
    report: UsageReport,
    starts: Sequence[datetime.datetime],
    values: dict[datetime.datetime, dict[str, float]],
    order: Sequence[str],
) -> ChartColumn:
    sums: dict[str, float] = {}
    for start in starts:
        for name, value in values.get(start, {}).items():
            sums[name] = sums.get(name, 0.0) + value
    pattern = "%m-%d %H:%M" if report.every == "hour" else "%Y-%m-%d"
    label = f"{starts[0]:{pattern}}"
    if len(starts) > 1:
        label += f" to {starts[-1]:%H:%M}" if report.every == "hour" else f" to {starts[-1]:%m-%d}"
    parts = tuple((name, sums[name]) for name in dict.fromkeys(order) if sums.get(name))
    return ChartColumn(label, sum(sums.values()), parts)


def _value(bar: UsageBar, measure: Measure) -> float:
    return cast("float", getattr(bar, measure) or 0)


def best_measure(total: UsageRow) -> Measure:
    """What a chart shows when nothing else is chosen: the cost, where there is any."""
    return "cost" if total.cost else "tokens"


def measured(value: float, measure: Measure) -> str:
    """A value of a chart for people."""
    return dollars(value) if measure == "cost" else short_number(value) if measure == "tokens" else f"{value:,.0f}"


def short_number(number: float) -> str:
    """A number of tokens for people: `950`, `12.3k`, `4.56M`."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= least:
            value = number / (1e3 if unit == "k" else least)
            return f"{value:.1f}{unit}" if value >= 10 else f"{value:.2f}{unit}"
    return f"{number:,.0f}"


def cost_of_row(row: UsageRow) -> str:
    """The cost of a row; with a `+` when the cost of some of its requests is unknown."""
    return dollars(row.cost) + ("+" if row.unpriced and row.cost is not None else "")


class RowTexts(NamedTuple):
    """The numbers of a row for people; empty where there are none."""

    requests: str
    failed: str
    prompt: str
    cached: str
    answer: str
    cost: str
    first: str
    """The mean time to the first token."""


def row_texts(row: UsageRow) -> RowTexts:
    """The numbers of a row, as tables show them."""
    return RowTexts(
        f"{row.requests:,}",
        f"{row.errors:,}" if row.errors else "",
        short_number(prompt_tokens(row)),
        cached_share(row),
        short_number(row.output_tokens),
        cost_of_row(row),
        "" if row.mean_first_ms is None else latency(row.mean_first_ms),
    )


def prompt_tokens(row: UsageRow) -> int:
    """All tokens of the prompts."""
    return row.input_tokens + row.cached_tokens + row.cache_write_tokens


def cached_share(row: UsageRow) -> str:
    """The share of the prompts that the cache returned: `95 %`; empty for none."""
    return f"{100 * row.cached_tokens / prompt_tokens(row):.0f} %" if row.cached_tokens else ""


def unknown_costs(total: UsageRow) -> str:
    """A sentence about requests without a cost; empty when there are none."""
    if not total.unpriced:
        return ""
    requests, have = ("request", "has") if total.unpriced == 1 else ("requests", "have")
    return f"{total.unpriced:,} {requests} {have} no cost, because the price of the model is unknown."
