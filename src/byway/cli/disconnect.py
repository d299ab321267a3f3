"""`byway disconnect`: undoes what `byway connect` and `byway doctor` have written into the settings of client programs."""

from __future__ import annotations

import click

from byway.cli.clientchange import confirm, explained, make, show
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Misuse, note, print_json
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.targets import TARGETS
from byway.clients import connect


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--dry-run", is_flag=True, help="Print the diff and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@DATA_DIR
@JSON
def command(targets: tuple[str, ...], dry_run: bool, yes: bool, folder: str | None, as_json: bool) -> None:
    """Undo what Byway has written into the settings of clients: of every TARGET, or of those that are named.

    Values that you have changed since stay. Prints a diff without secrets, and changes the files after one key.
    """
    if unknown := [target for target in targets if target not in TARGETS]:
        raise Misuse(f"Unknown target {unknown[0][:40]!r}. Use: {', '.join(TARGETS)}.")
    data = data_folder(folder)
    ledger = Ledger(data)
    with explained():
        prepared = connect.prepare_disconnect(ledger, targets)
    if not as_json:
        for change in prepared.shown:
            show(change)
    done = False
    if not prepared.plans:
        note("Nothing to undo: Byway has changed no client's settings.")
    elif not dry_run and confirm("Undo these changes?", yes=yes or as_json):
        make(ledger, prepared, data)
        done = True
    if as_json:
        print_json({"changes": prepared.shown, "changed": done})
    elif done:
        click.echo("Disconnected.")
        note(
            "Running sessions that used these settings keep the endpoint until they are restarted: Claude Code does not "
            "notice that a value was removed."
        )
