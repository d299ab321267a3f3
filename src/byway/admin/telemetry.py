"""Sends telemetry of clients on to a collector: a bounded queue that no request waits for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Final, NamedTuple

from byway.call import Call
from byway.config import TelemetrySettings, TimeoutSettings
from byway.logs import log
from byway.problems import Problem
from byway.signin.otlp import without_prompts
from byway.signin.telemetry import ForwardingCounts, Signal
from byway.upstream.client import Upstream

#: Requests and bytes that may wait. What does not fit is dropped.
MOST_WAITING: Final = 256
MOST_BYTES: Final = 16 << 20
_TIMEOUTS: Final = TimeoutSettings(connect=5.0, first_byte=10.0, between_chunks=10.0)
_ANSWER_LIMIT: Final = 64 << 10
#: Seconds between two warnings.
_WARN_EVERY: Final = 60.0
_FINE: Final = range(200, 300)
#: Seconds for one request to the collector.
_SEND_SECONDS: Final = 30.0
#: Larger logs are refused: to parse them would block the event loop, also in a thread.
_LARGEST_LOGS: Final = 2 << 20
#: Seconds that a stop, and a change of the collector, wait for requests that have not been sent.
FLUSH_SECONDS: Final = 2.0


class TelemetryExport(NamedTuple):
    """One request of a client, decompressed, without its headers and its token."""

    signal: Signal
    is_json: bool
    body: bytes


class TelemetryCollector:
    """The connection to the collector of `telemetry.forward`, and what waits for it."""

    def __init__(self, settings: TelemetrySettings, counts: ForwardingCounts) -> None:
        self.settings = settings
        self._counts = counts
        self._upstream = Upstream(settings.forward or "", timeouts=_TIMEOUTS, pool=1)
        self._headers = tuple(pair for pair in settings.headers.items() if pair[0].lower() != "content-type")
        self._waiting: deque[TelemetryExport] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._warning_due = 0.0

    def add(self, export: TelemetryExport) -> None:
        """Let a request wait until it is sent; drop it when the queue is full."""
        if len(self._waiting) >= MOST_WAITING or self._bytes + len(export.body) > MOST_BYTES:
            self._drop("too many requests wait for it")
            return
        self._waiting.append(export)
        self._bytes += len(export.body)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self, within: float = FLUSH_SECONDS) -> None:
        """Send what waits for at most `within` seconds, then drop the rest and close the connections."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=within)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._counts.dropped += len(self._waiting)
        self._waiting.clear()
        await self._upstream.close()

    async def _run(self) -> None:
        while self._waiting:
            export = self._waiting.popleft()
            self._bytes -= len(export.body)
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await self._filter_and_send(export)
            except asyncio.CancelledError:
                self._counts.dropped += 1
                raise
            except TimeoutError:
                self._drop(f"it did not answer within {_SEND_SECONDS:.0f} seconds")
            except Problem as problem:
                self._drop(problem.message)

    async def _filter_and_send(self, export: TelemetryExport) -> None:
        body = export.body
        if export.signal == "logs":
            try:
                if len(body) > _LARGEST_LOGS:
                    raise ValueError("too large")
                body, removed = await asyncio.to_thread(without_prompts, body, is_json=export.is_json)
            except ValueError:
                # Byway cannot tell whether these contain prompts.
                self._counts.refused += 1
                return
            self._counts.prompt_events += removed
        content_type = "application/json" if export.is_json else "application/x-protobuf"
        headers = (("content-type", content_type), *self._headers)
        answer = await self._upstream.open(Call("POST", f"/v1/{export.signal}", headers, body))
        try:
            await answer.body(_ANSWER_LIMIT)
        finally:
            answer.close()
        if answer.status in _FINE:
            self._counts.forwarded += 1
        else:
            self._drop(f"it answered {answer.status}")

    def _drop(self, reason: str) -> None:
        self._counts.dropped += 1
        now = time.monotonic()
        if now >= self._warning_due:
            self._warning_due = now + _WARN_EVERY
            log(
                "Telemetry was not forwarded to the collector",
                logging.WARNING,
                reason=reason,
                dropped=self._counts.dropped,
            )
