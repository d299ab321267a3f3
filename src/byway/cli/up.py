"""`byway up`: starts Byway and prints how to use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from byway import __version__, logs, platform
from byway.cli.client import ADDRESS, SOCKET
from byway.cli.configfile import ConfigSource, find, ignored_file, read, warnings
from byway.cli.options import CONFIG, DATA_DIR, data_folder
from byway.cli.output import Failure, note
from byway.display import count

if TYPE_CHECKING:
    from byway.admin.services import AdminServices
    from byway.cli.welcome import StartReport
    from byway.config import Config
    from byway.runtime import Runtime
    from byway.server.lifecycle import Service
    from byway.server.listeners import Listener
    from byway.store import Store

#: Seconds for which the start text waits for backends to list their models. Byway already serves meanwhile.
_BACKEND_WAIT: Final = 2.0
_TICK: Final = 0.1


@click.command()
@CONFIG
@click.option("--host", metavar="HOST", help="Listen at this address instead of the config's. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen at this port; 0: any free port. [default: 38080]")
@click.option("--insecure", is_flag=True, help="Accept clients from other machines without a key.")
@DATA_DIR
@click.option("--no-model", is_flag=True, help="Run no local models, the built-in one included.")
def command(
    file: str | None, host: str | None, port: int | None, insecure: bool, folder: str | None, no_model: bool
) -> None:
    """Start Byway, and print how to use it.

    Ctrl-C finishes active requests, then stops Byway. A second Ctrl-C stops it at once.
    """
    platform.ignore_hangup()
    source = find(file, os.environ, folder)
    source.wait_until_complete()
    config = read(source)
    for line in warnings(source, config):
        note(line)

    logs.start(config.logging.level, config.logging.format, colour=platform.supports_colour(sys.stderr, os.environ))
    platform.prepare_server()
    data = data_folder(folder)
    with _lock(data), _open_store(data) as store:
        stored = store.key_records()
        if config.api_keys.mode == "permissive" and stored:
            note("warning: there are keys, but api_keys.mode is permissive: anyone can use this Byway without a key")
        addresses = _addresses(config, host, port)
        from byway.access.keys import key_required
        from byway.server import listeners as listening

        try:
            listeners, notes = listening.listen(
                addresses,
                mode=config.server.socket_mode,
                closed=key_required(config.api_keys, stored),
                insecure=insecure,
            )
        except listening.ListenError as error:
            raise Failure(str(error)) from None
        _write_address(data, listeners, config.server.root_path)
        own = listening.owner_socket(data / SOCKET)
        with asyncio.Runner(loop_factory=platform.loop_factory()) as runner:
            is_restarting = runner.run(
                _serve(config, source, listeners, own, notes, data, store, insecure=insecure, no_model=no_model)
            )
    if is_restarting:
        logs.flush()
        platform.restart_process(sys.argv[1:])


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the data folder for this process, or end the command."""
    try:
        remark = platform.close_to_others(platform.private_folder(folder))
        if remark:
            note(f"warning: {remark}")
        with platform.lock_folder(folder):
            yield
    except (platform.UnsafeFile, platform.FolderLocked) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(folder)):
            raise
        raise Failure(
            f"{error.filename} cannot be used: {error.strerror}. Name another data folder: --data-dir DIR"
        ) from None


def _write_address(folder: Path, listeners: Sequence[Listener], root: str) -> None:
    """Write the URL for other commands into the data folder. Without a TCP address the file is emptied: it may be an old one."""
    tcp = _tcp(listeners)
    with contextlib.suppress(OSError):
        platform.write_private(folder / ADDRESS, f"{_base(tcp, root)}\n".encode() if tcp else b"")


@contextlib.contextmanager
def _open_store(folder: Path) -> Iterator[Store]:
    """The store. A failure ends the command."""
    from byway.store import Store, StoreError

    try:
        with Store(folder) as store:
            yield store
    except StoreError as error:
        raise Failure(str(error)) from None


def _addresses(config: Config, host: str | None, port: int | None) -> tuple[str, ...]:
    """Where to listen: `--host` and `--port` replace the addresses of the config."""
    if host is None and port is None:
        return config.server.bind_address
    from byway.config import listen

    parsed = map(listen, config.server.bind_address)
    first = next((address for address in parsed if not isinstance(address, str)), None)
    host = host or (first[0] if first else "127.0.0.1")
    port = port if port is not None else (first[1] if first else 38080)
    address = f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        listen(address)
    except ValueError as error:
        raise click.UsageError(f"--host {host}: {error}") from None
    return (address,)


