"""`byway page`: a new link of the settings page."""

from __future__ import annotations

import html
import os
import secrets
import time
import webbrowser
from pathlib import Path
from typing import Final

import click

from byway import platform
from byway.access.login import KEY_FILE, LINK_SECONDS, SECRET_SIZE, Logins
from byway.cli import client
from byway.cli.configfile import JSON, data_dir
from byway.cli.output import Failure, print_json

#: The file by which a browser is sent to the page: a program's arguments can be read by everybody on the machine.
_DOOR: Final = "open.html"


@click.command()
@click.option("--open", "start", is_flag=True, help="Open it in the browser.")
@data_dir
@JSON
def command(start: bool, folder: str | None, as_json: bool) -> None:
    """Print a link that opens the settings page of the Byway that runs. It works once, within a quarter of an hour."""
    data = platform.data_folder(folder, os.environ)
    url = link(data)
    if as_json:
        print_json({"url": url, "seconds": LINK_SECONDS})
    else:
        click.echo(url)
    if start:
        _open(data, url)


def link(data: Path) -> str:
    """A link for the Byway with this data folder; raises Failure when there is none that has a page."""
    base = client.address(data)
    if base is None:
        if client.ask(data, "/byway/config") is not None:
            raise Failure(
                "Byway listens at a unix socket only, which browsers do not open. For the page give it an address too: "
                "byway config set server.bind_address 127.0.0.1:38080 --append, and start it anew."
            )
        raise Failure(f"No Byway runs with the data folder {data}. Start it: byway up (it prints a link too)")
    try:
        secret = (data / KEY_FILE).read_bytes()
    except OSError as error:
        raise Failure(
            f"{data / KEY_FILE} cannot be read: {error.strerror}. Start Byway anew: it prints a link"
        ) from None
    if len(secret) != SECRET_SIZE:
        raise Failure(
            f"{data / KEY_FILE} is not as Byway wrote it. Start Byway anew: it makes another, and prints a link"
        )
    return f"{base}/login?token={Logins(secret).link(time.time(), secrets.token_bytes(16))}"


def _open(data: Path, url: str) -> None:
    door = data / _DOOR
    text = html.escape(url)
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={text}"><a href="{text}">Open Byway</a>\n'
    try:
        platform.write_private(door, page.encode())
        opened = webbrowser.open(door.as_uri())
    except (OSError, webbrowser.Error):
        opened = False
    if not opened:
        raise Failure("No browser could be started. Open the link above by hand.")
