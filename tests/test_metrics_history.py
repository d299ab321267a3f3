"""The history of metrics, `/byway/statistics` and `/byway/health`: stored sums, their bounds, and failures of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Pages

from byway.config.metricsettings import PersistenceSettings
from byway.history import HistorySource, MetricsHistory
from byway.metrics.counts import RequestMetrics
from byway.metrics.totals import ModelTotals, model_totals
from byway.server.history import open_history
from byway.store import metrics as stores
from byway.store.metrics import METRICS_DATABASE, MetricsPoint, MetricsStore

NOW = 1_800_000_000
DAY = 86_400
BACKEND = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9"}
EVER = (0, 2 * NOW)


def count(metrics: RequestMetrics, model: str = "local", status: int = 200, seconds: float = 0.5) -> None:
    """Count a request with 10 tokens of input, 2 of output and 3 cached ones."""
    series = metrics.model("box", model, status)
    series.duration.observe(seconds)
    series.first_token.observe(seconds / 5)
    series.input_tokens.observe(10)
    series.output_tokens.observe(2)
    series.cached_tokens += 3


class Kept:
    """A history whose settings and counts a test changes."""

    def __init__(self, folder: Path) -> None:
        self.metrics: RequestMetrics | None = RequestMetrics(100)
        self.settings = PersistenceSettings()
        self.store = MetricsStore(folder)
        self.history = MetricsHistory(self.store, lambda: HistorySource(self.metrics, self.settings))

    def requests(self) -> list[tuple[int, float]]:
        """Moment and number of requests of each point."""
        return [(point.at, point.totals[0]) for point in self.store.history(*EVER, 1)]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.store.close()


def test_a_point_has_what_was_counted_since_the_point_before_it(kept: Kept) -> None:
    assert kept.metrics is not None
    count(kept.metrics)
    count(kept.metrics, status=529, seconds=1.5)
    assert model_totals(kept.metrics) == {("box", "local"): ModelTotals(2, 1, 20, 6, 4, 2.0, 2, 0.4)}
    kept.history.save(NOW)
    kept.history.save(NOW + 60)
    count(kept.metrics, "other")
    kept.history.save(NOW + 120)
    assert kept.requests() == [(NOW, 2), (NOW + 120, 1)]
    (point,) = kept.store.history(*EVER, DAY)
    assert point[:3] == (NOW - NOW % DAY, "", "") and point.totals == pytest.approx((3, 1, 30, 9, 6, 2.5, 3, 0.5))
    assert [point.totals[0] for point in kept.store.history(*EVER, DAY, "box", "local")] == [2]
    assert kept.store.history(NOW + 121, NOW + 999, 60) == []


def test_counts_that_begin_again_are_stored_whole(kept: Kept) -> None:
    assert kept.metrics is not None
    count(kept.metrics)
    kept.history.save(NOW)
    kept.metrics = None
    kept.history.save(NOW + 60)
    assert not kept.history.enabled
    kept.metrics = RequestMetrics(100)
    count(kept.metrics)
    kept.history.save(NOW + 120)
    assert kept.requests() == [(NOW, 1), (NOW + 120, 1)]


def test_nothing_is_stored_while_the_history_is_disabled(kept: Kept) -> None:
    assert kept.metrics is not None
    kept.settings = PersistenceSettings(enabled=False)
    count(kept.metrics)
    kept.history.save(NOW)
    kept.settings = PersistenceSettings()
    count(kept.metrics)
    kept.history.save(NOW + 60)
    assert kept.requests() == [(NOW + 60, 1)]


def test_what_a_failing_database_did_not_store_is_in_the_next_point(kept: Kept, tmp_path: Path) -> None:
    assert kept.metrics is not None
    count(kept.metrics)
    other = sqlite3.connect(tmp_path / METRICS_DATABASE)
    other.execute("ALTER TABLE points RENAME TO hidden")
    kept.history.save(NOW)
    assert "does not have the tables" in kept.history.problem
    other.execute("ALTER TABLE hidden RENAME TO points")
    other.close()
    count(kept.metrics)
    kept.history.save(NOW + 60)
    assert (kept.history.problem, kept.requests()) == ("", [(NOW + 60, 2)])


def test_old_points_and_those_beyond_the_limit_are_removed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_STEP", 7)
    totals = tuple(ModelTotals(requests=1))
    kept.store.add([MetricsPoint(NOW + number, "box", "local", totals) for number in range(100)])
    kept.store.remove_old(NOW + 50)
    assert [at for at, _ in kept.requests()] == list(range(NOW + 50, NOW + 100))
    monkeypatch.setattr(stores, "MOST_POINTS", 20)
    kept.store.remove_old(0)
    assert [at for at, _ in kept.requests()] == list(range(NOW + 80, NOW + 100))


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    pages = Pages(tmp_path, json.dumps({"backends": [BACKEND], "metrics": {"enabled": True}}))
    open_history(pages.gateway, tmp_path)
    yield pages
    assert pages.gateway.history is not None
    pages.gateway.history.store.close()
    pages.close()


def read(pages: Pages, path: str) -> Any:
    answer = pages.get(path, {"accept": "application/json"})
    return answer.status, json.loads(answer.html)


def test_the_admin_api_has_statistics_and_their_history(pages: Pages) -> None:
    metrics = pages.gateway.metrics
    assert metrics is not None
    count(metrics)
    count(metrics, status=500, seconds=1.5)
    metrics.count("POST", "/v1/messages", 500, "overloaded")
    status, answer = read(pages, "/byway/statistics")
    assert (status, answer["enabled"], answer["problems"]) == (200, True, {"overloaded": 1})
    assert answer["models"] == [
        {
            "backend": "box",
            "model": "local",
            "requests": 2,
            "errors": 1,
            "input_tokens": 20,
            "cached_tokens": 6,
            "output_tokens": 4,
            "mean_ms": 1000.0,
            "mean_first_ms": 200.0,
        }
    ]
    status, answer = read(pages, "/byway/metrics/history?since=24h&step=3600")
    assert (status, answer["enabled"], answer["step"]) == (200, True, 3600)
    (point,) = answer["points"]
    assert (point["requests"], point["errors"], point["mean_ms"]) == (2, 1, 1000.0)
    assert read(pages, "/byway/metrics/history?model=none")[1]["points"] == []
    status, answer = read(pages, "/byway/metrics/history?since=2w&step=1")
    assert (status, answer["error"]["field"]) == (400, "step")
    assert read(pages, "/byway/metrics/history?since=2026-01-02&until=2025-01-01")[1]["error"]["field"] == "until"


def test_health_names_the_part_that_fails_and_why(pages: Pages) -> None:
    status, answer = read(pages, "/byway/health")
    assert (status, answer["healthy"]) == (200, True)
    assert {part["name"]: part["state"] for part in answer["parts"]}["metrics history"] == "ready"
    assert answer["backends"] == [{"name": "box", "state": "unknown", "message": ""}]
    history = pages.gateway.history
    assert history is not None
    history.problem = "the disk is full"
    pages.gateway.config_problem = "line 1: invalid"
    status, answer = read(pages, "/byway/health")
    assert (status, answer["healthy"]) == (200, False)
    failed = {part["name"]: part["message"] for part in answer["parts"] if part["state"] == "error"}
    assert failed == {"config": "line 1: invalid", "metrics history": "the disk is full"}


def test_no_database_is_created_while_metrics_are_disabled(tmp_path: Path) -> None:
    pages = Pages(tmp_path, "{}")
    try:
        open_history(pages.gateway, tmp_path)
        assert pages.gateway.history is None and not (tmp_path / METRICS_DATABASE).exists()
        assert read(pages, "/byway/metrics/history")[1]["enabled"] is False
        assert read(pages, "/byway/statistics")[1]["enabled"] is False
    finally:
        pages.close()


def test_byway_starts_without_a_history_when_its_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / METRICS_DATABASE).write_bytes(b"no database" * 100)
    pages = Pages(tmp_path, "metrics: {enabled: true}")
    try:
        open_history(pages.gateway, tmp_path)
        assert pages.gateway.history is None and "is damaged" in pages.gateway.history_problem
        answer = read(pages, "/byway/health")[1]
        assert {part["name"]: part["state"] for part in answer["parts"]}["metrics history"] == "error"
        assert read(pages, "/byway/metrics/history")[1]["enabled"] is False
    finally:
        pages.close()
