"""The config file as the page, the API and commands change it: read with its etag, checked, written whole or not at all, and
kept in versions. `config/editing` changes the text. A running Byway notices the changed file itself."""

from __future__ import annotations

import contextlib
import errno
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from byway import platform
from byway.access.keys import weakened_access
from byway.config.editing import (
    Append,
    ConfigChanged,
    Edit,
    EditConflict,
    EditError,
    Remove,
    Set,
    edit,
    meaning,
    value_at,
)
from byway.config.editing import Path as SettingPath
from byway.config.masking import MASK, Masked, Restored, mask_secrets, restore_secrets
from byway.config.notes import SECRET_NAME
from byway.config.reading import ConfigError
from byway.config.restrictions import restricted_problems, unbound_secrets
from byway.config.secretuses import secret_uses
from byway.config.settings import Config, ConfigProblem
from byway.scrub import Scrubber
from byway.secrets.names import mask
from byway.store import ConfigVersion, StoreError, StoreProtocol, etag

#: The author of a change that was not made through Byway.
OUTSIDE: Final = "outside Byway"
#: The settings that run on the machines of clients: an edit of them by hand is in the audit log too.
_PUSHED: Final = ("sign_in", "settings")
#: Permission bits of a file for its group, and for all other users.
_GROUP: Final = 0o070
_OTHERS: Final = 0o007


class ConfigText(NamedTuple):
    """The content of the config file. A missing file is an empty text."""

    text: str
    etag: str


class SaveResult(NamedTuple):
    """A change that was written. `merged`: the file had other changes too, at other places, and they were kept."""

    etag: str
    config: Config
    merged: bool


