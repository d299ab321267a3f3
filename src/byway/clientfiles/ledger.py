"""What Byway has changed in settings files of other programs, with everything that undoes it: a private file in the data folder.

It contains the values that were replaced, which may be keys of the user. They are nowhere else, so they have to be kept
until the change is undone.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway import platform
from byway.clientfiles.changes import FileFormat, KeyReceipt
from byway.clientfiles.files import ClientFileError
from byway.decoding import DECODE_ERRORS

FILE: Final = "client-changes.json"
_LOCK: Final = "client-changes.lock"
#: Changes that are listed at most.
HISTORY_LIMIT: Final = 50
#: Files that can be changed at the same time.
_FILES_LIMIT: Final = 100


class FileReceipt(Struct, frozen=True, omit_defaults=True):
    """A change of one file, which can be undone."""

    target: str
    """The name of the target, such as `claude`; `doctor` for a fix."""
    file: str
    """As the program names it."""
    form: FileFormat
    endpoint: str
    """The name of the endpoint."""
    base_url: str
    at: datetime.datetime
    """In UTC."""
    keys: tuple[KeyReceipt, ...]
    salt: str
    """Of the fingerprints."""
    url_path: tuple[Any, ...] = ()
    created: bool = False
    """There was no file before."""
    folders: tuple[str, ...] = ()
    """The folders that were created with it."""
    key: str = ""
    """The id of Byway's key that was created for the client; it is revoked when the change is undone."""
    mode: int = -1
    """The permissions before, when they were changed; -1 otherwise."""


class ChangeEntry(Struct, frozen=True, omit_defaults=True):
    """A line of the history. It contains no value."""

    at: datetime.datetime
    action: str
    """`connect`, `disconnect` or `fix`."""
    target: str
    file: str
    endpoint: str
    keys: tuple[str, ...]


class LedgerContent(Struct, frozen=True, omit_defaults=True):
    """The content of the file."""

    files: tuple[FileReceipt, ...] = ()
    history: tuple[ChangeEntry, ...] = ()
    """The last changes, newest first."""

    def receipt(self, target: str, file: Path) -> FileReceipt | None:
        """The receipt of a target's file; None when Byway has not changed it."""
        for receipt in self.files:
            if receipt.target == target and receipt.file == str(file):
                return receipt
        return None

    def with_receipt(self, receipt: FileReceipt) -> LedgerContent:
        """With the receipt in place of the one for the same target and file. Raises ClientFileError when it is full."""
        files = self.without(receipt).files
        if len(files) >= _FILES_LIMIT:
            raise ClientFileError(f"Byway has changed {_FILES_LIMIT} files already. Undo some: byway disconnect")
        return msgspec.structs.replace(self, files=(*files, receipt))

    def without(self, receipt: FileReceipt) -> LedgerContent:
        """Without the receipt for the same target and file."""
        same = (receipt.target, receipt.file)
        files = tuple(other for other in self.files if (other.target, other.file) != same)
        return msgspec.structs.replace(self, files=files)

    def with_entry(self, entry: ChangeEntry) -> LedgerContent:
        """With a line more in the history."""
        return msgspec.structs.replace(self, history=(entry, *self.history)[:HISTORY_LIMIT])


class Ledger:
    """The file in one data folder. Calls block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / FILE

    def read(self) -> LedgerContent:
        """The content; a new one when there is no file. Raises ClientFileError when it cannot be used."""
        try:
            return msgspec.json.decode(platform.read_private(self.path), type=LedgerContent)
        except FileNotFoundError:
            return LedgerContent()
        except platform.UnsafeFile as error:
            raise ClientFileError(str(error)) from None
        except OSError as error:
            raise ClientFileError(f"Cannot read {self.path}: {error.strerror}.") from None
        except DECODE_ERRORS as error:
            raise ClientFileError(
                f"{self.path} is damaged ({error}). It contains what `byway disconnect` restores: restore it from a "
                "backup, or move it away and change the client's settings by hand."
            ) from None

    @contextlib.contextmanager
    def change(self) -> Iterator[tuple[LedgerContent, Callable[[LedgerContent], None]]]:
        """The content, and a function that replaces it. Other Byway processes wait meanwhile. Raises ClientFileError."""
        try:
            lock = platform.private_folder(self._folder) / _LOCK
            with platform.exclusive(lock):
                yield self.read(), self._save
        except OSError as error:
            raise ClientFileError(f"Cannot write {self.path}: {error.strerror or error}.") from None

    def _save(self, content: LedgerContent) -> None:
        data = msgspec.json.format(msgspec.json.encode(content)) + b"\n"
        if len(data) > platform.PRIVATE_LIMIT:
            # It could not be read any more, and nothing could be undone.
            raise ClientFileError(
                f"What undoes the change needs more than {platform.PRIVATE_LIMIT >> 20} MiB in {self.path}. Undo some changes: "
                "byway disconnect"
            )
        platform.write_private(self.path, data)


def now() -> datetime.datetime:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
