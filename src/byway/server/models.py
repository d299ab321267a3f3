"""Keeps the processes of local models in line with the config: starts, attaches to the runtime, unloads, ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from byway.backend import UnloadedModel
from byway.config import BackendSettings
from byway.gateway import Gateway
from byway.upstream.client import Upstream

if TYPE_CHECKING:
    from byway.local.supervisor import ModelProcess

#: Seconds until the process of a removed model ends, unless an answer is still being read from it.
_GRACE: Final = 5.0

MakeProcess = Callable[[BackendSettings, "Callable[[ModelProcess], None]"], "ModelProcess"]
"""Makes the process of a local model from its settings; the callback is called when its state changes."""


class ServedModel:
    """A local model's process, and the connections that read from it."""

    def __init__(self, settings: BackendSettings, make: MakeProcess, changed: Callable[[ServedModel], None]) -> None:
        self.idle_unload = settings.idle_unload
        self.process = make(settings, lambda _: changed(self))
        self.name = settings.name
        self.since = 0.0
        """When it was last in use, or since when the config no longer has it; seconds of the monotonic clock."""
        self.task = asyncio.create_task(self.process.run())
        self._upstreams: list[Upstream] = []
        self._opened = 0

    @property
    def busy(self) -> bool:
        """Is an answer being read from it?"""
        return any(upstream.busy for upstream in self._upstreams)

    def attached(self, upstream: Upstream | None) -> None:
        """A runtime sends requests through `upstream` from now on."""
        self._upstreams = [upstream for upstream in self._upstreams if upstream.busy]
        if upstream is not None:
            self._upstreams.append(upstream)
        self.since, self._opened = time.monotonic(), 0

    def unload_when_idle(self, now: float) -> None:
        """Unload the model when no request has come for `idle_unload` seconds."""
        opened = sum(upstream.opened for upstream in self._upstreams)
        if opened != self._opened or self.busy:
            self.since, self._opened = now, opened
        elif self.idle_unload and now - self.since >= self.idle_unload:
            self.process.unload()


class ModelProcesses:
    """The local models of the running config. A process goes on across a reload when its options stay the same."""

    def __init__(self, gateway: Gateway, make: MakeProcess | None) -> None:
        """`make` None: local models are disabled (--no-model)."""
        self._gateway = gateway
        self._make = make
        self._models: dict[str, ServedModel] = {}
        """By the name of their backend."""
        self._removed: list[ServedModel] = []

    def __bool__(self) -> bool:
        return bool(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def settled(self) -> bool:
        """Has every local model loaded, or failed to load?"""
        return all(model.process.settled for model in self._models.values())

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks of all processes."""
        return [model.task for model in (*self._models.values(), *self._removed)]

    def update(self) -> None:
        """Start the models that the config has, remove the others, and report their states to the runtime."""
        config = self._gateway.runtime.config
        configured = {settings.name: settings for settings in config.backends if settings.managed and not settings.off}
        if self._make is None:
            for name in configured:
                self._gateway.runtime.set_process_state(name, "off", "Byway was started with --no-model.")
            return
        if not configured and not self._models:
            return
        from byway.local.supervisor import process_options

        for name, model in list(self._models.items()):
            if name not in configured or process_options(configured[name]) != model.process.options:
                model.since = time.monotonic()
                self._removed.append(self._models.pop(name))
        for name, settings in configured.items():
            if name in self._models:
                self._models[name].idle_unload = settings.idle_unload
                self._report(self._models[name])
            else:
                self._models[name] = ServedModel(settings, self._make, self._report)

    def tick(self) -> None:
        """End the processes of removed models that are not in use, and unload idle models."""
        now = time.monotonic()
        for model in list(self._removed):
            if not model.busy and (not self._gateway.exchanges or now - model.since > _GRACE):
                model.task.cancel()
                self._removed.remove(model)
        for model in self._models.values():
            if model.idle_unload and model.process.address is not None:
                model.unload_when_idle(now)

    def _report(self, model: ServedModel) -> None:
        """Report a model's state to the current runtime."""
        if self._models.get(model.name) is not model:
            return
        runtime, process = self._gateway.runtime, model.process
        address = process.address
        if address is None:
            unloaded = UnloadedModel(process.load, process.reloaded) if process.reloaded is not None else None
            window = process.window or None
            runtime.set_process_state(model.name, process.state, process.message, window=window, unloaded=unloaded)
        elif (model.name, "ready", "") not in runtime.statuses():
            attached = runtime.attach_process(
                model.name, address.url, address.secret, address.window, process.pid, address.use
            )
            model.attached(attached)
