"""RequestMetrics: counts, times and tokens of the requests of this process, by endpoint and by model."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

#: Upper bounds of the buckets, those of https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics (seen 2026-11-30).
DURATIONS: Final = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    163.84,
    327.68,
)
FIRST_TOKENS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
#: What replaces names when there are too many different ones.
OTHER: Final = "other"
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class HttpKey(NamedTuple):
    """What distinguishes counts of HTTP requests."""

    method: str
    endpoint: str
    """The path of the route, with its parameters in braces; `other` for paths without a route."""
    status: int


class ModelKey(NamedTuple):
    """What distinguishes counts of requests to models."""

    backend: str
    model: str
    status: int


class Histogram:
    """Counts of values by the bucket that they belong to, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """The last one counts values above all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class ModelMetrics:
    """The metrics of the requests with one ModelKey. Times are in seconds."""

    __slots__ = ("cached_tokens", "duration", "first_token", "input_tokens", "output_tokens", "retries")

    def __init__(self) -> None:
        self.duration = Histogram(DURATIONS)
        self.first_token = Histogram(FIRST_TOKENS)
        self.input_tokens = Histogram(TOKENS)
        """Tokens of the prompt that were not read from a cache."""
        self.output_tokens = Histogram(TOKENS)
        self.cached_tokens = 0
        self.retries = 0
        """Further attempts, at this or another target, after the first one failed."""


class RequestMetrics:
    """The metrics of requests since the start. A bounded number of them: further names are counted as `other`."""

    def __init__(self, most: int) -> None:
        """`most`: different values of HttpKey, and of ModelKey."""
        self.most = most
        self.http: dict[HttpKey, int] = {}
        self.models: dict[ModelKey, ModelMetrics] = {}
        self.problems: dict[str, int] = {}
        """Failed requests by the kind of the problem."""

    def count(self, method: str, endpoint: str, status: int, problem: str) -> None:
        """Count a request that has ended. `problem`: the kind of the problem that ended it; empty when it succeeded."""
        key = HttpKey(method, endpoint, status)
        counted = self.http.get(key)
        if counted is None and (method not in _METHODS or len(self.http) >= self.most):
            key = HttpKey(method if method in _METHODS else OTHER, OTHER, status)
            counted = self.http.get(key)
        self.http[key] = 1 if counted is None else counted + 1
        if problem:
            self.problems[problem] = self.problems.get(problem, 0) + 1

    def model(self, backend: str, model: str, status: int) -> ModelMetrics:
        """The metrics of a model for answers with this status."""
        metrics = self.models.get(key := ModelKey(backend, model, status))
        if metrics is None:
            if len(self.models) >= self.most:
                key = ModelKey(OTHER, OTHER, status)
            metrics = self.models.setdefault(key, ModelMetrics())
        return metrics
