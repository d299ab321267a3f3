"""`byway up`: starts the service and says what to do with it."""

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
from byway.cli.configfile import ConfigSource, data_dir, find, left_out, read, warnings
from byway.cli.output import Failure

if TYPE_CHECKING:
    from byway.admin.services import AdminServices
    from byway.cli.welcome import Facts
    from byway.config import Config
    from byway.runtime import Runtime
    from byway.server.lifecycle import Service
    from byway.server.listeners import Listener
    from byway.store import Store

#: Seconds that the welcome waits for backends to say what they serve; Byway serves meanwhile.
_PATIENCE: Final = 2.0
_TICK: Final = 0.1


@click.command()
@click.option("--config", "file", metavar="FILE", help="The config file. [default: $BYWAY_CONFIG, else the user's own]")
@click.option("--host", metavar="HOST", help="Listen at this address instead of the config's. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen at this port; 0: any free one. [default: 38080]")
@click.option("--insecure", is_flag=True, help="Let other machines in without a key.")
@data_dir
@click.option("--no-model", is_flag=True, help="Run no models: neither the built-in one nor others.")
def command(
    file: str | None, host: str | None, port: int | None, insecure: bool, folder: str | None, no_model: bool
) -> None:
    """Start Byway, and say how to use it. Ctrl-C ends it once running answers are out; a second one ends it at once."""
    platform.ignore_hangup()
    source = find(file, os.environ, folder)
    source.wait_until_complete()
    config = read(source)
    for line in warnings(source, config):
        click.echo(line, err=True)

    logs.start(config.logging.level, config.logging.format, colour=platform.supports_colour(sys.stderr, os.environ))
    platform.prepare_server()
    data = platform.data_folder(folder, os.environ)
    with _held(data), _opened(data) as store:
        stored = store.key_records()
        if config.api_keys.mode == "permissive" and stored:
            click.echo("warning: api_keys.mode is permissive although there are keys: anyone may use Byway", err=True)
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
        _tell_others(data, listeners, config.server.root_path)
        own = listening.owner_socket(data / SOCKET)
        with asyncio.Runner(loop_factory=platform.loop_factory()) as runner:
            again = runner.run(
                _serve(config, source, listeners, own, notes, data, store, insecure=insecure, no_model=no_model)
            )
    if again:
        logs.flush()
        platform.restart_process(sys.argv[1:])


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Have the data folder for this process alone, or end the command."""
    try:
        remark = platform.close_to_others(platform.private_folder(folder))
        if remark:
            click.echo(f"warning: {remark}", err=True)
        with platform.lock_folder(folder):
            yield
    except platform.UnsafeFile as error:
        raise Failure(str(error)) from None
    except platform.FolderLocked as error:
        raise Failure(str(error)) from None
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(folder)):
            raise
        raise Failure(
            f"{error.filename} cannot be used: {error.strerror}. Name another folder for Byway's data: --data-dir DIR"
        ) from None


def _tell_others(folder: Path, listeners: Sequence[Listener], root: str) -> None:
    """Write down where other commands find this Byway; what is there of an earlier one must not lead elsewhere."""
    tcp = next((one for one in listeners if one.port is not None), None)
    with contextlib.suppress(OSError):
        platform.write_private(folder / ADDRESS, f"{_base(tcp, root)}\n".encode() if tcp else b"")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    """The store, or the end of the command."""
    from byway.store import Store, StoreError

    try:
        with Store(folder) as store:
            yield store
    except StoreError as error:
        raise Failure(str(error)) from None


def _addresses(config: Config, host: str | None, port: int | None) -> tuple[str, ...]:
    """Where to listen: `--host` and `--port` replace what the config says."""
    if host is None and port is None:
        return config.server.bind_address
    from byway.config import listen

    first = next((place for place in map(listen, config.server.bind_address) if not isinstance(place, str)), None)
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
    """Serve until the end; True when the process is to begin anew."""
    from byway.admin.services import AdminServices
    from byway.config.file import ConfigFile
    from byway.gateway import Gateway
    from byway.local.supervisor import ModelProcess, process_options
    from byway.runtime import Runtime
    from byway.server import lifecycle

    runtime = Runtime(config, stored=store.key_records())
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

    filing = ConfigFile(source.path, source.check, store, folder)
    services = gateway.admin = AdminServices(folder, filing, store, reload=service.reload, restart=service.restart)
    tcp = next((one for one in listeners if one.port is not None), None)
    services.base = _base(tcp, config.server.root_path) if tcp else None
    services.addresses = tuple(str(one) for one in listeners)
    services.socket = own.host if own else ""

    async def welcome() -> None:
        where = ", ".join(_shown(one) for one in listeners if one.host != services.socket)
        _print(f"Byway {__version__} listens at {where}", bold=True)
        await _settle(service)
        from byway.cli.welcome import welcome as lines

        for line in lines(await _facts(service, source, notes, services)):
            _print(f"  {line.text}" if line.text else "", **_LOOKS.get(line.kind, {}))
        _print("")
        _print("Ctrl-C stops Byway." if platform.is_terminal(sys.stdout) else "Ready.", dim=True)

    try:
        await service.run(welcome)
    finally:
        await services.downloads.stop()
    return service.restarting


_LOOKS: Final[dict[str, dict[str, bool | str]]] = {
    "head": {"bold": True},
    "good": {"fg": "green"},
    "bad": {"fg": "yellow"},
    "code": {"fg": "cyan"},
    "dim": {"dim": True},
}


def _print(text: str, **looks: bool | str) -> None:
    colour = platform.supports_colour(sys.stdout, os.environ)
    click.echo(click.style(text, **looks) if colour and text and looks else text)  # type: ignore[arg-type]


async def _settle(service: Service) -> None:
    """Wait until local models are loaded or have failed, and other backends have answered or had their time."""
    began = time.monotonic()
    if service.models:
        with _progress("Loading the local model" + ("s" if len(service.models) > 1 else "")) as show:
            while not service.models.settled and not service.stopping.is_set():
                show(time.monotonic() - began)
                await asyncio.sleep(_TICK)
    while time.monotonic() - began < _PATIENCE and not service.stopping.is_set():
        if all(state != "unknown" for _, state, _ in service.gateway.runtime.statuses()):
            break
        await asyncio.sleep(_TICK)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """Shows how long something takes: on a terminal one line that is written again and again and then removed."""
    if not platform.is_terminal(sys.stdout):
        _print(what)
        yield lambda seconds: None
        return

    def show(seconds: float) -> None:
        click.echo(f"\r  {what} ... {seconds:.1f} s ", nl=False)

    def clear(level: int = logging.INFO) -> bool:
        click.echo(f"\r{'':<{len(what) + 20}}\r", nl=False)
        return level > logging.INFO

    # The progress line and the welcome report success; a warning must not be written behind the progress line.
    with logs.filtering(clear):
        try:
            yield show
        finally:
            clear()


async def _facts(service: Service, source: ConfigSource, notes: Sequence[str], services: AdminServices) -> Facts:
    """What the welcome has to know, from the runtime as it is now and the servers found on this machine."""
    from byway.admin.exports import answering
    from byway.cli.welcome import Answerer, Facts
    from byway.local.discovery import discover as servers

    runtime = service.gateway.runtime
    config = runtime.config
    tcp = next((one for one in service.listeners if one.port is not None), None)
    unix = next((one for one in service.listeners if one.port is None and one.host != services.socket), None)
    answerers = tuple(
        Answerer(live.name, live.vendor.title, live.state, live.message, live.models or ())
        for live in runtime.backends.values()
    )
    base = _base(tcp, config.server.root_path) if tcp else None
    setup = await answering(runtime, base)
    used = {
        (one.settings.url or one.vendor.url or "").replace("localhost", "127.0.0.1")
        for one in runtime.backends.values()
    }
    found = [
        one for one in await servers() if one.url not in used and not one.url.endswith(f":{tcp.port if tcp else ''}")
    ]
    odd = left_out(source)
    where = _home(source.path)
    return Facts(
        url=base,
        socket=unix.host if unix else None,
        config=where if source.there else f"none, so the built-in model answers; yours would be {where}",
        config_file=where,
        answerers=answerers,
        ask=setup.ask,
        main=setup.main,
        claude=setup.claude,
        window=setup.window,
        official=setup.official,
        builtin=setup.builtin,
        keys=_keys(runtime),
        found=tuple(found),
        notes=(*notes, *((odd,) if odd else ())),
        page=f"{base}/login?token={services.logins.link()}" if base else "",
    )


def _keys(runtime: Runtime) -> tuple[str, ...] | None:
    """What the keys are called of which one is asked for; None when none is."""
    if not runtime.keyring.blocking:
        return None
    configured = (key.id for key in runtime.config.api_keys.api_keys if key.enabled)
    return (*configured, *(key.name for key in runtime.stored if not key.revoked))


def _shown(listener: Listener) -> str:
    return str(listener) if listener.port is None else f"http://{listener}"


def _base(listener: Listener, root: str) -> str:
    """The URL by which a program on this machine reaches a listener."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return f"http://{listener._replace(host=anywhere.get(listener.host, listener.host))}{root}"


def _home(path: Path) -> str:
    """A path as people write it."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)
