"""The Grafana dashboard: each of its queries names metrics and labels that `/metrics` has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dashboard import DASHBOARD, expressions
from loops import run_skipping
from metered import MeteredApp, chat_answer, chat_stream, failure
from prometheus_client.parser import text_string_to_metric_families

from byway.metrics.exposition import lines, request_families
from byway.routes.metrics import state_families

_METRIC = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
_GROUPING = re.compile(r"\b(?:by|without) \(([^)]*)\)")
_SELECTOR = re.compile(r"\{([^}]*)\}")
_FUNCTIONS = {"histogram_quantile"}


def labels_by_metric(folder: Path) -> dict[str, set[str]]:
    """The labels of each sample that a Byway with limits and usage records exposes after some requests."""

    async def run() -> str:
        limits = [{"for": "global", "requests_per_minute": 100}]
        async with MeteredApp(folder, limits=limits, metrics={"enabled": True}) as app:
            app.answers(chat_stream({"prompt_tokens": 10, "completion_tokens": 2}), chat_answer(), failure(503))
            body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
            await app.request(body)
            await app.request()
            await app.request()
            gateway = app.gateway
            assert gateway.metrics is not None
            return "".join(lines([*state_families(gateway), *request_families(gateway.metrics, {})]))

    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(run_skipping(run())):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_every_query_names_metrics_and_labels_that_exist(tmp_path: Path) -> None:
    exposed = labels_by_metric(tmp_path)
    for expression in expressions("5m"):
        groups = [name.strip() for group in _GROUPING.findall(expression) for name in group.split(",")]
        filters = [
            part.split("=")[0].rstrip("!") for part in ",".join(_SELECTOR.findall(expression)).split(",") if part
        ]
        metrics = set(_METRIC.findall(_SELECTOR.sub("", _GROUPING.sub("", expression)))) - _FUNCTIONS
        assert len(metrics) == 1, expression
        metric = metrics.pop()
        assert metric in exposed, expression
        assert {*groups, *filters} <= exposed[metric], expression


def test_the_panels_of_the_dashboard_have_queries_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})
    assert all(panel["title"] and panel["targets"] for panel in panels)
