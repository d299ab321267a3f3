"""The prices of vendors' models as data: which name means which model, and which price applies when. Pure.

`extract` writes it, `source` reads it. Names are matched as genai-prices matches them: the first model that fits counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

import msgspec

from byway.prices.price import Price

#: The form of the data. It changes when the types here do, so that data of an older form is made again.
FORM: Final = 1
_DAY: Final = 86_400
#: A longer name of a model has no price. Clients can invent names.
_NAME_LIMIT: Final = 200
#: A date at the end of a name, as some gateways write it: `gpt-5.2-20251211` for `gpt-5.2-2025-12-11`.
_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Offer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A price, and when it applies."""

    price: Price
    start: float | None = None
    """From this moment on, in seconds since the epoch; None: always."""
    hours: tuple[int, int] | None = None
    """Each day between these two, in seconds after midnight UTC. The second may be the smaller one."""

    def applies(self, now: float) -> bool:
        """Whether it applies at `now`, in seconds since the epoch."""
        if self.start is not None and now < self.start:
            return False
        if self.hours is None:
            return True
        begin, end = self.hours
        second = now % _DAY
        return begin <= second < end if begin <= end else second >= begin or second < end

    def next_change(self, now: float) -> float:
        """When `applies` may change next: seconds since the epoch, or infinity."""
        if self.start is not None and now < self.start:
            return self.start
        if self.hours is None:
            return inf
        midnight = now - now % _DAY
        return min(moment if moment > now else moment + _DAY for moment in (midnight + each for each in self.hours))


class PricedModel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One model of a vendor."""

    id: str
    clause: dict[str, Any]
    """Which names mean it: one of `starts_with`, `ends_with`, `contains`, `equals`, `regex` with a text, or of `or` and `and`
    with a list of such clauses."""
    offers: tuple[Offer, ...]
    """Of those that apply, the last one counts. When none does, the first one counts."""


class ProviderPrices(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The models of one vendor."""

    models: tuple[PricedModel, ...]
    fallbacks: tuple[str, ...] = ()
    """Vendors whose models it sells too."""


class PriceData(msgspec.Struct, frozen=True):
    """The prices of all vendors that Byway knows."""

    version: str
    """The version of genai-prices."""
    form: int
    providers: dict[str, msgspec.Raw]
    """`ProviderPrices` of each vendor, encoded: only those of configured vendors are needed."""


def matches(clause: Mapping[str, Any], name: str) -> bool:
    """Whether a clause fits a name in lower case."""
    ((kind, value),) = clause.items()
    match kind:
        case "starts_with":
            return name.startswith(value)
        case "ends_with":
            return name.endswith(value)
        case "contains":
            return value in name
        case "equals":
            return bool(name == value)
        case "regex":
            return re.search(value, name) is not None
        case "or":
            return any(matches(part, name) for part in value)
        case "and":
            return all(matches(part, name) for part in value)
    return False


def find_model(groups: Sequence[Sequence[PricedModel]], name: str) -> PricedModel | None:
    """Return the model that a name means, or None. `groups`: the models of the vendor, then those of each fallback."""
    if len(name) > _NAME_LIMIT:
        return None
    name = name.lower()
    for spelling in dict.fromkeys((name, _DATE.sub(r"-\1-\2-\3", name))):
        for models in groups:
            for model in models:
                if matches(model.clause, spelling):
                    return model
    return None


def current_price(offers: Sequence[Offer], now: float) -> tuple[Price, float]:
    """Return the price at `now` and the moment until which it holds, both in seconds since the epoch."""
    price = next((offer.price for offer in reversed(offers) if offer.applies(now)), offers[0].price)
    return price, min(offer.next_change(now) for offer in offers)
