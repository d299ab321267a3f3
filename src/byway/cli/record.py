"""`byway record`: records prompts and answers of the running Byway in memory."""

from __future__ import annotations

from typing import Any

import click

from byway.cli.client import not_running
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, printable
from byway.display import clock, size
from byway.endpoints.running import request


@click.command()
@click.option("--minutes", type=click.IntRange(1, 240), help="Record for so many minutes.")
@click.option(
    "--session", default="", metavar="ID", help="Record this session only; without --minutes for 240 minutes."
)
@click.option("--stop", is_flag=True, help="End the recording. What was recorded stays until a restart.")
@click.option("--discard", is_flag=True, help="End the recording and delete what was recorded.")
@DATA_DIR
@JSON
def command(minutes: int | None, session: str, stop: bool, discard: bool, folder: str | None, as_json: bool) -> None:
    """Record prompts and answers of your own requests, in memory and without credentials.

    They are shown in the inspector on the page Requests. Without an option the state of the recording is printed.
    """
    starts = minutes is not None or bool(session)
    if starts and (stop or discard):
        raise Misuse("Use either --minutes and --session, or --stop, or --discard.")
    data = data_folder(folder)
    body: dict[str, Any] | None = None
    method, path = "GET", "/byway/recording"
    if stop or discard:
        method, path = "DELETE", f"/byway/recording{'?discard=1' if discard else ''}"
    elif starts:
        method, body = "POST", {"minutes": minutes or 240, "session": session}
    answer = request(data, method, path, body)
    if answer is None:
        raise Failure(not_running(data))
    if answer.status != 200:
        raise (Misuse if answer.status == 400 else Failure)(printable(answer.message))
    state = answer.body
    if as_json:
        print_json(state)
        return
    if state["active"]:
        what = f"session {printable(state['session'])}" if state["session"] else "all requests of the local owner"
        click.echo(f"Recording {what} until {clock(state['ends_at'])}. To end it: byway record --stop")
    else:
        click.echo("Recording is off.")
    note(f"{state['requests']} recorded, {size(state['bytes'])}")
