"""`byway key`: clients' keys. It works on the store itself, so Byway need not run; one that runs sees each change at once."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from byway import platform
from byway.cli.output import Failure, Misuse, print_json, print_table
from byway.config import KeySettings, validators
from byway.display import moment
from byway.scopes import Scope

if TYPE_CHECKING:
    from byway.store import Store, StoredKey

_F = TypeVar("_F", bound=Callable[..., object])


def _places(command: _F) -> _F:
    """The options of every one of these commands."""
    folder = "Where Byway keeps its data. [default: $BYWAY_HOME, else the user's own]"
    command = click.option("--json", "as_json", is_flag=True, help="For programs.")(command)
    return click.option("--data-dir", metavar="DIR", help=folder)(command)


@click.group()
def command() -> None:
    """Make, list, rotate and revoke clients' keys. Byway need not run; one that runs follows within a second."""


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(get_args(Scope)),
    help=f"What it opens; may be given again. [default: {', '.join(KeySettings().scopes)}]",
)
@click.option(
    "--expires", metavar="WHEN", help="When it ends: 30d, 12h, 2027-01-01, 2027-01-01T12:00Z. [default: never]"
)
@_places
def create(name: str, scopes: tuple[str, ...], expires: str | None, data_dir: str | None, as_json: bool) -> None:
    """Make a key called NAME. It goes to stdout, this once; everything else that is said goes to stderr."""
    ends = _moment(expires) if expires is not None else None
    with _store(data_dir) as store:
        first = not store.key_records()
        made, key = store.add_key(name, scopes or KeySettings().scopes, ends, _who())
    _hand_over(made, key, as_json)
    if first:
        _say(
            "It is the first one in the store: from now on Byway asks for a key, unless `api_keys.mode` says otherwise."
        )


@command.command("list")
@_places
def show(data_dir: str | None, as_json: bool) -> None:
    """Show the keys: what each opens, when it ends, when it was last used. Keys of the config are not among them."""
    with _store(data_dir) as store:
        keys = store.keys()
    if as_json:
        print_json([_plain(one) for one in keys])
    elif not keys:
        _say("There is no key yet. `byway key create NAME` makes one.")
    else:
        head = ("ID", "NAME", "KEY", "SCOPES", "STATE", "LAST USED")
        rows = [
            (one.id, one.name, f"…{one.hint}", " ".join(one.scopes), _state(one), moment(one.used_at) or "never")
            for one in keys
        ]
        print_table([head, *rows])


@command.command()
@click.argument("id")
@_places
def rotate(id: str, data_dir: str | None, as_json: bool) -> None:
    """Give the key ID a new value. It goes to stdout; the old one opens nothing any more."""
    with _store(data_dir) as store:
        made, key = store.rotate_key(id, _who())
    _hand_over(made, key, as_json)


@command.command()
@click.argument("id")
@_places
def revoke(id: str, data_dir: str | None, as_json: bool) -> None:
    """Let the key ID open nothing any more, for good. Answers that are under way go on to their end."""
    with _store(data_dir) as store:
        gone = store.revoke_key(id, _who())
    if as_json:
        print_json(_plain(gone))
    else:
        click.echo(f"{gone.id} ({gone.name}) is revoked.")


@command.command()
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="So many lines at most.")
@_places
def history(limit: int, data_dir: str | None, as_json: bool) -> None:
    """Show who changed what. The newest comes first: keys, and whatever else Byway notes."""
    with _store(data_dir) as store:
        entries = store.audit_entries(limit)
    if as_json:
        print_json(entries)
    elif not entries:
        _say("Nothing has been noted yet.")
    else:
        print_table([(moment(one.at), one.who, one.what, one.detail) for one in entries])


@contextlib.contextmanager
def _store(chosen: str | None) -> Iterator[Store]:
    """The store of the data folder; what goes wrong with it ends the command."""
    from byway.store import Store, StoreError

    folder = platform.data_folder(chosen, os.environ)
    try:
        with Store(platform.private_folder(folder)) as store:
            yield store
    except StoreError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{folder} cannot be used: {error.strerror}. Name another folder: --data-dir DIR") from None
    except LookupError as error:
        raise Misuse(str(error)) from None
    except ValueError as error:
        raise Misuse(str(error)) from None


def _who() -> str:
    return f"{platform.user_name()}, byway key"


def _moment(text: str) -> datetime.datetime:
    """When a key ends: a length of time from now, or a point in time."""
    with contextlib.suppress(ValueError, OverflowError):
        if not text.strip().isdigit():
            return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=validators.duration(text))
    try:
        return validators.moment(text)
    except ValueError:
        raise click.UsageError(f"--expires {text}: expected 30d, 12h, a date such as 2027-01-01, or a time") from None


def _hand_over(made: StoredKey, key: str, as_json: bool) -> None:
    """The key alone to stdout, so that it can be piped; what is to be said of it to stderr."""
    if as_json:
        print_json({**_plain(made), "key": key})
    else:
        click.echo(key)
    _say(f"{made.id} ({made.name}): {', '.join(made.scopes)}; {_state(made)}.")
    _say("Keep it now: it is shown this once, and Byway itself knows only its hash.")


def _state(one: StoredKey) -> str:
    if one.revoked_at is not None:
        return f"revoked {moment(one.revoked_at)}"
    if one.expires_at is None:
        return "never ends"
    return f"{'ends' if one.live else 'ended'} {moment(one.expires_at)}"


def _plain(one: StoredKey) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(one), "live": one.live}


def _say(text: str) -> None:
    click.echo(text, err=True)
