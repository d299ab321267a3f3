"""One SQLite file: opened privately, migrated, changed in transactions, and with errors that say what to do.

Several processes may use the file at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform

#: Rows that one statement inserts: with 15 columns, far from SQLite's limit of 32,766 values.
_ROWS_OF_STATEMENT: Final = 128
#: Seconds to wait for another process to finish its change.
_BUSY_TIMEOUT: Final = 5.0
#: A confirmed change must survive a power failure, a revoked key for example: each change is on the disk when its call
#: returns.
DURABLE: Final = ("synchronous = FULL", "journal_size_limit = 4194304", "trusted_schema = OFF")
#: What is deleted is overwritten too: batches and names of files may contain anything, and earlier versions of Byway kept
#: secrets in versions of the config.
_OVERWRITING: Final = ("secure_delete = ON", *DURABLE)

_OTHER_FOLDER: Final = "Name another folder for Byway's data: --data-dir DIR"
_DAMAGED: Final = (
    "is damaged ({0}). Stop Byway and restore a copy, or move it away: Byway then creates a new one, without the {1} of "
    "this one"
)
_FULL: Final = "cannot be written ({0}). The disk may be full: free some space, then try again"
_NOT_WRITABLE: Final = f"cannot be opened for writing ({{0}}). Give this user the right to write there. {_OTHER_FOLDER}"
#: The statements of this version of Byway do not fit the tables of the file.
_INCOMPLETE: Final = (
    "does not have the tables that its version number promises ({0}): a migration by another program, or an incomplete copy, "
    "may have changed it. Stop Byway and restore a copy, or move it away: Byway then creates a new one, without the {1} of "
    "this one"
)
_ANY_REASON: Final = f"cannot be used ({{0}}). {_OTHER_FOLDER}"
_REASONS: Final = {
    sqlite3.SQLITE_ERROR: _INCOMPLETE,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: "is in use ({0}): another process has been changing it for some seconds. Try again",
}


class StoreError(Exception):
    """The database cannot be used: why, and what to do."""


class Schema(NamedTuple):
    """What a database file of Byway contains."""

    application_id: int
    """In the file's header (https://www.sqlite.org/pragma.html#pragma_application_id, seen 2026-11-21)."""
    migrations: tuple[tuple[str, ...], ...]
    """Step n turns schema version n into n + 1. A released step never changes."""
    contents: str
    """What is lost with the file, in words: `keys and versions`."""
    settings: tuple[str, ...] = _OVERWRITING
    """The pragmas of a connection."""
    creation: tuple[str, ...] = ()
    """The pragmas that only an empty file accepts."""


