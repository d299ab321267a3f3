"""What Byway remembers beside the config: clients' keys (as hashes), the config's versions, and who changed what.

One SQLite file, `byway.db` in the data folder, which several processes use at once: a running Byway, its page, and the
commands. Which key opens the door is decided in `keys`; secrets of backends are not here.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from byway import platform
from byway.scopes import SCOPES

FILE_NAME: Final = "byway.db"
KEY_PREFIX: Final = "sk-byway-"
#: So many versions of the config, lines of the audit, and keys are kept; of revoked keys the newest.
MAX_VERSIONS: Final = 100
MAX_AUDIT_ENTRIES: Final = 10_000
MAX_KEYS: Final = 10_000
MAX_REVOKED_KEYS: Final = 1_000
MAX_LOGINS: Final = 100
#: Letters of a name and of a detail.
_NAME_LIMIT: Final = 100
_DETAIL_LIMIT: Final = 2_000
#: Seconds that one process waits for another one to finish its change.
_PATIENCE: Final = 5.0
#: "Bywy" in the head of the file says whose it is (https://www.sqlite.org/pragma.html#pragma_application_id, seen 2026-11-21).
_OURS: Final = 0x42797779
_LETTERS: Final = string.ascii_letters + string.digits
#: Without letters that look like others: ids are read aloud and typed.
_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"

#: Step n leads from form n to form n + 1 of the file. A step that was released is never changed.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE versions (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " why TEXT NOT NULL, etag TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " what TEXT NOT NULL, detail TEXT NOT NULL)",
        "CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,"
        " scopes TEXT NOT NULL, made REAL NOT NULL, ends REAL, revoked REAL, used REAL)",
    ),
    # Several configs may share a data folder, one after the other: the versions of one are not those of another.
    (
        "ALTER TABLE versions ADD COLUMN file TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX versions_of_file ON versions (file, number)",
    ),
    # `secrets`: how many secrets of the text are masked; NULL in a version that may still have some.
    (
        "CREATE TABLE logins (id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created REAL NOT NULL,"
        " expires REAL NOT NULL, agent TEXT NOT NULL)",
        "ALTER TABLE versions ADD COLUMN secrets INTEGER",
    ),
)


class StoreError(Exception):
    """The file of the store cannot be used: why, and what to do."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """The config as it once was. `etag`: the first 16 hex digits of its text's SHA-256."""

    number: int
    at: datetime.datetime
    who: str
    why: str
    etag: str
    text: str = ""
    """Only given by `Store.version`."""


class AuditEntry(msgspec.Struct, frozen=True):
    """A line of the audit."""

    at: datetime.datetime
    who: str
    what: str
    detail: str


class KeyRecord(NamedTuple):
    """A key as it is checked. `digest`: its SHA-256; `expires`: seconds since the epoch."""

    id: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    expires: float | None
    revoked: bool


class LoginRecord(NamedTuple):
    """A login of the settings page. `digest`: the SHA-256 of its cookie; times are seconds since the epoch."""

    id: str
    digest: bytes
    created: float
    expires: float
    agent: str
    """The browser, as it describes itself."""


class StoredKey(msgspec.Struct, frozen=True):
    """A client's key as it may be shown: neither itself nor its hash. Times are in UTC."""

    id: str
    name: str
    hint: str
    """Its last four letters."""
    scopes: tuple[str, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    """When it last opened the door, give or take some seconds."""

    @property
    def live(self) -> bool:
        """Does it still open the door?"""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at.timestamp() > time.time())


