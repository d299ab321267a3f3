"""The config file as something that is edited, by the page and by commands alike: read with its etag, checked, written whole
or not at all, kept in versions. What a change does to the text is `config/editing`'s; a running Byway sees the file itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway import platform
from byway.config import Config
from byway.config.editing import Append, Edit, Set, edit, found, meaning
from byway.store import Store, Version, etag

#: Who changed a file that was not changed here.
_SOMEBODY: Final = "somebody else"


class Paper(NamedTuple):
    """The config as it lies on the disk. No file is an empty text."""

    text: str
    etag: str


class Conflict(NamedTuple):
    """A setting that was changed by somebody else since it was read here, in words."""

    path: str
    theirs: str
    mine: str


class Stale(Exception):
    """The file is another by now: what collides, and the etag that it has now."""

    def __init__(self, etag: str, conflicts: Sequence[Conflict] = ()) -> None:
        names = ", ".join(one.path for one in conflicts)
        super().__init__(
            f"The config was changed meanwhile{f' ({names})' if names else ''}. Look at it again, then change it again."
        )
        self.etag = etag
        self.conflicts = tuple(conflicts)


class Outcome(NamedTuple):
    """What a change came to. `merged`: others had changed the file too, in other places."""

    etag: str
    config: Config
    merged: bool


class Filing:
    """One config file and its history. Every method reads or writes files and may wait for others: not for an event loop.

    All raise OSError and StoreError where the disk does not let them; those that write also ConfigError, with every complaint,
    and then nothing was written.
    """

    def __init__(self, path: Path, check: Callable[[str], Config], store: Store, folder: Path) -> None:
        """`check` makes the Config of a text. `folder` is the data folder, where processes wait for their turn."""
        self.path = path
        self._check = check
        self._store = store
        self._lock = folder / "config.lock"

    def read(self) -> Paper:
        """The file as it is now. One that an editor has changed becomes a version of its own."""
        text = self._text()
        if text:
            self._store.keep(text, _SOMEBODY, "changed in the file")
        return Paper(text, etag(text))

    def check(self, text: str) -> Config:
        """What `text` would come to; writes nothing."""
        return self._check(text)

    def change(self, edits: Sequence[Edit], who: str, why: str, base: str | None = None) -> Outcome:
        """Make `edits` in the file as it is now. `base`: the etag that their author has seen.

        Changes of others in other places stay. Raises Stale where they are in the same place, and Unchangeable.
        """
        with platform.turn(self._lock):
            now = self.read()
            merged = base is not None and base != now.etag
            if merged:
                conflicts = self._conflicts(edits, str(base), now)
                if conflicts:
                    raise Stale(now.etag, conflicts)
            text = edit(now.text, edits)
            return self._written(text, who, why, merged=merged)

    def write(self, text: str, who: str, why: str, base: str | None = None) -> Outcome:
        """Replace the file. `base`: the etag of what is replaced; raises Stale when it is another by now."""
        with platform.turn(self._lock):
            now = self.read()
            if base is not None and base != now.etag:
                raise Stale(now.etag)
            return self._written(text, who, why, merged=False)

    def versions(self) -> list[Version]:
        """The versions that are kept, newest first."""
        self.read()
        return self._store.versions()

    def version(self, number: int) -> Version:
        """One of them with its text; raises LookupError."""
        return self._store.version(number)

    def rollback(self, number: int, who: str, base: str | None = None) -> Outcome:
        """Make the file what it was in version `number`, which stays checked: what it named may be gone."""
        return self.write(self._store.version(number).text, who, f"back to version {number}", base)

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise OSError(0, "it is not UTF-8 text", str(self.path)) from None

    def _written(self, text: str, who: str, why: str, *, merged: bool) -> Outcome:
        config = self._check(text)
        platform.private_folder(self.path.parent)
        platform.write(self.path, text.encode())
        self._store.keep(text, who, why)
        self._store.note(who, "config changed", why)
        return Outcome(etag(text), config, merged)

    def _conflicts(self, edits: Sequence[Edit], base: str, now: Paper) -> list[Conflict]:
        known = next((one.number for one in self._store.versions() if one.etag == base), None)
        if known is None:
            # What its author has seen is kept no more.
            return [Conflict("the whole file", "changed", "as it was before")]
        before, after = meaning(self._store.version(known).text), meaning(now.text)
        collided = []
        for one in edits:
            if isinstance(one, Append):
                continue
            # A place in a list is another one when the list is.
            path = one.path[: next((at for at, key in enumerate(one.path) if isinstance(key, int)), len(one.path))]
            theirs = found(after, path)
            if found(before, path) != theirs:
                mine = _word(one.value) if isinstance(one, Set) else "taken out"
                if mine != _word(theirs):
                    collided.append(Conflict(".".join(map(str, path)), _word(theirs), mine))
        return collided


def _word(value: Any) -> str:
    """A value in a few words, for a person who has to choose."""
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_word(inner)}" for key, inner in value.items())[:200]
    if isinstance(value, tuple) and len(value) == 1:
        return str(value[0])
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value))[:200]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:200]
