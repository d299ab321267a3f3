"""ResponseStore: answers of the Responses API, with the input that led to each, in a database file of their own.

The file is not that of the keys: damage to it closes no access. Each response holds its own part of the input and the id of the
previous one, so that a conversation takes as much space as its text.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

from msgspec import Struct

from byway.store.database import Database, LazyDatabase, Schema

RESPONSES_DATABASE: Final = "responses.db"
_SCHEMA: Final = Schema(
    # "Bywr"
    0x42797772,
    (
        (
            "CREATE TABLE responses (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
            " created REAL NOT NULL, previous TEXT NOT NULL, size INTEGER NOT NULL, input BLOB NOT NULL, response BLOB NOT NULL)",
            "CREATE INDEX responses_of_owner ON responses (owner, number, size)",
            "CREATE INDEX responses_by_time ON responses (created)",
            "CREATE TABLE owners (owner TEXT PRIMARY KEY, responses INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID",
        ),
    ),
    "stored responses",
)
#: Responses of one owner.
MOST_RESPONSES: Final = 10_000
#: Responses of one conversation, and bytes of its input.
MOST_TURNS: Final = 1_000
#: Responses that one call removes because of their age.
_STEP: Final = 200
#: Bytes of one response with its input, decompressed.
LARGEST: Final = 32 << 20
#: Compression costs more time than it saves below this size.
_COMPRESSED: Final = 1 << 10
_PLAIN, _PACKED = b"j", b"z"


class StoredResponse(Struct, frozen=True):
    """A response and what led to it, as JSON."""

    id: str
    owner: str
    """`account:ID`, `key:ID`, or "" for clients without a key."""
    created: float
    """Seconds since the epoch."""
    previous: str
    """The id of the response before it; "" for the first one."""
    input: bytes
    """The items of its own request, as a list."""
    response: bytes


class ResponseStore(LazyDatabase):
    """The stored responses of a data folder. Any thread may use it. Every method raises StoreError while it cannot be used.

    The database is created by the first response that is stored.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / RESPONSES_DATABASE, _SCHEMA)

    def add(self, record: StoredResponse, quota: int, keep_seconds: float) -> bool:
        """Store a response, and remove what is too old or does not fit any more. False: it is too large itself."""
        input, response = _packed(record.input), _packed(record.response)
        size = len(input) + len(response) + len(record.id)
        if size > quota or len(record.input) + len(record.response) > LARGEST:
            return False
        database = self._database
        with database.change():
            self._expire(database, record.created - keep_seconds)
            if database.count("SELECT count(*) FROM responses WHERE id = ?", (record.id,)):
                return False
            used, count = self._used(database, record.owner)
            while used + size > quota or count >= MOST_RESPONSES:
                row = database.row(
                    "SELECT number, size FROM responses WHERE owner = ? ORDER BY number LIMIT 1", (record.owner,)
                )
                if row is None:
                    break
                database.run("DELETE FROM responses WHERE number = ?", (row[0],))
                self._count(database, record.owner, -1, -row[1])
                used, count = used - row[1], count - 1
            database.run(
                "INSERT INTO responses (id, owner, created, previous, size, input, response) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (record.id, record.owner, record.created, record.previous, size, input, response),
            )
            self._count(database, record.owner, 1, size)
        return True

    def get(self, owner: str, id: str) -> StoredResponse | None:
        """A response of an owner; None when there is none."""
        if not self.exists():
            return None
        row = self._database.row(
            "SELECT id, owner, created, previous, input, response FROM responses WHERE id = ? AND owner = ?",
            (id, owner),
        )
        if row is None:
            return None
        return StoredResponse(row[0], row[1], row[2], row[3], _unpacked(row[4]), _unpacked(row[5]))

    def conversation(self, owner: str, id: str) -> list[StoredResponse] | None:
        """A response with all before it, the first one first; None when one of them is missing, or they are too many."""
        records: list[StoredResponse] = []
        size = 0
        while id:
            record = self.get(owner, id)
            if record is None or len(records) == MOST_TURNS:
                return None
            size += len(record.input) + len(record.response)
            if size > LARGEST:
                return None
            records.append(record)
            id = record.previous
        records.reverse()
        return records

    def remove(self, owner: str, id: str) -> bool:
        """Remove a response. Returns whether there was one."""
        if not self.exists():
            return False
        database = self._database
        with database.change():
            row = database.row("SELECT number, size FROM responses WHERE id = ? AND owner = ?", (id, owner))
            if row is None:
                return False
            database.run("DELETE FROM responses WHERE number = ?", (row[0],))
            self._count(database, owner, -1, -row[1])
        return True

    def clear(self) -> int:
        """Remove all responses. Returns how many there were."""
        if not self.exists():
            return 0
        database = self._database
        with database.change():
            removed = database.run("DELETE FROM responses")
            database.run("DELETE FROM owners")
        return removed

    def used(self, owner: str) -> tuple[int, int]:
        """Bytes and number of an owner's responses."""
        return self._used(self._database, owner) if self.exists() else (0, 0)

    def _expire(self, database: Database, before: float) -> None:
        rows = database.rows("SELECT number, owner, size FROM responses WHERE created < ? LIMIT ?", (before, _STEP))
        for number, owner, size in rows:
            database.run("DELETE FROM responses WHERE number = ?", (number,))
            self._count(database, owner, -1, -size)

    def _used(self, database: Database, owner: str) -> tuple[int, int]:
        row = database.row("SELECT bytes, responses FROM owners WHERE owner = ?", (owner,))
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def _count(self, database: Database, owner: str, number: int, size: int) -> None:
        database.run(
            "INSERT INTO owners VALUES (?, ?, ?) ON CONFLICT (owner) DO UPDATE SET responses = responses + excluded.responses,"
            " bytes = bytes + excluded.bytes",
            (owner, number, size),
        )
        database.run("DELETE FROM owners WHERE owner = ? AND responses <= 0", (owner,))


def _packed(data: bytes) -> bytes:
    return _PLAIN + data if len(data) < _COMPRESSED else _PACKED + zlib.compress(data, 1)


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data[1:], LARGEST) if data[:1] == _PACKED else bytes(data[1:])
