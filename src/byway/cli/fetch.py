"""`byway fetch`."""

from __future__ import annotations

import asyncio
import os
import time

import click
import msgspec

from byway.cli.configfile import find, read
from byway.cli.options import CONFIG, DATA_DIR, JSON
from byway.cli.output import Failure

#: What to do, by code; a code that is not here says it all.
_ADVICE = {
    "invalid_tool_input": "Give a whole URL: byway fetch https://example.com/page",
    "too_many_requests": "Wait, then try again.",
    "content_too_large": "For larger pages raise `web_fetch.max_bytes` in the config.",
    "url_not_accessible": "Look at it with a browser. Pages behind a login, and sites that a proxy leads to, stay closed.",
}


@click.command()
@click.argument("url")
@CONFIG
@click.option("--tokens", type=click.IntRange(1), help="Cut the text at about so many. [default: as configured]")
@DATA_DIR
@JSON
def command(url: str, file: str | None, tokens: int | None, folder: str | None, as_json: bool) -> None:
    """Fetch URL as a model would, and print its text. Title and facts go to stderr; Byway need not run."""
    config = read(find(file, os.environ, folder))
    from byway.web.fetch import Fetcher, FetchError

    settings = config.web_fetch
    if tokens is not None:
        settings = msgspec.structs.replace(settings, max_content_tokens=tokens)
    began = time.perf_counter()
    try:
        page = asyncio.run(Fetcher(settings, local_only=config.local_only).fetch(url))
    except FetchError as unfetched:
        raise Failure(" ".join((f"{unfetched.code}: {unfetched.message}", _ADVICE.get(unfetched.code, "")))) from None
    seconds = time.perf_counter() - began
    if as_json:
        told = {**page._asdict(), "trail": [str(one) for one in page.trail]}
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    rows = [
        ("title", page.title),
        ("url", page.url),
        ("redirects", " -> ".join(str(one) for one in page.trail[:-1])),
        ("type", page.media_type),
        ("tokens", f"about {page.tokens:,}{f', cut at about {settings.max_content_tokens:,}' if page.cut else ''}"),
        ("fetched", f"{page.retrieved_at} in {seconds:.1f} s"),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name:<10}{_printable(value)}", err=True)
    click.echo(_printable(page.text, "\n\t"))


def _printable(text: str, also: str = "") -> str:
    """`text` without what would steer a terminal."""
    return "".join(letter for letter in text if letter.isprintable() or letter in also)
