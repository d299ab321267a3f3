"""FileService: uploads, reads and removes the files of clients, within their limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from byway.config import FileSettings
from byway.files.protocol import PIECE, FileStorage, StorageError, StorageReader, StorageWriter
from byway.files.threads import StorageThreads
from byway.files.types import BINARY, HEAD, media_type
from byway.logs import log
from byway.problems import Problem
from byway.store.database import StoreError
from byway.store.files import FileRecord, FileStore, FileTotals, new_file_id

P = ParamSpec("P")
R = TypeVar("R")

#: Uploads at once. Each holds PIECE bytes of memory twice.
MOST_UPLOADS: Final = 64
#: Uploads of one owner at once, so that a client with slow uploads leaves some to others.
MOST_OF_OWNER: Final = 16
#: Files of one owner.
MOST_FILES: Final = 10_000
#: Seconds between two removals of expired files.
SWEEP_SECONDS: Final = 60.0
#: Seconds that a stop waits for requests of the storage. One of S3 may take five minutes.
CLOSE_SECONDS: Final = 5.0
#: Seconds for which the record of an expired file is kept, so that its id gets a clear error.
_REMEMBERED: Final = 7 * 86_400.0
_FILENAME_LIMIT: Final = 255
#: What a client learns of a failure; the log has the rest.
_UNUSABLE: Final = "The file storage of this Byway cannot be used at the moment; its log has the reason."
_FULL: Final = "The file storage of this Byway is full. Delete files, or free space on its disk."
#: `error.details` of the Messages API for an expired file (type FileExpiredError of the `anthropic` SDK 2.11.0).
_EXPIRED: Final = '{"error_code":"file_expired"}'


class FileService:
    """The files of one running Byway. Its storage is used in a few threads of its own."""

    def __init__(self, records: FileStore, storage: Callable[[str], FileStorage], settings: FileSettings) -> None:
        """`storage` makes the storage below the folder that `records` names. It is called in a thread, with the first use."""
        self.records = records
        self.settings = settings
        self.problem = ""
        """Why the storage could not be used the last time, for the operator; empty when it could."""
        self._make_storage = storage
        self._storage: FileStorage | None = None
        self._lock = threading.Lock()
        self._threads = StorageThreads(4, "files")
        self._uploads: set[str] = set()
        """The ids of uploads in progress."""
        self._leftovers: set[str] = set()
        """Ids of removed files whose bytes could not be removed yet. The next start finds further ones."""
        self._arriving: defaultdict[str, int] = defaultdict(int)
        """Bytes of uploads in progress, by owner."""
        self._uploading: defaultdict[str, int] = defaultdict(int)
        """Uploads in progress, by owner."""

    async def run(self) -> None:
        """Remove what a crash has left behind, then expired files from time to time, until cancelled."""
        await self._tidy(self._remove_orphans)
        while True:
            await self._tidy(self._remove_expired)
            if self._leftovers:
                await self._tidy(self._remove_leftovers)
            await asyncio.sleep(SWEEP_SECONDS)

    async def close(self) -> None:
        """Wait some seconds for calls in progress, and close the database."""
        if not await asyncio.to_thread(self._threads.close, CLOSE_SECONDS):
            log("The file storage does not answer; its requests are abandoned", logging.WARNING)
        self.records.close()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args)` in a thread. A failure of the storage or the database becomes a Problem."""
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except (StorageError, StoreError) as error:
            raise self._failed(error) from None
        self.problem = ""
        return result

    def _failed(self, error: StorageError | StoreError) -> Problem:
        if self.problem != str(error):
            log("The file storage cannot be used", logging.ERROR, problem=str(error))
        self.problem = str(error)
        if isinstance(error, StorageError) and error.full:
            problem = Problem("internal", _FULL, retry=False)
            problem.status = 507
            return problem
        return Problem("internal", _UNUSABLE)

    @property
    def storage(self) -> FileStorage:
        """The storage. It blocks the first time. Raises StoreError or StorageError."""
        with self._lock:
            if self._storage is None:
                self._storage = self._make_storage(self.records.folder())
            return self._storage

    # ------------------------------------------------------------------------------------------------------------- uploads

    async def begin(self, owner: str, prefix: str = "file_") -> Upload:
        """Begin an upload, which must be closed. Raises Problem when there are too many at once."""
        if len(self._uploads) >= MOST_UPLOADS:
            raise Problem(
                "busy", f"{MOST_UPLOADS} files are being uploaded already. Send this one again.", retry_after=5
            )
        if self._uploading[owner] >= MOST_OF_OWNER:
            raise Problem(
                "busy", f"You are uploading {MOST_OF_OWNER} files already. Send this one again.", retry_after=5
            )
        id = new_file_id(prefix)
        # From here on the bytes are no orphans.
        self._uploads.add(id)
        self._uploading[owner] += 1
        try:
            used, everyone = await self.call(lambda: (self.records.used(owner), self.records.used()))
        except BaseException:
            self._uploads.discard(id)
            self._uploaded(owner)
            raise
        return Upload(self, id, owner, used, everyone)

    def _uploaded(self, owner: str) -> None:
        """An upload of this owner receives nothing any more."""
        self._uploading[owner] -= 1
        if self._uploading[owner] <= 0:
            del self._uploading[owner]

    async def store(
        self, owner: str, filename: str, data: bytes, *, purpose: str = "", prefix: str = "file_"
    ) -> FileRecord:
        """Store a file that Byway has made for an owner. Raises Problem."""
        async with contextlib.aclosing(await self.begin(owner, prefix)) as upload:
            upload.name(filename, BINARY)
            await upload.write(data)
            return await upload.finish(purpose=purpose)

    # --------------------------------------------------------------------------------------------------------------- reads

    async def record(self, owner: str, id: str) -> FileRecord:
        """The record of a file of this owner. Raises Problem `not_found` for any other id, in the same words."""
        record = await self.call(self.records.get, id)
        if record is None or record.owner != owner:
            raise Problem(
                "not_found",
                f"File {id[:100]!r} does not exist, was deleted, or belongs to another account or key. "
                "GET /v1/files lists your files.",
            )
        if record.is_expired(time.time()):
            raise _expired(id)
        return record

    async def open(self, record: FileRecord) -> StorageReader:
        """The bytes of a file, which must be closed. Raises Problem `not_found` when they were removed meanwhile."""
        reader = await self.call(lambda: self.storage.open(record.id))
        if reader is None:
            raise Problem("not_found", f"File {record.id!r} was deleted. Upload it again.")
        return reader

    async def read(self, record: FileRecord) -> bytes:
        """All bytes of a file. The caller has checked its size."""
        reader = await self.open(record)

        def read_all() -> bytes:
            with contextlib.closing(reader):
                parts = []
                while part := reader.read(1 << 20):
                    parts.append(part)
                return b"".join(parts)

        return await self.call(read_all)

    async def page(
        self, owner: str, limit: int, *, after: int | None = None, ascending: bool = False, purpose: str | None = None
    ) -> tuple[list[FileRecord], bool]:
        """Some files of an owner by the order of upload, and whether there are more. `after`: the number of the last one."""
        records = await self.call(
            lambda: self.records.page(owner, time.time(), limit + 1, after=after, ascending=ascending, purpose=purpose)
        )
        return records[:limit], len(records) > limit

    # ------------------------------------------------------------------------------------------------------------- removal

    async def delete(self, owner: str, id: str) -> FileRecord:
        """Remove a file of this owner: when this returns its bytes are gone. Raises Problem `not_found`."""
        record = await self.record(owner, id)
        return await self.call(self.remove, record.id) or record

    def remove(self, id: str) -> FileRecord | None:
        """Remove a file of any owner; returns None when there is none. It blocks.

        The record goes first: after a crash the bytes are orphans.
        """
        record = self.records.remove(id)
        if record is not None:
            self._remove_bytes(id)
        return record

    def _remove_bytes(self, id: str) -> None:
        """Remove the bytes of a file without a record. After a failure a later step tries again."""
        try:
            self.storage.remove(id)
        except StorageError:
            if len(self._leftovers) < MOST_FILES:
                self._leftovers.add(id)
            raise
        self._leftovers.discard(id)

    async def _tidy(self, step: Callable[[], int]) -> None:
        """Run a step of the removal in a thread. A failure is logged: the next step tries again."""
        with contextlib.suppress(Problem):
            removed = await self.call(step)
            if removed:
                log("Removed files that have expired or that an upload left incomplete", files=removed)

    def _remove_orphans(self) -> int:
        if not self.records.exists():
            return 0
        removed = 0
        for name in list(self.storage.names()):
            # In this order: an upload adds its record first, and ends then.
            if name not in self._uploads and not self.records.has_bytes(name):
                self.storage.remove(name)
                removed += 1
        return removed

    def _remove_expired(self) -> int:
        if not self.records.exists():
            return 0
        removed = 0
        now = time.time()
        while expired := self.records.expire(now, now - _REMEMBERED):
            for at, record in enumerate(expired):
                try:
                    self._remove_bytes(record.id)
                except StorageError:
                    self._leftovers.update(later.id for later in expired[at:])
                    raise
            removed += len(expired)
        return removed

    def _remove_leftovers(self) -> int:
        leftovers = list(self._leftovers)
        for id in leftovers:
            self._remove_bytes(id)
        return len(leftovers)


