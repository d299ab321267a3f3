"""`byway up`: starts Byway and prints how to use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

import click

from byway import __version__, logs, platform
from byway.cli.configfile import ConfigSource, find, ignored_file, read, warnings
from byway.cli.options import CONFIG, DATA_DIR, data_folder
from byway.cli.output import Failure, note
from byway.display import count, elapsed
from byway.endpoints.datafolder import ADDRESS, SOCKET

if TYPE_CHECKING:
    from byway.admin.services import AdminServices
    from byway.cli.welcome import StartReport
    from byway.config import BackendSettings, Config, FileSettings, ServerSettings
    from byway.config.file import ConfigFile
    from byway.files.protocol import FileStorage
    from byway.gateway import Gateway
    from byway.local.supervisor import ModelProcess
    from byway.runtime import Runtime
    from byway.server.lifecycle import Service
    from byway.server.listeners import Listener
    from byway.store import Store
    from byway.tls.serving import ServedCertificate

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
@click.option("--stop-when-idle", type=float, metavar="SECONDS", help="Stop after so long without a client.")
def command(
    file: str | None,
    host: str | None,
    port: int | None,
    insecure: bool,
    folder: str | None,
    no_model: bool,
    stop_when_idle: float | None,
) -> None:
    """Start Byway, and print how to use it.

    Ctrl-C finishes active requests, then stops Byway. A second Ctrl-C stops it at once.
    """
    platform.ignore_hangup()
    previous = platform.previous_addresses()
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
        from byway.access.keys import has_keys, key_required

        if config.api_keys.mode == "permissive" and has_keys(stored):
            note("warning: there are keys, but api_keys.mode is permissive: anyone can use this Byway without a key")
        addresses = _addresses(config, host, port)
        from byway.server import listeners as listening

        options: _ListenOptions = {
            "mode": config.server.socket_mode,
            "closed": key_required(config.api_keys, stored),
            "insecure": insecure,
        }
        problem = ""
        try:
            listeners, notes = listening.listen(addresses, **options)
        except listening.ListenError as error:
            # After a restart the browser that requested it must find Byway again.
            problem = str(error)
            try:
                listeners, notes = listening.listen(previous, **options) if previous else ([], [])
            except listening.ListenError:
                listeners = []
            if not listeners:
                raise Failure(problem) from None
            note(f"warning: {problem}")
        certificate = _certificate(config, data, listeners)
        _write_address(data, listeners, config.server)
        own = listening.owner_socket(data / SOCKET)
        with asyncio.Runner(loop_factory=platform.loop_factory()) as runner:
            is_restarting = runner.run(
                _serve(
                    config,
                    source,
                    listeners,
                    own,
                    notes,
                    data,
                    store,
                    certificate,
                    insecure=insecure,
                    no_model=no_model,
                    pinned=host is not None or port is not None,
                    listen_problem=problem,
                    idle=stop_when_idle,
                )
            )
    if is_restarting:
        logs.flush()
        platform.restart_process(sys.argv[1:], [str(listener) for listener in listeners])


class _ListenOptions(TypedDict):
    mode: int | None
    closed: bool
    insecure: bool


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


def _certificate(config: Config, data: Path, listeners: Sequence[Listener]) -> ServedCertificate | None:
    """The certificate of the TCP listeners; None when they serve plain http. A failure ends the command."""
    hosts = [listener.host for listener in listeners if listener.port is not None]
    if config.server.tls is None or not hosts:
        return None
    try:
        from byway.tls.serving import ServedCertificate, TlsError
    except ImportError:
        from byway.tls.trust import NO_CRYPTOGRAPHY

        raise Failure(NO_CRYPTOGRAPHY) from None
    try:
        return ServedCertificate(data, config.server, hosts)
    except TlsError as error:
        raise Failure(str(error)) from None


def _write_address(folder: Path, listeners: Sequence[Listener], server: ServerSettings) -> None:
    """Write the URL for other commands into the data folder. Without a TCP address the file is emptied: it may be an old one."""
    tcp = _tcp(listeners)
    with contextlib.suppress(OSError):
        platform.write_private(folder / ADDRESS, f"{_base(tcp, server)}\n".encode() if tcp else b"")


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
    certificate: ServedCertificate | None,
    *,
    insecure: bool,
    no_model: bool,
    pinned: bool,
    listen_problem: str,
    idle: float | None,
) -> bool:
    """Serve until Byway stops. Returns True when the process has to restart.

    `pinned`: the command line sets the address. `listen_problem`: why Byway listens at its previous addresses.
    """
    from byway.admin.services import AdminServices
    from byway.batches.batch import BATCHES_FILE
    from byway.files.service import FileService
    from byway.gateway import Gateway
    from byway.prices.source import PriceSource
    from byway.runtime import Runtime
    from byway.server import lifecycle
    from byway.server.history import open_history
    from byway.store import StoreError
    from byway.store.files import FileStore
    from byway.store.responses import ResponseStore
    from byway.usage.recorder import UsageRecorder

    runtime = Runtime(
        config, stored=store.key_records(), secret=store.signing_secret(), price_source=PriceSource(folder)
    )
    runtime.learned.load(store.repairs())
    await runtime.start()
    gateway = Gateway(runtime, store)
    gateway.certificate = certificate
    gateway.recorder = UsageRecorder(folder, store.usage, StoreError)
    store.usage.before_query = gateway.recorder.flush
    gateway.set_usage(config.usage)
    gateway.file_service = FileService(FileStore(folder), partial(_file_storage, config.files, folder), config.files)
    gateway.set_files(config.files)
    gateway.response_store = ResponseStore(folder)
    await gateway.set_responses(config.responses)
    if (folder / BATCHES_FILE).exists():
        from byway.server.batches import open_batches

        open_batches(gateway, folder)
    open_history(gateway, folder)
    gateway.open_parts = partial(_open_parts, gateway, folder)
    service = lifecycle.Service(
        gateway,
        [*listeners, *((own,) if own else ())],
        source,
        insecure=insecure,
        make_process=None if no_model else partial(_model_process, folder),
    )

    services = gateway.admin = AdminServices(
        folder, partial(_config_file, source, store, folder), store, reload=service.reload, restart=service.restart
    )
    tcp = _tcp(listeners)
    services.base = _base(tcp, config.server) if tcp else None
    services.trust = str((certificate and certificate.trust_file) or "")
    services.addresses = tuple(map(str, listeners))
    services.socket = own.host if own else ""
    services.pinned, services.listen_problem = pinned, listen_problem

    async def welcome() -> None:
        if idle is not None:
            from byway.launch.idle import stop_when_idle

            background.append(asyncio.create_task(stop_when_idle(gateway, folder, idle, service.stopping.set)))
        addresses = ", ".join(
            _shown(listener, config.server) for listener in listeners if listener.host != services.socket
        )
        _print(f"Byway {__version__} listens at {addresses}", bold=True)
        await _settle(service)
        from byway.cli.welcome import SCREEN
        from byway.cli.welcome import welcome as start_text

        report = await _report(service, source, notes, services)
        for line in start_text(report, platform.screen_size(sys.stdout, SCREEN)):
            _print(f"  {line.text}" if line.text else "", **_STYLES.get(line.kind, {}))
        _print("Ctrl-C stops Byway." if platform.is_terminal(sys.stdout) else "Ready.", dim=True)

    background: list[asyncio.Task[None]] = []
    try:
        await service.run(welcome)
    finally:
        for task in background:
            task.cancel()
        await services.stop()
    return service.restarting


def _config_file(source: ConfigSource, store: Store, folder: Path) -> ConfigFile:
    from byway.config.file import ConfigFile

    return ConfigFile(source.path, source.check, store, folder)


def _model_process(folder: Path, settings: BackendSettings, tell: Callable[[ModelProcess], None]) -> ModelProcess:
    from byway.local.supervisor import ModelProcess, process_options

    return ModelProcess(settings.names[0], folder, tell, process_options(settings))


async def _open_parts(gateway: Gateway, folder: Path) -> None:
    from byway.server.parts import open_parts

    await open_parts(gateway, folder)


def _file_storage(settings: FileSettings, data: Path, folder: str) -> FileStorage:
    from byway.files.storage import file_storage

    return file_storage(settings, data, folder)


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
        click.echo(f"\r  {text} ... {elapsed(seconds):<12}", nl=False)

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
    from byway.admin.aliases import list_aliases
    from byway.admin.exports import client_setup
    from byway.cli.welcome import BackendLine, StartReport
    from byway.local.discovery import discover, usual_urls

    runtime = service.gateway.runtime
    tcp = _tcp(service.listeners)
    unix = next(
        (listener for listener in service.listeners if listener.port is None and listener.host != services.socket), None
    )
    base = _base(tcp, service.gateway.started_config.server) if tcp else None
    urls = usual_urls(services.addresses, (backend.address for backend in runtime.backends.values()))
    unserved = dict.fromkeys(f"{target} ({alias.name})" for alias in list_aliases(runtime) for target in alias.unserved)
    ignored = ignored_file(source)
    path = _short(source.path)
    return StartReport(
        setup=await client_setup(runtime, base, trust=services.trust),
        socket=unix.host if unix else None,
        config=path if source.there else f"none yet ({path})",
        backends=tuple(
            BackendLine(backend.name, backend.vendor.title, backend.state, backend.message, backend.models or ())
            for backend in runtime.backends.values()
        ),
        keys=_key_names(runtime),
        servers=tuple(await discover(urls)),
        unserved=tuple(unserved),
        notes=(*notes, *((ignored,) if ignored else ())),
        page=f"{_page(runtime.config, base)}/login?token={services.logins.link()}" if base else "",
        program=platform.command_name(),
    )


def _key_names(runtime: Runtime) -> tuple[str, ...] | None:
    """The names of the keys that are accepted; None when no key is required."""
    if not runtime.keyring.blocking:
        return None
    configured = (key.id for key in runtime.config.api_keys.api_keys if key.enabled)
    return (*configured, *(key.name for key in runtime.stored if key.usable and not key.sign_in))


def _tcp(listeners: Sequence[Listener]) -> Listener | None:
    """The first listener with a TCP port."""
    return next((listener for listener in listeners if listener.port is not None), None)


def _shown(listener: Listener, server: ServerSettings) -> str:
    return str(listener) if listener.port is None else f"{_scheme(server)}://{listener}"


def _base(listener: Listener, server: ServerSettings) -> str:
    """The URL by which a program on this machine reaches a listener."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return f"{_scheme(server)}://{listener._replace(host=anywhere.get(listener.host, listener.host))}{server.root_path}"


def _scheme(server: ServerSettings) -> str:
    return "http" if server.tls is None else "https"


def _page(config: Config, base: str) -> str:
    """The URL at which browsers open the page. `base` is that of programs on this machine."""
    return f"{config.server.public_url}{config.server.root_path}" if config.server.public_url else base


def _short(path: Path) -> str:
    """A path, with `~` for the home folder."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)
