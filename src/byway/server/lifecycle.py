"""From a started runtime to listening sockets and back: binds, serves, watches the config file, keeps local models
running, drains and stops. What is said at the start belongs to `cli`; signals and sockets to `platform`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from byway import logs, platform
from byway.access.keys import key_required, weakened_access
from byway.access.sync import KeySync
from byway.backend import UnloadedModel
from byway.config import BackendSettings, Config, ConfigError, static_changes
from byway.config import listen as parts
from byway.config.watch import ChangeTracker
from byway.gateway import Gateway
from byway.logs import log, log_exception
from byway.server.app import App
from byway.server.connection import HttpServer
from byway.upstream.client import Upstream

if TYPE_CHECKING:
    from byway.local.supervisor import ModelProcess

#: Seconds between two looks at the config file. A change is read once it has stayed the same from one look to the next.
LOOK_EVERY: Final = 0.25
#: Seconds that aborted exchanges get to say so to their clients.
_LAST_WORDS: Final = 2.0
#: Permissions of a unix socket when `server.socket_mode` says nothing.
_SOCKET_MODE: Final = 0o600
_LOOPBACK: Final = "127.0.0.1"
#: A model that the config wants no more ends after so many seconds at most, unless an answer of it is being read.
_GRACE: Final = 5.0


class CannotListen(Exception):
    """An address that cannot be listened at: why, and what to do."""


class Listener(NamedTuple):
    """A socket that listens. `port` is None for a unix socket, whose path is `host`."""

    socket: socket.socket
    host: str
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wide(self) -> bool:
        """Can other machines reach it?"""
        return self.port is not None and not ipaddress.ip_address(self.host).is_loopback


class Source(Protocol):
    """Where the config comes from."""

    def read(self) -> Config:
        """The config as it is now; raises ConfigError, or OSError when it cannot be read. Called in a thread."""

    def stamp(self) -> Hashable:
        """Something that changes when the config may have changed; raises nothing."""

    def looks_complete(self) -> bool:
        """Return False while the file may be in the middle of a save; raises nothing."""


def listen(
    addresses: Sequence[str], *, mode: int | None = None, closed: bool, insecure: bool
) -> tuple[list[Listener], list[str]]:
    """Listen at every one of `server.bind_address`; also says what a person has to know about it.

    `closed`: a key is asked for. Without one, and without `insecure`, an address that other machines can reach is
    replaced by loopback at the same port. Raises CannotListen.
    """
    listeners: list[Listener] = []
    notes: list[str] = []
    try:
        for address in addresses:
            place = parts(address)
            if isinstance(place, str):
                listeners.append(_at_path(place, _SOCKET_MODE if mode is None else mode))
                continue
            host, port = place
            families = _resolve(host, port)
            if not closed and not insecure and any(not ipaddress.ip_address(one).is_loopback for _, one in families):
                notes.append(_narrowed(address, port))
                families = [(socket.AF_INET, _LOOPBACK)]
            for at, (family, one) in enumerate(families):
                if port and any((one, port) == (other.host, other.port) for other in listeners):
                    continue
                try:
                    listener = _at_port(family, one, port)
                except CannotListen:
                    # `localhost` is often two addresses, of which a machine without IPv6 has one.
                    if at == 0:
                        raise
                    continue
                listeners.append(listener)
                # Port 0 lets the system choose; a second address of the same name follows that choice.
                port = listener.port or port
    except CannotListen:
        close(listeners)
        raise
    return listeners, notes


def own(path: Path) -> Listener | None:
    """Listen at the unix socket in the data folder, by which the owner's commands come in. None where it cannot be: the system
    has none, or the folder's path is too long for one."""
    try:
        return _at_path(str(path), _SOCKET_MODE)
    except CannotListen as error:
        log("There is no socket for commands in the data folder", problem=str(error))
        return None


def _narrowed(address: str, port: int) -> str:
    return (
        f"{address} would let other machines in without a key, so Byway listens at {_LOOPBACK}"
        f"{f':{port}' if port else ''} only. To open it, make a key (`byway key create NAME`, or in byway.yaml "
        "`api_keys: [{key: '${BYWAY_KEY}'}]` under `api_keys`) and start it again, or start it with --insecure."
    )


def close(listeners: Sequence[Listener]) -> None:
    """Close the sockets, and remove the files of unix sockets."""
    for listener in listeners:
        if listener.port is None:
            with contextlib.suppress(OSError):
                os.unlink(listener.host)
        listener.socket.close()


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(
            f"The name {host!r} in `server.bind_address` has no address here ({error.strerror}). "
            "Use an address of this machine, such as 127.0.0.1."
        ) from None
    order = {socket.AF_INET: 0, socket.AF_INET6: 1}
    places = dict.fromkeys((family, str(sockaddr[0])) for family, _, _, _, sockaddr in found if family in order)
    return sorted(places, key=lambda place: order[place[0]])


