"""`byway search`."""

from __future__ import annotations

import asyncio
import os
import shutil
import textwrap
import time
from typing import TYPE_CHECKING

import click

from byway.cli import Failure
from byway.cli.config import read
from byway.cli.source import find

if TYPE_CHECKING:
    from byway.search import Result

_ADVICE = {
    "too_many_requests": "Wait a moment; add another provider under `web_search.fallback`.",
    "query_too_long": "Ask in fewer words.",
}


@click.command()
@click.argument("query")
@click.option("--config", "file", metavar="FILE", help="The config file. [default: $BYWAY_CONFIG, else the user's own]")
@click.option("--count", type=click.IntRange(1, 20), help="So many results. [default: as configured]")
@click.option("--allow", "allowed", multiple=True, metavar="DOMAIN", help="Only from this domain; may be given again.")
@click.option("--block", "blocked", multiple=True, metavar="DOMAIN", help="Not from this domain; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    query: str, file: str | None, count: int | None, allowed: tuple[str, ...], blocked: tuple[str, ...], as_json: bool
) -> None:
    """Search the web for QUERY as a model would, and print what is found. Byway need not run."""
    config = read(find(file, os.environ))
    from byway.domains import complaint
    from byway.search import Failed, Query
    from byway.search.searching import Found, Searcher

    wrong = complaint(allowed, blocked)
    if wrong:
        raise click.UsageError(wrong)
    settings = config.web_search
    asked = Query(query, count or settings.max_results, allowed, blocked)

    async def ask() -> Found:
        searcher = Searcher(settings)
        try:
            return await searcher.search(asked)
        finally:
            await searcher.close()

    began = time.perf_counter()
    try:
        found = asyncio.run(ask())
    except Failed as failed:
        raise Failure(" ".join((f"{failed.code}: {failed.message}", _ADVICE.get(failed.code, ""))).strip()) from None
    seconds = time.perf_counter() - began
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found.results)).decode())
        return
    for rank, one in enumerate(found.results, 1):
        _show(rank, one)
    what = f"{len(found.results)} results" if found.results else "Nothing found"
    click.echo(f"{what} by {found.provider} in {seconds:.1f} s", err=True)


def _show(rank: int, one: Result) -> None:
    """A title with its age, its address, and its snippet, as wide as the terminal."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    age = f"  {one.age}" if one.age else ""
    click.echo(f"{rank:>2}  {click.style(_printable(one.title), bold=True)}{click.style(_printable(age), dim=True)}")
    click.echo(f"    {click.style(_printable(one.url), fg='blue')}")
    for line in textwrap.wrap(_printable(one.snippet), width - 4, max_lines=3, placeholder=" …"):
        click.echo(f"    {line}")
    click.echo()


def _printable(text: str) -> str:
    """`text` without what would steer a terminal."""
    return "".join(letter for letter in text if letter.isprintable())
