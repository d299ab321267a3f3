"""Opens the history of metrics in the data folder."""

from __future__ import annotations

import logging
from pathlib import Path

from byway.gateway import Gateway
from byway.history import HistorySource, MetricsHistory
from byway.logs import log
from byway.store import StoreError
from byway.store.metrics import MetricsStore


def open_history(gateway: Gateway, folder: Path) -> MetricsHistory | None:
    """Open the history of metrics when metrics are enabled and it is not open. Returns what was opened.

    Without its database Byway runs without it, and the log has the reason.
    """
    if gateway.metrics is None or gateway.history is not None:
        return None
    try:
        store = MetricsStore(folder)
    except StoreError as error:
        gateway.history_problem = str(error)
        log("Byway runs without a history of metrics: its database cannot be opened", logging.ERROR, problem=str(error))
        return None
    gateway.history_problem = ""
    gateway.history = MetricsHistory(
        store, lambda: HistorySource(gateway.metrics, gateway.runtime.config.metrics.persistence)
    )
    return gateway.history
