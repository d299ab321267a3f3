"""UsageWriter: a thread that moves the lines of the journal to the database, at least once a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from byway.logs import log, log_exception
from byway.usage.journal import FOLDER_NAME, JournalFile, UsageJournal, journal_files
from byway.usage.record import UsageRecord, from_lines

#: Seconds between two looks at the journal.
INTERVAL: Final = 1.0
#: Seconds between two attempts while the database cannot be used: the first, and the most.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
#: Bytes of the journal in one transaction: some 800 records, which take a few milliseconds.
_CHUNK: Final = 1 << 18
#: Seconds between two looks for records that are too old.
_RETENTION_INTERVAL: Final = 60.0
#: Seconds by which the clock may be ahead of the time since the start of the process. Records are not removed because of
#: a clock that has jumped.
_CLOCK_TOLERANCE: Final = 3600.0


class UsageDatabase(Protocol):
    """Where the records go: `byway.store.UsageStore`. Methods raise an exception of the type that the writer is given."""

    def add(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> int: ...
    def position(self, journal: str) -> int: ...
    def keep_journals(self, journals: Sequence[str]) -> None: ...
    def remove_old(self, before: float, before_sums: float) -> bool: ...
    def close(self) -> None: ...


class Retention(NamedTuple):
    """Days for which records, and the sums per hour and day, are kept."""

    records: int
    sums: int


class UsageStatus(NamedTuple):
    """Whether records reach the database."""

    problem: str
    """Why they do not; empty while they do."""
    waiting: int
    """Records that are in memory only."""
    lost: int
    """Records that were dropped since the start."""


class UsageWriter:
    """Moves records from a journal to a database. Start it once; `flush` may be called by any thread but the event loop's."""

    def __init__(
        self,
        journal: UsageJournal,
        database: UsageDatabase,
        failure: type[Exception],
        retention: Callable[[], Retention],
    ) -> None:
        """`failure` is what the database raises when it cannot be used."""
        self._journal = journal
        self._database = database
        self._failure = failure
        self._retention = retention
        self._problem = ""
        self._reported = ""
        self._lost = 0
        """Lost records that were logged."""
        self._pause = _FIRST_PAUSE
        self._due = 0.0
        self._positions: dict[str, int] = {}
        """Bytes of each journal file that the database has."""
        self._moved = -1
        """The journal's `appended` at the last complete move."""
        self._tidy = False
        """The database has no positions of files that an earlier process had removed."""
        self._cleaned = 0.0
        self._started = (time.time(), time.monotonic())
        self._work = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def start(self) -> None:
        """Start the thread. It first moves what an earlier process has left."""
        self._thread.start()

    def stop(self) -> None:
        """Move what is left, and end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._move()
        with self._work:
            self._journal.close()
            self._clean_up()
            self._database.close()
        if self._journal.waiting:
            log("Usage records are lost: they could not be written", logging.ERROR, records=self._journal.waiting)

    @property
    def status(self) -> UsageStatus:
        """The state of the journal and the database."""
        problem = self._problem
        if not problem and self._journal.problem:
            problem = f"{self._journal.folder} cannot be written: {self._journal.problem}"
        return UsageStatus(problem, self._journal.waiting, self._journal.lost)

    def flush(self) -> None:
        """Move every record that was appended before the call. A failure is in `status`."""
        if self._moved != self._journal.appended:
            self._move()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                if time.monotonic() >= self._due:
                    self._step()
            except Exception:
                # The thread must go on: requests do not depend on it, and the journal is bounded.
                log_exception("Moving usage records failed unexpectedly. Please report this bug.")
                self._due = time.monotonic() + _LONGEST_PAUSE

    def _step(self) -> None:
        if self._moved != self._journal.appended or self._journal.problem or self._problem:
            self._move()
        self._report()
        now = time.monotonic()
        if now - self._cleaned >= _RETENTION_INTERVAL and not self._problem:
            self._remove_old(now)

    def _move(self) -> None:
        """Move all complete lines to the database."""
        with self._work:
            journal = self._journal
            journal.retry()
            appended = journal.appended
            try:
                for file in journal.files():
                    self._move_file(file)
            except self._failure as error:
                self._failed(str(error))
                return
            except OSError as error:
                self._failed(f"{journal.folder} cannot be read: {error.strerror or error}")
                return
            self._problem = ""
            self._pause = _FIRST_PAUSE
            if not journal.waiting:
                self._moved = appended
            self._clean_up()
            journal.rotate()

    def _failed(self, problem: str) -> None:
        self._problem = problem
        self._due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _move_file(self, file: JournalFile) -> None:
        """Move the lines of one file that the database does not have."""
        if not file.size:
            return
        position = self._positions.get(file.name)
        if position is None:
            position = self._database.position(file.name)
        for moved in _moves(file, self._database, position):
            self._positions[file.name] = moved

    def _clean_up(self) -> None:
        """Remove the complete files that the database has, and forget files that do not exist any more."""
        kept = []
        for file in self._journal.files():
            if file.complete and self._positions.get(file.name, 0) >= file.size:
                self._journal.remove(file)
            else:
                kept.append(file.name)
        if self._positions.keys() <= set(kept) and self._tidy:
            return
        self._positions = {name: position for name, position in self._positions.items() if name in kept}
        try:
            self._database.keep_journals(kept)
        except self._failure as error:
            self._failed(str(error))
        else:
            self._tidy = True

    def _remove_old(self, now: float) -> None:
        """Remove what is older than the retention, in small steps."""
        self._cleaned = now
        clock = min(time.time(), self._started[0] + now - self._started[1] + _CLOCK_TOLERANCE)
        retention = self._retention()
        before = clock - 86_400 * retention.records, clock - 86_400 * retention.sums
        try:
            while not self._stopping.is_set() and self._database.remove_old(*before):
                # Requests and queries come between two steps.
                self._stopping.wait(0.05)
        except self._failure as error:
            self._failed(str(error))

    def _report(self) -> None:
        """Log a failure once, and its end."""
        problem = self.status.problem
        if problem and not self._reported:
            log("Usage records wait in the journal: requests are not affected", logging.ERROR, problem=problem)
        elif self._reported and not problem:
            log("Usage records are written again")
        self._reported = problem
        lost = self._journal.lost
        if lost > self._lost:
            log("Usage records are lost: the journal is full", logging.ERROR, records=lost - self._lost)
            self._lost = lost


def _moves(file: JournalFile, database: UsageDatabase, position: int) -> Iterator[int]:
    """Move the lines of a file from `position`, a part at a time. Yields the positions.

    Lines that are appended meanwhile are left to the next call: following them would make a transaction of every few
    records, each with its own wait for the disk.
    """
    with file.path.open("rb") as lines:
        while True:
            yield position
            lines.seek(position)
            data = lines.read(min(_CHUNK, max(0, file.size - position)))
            end = data.rfind(b"\n") + 1
            if not end:
                if not data or (not file.complete and len(data) < _CHUNK):
                    return
                # The process was killed, or the disk was full, in the middle of a line.
                end = len(data)
            records, damaged = from_lines(data[:end])
            if damaged:
                log("A damaged line of the usage journal was skipped", logging.WARNING, file=str(file.path))
            position = database.add(file.name, position, position + end, records)


def move_journal(folder: Path, database: UsageDatabase) -> None:
    """Move the complete lines of the journal in the data folder to the database, so that a query contains them.

    The journal may belong to a running Byway: its files stay, and positions in the database keep records from being added
    twice. Raises what the database raises, and OSError.
    """
    for file in journal_files(folder / FOLDER_NAME):
        for _ in _moves(file, database, database.position(file.name)):
            pass
