"""`byway search`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from typing import TYPE_CHECKING

import click

from byway.cli.configfile import find, read
from byway.cli.options import CONFIG, DATA_DIR, JSON
from byway.cli.output import Failure, Misuse
from byway.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from byway.config import WebSearchSettings
    from byway.providers.protocol import Freshness, SearchError, WebResult

_ADVICE = {
    "query_too_long": "Ask in fewer words.",
    "request_too_large": "Name fewer domains.",
}


@click.command()
@click.argument("query")
@CONFIG
@click.option("--provider", type=click.Choice(tuple(PROVIDERS)), help="Ask this one only. [default: as configured]")
@click.option("--count", type=click.IntRange(1, 20), help="So many results. [default: as configured]")
@click.option(
    "--allow",
    "--allowed-domain",
    "allowed",
    multiple=True,
    metavar="DOMAIN",
    help="Only from this; may be given again.",
)
@click.option(
    "--block", "--blocked-domain", "blocked", multiple=True, metavar="DOMAIN", help="Not from this; may be given again."
)
@click.option("--freshness", type=click.Choice(("day", "week", "month", "year")), help="Nothing that is older.")
@DATA_DIR
@JSON
def command(
    query: str,
    file: str | None,
    provider: str | None,
    count: int | None,
    allowed: tuple[str, ...],
    blocked: tuple[str, ...],
    freshness: Freshness | None,
    folder: str | None,
    as_json: bool,
) -> None:
    """Search the web for QUERY as a model would, and print what is found. Byway need not run."""
    config = read(find(file, os.environ, folder))
    settings = config.web_search
    from byway.config import validators
    from byway.domains import domains_error
    from byway.providers.protocol import SearchError, SearchQuery
    from byway.search.chain import SearchAnswer, Searcher

    if wrong := domains_error(allowed, blocked):
        raise click.UsageError(wrong)
    if provider is not None:
        settings = _only(settings, provider)
    for asked in settings.providers if config.local_only else ():
        if not asked.base_url or not validators.local(asked.base_url):
            raise Misuse(
                f"local_only is set, and {asked.provider} is not certain to be on this machine or in a private network."
            )
    wanted = SearchQuery(query, count or settings.max_results, allowed, blocked, freshness=freshness)
    waiting = _Waiting()

    async def ask() -> SearchAnswer:
        searcher = Searcher(settings)
        try:
            return await searcher.search(wanted, waiting.watch)
        finally:
            await searcher.close()

    began = time.perf_counter()
    try:
        found = asyncio.run(ask())
    except SearchError as failed:
        waiting.clear()
        raise Failure(waiting.last or _told("", failed)) from None
    finally:
        waiting.clear()
    seconds = time.perf_counter() - began
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found.results)).decode())
        return
    for rank, one in enumerate(found.results, 1):
        _show(rank, one)
    many = len(found.results)
    what = f"{many} result{'s' if many > 1 else ''}" if many else "Nothing found"
    click.echo(f"{what} by {found.provider} in {seconds:.1f} s", err=True)


def _only(settings: WebSearchSettings, provider: str) -> WebSearchSettings:
    """The settings with `provider` alone."""
    import msgspec

    for one in settings.providers:
        if one.provider == provider:
            alone = {"provider": one.provider, "api_key": one.api_key, "base_url": one.base_url}
            return msgspec.structs.replace(settings, **alone, fallback=(), missing=())
    off = settings.missing if settings.provider == provider else ()
    for one in settings.fallback:
        off = off or (one.missing if one.provider == provider else ())
    if off:
        raise Misuse(f"{provider} is off: {', '.join(off)} is not set.")
    names = ", ".join(one.provider for one in settings.providers) or "nobody"
    raise Misuse(f"{provider} is not in `web_search` of the config; what is there: {names}.")


class _Waiting:
    """Says who is asked while a person waits at a terminal, and who has failed when another one is asked instead."""

    def __init__(self) -> None:
        self.last = ""
        """The last failure, in words."""
        self._shown = 0
        self._at_terminal = sys.stderr.isatty()

    def watch(self, name: str, failed: SearchError | None) -> None:
        self.clear()
        if failed is not None:
            self.last = _told(name, failed)
            return
        if self.last:
            click.echo(f"byway: {self.last}", err=True)
        if self._at_terminal:
            text = f"Asking {name} ..."
            self._shown = len(text)
            click.echo(text, nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo(f"\r{'':<{self._shown}}\r", nl=False, err=True)
            self._shown = 0


def _told(name: str, failed: SearchError) -> str:
    """A failure with provider, official code, what the provider says, and what to do."""
    what = f"{name} failed ({failed.code})." if name else f"{failed.code}:"
    return _printable(f"{what} {failed.message} {_ADVICE.get(failed.code, '')}".rstrip())


def _show(rank: int, one: WebResult) -> None:
    """A title with its age, its address, and its snippet, as wide as the terminal."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 110) - 4
    age = f"  {_printable(one.age)}" if one.age else ""
    title = _cut(_printable(one.title), max(20, width - len(age)))
    click.echo(f"{rank:>2}  {click.style(title, bold=True)}{click.style(age, dim=True)}")
    click.echo(f"    {click.style(_printable(one.url), fg='blue')}")
    snippet = _printable(one.snippet)
    for line in textwrap.wrap(snippet, _letters(snippet, width), max_lines=3, placeholder=" …"):
        click.echo(f"    {line}")
    click.echo()


def _cut(text: str, width: int) -> str:
    most = _letters(text, width)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _letters(text: str, width: int) -> int:
    """How many letters of `text` fit: those of East Asia take two columns."""
    return width // 2 if any(unicodedata.east_asian_width(letter) in "WF" for letter in text) else max(20, width)


def _printable(text: str) -> str:
    """`text` without what would steer a terminal."""
    return "".join(letter for letter in text if letter.isprintable())
