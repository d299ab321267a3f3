"""`byway signin`: clients that are signed in by `/login`. A running Byway applies a change within a second."""

from __future__ import annotations

import click

from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, print_table
from byway.display import moment


@click.group()
def command() -> None:
    """Approve, list and end sign-ins of Claude Code by /login."""


@command.command("list")
@click.option("--account", metavar="ID", help="Only the sign-ins of this account.")
@DATA_DIR
@JSON
def list_command(account: str | None, folder: str | None, as_json: bool) -> None:
    """List the clients that are signed in, newest first."""
    from byway.admin.signins import list_sign_ins
    from byway.cli.change import open_store

    with open_store(data_folder(folder)) as store:
        sign_ins = list_sign_ins(store, account)
    if as_json:
        print_json({"sign_ins": sign_ins})
    elif not sign_ins:
        note("No client is signed in. To sign in: /login in Claude Code")
    else:
        rows = [
            (
                sign_in.id,
                sign_in.account or "-",
                moment(sign_in.created_at),
                moment(sign_in.used_at) if sign_in.used_at else "never",
                sign_in.address or "-",
                sign_in.client,
            )
            for sign_in in sign_ins
        ]
        print_table([("ID", "ACCOUNT", "SINCE", "LAST USED", "ADDRESS", "CLIENT"), *rows])


@command.command()
@click.argument("code")
@click.option("--deny", is_flag=True, help="Deny the sign-in.")
@DATA_DIR
@JSON
def approve(code: str, deny: bool, folder: str | None, as_json: bool) -> None:
    """Approve the client that shows CODE after /login. It then works as you, the owner of this Byway.

    Compare the code with the one that Claude Code shows, and approve only a sign-in that you have started yourself.
    """
    from byway.endpoints import running

    answer = running.request(data_folder(folder), "POST", "/byway/sign-ins", {"user_code": code, "approve": not deny})
    if answer is None:
        raise Failure("Byway is not running, and codes exist in its memory only. Start it: byway up")
    if answer.status >= 400:
        raise Failure(answer.message)
    if as_json:
        print_json(answer.body)
    elif deny:
        click.echo("Denied. The client was not signed in.")
    else:
        click.echo(f"Approved: {answer.body['client']} at {answer.body['address'] or 'a unix socket'}.")
        note(f"To end it: byway signin revoke {answer.body['id']}")


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def revoke(id: str, folder: str | None, as_json: bool) -> None:
    """End the sign-in ID."""
    from byway.admin.signins import revoke_sign_in
    from byway.cli.change import author, open_store

    with open_store(data_folder(folder)) as store:
        try:
            sign_in = revoke_sign_in(store, id, author("byway signin"))
        except LookupError as error:
            raise Misuse(f"{error} To list the sign-ins: byway signin list") from None
    if as_json:
        print_json(sign_in)
    else:
        click.echo(f"Sign-in {sign_in.id} has ended. The next request of the client is rejected.")
