"""`byway login`: browsers that are logged in to the settings page. A running Byway applies a change within a second."""

from __future__ import annotations

import click

from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Misuse, note, print_json, print_table
from byway.display import count, moment


@click.group()
def command() -> None:
    """List and revoke logins of the settings page. For a new one: byway page, or byway account link ID."""


@command.command("list")
@DATA_DIR
@JSON
def list_command(folder: str | None, as_json: bool) -> None:
    """List the browsers that are logged in, newest first."""
    from byway.admin.logins import login_info
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        logins = [login_info(record) for record in store.logins()]
    if as_json:
        print_json({"logins": logins})
    elif not logins:
        note("No browser is logged in. To log in: byway page")
    else:
        rows = [
            (
                *(login.id, login.account or "-", moment(login.created_at), moment(login.seen_at) or "-"),
                *(moment(login.expires_at), login.browser),
            )
            for login in logins
        ]
        print_table([("ID", "ACCOUNT", "SINCE", "LAST SEEN", "EXPIRES", "BROWSER"), *rows])


@command.command()
@click.argument("id", required=False)
@click.option("--all", "everything", is_flag=True, help="Revoke every login.")
@DATA_DIR
@JSON
def revoke(id: str | None, everything: bool, folder: str | None, as_json: bool) -> None:
    """Revoke the login ID, or every login."""
    from byway.cli.change import author, open_store

    if everything == bool(id):
        raise Misuse("Give the ID of a login, or --all. To list the logins: byway login list")
    with open_store(data_folder(folder)) as store:
        revoked = store.remove_login(id, author("byway login")) if id else store.remove_logins(author("byway login"))
    if id and not revoked:
        raise Misuse(f"There is no login {id}. To list the logins: byway login list")
    if as_json:
        print_json({"revoked": int(revoked)})
    else:
        click.echo(f"{count(int(revoked), 'login')} revoked.")
