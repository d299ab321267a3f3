"""The inspector: one request with its timeline and attempts, its recorded bodies side by side, its events, and its actions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from byway.admin import recording
from byway.admin.inspection import RequestDetails, case, curl, details
from byway.admin.recording import MOST_MINUTES
from byway.admin.replay import replay
from byway.admin.requests import RecentRequest, row
from byway.backends.repairs import describe
from byway.decoding import DECODE_ERRORS
from byway.display import latency, size
from byway.inspector.casefile import TITLE_LIMIT, default_title
from byway.inspector.comparison import LineGroup, compare, count_marks, groups
from byway.inspector.recording import RecordedBody, RecordedCall, RecordedEvent, RecordedExchange
from byway.problems import Problem
from byway.roles import changes_all, changes_own
from byway.routes.admin import who
from byway.routes.context import RequestContext, Route, public_url
from byway.routes.recording import recorded_exchange
from byway.routes.requests import find_request
from byway.ui.claude import choices
from byway.ui.page import (
    Form,
    Outcome,
    failure,
    parse_number,
    query_fields,
    read_form,
    redirect,
    send_card,
    send_page,
)

#: The parts of the inspector, with their titles.
PARTS: Final = (("overview", "Overview"), ("request", "Request"), ("answer", "Answer"), ("actions", "Actions"))
#: Events, and characters of a text, that a page shows.
_EVENTS: Final = 400
_TEXT: Final = 64 << 10
_EVENT_TEXT: Final = 600
#: The fields of a request, in the order in which the page shows them.
_LABELS: Final = {
    "requested": "Requested model",
    "alias": "Alias",
    "backend": "Backend",
    "model": "Model",
    "tries": "Attempts",
    "ms": "Duration",
    "first_ms": "First token after",
    "input_tokens": "Input tokens, not cached",
    "cached_tokens": "Input tokens from the cache",
    "output_tokens": "Output tokens",
    "estimated": "Tokens estimated by Byway",
    "stop": "Stop reason",
    "problem": "Problem",
    "upstream_status": "Status of the backend",
    "reason": "Reason",
    "probe": "Test by Byway itself",
    "key": "Key",
    "account": "Account",
    "session": "Session",
    "method": "Method",
    "path": "Path",
    "status": "Status",
    "id": "Request id",
}
_COUNTS: Final = frozenset(("input_tokens", "cached_tokens", "output_tokens"))
#: The words for the phases of a request.
_PHASES: Final = {
    "admission": "Admission",
    "failed attempts": "Failed attempts",
    "queue": "Queue",
    "connect": "Connect",
    "first token": "First token",
    "stream": "Stream",
    "answer": "Answer",
}
_decode: Final = msgspec.json.Decoder().decode


class EventRow(NamedTuple):
    """Events of an answer as a row: one, or neighbouring ones that each add a piece to the same block."""

    ms: float
    name: str
    text: str
    pieces: int
    """More than one: `text` is their pieces, joined."""


async def show(context: RequestContext) -> None:
    """Send the page of one request."""
    request = _seen(context)
    data = await _data(context, request, query_fields(context))
    await send_page(context, "request", f"Request {request.line.id}", here="/requests", is_drawer=False, **data)


async def drawer(context: RequestContext) -> None:
    """Send one request as a panel beside the list."""
    data = await _data(context, _seen(context), query_fields(context))
    await send_card(context, "request", "inspector", is_drawer=True, **data)


async def send_again(context: RequestContext) -> None:
    """Send the recorded request again to the model of the form, and show the answer."""
    form, request = await read_form(context), _seen(context)
    data: dict[str, Any] = {"result": None, "question": "", "clouds": "", "model": form["model"]}
    outcome: Outcome | None = None
    gateway = context.gateway
    try:
        exchange = await recorded_exchange(context, request)
        accepted = tuple(form["accept_clouds"].splitlines())
        data["result"] = await replay(
            gateway.replay, context.runtime, gateway.requests, exchange, form["model"], context.caller, accepted
        )
    except Problem as problem:
        if clouds := problem.facts.get("clouds"):
            data |= {"question": problem.message, "clouds": clouds}
        else:
            outcome = failure(context, problem)
    status = 422 if outcome is not None else 200
    await send_card(context, "replayed", "replayed", status, outcome=outcome, number=request.number, **data)


async def save_case(context: RequestContext) -> None:
    """Send the recorded request as a case file, for the browser to save."""
    exchange = await recorded_exchange(context, _seen(context))
    made = await asyncio.to_thread(case, exchange, query_fields(context)["title"])
    await context.begin(
        200,
        [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % len(made.content)),
            (b"content-disposition", b'attachment; filename="%b"' % made.name.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ],
    )
    await context.send({"type": "http.response.body", "body": made.content})


async def record(context: RequestContext) -> None:
    """Start to record the requests of the account, or one session, and return to the list."""
    form = await read_form(context)
    gateway = context.gateway
    await recording.start(
        gateway.recordings,
        gateway.services.store,
        context.caller.account,
        who(context),
        parse_number(form["minutes"]),
        form["session"],
    )
    await redirect(context, "/requests")


async def stop_recording(context: RequestContext) -> None:
    """End the recording; with the field `discard` also delete what was recorded."""
    form, gateway = await read_form(context), context.gateway
    await recording.stop(
        gateway.recordings,
        gateway.services.store,
        context.caller.account,
        who(context),
        discard=form["discard"] == "on",
    )
    await redirect(context, "/requests")


def _seen(context: RequestContext) -> RecentRequest:
    try:
        return find_request(context, context.tail)
    except Problem:
        raise Problem("not_found", "That request is no longer in the list.") from None


async def _data(context: RequestContext, request: RecentRequest, form: Form) -> dict[str, Any]:
    """What the inspector shows of a request, in the part that the form names."""
    part = form["part"] if form["part"] in dict(PARTS) else PARTS[0][0]
    line = request.line
    exchange: RecordedExchange | None = None
    try:
        exchange = await recorded_exchange(context, request)
    except Problem:
        exchange = None
    data: dict[str, Any] = {
        "row": row(request),
        "number": request.number,
        "session": line.session,
        "outcome": Outcome("bad", f"HTTP {line.status}", request.error) if request.error else None,
        "part": part,
        "parts_of_request": PARTS,
        "exchange": exchange,
        "recording": recording.state(context.gateway.recordings, context.caller.account),
        "may_record": _may_record(context, request),
    }
    if part == "request":
        data |= await asyncio.to_thread(_comparison, exchange, parse_number(form["call"]) or 0)
    elif part == "answer":
        data |= await asyncio.to_thread(_answer, exchange)
    elif part == "actions":
        data |= await _actions(context, request, exchange)
    else:
        data |= _overview(request)
    return data


def _may_record(context: RequestContext, request: RecentRequest) -> bool:
    """May the caller record requests like this one: those of its own account?"""
    caller = context.caller
    return request.line.account == caller.account and (
        changes_all(caller.role, caller.scopes) or changes_own(caller.role)
    )


#: The lengths of a recording that the page offers.
MINUTES: Final = tuple(minutes for minutes in (5, 15, 60, 240) if minutes <= MOST_MINUTES)


def _overview(request: RecentRequest) -> dict[str, Any]:
    line, known = request.line, details(request)
    values = [(label, getattr(line, name), name) for name, label in _LABELS.items()]
    fields = [
        (label, latency(value) if name in ("ms", "first_ms") else f"{value:,}" if name in _COUNTS else value)
        for label, value, name in values
        if value not in (None, "", False)
    ]
    if request.agent:
        fields.append(("Client", request.agent))
    return {
        "fields": fields,
        "phases": _bar(known),
        "attempts": [(attempt, [describe(repair) for repair in attempt.repairs]) for attempt in known.attempts],
    }


def _bar(known: RequestDetails) -> list[tuple[str, str, float, float, str]]:
    """The phases as (name, class, start and width in percent, duration). The shortest one is still visible."""
    total = sum(phase.ms for phase in known.phases) or 1.0
    return [
        (
            _PHASES[phase.name],
            phase.name.replace(" ", "-"),
            100 * phase.start_ms / total,
            max(0.4, 100 * phase.ms / total),
            latency(phase.ms) if phase.ms >= 10 else f"{phase.ms:g} ms",
        )
        for phase in known.phases
    ]


def _comparison(exchange: RecordedExchange | None, chosen: int) -> dict[str, Any]:
    """What the client sent beside what the backend got in one of the calls; the last one where none is chosen."""
    if exchange is None or not exchange.calls:
        sent = None if exchange is None else _shown(exchange.request)
        return {"calls": (), "call": None, "groups": (), "counts": None, "sent": sent}
    at = chosen - 1 if 1 <= chosen <= len(exchange.calls) else len(exchange.calls) - 1
    call = exchange.calls[at]
    sent, made = _json(exchange.request), _json(call.body)
    compared: Sequence[LineGroup] = ()
    complete, counts = True, None
    if sent is not None and made is not None:
        lines, complete = compare(sent, made)
        compared, counts = groups(lines), count_marks(lines)
    return {
        "calls": exchange.calls,
        "call": call,
        "call_number": at + 1,
        "repairs": [describe(repair) for repair in call.repairs],
        "groups": compared,
        "counts": counts,
        "complete": complete,
        "sent": _shown(exchange.request),
        "made": _shown(call.body),
        "sizes": (size(exchange.request.size), size(call.body.size)),
    }


def _json(body: RecordedBody) -> Any:
    """The value of a body; None when it is not complete or not JSON."""
    if body.note or not body.data:
        return None
    try:
        return _decode(body.data)
    except DECODE_ERRORS:
        return None


def _shown(body: RecordedBody) -> str:
    """The beginning of a body as text."""
    text = body.data[:_TEXT].decode("utf-8", "replace")
    more = len(body.data) - _TEXT
    return f"{text}\n… {more:,} more bytes" if more > 0 else text


def _answer(exchange: RecordedExchange | None) -> dict[str, Any]:
    """What the client received, event by event, and what the backends answered."""
    if exchange is None:
        return {"rows": (), "more": 0, "response": "", "answers": ()}
    rows = event_rows(exchange.events)
    answers: list[tuple[RecordedCall, str]] = [(call, _shown(call.answer)) for call in exchange.calls]
    return {
        "rows": rows[:_EVENTS],
        "more": max(0, len(rows) - _EVENTS),
        "response": _shown(exchange.response),
        "answers": answers,
    }


def event_rows(events: Sequence[RecordedEvent]) -> list[EventRow]:
    """The events of an answer, with the pieces of one block in one row."""
    rows: list[EventRow] = []
    last: tuple[str, str] | None = None
    pieces: list[str] = []
    for event in events:
        place, piece = _piece(event.data)
        if place is not None and last == (event.name, place):
            pieces.append(piece)
            rows[-1] = rows[-1]._replace(pieces=rows[-1].pieces + 1)
            continue
        _finish(rows, pieces)
        rows.append(EventRow(event.ms, event.name, _cut(event.data), 1))
        last, pieces = (None, []) if place is None else ((event.name, place), [piece])
    _finish(rows, pieces)
    return rows


def _finish(rows: list[EventRow], pieces: Sequence[str]) -> None:
    if rows and rows[-1].pieces > 1:
        rows[-1] = rows[-1]._replace(text=_cut("".join(pieces)))


def _piece(data: str) -> tuple[str | None, str]:
    """The place of a piece in an answer, and its text; None for an event that adds no piece."""
    try:
        event = _decode(data)
    except DECODE_ERRORS:
        return None, ""
    if not isinstance(event, dict):
        return None, ""
    delta = event.get("delta")
    if isinstance(delta, str):
        return f"{event.get('type')} {event.get('output_index')}", delta
    if isinstance(delta, dict) and event.get("type") == "content_block_delta":
        text = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        return f"{event.get('index')} {delta.get('type')}", str(text)
    chat = event.get("choices")
    if isinstance(chat, list) and len(chat) == 1 and isinstance(chat[0], dict) and not chat[0].get("finish_reason"):
        inner = chat[0].get("delta")
        if isinstance(inner, dict) and isinstance(inner.get("content"), str) and set(inner) <= {"content", "role"}:
            return "content", inner["content"]
    return None, ""


def _cut(text: str) -> str:
    return text if len(text) <= _EVENT_TEXT else f"{text[:_EVENT_TEXT]} … {len(text) - _EVENT_TEXT:,} more characters"


async def _actions(
    context: RequestContext, request: RecentRequest, exchange: RecordedExchange | None
) -> dict[str, Any]:
    """The curl command, the models for a replay, and whether the request can be saved as a case."""
    root, base = context.runtime.config.server.root_path, public_url(context)
    if root and request.line.path.startswith(f"{root}/"):
        base = base.removesuffix(root)
    data: dict[str, Any] = {
        "curl": await asyncio.to_thread(curl, base, request, exchange),
        "models": choices(context.runtime),
        "case_title": "",
        "title_limit": TITLE_LIMIT,
        "case": None,
        "case_problem": "",
        "result": None,
        "question": "",
        "clouds": "",
        "model": request.line.requested,
    }
    if exchange is None:
        return data
    try:
        data["case"] = await asyncio.to_thread(case, exchange)
        data["case_title"] = default_title(exchange)
    except Problem as problem:
        data["case_problem"] = context.runtime.scrubber.scrub(problem.message)
    return data


ROUTES = (
    Route("POST", "/requests/recording", record, "account", "page"),
    Route("POST", "/requests/recording/stop", stop_recording, "account", "page"),
    Route("GET", "/requests/{number}", show, "account", "page"),
    Route("GET", "/requests/{number}/drawer", drawer, "account", "page"),
    Route("POST", "/requests/{number}/replay", send_again, "account", "page"),
    Route("GET", "/requests/{number}/case", save_case, "account", "page"),
)