class ConfigFile:
    """One config file and its history. Every method reads or writes files and may wait for other processes, so it must not
    run in an event loop.

    All methods raise OSError and StoreError when the disk fails. Those that write also raise ConfigError with every problem,
    and EditError; then nothing was written.
    """

    def __init__(
        self, path: Path, load: Callable[[str], Config], store: StoreProtocol, folder: Path, *, restricted: bool = True
    ) -> None:
        """`load` makes the Config of a text. `folder` is the data folder, which holds the lock for changes.

        `restricted`: changes come through the page or the API, and `config/restrictions` says what they may do.
        """
        self.path = path
        self._load = load
        self._store = store
        self._name = str(path.absolute())
        """The name under which the store keeps the versions of this file."""
        self._folder = folder
        self._lock = folder / "config.lock"
        self._restricted = restricted
        self._masked_before = False
        self._last = ""
        """The text that was recorded last, with its secrets."""

    def record_edits(self) -> None:
        """Record a change that was made outside Byway. A file that is missing, or is a pipe, is not read."""
        if self.path.is_file():
            self.read()

    def read(self) -> ConfigText:
        """Return the file's content. A change that was made outside Byway is recorded as a version."""
        text = self._text()
        if not self._masked_before or (text and etag(text) != self._store.newest_etag(self._name)):
            # The lock makes sure that a change of another process gets that process's name in the history.
            with platform.exclusive(self._lock):
                self._mask_old_versions()
                return self._recorded()
        self._last = text
        return ConfigText(text, etag(text))

    def _recorded(self) -> ConfigText:
        """Record the current text as a version and return it. The caller holds the lock."""
        text = self._text()
        if text:
            before = self._newest()
            if self._record(text, OUTSIDE, "changed in the file") and _pushed(before) != _pushed(
                mask_secrets(text).text if MASK in before else text
            ):
                self._store.add_audit_entry("config file", "config file changed", ".".join(_PUSHED))
        return ConfigText(text, etag(text))

    def _newest(self) -> str:
        """The text of the newest version: with its secrets, if this process has recorded it."""
        newest = self._store.newest_etag(self._name)
        if self._last and newest == etag(self._last):
            return self._last
        number = self._number(newest) if newest else None
        return self._store.version(number, self._name).text if number is not None else ""

    def seen(self, base: str) -> Config | None:
        """Return the config whose etag is `base`; None when it is not kept any more, or was never valid."""
        number = self._number(base)
        try:
            if number is None:
                return None
            text = self.version(number).text
            return self._load(restore_secrets(text, self._text()).text if MASK in text else text)
        except (ConfigError, EditError, LookupError):
            return None

    def check(self, text: str) -> Config:
        """Return the config that `text` would give, without writing. Raises ConfigError."""
        if self._restricted:
            self._reject_restricted(self._text(), text)
        return self._load(text)

    def change(self, edits: Sequence[Edit], who: str, why: str, base: str | None = None) -> SaveResult:
        """Apply `edits` to the current file. `base`: the etag of the file that their author read.

        Other changes since then are kept when they are at other places. Raises ConfigChanged when they are not.
        """
        with platform.exclusive(self._lock):
            now = self._before_change()
            merged = base is not None and base != now.etag
            if merged:
                if not now.text and not self.path.exists():
                    raise OSError(
                        0,
                        "it was deleted since it was loaded here; its versions are on the page Config",
                        str(self.path),
                    )
                conflicts = self._conflicts(edits, str(base), now)
                if conflicts:
                    raise ConfigChanged(now.etag, conflicts)
            return self._written(now.text, edit(now.text, edits), who, why, merged=merged)

    def write(self, text: str, who: str, why: str, base: str | None = None) -> SaveResult:
        """Replace the file. `base`: the etag of what is replaced; raises ConfigChanged when the file has another now."""
        with platform.exclusive(self._lock):
            now = self._before_change()
            if base is not None and base != now.etag:
                raise ConfigChanged(now.etag)
            return self._written(now.text, text, who, why, merged=False)

    def versions(self) -> list[ConfigVersion]:
        """The versions that are kept, newest first, without their texts."""
        with contextlib.suppress(OSError):
            self.read()
        return self._store.versions(self._name)

    def version(self, number: int) -> ConfigVersion:
        """One version with its text, in which MASK stands for each secret. Raises LookupError."""
        return self._store.version(number, self._name)

    def changes(self, number: int, scrub: Callable[[str], str] | None = None) -> list[str]:
        """Return what version `number` changed, as lines that begin with `+`, `-`, a blank or `@@`.

        Secrets are hidden; `scrub` hides others that are known. Raises LookupError.
        """
        # It is used only here, so it is not loaded at start.
        import difflib

        new = self.version(number).text
        before = next((version.number for version in self.versions() if version.number < number), None)
        old = self.version(before).text if before is not None else ""
        hide_literals = Scrubber({*_literal_words(old), *_literal_words(new)}).scrub
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
        return [_hidden(hide_literals(scrub(line) if scrub else line)) for line in list(lines)[2:]]

    def rollback(self, number: int, who: str, base: str | None = None) -> SaveResult:
        """Write version `number` again. Its secrets, which the history does not keep, come from the present file.

        A secret that the file does not have for the same server any more is left out, and a warning of the result says so.
        """
        with platform.exclusive(self._lock):
            now = self._before_change()
            if base is not None and base != now.etag:
                raise ConfigChanged(now.etag)
            version = self.version(number)
            restored = restore_secrets(version.text, now.text) if MASK in version.text else Restored(version.text, ())
            saved = self._written(now.text, restored.text, who, f"back to version {number}", merged=False)
        return _warned(saved, (_left_out(path, number) for path in restored.missing))

    def _before_change(self) -> ConfigText:
        """The file before a change, recorded as a version even when it is missing, so that the change can be undone."""
        self._mask_old_versions()
        now = self._recorded()
        if not now.text:
            self._store.add_version("", OUTSIDE, "no settings yet", self._name)
        return now

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise OSError(0, "it is not UTF-8 text", str(self.path)) from None

    # ---- writing

    def _written(self, before: str, text: str, who: str, why: str, *, merged: bool) -> SaveResult:
        cleared: list[SettingPath] = []
        if self._restricted:
            cleared = self._unbound(before, text)
            if cleared:
                text = edit(text, [Remove(path) for path in reversed(cleared)])
            self._reject_restricted(before, text)
        config = self._load(text)
        self._reject_weakened(before, config)
        platform.private_folder(self.path.parent)
        self._write(text.encode())
        try:
            self._record(text, who, why)
            self._store.add_audit_entry(who, "config changed", why)
        except StoreError as error:
            # The change is made. Reported as a failure, its author would make it again.
            warning = f"the change was made, but not recorded in the history: {error}"
            config = msgspec.structs.replace(
                config, warnings=(*config.warnings, ConfigProblem("", None, warning, "warning"))
            )
        return _warned(SaveResult(etag(text), config, merged), map(_cleared, cleared))

    def _reject_restricted(self, before: str, text: str) -> None:
        """Raise ConfigError for a change that only the owner of the machine may make."""
        try:
            problems = restricted_problems(_meaning(before), meaning(text), self._is_inside)
        except EditError:
            # It is no YAML: loading it says so.
            return
        if problems:
            raise ConfigError(problems, str(self.path))

    def _is_inside(self, file: str) -> bool:
        """Is a file that the config names below the folder of the config or of Byway's data?"""
        try:
            path = (self.path.parent / platform.expand_user(file)).resolve()
            return any(path.is_relative_to(folder.resolve()) for folder in (self.path.parent, self._folder))
        except (OSError, ValueError, RuntimeError):
            return False

    def _unbound(self, before: str, text: str) -> list[SettingPath]:
        try:
            return unbound_secrets(_meaning(before), meaning(text))
        except EditError:
            return []

    def _reject_weakened(self, before: str, config: Config) -> None:
        """Raise ConfigError for a change that lets clients in without a key and does not say so in words."""
        try:
            old = self._load(before)
        except ConfigError:
            return
        reason = weakened_access(old.api_keys, config.api_keys, self._store.key_records())
        if reason:
            raise ConfigError([ConfigProblem("", None, reason)], str(self.path))

    def _write(self, data: bytes) -> None:
        if self.path.is_symlink():
            raise FileExistsError(
                errno.EEXIST,
                f"it is a symbolic link to {self.path.readlink()}, which Byway does not write through. Name the file itself: "
                f"--config {self.path.resolve()}",
                str(self.path),
            )
        try:
            facts = self.path.stat()
        except FileNotFoundError:
            facts = None
        if facts is not None and not stat.S_IMODE(facts.st_mode) & 0o222:
            raise PermissionError(
                errno.EACCES, f"it is write-protected. To allow it: chmod u+w {self.path}", str(self.path)
            )
        # A file that its group may read and others may not is shared with that group on purpose.
        shared = facts is not None and not facts.st_mode & _OTHERS
        platform.write_private(
            self.path, data, like=facts, mode=0o600 | (facts.st_mode & _GROUP if facts and shared else 0)
        )

    # ---- history

    def _record(self, text: str, who: str, why: str) -> bool:
        """Keep a text as a version, without its secrets. One that is no YAML cannot be restored, and is not kept.

        Returns whether there is a new version.
        """
        mark = etag(text)
        if mark == self._store.newest_etag(self._name):
            self._last = text
            return False
        try:
            masked = mask_secrets(text)
        except EditError:
            return False
        self._store.add_version(masked.text, who, why, self._name, etag=mark, secrets=masked.secrets)
        self._last = text
        return True

    def _mask_old_versions(self) -> None:
        """Take the secrets out of versions that an earlier Byway kept. The caller holds the lock."""
        if self._masked_before:
            return
        for version in self._store.unmasked_versions(self._name):
            try:
                masked = mask_secrets(version.text)
            except EditError:
                masked = Masked("", 0)
            self._store.mask_version(version.number, masked.text, masked.secrets)
        self._masked_before = True

    def _number(self, mark: str) -> int | None:
        """The number of the version with this etag; None when it is not kept any more."""
        return next((version.number for version in self._store.versions(self._name) if version.etag == mark), None)

    def _conflicts(self, edits: Sequence[Edit], base: str, now: ConfigText) -> list[EditConflict]:
        number = self._number(base)
        if number is None:
            return [EditConflict("the whole file", "changed", "as it was before")]
        before, after = meaning(self.version(number).text), meaning(mask_secrets(now.text).text)
        # The history cannot tell whether a secret has changed, so an edit of one conflicts with any change of the file.
        present = meaning(now.text)
        conflicts = []
        for change in edits:
            if isinstance(change, Append):
                continue
            # A change of a list moves its members, so a place in a list conflicts with any change of the list.
            depth = next((at for at, key in enumerate(change.path) if isinstance(key, int)), len(change.path))
            path = change.path[:depth]
            if value_at(before, path) != value_at(after, path) or _has_mask(value_at(before, path)):
                theirs = value_at(present, path)
                mine = _word(change.value) if isinstance(change, Set) else "removed"
                if mine != _word(theirs):
                    name = str(path[-1])
                    mine = _word(change.value, name) if isinstance(change, Set) else mine
                    conflicts.append(EditConflict(".".join(map(str, path)), _word(theirs, name), mine))
        return conflicts