def _at_port(family: socket.AddressFamily, host: str, port: int) -> Listener:
    try:
        listener = platform.listen_tcp(family, host, port)
    except OSError as error:
        shown = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            who = platform.port_owner(port)
            message = (
                f"{shown} is in use{f' by {who}' if who else ''}. Stop that, or choose another port: --port {port + 1}"
            )
        elif error.errno == errno.EACCES:
            message = f"{shown} needs rights that this user does not have. Choose a port above 1023: --port 38080"
        elif error.errno == errno.EADDRNOTAVAIL:
            message = f"{shown} is not an address of this machine. Use one that is, such as {_LOOPBACK}:{port}"
        else:
            message = f"{shown} cannot be listened at: {error.strerror or error}"
        raise CannotListen(message) from None
    return Listener(listener, host, int(listener.getsockname()[1]))


def _at_path(path: str, mode: int) -> Listener:
    try:
        return Listener(platform.listen_unix(path, mode), path, None)
    except OSError as error:
        raise CannotListen(f"unix:{path} cannot be listened at: {error.strerror or error}") from None


class Kept:
    """A local model's process, and who reads from it."""

    def __init__(
        self,
        settings: BackendSettings,
        make: Callable[[BackendSettings, Callable[[ModelProcess], None]], ModelProcess],
        tell: Tell,
    ) -> None:
        self.idle = settings.idle_unload
        self.child = make(settings, lambda _: tell(self))
        self.name = settings.name
        self.since = 0.0
        """When it was last seen to be of use, or since when nobody wants it; seconds of the monotonic clock."""
        self.task = asyncio.create_task(self.child.run())
        self._upstreams: list[Upstream] = []
        self._opened = 0

    @property
    def busy(self) -> bool:
        """Is an answer of it being read?"""
        return any(one.busy for one in self._upstreams)

    def attached(self, upstream: Upstream | None) -> None:
        """A runtime asks by `upstream` from now on."""
        self._upstreams = [one for one in self._upstreams if one.busy]
        if upstream is not None:
            self._upstreams.append(upstream)
        self.since, self._opened = time.monotonic(), 0

    def rest(self, now: float) -> None:
        """Unload the model when nobody has asked for it for as long as the settings say."""
        opened = sum(one.opened for one in self._upstreams)
        if opened != self._opened or self.busy:
            self.since, self._opened = now, opened
        elif self.idle and now - self.since >= self.idle:
            self.child.unload()


Tell = Callable[[Kept], None]


