"""The config file as the CLI, the page and the API change it: read, check, change, replace, versions, rollback."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from byway.admin.errors import invalid
from byway.config import Config, ConfigError, ConfigProblem, static_changes
from byway.config.editing import ConfigChanged, Edit, meaning, value_at
from byway.config.file import ConfigFile, SaveResult
from byway.config.notes import masked
from byway.config.paths import new_warnings
from byway.config.settings import BUILTIN

#: How often a change is computed again when another process changes the same list at the same time.
_TRIES: Final = 5


class CurrentConfig(NamedTuple):
    """The config file as it is now."""

    text: str
    etag: str
    config: Config
    written_backends: list[Any]
    """`backends` as the file has it; empty when the file names none."""

    @property
    def is_builtin_implied(self) -> bool:
        """True when the file names no backend, so the built-in model answers."""
        return not self.written_backends

    def backend_index(self, name: str) -> int | None:
        """The index of a backend in the file's list; None when the file does not name it."""
        if self.is_builtin_implied:
            return None
        return next((index for index, backend in enumerate(self.config.backends) if backend.name == name), None)


class SavedConfig(NamedTuple):
    """A change that was saved, or that turned out to change nothing."""

    before: CurrentConfig
    result: SaveResult

    @property
    def is_changed(self) -> bool:
        return self.before.etag != self.result.etag

    @property
    def warnings(self) -> list[ConfigProblem]:
        """The warnings that this change causes."""
        return new_warnings(self.before.config.warnings, self.result.config.warnings)

    def change(self, started: Config | None = None) -> ConfigChange:
        """The change as data. `started` is the config with which the running process started."""
        return ConfigChange(
            self.result.etag,
            self.is_changed,
            self.result.merged,
            tuple(map(str, self.warnings)),
            static_changes(started or self.before.config, self.result.config),
        )


class ConfigChange(Struct, frozen=True):
    """The outcome of a change of the config file."""

    etag: str
    """The etag of the file now."""
    changed: bool
    """False: the file had these settings already."""
    merged: bool
    """The file had changed elsewhere since the given etag; both changes are in it."""
    warnings: tuple[str, ...]
    """New warnings that the change causes."""
    restart: tuple[str, ...]
    """Settings that take effect after a restart."""


class ConfigView(Struct, frozen=True):
    """The settings in force, secrets masked."""

    file: str
    etag: str
    settings: dict[str, Any]
    warnings: tuple[str, ...]
    problem: str | None
    """Why the current file was rejected; the settings are then those of the last valid file."""
    restart: tuple[str, ...]
    """Settings of the file that take effect after a restart."""


class ConfigComplaint(Struct, frozen=True):
    """An error or a warning about a config."""

    path: str
    line: int | None
    message: str
    severity: str


class ConfigReport(Struct, frozen=True):
    """The result of a check."""

    good: bool
    complaints: tuple[ConfigComplaint, ...]
    """Errors when the config is invalid, else warnings."""
    warnings: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """Settings that would take effect after a restart."""


class VersionInfo(Struct, frozen=True):
    """A version of the config file."""

    number: int
    at: datetime.datetime
    who: str
    why: str
    etag: str
    current: bool
    """The file has this text now."""


class VersionChanges(Struct, frozen=True):
    """What one version changed."""

    number: int
    at: datetime.datetime
    who: str
    why: str
    etag: str
    changes: tuple[str, ...]
    """Lines of a diff without secrets; they begin with `+`, `-`, a blank or `@@`."""


def read_current(file: ConfigFile, *, lenient: bool = False) -> CurrentConfig:
    """Read the config file. Raises ConfigError when it is invalid; `lenient` returns an empty config instead."""
    paper = file.read()
    try:
        config = file.check(paper.text) if paper.text or not lenient else Config()
        written = value_at(meaning(paper.text), ("backends",))
    except ConfigError:
        if not lenient:
            raise
        config, written = Config(), []
    return CurrentConfig(paper.text, paper.etag, config, written if isinstance(written, list) else [])


