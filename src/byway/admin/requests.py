"""The last requests, for people who ask: did my client reach Byway, and what happened? In memory only, without prompts."""

from __future__ import annotations

import datetime
import time
from collections import deque
from typing import Final, NamedTuple

import msgspec

from byway.display import latency

#: So many are remembered.
MOST: Final = 500


class RequestLine(msgspec.Struct, omit_defaults=True, gc=False):
    """The log line of a request."""

    id: str
    method: str
    path: str
    status: int
    ms: float
    key: str = ""
    session: str = ""
    asked: str = ""
    alias: str = ""
    backend: str = ""
    model: str = ""
    first_ms: float | None = None
    """To the first content event."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    estimated: bool = False
    """The tokens are Byway's guess: the backend gave no usage."""
    stop: str = ""
    tries: int = 1
    probe: bool = False
    """Byway itself has sent it, to test its own endpoint."""
    problem: str = ""
    upstream_status: int | str | None = None
    reason: str = ""


class RequestEntry(RequestLine, frozen=False, kw_only=True, omit_defaults=True, gc=False):
    """A request as the admin API returns it."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    error: str
    """The error that the client received; empty when all went well."""


class RecentRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that has ended. `error` is what the client was told, cleared of secrets; empty when all went well."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    line: RequestLine
    error: str


class RequestRow(NamedTuple):
    """A request as it is shown, on the page and by `byway requests`."""

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


def row(seen: RecentRequest) -> RequestRow:
    """One request in words and figures."""
    line = seen.line
    at = datetime.datetime.fromtimestamp(seen.at).astimezone()
    cached = ""
    if line.cached_tokens is not None and line.input_tokens is not None and line.cached_tokens + line.input_tokens:
        cached = f"{100 * line.cached_tokens / (line.cached_tokens + line.input_tokens):.0f} %"
    prompt = None if line.input_tokens is None else line.input_tokens + (line.cached_tokens or 0)
    guess = "~" if line.estimated else ""
    state = "good" if line.status < 400 and not seen.error else "warn" if line.status in (429, 499, 503, 529) else "bad"
    return RequestRow(
        seen.number,
        at.strftime("%H:%M:%S"),
        "probe" if line.probe else line.session[:8],
        line.asked,
        line.alias,
        f"{line.backend}/{line.model}" if line.model else line.backend,
        line.status,
        state,
        "" if prompt is None else f"{guess}{prompt:,}",
        "" if line.output_tokens is None else f"{guess}{line.output_tokens:,}",
        cached,
        "" if line.first_ms is None else latency(line.first_ms),
        latency(line.ms),
        seen.error or ("the client left before the answer was whole" if line.status == 499 else ""),
        line.path,
    )


class RecentRequests:
    """The newest requests. Numbers rise by one, so that a reader can ask for what it has not seen."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[RecentRequest] = deque(maxlen=MOST)

    def add(self, line: RequestLine, error: str) -> None:
        self.count += 1
        self._kept.append(RecentRequest(self.count, time.time(), line, error))

    def newest(self, most: int = MOST) -> list[RecentRequest]:
        """The last `most`, newest first."""
        return list(self._kept)[: -most - 1 : -1]

    def find(self, number: int) -> RecentRequest | None:
        """One of them; None when it is forgotten."""
        return next((one for one in self._kept if one.number == number), None)


def recent_requests(recent: RecentRequests, after: int = 0) -> list[RequestEntry]:
    """The last requests, newest first; with `after`, those with a higher number."""
    return [
        RequestEntry(**msgspec.structs.asdict(request.line), number=request.number, at=request.at, error=request.error)
        for request in recent.newest()
        if request.number > after
    ]
