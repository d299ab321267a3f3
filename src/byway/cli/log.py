"""`byway log`: the newest lines of the log of the running Byway."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlencode

import click
import msgspec

from byway.admin.log import LEVELS, MOST_LINES, LogEntry, LogPage
from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import note, print_json, printable

#: Seconds between two looks with --follow.
_INTERVAL = 1.0
_COLOURS = {"warning": "yellow", "error": "red"}


@click.command()
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="The lowest level. [default: all]")
@click.option("--search", metavar="TEXT", default="", help="Only lines that contain TEXT, in any case.")
@click.option(
    "--lines", "-n", type=click.IntRange(1, MOST_LINES), default=100, show_default=True, help="The most lines to print."
)
@click.option("--follow", "-f", is_flag=True, help="Wait for further lines. Ctrl-C ends it.")
@DATA_DIR
@JSON
def command(level: str, search: str, lines: int, follow: bool, folder: str | None, as_json: bool) -> None:
    """Print the newest lines of the log of the running Byway.

    They come from its memory: the last 2,000 since it started, whatever it writes the log to. With --json and --follow, each
    line is an object.
    """
    data = data_folder(folder)
    page = _read(data, level, search, lines, 0)
    if as_json and not follow:
        print_json(page)
        return
    if not page.lines and not follow:
        note("No line matches." if search or level != "debug" else "The log is empty.")
    try:
        while True:
            for line in page.lines:
                click.echo(msgspec.json.encode(line).decode() if as_json else _shown(line))
            if not follow:
                return
            time.sleep(_INTERVAL)
            page = _read(data, level, search, MOST_LINES, page.newest)
    except KeyboardInterrupt:
        note("")


def _read(data: Path, level: str, search: str, lines: int, after: int) -> LogPage:
    query = urlencode({"level": level, "search": search, "lines": lines, "after": after})
    return msgspec.convert(client.needed_answer(data, "GET", f"/byway/log?{query}"), LogPage)


def _shown(line: LogEntry) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(line.at))
    colour = _COLOURS.get(line.level)
    message = click.style(printable(line.message), fg=colour) if colour else printable(line.message)
    level = "" if line.level == "info" else f"{line.level} "
    trace = str(line.fields.get("trace", ""))
    return f"{click.style(clock, dim=True)} {level}{message} {click.style(printable(line.text), dim=True)}".rstrip() + (
        "\n" + printable(trace.rstrip(), keep="\n") if trace else ""
    )
