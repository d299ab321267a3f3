"""`byway requests`: the last requests of the running Byway."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json, printable

if TYPE_CHECKING:
    from byway.admin.requests import RequestRow

#: Seconds between two queries, and without an answer until Byway counts as stopped: it may be restarting.
_INTERVAL: Final = 0.5
_GONE: Final = 10.0
_HEAD: Final = (
    "TIME",
    "SESSION",
    "REQUESTED",
    "ANSWERED BY",
    "STATUS",
    "IN",
    "CACHED",
    "OUT",
    "FIRST",
    "TOTAL",
    "ERROR",
)
#: The least width of each column, so that later rows line up with the first ones.
_WIDTHS: Final = (8, 8, 18, 24, 6, 7, 6, 6, 8, 9, 0)
_RIGHT: Final = frozenset((4, 5, 6, 7, 8, 9))
_COLOURS: Final = {"good": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="The most requests to print.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing new requests until Ctrl-C.")
@DATA_DIR
@JSON
def command(limit: int, follow: bool, folder: str | None, as_json: bool) -> None:
    """Show the last requests, newest last: the model, the backend that answered, tokens, times and errors.

    Prompts and answers are not recorded. With --follow --json each request is one line of JSON.
    """
    data = data_folder(folder)
    recent = _recent(data)
    if recent is None:
        raise Failure(_no_answer(data))
    entries = recent[0][-limit:]
    if as_json and not follow:
        print_json({"requests": entries, "count": recent[1]})
        return
    printer = _JsonPrinter() if as_json else _TablePrinter(entries)
    printer.print(entries)
    if not entries and not as_json:
        note("No requests yet." + (" Waiting ..." if follow else ""))
    if follow:
        try:
            _follow(data, printer, entries[-1]["number"] if entries else 0)
        except KeyboardInterrupt:
            note("")


def _recent(data: Path, after: int = 0) -> tuple[list[dict[str, Any]], int] | None:
    """The requests after number `after`, oldest first, and the count of all; None when no Byway answers."""
    answer = client.get(data, f"/byway/requests?after={after}")
    return None if answer is None else (answer["requests"][::-1], answer["count"])


def _follow(data: Path, printer: _JsonPrinter | _TablePrinter, last: int) -> None:
    answered = time.monotonic()
    while True:
        time.sleep(_INTERVAL)
        recent = _recent(data, last)
        if recent is None:
            if time.monotonic() - answered > _GONE:
                raise Failure("Byway has stopped.")
            continue
        answered = time.monotonic()
        entries, count = recent
        if count < last:
            # It was restarted and counts from 1.
            last = 0
        elif entries:
            printer.print(entries)
            last = count


def _no_answer(data: Path) -> str:
    if client.address(data):
        return f"Byway is running, but {data / client.SOCKET} does not answer. Its requests are on the page: byway page"
    return client.not_running(data)


class _JsonPrinter:
    """Prints each request as a line of JSON."""

    def print(self, entries: Sequence[dict[str, Any]]) -> None:
        for entry in entries:
            click.echo(json.dumps(entry))


class _TablePrinter:
    """Prints each request as a row of a table."""

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        columns = zip(_HEAD, *(_cells(_row(entry)) for entry in entries), strict=True)
        self._widths = [max(least, *map(len, column)) for least, column in zip(_WIDTHS, columns, strict=True)]
        self._has_header = False

    def print(self, entries: Sequence[dict[str, Any]]) -> None:
        if entries and not self._has_header:
            click.echo(self._line(_HEAD))
            self._has_header = True
        for entry in entries:
            row = _row(entry)
            click.echo(self._line(_cells(row), _COLOURS.get(row.state)))

    def _line(self, cells: Sequence[str], colour: str | None = None) -> str:
        placed = [
            f"{cell:>{width}}" if column in _RIGHT else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        ]
        placed[-1] = cells[-1]
        if colour:
            placed[4] = click.style(placed[4], fg=colour)
        return "  ".join(placed).rstrip()


def _row(entry: dict[str, Any]) -> RequestRow:
    import msgspec

    from byway.admin.requests import RecentRequest, RequestLine, row

    return row(RecentRequest(entry["number"], entry["at"], msgspec.convert(entry, RequestLine), entry["error"]))


def _cells(row: RequestRow) -> tuple[str, ...]:
    """The cells of a row. Foreign text is cleared of characters that control a terminal."""
    cells = (
        *(row.at, row.session, row.requested or row.path, row.target, str(row.status)),
        *(row.tokens_in, row.cached, row.tokens_out, row.first, row.total, row.error),
    )
    width = max(40, shutil.get_terminal_size((160, 24)).columns)
    return tuple(printable(cell)[:width] for cell in cells)
