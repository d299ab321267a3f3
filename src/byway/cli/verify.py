"""`byway verify`: does a client reach a model by way of the Byway that runs?"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from byway import platform
from byway.cli import client
from byway.cli.configfile import JSON, data_dir
from byway.cli.output import Failure, Misuse

_USUAL: Final = "http://127.0.0.1:38080"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_LONGEST: Final = 1_000


@click.command()
@click.option("--url", metavar="URL", help="Base URL. [default: of the Byway that runs, else $ANTHROPIC_BASE_URL]")
@click.option("--model", metavar="NAME", default="sonnet", show_default=True, help="The name to ask for.")
@click.option(
    "--key", "ask_key", is_flag=True, help="Ask for the key, or read it from stdin. [default: $ANTHROPIC_API_KEY]"
)
@data_dir
@JSON
def command(url: str | None, model: str, ask_key: bool, folder: str | None, as_json: bool) -> None:
    """Ask for one token as Claude Code would, and say who answered, or what failed and what to do."""
    from byway.admin.verify import verify

    base = url or _found(platform.data_folder(folder, os.environ), os.environ)
    key = _typed() if ask_key else os.environ.get("ANTHROPIC_API_KEY", "")
    if not key.isascii() or not key.isprintable():
        raise Misuse("That is no key: keys are of printable ASCII letters.")
    verdict = asyncio.run(verify(base, key, model))
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode({"url": base, **msgspec.structs.asdict(verdict)})).decode())
        if not verdict.good:
            raise click.exceptions.Exit(Failure.exit_code)
        return
    if verdict.good:
        who = f"{verdict.model or model}{f' (backend {verdict.backend})' if verdict.backend else ''}"
        click.echo(
            f"{click.style(verdict.said, fg='green', bold=True)}: {who} answers for {model}, in {verdict.ms:,.0f} ms"
        )
        return
    failed = f" ({verdict.layer})" if verdict.layer else ""
    lines = [f"{click.style(verdict.said, fg='red', bold=True)}{failed} at {base}, asked for {model}"]
    if verdict.why:
        lines.append(f"  Why:  {verdict.why}")
    if verdict.hint:
        lines.append(f"  Try:  {verdict.hint}")
    raise Failure("\n".join(lines))


def _found(data: Path, environ: Mapping[str, str]) -> str:
    """The base URL of the Byway that runs, else where clients of this machine are told to go, else the usual one."""
    here = client.address(data)
    if here:
        return f"{here}/anthropic"
    if client.ask(data, "/byway/config") is not None:
        # It has no address of TCP; what is asked is the same.
        return f"unix:{data / client.SOCKET}"
    told = environ.get("ANTHROPIC_BASE_URL", "").strip()
    try:
        loopback = urlsplit(told).hostname in _LOOPBACK
    except ValueError:
        loopback = False
    return told if loopback else f"{_USUAL}/anthropic"


def _typed() -> str:
    """A key that nobody sees: typed, or from stdin."""
    if platform.is_terminal(sys.stdin):
        return str(click.prompt("Key (not shown)", hide_input=True, err=True)).strip()
    return sys.stdin.buffer.read(_LONGEST).decode(errors="replace").strip()
