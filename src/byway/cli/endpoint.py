"""`byway endpoint`: the base URLs that clients are given."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway import platform
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from byway.endpoints.preflight import PreflightReport
    from byway.endpoints.registry import Endpoint, Endpoints

#: Seconds that a person has to unlock the keychain.
_UNLOCK_SECONDS: Final = 60.0
_INPUT_LIMIT: Final = 10_000


@click.group(invoke_without_command=True)
@DATA_DIR
@JSON
@click.pass_context
def command(ctx: click.Context, folder: str | None, as_json: bool) -> None:
    """List, add and choose the endpoints of clients. Without a subcommand: list.

    `byway` is the built-in endpoint: this Byway. Others may be another gateway or a model server with the Messages API.
    """
    if ctx.invoked_subcommand is None:
        _list(data_folder(folder), as_json)


@command.command("list")
@DATA_DIR
@JSON
def list_command(folder: str | None, as_json: bool) -> None:
    """List the endpoints, the active one, and the clients that run."""
    _list(data_folder(folder), as_json)


@command.command()
@click.argument("name")
@click.argument("url")
@click.option("--key", "credential", flag_value="api_key", help="Prompt for a key that is sent as x-api-key.")
@click.option(
    "--token", "credential", flag_value="auth_token", help="Prompt for a token that is sent as Authorization."
)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send this header too. Not for keys.")
@click.option(
    "--map", "models", multiple=True, metavar="NAME=MODEL", help="Model of haiku, sonnet, opus, fable or default."
)
@click.option("--replace", is_flag=True, help="Replace an endpoint of this name.")
@click.option("--use", "activate", is_flag=True, help="Make it the active endpoint when it works.")
@click.option("--yes", is_flag=True, help="Accept the corrected form of the URL.")
@click.option(
    "--file", "accept_file", is_flag=True, help="Store the secret in a file when this system has no keychain."
)
@DATA_DIR
def add(
    name: str,
    url: str,
    credential: str | None,
    headers: tuple[str, ...],
    models: tuple[str, ...],
    replace: bool,
    activate: bool,
    yes: bool,
    accept_file: bool,
    folder: str | None,
) -> None:
    """Add the endpoint NAME with the base URL, and check it.

    The secret is stored in the system's keychain. It is read from a prompt or from stdin, never from the command line.
    """
    from byway.endpoints.registry import Endpoint

    kind: Any = credential or "none"
    endpoint = Endpoint(name, _accepted(url, yes), kind, dict(map(_header, headers)), dict(map(_mapping, models)))
    endpoints = _endpoints(data_folder(folder))
    secret = _read_secret(name) if credential else ""
    with _failing():
        endpoint = endpoints.add(endpoint, secret, replace=replace, accept_file=accept_file)
    click.echo(f"Endpoint {name} saved: {endpoint.base_url}")
    report = _check(endpoints, endpoint, data_folder(folder))
    if activate:
        _activate(endpoints, endpoint, report)
    elif report.good:
        click.echo(f"To use it: byway endpoint use {name}")


@command.command()
@click.argument("name")
@click.option("--folder", "for_folder", is_flag=True, help="Only for this folder: write the file .byway here.")
@click.option("--force", is_flag=True, help="Switch even when the endpoint does not work now.")
@DATA_DIR
def use(name: str, for_folder: bool, force: bool, folder: str | None) -> None:
    """Make NAME the active endpoint, when it works. Clients that `byway claude` started follow at once."""
    from byway.endpoints.folder import FILE_NAME

    data = data_folder(folder)
    endpoints = _endpoints(data)
    with _failing():
        endpoint = endpoints.get(name)
    if for_folder:
        path = Path.cwd() / FILE_NAME
        try:
            path.write_text(f"{name}\n", "utf-8")
        except OSError as error:
            raise Failure(f"Cannot write {path}: {error.strerror}.") from None
        with _failing():
            endpoints.trust(path, name)
        click.echo(f"{path} names the endpoint {name}. It applies to this folder and those below it.")
        return
    from byway.endpoints import running

    # Without a running Byway there is nothing to check: `byway claude` starts it.
    if endpoint.is_byway and not running.is_running(data):
        _activate(endpoints, endpoint, None)
        return
    _activate(endpoints, endpoint, _check(endpoints, endpoint, data), force=force)


@command.command()
@click.argument("name", default="")
@DATA_DIR
@JSON
def check(name: str, folder: str | None, as_json: bool) -> None:
    """Check the endpoint NAME, or the active one, in less than three seconds."""
    data = data_folder(folder)
    endpoints = _endpoints(data)
    with _failing():
        endpoint = endpoints.get(name or endpoints.select(Path.cwd()).name or "byway")
    report = _check(endpoints, endpoint, data, quiet=as_json)
    if as_json:
        print_json(report)
    if report.advice is not None:
        if as_json:
            raise click.exceptions.Exit(Failure.exit_code)
        raise Failure(f"{report.advice.summary}\n{report.advice.action}")


@command.command()
@click.argument("name")
@DATA_DIR
def remove(name: str, folder: str | None) -> None:
    """Remove the endpoint NAME and its secret."""
    with _failing():
        was_active = _endpoints(data_folder(folder)).remove(name)
    click.echo(f"Endpoint {name} removed{'; byway is active now' if was_active else ''}")


@command.command()
@DATA_DIR
def off(folder: str | None) -> None:
    """Use no endpoint: `byway claude` then uses Anthropic with your own login, and shows a notice."""
    with _failing():
        _endpoints(data_folder(folder)).off()
    click.echo("Endpoints are off: `byway claude` uses Anthropic. To use Byway again: byway endpoint use byway")


@command.command()
@click.argument("value", type=click.Choice(("on", "off")))
@DATA_DIR
def fallback(value: str, folder: str | None) -> None:
    """Use Anthropic, with a notice, when the endpoint fails. Off by default: a client then does not start."""
    with _failing():
        _endpoints(data_folder(folder)).set_fallback(value == "on")
    text = "Anthropic is used, with a notice" if value == "on" else "`byway claude` does not start"
    click.echo(f"When the endpoint fails: {text}")


# ------------------------------------------------------------------------------------------------------------------------


def _endpoints(data: Path) -> Endpoints:
    from byway.endpoints.registry import Endpoints

    return Endpoints(data, os.environ, patience=_UNLOCK_SECONDS)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """End the command with the message of an error of endpoints."""
    from byway.endpoints.registry import EndpointError
    from byway.secrets.vault import KeychainUnavailable, VaultError

    try:
        yield
    except KeychainUnavailable as error:
        raise Failure(
            f"{error}\nNothing was saved. Without a keychain the secret can be stored in a file that only you can read, but "
            "which is not encrypted: add --file"
        ) from None
    except (EndpointError, VaultError) as error:
        raise Failure(str(error)) from None


def _accepted(url: str, yes: bool) -> str:
    """The usable form of a URL. A correction is shown first, and has to be accepted."""
    from byway.endpoints.address import check_address

    result = check_address(url)
    if result.problem:
        raise Misuse(f"The base URL cannot be used. {result.problem}")
    if result.warning:
        note(f"warning: {result.warning}")
    if result.repairs:
        note(f"The base URL needs a correction: {'; '.join(result.repairs)}.")
        if yes:
            note(f"Using {result.url}")
        elif not platform.is_terminal(sys.stdin):
            raise Misuse(f"Corrected form: {result.url}. To accept it: --yes")
        elif not click.confirm(f"Use {result.url}?", default=True, err=True):
            raise Failure("Nothing was saved.")
    return result.url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Misuse("A header has the form 'NAME: VALUE'.")
    return name.strip(), value.strip()


def _mapping(text: str) -> tuple[str, str]:
    name, equals, model = text.partition("=")
    if not equals or not name.strip() or not model.strip():
        raise Misuse("A mapping has the form NAME=MODEL, such as default=qwen3-coder:30b.")
    return name.strip(), model.strip()


def _read_secret(name: str) -> str:
    if platform.is_terminal(sys.stdin):
        return str(click.prompt(f"Secret of the endpoint {name} (hidden)", hide_input=True, err=True)).strip()
    return sys.stdin.buffer.read(_INPUT_LIMIT).decode(errors="replace").strip()


def _check(endpoints: Endpoints, endpoint: Endpoint, data: Path, *, quiet: bool = False) -> PreflightReport:
    """Check an endpoint, and print the verdicts."""
    from byway.cli.launching import print_checks
    from byway.endpoints import running
    from byway.launch.localbyway import LaunchError, create_key, revoke_key
    from byway.launch.session import check_target, requested_model
    from byway.launch.target import byway_target, endpoint_target

    key, exported = None, {}
    if endpoint.is_byway:
        exported = running.get(data, "/byway/exports") or {}
        try:
            key = create_key(data) if exported.get("key_required") else None
        except LaunchError as error:
            raise Failure(str(error)) from None
        url = running.address(data) or running.USUAL_URL
        target = byway_target(endpoint, url, exported, key.value if key else "")
    else:
        with _failing():
            target = endpoint_target(endpoint, endpoint.base_url, endpoints.secret(endpoint))
    try:
        report = check_target(target, requested_model(endpoint, exported), os.environ)
    finally:
        if key is not None:
            revoke_key(data, key.id)
    if report.good:
        with _failing():
            endpoints.set_verified(endpoint.name)
    if not quiet:
        print_checks(report)
    return report


def _activate(endpoints: Endpoints, endpoint: Endpoint, report: PreflightReport | None, *, force: bool = False) -> None:
    with _failing():
        if report is not None and report.advice is not None and not force:
            before = endpoints.book().active or "off"
            raise Failure(
                f"{report.advice.summary}\n{report.advice.action}\n"
                f"The active endpoint is still {before}. To switch anyway: byway endpoint use {endpoint.name} --force"
            )
        endpoints.use(endpoint.name)
    click.echo(f"The active endpoint is {endpoint.name} now. Clients that `byway claude` started follow.")


def _list(data: Path, as_json: bool) -> None:
    from byway.endpoints import running
    from byway.endpoints.clients import is_stale, running_clients

    endpoints = _endpoints(data)
    with _failing():
        book, listed = endpoints.book(), endpoints.all()
    url = running.address(data)
    byway = f"{url}/anthropic" if url else ""
    clients = running_clients(data).running
    active = next((entry.base_url or byway for entry in listed if entry.name == book.active), "")
    if as_json:
        entries = [
            {**_plain(entry), "base_url": entry.base_url or byway, "active": entry.name == book.active}
            for entry in listed
        ]
        shown = [{**_plain(client), "stale": is_stale(client, active)} for client in clients]
        print_json({"endpoints": entries, "active": book.active, "fallback": book.fallback, "clients": shown})
        return
    rows = [("", "NAME", "BASE URL", "CREDENTIAL", "VERIFIED")]
    for entry in listed:
        address = entry.base_url or byway or "(Byway is not running)"
        broken = "" if entry.is_byway or entry.check().state == "ok" else "  INVALID"
        rows.append(
            (
                "*" if entry.name == book.active else "",
                entry.name,
                f"{address}{broken}",
                entry.credential,
                entry.verified or "-",
            )
        )
    print_table(rows)
    if not book.active:
        note("Endpoints are off: `byway claude` uses Anthropic.")
    for line in _client_lines(clients, lambda client: is_stale(client, active)):
        click.echo(line)


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.structs.asdict(value))


def _client_lines(clients: tuple[Any, ...], stale: Callable[[Any], bool]) -> Iterator[str]:
    for client in clients:
        state = "stale: restart it to use the active endpoint" if stale(client) else "running"
        yield f"  process {client.pid} in {client.folder}: {client.endpoint or 'Anthropic'}, since {client.started} ({state})"
