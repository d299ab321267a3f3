"""MetricsHistory: stores at intervals what was counted since the last time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from byway.config.metricsettings import PersistenceSettings
from byway.logs import log, log_exception
from byway.metrics.counts import RequestMetrics
from byway.metrics.totals import ModelTotals, model_totals
from byway.store import StoreError
from byway.store.metrics import MetricsPoint, MetricsStore

_NONE: Final = ModelTotals()
_DAY: Final = 86_400
#: Seconds between two removals of old points.
_CLEANING: Final = 3_600.0


class HistorySource(NamedTuple):
    """What is stored now."""

    metrics: RequestMetrics | None
    """None while `metrics.enabled` is false."""
    settings: PersistenceSettings


class MetricsHistory:
    """Stores the counts. A failure of the database loses nothing: the next point contains what was not stored."""

    def __init__(self, store: MetricsStore, source: Callable[[], HistorySource]) -> None:
        self.store = store
        self.problem = ""
        """Why points are not stored; empty while they are."""
        self._source = source
        self._metrics: RequestMetrics | None = None
        """The counts that `_stored` belongs to."""
        self._stored: dict[tuple[str, str], ModelTotals] = {}
        self._cleaned = -_CLEANING
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Are points stored?"""
        source = self._source()
        return source.metrics is not None and source.settings.enabled

    async def run(self) -> None:
        """Store a point at each interval until cancelled."""
        while True:
            await asyncio.sleep(self._source().settings.snapshot_interval_seconds)
            try:
                await asyncio.to_thread(self.save, time.time())
            except Exception:
                log_exception("Storing the history of metrics failed unexpectedly. Please report this bug.")

    async def close(self) -> None:
        """Store the last point and close the database."""
        await asyncio.to_thread(self.save, time.time())
        await asyncio.to_thread(self.store.close)

    def save(self, now: float) -> None:
        """Store what was counted since the last time, at `now`: seconds since the epoch. A failure is logged once."""
        with self._lock:
            source = self._source()
            try:
                self._store(source, int(now))
                if time.monotonic() - self._cleaned >= _CLEANING:
                    self.store.remove_old(int(now) - source.settings.retention_days * _DAY)
                    self._cleaned = time.monotonic()
            except StoreError as error:
                if not self.problem:
                    log("The history of metrics cannot be stored", logging.ERROR, problem=str(error))
                self.problem = str(error)
            else:
                self.problem = ""

    def _store(self, source: HistorySource, at: int) -> None:
        """Store the sums that have changed. Raises StoreError."""
        if source.metrics is not self._metrics:
            # Metrics were disabled and enabled again: they count from zero.
            self._metrics, self._stored = source.metrics, {}
        if source.metrics is None:
            return
        totals = model_totals(source.metrics)
        changed = {key: total for key, total in totals.items() if total != self._stored.get(key)}
        if changed and source.settings.enabled:
            self.store.add(
                [
                    MetricsPoint(at, *key, totals=total.minus(self._stored.get(key, _NONE)))
                    for key, total in changed.items()
                ]
            )
        self._stored |= changed