def _meaning(text: str) -> Any:
    """What the file before a change means; nothing when it is no YAML."""
    try:
        return meaning(text) if text else {}
    except EditError:
        return {}


def _pushed(text: str) -> Any:
    """The settings for signed-in clients of a config's text."""
    return value_at(_meaning(text), _PUSHED)


def _has_mask(value: Any) -> bool:
    """Does a value of a version stand for a secret, or have one below it?"""
    if isinstance(value, dict):
        return any(map(_has_mask, value.values()))
    return any(map(_has_mask, value)) if isinstance(value, list) else MASK in str(value)


def _warned(saved: SaveResult, warnings: Iterable[str]) -> SaveResult:
    """The result with warnings about secrets."""
    problems = tuple(ConfigProblem("", None, warning, "warning") for warning in warnings)
    if not problems:
        return saved
    config = msgspec.structs.replace(saved.config, warnings=(*problems, *saved.config.warnings))
    return saved._replace(config=config)


def _cleared(path: SettingPath) -> str:
    return (
        f"{'.'.join(map(str, path))} was removed: this secret was entered for another server. Enter the secret for the new "
        "server again"
    )


def _left_out(path: SettingPath, number: int) -> str:
    return (
        f"{'.'.join(map(str, path))} was left out: version {number} had a secret there, which the history does not keep. "
        "Enter it again"
    )