def change_config(
    file: ConfigFile,
    make_edits: Callable[[CurrentConfig], Sequence[Edit]],
    who: str,
    why: str,
    base: str | None = None,
    *,
    lenient: bool = False,
) -> SavedConfig:
    """Apply the edits that `make_edits` returns for the file as it is now.

    `base` is the etag that the author of the change has seen: other settings that changed since are kept, a conflict
    raises ConfigChanged. Without it an edit of a list is computed again when that list changes at the same time.
    """
    for attempt in range(_TRIES):
        current = read_current(file, lenient=lenient)
        edits = make_edits(current)
        if not edits:
            return SavedConfig(current, SaveResult(current.etag, current.config, False))
        # An index means another element after the list has changed.
        has_index = any(isinstance(key, int) for edit in edits for key in edit.path)
        expected = base or (current.etag if has_index and current.text else None)
        try:
            return SavedConfig(current, file.change(edits, who, why, expected))
        except ConfigChanged:
            if base is not None or attempt + 1 == _TRIES:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def replace_config(file: ConfigFile, text: str, who: str, base: str | None) -> SavedConfig:
    """Replace the whole file. Raises ConfigChanged when its etag is not `base` any more; None replaces any file."""
    before = read_current(file, lenient=True)
    return SavedConfig(before, file.write(text, who, "replaced by the API", base))


def rollback_config(file: ConfigFile, version: int, who: str, base: str | None = None) -> SavedConfig:
    """Give the file the text of a version. Raises Problem when that version is not kept."""
    before = read_current(file, lenient=True)
    try:
        return SavedConfig(before, file.rollback(version, who, base))
    except LookupError as error:
        raise invalid("version", str(error.args[0])) from None


def check_config(file: ConfigFile, text: str, started: Config | None = None) -> ConfigReport:
    """Check a text as the config; writes nothing."""
    try:
        config = file.check(text)
    except ConfigError as error:
        return ConfigReport(False, complaints(error.problems))
    restart = static_changes(started, config) if started is not None else ()
    return ConfigReport(True, complaints(config.warnings), tuple(map(str, config.warnings)), tuple(restart))


def complaints(problems: Sequence[ConfigProblem]) -> tuple[ConfigComplaint, ...]:
    """Errors and warnings of a config as data."""
    return tuple(ConfigComplaint(problem.path, problem.line, problem.message, problem.severity) for problem in problems)


def view_config(file: ConfigFile, config: Config, started: Config, problem: str | None) -> ConfigView:
    """The settings in force (`config`), with the etag of the file that they come from."""
    return ConfigView(
        str(file.path.absolute()),
        file.read().etag,
        masked(config),
        tuple(map(str, config.warnings)),
        problem,
        tuple(static_changes(started, config)),
    )


def list_versions(file: ConfigFile, limit: int | None = None) -> list[VersionInfo]:
    """The versions of the file that are kept, newest first."""
    current = ""
    with contextlib.suppress(OSError):
        # A file that cannot be read has versions all the same.
        current = file.read().etag
    has_current = False
    versions = []
    for version in file.versions()[:limit]:
        is_current = version.etag == current and not has_current
        has_current = has_current or is_current
        versions.append(
            VersionInfo(version.number, version.at, version.who, version.why, version.etag, current=is_current)
        )
    return versions


def version_changes(file: ConfigFile, number: int, scrub: Callable[[str], str] | None = None) -> VersionChanges:
    """What a version changed. `scrub` hides known secrets. Raises LookupError when it is not kept."""
    with contextlib.suppress(OSError):
        file.read()
    version = file.version(number)
    changes = tuple(file.changes(number, scrub))
    return VersionChanges(version.number, version.at, version.who, version.why, version.etag, changes)


def is_builtin_implied(config: Config) -> bool:
    """True when a config names no backend, so the built-in model answers."""
    return config.backends == (BUILTIN,)
