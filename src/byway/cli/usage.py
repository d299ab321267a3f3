"""`byway usage`: what was used and what it cost, as a table with a chart, as JSON or CSV; and the export of records."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Misuse, note, print_json, print_table, printable
from byway.store.usagequeries import KINDS

if TYPE_CHECKING:
    from byway.admin.usagereport import Measure, UsageQuery, UsageReport, UsageRow

#: Bars of the chart: longer periods have several days in one.
_MOST_BARS: Final = 31
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_WIDEST_BAR: Final = 60
_NAME_WIDTH: Final = 48


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose which usage counts."""
    for name, about in reversed(
        {
            "account": "Only this account.",
            "key": "Only the key with this id.",
            "model": "Only this model.",
            "backend": "Only this backend.",
            "tag": "Only this tag.",
            "session": "Only this session.",
        }.items()
    ):
        command = click.option(f"--{name}", metavar="NAME", help=about)(command)
    for name, default, about in (
        ("until", None, "The end: the same forms. [default: now]"),
        ("since", "7d", "The start: 24h, 7d, 4w, 2026-11-01 or 2026-11-01T12:00, in UTC."),
    ):
        command = click.option(f"--{name}", metavar="WHEN", default=default, show_default=True, help=about)(command)
    return command


@click.group(invoke_without_command=True)
@click.option("--by", type=click.Choice(KINDS), default="model", show_default=True, help="What each row is.")
@_filters
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="The most rows.")
@click.option("--measure", type=click.Choice(("cost", "tokens", "requests")), help="What the chart shows.")
@DATA_DIR
@JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    by: str,
    limit: int,
    measure: Measure | None,
    folder: str | None,
    as_json: bool,
    as_csv: bool,
    **fields: str | None,
) -> None:
    """Show the requests, tokens and cost of a period, by model, account, key, session, tag, day and more.

    Example: byway usage --by account --since 30d
    """
    if ctx.invoked_subcommand is not None:
        return
    from byway.admin.usagereport import rows_as_csv, usage_report
    from byway.cli.change import open_store

    now = time.time()
    query = _read_query({**fields, "by": by, "limit": str(limit)}, now)
    with open_store(data_folder(folder)) as store:
        report = usage_report(store.usage, query, now)
    if as_json:
        print_json(report)
    elif as_csv:
        _print_bytes([rows_as_csv(report)])
    else:
        _print_report(report, measure, now)


@command.command()
@_filters
@click.option("--json", "as_json", is_flag=True, help="Write lines of JSON, not CSV.")
@click.option("--output", "-o", metavar="FILE", help="Write to this file, not to the terminal.")
@DATA_DIR
def export(as_json: bool, output: str | None, folder: str | None, **fields: str | None) -> None:
    """Write every usage record of a period as CSV: one line per request, the oldest first."""
    from byway.admin.usagereport import export as encode
    from byway.cli.change import open_store

    query = _read_query(fields, time.time())
    with open_store(data_folder(folder)) as store:
        pieces = encode(store.usage.records(query.since, query.until, query.where), "jsonl" if as_json else "csv")
        if output is None:
            _print_bytes(pieces)
            return
        try:
            with Path(output).open("wb") as file:
                for piece in pieces:
                    file.write(piece)
        except OSError as error:
            raise Misuse(f"{output} cannot be written: {error.strerror}. Choose another file.") from None
    note(f"Written to {output}.")


def _print_bytes(pieces: Iterable[bytes]) -> None:
    """Write to stdout, until the reader closes it, as `head` does."""
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Otherwise Python reports it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_query(fields: Mapping[str, str | None], now: float) -> UsageQuery:
    """The query of the options, for the owner of the data folder, who sees all usage. A failure ends the command."""
    from byway.admin.usagereport import read_query
    from byway.cli.change import failing
    from byway.store import UsageFilter

    with failing():
        return read_query({name: value for name, value in fields.items() if value}, now, UsageFilter())


# ------------------------------------------------------------------------------------------------------------- tables


def _print_report(report: UsageReport, measure: Measure | None, now: float) -> None:
    from byway.admin import usagechart as chart

    total = report.total
    end = "now" if report.until is None else report.until[:16].replace("T", " ")
    click.echo(f"{report.since[:16].replace('T', ' ')} to {end} (UTC)\n")
    if not total.requests:
        note("No requests in this period.")
        return
    failed = f", {total.errors:,} failed" if total.errors else ""
    cached = f" ({chart.cached_share(total)} from the cache)" if total.cached_tokens else ""
    prompt, answer = chart.prompt_tokens(total), total.output_tokens
    click.echo(f"Requests  {total.requests:,}{failed}")
    click.echo(f"Tokens    {chart.short_number(prompt)} in{cached}, {chart.short_number(answer)} out")
    click.echo(f"Cost      {chart.cost_of_row(total)}\n")
    _print_chart(report, measure or chart.best_measure(total), now)
    click.echo()
    head = (report.by.upper(), "REQUESTS", "FAILED", "IN", "CACHED", "OUT", "COST", "FIRST TOKEN")
    if report.rows:
        _print_numbers([head, *map(_cells, report.rows)])
    else:
        note(f"No request of this period has a {report.by}.")
    if report.more:
        note(f"Only the first {len(report.rows):,} rows. More: --limit 1000")
    if unknown := chart.unknown_costs(total):
        note(f"{unknown} See: byway prices")


def _cells(row: UsageRow) -> tuple[str, ...]:
    from byway.admin import usagechart as chart

    name = printable(row.name) or "(none)"
    return (name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…", *chart.row_texts(row))


def _print_numbers(rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns after the first are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print_table(
        [[row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in rows]
    )


# -------------------------------------------------------------------------------------------------------------- chart


def _print_chart(report: UsageReport, measure: Measure, now: float) -> None:
    from byway.admin.usagechart import chart_columns, measured

    columns = chart_columns(report, measure, now, _MOST_BARS)
    unit = "" if measure == "cost" else f" {measure}"
    labels = [f"{measured(column.total, measure)}{unit}" if column.total else "" for column in columns]
    names = max(len(column.label) for column in columns)
    room = shutil.get_terminal_size((100, 24)).columns - names - max(map(len, labels)) - 4
    most = max(column.total for column in columns)
    width = max(8, min(_WIDEST_BAR, room))
    blocks = supports_blocks(sys.stdout.encoding)
    for column, label in zip(columns, labels, strict=True):
        drawn = bar(column.total / most if most else 0.0, width, blocks)
        click.echo(f"{column.label:<{names}}  {drawn} {label}".rstrip())


def bar(share: float, width: int, blocks: bool) -> str:
    """A bar of up to `width` characters: of blocks in eighths, or of `#`. Every share above zero is visible."""
    if share <= 0:
        return ""
    if not blocks:
        return "#" * max(1, round(share * width))
    eighths = max(1, round(share * width * 8))
    return _BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def supports_blocks(encoding: Any) -> bool:
    """Whether an output can show block characters."""
    try:
        _BLOCKS.encode(str(encoding or "ascii"))
    except (LookupError, UnicodeEncodeError):
        return False
    return True
