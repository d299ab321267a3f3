"""`byway verify`: does a client reach a model through the running Byway?"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from byway import platform
from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, print_json
from byway.display import latency
from byway.endpoints.running import USUAL_URL

if TYPE_CHECKING:
    from byway.admin.verify import Verdict

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
#: Bytes of a key on stdin.
_INPUT_LIMIT: Final = 1_000


@click.command()
@click.option("--url", metavar="URL", help="Base URL. [default: of the running Byway, else $ANTHROPIC_BASE_URL]")
@click.option("--model", metavar="NAME", default="sonnet", show_default=True, help="The model name to request.")
@click.option(
    "--key",
    "prompt_for_key",
    is_flag=True,
    help="Prompt for the key, or read it from stdin. [default: $ANTHROPIC_API_KEY]",
)
@DATA_DIR
@JSON
def command(url: str | None, model: str, prompt_for_key: bool, folder: str | None, as_json: bool) -> None:
    """Send a request of one token as Claude Code would. Prints which model answered, or what failed and what to do."""
    from byway.admin.verify import verify
    from byway.tls.trust import extra_cas

    data = data_folder(folder)
    base = url or _base_url(data, os.environ)
    key = _read_key() if prompt_for_key else os.environ.get("ANTHROPIC_API_KEY", "")
    if not key.isascii() or not key.isprintable():
        raise Misuse("This is not a key: keys contain only printable ASCII characters.")
    verdict = asyncio.run(verify(base, key, model, extra_cas=extra_cas(data, os.environ)))
    if as_json:
        import msgspec

        print_json({"url": base, **msgspec.structs.asdict(verdict)})
        if not verdict.good:
            raise click.exceptions.Exit(Failure.exit_code)
        return
    if not verdict.good:
        raise Failure(_failure(verdict, base, model))
    backend = f" (backend {verdict.backend})" if verdict.backend else ""
    summary = click.style(verdict.summary, fg="green", bold=True)
    click.echo(f"{summary}: {verdict.model or model}{backend} answered {model} in {latency(verdict.ms)}")


def _failure(verdict: Verdict, base: str, model: str) -> str:
    summary = click.style(verdict.summary, fg="red", bold=True)
    layer = f" ({verdict.layer})" if verdict.layer else ""
    lines = [f"{summary}{layer} at {base}, model {model}"]
    if verdict.message:
        lines.append(f"  Error:   {verdict.message}")
    if verdict.hint:
        lines.append(f"  To fix:  {verdict.hint}")
    return "\n".join(lines)


def _base_url(data: Path, environ: Mapping[str, str]) -> str:
    """The base URL of the running Byway, else the one that clients on this machine use, else the default."""
    url = client.address(data)
    if url:
        return f"{url}/anthropic"
    if client.get(data, "/byway/config") is not None:
        # It has no TCP address. The socket serves the same API.
        return f"unix:{data / client.SOCKET}"
    configured = environ.get("ANTHROPIC_BASE_URL", "").strip()
    try:
        is_local = urlsplit(configured).hostname in _LOOPBACK
    except ValueError:
        is_local = False
    return configured if is_local else f"{USUAL_URL}/anthropic"


def _read_key() -> str:
    """A key from a hidden prompt, or from stdin."""
    if platform.is_terminal(sys.stdin):
        return str(click.prompt("Key (hidden)", hide_input=True, err=True)).strip()
    return sys.stdin.buffer.read(_INPUT_LIMIT).decode(errors="replace").strip()
