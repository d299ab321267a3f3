"""UsageRecorder: takes the usage of requests, and keeps it in the journal until the database has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from byway.usage.journal import UsageJournal
from byway.usage.names import AgentSet, NameSet
from byway.usage.record import UsageRecord
from byway.usage.writer import Retention, UsageDatabase, UsageStatus, UsageWriter

#: Different tags and client programs of one process. Further ones are counted as `(other)`.
MOST_TAGS: Final = 1_000
MOST_AGENTS: Final = 100


class UsageRecorder:
    """Records the usage of requests. `add` may be called by the event loop; `flush` and `stop` wait for the disk."""

    def __init__(self, folder: Path, database: UsageDatabase, failure: type[Exception]) -> None:
        """`folder` is the data folder. `failure` is what the database raises when it cannot be used."""
        self.retention = Retention(90, 730)
        self.tag_header = b""
        """The request header, in lower case, whose value is the tag; empty: requests have no tag."""
        self._journal = UsageJournal(folder)
        self.add: Callable[[UsageRecord], None] = self._journal.append
        """Records a request. The operating system has the record when it returns."""
        self._writer = UsageWriter(self._journal, database, failure, lambda: self.retention)
        self._tags = NameSet(MOST_TAGS)
        self.agents = AgentSet(MOST_AGENTS)
        """The client programs, by the header `User-Agent`."""

    def start(self) -> None:
        """Start to move records to the database, beginning with those of an earlier process."""
        self._writer.start()

    def stop(self) -> None:
        """Move the last records, and end."""
        self._writer.stop()

    def flush(self) -> None:
        """Move all records to the database, so that queries contain them."""
        self._writer.flush()

    @property
    def status(self) -> UsageStatus:
        """Whether records reach the database."""
        return self._writer.status

    def tag(self, headers: Mapping[bytes, bytes]) -> str:
        """The tag of a request with these headers."""
        return self._tags[headers[self.tag_header]] if self.tag_header in headers else ""
