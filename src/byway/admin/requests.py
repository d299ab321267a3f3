"""The last requests of clients, for the page, the API and the CLI: list, filter and sums. In memory only, without prompts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from byway.display import clock, latency
from byway.inspector.attempts import RequestTimes
from byway.prices.price import NANO
from byway.usage.names import agent_name

#: Starts of the paths of monitoring, of the admin API and of the page's own requests to models.
_NOT_OF_CLIENTS: Final = ("/metrics", "/livez", "/readyz", "/health", "/byway/", "/playground/")
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
    agent: str = ""
    """The client program."""
    cost: float | None = None
    """US dollars; null when a price is unknown, or usage is not recorded."""


class RecentRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that has ended. `error` is the error that the client received, without secrets; empty when there was none."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    line: RequestLine
    error: str
    user_agent: bytes = b""
    cost: int | None = None
    """Nano-dollars."""
    times: RequestTimes | None = None

    @property
    def agent(self) -> str:
        """The client program."""
        return agent_name(self.user_agent)

    @property
    def by_client(self) -> bool:
        """Does it come from a client?"""
        return _is_of_client(self.line)

    @property
    def failed(self) -> bool:
        """Did the client receive an error, or leave before the end?"""
        return self.line.status >= 400 or bool(self.error)


class RequestFilter(msgspec.Struct, frozen=True):
    """Which requests to return. An empty field accepts all."""

    failed: bool = False
    model: str = ""
    """A part of the requested model, of the alias, or of `backend/model`."""
    session: str = ""
    """The beginning of the session id."""
    key: str = ""
    account: str = ""
    agent: str = ""
    """The client program."""
    text: str = ""
    """A part of anything that the list shows, or of the path, the request id or the error."""

    def accepts(self, request: RecentRequest) -> bool:
        """Does the filter accept a request?"""
        line = request.line
        if self.failed and not request.failed:
            return False
        if self.session and not line.session.startswith(self.session):
            return False
        if (self.key and line.key != self.key) or (self.account and line.account != self.account):
            return False
        if self.agent and request.agent.lower() != self.agent.lower():
            return False
        names = (line.requested, line.alias, f"{line.backend}/{line.model}")
        if self.model and not _contain(names, self.model):
            return False
        rest = (line.session, line.key, line.account, line.path, line.id, line.problem, line.stop, request.error)
        return not self.text or _contain((*names, *rest, request.agent, str(line.status)), self.text)


#: The filter that accepts every request.
EVERY: Final = RequestFilter()


def _contain(texts: Iterable[str], part: str) -> bool:
    part = part.lower()
    return any(part in text.lower() for text in texts)


class RequestSums(msgspec.Struct, frozen=True):
    """Sums over requests."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    """With `cached_tokens`."""
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """US dollars of the requests whose price is known."""
    unpriced: int = 0
    """Requests with tokens whose price is unknown."""

    @property
    def text(self) -> str:
        """The sums in one line."""
        parts = [f"{self.requests:,} request{'' if self.requests == 1 else 's'}"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.input_tokens or self.output_tokens:
            cached = f" ({100 * self.cached_tokens / self.input_tokens:.0f} % cached)" if self.cached_tokens else ""
            parts += [f"{self.input_tokens:,} tokens in{cached}", f"{self.output_tokens:,} tokens out"]
        if self.cost:
            parts.append(f"{dollars(self.cost)}{' without unknown prices' if self.unpriced else ''}")
        return " · ".join(parts)


class SessionRequests(NamedTuple):
    """The requests of one session, newest first."""

    session: str
    agent: str
    requests: tuple[RecentRequest, ...]
    sums: RequestSums


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
    tries: int
    id: str


def dollars(amount: float) -> str:
    """An amount as text: `$1.24`, a small one with its first digits: `$0.0031`."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.2g}" if amount >= 0.0001 else "< $0.0001"


def row(request: RecentRequest) -> RequestRow:
    """A request as text."""
    line = request.line
    cached = ""
    if line.cached_tokens is not None and line.input_tokens is not None and line.cached_tokens + line.input_tokens:
        cached = f"{100 * line.cached_tokens / (line.cached_tokens + line.input_tokens):.0f} %"
    prompt = None if line.input_tokens is None else line.input_tokens + (line.cached_tokens or 0)
    approximate = "~" if line.estimated else ""
    state = "good" if not request.failed else "warn" if line.status in (429, 499, 503, 529) else "bad"
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
        line.tries,
        line.id,
    )


