"""Byway's database: clients' keys (as hashes), logins of the page, versions of the config, and the audit log.

One SQLite file, `byway.db` in the data folder. Several processes use it at once: a running Byway and the commands. Secrets
for backends are kept elsewhere (`byway.secrets.vault`).
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
from byway.learned import LearnedRepair
from byway.scopes import SCOPES

FILE_NAME: Final = "byway.db"
KEY_PREFIX: Final = "sk-byway-"
#: Versions kept of each config file, of all config files together, and their characters together. The oldest go first.
MAX_VERSIONS: Final = 100
MAX_ALL_VERSIONS: Final = 1_000
MAX_VERSION_CHARACTERS: Final = 16 << 20
#: Entries kept of the audit log, keys that are not revoked, revoked keys, and logins.
MAX_AUDIT_ENTRIES: Final = 10_000
MAX_KEYS: Final = 10_000
MAX_REVOKED_KEYS: Final = 1_000
MAX_LOGINS: Final = 100
#: Characters of a name and of a detail.
_NAME_LIMIT: Final = 100
_DETAIL_LIMIT: Final = 2_000
#: Seconds to wait for another process to finish its change.
_BUSY_TIMEOUT: Final = 5.0
#: "Bywy" in the file's header (https://www.sqlite.org/pragma.html#pragma_application_id, seen 2026-11-21).
_APPLICATION_ID: Final = 0x42797779
_LETTERS: Final = string.ascii_letters + string.digits
#: Without letters that look alike, because people read ids aloud and type them.
_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"

#: Step n turns schema version n into n + 1. A released step never changes.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE versions (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " why TEXT NOT NULL, etag TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " what TEXT NOT NULL, detail TEXT NOT NULL)",
        "CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,"
        " scopes TEXT NOT NULL, made REAL NOT NULL, ends REAL, revoked REAL, used REAL)",
    ),
    # Several config files may use one data folder: each has versions of its own.
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
    (
        "CREATE TABLE repairs (backend TEXT NOT NULL, url TEXT NOT NULL, model TEXT NOT NULL, repair TEXT NOT NULL,"
        " refusal TEXT NOT NULL, learned_at REAL NOT NULL)",
    ),
    ("CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",),
)


class StoreError(Exception):
    """The database cannot be used: why, and what to do."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """An earlier text of the config, without its secrets. `etag` is that of the whole text."""

    number: int
    at: datetime.datetime
    who: str
    why: str
    etag: str
    text: str = ""
    """Only given by `Store.version` and `Store.unmasked_versions`."""
    secrets: int = 0
    """How many secrets of the text are not kept."""


class AuditEntry(msgspec.Struct, frozen=True):
    """An entry of the audit log: who did what, and when."""

    at: datetime.datetime
    who: str
    what: str
    detail: str


class KeyRecord(NamedTuple):
    """A client's key as it is checked. `digest`: its SHA-256; `expires`: seconds since the epoch."""

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
    """A client's key as it may be shown, without its value and hash. Times are in UTC."""

    id: str
    name: str
    hint: str
    """The last four characters of the key."""
    scopes: tuple[str, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    """The last use, accurate to some seconds."""

    @property
    def live(self) -> bool:
        """Is the key accepted now?"""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at.timestamp() > time.time())


