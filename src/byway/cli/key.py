"""`byway key`: the keys of clients. The commands use the store itself; a running Byway applies a change within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import note, print_json, print_table
from byway.display import moment
from byway.scopes import DEFAULT_SCOPES, SCOPES

if TYPE_CHECKING:
    from byway.admin.keys import KeyInfo, KeyValue


@click.group()
def command() -> None:
    """Create, list, rotate and revoke client keys. A running Byway applies a change within a second."""


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help=f"What the key may do; can be repeated. [default: {', '.join(DEFAULT_SCOPES)}]",
)
@click.option(
    "--expires",
    metavar="WHEN",
    default="",
    help="When it expires: 30d, 12h, 2027-01-01, 2027-01-01T12:00Z. [default: never]",
)
@click.option("--account", default="", metavar="ID", help="The account that it belongs to. [default: none]")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A model that it may use: a name, an alias, or a pattern such as local/*; can be repeated. [default: every model]",
)
@DATA_DIR
@JSON
def create(
    name: str,
    scopes: tuple[str, ...],
    expires: str,
    account: str,
    models: tuple[str, ...],
    folder: str | None,
    as_json: bool,
) -> None:
    """Create a key called NAME and print it. It is shown only once."""
    from byway.admin import keys
    from byway.cli.change import author, open_store

    with open_store(data_folder(folder)) as store:
        made = keys.create_key(store, name, scopes, expires, author("byway key"), account=account, models=models)
    _print_value(made, as_json)
    if made.is_first:
        note("This is the first key: from now on clients need one, unless `api_keys.mode` is permissive.")


@command.command("list")
@DATA_DIR
@JSON
def list_command(folder: str | None, as_json: bool) -> None:
    """List the keys of the store. Keys in byway.yaml are not listed."""
    from byway.admin import keys
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        listed = keys.list_keys(store)
    if as_json:
        print_json({"keys": listed})
    elif not listed:
        note("There are no keys. To create one: byway key create NAME")
    else:
        print_table(
            [
                ("ID", "NAME", "KEY", "ACCOUNT", "SCOPES", "MODELS", "STATE", "LAST USED"),
                *(
                    (
                        key.id,
                        key.name,
                        f"…{key.hint}",
                        key.account or "-",
                        " ".join(key.scopes),
                        " ".join(key.models) or "all",
                        _state(key),
                        moment(key.used_at) or "never",
                    )
                    for key in listed
                ),
            ]
        )


@command.command()
@click.argument("id")
@click.option(
    "--grace",
    metavar="DURATION",
    default="",
    help="For how long the old value is accepted: 1h, 7d. [default: not at all]",
)
@DATA_DIR
@JSON
def rotate(id: str, grace: str, folder: str | None, as_json: bool) -> None:
    """Give the key ID a new value and print it. The old value stops working at once, or after --grace."""
    from byway.admin import keys
    from byway.cli.change import author, open_store

    with open_store(data_folder(folder)) as store:
        made = keys.rotate_key(store, id, author("byway key"), grace)
    _print_value(made, as_json)


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def revoke(id: str, folder: str | None, as_json: bool) -> None:
    """Revoke the key ID for good. Requests in progress are finished."""
    from byway.admin import keys
    from byway.cli.change import author, open_store

    with open_store(data_folder(folder)) as store:
        revoked = keys.revoke_key(store, id, author("byway key"))
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"{revoked.id} ({revoked.name}) revoked.")


@command.command()
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="The most entries to print.")
@DATA_DIR
@JSON
def history(limit: int, folder: str | None, as_json: bool) -> None:
    """Show who changed what, newest first.

    Contains changes of accounts, keys, secrets, the config and logins, and deleted model files.
    """
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        entries = store.audit_entries(limit)
    if as_json:
        print_json({"audit": entries})
    elif not entries:
        note("There are no entries yet.")
    else:
        rows = [(moment(entry.at), entry.who, entry.what, entry.detail) for entry in entries]
        print_table([("WHEN", "WHO", "WHAT", "DETAIL"), *rows])


def _print_value(made: KeyValue, as_json: bool) -> None:
    """Print the value alone to stdout, so that it can be piped, and remarks to stderr."""
    if as_json:
        print_json(made)
    else:
        click.echo(made.value)
    account = f" of account {made.key.account}" if made.key.account else ""
    models = f" for {', '.join(made.key.models)}" if made.key.models else ""
    note(f"{made.key.id} ({made.key.name}){account}: {', '.join(made.key.scopes)}{models}; {_state(made.key)}.")
    if made.key.old_expires_at is not None:
        note(f"The old value is accepted until {moment(made.key.old_expires_at)}.")
    note("Copy the key now: it is not shown again. Byway stores only a hash.")


def _state(key: KeyInfo) -> str:
    if key.state == "revoked":
        return f"revoked {moment(key.revoked_at)}"
    if key.state == "disabled":
        return "account disabled"
    if key.expires_at is None:
        return "never expires"
    return f"{'expired' if key.state == 'expired' else 'expires'} {moment(key.expires_at)}"
