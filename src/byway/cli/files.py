"""`byway files`: the files that clients have uploaded to the running Byway."""

from __future__ import annotations

from urllib.parse import quote

import click

from byway.cli.client import needed_answer
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import note, print_json, print_table, printable
from byway.display import count


@click.group()
def command() -> None:
    """List and delete the files that clients have uploaded."""


@command.command("list")
@click.option("--owner", metavar="OWNER", help="Only the files of this owner: account:ID or key:ID.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The most files to print.")
@DATA_DIR
@JSON
def list_command(owner: str | None, limit: int, folder: str | None, as_json: bool) -> None:
    """List the files of all clients, newest first."""
    path = f"/byway/files?limit={limit}" + (f"&owner={quote(owner, safe='')}" if owner is not None else "")
    page = needed_answer(data_folder(folder), "GET", path)
    if as_json:
        print_json(page)
        return
    if page["problem"]:
        note(f"warning: the file storage could not be used: {printable(page['problem'])}")
    if not page["files"]:
        note("No files are stored. Clients upload them to /v1/files.")
        return
    rows = [
        (
            file["id"],
            printable(file["owner"]) or "-",
            _size(file["size"]),
            file["media_type"],
            file["created_at"][:16].replace("T", " "),
            (file["expires_at"] or "never")[:16].replace("T", " "),
            printable(file["filename"]),
        )
        for file in page["files"]
    ]
    print_table([("ID", "OWNER", "SIZE", "TYPE", "UPLOADED", "EXPIRES", "NAME"), *rows])
    files, size = (sum(owner[name] for owner in page["owners"]) for name in ("files", "bytes"))
    note(
        f"{count(files, 'file')}, {_size(size)} together." + (" There are older ones: --limit" if page["more"] else "")
    )


@command.command("delete")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@DATA_DIR
@JSON
def delete_command(ids: tuple[str, ...], folder: str | None, as_json: bool) -> None:
    """Delete files and their bytes. It cannot be undone."""
    data = data_folder(folder)
    deleted = [needed_answer(data, "DELETE", f"/byway/files/{quote(id, safe='')}") for id in ids]
    if as_json:
        print_json({"deleted": deleted})
        return
    for file in deleted:
        click.echo(f"Deleted {file['id']} ({printable(file['filename'])}, {_size(file['size'])}).")


def _size(size: int) -> str:
    from byway.files.service import size_text

    return size_text(size)
