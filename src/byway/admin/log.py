"""The newest lines of the log: filtered by level and text, with the request that a line belongs to."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from byway.admin.requests import RecentRequests
from byway.logs import LogLine, RecentLines

LogLevel = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")
#: Lines that are returned at once.
MOST_LINES: Final = 2_000


class LogEntry(Struct, frozen=True, omit_defaults=True):
    """A line of the log."""

    number: int
    at: float
    """Seconds since the epoch."""
    level: str
    message: str
    fields: dict[str, Any]
    request: int = 0
    """The number of the request in the list of last requests; 0 when it belongs to none."""

    @property
    def text(self) -> str:
        """The fields as text."""
        return " ".join(f"{name}={value}" for name, value in self.fields.items() if name != "trace")


class LogPage(Struct, frozen=True):
    """Lines of the log, oldest first."""

    lines: tuple[LogEntry, ...]
    newest: int
    """The number of the newest line of the log: pass it as `after` for those that follow."""


def read_log(
    recent: RecentLines,
    requests: RecentRequests,
    *,
    level: LogLevel = "debug",
    search: str = "",
    after: int = 0,
    limit: int = 200,
) -> LogPage:
    """The last `limit` lines of at least `level` that contain `search` in any case, and have a higher number than `after`."""
    newest, least, wanted = recent.count, LEVELS.index(level), search.casefold()
    # A process that was restarted begins again with 1.
    after = after if after <= newest else 0
    lines: list[LogLine] = []
    for line in recent.after(after):
        if len(lines) >= min(limit, MOST_LINES):
            break
        rank = LEVELS.index(line.level) if line.level in LEVELS else 1
        if rank >= least and (not wanted or wanted in _searched(line)):
            lines.append(line)
    numbers = {request.line.id: request.number for request in requests.newest()} if lines else {}
    entries = (
        LogEntry(
            line.number, line.at, line.level, line.message, line.fields, numbers.get(str(line.fields.get("id")), 0)
        )
        for line in reversed(lines)
    )
    return LogPage(tuple(entries), newest)


def _searched(line: LogLine) -> str:
    fields = " ".join(f"{name}={value}" for name, value in line.fields.items())
    return f"{line.level} {line.message} {fields}".casefold()
