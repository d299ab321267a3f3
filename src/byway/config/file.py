"""The config file as something that is edited, by the page and by commands alike: read with its etag, checked, written whole
or not at all, kept in versions. What a change does to the text is `config/editing`'s; a running Byway sees the file itself."""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from byway import platform
from byway.config import Config, ConfigError, ConfigProblem
from byway.config.editing import Append, Edit, EditError, Set, edit, meaning, value_at
from byway.config.settings import SECRET_NAME
from byway.secrets.names import Scrubber, mask
from byway.store import ConfigVersion, Store, StoreError, etag

#: Who changed a file that was not changed here.
_SOMEBODY: Final = "somebody else"
#: Bits of a file's permissions: its group's, and everybody's.
_GROUP: Final = 0o070
_ALL: Final = 0o007


class ConfigText(NamedTuple):
    """The config as it lies on the disk. No file is an empty text."""

    text: str
    etag: str


class EditConflict(NamedTuple):
    """A setting that was changed by somebody else since it was read here, in words."""

    path: str
    theirs: str
    mine: str


class ConfigChanged(Exception):
    """The file is another by now: what collides, and the etag that it has now."""

    def __init__(self, etag: str, conflicts: Sequence[EditConflict] = ()) -> None:
        names = ", ".join(one.path for one in conflicts)
        super().__init__(
            f"The config was changed meanwhile{f' ({names})' if names else ''}. Look at it again, then change it again."
        )
        self.etag = etag
        self.conflicts = tuple(conflicts)


class SaveResult(NamedTuple):
    """What a change came to. `merged`: others had changed the file too, in other places."""

    etag: str
    config: Config
    merged: bool