class Upload:
    """One file on its way into the storage. `aclose` removes it again, unless it was finished."""

    def __init__(self, service: FileService, id: str, owner: str, used: FileTotals, everyone: FileTotals) -> None:
        self.id = id
        self.owner = owner
        self.size = 0
        self._service = service
        self._used = used
        self._everyone = everyone
        self._filename = ""
        self._declared = BINARY
        self._head = b""
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._lock = threading.Lock()
        """Held while a thread uses the writer: a task can be cancelled while its thread continues."""
        self._writer: StorageWriter | None = None
        self._started = self._finished = self._ended = False

    def name(self, filename: str, content_type: str) -> None:
        """Set the name and the type that the client declares."""
        self._filename = clean_filename(filename)
        self._declared = content_type

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises Problem when the file, its owner or all of them have too many."""
        self.size += len(data)
        self._service._arriving[self.owner] += len(data)
        self.check(0)
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= PIECE:
            await self._flush()

    def check(self, announced: int) -> None:
        """Raise Problem when `announced` bytes more than have arrived are too many."""
        settings, arriving = self._service.settings, self._service._arriving
        if self.size + announced > settings.max_file_size:
            raise Problem(
                "too_large",
                f"The file is over {size_text(settings.max_file_size)}, the limit of this Byway. Split it, or let the "
                "operator raise `files.max_file_size`.",
            )
        if self._used.files >= MOST_FILES:
            raise too_many_files()
        if self._used.bytes + arriving[self.owner] + announced > settings.quota:
            raise over_quota(settings.quota)
        if self._everyone.bytes + sum(arriving.values()) + announced > settings.total_quota:
            raise over_total_quota(settings.total_quota)

    async def _flush(self) -> None:
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        self._started = True
        await self._service.call(self._write, data)

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._written(data)

    def _written(self, data: bytes) -> StorageWriter:
        if self._ended:
            raise StorageError("the upload has ended")
        if self._writer is None:
            self._writer = self._service.storage.create(self.id)
        self._writer.write(data)
        return self._writer

    async def finish(self, *, expires_in: float | None = None, purpose: str = "") -> FileRecord:
        """Store the file: when this returns, it is durable. Raises Problem.

        `expires_in`: seconds from now until it expires; the config may end it earlier.
        """
        if not self.size:
            raise Problem("invalid_request", "file: it is empty. Send a file with content.")
        media = media_type(self._declared, self._filename, self._head)
        settings, now = self._service.settings, time.time()
        spans = [span for span in (expires_in, settings.expires_after or None) if span is not None]
        record = FileRecord(
            self.id,
            self.owner,
            self._filename or f"unnamed{_ENDINGS.get(media, '')}",
            media,
            self.size,
            purpose,
            now,
            now + min(spans) if spans else None,
        )
        self._started = True
        exceeded = await self._service.call(self._commit, record, b"".join(self._buffer))
        if exceeded is not None:
            if exceeded.owner == "*":
                raise over_total_quota(settings.total_quota)
            raise too_many_files() if exceeded.files >= MOST_FILES else over_quota(settings.quota)
        self._finished = True
        return record

    def _commit(self, record: FileRecord, data: bytes) -> FileTotals | None:
        settings = self._service.settings
        with self._lock:
            self._written(data).commit()
            return self._service.records.add(record, settings.quota, settings.total_quota, MOST_FILES)

    async def aclose(self) -> None:
        """End the upload. What is not finished is removed, in a thread: a client that has gone does not wait for it."""
        service = self._service
        arriving = service._arriving
        arriving[self.owner] -= self.size
        if arriving[self.owner] <= 0:
            del arriving[self.owner]
        service._uploaded(self.owner)
        if self._finished or not self._started:
            service._uploads.discard(self.id)
        else:
            # After `close` of the service there are no threads: the next start removes it.
            with contextlib.suppress(RuntimeError):
                service._threads.submit(self._discard)

    def _discard(self) -> None:
        """Remove the bytes of an upload that has failed."""
        with self._lock:
            self._ended = True
            if self._writer is not None:
                self._writer.abort()
        try:
            # It may have been committed before its record was refused.
            if not self._service.records.has_bytes(self.id):
                self._service.storage.remove(self.id)
        except (StorageError, StoreError) as error:
            log("An incomplete upload could not be removed", logging.WARNING, problem=str(error))
        finally:
            self._service._uploads.discard(self.id)


#: The ends of the names of files that come without a name.
_ENDINGS: Final = {
    "application/pdf": ".pdf",
    "application/json": ".json",
    "application/zip": ".zip",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/csv": ".csv",
    "text/plain": ".txt",
}


def clean_filename(text: str) -> str:
    """The last part of a path, without characters that cannot be displayed; at most 255 of them, with its ending."""
    name = "".join(char for char in text.replace("\\", "/").rpartition("/")[2] if char.isprintable()).strip()
    if len(name) > _FILENAME_LIMIT:
        stem, dot, ending = name.rpartition(".")
        ending = dot + ending if dot and len(ending) <= 20 else ""
        name = (stem or name)[: _FILENAME_LIMIT - len(ending)] + ending
    return name


def size_text(size: int) -> str:
    """A number of bytes for a person: `500 MiB`."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size} bytes"


def _expired(id: str) -> Problem:
    return Problem("not_found", f"File {id!r} has expired. Upload it again.", facts={"details": _EXPIRED})


def over_quota(quota: int) -> Problem:
    """The Problem of an owner whose files have too many bytes. The official API has the same status."""
    return Problem(
        "permission",
        f"Your files would have more than {size_text(quota)} together, the limit of this Byway. Delete some of them "
        "(DELETE /v1/files/ID), or let the operator raise `files.quota`.",
        retry=False,
    )


def over_total_quota(quota: int) -> Problem:
    """The Problem of a storage that is full by its settings."""
    return Problem(
        "permission",
        f"The files of all clients would have more than {size_text(quota)} together, the limit of this Byway. Delete some "
        "(DELETE /v1/files/ID), or let the operator raise `files.total_quota`.",
        retry=False,
    )


def too_many_files() -> Problem:
    """The Problem of an owner with too many files."""
    return Problem(
        "permission", f"You have {MOST_FILES} files, the most that Byway keeps. Delete some of them.", retry=False
    )
