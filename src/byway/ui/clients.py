"""The page Clients: switch the endpoint, connect programs of this machine, list sessions, and fix conflicts.

It uses the functions of `byway endpoint`, `byway connect` and `byway doctor`. A change is shown as a diff first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from byway.admin import exports, keys, signins
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.targets import TARGETS, ClientValues
from byway.clients import connect
from byway.clients.connect import ConnectionState, PlannedChange, Prepared
from byway.clients.diagnosis import diagnose_machine, own_folders, restart_hosted
from byway.clients.sessions import SessionInfo
from byway.clients.signin import is_sign_in, sign_out
from byway.display import count, moment
from byway.endpoints.registry import BYWAY, Endpoint, EndpointError, Endpoints
from byway.problems import Problem
from byway.routes.admin import change_keys, who
from byway.routes.context import RequestContext, Route, is_htmx
from byway.ui.page import Outcome, read_form, send_card, send_page, status_of

T = TypeVar("T")
#: Targets that depend on a working folder, which the server has none of.
_IN_FOLDER: Final = ("project", "local")
_ARRIVAL: Final = {"arrives": "good", "no request yet": "none", "elsewhere": "bad", "unknown": "warn"}
_SEVERITY: Final = {"problem": "bad", "warning": "warn", "note": "none"}


class EndpointRow(NamedTuple):
    """An endpoint of the switch."""

    name: str
    url: str
    active: bool
    remark: str


class SessionRow(NamedTuple):
    """A session as text."""

    id: str
    client: str
    folder: str
    since: str
    state: str
    word: str
    through: str
    remark: str


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, outcome: Outcome | None = None, plan: dict[str, Any] | None = None) -> None:
    data = {**await _data(context), "plan": plan, "outcome": outcome}
    if is_htmx(context):
        await send_card(context, "clients", "all", status_of(outcome), **data)
        return
    await send_page(
        context,
        "clients",
        "Clients",
        here="/clients",
        lead="Programs on the machine that runs Byway: their endpoint, their sessions, and what keeps them from it.",
        status=status_of(outcome),
        **data,
    )


async def _data(context: RequestContext) -> dict[str, Any]:
    try:
        return await _read(context)
    except (ClientFileError, EndpointError) as error:
        return {
            "problem": context.runtime.scrubber.scrub(str(error)),
            "endpoints": [],
            "off": False,
            "programs": [],
            "sessions": [],
            "findings": [],
            "places": [],
            "expected": "",
        }


async def _read(context: RequestContext) -> dict[str, Any]:
    diagnosis = await diagnose_machine(context.gateway)
    services = context.gateway.services
    states = await asyncio.to_thread(lambda: connect.states(Ledger(services.folder), own_folders()))
    book = await asyncio.to_thread(lambda: _endpoints(context).book())
    rows = [_endpoint_row(endpoint, book.active, services.base) for endpoint in (Endpoint(BYWAY), *book.endpoints)]
    report = diagnosis.report
    return {
        "problem": "",
        "endpoints": rows,
        "off": not book.active,
        "programs": [state for state in states if _is_offered(state)],
        "sessions": [_session_row(session) for session in report.sessions],
        "findings": [(finding, _SEVERITY[finding.severity]) for finding in report.findings],
        "places": [row for row in report.places if row.base_url or row.credential or row.model or row.problem],
        "expected": report.base_url,
    }


def _endpoints(context: RequestContext) -> Endpoints:
    return Endpoints(context.gateway.services.folder, os.environ)


def _is_offered(state: ConnectionState) -> bool:
    """Programs that are here, that are connected, or that the user settings of Claude Code stand for."""
    if state.target in _IN_FOLDER:
        return False
    return state.connected or state.exists or state.target == "claude"


def _endpoint_row(endpoint: Endpoint, active: str, base: str | None) -> EndpointRow:
    if endpoint.is_byway:
        return EndpointRow(BYWAY, f"{base}/anthropic" if base else "", active == BYWAY, "This Byway.")
    check = endpoint.check()
    remark = check.problem or check.warning or (f"Verified {endpoint.verified}." if endpoint.verified else "")
    return EndpointRow(endpoint.name, check.url, active == endpoint.name, remark)


def _session_row(session: SessionInfo) -> SessionRow:
    client = f"{session.client} {session.version}".strip() or "another machine"
    requests = count(session.requests, "request") if session.requests else ""
    through = session.target or session.base_url
    return SessionRow(
        session.id[:8],
        client,
        session.folder,
        moment(session.since),
        "warn" if session.stale else _ARRIVAL[session.arrival],
        f"{session.arrival}{', stale' if session.stale else ''}",
        ", ".join(part for part in (through, requests) if part),
        session.reason or session.error,
    )


# -------------------------------------------------------------------------------------------------------------- actions


async def switch(context: RequestContext) -> None:
    """Make an endpoint the active one, or switch endpoints off."""
    name = (await read_form(context))["name"]
    endpoints = _endpoints(context)
    try:
        await asyncio.to_thread(endpoints.off if name == "off" else lambda: endpoints.use(name))
    except EndpointError as error:
        await _page(context, Outcome("bad", str(error)))
        return
    text = "Endpoints are off: new clients use Anthropic." if name == "off" else f"{name} is the active endpoint."
    await _page(
        context,
        Outcome(
            "good", text, "Connected programs keep the endpoint that was written. Connect them again to change it."
        ),
    )


async def connect_program(context: RequestContext) -> None:
    """Show the change that connects a program, and make it once it is confirmed."""
    fields = await read_form(context)
    target = fields["target"]
    if target not in TARGETS or target in _IN_FOLDER:
        raise Problem("invalid_request", "Unknown program.")

    used: list[ClientValues] = []

    async def prepare(ledger: Ledger, confirmed: bool) -> Prepared:
        values = await _values(context, ledger, confirmed=confirmed)
        used.append(values)
        return await asyncio.to_thread(lambda: connect.prepare_connect(ledger, [target], own_folders(), values))

    try:
        await _change(
            context, fields["confirm"] == "on", prepare, "connect", target, f"{TARGETS[target].title}: connected."
        )
    finally:
        ledger = Ledger(context.gateway.services.folder)
        for values in used:
            if await asyncio.to_thread(connect.has_unused_key, ledger, values):
                await _revoke(context, [values.key])


async def disconnect_program(context: RequestContext) -> None:
    """Show the change that undoes what Byway has written for a program, and make it once it is confirmed."""
    fields = await read_form(context)
    target = fields["target"]
    if target not in TARGETS:
        raise Problem("invalid_request", "Unknown program.")

    async def prepare(ledger: Ledger, confirmed: bool) -> Prepared:
        return await asyncio.to_thread(lambda: connect.prepare_disconnect(ledger, [target]))

    good = f"{TARGETS[target].title}: disconnected. Running sessions keep the endpoint until they are restarted."
    await _change(context, fields["confirm"] == "on", prepare, "disconnect", target, good)


async def fix(context: RequestContext) -> None:
    """Show the fix of a finding, and make it once it is confirmed."""
    fields = await read_form(context)
    diagnosis = await diagnose_machine(context.gateway)
    change = diagnosis.fixes.get(fields["id"])
    if change is None:
        await _page(context, Outcome("warn", "This finding does not exist any more."))
        return

    async def prepare(ledger: Ledger, confirmed: bool) -> Prepared:
        return await asyncio.to_thread(lambda: connect.prepare_fix(ledger, change))

    await _change(context, fields["confirm"] == "on", prepare, "fix", fields["id"], "Fixed.")


async def restart(context: RequestContext) -> None:
    """Request the restart of a client that a host owns and that uses an old endpoint."""
    id = (await read_form(context))["id"]
    diagnosis = await diagnose_machine(context.gateway)
    folder = context.gateway.services.folder
    try:
        is_requested = await asyncio.to_thread(lambda: restart_hosted(folder, diagnosis.expected, id))
    except OSError as error:
        await _page(context, Outcome("bad", f"The restart was not requested: {error}"))
        return
    if not is_requested:
        await _page(context, Outcome("warn", "This client has ended, or uses the active endpoint."))
        return
    await _page(context, Outcome("good", "The client restarts with the active endpoint when its turn ends."))


async def _change(
    context: RequestContext, confirmed: bool, prepare: Callable[..., Any], action: str, name: str, good: str
) -> None:
    ledger = Ledger(context.gateway.services.folder)
    try:
        prepared: Prepared = await prepare(ledger, confirmed)
        if not prepared.changes:
            await _page(context, Outcome("good", "Nothing to change."))
            return
        if not confirmed:
            await _page(context, plan=_plan(prepared.shown, action, name))
            return
        urls = {receipt.key: receipt.base_url for receipt in ledger.read().files}
        revoked: list[str] = []
        await asyncio.to_thread(lambda: connect.carry_out(ledger, prepared, revoked.append, action))
        await _revoke(context, [id for id in revoked if not is_sign_in(id)])
        for id in filter(is_sign_in, revoked):
            good += await _sign_out(context, id, urls[id])
    except (ClientFileError, EndpointError) as error:
        await _page(context, Outcome("bad", context.runtime.scrubber.scrub(str(error))))
        return
    await _page(context, Outcome("good", good))


def _plan(changes: tuple[PlannedChange, ...], action: str, name: str) -> dict[str, Any]:
    return {
        "action": action,
        "field": "id" if action == "fix" else "target",
        "name": name,
        "changes": [(change.file, change.diff.splitlines(), change.remarks) for change in changes],
    }


async def _values(context: RequestContext, ledger: Ledger, *, confirmed: bool) -> ClientValues:
    """The values for the active endpoint. Creates a key when Byway requires one."""
    endpoints, folders = _endpoints(context), own_folders()
    book = await asyncio.to_thread(endpoints.book)
    if not book.active:
        raise EndpointError("Endpoints are off. Choose one first.")
    endpoint = await asyncio.to_thread(lambda: endpoints.get(book.active))
    if not endpoint.is_byway:
        return await asyncio.to_thread(lambda: connect.endpoint_values(endpoint, endpoints.secret(endpoint), folders))
    services = context.gateway.services
    if services.base is None:
        raise EndpointError("This Byway has no TCP address, which Claude Code needs. Turn it on under Keys -> Server.")
    setup = await exports.client_setup(context.runtime, services.base, trust=services.trust)
    exported = {
        "variables": dict(exports.variables(setup)),
        "permission_mode": exports.permission_mode(setup),
        "client_credential": setup.client_credential,
    }
    key_id, key = await _key(context, ledger, confirmed=confirmed) if setup.key_required else ("", "")
    return await asyncio.to_thread(lambda: connect.byway_values(exported, folders, key, key_id))


async def _key(context: RequestContext, ledger: Ledger, *, confirmed: bool) -> tuple[str, str]:
    """The key of an earlier connect, else a new one. A diff that is only shown creates none."""
    store, author = context.gateway.services.store, who(context)
    id, value = await asyncio.to_thread(connect.usable_key, ledger, store)
    if value or not confirmed:
        return id, value or connect.NEW_KEY
    made = await change_keys(context, lambda: keys.create_key(store, connect.KEY_NAME, (), "", author))
    return made.key.id, made.value


async def _sign_out(context: RequestContext, id: str, base_url: str) -> str:
    """Sign Claude Code out and end its sign-in. Returns what is left to do, to continue the outcome."""
    store, author = context.gateway.services.store, who(context)
    is_out = await asyncio.to_thread(sign_out, own_folders(), base_url)
    try:
        await change_keys(context, lambda: signins.revoke_sign_in(store, id, author))
    except Problem as problem:
        if problem.kind != "not_found":
            raise
    return "" if is_out else " Its credentials are in the keychain: remove them with claude auth logout."


async def _revoke(context: RequestContext, ids: list[str]) -> None:
    store, author = context.gateway.services.store, who(context)
    for id in ids:
        try:
            await change_keys(context, lambda id=id: keys.revoke_key(store, id, author))  # type: ignore[misc]
        except Problem:
            # It was revoked before.
            continue


ROUTES = (
    Route("GET", "/clients", index, "admin", "page"),
    Route("POST", "/clients/endpoint", switch, "admin", "page"),
    Route("POST", "/clients/connect", connect_program, "admin", "page"),
    Route("POST", "/clients/disconnect", disconnect_program, "admin", "page"),
    Route("POST", "/clients/fix", fix, "admin", "page"),
    Route("POST", "/clients/restart", restart, "admin", "page"),
)
