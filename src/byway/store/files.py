"""FileStore: which files clients have uploaded, in a database file of their own. Their bytes are kept elsewhere.

The file is not that of the keys: damage to it closes no access.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from byway.store.database import Database, LazyDatabase, Schema

FILES_DATABASE: Final = "files.db"
_SCHEMA: Final = Schema(
    # "Bywf"
    0x42797766,
    (
        (
            # `number` is the order of upload. `removed`: the bytes of an expired file are gone.
            "CREATE TABLE files (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
            " filename TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, purpose TEXT NOT NULL,"
            " created REAL NOT NULL, expires REAL, removed REAL)",
            "CREATE INDEX files_of_owner ON files (owner, number)",
            "CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL",
            "CREATE TABLE owners (owner TEXT PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID",
            # `folder`: the name below which the storage keeps the bytes of this database's files.
            "CREATE TABLE storage (folder TEXT NOT NULL)",
            "INSERT INTO storage VALUES (lower(hex(randomblob(8))))",
        ),
    ),
    "list of uploaded files",
)
_COLUMNS: Final = "id, owner, filename, media_type, size, purpose, created, expires, removed, number"
#: Rows that one step of the removal of expired files takes.
_STEP: Final = 500


class FileRecord(Struct, frozen=True):
    """An uploaded file."""

    id: str
    owner: str
    """`account:ID`, `key:ID`, or "" for clients without a key."""
    filename: str
    media_type: str
    size: int
    purpose: str = ""
    """OpenAI's `purpose`; "" for a file that was uploaded by the Anthropic API."""
    created: float = 0.0
    """Seconds since the epoch, as for `expires` and `removed`."""
    expires: float | None = None
    removed: float | None = None
    """When the bytes of the expired file were removed; its record stays for some days, for a clear error."""
    number: int = 0
    """The order of upload: the position in lists. The database sets it."""

    def is_expired(self, now: float) -> bool:
        return self.removed is not None or (self.expires is not None and self.expires <= now)


class FileTotals(Struct, frozen=True):
    """How many files an owner has, and their bytes."""

    owner: str
    files: int = 0
    bytes: int = 0


class FileStore(LazyDatabase):
    """The records of uploaded files in a data folder. Any thread may use it, and other processes at the same time.

    The first upload creates the database. Every method raises StoreError while it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILES_DATABASE, _SCHEMA)

    def folder(self) -> str:
        """The name below which the storage keeps the bytes: random, so that a new database never removes files of another."""
        row = self._database.row("SELECT folder FROM storage")
        return str(row[0]) if row else ""

    def add(self, record: FileRecord, quota: int, total: int, most_files: int) -> FileTotals | None:
        """Add a file, unless its owner or all of them would have more bytes or files than allowed.

        Returns None when it was added, else what the owner has, or all of them (owner `*`). ValueError when its id is taken.
        """
        database = self._database
        with database.change():
            used = self.used(record.owner)
            if used.bytes + record.size > quota or used.files >= most_files:
                return used
            everyone = self.used()
            if everyone.bytes + record.size > total:
                return everyone
            if database.count("SELECT count(*) FROM files WHERE id = ?", (record.id,)):
                raise ValueError(f"there is a file {record.id} already")
            values = (record.id, record.owner, record.filename, record.media_type, record.size, record.purpose)
            database.run(
                "INSERT INTO files (id, owner, filename, media_type, size, purpose, created, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, record.created, record.expires),
            )
            database.run(
                "INSERT INTO owners VALUES (?, 1, ?)"
                " ON CONFLICT (owner) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes",
                (record.owner, record.size),
            )
            return None

    def get(self, id: str) -> FileRecord | None:
        """The record of a file, of an expired one too; None when there is none."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM files WHERE id = ?", (id,))
        return FileRecord(*row) if row else None

    def page(
        self,
        owner: str | None,
        now: float,
        limit: int,
        *,
        after: int | None = None,
        ascending: bool = False,
        purpose: str | None = None,
    ) -> list[FileRecord]:
        """The files that have not expired, by the order of upload, the newest first; `owner` None: those of every owner.

        `after` is the number of the last file before this page.
        """
        where, values = ["removed IS NULL", "(expires IS NULL OR expires > ?)"], [now]
        conditions: Sequence[tuple[str, object | None]] = (
            ("owner = ?", owner),
            ("purpose = ?", purpose),
            (f"number {'>' if ascending else '<'} ?", after),
        )
        parameters: list[object] = [*values]
        for condition, value in conditions:
            if value is not None:
                where.append(condition)
                parameters.append(value)
        order = "ASC" if ascending else "DESC"
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM files WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT ?",
            (*parameters, limit),
        )
        return [FileRecord(*row) for row in rows]

    def remove(self, id: str) -> FileRecord | None:
        """Remove a record, and return it; None when there is none. The bytes must be removed afterwards."""
        database = self._database
        with database.change():
            record = self.get(id)
            if record is not None:
                database.run("DELETE FROM files WHERE id = ?", (id,))
                if record.removed is None:
                    self._subtract(database, record)
            return record

    def expire(self, now: float, forget: float) -> list[FileRecord]:
        """Mark some of the files that have expired, and return them: their bytes must be removed.

        Records that were marked before `forget` are removed for good.
        """
        database = self._database
        rows = database.rows(
            f"SELECT {_COLUMNS} FROM files WHERE expires <= ? AND removed IS NULL ORDER BY expires LIMIT ?",
            (now, _STEP),
        )
        expired = [FileRecord(*row) for row in rows]
        old = database.count("SELECT count(*) FROM files WHERE expires <= ? AND removed < ?", (now, forget))
        if not expired and not old:
            return []
        with database.change():
            for record in expired:
                # Another call may have removed it since.
                if database.run("UPDATE files SET removed = ? WHERE id = ? AND removed IS NULL", (now, record.id)):
                    self._subtract(database, record)
            database.run("DELETE FROM files WHERE expires <= ? AND removed < ?", (now, forget))
        return expired

    def has_bytes(self, id: str) -> bool:
        """Whether the bytes of a file are needed: it has a record, and they were not removed."""
        return bool(self._database.count("SELECT count(*) FROM files WHERE id = ? AND removed IS NULL", (id,)))

    def used(self, owner: str | None = None) -> FileTotals:
        """What an owner has; None: all of them together, as owner `*`."""
        if owner is None:
            row = self._database.row("SELECT total(files), total(bytes) FROM owners")
            return FileTotals("*", *map(int, row)) if row else FileTotals("*")
        row = self._database.row("SELECT files, bytes FROM owners WHERE owner = ?", (owner,))
        return FileTotals(owner, *row) if row else FileTotals(owner)

    def owners(self, limit: int = 1000) -> list[FileTotals]:
        """The owners with the most bytes, the largest first."""
        rows = self._database.rows(
            "SELECT owner, files, bytes FROM owners ORDER BY bytes DESC, owner LIMIT ?", (limit,)
        )
        return [FileTotals(*row) for row in rows]

    def _subtract(self, database: Database, record: FileRecord) -> None:
        database.run(
            "UPDATE owners SET files = files - 1, bytes = bytes - ? WHERE owner = ?", (record.size, record.owner)
        )
        database.run("DELETE FROM owners WHERE owner = ? AND files <= 0", (record.owner,))


def new_file_id(prefix: str) -> str:
    """A random id that cannot be guessed: `prefix` and 24 letters and digits (142 bits)."""
    letters = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    return prefix + "".join(secrets.choice(letters) for _ in range(24))
