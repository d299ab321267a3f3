"""The page Overview at the root: the steps of the first run, then requests, tokens, latency and cost. A member sees its own."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from byway.admin import usagechart as texts
from byway.admin.overview import Overview, OverviewPeriod, SetupStep, read_period
from byway.admin.usagereport import UsageRow
from byway.display import dollars, latency
from byway.problems import Problem
from byway.routes import health
from byway.routes.authorize import require_account, visible_account
from byway.routes.context import RequestContext, Route
from byway.routes.overview import numbers, steps
from byway.ui.charts import Chart, Series, bar_chart, line_chart
from byway.ui.login import closed
from byway.ui.page import Outcome, failure, query_fields, send_card, send_page

_PERIODS: Final[dict[OverviewPeriod, str]] = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
#: Seconds after which the page loads the numbers again while it is visible.
_RELOAD: Final[dict[OverviewPeriod, int]] = {"1h": 10, "24h": 30, "7d": 60, "30d": 60}
#: Characters of a session's id, as on the page Requests.
_SESSION: Final = 8


class Figure(NamedTuple):
    """A number of the top row."""

    name: str
    value: str
    remark: str = ""
    is_bad: bool = False


class NameRow(NamedTuple):
    """A model or a session."""

    name: str
    full: str
    link: str
    """The query of the page Usage about it."""
    share: int
    """Its cost in percent of the highest one; that of its tokens when no cost is known."""
    tokens: str
    texts: texts.RowTexts


class BarRow(NamedTuple):
    """A row of the table with the numbers of the charts."""

    label: str
    values: tuple[str, ...]


async def index(context: RequestContext) -> None:
    """Send the page to a browser, and the hello to a program."""
    if b"text/html" not in context.headers.get(b"accept", b""):
        await health.hello(context)
        return
    try:
        require_account(context)
    except Problem as problem:
        if problem.kind != "authentication":
            raise
        await closed(context)
        return
    outcome: Outcome | None = None
    setup: Sequence[SetupStep] = ()
    try:
        setup = await steps(context)
    except Problem as problem:
        # The page works without the database.
        outcome = failure(context, problem)
    data = await _numbers(context)
    await send_page(
        context,
        "overview",
        "Overview",
        here="/",
        lead="Your requests, and what they used." if visible_account(context) is not None else "What this Byway does.",
        **data | {"outcome": outcome or data["outcome"]},
        **_setup(setup),
    )


async def reload(context: RequestContext) -> None:
    """Send the numbers again."""
    await send_card(context, "overview", "numbers", **await _numbers(context))


def _setup(setup: Sequence[SetupStep]) -> dict[str, Any]:
    done = sum(step.done for step in setup)
    return {
        "steps": setup,
        "done": done,
        "next_step": next((step for step in setup if not step.done), None),
    }


async def _numbers(context: RequestContext) -> dict[str, Any]:
    outcome: Outcome | None = None
    shown: Overview | None = None
    try:
        period = read_period(query_fields(context)["period"])
    except Problem:
        period = read_period("")
    try:
        shown = await numbers(context, period)
    except Problem as problem:
        outcome = failure(context, problem)
    data: dict[str, Any] = {
        "outcome": outcome,
        "period": period,
        "periods": _PERIODS.items(),
        "reload": _RELOAD[period],
        "numbers": shown,
        "is_own": visible_account(context) is not None,
        "is_recorded": context.runtime.config.usage.enabled,
    }
    if shown is None or not shown.total.requests:
        return data
    return data | {
        "figures": _figures(shown),
        "charts": _charts(shown),
        "models": _names(shown.models, period, "target"),
        "sessions": _names(shown.sessions, period, "session"),
        "table": _table(shown),
        "unknown": texts.unknown_costs(shown.total),
    }


def _figures(shown: Overview) -> tuple[Figure, ...]:
    total = shown.total
    cached = texts.cached_share(total)
    failed = f"{100 * total.errors / total.requests:.1f} % of requests" if total.errors else ""
    p50, p95 = shown.first_p50_ms, shown.first_p95_ms
    return (
        Figure("Requests", f"{total.requests:,}"),
        Figure("Errors", f"{total.errors:,}", failed, bool(total.errors)),
        Figure(
            "Input tokens", texts.short_number(texts.prompt_tokens(total)), f"{cached} from the cache" if cached else ""
        ),
        Figure("Output tokens", texts.short_number(total.output_tokens)),
        Figure("First token", "none" if p50 is None else latency(p50), "" if p95 is None else f"p95 {latency(p95)}"),
        Figure("Cost", texts.cost_of_row(total)),
    )


def _charts(shown: Overview) -> dict[str, Chart | None]:
    bars = shown.bars
    labels, marks = _labels(shown)

    return {
        "requests": bar_chart(
            "Requests",
            labels,
            (
                Series("succeeded", "series-1", [bar.requests - bar.errors for bar in bars]),
                Series("failed", "series-bad", [bar.errors for bar in bars]),
            ),
            _count,
            marks,
        ),
        "tokens": bar_chart(
            "Tokens",
            labels,
            (
                Series("input", "series-1", [bar.input_tokens for bar in bars]),
                Series("output", "series-2", [bar.output_tokens for bar in bars]),
                Series("cached", "series-other", [bar.cached_tokens for bar in bars]),
            ),
            _count,
            marks,
        ),
        "first": line_chart(
            "Time to the first token",
            labels,
            (
                Series("p50", "series-1", [bar.first_p50_ms for bar in bars]),
                Series("p95", "series-2", [bar.first_p95_ms for bar in bars]),
            ),
            _wait,
            marks,
        ),
        "cost": bar_chart("Cost", labels, (Series("cost", "series-3", [bar.cost for bar in bars]),), dollars, marks),
    }


def _count(value: float) -> str:
    """A number on an axis: `20`, `2.5k`, `3M`."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= least:
            return f"{value / least:.3g}{unit}"
    return f"{value:.3g}"