class ConfigFile:
    """One config file and its history. Every method reads or writes files and may wait for others: not for an event loop.

    All raise OSError and StoreError where the disk does not let them; those that write also ConfigError, with every complaint,
    and then nothing was written.
    """

    def __init__(self, path: Path, check: Callable[[str], Config], store: Store, folder: Path) -> None:
        """`check` makes the Config of a text. `folder` is the data folder, where processes wait for their turn."""
        self.path = path
        self._check = check
        self._store = store
        self._name = str(path.absolute())
        """By which the store tells its versions from those of other config files."""
        self._lock = folder / "config.lock"

    def read(self) -> ConfigText:
        """The file as it is now. One that an editor has changed becomes a version of its own."""
        text = self._text()
        if text and etag(text) != self._store.newest_etag(self._name):
            # Perhaps somebody has written it this moment, and is about to say who it was.
            with platform.exclusive(self._lock):
                return self._kept()
        return ConfigText(text, etag(text))

    def _kept(self) -> ConfigText:
        """The file, whose text is a version afterwards; for whoever's turn it is."""
        text = self._text()
        if text:
            self._store.add_version(text, _SOMEBODY, "changed in the file", self._name)
        return ConfigText(text, etag(text))

    def seen(self, base: str) -> Config | None:
        """The config whose etag is `base`; None when it is kept no more, or was never good."""
        known = self._number(base)
        try:
            return None if known is None else self._check(self.version(known).text)
        except (ConfigError, LookupError):
            return None

    def check(self, text: str) -> Config:
        """What `text` would come to; writes nothing."""
        return self._check(text)

    def change(self, edits: Sequence[Edit], who: str, why: str, base: str | None = None) -> SaveResult:
        """Make `edits` in the file as it is now. `base`: the etag that their author has seen.

        Changes of others in other places stay. Raises Stale where they are in the same place, and Unchangeable.
        """
        with platform.exclusive(self._lock):
            now = self._before()
            merged = base is not None and base != now.etag
            if merged:
                if not now.text and not self.path.exists():
                    raise OSError(
                        0, "it is gone since this was loaded; its versions are under API, History", str(self.path)
                    )
                conflicts = self._conflicts(edits, str(base), now)
                if conflicts:
                    raise ConfigChanged(now.etag, conflicts)
            text = edit(now.text, edits)
            return self._written(text, who, why, merged=merged)

    def write(self, text: str, who: str, why: str, base: str | None = None) -> SaveResult:
        """Replace the file. `base`: the etag of what is replaced; raises Stale when it is another by now."""
        with platform.exclusive(self._lock):
            now = self._before()
            if base is not None and base != now.etag:
                raise ConfigChanged(now.etag)
            return self._written(text, who, why, merged=False)

    def versions(self) -> list[ConfigVersion]:
        """The versions that are kept, newest first."""
        with contextlib.suppress(OSError):
            self.read()
        return self._store.versions(self._name)

    def version(self, number: int) -> ConfigVersion:
        """One of them with its text; raises LookupError."""
        return self._store.version(number, self._name)

    def changes(self, number: int, scrub: Callable[[str], str] | None = None) -> list[str]:
        """What version `number` changed beside the one before it, as lines that begin with `+`, `-`, a blank or `@@`.

        Secrets are hidden; `scrub` hides what else is known to be one. Raises LookupError.
        """
        new = self.version(number).text
        before = next((one.number for one in self.versions() if one.number < number), None)
        old = self.version(before).text if before is not None else ""
        literal = Scrubber({*_literals(old), *_literals(new)}).scrub
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
        return [_hidden(literal(scrub(line) if scrub else line)) for line in list(lines)[2:]]

    def rollback(self, number: int, who: str, base: str | None = None) -> SaveResult:
        """Make the file what it was in version `number`, which stays checked: what it named may be gone."""
        return self.write(self.version(number).text, who, f"back to version {number}", base)

    def _before(self) -> ConfigText:
        """The file as it is now, kept as a version even where there is none: the first change can be taken back too."""
        now = self._kept()
        if not now.text:
            self._store.add_version("", _SOMEBODY, "nothing in the file yet", self._name)
        return now

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise OSError(0, "it is not UTF-8 text", str(self.path)) from None

    def _written(self, text: str, who: str, why: str, *, merged: bool) -> SaveResult:
        config = self._check(text)
        platform.private_folder(self.path.parent)
        self._write(text.encode())
        try:
            self._store.add_version(text, who, why, self._name)
            self._store.add_audit_entry(who, "config changed", why)
        except StoreError as error:
            # The change is made: to call it a failure would have its author make it again.
            told = ConfigProblem("", None, f"the change is made, but the history does not have it: {error}", "warning")
            config = msgspec.structs.replace(config, warnings=(*config.warnings, told))
        return SaveResult(etag(text), config, merged)

    def _write(self, data: bytes) -> None:
        if self.path.is_symlink():
            raise FileExistsError(
                errno.EEXIST,
                f"it is a symbolic link to {self.path.readlink()}, and Byway does not write to what may be somebody else's. Name "
                f"the file itself: --config {self.path.resolve()}",
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
        # Who has closed the file to all but a group wants that group to go on reading it.
        shared = facts is not None and not facts.st_mode & _ALL
        platform.write_private(
            self.path, data, like=facts, mode=0o600 | (facts.st_mode & _GROUP if facts and shared else 0)
        )

    def _number(self, mark: str) -> int | None:
        """The number of the version that has this etag; None when it is kept no more."""
        return next((one.number for one in self._store.versions(self._name) if one.etag == mark), None)

    def _conflicts(self, edits: Sequence[Edit], base: str, now: ConfigText) -> list[EditConflict]:
        known = self._number(base)
        if known is None:
            # What its author has seen is kept no more.
            return [EditConflict("the whole file", "changed", "as it was before")]
        before, after = meaning(self.version(known).text), meaning(now.text)
        collided = []
        for one in edits:
            if isinstance(one, Append):
                continue
            # A place in a list is another one when the list is.
            path = one.path[: next((at for at, key in enumerate(one.path) if isinstance(key, int)), len(one.path))]
            theirs = value_at(after, path)
            if value_at(before, path) != theirs:
                mine = _word(one.value) if isinstance(one, Set) else "taken out"
                if mine != _word(theirs):
                    name = str(path[-1])
                    mine = _word(one.value, name) if isinstance(one, Set) else mine
                    collided.append(EditConflict(".".join(map(str, path)), _word(theirs, name), mine))
        return collided


_SECRET: Final = re.compile(
    r"""(?i)^([\s-]*["']?(?:api_key|key|token|secret|password|authorization)["']?\s*:\s*)(.+)$"""
)
_INLINE: Final = re.compile(
    r"""(?i)((?:api_key|\bkey|token|secret|password|authorization)["']?\s*:\s*)([^,}\s][^,}]*)"""
)
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)")


def _hidden(line: str) -> str:
    """A line of a config without the secret that may stand in it; `${NAME}` stays."""

    def hide(match: re.Match[str]) -> str:
        return match[0] if match[2].strip("\"' ").startswith("${") else f"{match[1]}***"

    mark, rest = line[:1], line[1:]
    return mark + _PASSWORD.sub(hide, _INLINE.sub(hide, _SECRET.sub(hide, rest)))


def _literals(text: str) -> Iterator[str]:
    """What stands in a config under names of secrets, wherever its lines begin and end."""
    try:
        tree = meaning(text)
    except EditError:
        return
    todo = [("", tree)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(name, one) for one in value]
        elif value is not None and SECRET_NAME.search(name) and not name.endswith("_file"):
            written = value[0] if isinstance(value, tuple) else value
            yield from (line for line in written.split() if not line.startswith("${"))


def _word(value: Any, name: str = "") -> str:
    """The value of the setting `name` in a few words, for a person who has to choose; a secret's are hidden."""
    if isinstance(value, str) and SECRET_NAME.search(name) and not value.startswith("${"):
        return mask(value)
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_word(inner, name and str(key))}" for key, inner in value.items())[:200]
    if isinstance(value, tuple) and len(value) == 1:
        return _word(value[0], name)
    if isinstance(value, list | tuple):
        return ", ".join(_word(one, name) for one in value)[:200]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:200]
