"""`byway limits`: the limits and how much of them is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from byway.cli import client, configfile
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import note, print_json, print_table, printable

if TYPE_CHECKING:
    from byway.admin.limits import LimitInfo

_NOT_RUNNING: Final = "Byway does not run: these are the limits of the config, without their use."


@click.command()
@CONFIG
@DATA_DIR
@JSON
def command(file: str | None, folder: str | None, as_json: bool) -> None:
    """Show the limits on requests, tokens, concurrency and money, and how much of them is used.

    While Byway does not run: the limits of the config. To set one: byway config set limits '[{for: key, budget: 20}]'
    """
    import msgspec

    from byway.admin.limits import LimitInfo, configured_limits

    answer: dict[str, Any] | None = None if file else client.get(data_folder(folder), "/byway/limits")
    if answer is None:
        limits = configured_limits(configfile.read(configfile.find(file, os.environ, folder)))
        note("These are the limits of the config, without their use." if file else _NOT_RUNNING)
    else:
        limits = msgspec.convert(answer["limits"], list[LimitInfo])
    if as_json:
        print_json({"limits": limits})
        return
    if not limits:
        note(
            "There are no limits. To give each key 20 dollars a month: byway config set limits '[{for: key, budget: 20}]'"
        )
        return
    print_table([("LIMIT", "FOR", "USED", "RESETS"), *map(_row, limits)])
    if answer is not None and answer.get("warning"):
        note(f"warning: {printable(answer['warning'])}")


def _row(info: LimitInfo) -> tuple[str, ...]:
    resets = f"{info.resets_at:%Y-%m-%d %H:%M} UTC" if info.unit == "budget" and info.resets_at else ""
    return (info.path, printable(info.subject_text), info.text, resets)
