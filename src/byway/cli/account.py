"""`byway account`: the people and services that keys belong to. A running Byway applies a change within a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import note, print_json, print_table
from byway.display import count, moment
from byway.roles import DEFAULT_ORGANIZATION, PERMISSIONS, ROLES

if TYPE_CHECKING:
    from msgspec import Struct

    from byway.admin.accounts import AccountInfo
    from byway.store import Store

_ROLES = "; ".join(f"{role}: {PERMISSIONS[role].description}" for role in ROLES)


@click.group()
def command() -> None:
    """Add, list, change, disable and remove accounts. A running Byway applies a change within a second."""


@command.command()
@click.argument("id")
@click.option("--name", default="", help="The name for people. [default: the ID]")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True, help=f"{_ROLES}.")
@click.option("--group", default="", help="A group that limits may apply to.")
@click.option("--organization", default=DEFAULT_ORGANIZATION, show_default=True, help="The organization.")
@DATA_DIR
@JSON
def add(id: str, folder: str | None, as_json: bool, **fields: str) -> None:
    """Add an account, such as ada or ada@example.com. It has no key and no login yet."""
    from byway.admin import accounts

    added = _apply(folder, lambda store, who: accounts.add_account(store, id, who, **fields))
    if as_json:
        print_json(added)
    else:
        click.echo(f"Added {_described(added)}.")
        note(f"To create a key for it: byway key create NAME --account {added.id}")
        note(f"To let it log in to the settings page: byway account link {added.id}")


@command.command("list")
@DATA_DIR
@JSON
def list_command(folder: str | None, as_json: bool) -> None:
    """List the accounts."""
    from byway.admin import accounts
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        listed = accounts.list_accounts(store)
    if as_json:
        print_json(listed)
    elif not listed.accounts:
        note("There are no accounts. To add one: byway account add ID")
    else:
        rows = [
            (
                account.id,
                account.name,
                account.role,
                account.group,
                account.organization,
                account.state,
                f"{account.keys}",
            )
            for account in listed.accounts
        ]
        print_table([("ID", "NAME", "ROLE", "GROUP", "ORGANIZATION", "STATE", "KEYS"), *rows])


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def show(id: str, folder: str | None, as_json: bool) -> None:
    """Show the account ID and its keys."""
    from byway.admin import accounts
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        details = accounts.show_account(store, id)
    if as_json:
        print_json(details)
        return
    account = details.account
    click.echo(f"{_described(account)}, {account.state}, since {moment(account.created_at)}")
    if not details.keys:
        note(f"It has no key. To create one: byway key create NAME --account {account.id}")
        return
    rows = [
        (key.id, key.name, f"…{key.hint}", key.state, ", ".join(key.models) or "all", moment(key.used_at) or "never")
        for key in details.keys
    ]
    print_table([("KEY ID", "NAME", "KEY", "STATE", "MODELS", "LAST USED"), *rows])


@command.command("set")
@click.argument("id")
@click.option("--name", help="The name for people.")
@click.option("--role", type=click.Choice(ROLES), help="It applies to the keys that exist, too.")
@click.option("--group", help='A group that limits may apply to; "" for none.')
@click.option("--organization", help="The organization.")
@DATA_DIR
@JSON
def set_command(id: str, folder: str | None, as_json: bool, **fields: str | None) -> None:
    """Change the name, role, group or organization of the account ID."""
    from byway.admin import accounts

    changed = _apply(folder, lambda store, who: accounts.change_account(store, id, who, **fields))
    _print(changed, f"Changed {_described(changed)}.", as_json=as_json)


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def link(id: str, folder: str | None, as_json: bool) -> None:
    """Print a code and a link with which the account ID logs in to the settings page. They work once, within 15 minutes."""
    from byway.admin.logins import create_login_code
    from byway.cli import client

    data = data_folder(folder)
    created = _apply(folder, lambda store, who: create_login_code(store, id, who))
    url = client.page_url(client.get(data, "/byway/config"), client.address(data))
    opened = f"{url}/login?code={created.code}" if url else ""
    if as_json:
        print_json({"account": created.account, "code": created.code, "url": opened, "expires_at": created.expires_at})
        return
    click.echo(created.code)
    if opened:
        click.echo(opened)
    else:
        note("No Byway is running with this data folder, so there is no link. Start it: byway up")
    note(
        f"For {created.account}, once, within 15 minutes. Enter the code at /login of the settings page, or open the link."
    )


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def disable(id: str, folder: str | None, as_json: bool) -> None:
    """Reject the keys of the account ID and end its logins, until it is enabled. Requests in progress are finished."""
    from byway.admin import accounts

    changed = _apply(folder, lambda store, who: accounts.disable_account(store, id, who))
    _print(changed, f"{changed.id} disabled: {count(changed.keys, 'key')} rejected.", as_json=as_json)


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def enable(id: str, folder: str | None, as_json: bool) -> None:
    """Accept the keys of the disabled account ID again."""
    from byway.admin import accounts

    changed = _apply(folder, lambda store, who: accounts.enable_account(store, id, who))
    _print(changed, f"{changed.id} enabled: {count(changed.keys, 'key')} accepted.", as_json=as_json)


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def remove(id: str, folder: str | None, as_json: bool) -> None:
    """Remove the account ID for good. Its keys are revoked and its logins end. Its usage stays."""
    from byway.admin import accounts

    removed = _apply(folder, lambda store, who: accounts.remove_account(store, id, who))
    _print(removed, f"{removed.account.id} removed, {count(removed.revoked, 'key')} revoked.", as_json=as_json)


def _apply(folder: str | None, change: Callable[[Store, str], Any]) -> Any:
    """Call a service with the store and the author of the change. A failure ends the command."""
    from byway.cli.change import author, open_store

    with open_store(data_folder(folder)) as store:
        return change(store, author("byway account"))


def _print(result: Struct, text: str, *, as_json: bool) -> None:
    """Print the outcome of a change: as JSON, or `text`."""
    if as_json:
        print_json(result)
    else:
        click.echo(text)


def _described(account: AccountInfo) -> str:
    name = f" ({account.name})" if account.name != account.id else ""
    group = f", group {account.group}" if account.group else ""
    return f"{account.id}{name}: {account.role}{group}, organization {account.organization}"
