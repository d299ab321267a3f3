"""FileStorage: where the bytes of files are kept. `disk` and `bucket` implement it.

All calls block, so they run in threads. What belongs to which name is recorded elsewhere (`store.files`): a name without a
record is removed at the next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

#: Bytes that are read or written at once: memory for each upload and download.
PIECE: Final = 256 << 10


class StorageError(Exception):
    """The storage cannot be used, in words for the operator. `full`: there is no space left."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class StorageWriter(Protocol):
    """A file that is being written. It can be opened by its name after `commit` only."""

    def write(self, data: bytes) -> None:
        """Add bytes. Raises StorageError."""

    def commit(self) -> None:
        """Complete the file: when this returns, a crash does not lose it. Raises StorageError."""

    def abort(self) -> None:
        """Remove what was written, unless it was committed. It may be called twice, and raises nothing."""


class StorageReader(Protocol):
    """An open file. It can be read to its end even when it is removed meanwhile."""

    def read(self, size: int = PIECE) -> bytes:
        """The next bytes, at most `size`; empty at the end. Raises StorageError."""

    def close(self) -> None:
        """Release it. It may be called twice."""


class FileStorage(Protocol):
    """Files by name. A name has 1 to 100 of the characters `A-Z a-z 0-9 _ -`."""

    def create(self, name: str) -> StorageWriter:
        """Begin a file. Raises StorageError."""

    def open(self, name: str) -> StorageReader | None:
        """Open a file; None when there is none. Raises StorageError."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one. Raises StorageError."""

    def names(self) -> Iterator[str]:
        """The names of all files, and of those that a crash left incomplete. Raises StorageError."""