def _wait(ms: float) -> str:
    """Milliseconds on an axis: `500 ms`, `2.5 s`."""
    return f"{ms:.0f} ms" if ms < 1_000 else f"{ms / 1_000:.3g} s"


def _labels(shown: Overview) -> tuple[list[str], list[str]]:
    """The texts of the bars, and shorter ones for the axis. Times are local, days those of UTC."""
    labels, marks = [], []
    for bar in shown.bars:
        at = datetime.datetime.fromisoformat(bar.at)
        local = at.astimezone()
        end = local + datetime.timedelta(seconds=shown.seconds)
        if shown.period == "1h":
            labels.append(f"{local:%H:%M}")
            marks.append(f"{local:%H:%M}" if local.minute % 10 == 0 else "")
        elif shown.period == "24h":
            labels.append(f"{local:%H:%M} to {end:%H:%M}")
            marks.append(f"{local:%H:%M}" if local.hour % 4 == 0 else "")
        elif shown.period == "7d":
            labels.append(f"{local:%b} {local.day}, {local:%H:%M} to {end:%H:%M}")
            marks.append(f"{at:%b} {at.day}" if at.hour == 0 else "")
        else:
            labels.append(f"{at:%b} {at.day}")
            marks.append(f"{at:%b} {at.day}")
    return labels, marks


def _names(rows: Sequence[UsageRow], period: OverviewPeriod, by: str) -> list[NameRow]:
    costs = [row.cost or 0.0 for row in rows]
    sizes = costs if any(costs) else [float(texts.prompt_tokens(row) + row.output_tokens) for row in rows]
    highest = max(sizes, default=0.0) or 1.0
    return [
        NameRow(
            row.name[:_SESSION] if by == "session" else row.name,
            row.name,
            urlencode({"since": period, **_filter(row.name, by), "by": "model" if by == "session" else "day"}),
            round(100 * size / highest),
            texts.short_number(texts.prompt_tokens(row) + row.output_tokens),
            texts.row_texts(row),
        )
        for row, size in zip(rows, sizes, strict=True)
    ]


def _filter(name: str, by: str) -> dict[str, str]:
    if by == "session":
        return {"session": name}
    backend, _, model = name.partition("/")
    return {"backend": backend, "model": model}


def _table(shown: Overview) -> list[BarRow]:
    """The numbers of the charts, the newest first, without the parts that had no request."""
    rows = [
        BarRow(
            label,
            (
                f"{bar.requests:,}",
                f"{bar.errors:,}",
                texts.short_number(bar.input_tokens),
                texts.short_number(bar.cached_tokens),
                texts.short_number(bar.output_tokens),
                "" if bar.first_p50_ms is None else latency(bar.first_p50_ms),
                "" if bar.first_p95_ms is None else latency(bar.first_p95_ms),
                dollars(bar.cost),
            ),
        )
        for label, bar in zip(_labels(shown)[0], shown.bars, strict=True)
        if bar.requests
    ]
    return rows[::-1]


ROUTES = (
    # It is open because its endpoint checks the login itself: a program gets the hello, a browser the page.
    Route("GET", "/", index, "open", "page"),
    Route("GET", "/overview/numbers", reload, "account", "page"),
)
