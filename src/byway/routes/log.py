"""`/byway/log`: the newest lines of the log, from memory."""

from __future__ import annotations

from byway.admin.errors import invalid, run
from byway.admin.log import LEVELS, MOST_LINES, LogLevel, LogPage, read_log
from byway.logs import recent_lines
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, number, operation, query

#: Characters of a search.
_LONGEST_SEARCH = 200


async def show(context: RequestContext) -> LogPage:
    """Return the newest lines of the log, oldest first. It contains no prompts, answers or secrets."""
    fields = query(context)
    level = fields.get("level") or "debug"
    if level not in LEVELS:
        raise invalid("level", f"{level[:50]!r} is not one of {', '.join(LEVELS)}")
    after = number(fields.get("after", "0"), "after")
    limit = number(fields.get("lines", "200"), "lines", MOST_LINES)
    return await log_page(context, level, fields.get("search", ""), after, limit)


async def log_page(context: RequestContext, level: LogLevel, search: str, after: int, limit: int) -> LogPage:
    """The lines, read in a thread: formatting two thousand takes some milliseconds."""
    recent, requests, text = recent_lines(), context.gateway.requests, search[:_LONGEST_SEARCH]
    return await run(lambda: read_log(recent, requests, level=level, search=text, after=after, limit=limit))


ROUTES = (
    operation(
        "GET",
        "/byway/log",
        show,
        response=LogPage,
        parameters=(
            Parameter("level", "The lowest level: `debug`, `info`, `warning` or `error`. Default: all."),
            Parameter("search", "Return only lines that contain this text, in any case."),
            Parameter("after", "Return only lines with a higher number.", int),
            Parameter("lines", "The most lines to return, up to 2,000. Default: 200.", int),
        ),
    ),
)
