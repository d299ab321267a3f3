"""ModelTotals: the sums of one model of a backend, from its histograms."""

from __future__ import annotations

from typing import NamedTuple

from byway.metrics.counts import RequestMetrics

#: The lowest status of a failed request.
_FAILED = 400


class ModelTotals(NamedTuple):
    """The requests to one model of a backend since the start of the process."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    """Without `cached_tokens`."""
    cached_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """The durations of all requests."""
    first_count: int = 0
    """Requests with content."""
    first_seconds: float = 0.0
    """Their times to the first content."""

    def plus(self, other: ModelTotals) -> ModelTotals:
        """The sum of both."""
        return ModelTotals._make([mine + its for mine, its in zip(self, other, strict=True)])

    def minus(self, earlier: ModelTotals) -> ModelTotals:
        """What was added since `earlier`."""
        return ModelTotals._make([now - before for now, before in zip(self, earlier, strict=True)])


def model_totals(metrics: RequestMetrics) -> dict[tuple[str, str], ModelTotals]:
    """The sums by backend and model. Requests may be counted meanwhile."""
    sums: dict[tuple[str, str], ModelTotals] = {}
    for key, model in list(metrics.models.items()):
        requests = sum(model.duration.counts)
        totals = ModelTotals(
            requests,
            requests if key.status >= _FAILED else 0,
            round(model.input_tokens.sum),
            model.cached_tokens,
            round(model.output_tokens.sum),
            model.duration.sum,
            sum(model.first_token.counts),
            model.first_token.sum,
        )
        name = (key.backend, key.model)
        sums[name] = sums[name].plus(totals) if name in sums else totals
    return sums
