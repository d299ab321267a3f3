"""Output that the commands share: errors with exit codes, tables, JSON, and one line of progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from byway import platform


class Failure(click.ClickException):
    """The command failed: a message on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        click.echo(f"byway: {self.message}", err=True)


class Misuse(Failure):
    """The command line or the config is invalid: exit code 2."""

    exit_code = 2


def note(text: str) -> None:
    """Print a remark to stderr, so that stdout holds only the result."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON. Structs, dates and paths are encoded too."""
    import msgspec

    plain = msgspec.to_builtins(value, enc_hook=str)
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def print_table(
    rows: Sequence[Sequence[str]], style: Callable[[int, int, str], str] = lambda row, column, cell: cell
) -> None:
    """Print rows in columns, the first row as the header. `style` may colour a cell that has its final width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row_index, row in enumerate(rows):
        last = max((column for column, cell in enumerate(row) if cell), default=0)
        cells = (
            style(row_index, column, cell if column == last else cell.ljust(width))
            for column, (cell, width) in enumerate(zip(row[: last + 1], widths, strict=False))
        )
        click.echo("  ".join(cells))


def printable(text: str, keep: str = "") -> str:
    """`text` without characters that control a terminal, except those in `keep`."""
    return "".join(char for char in text if char.isprintable() or char in keep)


class StatusLine:
    """A line of progress on stderr that is rewritten in place and removed at the end; silent without a terminal."""

    def __init__(self) -> None:
        self._enabled = platform.is_terminal(sys.stderr)
        self._width = 0

    def show(self, text: str) -> None:
        if self._enabled:
            click.echo(f"\r{text:<{self._width}}", nl=False, err=True)
            self._width = len(text)

    def clear(self) -> None:
        if self._width:
            click.echo(f"\r{'':<{self._width}}\r", nl=False, err=True)
            self._width = 0
