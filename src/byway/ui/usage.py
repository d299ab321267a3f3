"""The page Usage: totals, a chart and a table of a period. A member sees the usage of its own account."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, get_args
from urllib.parse import urlencode

from byway.admin import usagechart as chart
from byway.admin.usagereport import (
    BY,
    CHART_NAMES,
    FILTERS,
    OTHERS,
    Measure,
    UsageReport,
    UsageRow,
    read_query,
    usage_report,
    visible_usage,
)
from byway.display import latency
from byway.problems import Problem
from byway.routes.admin import run
from byway.routes.context import RequestContext, Route
from byway.ui.charts import Chart, Series, bar_chart
from byway.ui.page import Form, Outcome, failure, query_fields, send_page

#: Columns of the chart.
_MOST_COLUMNS: Final = 92
_FEWEST_COLUMNS: Final = 7
#: Rows of the table.
_ROWS: Final = 100
_PERIODS: Final = (
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("90d", "90 days"),
    ("52w", "52 weeks"),
)
_MEASURES: Final[dict[Measure, str]] = {"cost": "Cost", "tokens": "Tokens", "requests": "Requests"}
#: What the page lists usage by; an organization is rare, and stays in the API.
_BY: Final = tuple((name, name.capitalize()) for name in BY if name != "organization")


class TableRow(NamedTuple):
    """A row of the table as text."""

    name: str
    style: str
    """The class of its colour in the chart; empty when it has none."""
    link: str
    """The query of a page with the details; empty when there is none."""
    texts: chart.RowTexts


class ActiveFilter(NamedTuple):
    """A filter of the page, and the query of the page without it."""

    name: str
    value: str
    without: str


async def index(context: RequestContext) -> None:
    """Send the page. An invalid period is reported on it."""
    fields = query_fields(context)
    outcome: Outcome | None = None
    now = time.time()
    own = visible_usage(context.caller)
    given = {name: value for name, value in fields.items() if value} | {"split": "1", "limit": str(_ROWS)}
    try:
        query = read_query(given, now, own)
    except Problem as problem:
        outcome = failure(context, problem)
        fields = Form()
        query = read_query({"split": "1", "limit": str(_ROWS)}, now, own)
    usage = context.gateway.services.store.usage
    report = await run(lambda: usage_report(usage, query, now))
    chosen = fields["measure"]
    measure = next((name for name in get_args(Measure) if name == chosen), chart.best_measure(report.total))
    await send_page(
        context,
        "usage",
        "Usage",
        here="/usage",
        lead="Requests, tokens and cost. Days and hours are those of UTC.",
        outcome=outcome,
        by=query.by,
        by_choices=_BY,
        since=fields["since"] or "7d",
        until=fields["until"],
        periods=_periods(fields["since"]),
        measure=measure,
        measures=tuple(_MEASURES.items()),
        filters=_filters(fields, own_account=own.account is not None),
        total=report.total,
        figures=_figures(report.total),
        unknown=chart.unknown_costs(report.total),
        sees_all=own.account is None,
        drawing=_draw(report, measure, now),
        has_others=any(bar.name == OTHERS for bar in report.bars),
        rows=[_row(row, report, number, fields) for number, row in enumerate(report.rows)],
        more=report.more,
        export=urlencode({name: fields[name] for name in ("since", "until", *FILTERS) if fields[name]}),
    )


def _periods(since: str) -> tuple[tuple[str, str], ...]:
    """The choices of the period, with the given one."""
    known = {value for value, _ in _PERIODS}
    return _PERIODS if not since or since in known else ((since, f"since {since}"), *_PERIODS)


def _filters(fields: Form, *, own_account: bool) -> list[ActiveFilter]:
    return [
        ActiveFilter(
            name, fields[name], urlencode({key: value for key, value in fields.items() if key != name and value})
        )
        for name in FILTERS
        if fields[name] and not (own_account and name == "account")
    ]


def _figures(total: UsageRow) -> tuple[tuple[str, str, str], ...]:
    """The totals: a name, a number, and a remark."""
    cached = chart.cached_share(total)
    first = () if total.mean_first_ms is None else (("First token", latency(total.mean_first_ms), "on average"),)
    return (
        ("Cost", chart.cost_of_row(total), ""),
        ("Requests", f"{total.requests:,}", f"{total.errors:,} failed" if total.errors else ""),
        ("Input tokens", chart.short_number(chart.prompt_tokens(total)), f"{cached} from the cache" if cached else ""),
        ("Output tokens", chart.short_number(total.output_tokens), ""),
        *first,
    )


def _style(number: int) -> str:
    """The class of the colour of a row."""
    return f"series-{number + 1}" if number < CHART_NAMES else ""


def _row(row: UsageRow, report: UsageReport, number: int, fields: Form) -> TableRow:
    timed = report.by in ("hour", "day")
    return TableRow(
        row.name or "(none)",
        "" if timed else _style(number),
        "" if timed or not row.name else _details(row.name, report.by, fields),
        chart.row_texts(row),
    )


def _details(name: str, by: str, fields: Form) -> str:
    """The query of a page about one name: its days, or the models that it used."""
    chosen = {"backend": name.partition("/")[0], "model": name.partition("/")[2]} if by == "target" else {by: name}
    kept = {key: value for key, value in fields.items() if value and key != "by"}
    return urlencode({**kept, **chosen, "by": "day" if by in ("model", "target", "session") else "model"})


def _draw(report: UsageReport, measure: Measure, now: float) -> Chart | None:
    """The chart; None when it would be empty."""
    columns = chart.chart_columns(report, measure, now, _MOST_COLUMNS)
    # One column alone would be as wide as the chart.
    empty = [chart.ChartColumn("", 0.0, ())] * max(0, _FEWEST_COLUMNS - len(columns))
    columns = [*columns, *empty] if columns else []
    values = [dict(column.parts) for column in columns]
    names = dict.fromkeys(name for column in values for name in column)
    styles = {row.name: _style(number) for number, row in enumerate(report.rows[:CHART_NAMES])}
    series = [
        # Bars of a report without names have the first colour.
        Series(
            name, styles.get(name, "series-1" if not name else "series-other"), [parts.get(name) for parts in values]
        )
        for name in names
    ]
    title = f"{_MEASURES[measure]} per {report.every}"
    labels = [column.label for column in columns]
    # `2026-11-30` and `11-30 12:00` are too long for the axis.
    marks = [label[5:10] if report.every == "day" else label[6:11] for label in labels]
    drawn = bar_chart(title, labels, series, lambda value: chart.measured(value, measure), marks)
    # The table has the same colours.
    return drawn._replace(legend=()) if drawn else None


ROUTES = (Route("GET", "/usage", index, "account", "page"),)
