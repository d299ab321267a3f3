"""`byway requests`: the last requests of the Byway that runs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway import platform
from byway.cli import client
from byway.cli.configfile import JSON, data_dir
from byway.cli.output import Failure

if TYPE_CHECKING:
    from byway.admin.requests import RequestRow

#: Seconds between two looks, and without an answer until Byway counts as gone: it may begin anew.
_LOOK_EVERY: Final = 0.5
_GONE: Final = 10.0
_HEAD: Final = ("TIME", "SESSION", "ASKED", "ANSWERED", "STATUS", "IN", "CACHED", "OUT", "FIRST", "WHOLE", "ERROR")
#: What each column takes at least, so that lines that come later stand below those that are there.
_LEAST: Final = (8, 8, 18, 24, 6, 7, 6, 6, 8, 9, 0)
_RIGHT: Final = frozenset((4, 5, 6, 7, 8, 9))
_COLOURS: Final = {"good": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="So many at most.")
@click.option("--follow", "-f", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@data_dir
@JSON
def command(limit: int, follow: bool, folder: str | None, as_json: bool) -> None:
    """Show the last requests, the newest at the end: who asked for what, who answered, how fast, and what went wrong.

    Prompts and answers are not among it. With --follow --json each request is a line.
    """
    data = platform.data_folder(folder, os.environ)
    told = _asked(data)
    if told is None:
        raise Failure(_none(data))
    found = told[0][-limit:]
    if as_json and not follow:
        click.echo(json.dumps(found, indent=2))
        return
    show = _Lines() if as_json else _Rows(found)
    show.more(found)
    if not found and not as_json:
        click.echo("No request yet." + (" Waiting ..." if follow else ""), err=True)
    if follow:
        try:
            _follow(data, show, found[-1]["number"] if found else 0)
        except KeyboardInterrupt:
            click.echo(err=True)


def _asked(data: Path, after: int = 0) -> tuple[list[dict[str, Any]], int] | None:
    """The requests behind number `after`, oldest first, and how many there have been; None when no Byway answers."""
    told = client.ask(data, f"/byway/requests?after={after}")
    return None if told is None else (told["requests"][::-1], told["count"])


def _follow(data: Path, show: _Lines | _Rows, last: int) -> None:
    answered = time.monotonic()
    while True:
        time.sleep(_LOOK_EVERY)
        told = _asked(data, last)
        if told is None:
            if time.monotonic() - answered > _GONE:
                raise Failure("Byway has stopped.")
            continue
        answered = time.monotonic()
        fresh, count = told
        if count < last:
            # It has begun anew, and counts from 1.
            last = 0
        elif fresh:
            show.more(fresh)
            last = count


def _none(data: Path) -> str:
    if client.address(data):
        return f"A Byway runs, but {data / client.SOCKET} does not answer: its requests are on the page (byway page)."
    return f"No Byway runs with the data folder {data}. Start it: byway up"


class _Lines:
    """A request is a line of JSON."""

    def more(self, found: Sequence[dict[str, Any]]) -> None:
        for one in found:
            click.echo(json.dumps(one))


class _Rows:
    """A request is a row of a table."""

    def __init__(self, found: Sequence[dict[str, Any]]) -> None:
        columns = zip(_HEAD, *(_cells(_row(one)) for one in found), strict=True)
        self._widths = [max(least, *map(len, column)) for least, column in zip(_LEAST, columns, strict=True)]
        self._begun = False

    def more(self, found: Sequence[dict[str, Any]]) -> None:
        if found and not self._begun:
            click.echo(self._line(_HEAD))
            self._begun = True
        for one in found:
            row = _row(one)
            click.echo(self._line(_cells(row), _COLOURS.get(row.state)))

    def _line(self, cells: Sequence[str], colour: str | None = None) -> str:
        placed = [
            f"{cell:>{width}}" if at in _RIGHT else f"{cell:<{width}}"
            for at, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        ]
        placed[-1] = cells[-1]
        if colour:
            placed[4] = click.style(placed[4], fg=colour)
        return "  ".join(placed).rstrip()


def _row(one: dict[str, Any]) -> RequestRow:
    import msgspec

    from byway.admin.requests import RecentRequest, RequestLine, row

    return row(RecentRequest(one["number"], one["at"], msgspec.convert(one, RequestLine), one["error"]))


def _cells(row: RequestRow) -> tuple[str, ...]:
    """What is shown of a request; text of others without what would steer a terminal."""
    what = row.asked or row.path
    cells = (
        *(row.at, row.session, what, row.target, str(row.status)),
        *(row.tokens_in, row.cached, row.tokens_out, row.first, row.whole, row.error),
    )
    most = max(40, shutil.get_terminal_size((160, 24)).columns)
    return tuple("".join(letter for letter in cell if letter.isprintable())[:most] for cell in cells)
