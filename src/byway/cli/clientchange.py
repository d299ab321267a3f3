"""What `connect`, `disconnect` and `doctor` share: show planned changes, confirm them with one key, make them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from byway import platform
from byway.cli.output import Failure, Misuse, note
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import user_folders
from byway.clientfiles.ledger import Ledger
from byway.clients.connect import PlannedChange, Prepared, carry_out
from byway.clients.signin import is_sign_in, sign_out


@contextmanager
def explained() -> Iterator[None]:
    """Make a ClientFileError the failure of the command."""
    try:
        yield
    except ClientFileError as error:
        raise Failure(str(error)) from None


def show(change: PlannedChange) -> None:
    """Print the diff of a change, in colours, and its remarks."""
    for line in change.diff.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        bold = line.startswith(("+++", "---"))
        click.echo(click.style(line, fg=None if bold else colour, bold=bold))
    for remark in change.remarks:
        note(f"Note: {remark}")


def confirm(question: str, *, yes: bool, option: str = "--yes") -> bool:
    """Whether the user presses `y`. Without a terminal only `yes` confirms.

    `option` sets `yes`; empty: no option does.
    """
    if yes:
        return True
    if not platform.is_terminal(sys.stdin):
        advice = (
            f"To change it without a question, add {option}." if option else "To change it, run this in a terminal."
        )
        note(f"Nothing was changed. {advice}")
        return False
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    char = click.getchar()
    click.echo(char if char.isprintable() else "", err=True)
    return char in ("y", "Y")


def make(ledger: Ledger, prepared: Prepared, data: Path, action: str = "") -> None:
    """Make the changes, revoke keys that no client has any more, and sign out. Raises Failure."""
    with explained():
        urls = {receipt.key: receipt.base_url for receipt in ledger.read().files}

        def end(id: str) -> None:
            if is_sign_in(id):
                _sign_out(data, id, urls[id])
            else:
                revoker(data)(id)

        carry_out(ledger, prepared, end, action)


def _sign_out(data: Path, id: str, base_url: str) -> None:
    from byway.admin.signins import revoke_sign_in
    from byway.cli.change import author, open_store

    if not sign_out(user_folders(Path.cwd(), os.environ), base_url):
        note("Claude Code keeps its credentials in the keychain. To remove them: claude auth logout")
    try:
        with open_store(data) as store:
            revoke_sign_in(store, id, author("byway disconnect"))
    except Misuse:
        # It was ended on the page, or by /logout.
        return
    note(f"Signed out: the sign-in {id} has ended.")


def revoker(data: Path) -> Callable[[str], None]:
    """Return a function that revokes a key by its id."""

    def revoke(id: str) -> None:
        from byway.admin import keys
        from byway.cli.change import author, open_store

        try:
            with open_store(data) as store:
                keys.revoke_key(store, id, author("byway disconnect"))
        except Misuse:
            return
        note(f"The key {id} is revoked.")

    return revoke
