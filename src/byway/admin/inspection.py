"""One request in detail, for the page, the API and the CLI: its times and attempts, its curl command, its case file."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from byway import __version__
from byway.admin.requests import RecentRequest, RequestEntry, entry
from byway.backend import PROTOCOLS
from byway.decoding import DECODE_ERRORS
from byway.inspector.attempts import AttemptEntry, Phase, attempts, phases
from byway.inspector.casefile import CaseFile, case_file, default_title
from byway.inspector.curl import curl_command
from byway.inspector.recording import RecordedExchange
from byway.problems import Problem
from byway.routing.route import TargetName
from byway.runtime import Runtime

#: Paths of requests that can be sent again.
REPLAYED = ("/messages", "/chat/completions", "/responses")


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


def curl(base: str, request: RecentRequest, exchange: RecordedExchange | None) -> str:
    """The curl command for a request: with its body where that was recorded, else with a short prompt."""
    line = request.line
    if exchange is not None and exchange.request.data and exchange.request.complete:
        return curl_command(f"{base}{line.path}", exchange.headers, exchange.request.data)
    field = "input" if line.path.endswith("/responses") else "messages"
    prompt = "Say hello." if field == "input" else [{"role": "user", "content": "Say hello."}]
    body = {"model": line.requested or "sonnet", "max_tokens": 100, field: prompt}
    if field == "input":
        body["max_output_tokens"] = body.pop("max_tokens")
    return curl_command(f"{base}{line.path}", (), msgspec.json.encode(body))


def case(exchange: RecordedExchange, title: str = "") -> CaseFile:
    """The case file of a recorded request. Raises Problem."""
    if not exchange.calls:
        raise Problem("invalid_request", "This request cannot be saved as a case: no call to a backend was recorded.")
    return case_file(exchange, title.strip() or default_title(exchange), __version__, PROTOCOLS)


def replay_body(exchange: RecordedExchange, model: str) -> bytes:
    """The body of a recorded request for another model. Raises Problem."""
    data = exchange.request.data
    if not exchange.path.endswith(REPLAYED) or not data or not exchange.request.complete:
        raise Problem("invalid_request", f"This request cannot be replayed. {exchange.request.note}".strip())
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except DECODE_ERRORS:
        raise Problem("invalid_request", "This request cannot be replayed: its body is not valid JSON.") from None
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def clouds(runtime: Runtime, places: Sequence[TargetName]) -> tuple[str, ...]:
    """The backends among `places` that send a prompt to a cloud, as `name (address)`."""
    backends = [(runtime.backends[place.backend], place.model) for place in places if place.backend in runtime.backends]
    return tuple(
        dict.fromkeys(
            f"{backend.name} ({backend.address})" for backend, model in backends if not backend.runs_here(model)
        )
    )


def was_self_hosted(runtime: Runtime, exchange: RecordedExchange) -> bool:
    """Did no cloud get the prompt of a request? A backend that is not configured any more counts as self-hosted."""
    return not clouds(runtime, [TargetName(call.backend, call.model) for call in exchange.calls])
