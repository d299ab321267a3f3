"""DiskStorage: files in a private folder of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from byway import platform
from byway.files.protocol import PIECE, StorageError

#: The end of the name of a file that is being written.
_PART: Final = ".part"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_FULL: Final = frozenset((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG))


def storage_error(path: Path, error: OSError) -> StorageError:
    """A failure of the system as a StorageError."""
    if error.errno in _FULL:
        return StorageError(f"{path} cannot be written: {error.strerror}. Free some space on its disk.", full=True)
    return StorageError(
        f"{path} cannot be used: {error.strerror or error}. Give this user the right to read and write in its folder."
    )


class DiskStorage:
    """A folder with a file for each name. `FileStorage` describes the methods."""

    def __init__(self, folder: Path) -> None:
        """The folder is created with the first file."""
        self.folder = folder

    def create(self, name: str) -> DiskWriter:
        path = self._path(name)
        try:
            platform.private_folder(self.folder)
            return DiskWriter(path)
        except OSError as error:
            raise storage_error(path, error) from None

    def open(self, name: str) -> DiskReader | None:
        path = self._path(name)
        try:
            return DiskReader(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(path, error) from None

    def remove(self, name: str) -> None:
        path = self._path(name)
        try:
            for file in (path, path.with_name(name + _PART)):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from None

    def names(self) -> Iterator[str]:
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    name = entry.name.removesuffix(_PART)
                    if _NAME.fullmatch(name):
                        yield name
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(self.folder, error) from None

    def _path(self, name: str) -> Path:
        # Names are Byway's own and random; a name of a client would be a path into other folders.
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name of a stored file: {name[:100]!r}")
        return self.folder / name


class DiskWriter:
    """A file that is written under another name until it is complete. `StorageWriter` describes the methods."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + _PART)
        platform.create_private(self._part)
        self._file = self._part.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise storage_error(self._part, error) from None

    def commit(self) -> None:
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            platform.sync_folder(self._path.parent)
        except OSError as error:
            raise storage_error(self._path, error) from None

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._part.unlink(missing_ok=True)


class DiskReader:
    """An open file of the folder. `StorageReader` describes the methods."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)

    def read(self, size: int = PIECE) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise storage_error(self._path, error) from None

    def close(self) -> None:
        self._file.close()