class RecentRequests:
    """The newest requests. Each has the next number, so that a reader can request only those that it has not read."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[RecentRequest] = deque(maxlen=RECENT_LIMIT)

    def add(
        self,
        line: RequestLine,
        error: str,
        user_agent: bytes = b"",
        cost: int | None = None,
        times: RequestTimes | None = None,
    ) -> None:
        self.count += 1
        self._kept.append(RecentRequest(self.count, time.time(), line, error, user_agent, cost, times))

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

    def of_account(
        self, account: str | None, limit: int = RECENT_LIMIT, chosen: RequestFilter = EVERY
    ) -> list[RecentRequest]:
        """The last `limit` requests of an account that a filter accepts, newest first; with None those of all accounts."""
        return [
            request
            for request in self.newest()
            if (account is None or request.line.account == account) and (chosen is EVERY or chosen.accepts(request))
        ][:limit]

    def newest_number(self, account: str | None) -> int:
        """The number of the newest request of an account, or of all accounts; 0 when there is none."""
        if account is None:
            return self.count
        return max((request.number for request in self._kept if request.line.account == account), default=0)

    def by_clients(self) -> list[RecentRequest]:
        """The requests of clients, newest first, without the page, Byway's own tests, monitoring and the admin API."""
        return [request for request in self.newest() if request.by_client]

    def newest(self, limit: int = RECENT_LIMIT) -> list[RecentRequest]:
        """The last `limit` requests, newest first."""
        return list(self._kept)[: -limit - 1 : -1]

    def numbers(self, ids: Collection[str]) -> dict[str, int]:
        """The numbers of the requests with these ids (`req_...`), as far as they are kept."""
        wanted = set(ids)
        return {request.line.id: request.number for request in self._kept if request.line.id in wanted}

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


def _is_of_client(line: RequestLine) -> bool:
    # An MCP client offers a stream by GET, and expects the 405 of a server that needs none.
    is_offer = line.method == "GET" and line.status == 405 and line.path.endswith("/mcp")
    return not (line.probe or is_offer or line.path.startswith(_NOT_OF_CLIENTS))


def entry(request: RecentRequest) -> RequestEntry:
    """A request as the admin API returns it."""
    return RequestEntry(
        **msgspec.structs.asdict(request.line),
        number=request.number,
        at=request.at,
        error=request.error,
        agent=request.agent,
        cost=None if request.cost is None else request.cost / NANO,
    )


def recent_requests(
    recent: RecentRequests, after: int = 0, account: str | None = None, chosen: RequestFilter = EVERY
) -> list[RecentRequest]:
    """The last requests that a filter accepts, newest first; with `after` those with a higher number, with `account` its own."""
    return [request for request in recent.of_account(account, chosen=chosen) if request.number > after]


def sums(requests: Sequence[RecentRequest]) -> RequestSums:
    """The sums over requests."""
    cached = sum(request.line.cached_tokens or 0 for request in requests)
    return RequestSums(
        len(requests),
        sum(request.failed for request in requests),
        sum(request.line.input_tokens or 0 for request in requests) + cached,
        cached,
        sum(request.line.output_tokens or 0 for request in requests),
        sum(request.cost or 0 for request in requests) / NANO,
        sum(request.cost is None and request.line.output_tokens is not None for request in requests),
    )


def by_session(requests: Iterable[RecentRequest]) -> list[SessionRequests]:
    """Requests by their session, the session with the newest request first. Requests without one are together."""
    groups: dict[str, list[RecentRequest]] = {}
    for request in requests:
        groups.setdefault(request.line.session, []).append(request)
    return [
        SessionRequests(session, members[0].agent, tuple(members), sums(members)) for session, members in groups.items()
    ]


class FilterChoices(NamedTuple):
    """The values that the last requests have, for the fields of a filter."""

    models: tuple[str, ...]
    sessions: tuple[str, ...]
    keys: tuple[str, ...]
    accounts: tuple[str, ...]
    agents: tuple[str, ...]


def filter_choices(requests: Sequence[RecentRequest]) -> FilterChoices:
    """The values of `requests` for the fields of a filter; sessions with the newest one first, others by name."""
    models = {request.line.requested for request in requests}
    models |= {f"{request.line.backend}/{request.line.model}" for request in requests if request.line.model}
    return FilterChoices(
        tuple(sorted(models - {""})),
        tuple(dict.fromkeys(request.line.session for request in requests if request.line.session)),
        tuple(sorted({request.line.key for request in requests} - {""})),
        tuple(sorted({request.line.account for request in requests} - {""})),
        tuple(sorted({request.agent for request in requests} - {""})),
    )
