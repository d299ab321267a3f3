"""Uploaded files of all owners: listing them, and deleting one."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

from msgspec import Struct

from byway.files.service import FileService
from byway.problems import Problem
from byway.store import StoreProtocol
from byway.store.files import FileRecord, FileTotals
from byway.store.records import moment, optional_moment


class FileInfo(Struct, frozen=True):
    """An uploaded file."""

    id: str
    owner: str
    """`account:ID` or `key:ID`; empty for clients without a key."""
    filename: str
    media_type: str
    size: int
    """Bytes."""
    purpose: str
    """OpenAI's `purpose`; empty for a file of Anthropic's API."""
    created_at: datetime.datetime
    expires_at: datetime.datetime | None


class FilePage(Struct, frozen=True):
    """Files of clients, the newest first, and what each owner has."""

    files: tuple[FileInfo, ...]
    more: bool
    """There are older files."""
    owners: tuple[FileTotals, ...]
    """The owners with the most bytes."""
    problem: str
    """Why the storage could not be used the last time; empty when it could."""


async def list_files(files: FileService, owner: str | None, limit: int) -> FilePage:
    """The newest files of an owner, or of all. Raises Problem."""

    def read() -> tuple[list[FileRecord], Sequence[FileTotals]]:
        return files.records.page(owner, time.time(), limit + 1), files.records.owners()

    problem = files.problem
    records, owners = await files.call(read)
    shown = tuple(file_info(record) for record in records[:limit])
    return FilePage(shown, len(records) > limit, tuple(owners), problem)


async def delete_file(files: FileService, store: StoreProtocol, id: str, who: str) -> FileInfo:
    """Delete a file of any owner, and its bytes. Raises Problem `not_found`."""

    def remove() -> FileRecord | None:
        record = files.remove(id)
        if record is not None:
            store.add_audit_entry(who, "file deleted", f"{id} of {record.owner or 'clients without a key'}")
        return record

    record = await files.call(remove)
    if record is None:
        raise Problem("not_found", f"There is no file {id[:100]!r}. To list the files: byway files list")
    return file_info(record)


def file_info(record: FileRecord) -> FileInfo:
    """What an administrator gets of a file."""
    return FileInfo(
        record.id,
        record.owner,
        record.filename,
        record.media_type,
        record.size,
        record.purpose,
        moment(record.created),
        optional_moment(record.expires),
    )
