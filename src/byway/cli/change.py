"""Changes of the config file and the store by a command: open them, apply a change, print what it did."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from byway import platform
from byway.cli import client
from byway.cli.configfile import ConfigSource, find
from byway.cli.output import Failure, Misuse, note

if TYPE_CHECKING:
    from byway.admin.config import CurrentConfig, SavedConfig
    from byway.config.editing import Edit
    from byway.config.file import ConfigFile
    from byway.store import Store


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """End the command when a service fails: with exit code 2 for invalid input, else with 1."""
    from byway.admin.errors import as_problems
    from byway.problems import Problem

    try:
        with as_problems():
            yield
    except Problem as problem:
        kind = Misuse if problem.kind in ("invalid_request", "not_found") else Failure
        raise kind(problem.message) from None


def writable_source(file: str | None, folder: str | None) -> ConfigSource:
    """The config file that a command changes. A file that `--config` names need not exist yet."""
    source = find(file, os.environ, folder)
    return source if source.path.exists() else ConfigSource(source.path, source.vault, needed=False)


@contextlib.contextmanager
def open_store(data: Path) -> Iterator[Store]:
    """The store in the data folder. A failure ends the command."""
    from byway.store import Store

    with failing(), Store(_private(data)) as store:
        yield store


@contextlib.contextmanager
def open_config(source: ConfigSource, data: Path) -> Iterator[ConfigFile]:
    """The config file with its history. A failure ends the command, and nothing is written."""
    from byway.config.file import ConfigFile

    with open_store(data) as store:
        yield ConfigFile(source.path, source.check, store, data, restricted=False)


def _private(data: Path) -> Path:
    try:
        return platform.private_folder(data)
    except OSError as error:
        raise Failure(f"{data} cannot be used: {error.strerror}. Name another folder: --data-dir DIR") from None


def author(command: str) -> str:
    """The author of a change, for the history: `ada, byway alias`."""
    return f"{platform.user_name()}, {command}"


def save(
    source: ConfigSource, data: Path, edits: Callable[[CurrentConfig], Sequence[Edit]], command: str, why: str
) -> SavedConfig:
    """Apply the edits that `edits` returns for the current config. A failure ends the command."""
    from byway.admin.config import change_config

    with open_config(source, data) as file:
        return change_config(file, edits, author(command), why, lenient=True)


def change_report(saved: SavedConfig, source: ConfigSource, data: Path) -> dict[str, Any]:
    """A change as JSON: that of the admin API, with the file and whether a running Byway uses it (null: unknown)."""
    import msgspec

    return {
        "file": str(source.path),
        **msgspec.structs.asdict(saved.change()),
        "running": client.uses_file(data, source.path),
    }


def print_change(saved: SavedConfig, source: ConfigSource, data: Path, text: str) -> None:
    """Print a change: `text`, the warnings that it causes, and when it takes effect."""
    change = saved.change()
    for warning in change.warnings:
        note(f"{source.path}: {warning}")
    if not change.changed:
        click.echo(f"{text} (no change)")
        return
    click.echo(text)
    running = client.uses_file(data, source.path)
    if change.restart and running is not False:
        note(f"Takes effect after a restart of Byway: {', '.join(change.restart)}")
    elif running:
        note("The running Byway loads the change within a second.")
    elif running is None:
        note(f"A Byway is running. If it uses {source.path}, it loads the change within a second.")
