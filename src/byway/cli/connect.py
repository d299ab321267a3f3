"""`byway connect`: writes an endpoint into the settings of client programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from byway.cli import client
from byway.cli.clientchange import confirm, explained, make, revoker, show
from byway.cli.gatewaylogin import connect_by_sign_in
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, print_table
from byway.clientfiles.folders import UserFolders, user_folders
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.targets import TARGETS, ClientValues
from byway.clientfiles.variables import BASE_URL
from byway.clients import connect
from byway.clients.connect import ConnectionState, Prepared
from byway.clients.places import survey
from byway.display import moment
from byway.endpoints.address import same_url
from byway.endpoints.registry import EndpointError, Endpoints


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--endpoint", "name", metavar="NAME", help="The endpoint. [default: the one of this folder, else the active one]"
)
@click.option("--sign-in", is_flag=True, help="Sign Claude Code in instead of setting variables.")
@click.option("--dry-run", is_flag=True, help="Print the diff and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--status", is_flag=True, help="List the targets, and which are connected.")
@click.option("--history", is_flag=True, help="List the last changes.")
@DATA_DIR
@JSON
def command(
    targets: tuple[str, ...],
    name: str | None,
    sign_in: bool,
    dry_run: bool,
    yes: bool,
    status: bool,
    history: bool,
    folder: str | None,
    as_json: bool,
) -> None:
    """Connect Claude Code and editors to an endpoint for good. `byway disconnect` undoes it.

    TARGET is claude (the user's settings; the default), project, local, vscode, zed, jetbrains, desktop, bash, zsh, fish or
    powershell. Prints a diff without secrets, and changes the files after one key.

    With --sign-in Claude Code signs in to this Byway, which then sends it models, window and prices.
    """
    data = data_folder(folder)
    ledger = Ledger(data)
    folders = user_folders(Path.cwd(), os.environ)
    if status or history:
        with explained():
            _print_history(ledger, as_json) if history else _print_states(connect.states(ledger, folders), as_json)
        return
    names = targets or ("claude",)
    if unknown := [target for target in names if target not in TARGETS]:
        raise Misuse(f"Unknown target {unknown[0][:40]!r}. Use: {', '.join(TARGETS)}.")
    if sign_in:
        connect_by_sign_in(data, folders, names, name, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    with client_values(data, ledger, folders, name, dry_run=dry_run) as values:
        with explained():
            prepared = connect.prepare_connect(ledger, names, folders, values)
        done = _apply(ledger, prepared, data, dry_run=dry_run, yes=yes or as_json, quiet=as_json)
    if as_json:
        print_json({"changes": prepared.shown, "changed": done})
    elif done:
        for target in names:
            click.echo(f"{TARGETS[target].title}: connected to {values.endpoint} ({values.base_url}).")
            note(f"Takes effect: {TARGETS[target].takes_effect}.")
        winner = survey(folders).winner(BASE_URL)
        if winner is not None and not same_url(winner[1].text, values.base_url):
            note(
                f"{winner[0].title} ({winner[0].file or 'environment'}) set another base URL here. To fix it: byway doctor"
            )
        if values.endpoint == "byway":
            note("A client waits for minutes while Byway is not running. To start it at login: byway service install")
        note("To undo: byway disconnect")


def _apply(ledger: Ledger, prepared: Prepared, data: Path, *, dry_run: bool, yes: bool, quiet: bool) -> bool:
    if not quiet:
        for change in prepared.shown:
            show(change)
    if not prepared.changes:
        note("Already connected: nothing to change.")
        return False
    if dry_run or not confirm("Make these changes?", yes=yes):
        return False
    make(ledger, prepared, data)
    return True


@contextmanager
def client_values(
    data: Path, ledger: Ledger, folders: UserFolders, name: str | None, *, dry_run: bool
) -> Iterator[ClientValues]:
    """The values for the endpoint that applies here. A key that is created for them and stays unused is revoked at the end."""
    with explained():
        values = _values(data, ledger, folders, name, dry_run=dry_run)
    try:
        yield values
    finally:
        if connect.has_unused_key(ledger, values):
            revoker(data)(values.key)


def _values(data: Path, ledger: Ledger, folders: UserFolders, name: str | None, *, dry_run: bool) -> ClientValues:
    """The values for the endpoint that applies here. Creates a key when Byway requires one."""
    endpoints = Endpoints(data, os.environ)
    try:
        selection = endpoints.select(folders.project, name)
        if not selection.name:
            raise Failure("Endpoints are off: clients use Anthropic. Choose one: byway endpoint use byway")
        if not selection.trusted:
            raise Failure(
                f"{selection.file} names the endpoint {selection.name}, and you have not confirmed that file. Name the "
                f"endpoint: byway connect --endpoint {selection.name}"
            )
        endpoint = endpoints.get(selection.name)
        if not endpoint.is_byway:
            return connect.endpoint_values(endpoint, endpoints.secret(endpoint), folders)
    except EndpointError as error:
        raise Failure(str(error)) from None
    exported = client.get(data, "/byway/exports")
    if exported is None:
        raise Failure("Byway is not running, so its address and models are unknown. Start it: byway up")
    if str(dict(exported["variables"])[BASE_URL]).startswith("None"):
        raise Failure("This Byway has no TCP address. Add one: byway config set server.bind_address 127.0.0.1:38080")
    status = client.get(data, "/byway/status") or {}
    key_id, key = _key(data, ledger, dry_run=dry_run) if status.get("keys_required") else ("", "")
    return connect.byway_values(exported, folders, key, key_id)


def _key(data: Path, ledger: Ledger, *, dry_run: bool) -> tuple[str, str]:
    """The key of an earlier connect, else a new one."""
    from byway.admin import keys
    from byway.cli.change import author, open_store

    with open_store(data) as store:
        key_id, value = connect.usable_key(ledger, store)
        if value or dry_run:
            return key_id, value or connect.NEW_KEY
        made = keys.create_key(store, connect.KEY_NAME, (), "", author("byway connect"))
    note(f"Byway requires a key: created {made.key.id} ({made.key.name}). byway disconnect revokes it.")
    return made.key.id, made.value


def _print_states(listed: list[ConnectionState], as_json: bool) -> None:
    if as_json:
        print_json({"targets": listed})
        return
    rows = [("TARGET", "PROGRAM", "STATE", "SINCE", "FILE")]
    rows += [
        (
            state.target,
            state.title,
            _state_text(state),
            moment(state.at),
            state.file,
        )
        for state in listed
    ]
    print_table(rows)


def _state_text(state: ConnectionState) -> str:
    if not state.connected:
        return state.problem or "not connected"
    changed = f"; changed since: {', '.join(state.changed)}" if state.changed else ""
    return f"{'signed in' if state.sign_in else 'connected'} to {state.endpoint}{changed}"


def _print_history(ledger: Ledger, as_json: bool) -> None:
    entries = ledger.read().history
    if as_json:
        print_json({"history": entries})
    elif not entries:
        note("Byway has changed no client's settings.")
    else:
        rows = [(moment(entry.at), entry.action, entry.target, entry.file, ", ".join(entry.keys)) for entry in entries]
        print_table([("WHEN", "ACTION", "TARGET", "FILE", "KEYS"), *rows])