class Database:
    """An open database file. Any thread may use it. Calls run one after the other.

    Every method raises StoreError when the file cannot be used.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open the file in its existing folder. Create it when it is missing, and migrate an older schema."""
        self.path = path
        self._schema = schema
        self._lock = threading.RLock()
        with self._explained():
            _make_private(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=32
            )
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file. Later calls raise StoreError."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """A transaction that writes all of it or nothing. It is on the disk when it ends without an error.

        Inside another change of this thread it is a part of that one.
        """
        with self._lock, self._explained():
            is_part = self._connection.in_transaction
            if is_part:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        """All rows of a query."""
        with self._lock, self._explained():
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[object] = ()) -> tuple | None:  # type: ignore[type-arg]
        """The first row of a query; None when there is none."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def count(self, statement: str, values: Sequence[object] = ()) -> int:
        """The integer in the first row of a query; 0 when there is no row."""
        row = self.row(statement, values)
        return int(row[0]) if row else 0

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement inside `change`, and return the number of rows that it changed."""
        cursor = self._connection.execute(statement, values)
        changed = cursor.rowcount
        cursor.close()
        return changed

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """Run a statement inside `change` once for each of `rows`, and return the number of rows that it changed."""
        cursor = self._connection.executemany(statement, rows)
        changed = cursor.rowcount
        cursor.close()
        return changed

    def insert_rows(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Insert many rows inside `change`, and return how many were added. `statement` ends before the values.

        One statement inserts many rows: between two statements this thread would wait for the one that runs Python.
        """
        added = start = 0
        while left := len(rows) - start:
            # Powers of two: few different statements, which SQLite keeps compiled.
            many = min(1 << left.bit_length() - 1, _ROWS_OF_STATEMENT)
            part = rows[start : start + many]
            row = f"({', '.join('?' * len(part[0]))})"
            added += self.run(f"{statement} VALUES {', '.join([row] * many)}", tuple(chain.from_iterable(part)))
            start += many
        return added

    def insert(self, statement: str, values: Sequence[object]) -> int:
        """Insert a row inside `change`, and return its number."""
        return self._connection.execute(statement, values).lastrowid or 0

    def _prepare(self) -> None:
        # In this order: another process may be creating the file, and its tables and id appear together.
        tables = self.rows("SELECT name FROM sqlite_master LIMIT 1")
        if tables and self.count("PRAGMA application_id") != self._schema.application_id:
            raise StoreError(f"{self.path} is a database of another program. {_OTHER_FOLDER}")
        if not tables:
            for setting in self._schema.creation:
                self.run(f"PRAGMA {setting}")
        self._run_when_free("PRAGMA journal_mode = WAL")
        for setting in self._schema.settings:
            self.run(f"PRAGMA {setting}")
        migrations = self._schema.migrations
        if self.count("PRAGMA user_version") == len(migrations):
            return
        with self.change():
            # Another process may have been first.
            version = self.count("PRAGMA user_version")
            if version > len(migrations):
                raise StoreError(
                    f"{self.path} was written by a newer version of Byway. Use that version, or name another folder: "
                    "--data-dir DIR"
                )
            for step in migrations[version:]:
                for statement in step:
                    self.run(statement)
            self.run(f"PRAGMA application_id = {self._schema.application_id}")
            self.run(f"PRAGMA user_version = {len(migrations)}")

    def _run_when_free(self, statement: str) -> None:
        # SQLite does not wait when two processes change the journal mode at once.
        deadline = time.monotonic() + _BUSY_TIMEOUT
        while True:
            try:
                self.run(statement)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the system and of SQLite into a StoreError that says what to do."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path} cannot be used: {error.strerror or error}. {_OTHER_FOLDER}") from None
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            reason = _REASONS.get(code, _ANY_REASON).format(error, self._schema.contents)
            raise StoreError(f"{self.path} {reason}") from None


class LazyDatabase:
    """The base of a store whose database file is created when it is first needed. Any thread may use it.

    The first use opens the file, and so does the next use after a failure to open it.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self._schema = schema
        self._lock = threading.Lock()
        self._opened: Database | None = None

    def close(self) -> None:
        """Close the database. The next use opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def exists(self) -> bool:
        """Whether there is a database."""
        return self.path.exists()

    @property
    def _database(self) -> Database:
        with self._lock:
            if self._opened is None:
                self._opened = Database(self.path, self._schema)
            return self._opened


class Table:
    """Some tables of a database: the base of the parts of a store."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def _keep_newest(self, table: str, by: str, most: int, where: str = "TRUE", *values: object) -> None:
        """Remove rows beyond the first `most` by the column `by`, the highest first, in the transaction of a change.

        Only the rows that `where` matches, with its `values`, are counted and removed.
        """
        self.database.run(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {where}"  # noqa: S608 - constants of the callers
            f" ORDER BY {by} DESC, rowid DESC LIMIT -1 OFFSET ?)",
            (*values, most),
        )


def _make_private(path: Path) -> None:
    """Make sure that the file exists and only its owner can read it. Raises OSError.

    An existing file is not opened: closing it would release the locks that SQLite holds on it for this process
    (https://www.sqlite.org/howtocorrupt.html, section 2.2, seen 2026-11-21).
    """
    if path.is_symlink():
        raise FileExistsError(0, "it is a symbolic link, which may point to a file of another user")
    if path.exists() and not path.is_file():
        raise FileExistsError(0, "it is not a regular file")
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            platform.create_private(path)
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