def etag(text: str) -> str:
    """Identify a text of the config: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_etag: Final = etag


class Store:
    """The open database. Any thread may use it. Calls run one after the other, each in a transaction of its own.

    Every method raises StoreError when the database cannot be used. `who` is the author of a change, for the audit log.
    """

    def __init__(self, folder: Path) -> None:
        """Open `byway.db` in the existing `folder`. Create it when it is missing, and migrate an older schema."""
        self.path = folder / FILE_NAME
        self._lock = threading.RLock()
        self._changes = 0
        with self._explained():
            _make_private(self.path)
            self._file = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=32
            )
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the database. Later calls raise StoreError."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------- versions of the config

    # `file` is the path of the config file: each file has versions of its own.

    def add_version(
        self, text: str, who: str, why: str, file: str = "", *, etag: str | None = None, secrets: int = 0
    ) -> int:
        """Keep a version of the config and return its number. A text that the newest version has already gets no new one.

        `text` has no secrets any more: `secrets` of them were taken out, and `etag` is that of the whole text.
        """
        etag = etag or _etag(text)
        with self._change():
            newest = self._row("SELECT number, etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,))
            if newest is not None and newest[1] == etag:
                return int(newest[0])
            number = self._insert(
                "INSERT INTO versions (at, who, why, etag, text, file, secrets) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), _shortened(who), _shortened(why), etag, text, file, secrets),
            )
            self._run(
                "DELETE FROM versions WHERE number IN"
                " (SELECT number FROM versions WHERE file = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (file, MAX_VERSIONS),
            )
            self._run(
                "DELETE FROM versions WHERE number < ? AND number IN (SELECT number FROM (SELECT number,"
                " count(*) OVER newer AS place, sum(length(text)) OVER newer AS characters FROM versions"
                " WINDOW newer AS (ORDER BY number DESC)) WHERE place > ? OR characters > ?)",
                (number, MAX_ALL_VERSIONS, MAX_VERSION_CHARACTERS),
            )
            return number

    def newest_etag(self, file: str = "") -> str | None:
        """The etag of the newest version; None when there is none."""
        row = self._row("SELECT etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,))
        return None if row is None else str(row[0])

    def versions(self, file: str = "") -> list[ConfigVersion]:
        """The versions that are kept, newest first, without their texts."""
        rows = self._rows(
            "SELECT number, at, who, why, etag, ifnull(secrets, 0) FROM versions WHERE file = ? ORDER BY number DESC",
            (file,),
        )
        return [_version(number, at, who, why, etag, "", count) for number, at, who, why, etag, count in rows]

    def version(self, number: int, file: str = "") -> ConfigVersion:
        """One version with its text. Raises LookupError when it is not kept."""
        row = self._row(
            "SELECT number, at, who, why, etag, text, ifnull(secrets, 0) FROM versions WHERE number = ? AND file = ?",
            (number, file),
        )
        if row is None:
            raise LookupError(f"There is no version {number} of the config. The newest {MAX_VERSIONS} are kept.")
        return _version(*row)

    def unmasked_versions(self, file: str = "") -> list[ConfigVersion]:
        """The versions whose texts may still have secrets: an earlier Byway kept them."""
        rows = self._rows(
            "SELECT number, at, who, why, etag, text, 0 FROM versions WHERE file = ? AND secrets IS NULL", (file,)
        )
        return [_version(*row) for row in rows]

    def mask_version(self, number: int, text: str, secrets: int) -> None:
        """Replace the text of a version by one without its secrets."""
        with self._change():
            self._run("UPDATE versions SET text = ?, secrets = ? WHERE number = ?", (text, secrets, number))

    # --------------------------------------------------------------------------------------------------------- audit log

    def add_audit_entry(self, who: str, what: str, detail: str = "") -> None:
        """Record that `who` did `what`. The texts must not contain a secret."""
        with self._change():
            self._audit(who, what, detail)

    def audit_entries(self, limit: int = 200) -> list[AuditEntry]:
        """The last `limit` entries of the audit log, newest first."""
        rows = self._rows("SELECT at, who, what, detail FROM audit ORDER BY number DESC LIMIT ?", (max(0, limit),))
        return [AuditEntry(_moment(at), who, what, detail) for at, who, what, detail in rows]

    def _audit(self, who: str, what: str, detail: str) -> None:
        number = self._insert(
            "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)",
            (time.time(), _shortened(who), _shortened(what), _shortened(detail, _DETAIL_LIMIT)),
        )
        self._run("DELETE FROM audit WHERE number <= ?", (number - MAX_AUDIT_ENTRIES,))

    # ------------------------------------------------------------------------------------------------------ clients' keys

    def add_key(
        self, name: str, scopes: Sequence[str], expires_at: datetime.datetime | None, who: str
    ) -> tuple[StoredKey, str]:
        """Create a key. The second value is the key itself, which cannot be read again.

        A time without a zone is UTC. Raises ValueError with a message for a person when an argument is not valid.
        """
        name, scopes, expires = _checked(name, scopes, expires_at)
        key, digest = _new_key()
        id = "key_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        with self._change():
            live = self._row("SELECT count(*) FROM keys WHERE revoked IS NULL")
            if live is not None and live[0] >= MAX_KEYS:
                raise ValueError(f"There are {MAX_KEYS} keys already. Revoke keys that are not used any more.")
            self._run(
                "INSERT INTO keys (id, name, hint, digest, scopes, made, ends) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, name, key[-4:], digest, " ".join(scopes), time.time(), expires),
            )
            self._audit(who, "key created", f"{id} ({name}): {', '.join(scopes)}; {_until(expires)}")
            self._changes += 1
            return self._key(id), key

    def keys(self) -> list[StoredKey]:
        """Every key, revoked ones too, the newest first."""
        return [_stored_key(row) for row in self._rows(f"{_KEY} ORDER BY made DESC, rowid DESC")]

    def rotate_key(self, id: str, who: str) -> tuple[StoredKey, str]:
        """Give the key `id` a new value; the old value is rejected from now on. The second value is the new key itself.

        Raises LookupError when there is no such key, ValueError when it is revoked or has expired.
        """
        key, digest = _new_key()
        with self._change():
            old = self._key(id)
            if not old.live:
                why = "is revoked" if old.revoked_at else "has expired"
                raise ValueError(f"Key {id} ({old.name}) {why}. Create a new key: byway key create {old.name!r}")
            self._run("UPDATE keys SET digest = ?, hint = ? WHERE id = ?", (digest, key[-4:], id))
            self._audit(who, "key rotated", f"{id} ({old.name})")
            self._changes += 1
            return self._key(id), key

    def revoke_key(self, id: str, who: str) -> StoredKey:
        """Reject the key `id` from now on. It cannot be undone. Raises LookupError when there is no such key."""
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
        """Record when keys were last used: seconds since the epoch by id. Unknown ids are ignored."""
        with self._change():
            for id, at in times.items():
                self._run("UPDATE keys SET used = max(ifnull(used, 0), ?) WHERE id = ?", (at, id))

    def key_records(self) -> list[KeyRecord]:
        """Every key as it is checked."""
        rows = self._rows("SELECT id, name, digest, scopes, ends, revoked FROM keys ORDER BY made, rowid")
        return [
            KeyRecord(id, name, digest, tuple(scopes.split()), expires, revoked is not None)
            for id, name, digest, scopes, expires, revoked in rows
        ]

    # ---------------------------------------------------------------------------------------------------- learned repairs

    def signing_secret(self) -> bytes:
        """The secret with which Byway signs reasoning that it gives to clients. It is made once."""
        with self._change():
            self._run("INSERT OR IGNORE INTO secrets VALUES ('signing', ?)", (secrets.token_bytes(32),))
        row = self._row("SELECT value FROM secrets WHERE name = 'signing'")
        return bytes(row[0]) if row else b""

    def repairs(self) -> list[LearnedRepair]:
        """The repairs of calls that a running Byway has learned from refusals."""
        rows = self._rows(
            "SELECT backend, url, model, repair, refusal, learned_at FROM repairs ORDER BY learned_at, rowid"
        )
        return [LearnedRepair(*row) for row in rows]

    def save_repairs(self, records: Sequence[LearnedRepair]) -> None:
        """Replace the stored repairs by `records`."""
        with self._change():
            self._run("DELETE FROM repairs")
            for record in records:
                self._run("INSERT INTO repairs VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(record))

    # ------------------------------------------------------------------------------------------------ logins of the page

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
        """Return a value that changes when keys or logins may have changed, in this or another process. Takes microseconds."""
        row = self._row("PRAGMA data_version")
        return (row[0] if row else 0), self._changes

    def _key(self, id: str) -> StoredKey:
        row = self._row(f"{_KEY} WHERE id = ?", (id,))
        if row is None:
            raise LookupError(f"There is no key {id!r}. `byway key list` lists all keys.")
        return _stored_key(row)

    # ------------------------------------------------------------------------------------------------------ the database

    def _prepare(self) -> None:
        # In this order: another process may be creating the file, and its tables and id appear together.
        tables = self._rows("SELECT name FROM sqlite_master LIMIT 1")
        row = self._row("PRAGMA application_id")
        if tables and (row is None or row[0] != _APPLICATION_ID):
            raise StoreError(f"{self.path} is a database of another program. {_OTHER_FOLDER}")
        self._run_when_free("PRAGMA journal_mode = WAL")
        # A revoked key must stay revoked after a power failure: each change is on the disk when its call returns. What is
        # deleted is overwritten, because earlier versions of Byway kept secrets in versions of the config.
        for setting in (
            "secure_delete = ON",
            "synchronous = FULL",
            "journal_size_limit = 4194304",
            "trusted_schema = OFF",
        ):
            self._run(f"PRAGMA {setting}")
        if self._schema_version() == len(MIGRATIONS):
            return
        with self._change():
            # Another process may have been first.
            version = self._schema_version()
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a newer version of Byway. Use that version, or name another folder: "
                    "--data-dir DIR"
                )
            for step in MIGRATIONS[version:]:
                for statement in step:
                    self._run(statement)
            self._run(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._run(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _schema_version(self) -> int:
        row = self._row("PRAGMA user_version")
        return int(row[0]) if row else 0

    def _run_when_free(self, statement: str) -> None:
        # SQLite does not wait when two processes change the journal mode at once.
        deadline = time.monotonic() + _BUSY_TIMEOUT
        while True:
            try:
                self._run(statement)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction that writes all of it or nothing."""
        with self._lock, self._explained():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back already.
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the system and of SQLite into a StoreError that says what to do."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path} cannot be used: {error.strerror or error}. {_OTHER_FOLDER}") from None
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise StoreError(f"{self.path} {_REASONS.get(code, _ANY_REASON).format(error)}") from None

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock, self._explained():
            return self._file.execute(statement, values).fetchall()

    def _row(self, statement: str, values: Sequence[object] = ()) -> tuple | None:  # type: ignore[type-arg]
        rows = self._rows(statement, values)
        return rows[0] if rows else None

    def _run(self, statement: str, values: Sequence[object] = ()) -> None:
        self._file.execute(statement, values).close()

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        return self._file.execute(statement, values).lastrowid or 0


