"""BatchStore: batches, their requests and their results, in a database file of their own.

What is in the file was acknowledged: a request without a result is answered again after a restart, and a result is stored once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from byway.batches.batch import (
    BATCHES_FILE,
    MOST_BATCHES,
    MOST_IN_PROGRESS,
    MOST_OF_OWNER,
    MOST_RECEIVED,
    MOST_RECEIVED_OF_OWNER,
    WINDOW,
    BatchApi,
    BatchOutcome,
    BatchRequest,
    BatchResult,
    NewRequest,
    Rest,
    StoredBatch,
)
from byway.batches.splitter import InvalidBatch
from byway.problems import Problem
from byway.store.database import Database, Schema

#: Rows that one step of a removal takes.
_STEP: Final = 500
#: Results that are read at once, and bytes of them: a page has one result at least.
_RESULTS: Final = 100
_RESULT_BYTES: Final = 4 << 20
_DAY: Final = 86_400.0
#: The id of a request is the batch's number times this, plus its place in the batch, of which there are fewer.
_SPAN: Final = 1_000_000
_COLUMNS: Final = ", ".join(StoredBatch.__struct_fields__).replace("from_socket", "by_socket")
_SCHEMA: Final = Schema(
    # "Bywb"
    0x42797762,
    (
        (
            "CREATE TABLE batches (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, api TEXT NOT NULL,"
            " owner TEXT NOT NULL, key TEXT NOT NULL, by_socket INTEGER NOT NULL, endpoint TEXT NOT NULL,"
            " headers TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL,"
            " canceled REAL NOT NULL DEFAULT 0, ended REAL NOT NULL DEFAULT 0, archived REAL NOT NULL DEFAULT 0,"
            " total INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0, errored INTEGER NOT NULL DEFAULT 0,"
            " rest TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL DEFAULT 0, detail TEXT NOT NULL)",
            "CREATE INDEX batches_of_owner ON batches (owner, api, number)",
            "CREATE INDEX batches_by_state ON batches (state, number)",
            # `id`: 1,000,000 times the number of the batch, plus the place in it. `body`: the request, then its result.
            "CREATE TABLE requests (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, custom_id TEXT NOT NULL,"
            " kind TEXT NOT NULL DEFAULT '', status INTEGER NOT NULL DEFAULT 0, request_id TEXT NOT NULL DEFAULT '',"
            " body BLOB NOT NULL)",
            "CREATE UNIQUE INDEX custom_ids ON requests (batch, custom_id)",
        ),
    ),
    "batches and their results",
    # The space of a deleted batch is returned to the system.
    creation=("auto_vacuum = FULL",),
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM batches"  # noqa: S608 - constants


class BatchStore:
    """The batches in a data folder. Any thread may use it. Every method raises StoreError when the file cannot be used."""

    def __init__(self, folder: Path) -> None:
        """Open `batches.db` in the existing `folder`, and create it when it is missing."""
        self._database = Database(folder / BATCHES_FILE, _SCHEMA)
        self._creating: dict[int, str] = {}
        """Batches that this process is receiving, with their owners."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --------------------------------------------------------------------------------------------------------- create

    def begin(
        self,
        id: str,
        api: BatchApi,
        owner: str,
        *,
        key: str,
        by_socket: bool,
        endpoint: str,
        headers: str,
        detail: str,
        now: float,
        quota: int,
    ) -> StoredBatch:
        """Create a batch that is not acknowledged yet. Raises Problem when too many are in progress, or the quota is used."""
        database = self._database
        with database.change():
            self._check_number(owner)
            self._check_quota(owner, 0, quota)
            number = database.insert(
                "INSERT INTO batches (id, api, owner, key, by_socket, endpoint, headers, state, created, expires, detail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'receiving', ?, ?, ?)",
                (id, api, owner, key, by_socket, endpoint, headers, now, now + WINDOW, detail),
            )
        with self._lock:
            self._creating[number] = owner
        return self._read(number)

    def add(self, batch: StoredBatch, first: int, requests: Sequence[NewRequest], quota: int) -> None:
        """Add requests to a batch that is being created; `first` is the place of the first one.

        Raises InvalidBatch for a `custom_id` that occurs twice, and Problem when the quota is used.
        """
        database, number = self._database, batch.number
        rows = [
            (number * _SPAN + place, number, request.custom_id, request.body)
            for place, request in enumerate(requests, first)
        ]
        size = sum(len(request.body) for request in requests)
        with database.change():
            self._check_quota(batch.owner, size, quota)
            added = database.run_many(
                "INSERT OR IGNORE INTO requests (id, batch, custom_id, body) VALUES (?, ?, ?, ?)", rows
            )
            if added != len(rows):
                for id, _, custom_id, _ in rows:
                    if not database.count(
                        "SELECT count(*) FROM requests WHERE id = ? AND custom_id = ?", (id, custom_id)
                    ):
                        raise InvalidBatch(
                            f"requests.{id - number * _SPAN}.custom_id: {custom_id!r} is used twice. Give each request "
                            "an id of its own."
                        )
            database.run(
                "UPDATE batches SET total = total + ?, size = size + ? WHERE number = ?", (len(rows), size, number)
            )

    def acknowledge(self, batch: StoredBatch, now: float) -> StoredBatch:
        """The batch is complete: from now on its requests are answered, and survive the process."""
        database = self._database
        with database.change():
            database.run(
                "UPDATE batches SET state = 'ready', created = ?, expires = ? WHERE number = ? AND state = 'receiving'",
                (now, now + WINDOW, batch.number),
            )
        with self._lock:
            self._creating.pop(batch.number, None)
        return self._read(batch.number)

    def discard(self, batch: StoredBatch) -> None:
        """Remove a batch whose creation has failed."""
        with self._lock:
            self._creating.pop(batch.number, None)
        with self._database.change():
            self._database.run("UPDATE batches SET state = 'deleted' WHERE number = ?", (batch.number,))

    def discard_incomplete(self) -> None:
        """Remove the batches that an earlier process was receiving when it ended."""
        with self._database.change():
            for (number,) in self._database.rows("SELECT number FROM batches WHERE state = 'receiving'"):
                if number not in self._creating:
                    self._database.run("UPDATE batches SET state = 'deleted' WHERE number = ?", (number,))

    def _check_number(self, owner: str) -> None:
        """Raise Problem when too many batches are in progress, or are being received."""
        # Calls at the same moment may exceed these limits by a few.
        with self._lock:
            owners = list(self._creating.values())
        if len(owners) >= MOST_RECEIVED or owners.count(owner) >= MOST_RECEIVED_OF_OWNER:
            raise Problem("busy", "Too many batches are being received. Send this one again.", retry_after=5)
        counted = "SELECT count(*) FROM batches WHERE state IN ('receiving', 'ready')"
        own = self._database.count(f"{counted} AND owner = ?", (owner,))
        if own >= MOST_OF_OWNER or self._database.count(counted) >= MOST_IN_PROGRESS:
            raise Problem(
                "limit",
                f"{MOST_OF_OWNER} of your batches are in progress, or {MOST_IN_PROGRESS} of all clients. Create another one "
                "when one of them has ended.",
                retry_after=60,
            )

    def _check_quota(self, owner: str, size: int, quota: int) -> None:
        used = self._database.count(
            "SELECT coalesce(sum(size), 0) FROM batches WHERE owner = ? AND state != 'deleted'", (owner,)
        )
        if used + size > quota:
            raise Problem(
                "too_large",
                f"Your batches use {used >> 20} of {quota >> 20} MiB (`batches.quota`). Delete batches that have ended.",
            )

    # ----------------------------------------------------------------------------------------------------------- read

    def get(self, id: str, owner: str | None, api: BatchApi | None = None) -> StoredBatch:
        """The batch `id`. Raises LookupError when it does not exist, or belongs to another owner (None: any owner)."""
        batch = self._batch("id = ? AND state IN ('ready', 'ended')", id)
        if batch is None or owner not in (None, batch.owner) or api not in (None, batch.api):
            raise LookupError(f"There is no batch {id[:80]!r}.")
        return batch

    def page(
        self,
        owner: str | None,
        api: BatchApi | None,
        limit: int,
        *,
        after: int | None = None,
        before: int | None = None,
    ) -> tuple[list[StoredBatch], bool]:
        """Batches, the newest first, and whether there are more in that direction.

        `after`: those older than the batch with that number; `before`: those newer than it, next to it.
        """
        where = ["state IN ('ready', 'ended')"]
        values: list[object] = []
        for condition, value in (
            ("owner = ?", owner),
            ("api = ?", api),
            ("number < ?", after),
            ("number > ?", before),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        order = "ASC" if before is not None else "DESC"
        rows = self._database.rows(
            f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT ?",
            (*values, limit + 1),
        )
        batches = [_batch(row) for row in rows[:limit]]
        if before is not None:
            batches.reverse()
        return batches, len(rows) > limit

    def in_progress(self) -> list[StoredBatch]:
        """The batches that have not ended, the oldest first."""
        return [_batch(row) for row in self._database.rows(f"{_SELECT} WHERE state = 'ready' ORDER BY number")]

    def next_request(self, batch: StoredBatch, after: int = 0) -> BatchRequest | None:
        """The next request without a result, behind the request with the id `after`; None at the end."""
        start = max(after + 1, batch.number * _SPAN)
        row = self._database.row(
            "SELECT id, custom_id, body FROM requests WHERE id >= ? AND id < ? AND kind = '' ORDER BY id LIMIT 1",
            (start, (batch.number + 1) * _SPAN),
        )
        return None if row is None else BatchRequest(*row)

    def results(self, batch: StoredBatch) -> Iterator[Sequence[BatchResult]]:
        """All requests of a batch with their results, in pages. Each page is read when it is needed."""
        start, end = batch.number * _SPAN, (batch.number + 1) * _SPAN
        while sizes := self._database.rows(
            "SELECT id, CASE kind WHEN '' THEN 0 ELSE length(body) END FROM requests WHERE id >= ? AND id < ?"
            " ORDER BY id LIMIT ?",
            (start, end, _RESULTS),
        ):
            totals = accumulate(size for _, size in sizes)
            last = max(
                (id for (id, _), total in zip(sizes, totals, strict=True) if total <= _RESULT_BYTES),
                default=sizes[0][0],
            )
            rows = self._database.rows(
                "SELECT id, custom_id, kind, status, request_id, CASE kind WHEN '' THEN x'' ELSE body END FROM requests"
                " WHERE id >= ? AND id <= ? ORDER BY id",
                (start, last),
            )
            yield [BatchResult(*row) for row in rows]
            start = last + 1

    def _read(self, number: int) -> StoredBatch:
        return _batch(self._database.rows(f"{_SELECT} WHERE number = ?", (number,))[0])

    def _batch(self, where: str, value: object) -> StoredBatch | None:
        row = self._database.row(f"{_SELECT} WHERE {where}", (value,))
        return None if row is None else _batch(row)

    # ---------------------------------------------------------------------------------------------------------- change

    def finish(self, outcomes: Sequence[tuple[BatchRequest, BatchOutcome]]) -> None:
        """Store results. A request that has one, or whose batch has ended, keeps what it has."""
        database = self._database
        with database.change():
            for request, outcome in outcomes:
                number = request.id // _SPAN
                changed = database.run(
                    "UPDATE requests SET kind = ?, status = ?, request_id = ?, body = ? WHERE id = ? AND kind = ''"
                    " AND EXISTS (SELECT 1 FROM batches WHERE number = ? AND state = 'ready')",
                    (outcome.kind, outcome.status, outcome.request_id, outcome.body, request.id, number),
                )
                if changed:
                    database.run(
                        "UPDATE batches SET succeeded = succeeded + ?, errored = errored + ?, size = size + ?"
                        " WHERE number = ?",
                        (
                            outcome.kind == "succeeded",
                            outcome.kind == "errored",
                            len(outcome.body) - len(request.body),
                            number,
                        ),
                    )

    def cancel(self, id: str, owner: str | None, api: BatchApi | None, now: float) -> StoredBatch:
        """Request the cancellation of a batch; a second time changes nothing. Raises LookupError, and ValueError when the
        batch has ended."""
        with self._database.change():
            batch = self.get(id, owner, api)
            if batch.state == "ended":
                raise ValueError(f"Batch {id} has ended, so it cannot be cancelled.")
            if not batch.canceled:
                self._database.run("UPDATE batches SET canceled = ? WHERE number = ?", (now, batch.number))
            return self.get(id, owner, api)

    def end(self, batch: StoredBatch, rest: Rest, now: float, detail: str | None = None) -> None:
        """End a batch. `rest` is what became of the requests without a result.

        `detail` replaces that of its API: then its results are files, and removed here.
        """
        archived = 0 if detail is None else now
        with self._database.change():
            self._database.run(
                "UPDATE batches SET state = 'ended', ended = ?, rest = ?, archived = ?, detail = coalesce(?, detail)"
                " WHERE number = ? AND state = 'ready'",
                (now, rest, archived, detail, batch.number),
            )

    def fail(self, batch: StoredBatch, detail: str, now: float) -> StoredBatch:
        """End a batch that is being created: it is invalid, for the reason in its `detail`. Its requests are removed."""
        with self._database.change():
            self._database.run(
                "UPDATE batches SET state = 'ended', ended = ?, archived = ?, total = 0, size = max(size, 1), detail = ?"
                " WHERE number = ?",
                (now, now, detail, batch.number),
            )
        with self._lock:
            self._creating.pop(batch.number, None)
        return self._read(batch.number)

    def delete(self, id: str, owner: str | None, api: BatchApi | None = None) -> StoredBatch:
        """Delete a batch that has ended. Raises LookupError, and ValueError while it is in progress."""
        with self._database.change():
            batch = self.get(id, owner, api)
            if batch.state != "ended":
                raise ValueError(f"Batch {id} is in progress. Cancel it before you delete it.")
            self._database.run("UPDATE batches SET state = 'deleted' WHERE number = ?", (batch.number,))
        return batch

    def clean_up(self, now: float, keep_days: int) -> bool:
        """Remove a part of what is deleted or too old. Returns whether there is more: then call it again after a pause."""
        database = self._database
        is_removed = False
        with database.change():
            database.run(
                "UPDATE batches SET archived = ? WHERE state = 'ended' AND archived = 0 AND created < ?",
                (now, now - keep_days * _DAY),
            )
            database.run(
                # Of each owner: a client that creates many removes only its own.
                "UPDATE batches SET state = 'deleted' WHERE number IN (SELECT number FROM (SELECT number, row_number()"
                " OVER (PARTITION BY owner ORDER BY number DESC) AS place FROM batches WHERE state = 'ended')"
                " WHERE place > ?)",
                (MOST_BATCHES,),
            )
            row = database.row(
                "SELECT number, state FROM batches WHERE state = 'deleted' OR (archived > 0 AND size > 0) LIMIT 1"
            )
            if row is not None:
                number, state = row
                start = number * _SPAN
                removed = database.run(
                    "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE id >= ? AND id < ? LIMIT ?)",
                    (start, start + _SPAN, _STEP),
                )
                is_removed = removed < _STEP
                if is_removed:
                    if state == "deleted":
                        database.run("DELETE FROM batches WHERE number = ?", (number,))
                    else:
                        database.run("UPDATE batches SET size = 0 WHERE number = ?", (number,))
        if is_removed:
            # Until then the log of the database has the old content, and the file its old size.
            database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return row is not None


def _batch(row: Sequence[Any]) -> StoredBatch:
    values = dict(zip(StoredBatch.__struct_fields__, row, strict=True))
    values["from_socket"] = bool(values["from_socket"])
    return StoredBatch(**values)