def etag(text: str) -> str:
    """What names a text of the config: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Store:
    """The open file. Any thread may use it; one call at a time, each a transaction of its own.

    Every method raises StoreError when the file cannot be used. `who` is who did it, in words for the audit.
    """

    def __init__(self, folder: Path) -> None:
        """Open `byway.db` in `folder`, which exists; make it, or bring it to the present form."""
        self.path = folder / FILE_NAME
        self._turn = threading.RLock()
        self._changes = 0
        with self._explained():
            _make_private(self.path)
            self._file = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=32
            )
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let go of the file. What is asked afterwards raises StoreError."""
        with self._turn:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------- the config's versions

    # `file` is the config file's path: each has versions of its own.

    def add_version(self, text: str, who: str, why: str, file: str = "") -> int:
        """Keep a version of the config; returns its number. A text that the newest version has already gets no new one."""
        mark = etag(text)
        with self._change():
            newest = self._row("SELECT number, etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,))
            if newest is not None and newest[1] == mark:
                return int(newest[0])
            number = self._insert(
                "INSERT INTO versions (at, who, why, etag, text, file) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), _cut(who), _cut(why), mark, text, file),
            )
            self._run(
                "DELETE FROM versions WHERE number IN"
                " (SELECT number FROM versions WHERE file = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (file, MAX_VERSIONS),
            )
            return number

    def newest_etag(self, file: str = "") -> str | None:
        """The etag of the newest version; None when there is none."""
        row = self._row("SELECT etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,))
        return None if row is None else str(row[0])

    def versions(self, file: str = "") -> list[ConfigVersion]:
        """The versions that are kept, newest first, without their texts."""
        rows = self._rows(
            "SELECT number, at, who, why, etag FROM versions WHERE file = ? ORDER BY number DESC", (file,)
        )
        return [ConfigVersion(number, _moment(at), who, why, mark) for number, at, who, why, mark in rows]

    def version(self, number: int, file: str = "") -> ConfigVersion:
        """One version with its text; raises LookupError when it is not kept."""
        row = self._row(
            "SELECT number, at, who, why, etag, text FROM versions WHERE number = ? AND file = ?", (number, file)
        )
        if row is None:
            raise LookupError(f"There is no version {number} of the config; the newest {MAX_VERSIONS} are kept.")
        return ConfigVersion(row[0], _moment(row[1]), *row[2:])

    # ------------------------------------------------------------------------------------------------------------ the audit

    def add_audit_entry(self, who: str, what: str, detail: str = "") -> None:
        """Write down that `who` did `what`. No secret belongs in here."""
        with self._change():
            self._audit(who, what, detail)

    def audit_entries(self, limit: int = 200) -> list[AuditEntry]:
        """The last `limit` things that were noted, newest first."""
        rows = self._rows("SELECT at, who, what, detail FROM audit ORDER BY number DESC LIMIT ?", (max(0, limit),))
        return [AuditEntry(_moment(at), who, what, detail) for at, who, what, detail in rows]

    def _audit(self, who: str, what: str, detail: str) -> None:
        number = self._insert(
            "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)",
            (time.time(), _cut(who), _cut(what), _cut(detail, _DETAIL_LIMIT)),
        )
        self._run("DELETE FROM audit WHERE number <= ?", (number - MAX_AUDIT_ENTRIES,))

    # ------------------------------------------------------------------------------------------------------------- the keys

    def add_key(
        self, name: str, scopes: Sequence[str], expires_at: datetime.datetime | None, who: str
    ) -> tuple[StoredKey, str]:
        """Make a key. The second value is the key itself, which nobody can read again.

        A time without a zone is UTC. Raises ValueError, in words for a person, when one of the values cannot be.
        """
        name, scopes, ends = _checked(name, scopes, expires_at)
        key, digest = _new()
        id = "key_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        with self._change():
            live = self._row("SELECT count(*) FROM keys WHERE revoked IS NULL")
            if live is not None and live[0] >= MAX_KEYS:
                raise ValueError(f"There are {MAX_KEYS} keys already: revoke those that nobody needs.")
            self._run(
                "INSERT INTO keys (id, name, hint, digest, scopes, made, ends) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, name, key[-4:], digest, " ".join(scopes), time.time(), ends),
            )
            self._audit(who, "key created", f"{id} ({name}): {', '.join(scopes)}; {_until(ends)}")
            self._changes += 1
            return self._key(id), key

    def keys(self) -> list[StoredKey]:
        """Every key, the newest first; those that were revoked too."""
        return [_shown(row) for row in self._rows(f"{_KEY} ORDER BY made DESC, rowid DESC")]

    def rotate_key(self, id: str, who: str) -> tuple[StoredKey, str]:
        """Give the key `id` another value; the old one opens nothing any more. The second value is the new key itself.

        Raises LookupError when there is no such key, ValueError when it was revoked or has ended.
        """
        key, digest = _new()
        with self._change():
            old = self._key(id)
            if not old.live:
                why = "was revoked" if old.revoked_at else "has ended"
                raise ValueError(f"{id} ({old.name}) {why}. Create a new key instead: byway key create {old.name!r}")
            self._run("UPDATE keys SET digest = ?, hint = ? WHERE id = ?", (digest, key[-4:], id))
            self._audit(who, "key rotated", f"{id} ({old.name})")
            self._changes += 1
            return self._key(id), key

    def revoke_key(self, id: str, who: str) -> StoredKey:
        """Let the key `id` open nothing any more, for good. Raises LookupError when there is no such key."""
        with self._change():
            old = self._key(id)
            if old.revoked_at is None:
                self._run("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), id))
                self._run(
                    "DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE revoked IS NOT NULL"
                    " ORDER BY revoked DESC, rowid DESC LIMIT -1 OFFSET ?)",
                    (MAX_REVOKED_KEYS,),
                )
                self._audit(who, "key revoked", f"{id} ({old.name})")
                self._changes += 1
            return self._key(id)

    def record_key_use(self, times: Mapping[str, float]) -> None:
        """Note when keys were last used: seconds since the epoch by id. Ids of other keys are passed over."""
        with self._change():
            for id, at in times.items():
                self._run("UPDATE keys SET used = max(ifnull(used, 0), ?) WHERE id = ?", (at, id))

    def key_records(self) -> list[KeyRecord]:
        """What the door has to know of every key."""
        rows = self._rows("SELECT id, name, digest, scopes, ends, revoked FROM keys ORDER BY made, rowid")
        return [
            KeyRecord(id, name, digest, tuple(scopes.split()), ends, revoked is not None)
            for id, name, digest, scopes, ends, revoked in rows
        ]

    # ----------------------------------------------------------------------------------------------------------- the logins

    def add_login(self, record: LoginRecord) -> None:
        """Keep a login over restarts. The oldest go when there are more than MAX_LOGINS."""
        with self._change():
            self._run(
                "INSERT OR REPLACE INTO logins (id, digest, created, expires, agent) VALUES (?, ?, ?, ?, ?)", record
            )
            self._run("DELETE FROM logins WHERE expires <= ?", (time.time(),))
            self._run(
                "DELETE FROM logins WHERE id IN (SELECT id FROM logins ORDER BY created DESC LIMIT -1 OFFSET ?)",
                (MAX_LOGINS,),
            )

    def logins(self) -> list[LoginRecord]:
        """The logins that have not expired, the newest first."""
        rows = self._rows(
            "SELECT id, digest, created, expires, agent FROM logins WHERE expires > ? ORDER BY created DESC",
            (time.time(),),
        )
        return [LoginRecord(*row) for row in rows]

    def remove_login(self, id: str, who: str) -> bool:
        """End a login; False when there is none with this id. A running Byway notices within a second."""
        with self._change():
            if self._row("SELECT 1 FROM logins WHERE id = ?", (id,)) is None:
                return False
            self._run("DELETE FROM logins WHERE id = ?", (id,))
            self._audit(who, "login revoked", id)
            return True

    def remove_logins(self, who: str) -> int:
        """End every login; return how many there were. A running Byway notices within a second."""
        with self._change():
            row = self._row("SELECT count(*) FROM logins")
            count = int(row[0]) if row else 0
            if count:
                self._run("DELETE FROM logins")
                self._audit(who, "logins revoked", f"all {count}")
            return count

    def keys_stamp(self) -> tuple[int, int]:
        """Something that changes when keys may have changed, here or in another process. Takes some microseconds."""
        row = self._row("PRAGMA data_version")
        return (row[0] if row else 0), self._changes

    def _key(self, id: str) -> StoredKey:
        row = self._row(f"{_KEY} WHERE id = ?", (id,))
        if row is None:
            raise LookupError(f"There is no key {id!r}. `byway key list` shows those that there are.")
        return _shown(row)

    # ------------------------------------------------------------------------------------------------------------- the file

    def _prepare(self) -> None:
        # In this order: another process may be making the file, and whoever sees its tables sees the mark too.
        tables = self._rows("SELECT name FROM sqlite_master LIMIT 1")
        row = self._row("PRAGMA application_id")
        if tables and (row is None or row[0] != _OURS):
            raise StoreError(f"{self.path} is a database of another program. {_ELSEWHERE}")
        self._patiently("PRAGMA journal_mode = WAL")
        # A revoked key must not come back because the power went: each change is on the disk when its call returns.
        for setting in ("synchronous = FULL", "journal_size_limit = 4194304", "trusted_schema = OFF"):
            self._run(f"PRAGMA {setting}")
        if self._form() == len(MIGRATIONS):
            return
        with self._change():
            # Another process may have been first.
            form = self._form()
            if form > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a newer Byway. Start that one, or name another folder: --data-dir DIR"
                )
            for step in MIGRATIONS[form:]:
                for statement in step:
                    self._run(statement)
            self._run(f"PRAGMA application_id = {_OURS}")
            self._run(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _form(self) -> int:
        row = self._row("PRAGMA user_version")
        return int(row[0]) if row else 0

    def _patiently(self, statement: str) -> None:
        # SQLite does not wait by itself where two processes change the form of the journal at once.
        latest = time.monotonic() + _PATIENCE
        while True:
            try:
                self._run(statement)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > latest:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction that writes: all of it or nothing."""
        with self._turn, self._explained():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back by itself.
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system or SQLite says into a StoreError that says what to do."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path} cannot be used: {error.strerror or error}. {_ELSEWHERE}") from None
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise StoreError(f"{self.path} {_REASONS.get(code, _ANY_REASON).format(error)}") from None

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        with self._turn, self._explained():
            return self._file.execute(statement, values).fetchall()

    def _row(self, statement: str, values: Sequence[object] = ()) -> tuple | None:  # type: ignore[type-arg]
        rows = self._rows(statement, values)
        return rows[0] if rows else None

    def _run(self, statement: str, values: Sequence[object] = ()) -> None:
        self._file.execute(statement, values).close()

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        return self._file.execute(statement, values).lastrowid or 0


_ELSEWHERE: Final = "Name another folder for Byway's data: --data-dir DIR"
_DAMAGED: Final = (
    "is damaged ({0}). Stop Byway and put a copy of it back, or move it away: Byway then makes a new one, without the "
    "keys and versions that this one held"
)
_FULL: Final = "cannot be written ({0}). Is the disk full? Make room, and try again"
_SHUT: Final = f"cannot be opened for writing ({{0}}). Give this user the right to write there. {_ELSEWHERE}"
_ANY_REASON: Final = f"cannot be used ({{0}}). {_ELSEWHERE}"
_REASONS: Final = {
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_READONLY: _SHUT,
    sqlite3.SQLITE_CANTOPEN: _SHUT,
    sqlite3.SQLITE_PERM: _SHUT,
    sqlite3.SQLITE_BUSY: "is in use ({0}): another process has been changing it for some seconds. Try again",
}
_KEY: Final = "SELECT id, name, hint, scopes, made, ends, revoked, used FROM keys"


def _make_private(path: Path) -> None:
    """See to it that the file is there and is its owner's alone; raises OSError.

    One that is there is not opened: to close it would give up the locks that this process holds on it by way of SQLite
    (https://www.sqlite.org/howtocorrupt.html, section 2.2, seen 2026-11-21).
    """
    if path.is_symlink():
        raise FileExistsError(0, "it is a symbolic link, and what that leads to may be somebody else's")
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            platform.create_private(path)
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _shown(row: tuple) -> StoredKey:  # type: ignore[type-arg]
    id, name, hint, scopes, *times = row
    made, *others = times
    return StoredKey(id, name, hint, tuple(scopes.split()), _moment(made), *map(_perhaps, others))


def _checked(
    name: str, scopes: Sequence[str], expires_at: datetime.datetime | None
) -> tuple[str, tuple[str, ...], float | None]:
    name = name.strip()
    if not name or len(name) > _NAME_LIMIT or not name.isprintable():
        raise ValueError(f"A key needs a name of 1 to {_NAME_LIMIT} printable letters, such as laptop or ada.")
    wrong = [one for one in scopes if one not in SCOPES]
    if wrong or not scopes:
        what = f"{wrong[0]!r} is no scope" if wrong else "A key needs a scope"
        raise ValueError(f"{what}; there are {', '.join(SCOPES)}.")
    ends = None
    if expires_at is not None:
        ends = (expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=datetime.UTC)).timestamp()
        if ends <= time.time():
            raise ValueError("A key's end lies in the future; this one is over already.")
    return name, tuple(one for one in SCOPES if one in scopes), ends


def _new() -> tuple[str, bytes]:
    """A key of 190 random bits, and its hash."""
    key = KEY_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(32))
    return key, hashlib.sha256(key.encode()).digest()


def _until(ends: float | None) -> str:
    return "without an end" if ends is None else f"until {_moment(ends):%Y-%m-%d %H:%M} UTC"


def _moment(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def _perhaps(at: float | None) -> datetime.datetime | None:
    return None if at is None else _moment(at)


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
