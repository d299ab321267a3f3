"""`Price`: what the tokens of one model cost, and `cost_of`, what one answer costs. Pure.

Money is in nano-dollars (10**-9 US dollars). A rate is for a million tokens, so $3 per million tokens is 3_000_000_000.
All numbers are integers: sums are exact.
"""

from __future__ import annotations

from typing import Final

import msgspec

from byway.messages.events import BilledUsage, Usage

NANO: Final = 1_000_000_000
MILLION: Final = 1_000_000
_HALF: Final = MILLION // 2


class Rates(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Nano-dollars per million tokens of each kind. Tokens of reasoning are output."""

    input: int
    """Input tokens that the cache neither returned nor stored."""
    output: int
    cached: int
    """Input tokens that were read from the cache."""
    cache_write: int
    """Input tokens that were stored in the cache for five minutes."""
    cache_write_1h: int
    """Input tokens that were stored in the cache for an hour."""


class PriceTier(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Other rates for a prompt of more than `above` tokens. They apply to all tokens of that request."""

    above: int
    rates: Rates


class Price(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one model costs."""

    rates: Rates
    tiers: tuple[PriceTier, ...] = ()
    """Those for the longest prompts first."""
    search: int = 0
    """Nano-dollars for one web search that the vendor runs."""
    fast: Rates | None = None
    """The rates in fast mode, where the vendor has one."""

    @property
    def free(self) -> bool:
        """Whether no token of it costs anything."""
        return not any(
            value
            for rates in (self.rates, *(tier.rates for tier in self.tiers))
            for value in msgspec.structs.astuple(rates)
        )


#: What models cost that run on the operator's own machines.
FREE: Final = Price(Rates(0, 0, 0, 0, 0))


def untiered_cost(rates: Rates, usage: Usage) -> int:
    """Return what `cost_of` does for a price without tiers, and a usage that is no BilledUsage."""
    total = rates.input * usage.input_tokens + rates.output * usage.output_tokens
    if usage.cache_read_input_tokens or usage.cache_creation_input_tokens:
        total += rates.cached * usage.cache_read_input_tokens + rates.cache_write * usage.cache_creation_input_tokens
    return (total + _HALF) // MILLION


def cost_of(price: Price | None, usage: Usage) -> int | None:
    """Return the cost of an answer in nano-dollars, rounded to the nearest one; None when the price is unknown."""
    if price is None or price is FREE:
        return None if price is None else 0
    uncached, cached, written = usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    rates, total, written_1h = price.rates, 0, 0
    if price.tiers:
        prompt = uncached + cached + written
        for tier in price.tiers:
            if prompt > tier.above:
                rates = tier.rates
                break
    if type(usage) is BilledUsage:
        written_1h = min(usage.cache_write_1h_tokens, written)
        total = price.search * usage.web_searches * MILLION
        if usage.fast and price.fast is not None:
            rates = price.fast
    total += (
        rates.input * uncached
        + rates.cached * cached
        + rates.cache_write * (written - written_1h)
        + rates.cache_write_1h * written_1h
        + rates.output * usage.output_tokens
    )
    return (total + _HALF) // MILLION
