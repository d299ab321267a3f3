"""Metrics as text in the format that Prometheus reads.

The format: https://prometheus.io/docs/instrumenting/exposition_formats (seen 2026-11-30). The names of metrics of models are
those of https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics (seen 2026-11-30), with `_` for `.` and the unit at
the end, as Prometheus has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from byway.metrics.counts import Histogram, ModelKey, ModelMetrics, RequestMetrics

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
Labels = Mapping[str, str]


class Family(NamedTuple):
    """All values of one metric."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    values: Iterable[tuple[Labels, float]]


class Distribution(NamedTuple):
    """All histograms of one metric."""

    name: str
    help: str
    values: Iterable[tuple[Labels, Histogram]]


def lines(families: Iterable[Family | Distribution]) -> Iterator[str]:
    """The lines of the answer."""
    for family in families:
        kind = "histogram" if isinstance(family, Distribution) else family.type
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {kind}\n"
        if isinstance(family, Distribution):
            for labels, histogram in family.values:
                if any(histogram.counts):
                    yield from _histogram(family.name, _names(labels), histogram)
        else:
            for labels, value in family.values:
                yield f"{family.name}{_braced(_names(labels))} {_number(value)}\n"


def request_families(metrics: RequestMetrics, vendors: Mapping[str, str]) -> Iterator[Family | Distribution]:
    """The metrics of requests and models. `vendors`: the type of each backend by its name."""
    # Requests continue while another thread writes the text.
    http, models, problems = list(metrics.http.items()), list(metrics.models.items()), list(metrics.problems.items())
    yield Family(
        "http_requests_total",
        "counter",
        "Requests that have ended, by method, endpoint and status. Health checks that succeed are not counted.",
        [({"method": key.method, "endpoint": key.endpoint, "status": str(key.status)}, count) for key, count in http],
    )
    yield Family(
        "byway_problems_total",
        "counter",
        "Failed requests by the kind of the error; see docs/errors.md.",
        [({"kind": kind}, count) for kind, count in problems],
    )
    named = [(_model_labels(key, vendors), key.status, each) for key, each in models]
    yield Distribution(
        "gen_ai_server_request_duration_seconds",
        "Time from a request to the end of its answer.",
        [(_with_error(labels, status), each.duration) for labels, status, each in named],
    )
    yield Distribution(
        "gen_ai_server_time_to_first_token_seconds",
        "Time from a request to the first content of its answer.",
        [(_with_error(labels, status), each.first_token) for labels, status, each in named],
    )
    yield Distribution(
        "gen_ai_client_token_usage_tokens",
        "Tokens of a request: input without those read from a cache, and output.",
        [
            ({**_with_error(labels, status), "gen_ai_token_type": kind}, histogram)
            for labels, status, each in named
            for kind, histogram in (("input", each.input_tokens), ("output", each.output_tokens))
        ],
    )
    sums = _sums(named)
    yield Family(
        "byway_cached_tokens_total",
        "counter",
        "Tokens of prompts that were read from a cache.",
        [(labels, cached) for labels, cached, _ in sums],
    )
    yield Family(
        "byway_retries_total",
        "counter",
        "Attempts after the first one of a request, by the target that answered or failed last.",
        [(labels, retries) for labels, _, retries in sums],
    )


def _sums(named: Iterable[tuple[dict[str, str], int, ModelMetrics]]) -> list[tuple[dict[str, str], int, int]]:
    """Labels of each model, and over all statuses its cached tokens and retries."""
    by_labels: dict[tuple[str, ...], tuple[dict[str, str], int, int]] = {}
    for labels, _, each in named:
        _, cached, retries = by_labels.get(key := tuple(labels.values()), (labels, 0, 0))
        by_labels[key] = (labels, cached + each.cached_tokens, retries + each.retries)
    return list(by_labels.values())


def _model_labels(key: ModelKey, vendors: Mapping[str, str]) -> dict[str, str]:
    return {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": vendors.get(key.backend, "unknown"),
        "gen_ai_request_model": key.model,
        "backend": key.backend,
    }


def _with_error(labels: dict[str, str], status: int) -> dict[str, str]:
    """The labels of requests with this status: of a failed one with `error_type`."""
    return labels if status < 400 else {**labels, "error_type": str(status)}


def _histogram(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    counts = histogram.counts[:]
    start = f"{labels}," if labels else ""
    for bound, count in zip((*histogram.bounds, "+Inf"), accumulate(counts), strict=True):
        yield f'{name}_bucket{{{start}le="{bound}"}} {count}\n'
    yield f"{name}_sum{_braced(labels)} {_number(histogram.sum)}\n"
    yield f"{name}_count{_braced(labels)} {sum(counts)}\n"


def _names(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))
