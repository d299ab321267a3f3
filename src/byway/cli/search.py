"""`byway search`: searches the web as a model would and prints the results."""

from __future__ import annotations

import asyncio
import os
import shutil
import textwrap
import time
import unicodedata
from typing import TYPE_CHECKING

import click

from byway.cli.configfile import find, read
from byway.cli.options import CONFIG, DATA_DIR, JSON
from byway.cli.output import Failure, Misuse, StatusLine, note, print_json, printable
from byway.display import elapsed
from byway.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from byway.config import WebSearchSettings
    from byway.providers.protocol import Freshness, SearchError, WebResult

#: What to do for an error code, where the message does not say it.
_ADVICE = {"query_too_long": "Shorten the query.", "request_too_large": "Use fewer domains."}
_MAX_WIDTH = 110
_SNIPPET_LINES = 3


@click.command()
@click.argument("query")
@CONFIG
@click.option(
    "--provider", type=click.Choice(tuple(PROVIDERS)), help="Use this provider only. [default: as configured]"
)
@click.option("--count", type=click.IntRange(1, 20), help="The number of results. [default: as configured]")
@click.option(
    "--allow",
    "--allowed-domain",
    "allowed",
    multiple=True,
    metavar="DOMAIN",
    help="Only results of this domain. Repeat for more.",
)
@click.option(
    "--block",
    "--blocked-domain",
    "blocked",
    multiple=True,
    metavar="DOMAIN",
    help="No results of this domain. Repeat for more.",
)
@click.option("--freshness", type=click.Choice(("day", "week", "month", "year")), help="The maximum age of results.")
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
    """Search the web for QUERY as a model would, and print the results. Byway does not have to run."""
    config = read(find(file, os.environ, folder))
    settings = config.web_search
    from byway.config import validators
    from byway.domains import domains_error
    from byway.providers.protocol import SearchError, SearchQuery
    from byway.search.chain import SearchAnswer, Searcher

    if error := domains_error(allowed, blocked):
        raise click.UsageError(error)
    if provider is not None:
        settings = _only(settings, provider)
    for configured in settings.providers if config.local_only else ():
        if not configured.base_url or not validators.local(configured.base_url):
            raise Misuse(
                f"local_only is set, and the address of {configured.provider} is not on this machine or a private network. "
                "Set its `base_url` to a local address."
            )
    progress = _Progress()

    async def search() -> SearchAnswer:
        searcher = Searcher(settings)
        try:
            return await searcher.search(
                SearchQuery(query, count or settings.max_results, allowed, blocked, freshness=freshness),
                progress.observe,
            )
        finally:
            await searcher.close()

    started = time.perf_counter()
    try:
        answer = asyncio.run(search())
    except SearchError as search_error:
        raise Failure(progress.last_error or _described("", search_error)) from None
    finally:
        progress.clear()
    seconds = time.perf_counter() - started
    if as_json:
        print_json(answer.results)
        return
    for rank, result in enumerate(answer.results, 1):
        _print(rank, result)
    number = len(answer.results)
    results = f"{number} result{'s' if number > 1 else ''}" if number else "No results"
    note(f"{results} from {answer.provider} in {elapsed(seconds)}")


def _only(settings: WebSearchSettings, name: str) -> WebSearchSettings:
    """The settings with one provider alone."""
    import msgspec

    for provider in settings.providers:
        if provider.provider == name:
            fields = {"provider": name, "api_key": provider.api_key, "base_url": provider.base_url}
            return msgspec.structs.replace(settings, **fields, fallback=(), missing=())
    missing = settings.missing if settings.provider == name else ()
    for provider in settings.fallback:
        missing = missing or (provider.missing if provider.provider == name else ())
    if missing:
        raise Misuse(f"Provider {name} is disabled: {', '.join(missing)} is not set.")
    configured = ", ".join(provider.provider for provider in settings.providers) or "none"
    raise Misuse(f"Provider {name} is not configured in `web_search`. Configured: {configured}.")


class _Progress:
    """Shows the provider that is called, and prints its error when another one is called next."""

    def __init__(self) -> None:
        self.last_error = ""
        self._line = StatusLine()

    def observe(self, name: str, error: SearchError | None) -> None:
        """A `SearchObserver`."""
        self.clear()
        if error is not None:
            self.last_error = _described(name, error)
            return
        if self.last_error:
            note(f"byway: {self.last_error}")
        self._line.show(f"Searching with {name} ...")

    def clear(self) -> None:
        self._line.clear()


def _described(name: str, error: SearchError) -> str:
    """An error with provider, official code, message and advice."""
    start = f"{name} failed ({error.code})." if name else f"{error.code}:"
    return printable(f"{start} {error.message} {_ADVICE.get(error.code, '')}".rstrip())


def _print(rank: int, result: WebResult) -> None:
    """Print title, age, URL and snippet, as wide as the terminal."""
    width = min(shutil.get_terminal_size((100, 24)).columns, _MAX_WIDTH) - 4
    age = f"  {printable(result.age)}" if result.age else ""
    title = _cut(printable(result.title), max(20, width - len(age)))
    click.echo(f"{rank:>2}  {click.style(title, bold=True)}{click.style(age, dim=True)}")
    click.echo(f"    {click.style(printable(result.url), fg='blue')}")
    snippet = printable(result.snippet)
    for line in textwrap.wrap(snippet, _characters(snippet, width), max_lines=_SNIPPET_LINES, placeholder=" …"):
        click.echo(f"    {line}")
    click.echo()


def _cut(text: str, width: int) -> str:
    limit = _characters(text, width)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _characters(text: str, width: int) -> int:
    """The number of characters of `text` that fit: East Asian ones take two columns."""
    wide = any(unicodedata.east_asian_width(character) in "WF" for character in text)
    return width // 2 if wide else max(20, width)
