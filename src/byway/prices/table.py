"""`PriceTable`: the price of each model of each configured backend. A request costs one lookup in a dict."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from fnmatch import translate
from math import inf
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from byway.backends.vendors import Vendor
from byway.bounded import BoundedDict
from byway.config import PriceSettings
from byway.messages.events import BilledUsage, Usage
from byway.prices.catalog import PricedModel, current_price, find_model
from byway.prices.price import FREE, MILLION, NANO, Price, PriceTier, Rates, cost_of, untiered_cost
from byway.prices.source import PriceSource

#: Models whose price is remembered. A client can invent names: `backend/NAME` leads to any of them.
_REMEMBERED: Final = 1000


class PricedBackend(NamedTuple):
    """What the price of a backend's models depends on."""

    name: str
    vendor: Vendor
    url: str
    self_hosted: bool
    """By its address, or by `local` in the config."""
    local: bool | None
    """`local` in the config."""
    likes: Mapping[str, str]
    """The model that each name of the config stands for."""


class FoundPrice(NamedTuple):
    """The price of a model, and where it comes from."""

    price: Price | None
    source: str
    """`prices: NAME` of the config, `genai-prices VERSION: PROVIDER/MODEL`, `local`, or why the price is unknown."""
    until: float = inf
    """When another price may apply: seconds since the epoch."""
    untiered: Rates | None = None
    """The rates of a price that has no tiers and is not free."""


class PriceTable:
    """The prices of one generation of the config."""

    def __init__(
        self,
        settings: Mapping[str, PriceSettings],
        backends: Iterable[PricedBackend],
        source: PriceSource | None = None,
    ) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._source = source
        self._exact: dict[str, tuple[str, Price]] = {}
        self._patterns: list[tuple[re.Pattern[str], str, Price]] = []
        for name, each in settings.items():
            price = configured_price(each)
            if any(char in name for char in "*?["):
                self._patterns.append((re.compile(translate(name)), name, price))
            else:
                self._exact[name] = (name, price)
        self._known: BoundedDict[tuple[str, str], FoundPrice] = BoundedDict(_REMEMBERED)

    async def load(self) -> None:
        """Read the data of vendors' prices, when a backend needs it."""
        if self._source is not None and any(_providers(backend) for backend in self._backends.values()):
            await self._source.load()

    def cost(self, backend: str, model: str, usage: Usage, now: float) -> int | None:
        """The cost of an answer in nano-dollars; None when the price is unknown. `now`: seconds since the epoch."""
        known = self._known.get((backend, model))
        if known is None or now >= known.until:
            known = self.find(backend, model, now)
        if known.untiered is not None and type(usage) is not BilledUsage:
            return untiered_cost(known.untiered, usage)
        return cost_of(known.price, usage)

    def estimate(self, backend: str, model: str, input_tokens: int, output_tokens: int, now: float) -> int:
        """About what a request may cost, in nano-dollars; 0 when the price is unknown."""
        known = self._known.get((backend, model))
        if known is None or now >= known.until:
            known = self.find(backend, model, now)
        if known.price is None:
            return 0
        rates = known.price.rates
        return (rates.input * input_tokens + rates.output * output_tokens) // MILLION

    def find(self, backend: str, model: str, now: float | None = None) -> FoundPrice:
        """The price of a model now, or at `now` in seconds since the epoch."""
        known = self._look_up(backend, model, time.time() if now is None else now)
        price = known.price
        if price is not None and price is not FREE and not price.tiers:
            known = known._replace(untiered=price.rates)
        self._known[backend, model] = known
        return known

    def _look_up(self, backend: str, model: str, now: float) -> FoundPrice:
        target = f"{backend}/{model}"
        exact = self._exact.get(target) or self._exact.get(model)
        if exact is not None:
            return FoundPrice(exact[1], f"prices: {exact[0]}")
        for pattern, name, price in self._patterns:
            if pattern.match(target) or pattern.match(model):
                return FoundPrice(price, f"prices: {name}")
        row = self._backends.get(backend)
        if row is None:
            return FoundPrice(None, f"no backend has the name {backend!r}")
        if _runs_locally(row, model):
            return FoundPrice(FREE, "local")
        return self._vendor_price(row, row.likes.get(model, model), now)

    def _vendor_price(self, backend: PricedBackend, model: str, now: float) -> FoundPrice:
        ids = _providers(backend)
        if not ids:
            return FoundPrice(None, _no_data(backend))
        provider, name = ids[0], model
        if provider.endswith("_"):
            name, colon, policy = model.rpartition(":")
            if not colon:
                return FoundPrice(None, "the provider that answers is not part of the name: MODEL:PROVIDER")
            provider += policy
        if self._source is None or self._source.problem:
            return FoundPrice(None, "no price data" if self._source is None else self._source.problem)
        groups = [prices.models for prices in self._source.providers((provider,))]
        priced = find_model(groups, name)
        if priced is None:
            return FoundPrice(None, f"genai-prices {self._source.version} has no price of it")
        return self._offered(backend, provider, priced, now)

    def _offered(self, backend: PricedBackend, provider: str, priced: PricedModel, now: float) -> FoundPrice:
        price, until = current_price(priced.offers, now)
        version = self._source.version if self._source is not None else ""
        return FoundPrice(price, f"genai-prices {version}: {provider}/{priced.id}", until)


def configured_price(settings: PriceSettings) -> Price:
    """The price that the config sets."""
    base = _configured_rates(
        settings.input, settings.output, settings.cached, settings.cache_write, settings.cache_write_1h
    )
    tiers = sorted(settings.tiers, key=lambda tier: tier.above, reverse=True)
    return Price(
        base,
        tuple(
            PriceTier(
                tier.above,
                _configured_rates(tier.input, tier.output, tier.cached, tier.cache_write, tier.cache_write_1h),
            )
            for tier in tiers
        ),
        round(settings.search * NANO),
    )


def _configured_rates(
    input: float, output: float, cached: float | None, cache_write: float | None, cache_write_1h: float | None
) -> Rates:
    cached = input if cached is None else cached
    cache_write = input if cache_write is None else cache_write
    cache_write_1h = cache_write if cache_write_1h is None else cache_write_1h
    return Rates(*(round(rate * NANO) for rate in (input, output, cached, cache_write, cache_write_1h)))


def _runs_locally(backend: PricedBackend, model: str) -> bool:
    """Whether the model runs on a machine of the operator, so that its tokens cost nothing."""
    vendor = backend.vendor
    if not backend.self_hosted or model.endswith(vendor.cloud_suffixes or ("\0",)):
        return False
    # A gateway, or a cloud's type at a private address, may pass the request on to a cloud.
    return bool(backend.local) or (vendor.self_hosted and vendor.group != "gateway")


def _providers(backend: PricedBackend) -> tuple[str, ...]:
    """The id of the backend's vendor in the data; empty when the data has no prices of it."""
    vendor = backend.vendor
    if backend.self_hosted or not vendor.prices:
        return ()
    if vendor.twin_prices and _host(backend.url) == _host(vendor.twin):
        return (vendor.twin_prices,)
    return (vendor.prices,)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _no_data(backend: PricedBackend) -> str:
    if backend.self_hosted:
        return f"a backend of type {backend.vendor.name} at a private address may call a cloud"
    return f"there is no price data for type {backend.vendor.name}"
