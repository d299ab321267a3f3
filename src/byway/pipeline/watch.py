"""Watches exchanges in progress: cancels one when its client disconnects or Byway stops, and calls it back every 50 ms.

One timer serves all exchanges. A timer and a task for each would cost a short request more than its translation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Literal

from byway.problems import Problem

#: Seconds between two ticks: how soon a disconnected client is noticed.
_TICK: Final = 0.05


class ClientGone(Exception):
    """The client has disconnected: there is no answer to send."""


class Exchanges:
    """The exchanges in progress."""

    def __init__(self) -> None:
        self._running: set[WatchedExchange] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking = False

    def __len__(self) -> int:
        return len(self._running)

    def watch(
        self, receive: Callable[[], Awaitable[object]], on_tick: Callable[[float], None] | None = None
    ) -> WatchedExchange:
        """A context manager that watches the current task: it is cancelled when `receive` returns (all a client can still send
        is its disconnection) or by `abort`. `on_tick(monotonic time)` is called every 50 ms."""
        if self._loop is None or not self._loop.is_running():
            # Kept: asking for the running loop is a system call (Python 3.11 checks for a fork).
            self._loop = asyncio.get_running_loop()
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(_TICK, self._tick)
        return WatchedExchange(self._running, receive, on_tick, asyncio.current_task(self._loop))  # type: ignore[arg-type]

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        for exchange in list(self._running):
            exchange.tick(now)
        self._ticking = bool(self._running)
        if self._ticking:
            loop.call_later(_TICK, self._tick)

    def abort(self) -> None:
        """End every exchange with an `error` event."""
        for exchange in list(self._running):
            exchange.end("stopping")


class WatchedExchange:
    """One exchange whose client is watched. Leaving the block raises ClientGone or Problem `stopping` for what ended it."""

    __slots__ = ("_on_tick", "_reason", "_receive", "_running", "_task", "_watcher")

    def __init__(
        self,
        running: set[WatchedExchange],
        receive: Callable[[], Awaitable[object]],
        on_tick: Callable[[float], None] | None,
        task: asyncio.Task[object],
    ) -> None:
        self._running = running
        self._receive = receive
        self._on_tick = on_tick
        self._task = task
        self._reason = ""
        self._watcher: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        self._running.add(self)

    def tick(self, now: float) -> None:
        """Start to watch the client on the first tick: after its body a client can only disconnect."""
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._wait())
            self._watcher.add_done_callback(self._disconnected)
        if self._on_tick is not None:
            self._on_tick(now)

    async def _wait(self) -> object:
        return await self._receive()

    def _disconnected(self, watcher: asyncio.Task[object]) -> None:
        if not watcher.cancelled():
            self.end("gone")

    def end(self, reason: Literal["gone", "stopping"]) -> None:
        """Cancel the exchange."""
        if not self._reason:
            self._reason = reason
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.discard(self)
        if self._watcher is not None:
            self._watcher.remove_done_callback(self._disconnected)
            self._watcher.cancel()
        if isinstance(error, asyncio.CancelledError) and self._reason:
            self._task.uncancel()
            if self._reason == "gone":
                raise ClientGone from None
            raise Problem(
                "stopping", "Byway was stopped before the answer was complete. Send the request again."
            ) from None
