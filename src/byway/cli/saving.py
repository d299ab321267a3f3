"""Changes of the config file by commands: made by way of `filing`, refused in words; and what is said of one that is made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from byway import platform
from byway.cli import client
from byway.cli.configfile import ConfigSource, find, read
from byway.cli.output import Failure, Misuse
from byway.config import Config, ConfigError, static_changes

if TYPE_CHECKING:
    from byway.config.editing import Edit
    from byway.config.file import ConfigFile, ConfigText, SaveResult

#: So often is a change worked out anew, when others change the same list meanwhile.
_TRIES: Final = 5


def sourced(file: str | None, folder: str | None) -> ConfigSource:
    """The config file that a command works on; one that is named need not be there, since it is about to be made."""
    source = find(file, os.environ, folder)
    return source if source.path.exists() else ConfigSource(source.path, source.vault, needed=False)


def config(file: str | None, folder: str | None) -> tuple[ConfigSource, Config]:
    """That file and what it says now."""
    source = sourced(file, folder)
    return source, read(source)


@contextlib.contextmanager
def opened(source: ConfigSource, data: Path) -> Iterator[ConfigFile]:
    """The file with its history; whatever goes wrong with them ends the command, in words and with nothing written."""
    from byway.config.editing import EditError
    from byway.config.file import ConfigChanged, ConfigFile
    from byway.store import Store, StoreError

    try:
        with Store(platform.private_folder(data)) as store:
            yield ConfigFile(source.path, source.check, store, data, restricted=False)
    except EditError as error:
        raise Failure(f"{source.path} cannot be changed: {error.problem}") from None
    except ConfigError as error:
        raise Misuse(f"That would not be a good config, so nothing was changed.\n{error}") from None
    except (StoreError, ConfigChanged) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename or source.path} cannot be used: {error.strerror or error}") from None


class Saved(NamedTuple):
    """A change that was made, or turned out to be none."""

    before: ConfigText
    outcome: SaveResult
    was: Config
    """The config before it; an empty one where that was not good."""

    @property
    def changed(self) -> bool:
        return self.before.etag != self.outcome.etag

    @property
    def restart(self) -> tuple[str, ...]:
        """The settings that it changed and that take effect at the next start."""
        return static_changes(self.was, self.outcome.config)


def save(filing: ConfigFile, edits: Callable[[Config], Sequence[Edit]], command: str, why: str) -> Saved:
    """Make the edits that `edits` works out of the config as it is. `command`: who does it, for the history."""
    from byway.config.file import ConfigChanged

    for tries in range(_TRIES):
        paper = filing.read()
        was = config_of(filing, paper.text)
        made = edits(was)
        try:
            # Only places in lists move when others change the file.
            listed = any(isinstance(key, int) for one in made for key in one.path)
            outcome = filing.change(made, who(command), why, paper.etag if listed and paper.text else None)
        except ConfigChanged:
            if tries + 1 == _TRIES:
                raise
        else:
            return Saved(paper, outcome, was)
    raise AssertionError("the last try returns or raises")


def who(command: str) -> str:
    """Who does something, in words for the history."""
    return f"{platform.user_name()}, {command}"


def config_of(filing: ConfigFile, text: str) -> Config:
    """A text's config. One that is not good may be about to be mended."""
    try:
        return filing.check(text) if text else Config()
    except ConfigError:
        return Config()


def told(saved: Saved, source: ConfigSource, data: Path) -> dict[str, Any]:
    """What programs are told of every change."""
    from byway.config.paths import new_warnings

    return {
        "file": str(source.path),
        "changed": saved.changed,
        "etag": saved.outcome.etag,
        "warnings": [str(one) for one in new_warnings(saved.was.warnings, saved.outcome.config.warnings)],
        "restart": list(saved.restart),
        "running": client.takes(data, source.path),
    }


def say(saved: Saved, source: ConfigSource, data: Path, text: str) -> None:
    """Tell people of a change: `text`, new warnings, and when it counts."""
    known = told(saved, source, data)
    for one in known["warnings"]:
        click.echo(f"{source.path}: {one}", err=True)
    if not saved.changed:
        click.echo(f"{text}. It was so already.")
        return
    click.echo(text)
    if known["restart"] and known["running"] is not False:
        click.echo(f"{' and '.join(known['restart'])}: counts when Byway is started anew.", err=True)
    elif known["running"]:
        click.echo("The running Byway takes it within a second.", err=True)
    elif known["running"] is None:
        click.echo(f"A Byway runs; if it uses {source.path}, it takes it within a second.", err=True)
