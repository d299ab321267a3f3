"""`byway secret`: API keys of vendors and search providers that Byway stores for its user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from byway import platform
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, print_table
from byway.secrets.names import ENTRIES, SecretEntry
from byway.secrets.vault import KeychainUnavailable, Vault

#: Seconds that a person has to unlock the keychain.
_UNLOCK_SECONDS: Final = 60.0
#: Bytes that are read from stdin: more than a secret can have, so that the service reports the length.
_INPUT_LIMIT: Final = 10_000


@click.group()
def command() -> None:
    """Store, list and clear the API keys of vendors and search providers."""


def _entry_argument(function: Callable[..., None]) -> Callable[..., None]:
    """ENTRY, and a catch for a secret that was typed behind it."""
    function = click.argument("rest", nargs=-1, metavar="", type=click.UNPROCESSED)(function)
    return click.argument("entry")(function)


@command.command("set")
@_entry_argument
@click.option("--file", "accept_file", is_flag=True, help="Store it in a file when this system has no keychain.")
@DATA_DIR
@JSON
def set_command(entry: str, rest: tuple[str, ...], accept_file: bool, folder: str | None, as_json: bool) -> None:
    """Store the secret ENTRY. Prompts for it, or reads it from stdin. A running Byway uses it at once.

    It is stored in the system's keychain. Without a keychain, --file stores it in a file that only you can read.
    """
    from byway.admin import secrets
    from byway.cli.change import author, open_store

    secret, data = _entry(entry, rest), data_folder(folder)
    vault = _vault(data)
    value = _prompt(secret) if platform.is_terminal(sys.stdin) else _read_stdin()
    with open_store(data) as store:
        try:
            change = secrets.set_secret(
                vault, store, secret.name, value, author("byway secret"), accept_file=accept_file
            )
        except KeychainUnavailable as error:
            raise Failure(
                f"{error}\nNothing was stored. Without a keychain it can be stored in {data / 'secrets.json'}, which only "
                f"you can read, but which is not encrypted: byway secret set {secret.name} --file"
            ) from None
    if as_json:
        print_json(change)
    else:
        click.echo(f"{secret.title}: stored in {secrets.PLACES[change.stored]}.")
    if variable := _environment_variable(secret):
        note(f"{variable} is set in this environment. Where it is set, it takes precedence.")
    if not as_json:
        click.echo(f"To use it in byway.yaml:\n\n{secrets.config_lines(secret)}")


@command.command()
@_entry_argument
@DATA_DIR
@JSON
def clear(entry: str, rest: tuple[str, ...], folder: str | None, as_json: bool) -> None:
    """Delete the secret ENTRY."""
    from byway.admin import secrets
    from byway.cli.change import author, open_store

    secret, data = _entry(entry, rest), data_folder(folder)
    with open_store(data) as store:
        change = secrets.clear_secret(_vault(data), store, secret.name, author("byway secret"))
    if as_json:
        print_json(change)
    else:
        click.echo(f"{secret.title}: {'deleted' if change.changed else 'nothing was stored'}.")
    if variable := _environment_variable(secret):
        note(f"{variable} is still set in this environment.")


@command.command()
@DATA_DIR
@JSON
def status(folder: str | None, as_json: bool) -> None:
    """List the secrets, and where each is stored. Values are masked."""
    from byway.admin import secrets
    from byway.cli.change import failing

    with failing():
        listed = secrets.list_secrets(_vault(data_folder(folder)))
    if as_json:
        print_json(listed)
    else:
        rows = [(secret.name, secret.stored or "-", secret.hint or "-", secret.variable) for secret in listed.secrets]
        print_table([("ENTRY", "STORED IN", "VALUE", "VARIABLE"), *rows])
    for problem in listed.problems:
        note(problem)


def _entry(name: str, rest: tuple[str, ...]) -> SecretEntry:
    """The entry `name`. The input is not repeated: it may be a secret in the wrong place."""
    if rest:
        raise Misuse(
            "Do not give a secret on the command line: other programs and the shell history can read it. Type it at the "
            "prompt, or pipe it to stdin. If you have typed a real one here, replace it."
        )
    if name not in ENTRIES:
        raise Misuse(f"There is no such entry. Use one of: {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def _vault(data: Path) -> Vault:
    return Vault(data, os.environ, patience=_UNLOCK_SECONDS)


def _environment_variable(secret: SecretEntry) -> str:
    """The variable of the environment that contains a secret, if any."""
    return next((name for name in secret.variables if os.environ.get(name)), "")


def _prompt(secret: SecretEntry) -> str:
    value: Any = click.prompt(f"API key of {secret.title} (hidden)", hide_input=True, err=True)
    return str(value).strip()


def _read_stdin() -> str:
    """The secret on stdin, without the line end behind it."""
    given = sys.stdin.buffer.read(_INPUT_LIMIT)
    return given.decode(errors="replace").removesuffix("\n").removesuffix("\r")
