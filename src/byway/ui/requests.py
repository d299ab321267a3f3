"""Recent requests, live: did my client reach Byway, and what happened?"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from byway.endpoints import Ask, Routes
from byway.problems import Problem
from byway.recent import Seen
from byway.ui import Said, part, query, show

#: So many are shown.
_SHOWN = 100


class Row(NamedTuple):
    """A request as it is shown."""

    number: int
    at: str
    session: str
    asked: str
    alias: str
    target: str
    status: int
    state: str
    tokens_in: str
    tokens_out: str
    cached: str
    first: str
    whole: str
    error: str
    path: str


def row(seen: Seen) -> Row:
    """One request in words and figures."""
    line = seen.line
    at = datetime.datetime.fromtimestamp(seen.at).astimezone()
    cached = ""
    if line.cached_tokens is not None and line.input_tokens is not None and line.cached_tokens + line.input_tokens:
        cached = f"{100 * line.cached_tokens / (line.cached_tokens + line.input_tokens):.0f} %"
    prompt = None if line.input_tokens is None else line.input_tokens + (line.cached_tokens or 0)
    guess = "~" if line.estimated else ""
    state = "good" if line.status < 400 and not seen.error else "warn" if line.status in (429, 499, 503, 529) else "bad"
    return Row(
        seen.number,
        at.strftime("%H:%M:%S"),
        line.session[:8],
        line.asked,
        line.alias,
        f"{line.backend}/{line.model}" if line.model else line.backend,
        line.status,
        state,
        "" if prompt is None else f"{guess}{prompt:,}",
        "" if line.output_tokens is None else f"{guess}{line.output_tokens:,}",
        cached,
        "" if line.first_ms is None else _time(line.first_ms),
        _time(line.ms),
        seen.error or ("the client left before the answer was whole" if line.status == 499 else ""),
        line.path,
    )


def _time(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def _data(ask: Ask) -> dict[str, Any]:
    recent = ask.app.recent
    return {"rows": [row(one) for one in recent.newest(_SHOWN)], "count": recent.count}


async def index(ask: Ask) -> None:
    """The page."""
    await show(
        ask,
        "requests",
        "Requests",
        here="/requests",
        lead="What clients asked of this Byway, newest first. No prompts, no answers, and nothing of it on the disk.",
        **_data(ask),
    )


async def rows(ask: Ask) -> None:
    """The table again, where there is something that the page has not seen."""
    if query(ask)["after"] == str(ask.app.recent.count):
        await ask.begin(204, [])
        await ask.send({"type": "http.response.body", "body": b""})
        return
    await part(ask, "requests", "table", **_data(ask))


async def one(ask: Ask) -> None:
    """Everything that is known of one request."""
    number = int(ask.tail) if ask.tail.isascii() and ask.tail.isdigit() and len(ask.tail) < 12 else 0
    seen = ask.app.recent.find(number)
    if seen is None:
        raise Problem("not_found", "That request is not remembered any more.")
    line = seen.line
    fields = [(name, getattr(line, name)) for name in line.__struct_fields__]
    said = Said("bad", f"HTTP {line.status}", seen.error) if seen.error else None
    await show(
        ask,
        "request",
        f"Request {line.id}",
        here="/requests",
        said=said,
        row=row(seen),
        fields=[(name.replace("_", " "), value) for name, value in fields if value not in (None, "", False)],
    )


ROUTES: Routes = (("GET", "/requests", index), ("GET", "/requests/rows", rows), ("GET", "/requests/*", one))
