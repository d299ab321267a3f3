"""`byway page`: a link that opens the settings page."""

from __future__ import annotations

import html
import secrets
import time
import webbrowser
from pathlib import Path
from typing import Final

import click

from byway import platform
from byway.access.login import KEY_FILE, LINK_SECONDS, SECRET_SIZE, Logins
from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, print_json

#: The file that sends the browser to the page. Everybody on the machine can read a program's arguments.
_REDIRECT_FILE: Final = "open.html"


@click.command()
@click.option("--open", "start", is_flag=True, help="Open the link in the browser.")
@DATA_DIR
@JSON
def command(start: bool, folder: str | None, as_json: bool) -> None:
    """Print a link that opens the settings page of the running Byway. It works once, within 15 minutes."""
    data = data_folder(folder)
    url = link(data)
    if as_json:
        print_json({"url": url, "seconds": LINK_SECONDS})
    else:
        click.echo(url)
    if start:
        _open(data, url)


def link(data: Path) -> str:
    """A link for the Byway with this data folder. Raises Failure when none runs, or when it has no page."""
    view = client.get(data, "/byway/config")
    base = client.page_url(view, client.address(data))
    if not base:
        if view is not None:
            raise Failure(
                "Byway listens at a unix socket only, which browsers cannot open. Add a TCP address and restart it: "
                "byway config set server.bind_address 127.0.0.1:38080 --append"
            )
        raise Failure(client.not_running(data))
    try:
        secret = (data / KEY_FILE).read_bytes()
    except OSError as error:
        raise Failure(f"{data / KEY_FILE} cannot be read: {error.strerror}. Restart Byway: it prints a link.") from None
    if len(secret) != SECRET_SIZE:
        raise Failure(f"{data / KEY_FILE} is damaged. Restart Byway: it makes a new one and prints a link.")
    return f"{base}/login?token={Logins(secret).link(time.time(), secrets.token_bytes(16))}"


def _open(data: Path, url: str) -> None:
    redirect = data / _REDIRECT_FILE
    text = html.escape(url)
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={text}"><a href="{text}">Open Byway</a>\n'
    try:
        platform.write_private(redirect, page.encode())
        is_opened = webbrowser.open(redirect.as_uri())
    except (OSError, webbrowser.Error):
        is_opened = False
    if not is_opened:
        raise Failure("No browser could be started. Open the link above.")
