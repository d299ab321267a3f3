"""One request in detail, for the page, the API and the CLI: its times and its attempts."""

from __future__ import annotations

from msgspec import Struct

from byway.admin.requests import RecentRequest, RequestEntry, entry
from byway.inspector.attempts import AttemptEntry, Phase, attempts, phases


class RequestDetails(Struct, frozen=True):
    """A request with the parts of its time and its attempts."""

    request: RequestEntry
    phases: tuple[Phase, ...]
    attempts: tuple[AttemptEntry, ...]


def details(request: RecentRequest) -> RequestDetails:
    """The details of a request."""
    line, times = request.line, request.times
    if times is None:
        return RequestDetails(entry(request), (), ())
    tried = attempts(times, line.backend, line.model, line.problem, line.status)
    return RequestDetails(entry(request), phases(times), tried)
