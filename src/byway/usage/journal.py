"""UsageJournal: an append-only log of usage records, so that killing the process loses none.

A record is one line, written with one system call before the last bytes of its answer leave. The operating system has it
then, and keeps it when the process is killed. The writer (`byway.usage.writer`) moves the lines to the database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform
from byway.usage.record import UsageRecord, to_lines

FOLDER_NAME: Final = "usage-journal"
_SUFFIX: Final = ".jsonl"
#: Bytes of journal files that wait for the database: about 250,000 records.
MOST_BYTES: Final = 64 << 20
#: Bytes after which a new file is started, so that the old one can be removed.
FILE_BYTES: Final = 1 << 20
#: Records that wait in memory while no file can be written.
MOST_WAITING: Final = 10_000


class JournalFile(NamedTuple):
    """A file of the journal. Its name is unique, over restarts too."""

    name: str
    path: Path
    size: int
    complete: bool
    """Nothing is appended to it any more."""


class UsageJournal:
    """The open journal. Any thread may use it. No method raises OSError: `problem` says why lines are not written."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        """`folder` is the data folder. Files of an earlier process stay until the writer has read them."""
        self.folder = folder / FOLDER_NAME
        self.problem = ""
        """Why the journal cannot be written; empty while it can."""
        self.lost = 0
        """Records that were dropped because the journal was full, or could not be written for too long."""
        self._finished = 0
        """Bytes of the files of this process that are complete."""
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        self._file: int | None = None
        self._name = ""
        self._size = 0
        self._room = most_bytes
        """Bytes that the present file may have: the rest is in complete files."""
        self._waiting: deque[UsageRecord] = deque()
        self._start_file()
        self.files()

    def append(self, record: UsageRecord) -> None:
        """Append a record. The operating system has it when this returns.

        It stays in memory when it cannot be written now, and is dropped when the journal is full.
        """
        line = to_lines((record,))
        with self._lock:
            if self._size >= self._room:
                self.lost += 1
            elif self.problem or self._file is None:
                self._keep(record)
            else:
                try:
                    written = os.write(self._file, line)
                except OSError as error:
                    self.problem = error.strerror or str(error)
                    self._keep(record)
                else:
                    self._size += written
                    if written != len(line):
                        # The rest of the line will not follow: the next line goes to a new file.
                        self.problem = "the disk is full"
                        self._keep(record)

    def _keep(self, record: UsageRecord) -> None:
        """Keep a record in memory until it can be written."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(record)

    @property
    def appended(self) -> int:
        """A number that grows with each record. A writer that has read it finds all lines that are written."""
        return self._finished + self._size + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Records that are in memory only."""
        return len(self._waiting)

    def retry(self) -> None:
        """Write the records that wait in memory to a new file, if there are any. The writer calls it."""
        if self.problem and not self._start_file():
            return
        for _ in range(len(self._waiting)):
            # The lock is given back after each record, so that a request waits for no more than one.
            with self._lock:
                self.append(self._waiting.popleft())
                if self.problem:
                    # It waits again, before the others.
                    self._waiting.rotate(1)
                    return

    def rotate(self) -> None:
        """Start a new file when the present one is large. The writer calls it."""
        if self._size >= FILE_BYTES:
            self._start_file()

    def _start_file(self) -> bool:
        """Open a new file and append to it from now on. Returns False when it cannot be opened."""
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            file = platform.open_log(self._path(name))
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        with self._lock:
            old, self._file = self._file, file
            self._finished += self._size
            self._name, self._size, self.problem = name, 0, ""
        if old is not None:
            os.close(old)
        return True

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def files(self) -> list[JournalFile]:
        """The files, oldest first; the last one is still appended to."""
        current = self._name
        files = [file._replace(complete=file.name != current) for file in journal_files(self.folder)]
        self._room = self._most_bytes - sum(file.size for file in files if file.complete)
        if current and not any(file.name == current for file in files):
            self.problem = "its file was removed"
        return files

    def remove(self, file: JournalFile) -> None:
        """Remove a complete file that the database has."""
        with contextlib.suppress(OSError):
            file.path.unlink()

    def close(self) -> None:
        """Stop appending. An empty file is removed."""
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            os.close(file)
            if self._size == 0:
                with contextlib.suppress(OSError):
                    self._path(self._name).unlink()
            self._name = ""


def journal_files(folder: Path) -> list[JournalFile]:
    """The files of a journal, oldest first. Another process may append to any of them. Raises nothing."""
    files = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.removesuffix(_SUFFIX)
            if name != entry.name and entry.is_file(follow_symlinks=False):
                files.append(JournalFile(name, folder / entry.name, entry.stat().st_size, complete=False))
    return sorted(files)
