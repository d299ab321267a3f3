"""`byway batch`: batches of the running Byway and their progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from byway.cli.client import needed_answer
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Misuse, note, print_json, print_table, printable
from byway.display import moment, size

if TYPE_CHECKING:
    from byway.admin.batches import BatchInfo


@click.group()
def command() -> None:
    """List, cancel and delete batches."""


@command.command("list")
@DATA_DIR
@JSON
def list_command(folder: str | None, as_json: bool) -> None:
    """List the batches of all clients with their progress, newest first."""
    import msgspec

    from byway.admin.batches import BatchInfo

    answer = needed_answer(data_folder(folder), "GET", "/byway/batches")
    batches = msgspec.convert(answer["batches"], list[BatchInfo])
    if as_json:
        print_json(answer)
    elif not batches:
        note("There are no batches. A client creates one with POST /v1/messages/batches.")
    else:
        head = ("ID", "OWNER", "STATUS", "CREATED", "REQUESTS", "SUCCEEDED", "ERRORED", "LEFT", "SIZE")
        print_table([head, *map(_row, batches)])
    if answer.get("problem"):
        note(f"warning: {printable(answer['problem'])}")


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def cancel(id: str, folder: str | None, as_json: bool) -> None:
    """Cancel the batch ID. Its requests without a result are not answered any more."""
    answer = needed_answer(data_folder(folder), "POST", f"/byway/batches/{_checked(id)}/cancel")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Batch {answer['id']} is being cancelled.")


@command.command()
@click.argument("id")
@DATA_DIR
@JSON
def delete(id: str, folder: str | None, as_json: bool) -> None:
    """Delete the batch ID, which has ended, with its results."""
    answer = needed_answer(data_folder(folder), "DELETE", f"/byway/batches/{_checked(id)}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Batch {answer['id']} is deleted.")


def _checked(id: str) -> str:
    if not id.replace("_", "").isalnum() or not id.isascii():
        raise Misuse(f"{id[:80]!r} is no id of a batch. To list them: byway batch list")
    return id


def _row(info: BatchInfo) -> tuple[str, ...]:
    return (
        info.id,
        printable(info.owner) or "-",
        info.status,
        moment(info.created_at),
        f"{info.requests:,}",
        f"{info.succeeded:,}",
        f"{info.errored:,}",
        f"{info.left:,}",
        size(info.size),
    )
