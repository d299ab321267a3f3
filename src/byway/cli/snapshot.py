"""The backends as they are now, for commands: a runtime that has queried them, and the states of local models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar, cast, get_args

from byway.backend import BackendState
from byway.cli import client
from byway.config import BackendSettings, Config
from byway.local import supervisor
from byway.prices.source import PriceSource
from byway.runtime import Runtime

T = TypeVar("T")

STARTS_LATER = "Starts with `byway up`."


#: Seconds that a change waits for a slow backend, which may then serve any model.
SHORT_WAIT: Final = 2.0


def query_backends(config: Config, data: Path, use: Callable[[Runtime], Awaitable[T]], wait: float = 0.0) -> T:
    """The result of `use` with a runtime that has queried all backends once, for `wait` seconds at most; 0: no limit.

    The states of models that Byway runs itself come from the running Byway with this data folder.
    """

    async def run() -> T:
        runtime = Runtime(config, price_source=PriceSource(data))
        try:
            await runtime.refresh(wait)
            _set_local_states(runtime, data)
            return await use(runtime)
        finally:
            await runtime.close()

    return asyncio.run(run())


def _set_local_states(runtime: Runtime, data: Path) -> None:
    url = client.address(data)
    report = client.report(url, data) if url else None
    for backend in runtime.backends.values():
        if not backend.vendor.managed or backend.state == "off":
            continue
        state, message, window = _expected_state(backend.settings)
        known = client.backend(report, backend.name) if report else None
        if known is not None and known.get("state") in get_args(BackendState):
            state, message = cast(BackendState, known["state"]), str(known.get("message", ""))
        runtime.set_process_state(backend.name, state, message, window=window)


def _expected_state(settings: BackendSettings) -> tuple[BackendState, str, int | None]:
    """The state of a model that no Byway runs now: whether `byway up` could run it, and with which context window."""
    try:
        if settings.path:
            supervisor.require_engine()
            header = supervisor.check_model_file(Path(settings.path))
            window = min(header.window or supervisor.DEFAULT_WINDOW_LIMIT, supervisor.DEFAULT_WINDOW_LIMIT)
        else:
            supervisor.builtin_weights()
            window = supervisor.BUILTIN_WINDOW
    except (supervisor.NotInstalled, supervisor.UnusableFile) as error:
        return "failed", str(error), None
    return "unknown", STARTS_LATER, settings.window or window