_OTHER_FOLDER: Final = "Name another folder for Byway's data: --data-dir DIR"
_DAMAGED: Final = (
    "is damaged ({0}). Stop Byway and restore a copy, or move it away: Byway then creates a new one, without the keys and "
    "versions of this one"
)
_FULL: Final = "cannot be written ({0}). The disk may be full: free some space, then try again"
_NOT_WRITABLE: Final = f"cannot be opened for writing ({{0}}). Give this user the right to write there. {_OTHER_FOLDER}"
_ANY_REASON: Final = f"cannot be used ({{0}}). {_OTHER_FOLDER}"
_REASONS: Final = {
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: "is in use ({0}): another process has been changing it for some seconds. Try again",
}
_KEY: Final = "SELECT id, name, hint, scopes, made, ends, revoked, used FROM keys"


def _make_private(path: Path) -> None:
    """Make sure that the file exists and only its owner can read it. Raises OSError.

    An existing file is not opened: closing it would release the locks that SQLite holds on it for this process
    (https://www.sqlite.org/howtocorrupt.html, section 2.2, seen 2026-11-21).
    """
    if path.is_symlink():
        raise FileExistsError(0, "it is a symbolic link, which may point to a file of another user")
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            platform.create_private(path)
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _stored_key(row: tuple) -> StoredKey:  # type: ignore[type-arg]
    id, name, hint, scopes, created, *others = row
    return StoredKey(id, name, hint, tuple(scopes.split()), _moment(created), *map(_optional_moment, others))


