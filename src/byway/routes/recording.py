"""`/byway/recording`: starts and stops the recording of requests. `/byway/requests/{number}/recording`: what was recorded."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from byway.admin import recording
from byway.admin.inspection import case
from byway.admin.recording import DEFAULT_MINUTES, RecordingState
from byway.admin.replay import ReplayResult, replay
from byway.admin.requests import RecentRequest
from byway.inspector.recording import RecordedBody, RecordedEvent, RecordedExchange
from byway.problems import Problem
from byway.roles import changes_all
from byway.routes.admin import who
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query
from byway.routes.requests import find_request


class StartRecording(Struct, forbid_unknown_fields=True):
    """A recording to start."""

    minutes: int = DEFAULT_MINUTES
    session: str = ""
    """Record only this session. Default: all requests of the caller's account."""


class BodyView(Struct, frozen=True):
    """A recorded body, without secrets."""

    text: str
    bytes: int
    """Its size as it was sent."""
    note: str
    """Why it is not complete; empty when it is."""


class CallView(Struct, frozen=True):
    """A call to a backend, and its answer."""

    backend: str
    model: str
    url: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    repairs: tuple[str, ...]
    body: BodyView
    status: int
    """0: there was no answer."""
    problem: str
    answer_headers: tuple[tuple[str, str], ...]
    answer: BodyView


class ExchangeView(Struct, frozen=True):
    """What was recorded of a request."""

    id: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    request: BodyView
    calls: tuple[CallView, ...]
    calls_left_out: int
    status: int
    response_headers: tuple[tuple[str, str], ...]
    response: BodyView
    """Empty for a stream, which has `events`."""
    events: tuple[RecordedEvent, ...]


class ReplayRequest(Struct, forbid_unknown_fields=True):
    """A replay."""

    model: str
    accept_clouds: tuple[str, ...] = ()
    """The clouds that may get a prompt that only self-hosted models have had, as the refusal names them."""


class CaseView(Struct, frozen=True):
    """A case file."""

    name: str
    folder: str
    """Its folder below `tests/cases`."""
    content: str
    notes: tuple[str, ...]
    """How it differs from what was recorded."""


async def recorded_exchange(context: RequestContext, request: RecentRequest) -> RecordedExchange:
    """What the caller has recorded of a request: the only way to it. Raises Problem."""
    caller = context.caller
    if not caller.login and not changes_all(caller.role, caller.scopes):
        # A leaked key would show prompts.
        raise Problem("permission", f"Key {caller.key} cannot read recorded prompts. Log in to the settings page.")
    return await recording.recorded(context.gateway.recordings, request.line.id, caller.account)


async def show(context: RequestContext) -> RecordingState:
    """Return whether the caller's account records its requests."""
    return recording.state(context.gateway.recordings, context.caller.account)


async def start(context: RequestContext, body: StartRecording) -> RecordingState:
    """Record the requests of the caller's account, in memory, for some minutes."""
    gateway, account = context.gateway, context.caller.account
    store = gateway.services.store
    return await recording.start(gateway.recordings, store, account, who(context), body.minutes, body.session)


async def stop(context: RequestContext) -> RecordingState:
    """End the recording. With `discard=1`, also delete what was recorded."""
    gateway, discard = context.gateway, query(context).get("discard") == "1"
    store = gateway.services.store
    return await recording.stop(gateway.recordings, store, context.caller.account, who(context), discard=discard)


async def exchange(context: RequestContext) -> ExchangeView:
    """Return what was recorded of a request: bodies, calls and events, without secrets."""
    kept = await recorded_exchange(context, find_request(context, context.tail))
    calls = tuple(
        CallView(
            *(call.backend, call.model, call.url, call.method, call.path, call.headers, call.repairs, _view(call.body)),
            *(call.status, call.problem, call.answer_headers, _view(call.answer)),
        )
        for call in kept.calls
    )
    return ExchangeView(
        *(kept.id, kept.method, kept.path, kept.headers, _view(kept.request), calls, kept.left_out, kept.status),
        *(kept.response_headers, _view(kept.response), kept.events),
    )


async def send_again(context: RequestContext, body: ReplayRequest) -> ReplayResult:
    """Send a recorded request again to another model, as a request of the caller's account."""
    kept, gateway = await recorded_exchange(context, find_request(context, context.tail)), context.gateway
    return await replay(
        gateway.replay, context.runtime, gateway.requests, kept, body.model, context.caller, body.accept_clouds
    )


async def save_case(context: RequestContext) -> CaseView:
    """Return a recorded request as a case file of Byway's tests, without credentials."""
    kept = await recorded_exchange(context, find_request(context, context.tail))
    made = await asyncio.to_thread(case, kept, query(context).get("title", ""))
    return CaseView(made.name, made.folder, made.content.decode("utf-8", "replace"), made.notes)


def _view(body: RecordedBody) -> BodyView:
    return BodyView(body.data.decode("utf-8", "replace"), body.size, body.note)


ROUTES: Final = (
    operation("GET", "/byway/recording", show, response=RecordingState, scope="account"),
    operation("POST", "/byway/recording", start, request=StartRecording, response=RecordingState, scope="account"),
    operation(
        "DELETE",
        "/byway/recording",
        stop,
        response=RecordingState,
        parameters=(Parameter("discard", "`1`: also delete what was recorded."),),
        scope="account",
    ),
    operation("GET", "/byway/requests/{number}/recording", exchange, response=ExchangeView, scope="account"),
    operation(
        "POST",
        "/byway/requests/{number}/replay",
        send_again,
        request=ReplayRequest,
        response=ReplayResult,
        scope="account",
    ),
    operation(
        "GET",
        "/byway/requests/{number}/case",
        save_case,
        response=CaseView,
        parameters=(Parameter("title", "What the case shows, as a sentence."),),
        scope="account",
    ),
)
