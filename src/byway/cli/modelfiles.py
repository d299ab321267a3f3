"""`byway models catalogue` and `delete`: model files to download, and those of Byway's own folder."""

from __future__ import annotations

import click

from byway.cli import change
from byway.cli.clientchange import confirm
from byway.cli.configfile import read
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import print_json, print_table
from byway.display import machine_memory_text, size, window


@click.command()
@DATA_DIR
@JSON
def catalogue(folder: str | None, as_json: bool) -> None:
    """List models to download, those that fit this machine first.

    FIT compares the weights and a context of 32,768 tokens with the memory of this machine; memory of GPUs is not counted.
    """
    from byway.admin.catalogue import list_catalogue

    listed = list_catalogue(data_folder(folder))
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            model.name,
            f"{'' if model.is_size_confirmed else 'about '}{size(model.size)}",
            model.fit.fit,
            size(model.fit.needed),
            window(model.window),
            model.tools,
            model.licence,
            "downloaded" if model.path else "-",
        )
        for model in listed.models
    ]
    print_table([("NAME", "SIZE", "FIT", "NEEDS", "CONTEXT", "TOOLS", "LICENCE", "FILE"), *rows])
    click.echo()
    click.echo(
        f"{machine_memory_text(listed.memory.total, listed.memory.free)} To download one: byway models download NAME"
    )


@click.command()
@click.argument("model", metavar="NAME|PATH")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@CONFIG
@DATA_DIR
@JSON
def delete(model: str, yes: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Delete a model file of Byway's own folder.

    A file that a model runs from is not deleted: unload the model first. Files of other programs are never deleted.
    """
    from byway.admin import localmodels

    config, data = read(change.writable_source(file, folder)), data_folder(folder)
    with change.failing():
        wanted = localmodels.find_deletable(data, config, (), model)
    parts = f" ({wanted.parts} files)" if wanted.parts > 1 else ""
    if not confirm(f"Delete {wanted.path}{parts}, {size(wanted.size)}?", yes=yes or as_json):
        return
    with change.open_store(data) as store, change.failing():
        deleted = localmodels.delete_file(data, config, (), store, wanted.path, change.author("byway models"))
    if as_json:
        print_json(deleted)
    else:
        click.echo(f"{deleted.name} deleted. {size(deleted.size)} of disk space freed.")
