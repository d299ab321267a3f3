"""Counts the telemetry that clients send. Its content is never kept."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Signal = Literal["metrics", "logs", "traces"]
SIGNALS: Final[tuple[Signal, ...]] = ("metrics", "logs", "traces")


class TelemetryCount(Struct):
    """What has arrived of one signal since the start."""

    requests: int = 0
    bytes: int = 0


class ForwardingCounts(Struct):
    """Requests with telemetry for the collector of `telemetry.forward`, since the start."""

    forwarded: int = 0
    dropped: int = 0
    """Did not fit in the queue, or the collector did not accept them."""
    refused: int = 0
    """Byway could not read them, so they may contain prompts."""
    prompt_events: int = 0
    """Events that can contain prompts, removed from the logs that were read."""


class TelemetryCounts:
    """The counts of every signal."""

    def __init__(self) -> None:
        self._counts: dict[str, TelemetryCount] = {signal: TelemetryCount() for signal in SIGNALS}

    def add(self, signal: Signal, size: int) -> None:
        """Count a request with a body of `size` bytes."""
        count = self._counts[signal]
        count.requests += 1
        count.bytes += size

    def snapshot(self) -> dict[str, TelemetryCount]:
        """The counts as they are now."""
        return {signal: TelemetryCount(count.requests, count.bytes) for signal, count in self._counts.items()}
