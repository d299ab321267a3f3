"""The last requests of clients, for the page, the API and the CLI. In memory only, without prompts and answers."""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple

import msgspec

from byway.display import clock, latency

#: Requests that are kept.
RECENT_LIMIT: Final = 500


class RequestLine(msgspec.Struct, omit_defaults=True, gc=False):
    """The log line of a request."""

    id: str
    method: str
    path: str
    status: int
    ms: float
    key: str = ""
    session: str = ""
    requested: str = msgspec.field(default="", name="asked")
    """The model name that the client sent."""
    alias: str = ""
    backend: str = ""
    model: str = ""
    first_ms: float | None = None
    """To the first content event."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    estimated: bool = False
    """Byway estimated the tokens: the backend reported no usage."""
    stop: str = ""
    tries: int = 1
    probe: bool = False
    """Byway itself sent it, to test its own endpoint."""
    problem: str = ""
    upstream_status: int | str | None = None
    reason: str = ""
    account: str = ""


class RequestEntry(RequestLine, frozen=False, kw_only=True, omit_defaults=True, gc=False):
    """A request as the admin API returns it."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    error: str
    """The error that the client received; empty when there was none."""


class RecentRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that has ended. `error` is the error that the client received, without secrets; empty when there was none."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    line: RequestLine
    error: str


class RequestRow(NamedTuple):
    """A request as text, for the page and for `byway requests`."""

    number: int
    at: str
    session: str
    requested: str
    alias: str
    target: str
    status: int
    state: str
    tokens_in: str
    tokens_out: str
    cached: str
    first: str
    total: str
    error: str
    path: str


def row(request: RecentRequest) -> RequestRow:
    """A request as text."""
    line = request.line
    cached = ""
    if line.cached_tokens is not None and line.input_tokens is not None and line.cached_tokens + line.input_tokens:
        cached = f"{100 * line.cached_tokens / (line.cached_tokens + line.input_tokens):.0f} %"
    prompt = None if line.input_tokens is None else line.input_tokens + (line.cached_tokens or 0)
    approximate = "~" if line.estimated else ""
    state = (
        "good" if line.status < 400 and not request.error else "warn" if line.status in (429, 499, 503, 529) else "bad"
    )
    return RequestRow(
        request.number,
        clock(request.at),
        "probe" if line.probe else line.session[:8],
        line.requested,
        line.alias,
        f"{line.backend}/{line.model}" if line.model else line.backend,
        line.status,
        state,
        "" if prompt is None else f"{approximate}{prompt:,}",
        "" if line.output_tokens is None else f"{approximate}{line.output_tokens:,}",
        cached,
        "" if line.first_ms is None else latency(line.first_ms),
        latency(line.ms),
        request.error or ("the client disconnected before the answer was complete" if line.status == 499 else ""),
        line.path,
    )


class RecentRequests:
    """The newest requests. Each has the next number, so that a reader can request only those that it has not read."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[RecentRequest] = deque(maxlen=RECENT_LIMIT)

    def add(self, line: RequestLine, error: str) -> None:
        self.count += 1
        self._kept.append(RecentRequest(self.count, time.time(), line, error))

    def answered(self) -> dict[tuple[str, str], float]:
        """The targets, as (backend, model), that have answered a request without an error, and when they did last."""
        return {
            (request.line.backend, request.line.model): request.at
            for request in self._kept
            if request.line.output_tokens is not None and request.line.status < 400 and not request.error
        }

    def alias_uses(self) -> dict[str, float]:
        """When a client's request last used each alias, failed ones included."""
        return {
            request.line.alias: request.at for request in self._kept if request.line.alias and not request.line.probe
        }

    def of_account(self, account: str | None, limit: int = RECENT_LIMIT) -> list[RecentRequest]:
        """The last `limit` requests of an account, newest first; with None those of all accounts."""
        if account is None:
            return self.newest(limit)
        return [request for request in self.newest() if request.line.account == account][:limit]

    def newest_number(self, account: str | None) -> int:
        """The number of the newest request of an account, or of all accounts; 0 when there is none."""
        if account is None:
            return self.count
        return max((request.number for request in self._kept if request.line.account == account), default=0)

    def by_clients(self) -> list[RecentRequest]:
        """The requests of clients, newest first, without Byway's own tests."""
        return [request for request in self.newest() if not request.line.probe]

    def newest(self, limit: int = RECENT_LIMIT) -> list[RecentRequest]:
        """The last `limit` requests, newest first."""
        return list(self._kept)[: -limit - 1 : -1]

    def find(self, number: int, account: str | None = None) -> RecentRequest | None:
        """The request of that number; None when it is not kept any more, or with `account` belongs to another one."""
        return next(
            (
                request
                for request in self._kept
                if request.number == number and (account is None or request.line.account == account)
            ),
            None,
        )


def recent_requests(recent: RecentRequests, after: int = 0, account: str | None = None) -> list[RequestEntry]:
    """The last requests, newest first; with `after` those with a higher number, with `account` those of that account."""
    return [
        RequestEntry(**msgspec.structs.asdict(request.line), number=request.number, at=request.at, error=request.error)
        for request in recent.of_account(account)
        if request.number > after
    ]
