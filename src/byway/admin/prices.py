"""The prices of models: what each target costs, and where its price comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from msgspec import Struct

from byway.prices.price import NANO, Price, Rates
from byway.problems import Problem
from byway.routing.route import TargetName
from byway.runtime import Runtime

#: Targets that a list has without a name.
MOST_PRICES = 2_000


class PriceRates(Struct, frozen=True):
    """US dollars per million tokens."""

    input: float
    output: float
    cached: float
    """Input tokens that were read from the cache."""
    cache_write: float
    """Input tokens that were stored in the cache for five minutes."""
    cache_write_1h: float
    """Input tokens that were stored for an hour."""


class TierRates(PriceRates, frozen=True):
    """The prices of a long prompt."""

    above: int
    """They apply to a prompt with more tokens than this."""


class PriceInfo(Struct, frozen=True):
    """What a target costs now."""

    target: str
    """`backend/model`."""
    price: PriceRates | None
    """Null when it is unknown."""
    source: str
    """Where it comes from: an entry of `prices`, genai-prices, or `local`; or why it is unknown."""
    tiers: tuple[TierRates, ...] = ()
    search: float = 0.0
    """US dollars for one web search that the backend runs."""
    fast: PriceRates | None = None
    """The prices of fast mode."""


def list_prices(runtime: Runtime, model: str = "") -> list[PriceInfo]:
    """The prices of the targets that `model` leads to; without it, of all targets of aliases and all known models.

    Raises Problem `not_found` for a name that no backend serves.
    """
    targets = runtime.resolve(model).targets if model else _targets(runtime)
    return [_info(target, *runtime.prices.find(target.backend, target.model)[:2]) for target in dict.fromkeys(targets)][
        :MOST_PRICES
    ]


def _targets(runtime: Runtime) -> Iterator[TargetName]:
    for alias in runtime.aliases:
        # A pattern is not a name; an alias may have no target now.
        with contextlib.suppress(Problem):
            yield from runtime.resolve(alias).targets if "*" not in alias else ()
    for backend in runtime.backends.values():
        for model in backend.models or ():
            yield TargetName(backend.name, model)


def _info(target: TargetName, price: Price | None, source: str) -> PriceInfo:
    name = f"{target.backend}/{target.model}"
    if price is None:
        return PriceInfo(name, None, source)
    return PriceInfo(
        name,
        PriceRates(*_dollars(price.rates)),
        source,
        tuple(TierRates(*_dollars(tier.rates), tier.above) for tier in price.tiers),
        price.search / NANO,
        None if price.fast is None else PriceRates(*_dollars(price.fast)),
    )


def _dollars(rates: Rates) -> tuple[float, float, float, float, float]:
    return (
        rates.input / NANO,
        rates.output / NANO,
        rates.cached / NANO,
        rates.cache_write / NANO,
        rates.cache_write_1h / NANO,
    )