_SECRET: Final = re.compile(
    r"""(?i)^([\s-]*["']?(?:api_key|key|token|secret|password|authorization)["']?\s*:\s*)(.+)$"""
)
_INLINE: Final = re.compile(
    r"""(?i)((?:api_key|\bkey|token|secret|password|authorization)["']?\s*:\s*)([^,}\s][^,}]*)"""
)
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)")


def _hidden(line: str) -> str:
    """A line of a config without the secret that may be in it; `${NAME}` stays."""

    def hide(match: re.Match[str]) -> str:
        return match[0] if match[2].strip("\"' ").startswith("${") else f"{match[1]}***"

    mark, rest = line[:1], line[1:]
    return mark + _PASSWORD.sub(hide, _INLINE.sub(hide, _SECRET.sub(hide, rest)))


def _literal_words(text: str) -> set[str]:
    """The words of the secrets in a text, wherever its lines begin and end."""
    try:
        uses = [use.text for use in secret_uses(meaning(text)) if use.literal]
    except EditError:
        return set()
    return {word for value in uses for word in value.split() if not word.startswith("${")}


def _word(value: Any, name: str = "") -> str:
    """The value of the setting `name` in a few words, for a person who has to choose. Secrets are hidden."""
    if isinstance(value, str) and SECRET_NAME.search(name) and not value.startswith("${"):
        return mask(value)
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_word(inner, name and str(key))}" for key, inner in value.items())[:200]
    if isinstance(value, tuple) and len(value) == 1:
        return _word(value[0], name)
    if isinstance(value, list | tuple):
        return ", ".join(_word(member, name) for member in value)[:200]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:200]
