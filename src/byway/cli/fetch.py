"""`byway fetch`: fetches a page as a model would and prints its text."""

from __future__ import annotations

import asyncio
import os
import time

import click
import msgspec

from byway.cli.configfile import find, read
from byway.cli.options import CONFIG, DATA_DIR, JSON
from byway.cli.output import Failure, note, print_json, printable
from byway.display import elapsed

#: What to do for an error code, where the message does not say it.
_ADVICE = {
    "invalid_tool_input": "Give a complete URL: byway fetch https://example.com/page",
    "content_too_large": "To fetch larger pages, raise `web_fetch.max_bytes` in the config.",
    "url_not_accessible": "Open the URL in a browser. Byway cannot fetch pages that require a login or a proxy.",
}


@click.command()
@click.argument("url")
@CONFIG
@click.option("--tokens", type=click.IntRange(1), help="Cut the text at about this number. [default: as configured]")
@DATA_DIR
@JSON
def command(url: str, file: str | None, tokens: int | None, folder: str | None, as_json: bool) -> None:
    """Fetch URL as a model would, and print its text. Title and facts go to stderr. Byway does not have to run."""
    config = read(find(file, os.environ, folder))
    from byway.web.fetch import Fetcher, FetchError

    settings = config.web_fetch
    if tokens is not None:
        settings = msgspec.structs.replace(settings, max_content_tokens=tokens)
    started = time.perf_counter()
    try:
        page = asyncio.run(Fetcher(settings, local_only=config.local_only).fetch(url))
    except FetchError as error:
        raise Failure(f"{error.code}: {error.message} {_ADVICE.get(error.code, '')}".rstrip()) from None
    seconds = time.perf_counter() - started
    if as_json:
        print_json({**page._asdict(), "trail": [str(requested) for requested in page.trail]})
        return
    rows = [
        ("title", page.title),
        ("url", page.url),
        ("redirects", " -> ".join(str(requested) for requested in page.trail[:-1])),
        ("type", page.media_type),
        ("tokens", f"about {page.tokens:,}{f', cut at about {settings.max_content_tokens:,}' if page.cut else ''}"),
        ("fetched", f"{page.retrieved_at} in {elapsed(seconds)}"),
    ]
    for name, value in rows:
        if value:
            note(f"{name:<10}{printable(value)}")
    click.echo(printable(page.text, "\n\t"))
