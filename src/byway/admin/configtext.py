"""The config file as text: edited with its secrets hidden, exported without them, and imported after a look at the changes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from byway.admin.config import ConfigComplaint, ConfigReport, SavedConfig, check_config, complaints, read_current
from byway.config import Config, ConfigError, static_changes
from byway.config.document import MAX_CHARACTERS
from byway.config.editing import ConfigChanged, EditError
from byway.config.exporting import ExportedText, without_header, without_secrets
from byway.config.file import ConfigFile
from byway.config.hiding import PREFIX, HiddenText, hide_secrets, reveal_secrets
from byway.config.masking import keep_secrets
from byway.config.settings import ConfigProblem
from byway.secrets.names import variables_in

#: Unchanged lines around a change in a diff.
_CONTEXT: Final = 2


class EditorText(NamedTuple):
    """The config file for an editor."""

    text: str
    """With a mark in place of each secret."""
    etag: str
    hidden: int
    """How many secrets are hidden."""


class ConfigVariable(Struct, frozen=True):
    """A variable that a config refers to."""

    name: str
    settings: tuple[str, ...]
    """The settings that use it."""
    new: bool
    """It stands for a secret that the file itself contains."""


class ConfigExport(Struct, frozen=True):
    """The config file without secrets."""

    text: str
    variables: tuple[ConfigVariable, ...]
    """Set them where the text is used."""
    etag: str


class ImportPreview(Struct, frozen=True):
    """What an import would change. Nothing was written."""

    etag: str
    """The etag of the file now: send it as If-Match with the import."""
    good: bool
    complaints: tuple[ConfigComplaint, ...]
    changes: tuple[str, ...]
    """Lines of a diff without secrets; they begin with `+`, `-`, a blank or `@@`."""
    missing: tuple[str, ...]
    """Variables of the text that are not set here."""
    restart: tuple[str, ...]


def editor_text(file: ConfigFile, key: bytes) -> EditorText:
    """The file with its secrets hidden. `key`: see `config/hiding`."""
    paper = file.read()
    hidden = hide_secrets(paper.text, key)
    return EditorText(hidden.text, paper.etag, len(hidden.secrets))


def check_text(file: ConfigFile, typed: str, key: bytes, started: Config | None = None) -> ConfigReport:
    """Check a text of the editor; writes nothing."""
    try:
        return check_config(file, _revealed(typed, hide_secrets(file.read().text, key)), started)
    except ConfigError as error:
        # The hidden secrets cannot be put back. The other problems are found with the marks in their place.
        others = check_config(file, typed, started)
        every = [*complaints(error.problems), *(() if others.good else others.complaints)]
        every.sort(key=lambda complaint: complaint.line or 0)
        return ConfigReport(False, tuple(dict.fromkeys(every)))


def save_text(file: ConfigFile, typed: str, key: bytes, who: str, base: str, why: str = "edited") -> SavedConfig:
    """Replace the file by a text of the editor. Raises ConfigChanged when its etag is not `base` any more."""
    before = read_current(file, lenient=True)
    if before.etag != base:
        raise ConfigChanged(before.etag)
    text = _revealed(typed, hide_secrets(before.text, key))
    return SavedConfig(before, file.write(text, who, why, base))


def text_changes(old: str, new: str) -> tuple[str, ...]:
    """The lines of a diff; they begin with `+`, `-`, a blank or `@@`."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=_CONTEXT, lineterm="")
    return tuple(list(lines)[2:])


def export_config(file: ConfigFile) -> ConfigExport:
    """The file with a variable in place of each secret, and a comment that lists the variables. Raises EditError."""
    paper = file.read()
    exported = without_secrets(paper.text) if paper.text else ExportedText("", ())
    variables = tuple(ConfigVariable(*variable) for variable in exported.variables)
    return ConfigExport(exported.text, variables, paper.etag)


def preview_import(
    file: ConfigFile, text: str, key: bytes, environ: Mapping[str, str], started: Config | None = None
) -> ImportPreview:
    """Check a text that is to replace the file, and show what changes; writes nothing."""
    paper = file.read()
    try:
        new = _importable(paper.text, text, environ)
    except ConfigError as error:
        return ImportPreview(paper.etag, False, complaints(error.problems), (), (), ())
    changes = text_changes(hide_secrets(paper.text, key).text, hide_secrets(new, key).text)
    missing = tuple(sorted(name for name in variables_in(new) if not environ.get(name)))
    try:
        config = file.check(new)
    except ConfigError as error:
        return ImportPreview(paper.etag, False, complaints(error.problems), changes, missing, ())
    restart = tuple(static_changes(started, config)) if started is not None else ()
    return ImportPreview(paper.etag, True, complaints(config.warnings), changes, missing, restart)


def import_config(file: ConfigFile, text: str, who: str, environ: Mapping[str, str], base: str | None) -> SavedConfig:
    """Replace the file by a text. A secret of the file stays where the text has a variable that is not set here.

    Raises ConfigError, or ConfigChanged when the etag of the file is not `base` any more.
    """
    before = read_current(file, lenient=True)
    return SavedConfig(before, file.write(_importable(before.text, text, environ), who, "imported", base))


def _importable(current: str, text: str, environ: Mapping[str, str]) -> str:
    if len(text) > MAX_CHARACTERS:
        raise ConfigError([ConfigProblem("", None, f"the file is longer than {MAX_CHARACTERS >> 10} KiB")])
    if PREFIX in text:
        line = text.count("\n", 0, text.index(PREFIX)) + 1
        message = "this text has hidden secrets. Use an export: it has variables instead"
        raise ConfigError([ConfigProblem("", line, message)])
    try:
        return keep_secrets(without_header(text), current, lambda name: bool(environ.get(name)))
    except EditError:
        # It is no YAML, or the current file is none. Loading it reports the first; the second has no secret to keep.
        return without_header(text)


def _revealed(typed: str, current: HiddenText) -> str:
    """The text with its secrets. Raises ConfigError."""
    # A form has CRLF line ends; the file keeps those that it had.
    text = typed.replace("\r\n", "\n")
    try:
        revealed = reveal_secrets(text, current)
    except EditError as error:
        raise ConfigError([error.problem]) from None
    if revealed.problems:
        raise ConfigError(revealed.problems)
    return revealed.text.replace("\n", "\r\n") if "\r\n" in current.text else revealed.text
