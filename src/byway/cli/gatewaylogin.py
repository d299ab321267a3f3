"""`byway connect --sign-in`: signs Claude Code in to this Byway, with one key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from byway.admin.signins import revoke_sign_in, sign_in_of
from byway.cli import client
from byway.cli.change import author, open_store
from byway.cli.clientchange import confirm, explained, make, revoker, show
from byway.cli.output import Failure, Misuse, note, print_json
from byway.cli.service import is_installed
from byway.clientfiles.folders import UserFolders, claude_logins, gateway_digest
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.variables import BASE_URL, EXTRA_CAS
from byway.clients import connect
from byway.clients.connect import Prepared
from byway.clients.signin import (
    NEW_TOKEN,
    TARGET,
    SignInFailed,
    SignInValues,
    connected_sign_in,
    has_values,
    is_sign_in,
    log_in,
    prepare_sign_in,
)
from byway.endpoints import running
from byway.endpoints.address import same_url
from byway.endpoints.registry import BYWAY, EndpointError, Endpoints
from byway.launch.finding import INSTALL_HINT, find_claude

_ABOUT: Final = (
    "Claude Code signs in to this Byway. It gains the models, window and prices of Byway in /model and /usage, and a sign-in "
    "that you can end. Its own WebSearch is off; Byway's web search replaces it. It does not start while Byway is stopped."
)


def connect_by_sign_in(
    data: Path,
    folders: UserFolders,
    targets: Sequence[str],
    endpoint: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show the changes, make them after one key, and let Claude Code sign in. Raises Failure."""
    if tuple(targets) != (TARGET,):
        raise Misuse("Only Claude Code signs in: byway connect --sign-in")
    base_url, trust = _base_url(data, folders, endpoint)
    program = find_claude(os.environ)
    if program is None:
        raise Failure(INSTALL_HINT)
    ledger = Ledger(data)
    if (own := _own_sign_in(data, ledger, folders, base_url, trust)) is not None:
        _adopt(data, ledger, folders, own, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    current = _current(data, ledger, folders, base_url)
    if current is not None and has_values(folders, current):
        _report(data, base_url, (), False, as_json)
        return
    values = SignInValues(base_url, "" if base_url.startswith("https:") else NEW_TOKEN, trust)
    with explained():
        planned = prepare_sign_in(ledger, folders, values)
    question = "Make these changes and sign in?"
    if not _is_confirmed(planned, _ABOUT, question, dry_run=dry_run, yes=yes, as_json=as_json):
        return
    _sign_in(data, ledger, folders, values, program)
    _report(data, base_url, planned.shown, True, as_json)


def _is_confirmed(planned: Prepared, about: str, question: str, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Show the planned changes and ask for one key."""
    if not as_json:
        click.echo(f"{about}\n")
        for change in planned.shown:
            show(change)
    if not dry_run and confirm(question, yes=yes or as_json):
        return True
    if as_json:
        print_json({"changes": planned.shown, "changed": False})
    return False


def _own_sign_in(data: Path, ledger: Ledger, folders: UserFolders, base_url: str, trust: str) -> SignInValues | None:
    """The values of a valid sign-in that Claude Code has from a /login; None when Byway has made the one that it has."""
    if not same_url(claude_logins(folders).gateway, base_url):
        return None
    with explained(), open_store(data) as store:
        id = sign_in_of(store, gateway_digest(folders))
        receipt = connected_sign_in(ledger.read(), folders)
    if not id or (receipt is not None and receipt.key == id):
        return None
    token = ""
    if not base_url.startswith("https:"):
        try:
            token = str(_request(data, "POST", f"/byway/sign-ins/{id}/mcp-token")["token"])
        except SignInFailed as error:
            raise Failure(str(error)) from None
    return SignInValues(base_url, token, trust, id)


def _adopt(
    data: Path, ledger: Ledger, folders: UserFolders, values: SignInValues, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Add to a sign-in by /login what `--sign-in` adds, and end the earlier one that Byway has made."""
    with explained():
        planned = prepare_sign_in(ledger, folders, values)
    about = f"Claude Code is signed in by /login, as {values.id}. That sign-in is kept; an earlier one ends."
    if not _is_confirmed(planned, about, "Make these changes?", dry_run=dry_run, yes=yes, as_json=as_json):
        return

    def end(id: str) -> None:
        if not is_sign_in(id):
            revoker(data)(id)
            return
        # It may have ended by itself.
        with contextlib.suppress(Misuse), open_store(data) as store:
            revoke_sign_in(store, id, author("byway connect"))
            note(f"The earlier sign-in {id} has ended.")

    with explained():
        connect.carry_out(ledger, planned, end)
    _report(data, values.base_url, planned.shown, True, as_json)


def _sign_in(data: Path, ledger: Ledger, folders: UserFolders, values: SignInValues, program: Path) -> None:
    """Write the settings, sign in, and add the MCP server. What was written is undone when the sign-in fails."""
    with explained():
        # This ends an earlier sign-in, whose credentials would otherwise be removed after the new ones are there.
        make(ledger, prepare_sign_in(ledger, folders, values._replace(token="")), data)
    approved: list[str] = []

    def approve(code: str) -> None:
        answer = _request(data, "POST", "/byway/sign-ins", {"user_code": code})
        approved.append(str(answer["id"]))

    try:
        log_in(program, folders, values.base_url, approve)
        if not approved:
            raise SignInFailed("Claude Code signed in without an approval by this Byway. Run `byway doctor`.")
        token = ""
        if values.token:
            token = str(_request(data, "POST", f"/byway/sign-ins/{quote(approved[0], safe='')}/mcp-token")["token"])
        with explained():
            make(ledger, prepare_sign_in(ledger, folders, values._replace(token=token, id=approved[0])), data)
    except (SignInFailed, Failure) as error:
        with explained():
            make(ledger, connect.prepare_disconnect(ledger, [TARGET]), data)
        raise Failure(f"{error} What was written is undone.") from None


def _request(data: Path, method: str, path: str, body: Any = None) -> dict[str, Any]:
    answer = running.request(data, method, path, body)
    if answer is None:
        raise SignInFailed("Byway does not answer at its socket. Start it: byway up.")
    if answer.status >= 400:
        raise SignInFailed(answer.message)
    return answer.body


def _base_url(data: Path, folders: UserFolders, name: str | None) -> tuple[str, str]:
    """The base URL of this Byway, and the file with the authority of its certificate, or ""."""
    try:
        selected = Endpoints(data, os.environ).select(folders.project, name).name
    except EndpointError as error:
        raise Failure(str(error)) from None
    if selected != BYWAY:
        raise Failure(
            f"The endpoint here is {selected or 'Anthropic'}, and a sign-in is for this Byway. Name it: byway connect --sign-in "
            f"--endpoint {BYWAY}"
        )
    exported = client.get(data, "/byway/exports")
    if exported is None:
        raise Failure("Byway is not running, and a sign-in needs it. Start it: byway up")
    variables = dict(exported["variables"])
    base_url = str(variables[BASE_URL])
    if base_url.startswith("None"):
        raise Failure("This Byway has no TCP address. Add one: byway config set server.bind_address 127.0.0.1:38080")
    return base_url, str(variables.get(EXTRA_CAS) or "")


def _current(data: Path, ledger: Ledger, folders: UserFolders, base_url: str) -> SignInValues | None:
    """The values of the sign-in that Claude Code has; None when it has none, or has lost it."""
    with explained():
        receipt = connected_sign_in(ledger.read(), folders)
    if receipt is None or not same_url(receipt.base_url, base_url):
        return None
    if folders.system != "macos" and not same_url(claude_logins(folders).gateway, base_url):
        return None
    token = ""
    try:
        if not base_url.startswith("https:"):
            token = str(_request(data, "POST", f"/byway/sign-ins/{quote(receipt.key, safe='')}/mcp-token")["token"])
    except SignInFailed:
        return None
    return SignInValues(base_url, token, id=receipt.key)


def _report(data: Path, base_url: str, shown: Sequence[connect.PlannedChange], changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"changes": shown, "changed": changed})
        return
    click.echo(f"Claude Code is signed in to {base_url}.")
    if not changed:
        note("Already signed in: nothing to change.")
        return
    note("Takes effect: in new sessions.")
    if not is_installed(data):
        note("Claude Code does not start while Byway is stopped. To start Byway at login: byway service install")
    note("To sign out and undo it: byway disconnect claude")
