"""The life of one Byway process: serve, reload the config, drain and stop. Signals are `platform`'s."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Protocol

from byway import logs, platform
from byway.access.keys import key_required, weakened_access
from byway.access.sync import KeySync
from byway.config import Config, ConfigError, TelemetrySettings, static_changes
from byway.config.watch import ChangeTracker
from byway.gateway import Gateway
from byway.logs import log, log_exception
from byway.server import listeners as listening
from byway.server.app import App
from byway.server.connection import HttpServer
from byway.server.encrypted import TlsListener
from byway.server.history import open_history
from byway.server.listeners import Listener
from byway.server.models import MakeProcess, ModelProcesses
from byway.store import StoreError
from byway.wordings import compile_wordings

#: Seconds between two checks of the config file. A change is read once the file has stayed the same between two checks.
CHECK_SECONDS: Final = 0.25
#: Seconds between two checks of the certificate.
CERTIFICATE_SECONDS: Final = 5.0
#: Seconds that aborted exchanges get to report it to their clients.
_ABORT_SECONDS: Final = 2.0
#: New objects after which Python looks for garbage.
_GARBAGE_OBJECTS: Final = 10_000


class ReloadSource(Protocol):
    """Where the config comes from."""

    def read(self) -> Config:
        """The config as it is now; raises ConfigError, or OSError when it cannot be read. Called in a thread."""

    def stamp(self) -> Hashable:
        """A value that changes when the config may have changed; raises nothing."""

    def looks_complete(self) -> bool:
        """Return False while the file may be in the middle of a save; raises nothing."""


class Service:
    """One running Byway, from `run` until a signal."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        source: ReloadSource,
        *,
        insecure: bool = False,
        make_process: MakeProcess | None = None,
    ) -> None:
        """`make_process` makes the process of a local model; None disables local models."""
        self.gateway = gateway
        self.listeners = listeners
        self.models = ModelProcesses(gateway, make_process)
        self.stopping = asyncio.Event()
        self.restarting = False
        """It stops in order to start again."""
        self._app = App(gateway, wide=any(listener.wide for listener in listeners))
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._source = source
        self._insecure = insecure
        self._key_sync = KeySync(gateway)

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Serve until a signal arrives, then drain and return. `ready` runs once clients can connect."""
        loop = asyncio.get_running_loop()
        platform.on_stop_signal(loop, self._stop)
        platform.on_hangup(loop, self._hangup)
        server = HttpServer(self._app, platform.connection_limit())
        self.gateway.count_connections = lambda: len(server.connections)
        recorder = self.gateway.recorder
        if recorder is not None:
            recorder.start()
        await self.gateway.set_tracing(self.gateway.runtime.config.tracing)
        await self.gateway.load_spending(self.gateway.runtime.limiter)
        bound: list[asyncio.AbstractServer | TlsListener] = []
        certificate = self.gateway.certificate
        for listener in self.listeners:
            if certificate is not None and listener.port is not None:
                bound.append(TlsListener(server, listener.socket, certificate))
                continue
            bind = loop.create_unix_server if listener.port is None else loop.create_server
            bound.append(await bind(server.connection, sock=listener.socket, backlog=platform.BACKLOG))
        self.models.update()
        files = self.gateway.file_service
        if self.gateway.batches is not None:
            self.gateway.batches.start()
        self._background = [
            asyncio.create_task(work)
            for work in (
                self._watch_config(),
                self._watch_spending(),
                self._key_sync.run(),
                *((files.run(),) if files is not None else ()),
                *((self.gateway.history.run(),) if self.gateway.history is not None else ()),
                server.run_clock(),
                self._watch_certificate(),
                _finish_start(ready),
            )
        ]
        try:
            await self.stopping.wait()
            self.gateway.draining = True
            if self.gateway.batches is not None:
                self.gateway.batches.drain()
            for socket in bound:
                socket.close()
            listening.close(self.listeners)
            await self._drain(server)
        finally:
            tasks = [*self._background, *self._reloads, *self.models.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._key_sync.close()
            if self.gateway.batches is not None:
                await self.gateway.batches.stop()
            if self.gateway.readiness is not None:
                await self.gateway.readiness.close()
            if recorder is not None:
                await asyncio.to_thread(recorder.stop)
            if files is not None:
                await files.close()
            if self.gateway.history is not None:
                await self.gateway.history.close()
            if self.gateway.response_store is not None:
                await asyncio.to_thread(self.gateway.response_store.close)
            await self.gateway.set_telemetry(TelemetrySettings())
            if self.gateway.tracer is not None:
                await asyncio.to_thread(self.gateway.tracer.stop)
            await self.gateway.runtime.close()

    # ---------------------------------------------------------------------------------------------------------------- stop

    def _stop(self, number: int) -> None:
        """Handle a stop signal: the first one drains, the second one ends the process at once."""
        if self.stopping.is_set():
            listening.close(self.listeners)
            platform.exit_now(128 + number)
        log("Stopping", running=len(self.gateway.exchanges), drain_s=self.gateway.runtime.config.timeouts.drain)
        self.stopping.set()

    def restart(self) -> None:
        """Drain, then let the caller of `run` start the process again."""
        self.restarting = True
        log("Restarting", running=len(self.gateway.exchanges))
        self.stopping.set()

    async def _drain(self, server: HttpServer) -> None:
        server.shut_down()
        if not await self._idle(server, self.gateway.runtime.config.timeouts.drain):
            log("Aborting the requests that still run", logging.WARNING, running=len(self.gateway.exchanges))
            self.gateway.exchanges.abort()
            await self._idle(server, _ABORT_SECONDS)
        server.abort()

    async def _idle(self, server: HttpServer, seconds: float) -> bool:
        """Wait until every response is complete; False when that takes longer than `seconds`."""
        clock = asyncio.get_running_loop().time
        latest = clock() + seconds
        batches = self.gateway.batches
        while server.busy or (batches is not None and batches.busy):
            if clock() >= latest:
                return False
            await asyncio.sleep(0.02)
        return True

    # -------------------------------------------------------------------------------------------------------------- reload

    async def _watch_config(self) -> None:
        """Reload the config when its file has changed and the change is complete."""
        changes = ChangeTracker(self._source.stamp())
        await self._record_edits()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if changes.is_due(self._source.stamp(), self._source.looks_complete, time.monotonic()):
                await self._reload_safely()
            self.models.tick()

    async def _watch_certificate(self) -> None:
        """Serve a renewed certificate to new connections."""
        while (certificate := self.gateway.certificate) is not None:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            # In a thread: it reads files and resolves names.
            await asyncio.to_thread(certificate.refresh, self.gateway.runtime.config.server)

    async def _watch_spending(self) -> None:
        """Read again what was spent when it could not be read, or when the time was set."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.gateway.load_spending(self.gateway.runtime.limiter)
            except Exception:
                log_exception("Reading what was spent failed unexpectedly. Please report this bug.")

    async def _reload_safely(self) -> None:
        """Reload the config. An unexpected error is logged, and the running config stays in force."""
        try:
            await self.reload()
        except Exception:
            log_exception("Reloading the config failed unexpectedly. Please report this bug.")
            self._reject("Byway failed to load it because of an internal error; the log has the details")

    def _hangup(self) -> None:
        """SIGHUP: reload the config."""
        log("Reloading the config after SIGHUP")
        task = asyncio.get_running_loop().create_task(self._reload_safely())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self) -> None:
        """Load the config from its source. An invalid one is rejected, and the running config stays in force."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        try:
            # In a thread: it may wait for a keychain, and requests must not wait for it.
            config = await asyncio.to_thread(self._source.read)
        except ConfigError as error:
            self._reject(str(error))
            return
        except OSError as error:
            self._reject(f"{error.filename or 'the file'}: {error.strerror or error}")
            return
        stored = self.gateway.runtime.stored
        if refusal := weakened_access(self.gateway.runtime.config.api_keys, config.api_keys, stored):
            self._reject(refusal)
            return
        wide = next((listener for listener in self.listeners if listener.wide), None)
        if wide and not self._insecure and not key_required(config.api_keys, stored):
            self._reject(f"api_keys: other machines can reach {wide}, so keys cannot be given up without a restart")
            return
        for path in static_changes(self.gateway.started_config, config):
            log("A changed setting takes effect after a restart", logging.WARNING, setting=path)
        for warning in config.warnings:
            log("Config warning", logging.WARNING, line=warning.line, warning=str(warning))
        running = self.gateway.runtime.config
        if config != running:
            await self.gateway.reload(config)
            await self._start_history()
            if config.logging != running.logging:
                logs.start(config.logging.level, config.logging.format)
            self.models.update()
        self.gateway.config_problem = None
        await self._record_edits()

    async def _start_history(self) -> None:
        """Start the history of metrics when the reload has enabled metrics."""
        if self.gateway.metrics is None or self.gateway.history is not None or self.gateway.admin is None:
            return
        history = await asyncio.to_thread(open_history, self.gateway, self.gateway.admin.folder)
        if history is not None:
            self._background.append(asyncio.create_task(history.run()))

    async def _record_edits(self) -> None:
        """Record an edit of the config file by hand in its history and the audit log. A failure stops nothing."""
        if self.gateway.admin is None:
            return
        try:
            await asyncio.to_thread(self.gateway.admin.config_file.record_edits)
        except (OSError, StoreError) as error:
            log("An edit of the config file was not recorded in the history", logging.WARNING, problem=str(error))

    def _reject(self, problem: str) -> None:
        log("The changed config was rejected; the running one stays in force", logging.ERROR, problem=problem)
        self.gateway.config_problem = problem


async def _finish_start(ready: Callable[[], Awaitable[None]]) -> None:
    """Run `ready`, which prints the start screen. Its failure must not stop the service."""
    try:
        await ready()
    except OSError as error:
        log("Cannot print the start screen", logging.WARNING, problem=str(error))
    # Otherwise the first refusal of a backend would block the event loop for it.
    await asyncio.to_thread(compile_wordings)
    # Modules and their functions stay. With them a full collection of garbage holds the event loop for 16 ms (41,000 objects).
    gc.freeze()
    # Python's 700 objects are those of a few requests, most of which are still in progress.
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])
