"""The page Log: the newest lines, with a filter, as they arrive."""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from byway.admin.log import LEVELS, LogEntry, LogLevel
from byway.routes.context import RequestContext, Route, is_htmx
from byway.routes.log import log_page
from byway.ui.page import Form, parse_number, query_fields, send_card, send_page

#: Lines that the page shows at first, and that arrive at once.
_SHOWN: Final = 300
_CHOICES: Final = [
    ("debug", "all levels"),
    ("info", "info and above"),
    ("warning", "warnings and errors"),
    ("error", "errors"),
]


class LogRow(NamedTuple):
    """A line as text."""

    entry: LogEntry
    day: str
    clock: str
    """In UTC, with milliseconds."""
    trace: str
    kind: str
    """The level, or `failed` for a request that the client got an error for."""
    fields: tuple[tuple[str, str], ...]


async def index(context: RequestContext) -> None:
    """Send the page, or the card with another filter."""
    data = await _lines(context, query_fields(context), 0)
    if is_htmx(context):
        await send_card(context, "log", "all", **data)
        return
    await send_page(
        context,
        "log",
        "Log",
        here="/log",
        lead="What Byway does, line by line, from memory. It contains no prompts, answers or secrets.",
        **data,
    )


async def more(context: RequestContext) -> None:
    """Send the lines that have arrived since."""
    fields = query_fields(context)
    await send_card(context, "log", "more", **await _lines(context, fields, parse_number(fields["after"])))


async def _lines(context: RequestContext, fields: Form, after: int) -> dict[str, Any]:
    typed = fields["level"]
    level: LogLevel = typed if typed in LEVELS else "debug"
    search = fields["search"].strip()[:200]
    page = await log_page(context, level, search, after, _SHOWN)
    return {
        "rows": [_row(entry) for entry in page.lines],
        "newest": page.newest,
        "level": level,
        "levels": _CHOICES,
        "search": search,
        "query": urlencode({"level": level, "search": search, "after": page.newest}),
    }


def _row(entry: LogEntry) -> LogRow:
    moment = time.gmtime(entry.at)
    clock = f"{time.strftime('%H:%M:%S', moment)}.{int(entry.at * 1000) % 1000:03d}"
    fields = tuple((name, str(value)) for name, value in entry.fields.items() if name != "trace")
    status = entry.fields.get("status")
    kind = "failed" if entry.level == "info" and isinstance(status, int) and status >= 400 else entry.level
    return LogRow(entry, time.strftime("%Y-%m-%d", moment), clock, str(entry.fields.get("trace", "")), kind, fields)


ROUTES = (Route("GET", "/log", index, "admin", "page"), Route("GET", "/log/more", more, "admin", "page"))
