"""`byway requests`: the last requests of the running Byway, and one of them in detail."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json, printable

if TYPE_CHECKING:
    from byway.admin.requests import RequestRow

#: Seconds between two queries, and without an answer until Byway counts as stopped: it may be restarting.
_INTERVAL: Final = 0.5
_GONE: Final = 10.0
#: Characters of the timeline.
_BAR: Final = 40
_HEAD: Final = (
    "NO",
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
_WIDTHS: Final = (4, 8, 8, 18, 24, 6, 7, 6, 6, 8, 9, 0)
_RIGHT: Final = frozenset((0, 5, 6, 7, 8, 9, 10))
#: The column of the status.
_STATUS: Final = 5
_COLOURS: Final = {"good": "green", "warn": "yellow", "bad": "red"}


@click.group(invoke_without_command=True)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="The most requests to print.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing new requests until Ctrl-C.")
@click.option("--failed", is_flag=True, help="Only requests that have failed.")
@click.option("--model", default="", metavar="TEXT", help="Only models whose name contains this.")
@click.option("--session", default="", metavar="ID", help="Only the session whose id begins with this.")
@click.option("--key", default="", metavar="ID", help="Only requests with this key.")
@click.option("--account", default="", metavar="ID", help="Only requests of this account.")
@click.option("--agent", default="", metavar="NAME", help="Only this client program, such as claude-cli.")
@click.option("--search", "text", default="", metavar="TEXT", help="Only requests that contain this anywhere.")
@DATA_DIR
@JSON
@click.pass_context
def command(
    context: click.Context, /, limit: int, follow: bool, folder: str | None, as_json: bool, **fields: Any
) -> None:
    """Show the last requests, newest last: the model, the backend that answered, tokens, times and errors.

    Prompts and answers are recorded only while `byway record` runs. With --follow --json each request is one line of JSON.
    """
    if context.invoked_subcommand is not None:
        return
    data = data_folder(folder)
    chosen = {name: "1" if value is True else value for name, value in fields.items() if value}
    recent = _recent(data, chosen)
    if recent is None:
        raise Failure(_no_answer(data))
    entries = recent["requests"][-limit:]
    if as_json and not follow:
        print_json({"requests": entries, "count": recent["count"], "sums": recent["sums"]})
        return
    printer = _JsonPrinter() if as_json else _TablePrinter(entries)
    printer.print(entries)
    if not entries and not as_json:
        missing = "No request matches." if chosen and recent["count"] else "No requests yet."
        note(missing + (" Waiting ..." if follow else ""))
    elif not as_json and not follow:
        note(_sums(recent["sums"]))
    if follow:
        try:
            _follow(data, chosen, printer, max(recent["count"], entries[-1]["number"] if entries else 0))
        except KeyboardInterrupt:
            note("")


@command.command()
@click.argument("number", type=click.IntRange(1))
@DATA_DIR
@JSON
def show(number: int, folder: str | None, as_json: bool) -> None:
    """Show one request: its fields, where its time went, and each attempt at a backend.

    NUMBER is the number of the request in `byway requests --json`, and in the address of its page.
    """
    details = client.needed_answer(data_folder(folder), "GET", f"/byway/requests/{number}")
    if as_json:
        print_json(details)
        return
    for line in _details(details):
        click.echo(printable(line))


@command.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--title", default="", help="What the case shows, as a sentence.")
@DATA_DIR
@JSON
def case(number: int, title: str, folder: str | None, as_json: bool) -> None:
    """Print a recorded request as a case file of Byway's tests, without credentials.

    It contains the prompt. Redirect it to a file: byway requests case 12 > NAME.case
    """
    query = urlencode({"title": title})
    made = client.needed_answer(data_folder(folder), "GET", f"/byway/requests/{number}/case?{query}")
    if as_json:
        print_json(made)
        return
    click.echo(made["content"], nl=False)
    note(f"Its name is {made['name']}, its folder tests/cases/{made['folder']}.")
    for text in made["notes"]:
        note(printable(text))


def _details(details: dict[str, Any]) -> Iterator[str]:
    """The lines of one request."""
    from byway.display import latency

    request = details["request"]
    row = _row(request)
    yield f"{request['id']}  {row.at}  {row.requested or row.path}  {row.status}  {row.total}"
    if row.error:
        yield f"Error     {row.error}"
    for label, value in (
        ("Target", row.target),
        ("Alias", row.alias),
        ("Session", request.get("session", "")),
        ("Client", request.get("agent", "")),
        ("Key", request.get("key", "")),
        ("Account", request.get("account", "")),
        ("Tokens", f"{row.tokens_in} in, {row.tokens_out} out" if row.tokens_out else ""),
        ("Stop", request.get("stop", "")),
    ):
        if value:
            yield f"{label:<9} {value}"
    total = sum(phase["ms"] for phase in details["phases"]) or 1
    if details["phases"]:
        yield ""
        yield "Timeline"
    for phase in details["phases"]:
        before, width = (round(_BAR * phase[name] / total) for name in ("start_ms", "ms"))
        yield f"  {phase['name']:<16} {latency(phase['ms']):>9}  {' ' * min(before, _BAR - 1)}{'#' * max(1, width)}"
    if details["attempts"]:
        yield ""
        yield "Attempts"
    for place, attempt in enumerate(details["attempts"], 1):
        status = f" ({attempt['status']})" if attempt.get("status") else ""
        yield (
            f"  {place}. {attempt['backend']}/{attempt['model']}  {attempt['outcome']}{status}  {latency(attempt['ms'])}"
        )
        if attempt.get("message"):
            yield f"     {attempt['message']}"
        for repair in attempt.get("repairs", ()):
            yield f"     repair: {repair}"


def _sums(sums: dict[str, Any]) -> str:
    import msgspec

    from byway.admin.requests import RequestSums

    return msgspec.convert(sums, RequestSums).text


def _recent(data: Path, chosen: Mapping[str, str], after: int = 0) -> dict[str, Any] | None:
    """The requests after number `after` that match, oldest first, with count and sums; None when no Byway answers."""
    answer = client.get(data, f"/byway/requests?{urlencode({**chosen, 'after': str(after)})}")
    return None if answer is None else {**answer, "requests": answer["requests"][::-1]}


def _follow(data: Path, chosen: Mapping[str, str], printer: _JsonPrinter | _TablePrinter, last: int) -> None:
    answered = time.monotonic()
    while True:
        time.sleep(_INTERVAL)
        recent = _recent(data, chosen, last)
        if recent is None:
            if time.monotonic() - answered > _GONE:
                raise Failure("Byway has stopped.")
            continue
        answered = time.monotonic()
        if recent["count"] < last:
            # It was restarted and counts from 1.
            last = 0
            continue
        printer.print(recent["requests"])
        last = recent["count"]


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
            placed[_STATUS] = click.style(placed[_STATUS], fg=colour)
        return "  ".join(placed).rstrip()


def _row(entry: dict[str, Any]) -> RequestRow:
    import msgspec

    from byway.admin.requests import RecentRequest, RequestLine, row

    return row(RecentRequest(entry["number"], entry["at"], msgspec.convert(entry, RequestLine), entry["error"]))


def _cells(row: RequestRow) -> tuple[str, ...]:
    """The cells of a row. Foreign text is cleared of characters that control a terminal."""
    cells = (
        *(str(row.number), row.at, row.session, row.requested or row.path, row.target, str(row.status)),
        *(row.tokens_in, row.cached, row.tokens_out, row.first, row.total, row.error),
    )
    width = max(40, shutil.get_terminal_size((160, 24)).columns)
    return tuple(printable(cell)[:width] for cell in cells)