def _version(number: int, at: float, who: str, why: str, etag: str, text: str, secrets: int) -> ConfigVersion:
    return ConfigVersion(number, _moment(at), who, why, etag, text, secrets)


def _checked(
    name: str, scopes: Sequence[str], expires_at: datetime.datetime | None
) -> tuple[str, tuple[str, ...], float | None]:
    name = name.strip()
    if not name or len(name) > _NAME_LIMIT or not name.isprintable():
        raise ValueError(f"A key needs a name of 1 to {_NAME_LIMIT} printable characters, such as laptop or ada.")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        what = f"{unknown[0]!r} is not a scope" if unknown else "A key needs a scope"
        raise ValueError(f"{what}. The scopes are {', '.join(SCOPES)}.")
    expires = None
    if expires_at is not None:
        expires = (expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=datetime.UTC)).timestamp()
        if expires <= time.time():
            raise ValueError("A key must expire in the future; this time is over.")
    return name, tuple(scope for scope in SCOPES if scope in scopes), expires


def _new_key() -> tuple[str, bytes]:
    """Return a new key of 190 random bits, and its SHA-256."""
    key = KEY_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(32))
    return key, hashlib.sha256(key.encode()).digest()


def _until(expires: float | None) -> str:
    return "does not expire" if expires is None else f"expires {_moment(expires):%Y-%m-%d %H:%M} UTC"


def _moment(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def _optional_moment(at: float | None) -> datetime.datetime | None:
    return None if at is None else _moment(at)


def _shortened(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