async def _serve(
    config: Config,
    source: ConfigSource,
    listeners: Sequence[Listener],
    own: Listener | None,
    notes: Sequence[str],
    folder: Path,
    store: Store,
    *,
    insecure: bool,
    no_model: bool,
) -> bool:
    """Serve until Byway stops. Returns True when the process has to restart."""
    from byway.admin.services import AdminServices
    from byway.config.file import ConfigFile
    from byway.gateway import Gateway
    from byway.local.supervisor import ModelProcess, process_options
    from byway.runtime import Runtime
    from byway.server import lifecycle

    runtime = Runtime(config, stored=store.key_records(), secret=store.signing_secret())
    runtime.learned.load(store.repairs())
    await runtime.start()
    gateway = Gateway(runtime, store)
    service = lifecycle.Service(
        gateway,
        [*listeners, *((own,) if own else ())],
        source,
        insecure=insecure,
        make_process=None
        if no_model
        else lambda settings, tell: ModelProcess(settings.names[0], folder, tell, process_options(settings)),
    )

    config_file = ConfigFile(source.path, source.check, store, folder)
    services = gateway.admin = AdminServices(folder, config_file, store, reload=service.reload, restart=service.restart)
    tcp = _tcp(listeners)
    services.base = _base(tcp, config.server.root_path) if tcp else None
    services.addresses = tuple(map(str, listeners))
    services.socket = own.host if own else ""

    async def welcome() -> None:
        addresses = ", ".join(_shown(listener) for listener in listeners if listener.host != services.socket)
        _print(f"Byway {__version__} listens at {addresses}", bold=True)
        await _settle(service)
        from byway.cli.welcome import welcome as start_text

        for line in start_text(await _report(service, source, notes, services)):
            _print(f"  {line.text}" if line.text else "", **_STYLES.get(line.kind, {}))
        _print("")
        _print("Ctrl-C stops Byway." if platform.is_terminal(sys.stdout) else "Ready.", dim=True)

    try:
        await service.run(welcome)
    finally:
        await services.downloads.stop()
    return service.restarting


_STYLES: Final[dict[str, dict[str, bool | str]]] = {
    "head": {"bold": True},
    "good": {"fg": "green"},
    "bad": {"fg": "yellow"},
    "code": {"fg": "cyan"},
    "dim": {"dim": True},
}


def _print(text: str, **style: bool | str) -> None:
    colour = platform.supports_colour(sys.stdout, os.environ)
    click.echo(click.style(text, **style) if colour and text and style else text)  # type: ignore[arg-type]


async def _settle(service: Service) -> None:
    """Wait until local models have loaded or failed, and for a moment until other backends have answered."""
    started = time.monotonic()
    if service.models:
        with _progress(f"Loading {count(len(service.models), 'local model')}") as show:
            while not service.models.settled and not service.stopping.is_set():
                show(time.monotonic() - started)
                await asyncio.sleep(_TICK)
    while time.monotonic() - started < _BACKEND_WAIT and not service.stopping.is_set():
        if all(status.state != "unknown" for status in service.gateway.runtime.statuses()):
            break
        await asyncio.sleep(_TICK)


@contextlib.contextmanager
def _progress(text: str) -> Iterator[Callable[[float], None]]:
    """Show how long something takes. On a terminal the line is rewritten in place and then removed."""
    if not platform.is_terminal(sys.stdout):
        _print(text)
        yield lambda seconds: None
        return

    def show(seconds: float) -> None:
        click.echo(f"\r  {text} ... {seconds:.1f} s ", nl=False)

    def clear(level: int = logging.INFO) -> bool:
        click.echo(f"\r{'':<{len(text) + 20}}\r", nl=False)
        return level > logging.INFO

    # The progress line and the welcome report success; a warning must not be written behind the progress line.
    with logs.filtering(clear):
        try:
            yield show
        finally:
            clear()


async def _report(service: Service, source: ConfigSource, notes: Sequence[str], services: AdminServices) -> StartReport:
    """What the start text shows, from the runtime as it is now and the model servers on this machine."""
    from byway.admin.exports import client_setup
    from byway.cli.welcome import BackendLine, StartReport
    from byway.local.discovery import discover

    runtime = service.gateway.runtime
    tcp = _tcp(service.listeners)
    unix = next(
        (listener for listener in service.listeners if listener.port is None and listener.host != services.socket), None
    )
    base = _base(tcp, runtime.config.server.root_path) if tcp else None
    used = {
        (backend.settings.url or backend.vendor.url or "").replace("localhost", "127.0.0.1")
        for backend in runtime.backends.values()
    }
    own_port = f":{tcp.port}" if tcp else None
    servers = [
        server
        for server in await discover()
        if server.url not in used and not (own_port and server.url.endswith(own_port))
    ]
    ignored = ignored_file(source)
    path = _short(source.path)
    return StartReport(
        setup=await client_setup(runtime, base),
        socket=unix.host if unix else None,
        config=path if source.there else f"none, so the built-in model answers; to configure Byway, create {path}",
        config_file=path,
        backends=tuple(
            BackendLine(backend.name, backend.vendor.title, backend.state, backend.message, backend.models or ())
            for backend in runtime.backends.values()
        ),
        keys=_key_names(runtime),
        servers=tuple(servers),
        notes=(*notes, *((ignored,) if ignored else ())),
        page=f"{base}/login?token={services.logins.link()}" if base else "",
    )


def _key_names(runtime: Runtime) -> tuple[str, ...] | None:
    """The names of the keys that are accepted; None when no key is required."""
    if not runtime.keyring.blocking:
        return None
    configured = (key.id for key in runtime.config.api_keys.api_keys if key.enabled)
    return (*configured, *(key.name for key in runtime.stored if not key.revoked))


def _tcp(listeners: Sequence[Listener]) -> Listener | None:
    """The first listener with a TCP port."""
    return next((listener for listener in listeners if listener.port is not None), None)


def _shown(listener: Listener) -> str:
    return str(listener) if listener.port is None else f"http://{listener}"


def _base(listener: Listener, root: str) -> str:
    """The URL by which a program on this machine reaches a listener."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return f"http://{listener._replace(host=anywhere.get(listener.host, listener.host))}{root}"


def _short(path: Path) -> str:
    """A path, with `~` for the home folder."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)