class Service:
    """One Byway at work: from `run` until a signal."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        source: Source,
        *,
        insecure: bool = False,
        child: Callable[[BackendSettings, Callable[[ModelProcess], None]], ModelProcess] | None = None,
    ) -> None:
        """`child` makes the keeper of a local model, given its settings and whom to tell; None: there are to be none."""
        self.gateway = gateway
        self._app = App(gateway, wide=any(listener.wide for listener in listeners))
        self.listeners = listeners
        self.stopping = asyncio.Event()
        self.restarting = False
        """It stops to begin anew."""
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self.models: dict[str, Kept] = {}
        """The local models that the config wants, by backend."""
        self._unwanted: list[Kept] = []
        self._source = source
        self._insecure = insecure
        self._make_child = child
        self._began: Config = gateway.runtime.config
        self._key_sync = KeySync(gateway)

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Serve until a signal comes, then drain and return. `ready` runs beside it once clients can come in."""
        loop = asyncio.get_running_loop()
        platform.on_stop_signal(loop, self._stop)
        platform.on_hangup(loop, self._hangup)
        server = HttpServer(self._app, platform.connection_limit())
        bound = []
        for listener in self.listeners:
            bind = loop.create_unix_server if listener.port is None else loop.create_server
            bound.append(await bind(server.connection, sock=listener.socket, backlog=platform.BACKLOG))
        self._fit_models()
        beside = [
            asyncio.create_task(one) for one in (self._watch(), self._key_sync.run(), server.run_clock(), _told(ready))
        ]
        try:
            await self.stopping.wait()
            self.gateway.draining = True
            for listening in bound:
                listening.close()
            close(self.listeners)
            await self._drain(server)
        finally:
            tasks = [*beside, *(kept.task for kept in (*self.models.values(), *self._unwanted))]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._key_sync.close()
            await self.gateway.runtime.close()

    # ---------------------------------------------------------------------------------------------------------- the end

    def _stop(self, number: int) -> None:
        """A signal: the first one asks running exchanges to finish, the second one asks nobody."""
        if self.stopping.is_set():
            close(self.listeners)
            platform.exit_now(128 + number)
        log("Stopping", running=len(self.gateway.exchanges), drain_s=self.gateway.runtime.config.timeouts.drain)
        self.stopping.set()

    def restart(self) -> None:
        """Finish what runs, then let the process begin anew."""
        self.restarting = True
        log("Restarting", running=len(self.gateway.exchanges))
        self.stopping.set()

    async def _drain(self, server: HttpServer) -> None:
        server.shut_down()
        if not await self._quiet(server, self.gateway.runtime.config.timeouts.drain):
            log("Ending what still runs", logging.WARNING, running=len(self.gateway.exchanges))
            self.gateway.exchanges.abort()
            await self._quiet(server, _LAST_WORDS)
        server.abort()

    async def _quiet(self, server: HttpServer, seconds: float) -> bool:
        """Wait until every answer is out; False when that takes longer than `seconds`."""
        clock = asyncio.get_running_loop().time
        latest = clock() + seconds
        while server.busy:
            if clock() >= latest:
                return False
            await asyncio.sleep(0.02)
        return True

    # ----------------------------------------------------------------------------------------------------- a new config

    async def _watch(self) -> None:
        """Reload the config when its file has changed and the change is complete."""
        changes = ChangeTracker(self._source.stamp())
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if changes.is_due(self._source.stamp(), self._source.looks_complete, time.monotonic()):
                await self._reload_safely()
            self._look_after_models()

    async def _reload_safely(self) -> None:
        """Reload the config. An unexpected error is logged, and the running config stays in force."""
        try:
            await self.reload()
        except Exception:
            log_exception("Reloading the config failed unexpectedly: please report this")
            self._keep("Byway failed to load it because of an internal error; the log has the details")

    def _hangup(self) -> None:
        """SIGHUP: reload the config."""
        log("Reloading the config after SIGHUP")
        task = asyncio.get_running_loop().create_task(self._reload_safely())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self) -> None:
        """Take the config as its file is now; one that is not good changes nothing."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        try:
            # It may wait for a keychain, and streams wait for nobody.
            config = await asyncio.to_thread(self._source.read)
        except ConfigError as error:
            self._keep(str(error))
            return
        except OSError as error:
            self._keep(f"{error.filename or 'the file'}: {error.strerror or error}")
            return
        stored = self.gateway.runtime.stored
        if refusal := weakened_access(self.gateway.runtime.config.api_keys, config.api_keys, stored):
            self._keep(refusal)
            return
        wide = next((one for one in self.listeners if one.wide), None)
        if wide and not self._insecure and not key_required(config.api_keys, stored):
            self._keep(
                f"api_keys: {wide} can be reached by other machines, so keys cannot be given up without a restart"
            )
            return
        for path in static_changes(self._began, config):
            log("Needs a restart", logging.WARNING, setting=path)
        for warning in config.warnings:
            log("Config", logging.WARNING, line=warning.line, says=str(warning))
        running = self.gateway.runtime.config
        if config != running:
            await self.gateway.reload(config)
            if config.logging != running.logging:
                logs.start(config.logging.level, config.logging.format)
            self._fit_models()
        self.gateway.config_problem = None

    def _keep(self, problem: str) -> None:
        log("The changed config was rejected; the running one stays in force", logging.ERROR, problem=problem)
        self.gateway.config_problem = problem

    # ------------------------------------------------------------------------------------------------- the local models

    @property
    def settled(self) -> bool:
        """Has every local model loaded, or failed to?"""
        return all(kept.child.settled for kept in self.models.values())

    def _fit_models(self) -> None:
        """Have the local models that the config wants, each in a process of its own, and let the present runtime know of
        them. A process goes on as long as what it was started with is the same."""
        wanted = {one.name: one for one in self.gateway.runtime.config.backends if one.managed and not one.off}
        if self._make_child is None:
            for name in wanted:
                self.gateway.runtime.set_process_state(name, "off", "Byway was started with --no-model.")
            return
        from byway.local.supervisor import process_options

        for name, kept in list(self.models.items()):
            if name not in wanted or process_options(wanted[name]) != kept.child.options:
                kept.since = time.monotonic()
                self._unwanted.append(self.models.pop(name))
        for name, settings in wanted.items():
            if name in self.models:
                self.models[name].idle = settings.idle_unload
                self._tell(self.models[name])
            else:
                self.models[name] = Kept(settings, self._make_child, self._tell)

    def _look_after_models(self) -> None:
        """End the processes that no config wants when nobody may still be reading from them; unload what is idle."""
        now = time.monotonic()
        for kept in list(self._unwanted):
            if not kept.busy and (not self.gateway.exchanges or now - kept.since > _GRACE):
                kept.task.cancel()
                self._unwanted.remove(kept)
        for kept in self.models.values():
            if kept.idle and kept.child.place is not None:
                kept.rest(now)

    def _tell(self, kept: Kept) -> None:
        """Let the present runtime know how a local model is doing."""
        if self.models.get(kept.name) is not kept:
            return
        runtime, child = self.gateway.runtime, kept.child
        place = child.place
        if place is None:
            rest = UnloadedModel(child.wake, child.woken) if child.woken is not None else None
            runtime.set_process_state(kept.name, child.state, child.message, window=child.window or None, unloaded=rest)
        elif (kept.name, "ready", "") not in runtime.statuses():
            kept.attached(runtime.attach_process(kept.name, place.url, place.secret, place.window, child.pid))


async def _told(ready: Callable[[], Awaitable[None]]) -> None:
    """What is said at the start is said beside the work; that it failed must not end the work."""
    try:
        await ready()
    except OSError as error:
        log("Nobody reads what Byway says", logging.WARNING, problem=str(error))
