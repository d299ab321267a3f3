"""`byway secret`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from byway import platform
from byway.backends.vendors import VENDORS
from byway.cli.configfile import JSON, data_dir
from byway.cli.output import Failure, Misuse, print_json
from byway.secrets.names import ENTRIES, SecretEntry
from byway.secrets.vault import InvalidSecret, KeychainUnavailable, Vault, VaultError

#: Seconds that a person gets to unlock the keychain.
_PATIENCE: Final = 60.0
#: More than a secret can have, so that the vault can say so.
_MOST: Final = 10_000
_PLACES: Final = {
    "environment": "the environment",
    "keychain": "the system's keychain",
    "file": "secrets.json in Byway's data folder",
}


@click.group()
def command() -> None:
    """Keep the keys of search and cloud providers, so that none has to stand in a file or a shell."""


def _named(function: Callable[..., None]) -> Callable[..., None]:
    """ENTRY, and a word for those who would write the secret behind it."""
    function = click.argument("rest", nargs=-1, metavar="", type=click.UNPROCESSED)(function)
    return click.argument("entry")(function)


@command.command("set")
@_named
@click.option("--file", "file_accepted", is_flag=True, help="Where there is no keychain, a file will do.")
@data_dir
@JSON
def keep(entry: str, rest: tuple[str, ...], file_accepted: bool, folder: str | None, as_json: bool) -> None:
    """Keep the secret ENTRY: typed where nobody sees it, or from stdin. A running Byway uses it at once.

    It goes into the system's keychain. Where there is none, --file keeps it in a file that only you may open.
    """
    one = _entry(entry, rest)
    vault = _vault(folder)
    value = _typed(one) if platform.is_terminal(sys.stdin) else _piped()
    try:
        where = vault.set(one.name, value, file_accepted)
    except KeychainUnavailable as error:
        path = platform.data_folder(folder, os.environ) / "secrets.json"
        raise Failure(
            f"{error}\nNothing was kept. Without a keychain it can be kept in {path}, which only you may open, but "
            f"whose content is not encrypted: byway secret set {one.name} --file"
        ) from None
    except InvalidSecret as error:
        raise Misuse(str(error)) from None
    except VaultError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json({"entry": one.name, "where": where, "variable": one.variable})
    else:
        click.echo(f"{one.title}: kept in {_PLACES[where]}.")
    if given := next((name for name in one.variables if os.environ.get(name)), ""):
        click.echo(f"{given} is set in this environment: where it is, it wins.", err=True)
    if not as_json:
        click.echo(f"If byway.yaml does not use it yet:\n\n{_use(one)}")


@command.command()
@_named
@data_dir
@JSON
def clear(entry: str, rest: tuple[str, ...], folder: str | None, as_json: bool) -> None:
    """Forget the secret ENTRY."""
    one = _entry(entry, rest)
    try:
        there = _vault(folder).clear(one.name)
    except VaultError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json({"entry": one.name, "cleared": there})
    else:
        click.echo(f"{one.title}: {'forgotten' if there else 'there was none'}.")
    if given := next((name for name in one.variables if os.environ.get(name)), ""):
        click.echo(f"{given} is still set in this environment.", err=True)


@command.command()
@JSON
@data_dir
def status(as_json: bool, folder: str | None) -> None:
    """Show which secrets there are and where each comes from. They are never shown whole."""
    vault = _vault(folder)
    found = vault.status()
    if as_json:
        print_json(found)
    else:
        rows = [("ENTRY", "FROM", "VALUE", "VARIABLE")]
        rows += [(one.entry, one.where or "-", one.hint or "-", one.variable) for one in found]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for complaint in vault.problems:
        click.echo(complaint, err=True)


def _entry(name: str, rest: tuple[str, ...]) -> SecretEntry:
    """The entry `name`. What was given is not repeated: it may be a secret in the wrong place."""
    if rest:
        raise Misuse(
            "A secret does not go onto the command line, where other programs and the shell's history see it. "
            "Give it when you are asked, or by stdin. If you have just typed one here, have a new one made."
        )
    if name not in ENTRIES:
        raise Misuse(f"There is no such entry. There are: {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def _vault(folder: str | None) -> Vault:
    return Vault(platform.data_folder(folder, os.environ), os.environ, patience=_PATIENCE)


def _typed(entry: SecretEntry) -> str:
    value: Any = click.prompt(f"Key of {entry.title} (not shown)", hide_input=True, err=True)
    return str(value).strip()


def _piped() -> str:
    """The secret on stdin, without the line end behind it."""
    given = sys.stdin.buffer.read(_MOST)
    return given.decode(errors="replace").removesuffix("\n").removesuffix("\r")


def _use(entry: SecretEntry) -> str:
    """The lines of byway.yaml that use an entry."""
    value = f'"${{{entry.variable}}}"'
    if entry.kind == "search":
        return f"web_search: {{enabled: true, provider: {entry.name}, api_key: {value}}}"
    vendor = f"type: {entry.name}" if entry.name in VENDORS else f"name: {entry.name}, {_COMPATIBLE[entry.name]}"
    return f"backends:\n  - {{{vendor}, api_key: {value}}}"


#: Clouds that speak OpenAI's protocol and need no row of their own. https://openrouter.ai/docs (seen 2026-11-21).
_COMPATIBLE: Final = {"openrouter": 'type: generic, url: "https://openrouter.ai/api"'}
