"""Reads and replaces settings files of other programs: respects symbolic links, locks, permissions, concurrent changes."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform
from byway.clientfiles.jsonc import SIZE_LIMIT

#: Seconds to wait for a lock, and the age at which a lock was left by a killed process. These are the defaults of npm's
#: `proper-lockfile`, which Claude Code uses for its own files: a folder `FILE.lock` beside the file.
_LOCK_WAIT: Final = 3.0
_LOCK_STALE: Final = 10.0
_PAUSE: Final = 0.05


class ClientFileError(Exception):
    """A settings file cannot be read or changed: which, why, and the next step."""


class ClientFile(NamedTuple):
    """A settings file as it was read."""

    path: Path
    """As the program names it."""
    real: Path
    """The file itself, behind symbolic links."""
    data: bytes
    """Empty when there is no file."""
    stat: os.stat_result | None
    """None when there is no file."""

    @property
    def exists(self) -> bool:
        return self.stat is not None

    @property
    def text(self) -> str:
        """The text. Raises ClientFileError when it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise ClientFileError(
                f"{self.path} is not UTF-8 text (byte {error.start}). Byway does not change it. Save it as UTF-8."
            ) from None


def read(path: Path) -> ClientFile:
    """Read a file. Raises ClientFileError for anything but a regular file of this user."""
    try:
        real = path.resolve(strict=False)
        if path.is_symlink() and not real.exists():
            raise ClientFileError(f"{path} is a symbolic link to {real}, which does not exist. Correct the link.")
        opened = os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return ClientFile(path, real, b"", None)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its symbolic links form a loop"
        raise ClientFileError(f"Cannot read {path}: {reason}.") from None
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise ClientFileError(f"{path} is not a regular file. Byway does not change it.")
        if status.st_size > SIZE_LIMIT:
            raise ClientFileError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB. Byway does not change it.")
        with os.fdopen(os.dup(opened), "rb") as file:
            return ClientFile(path, real, file.read(SIZE_LIMIT + 1), status)
    finally:
        os.close(opened)


def check_writable(file: ClientFile) -> None:
    """Raise ClientFileError when the file is read-only or belongs to another user. Replacing it would ignore both."""
    if file.stat is None:
        return
    if not file.stat.st_mode & stat.S_IWUSR:
        raise ClientFileError(f"{file.real} is read-only. To let Byway change it: chmod u+w {file.real}")
    if not platform.is_own(file.stat):
        raise ClientFileError(f"{file.real} belongs to another user. Change it as that user.")


def write(file: ClientFile, data: bytes, mode: int | None = None) -> None:
    """Replace a file that was read, or create it. The caller holds `locked`. Raises ClientFileError.

    `mode`: its permissions, else those that it has; a new file is private. Fails when it changed since it was read.
    """
    current = read(file.path)
    if (current.exists, current.data) != (file.exists, file.data):
        raise ClientFileError(f"{file.path} was changed by another program in the meantime. Run the command again.")
    check_writable(file)
    try:
        if current.stat is None:
            platform.write_private(file.real, data, mode=mode or 0o600)
        else:
            kept = mode if mode is not None else stat.S_IMODE(current.stat.st_mode)
            platform.write_private(file.real, data, like=current.stat, mode=kept)
    except OSError as error:
        raise ClientFileError(f"Cannot write {file.real}: {error.strerror}.") from None


def delete(file: ClientFile) -> None:
    """Delete a file that was read. The caller holds `locked`. Raises ClientFileError."""
    if read(file.path).data != file.data:
        raise ClientFileError(f"{file.path} was changed by another program in the meantime. Run the command again.")
    check_writable(file)
    try:
        file.real.unlink(missing_ok=True)
    except OSError as error:
        raise ClientFileError(f"Cannot delete {file.real}: {error.strerror}.") from None


def missing_folders(path: Path) -> list[Path]:
    """The folders above `path` that do not exist, the outermost first."""
    folders: list[Path] = []
    for folder in path.parents:
        if folder.exists():
            break
        folders.insert(0, folder)
    return folders


def create_folders(folders: list[Path]) -> None:
    """Create private folders. Raises ClientFileError."""
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ClientFileError(f"Cannot create {folder}: {error.strerror}.") from None


def remove_folders(folders: list[str]) -> None:
    """Remove folders that are empty, the innermost first."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


@contextlib.contextmanager
def locked(file: ClientFile) -> Iterator[None]:
    """Hold the lock of a file, as programs of npm's `proper-lockfile` do. Blocks for seconds. Raises ClientFileError."""
    lock = file.real.with_name(f"{file.real.name}.lock")
    _acquire(lock, file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.rmdir()


def _acquire(lock: Path, file: ClientFile) -> None:
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            lock.mkdir(mode=0o700)
            return
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > _LOCK_STALE:
                    lock.rmdir()
                    continue
        except OSError as error:
            raise ClientFileError(f"Cannot write beside {file.real}: {error.strerror}.") from None
        if time.monotonic() > deadline:
            raise ClientFileError(f"Another program has locked {file.real} ({lock}). Try again, or remove that lock.")
        time.sleep(_PAUSE)
