"""`python -m byway.prices.extract PROVIDER ...`: writes the prices of genai-prices to stdout as `catalog.PriceData`.

It runs in a process of its own: importing the package takes half a second and 80 MB, and Byway needs only its numbers.
https://github.com/pydantic/genai-prices (0.2.3, seen 2026-11-30): prices are dollars per million tokens; a tier applies to
all tokens of a request whose prompt has more tokens; a kind of token without a price costs what its wider kind does.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec

from byway.prices.catalog import FORM, Offer, PricedModel, ProviderPrices
from byway.prices.price import NANO, Price, PriceTier, Rates

_NETWORK: Final = frozenset(("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"))


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: end whatever opens a connection. The package can update its data over the network; this must not."""
    if event in _NETWORK:
        _refuse(event)


def _refuse(event: str) -> NoReturn:
    raise PermissionError(f"{event} is not allowed: prices are read from the installed package only")


class NotRead(Exception):
    """Data in a form that Byway does not know. The price stays unknown."""


def extract(wanted: frozenset[str]) -> bytes:
    """Return the prices of the providers `wanted` and of those that they fall back to, as JSON."""
    from genai_prices import __version__
    from genai_prices.data_snapshot import get_snapshot

    providers = {provider.id: provider for provider in get_snapshot().providers}
    # An id that ends in `_` means every provider that begins with it.
    names = {name for name in providers if any(name == id or (id[-1:] == "_" and name.startswith(id)) for id in wanted)}
    for name in tuple(names):
        names.update(providers[name].fallback_model_providers or ())
    prices = {name: _provider(providers[name]) for name in sorted(names & providers.keys())}
    return msgspec.json.encode({"version": __version__, "form": FORM, "providers": prices})


def _provider(provider: Any) -> ProviderPrices:
    return ProviderPrices(
        tuple(model for each in provider.models if (model := _model(each)) is not None),
        tuple(provider.fallback_model_providers or ()),
    )


def _model(model: Any) -> PricedModel | None:
    """One model; None when it has no prices of text, or prices in an unknown form."""
    try:
        entries = model.prices if isinstance(model.prices, list) else [model.prices]
        offers = tuple(_offer(entry, model.price_variants or ()) for entry in entries)
        return PricedModel(model.id, _clause(model.match), offers) if offers else None
    except NotRead:
        return None


def _offer(entry: Any, variants: Any) -> Offer:
    constraint: Any = getattr(entry, "constraint", None)
    price = _price(getattr(entry, "prices", entry), variants)
    match type(constraint).__name__:
        case "NoneType":
            return Offer(price)
        case "StartDateConstraint":
            day = constraint.start_date
            start = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
            return Offer(price, start.timestamp())
        case "TimeOfDateConstraint":
            return Offer(price, None, (_second(constraint.start_time), _second(constraint.end_time)))
        case _:
            raise NotRead


def _second(time: datetime.time) -> int:
    """The second of the day, in UTC."""
    moment = datetime.datetime.combine(datetime.date(1970, 1, 2), time)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) % 86_400


def _price(prices: Any, variants: Any) -> Price:
    starts = sorted(set(_starts(prices)), reverse=True)
    tiers = tuple(PriceTier(start, _rates(prices, start)) for start in starts)
    searches = prices.web_searches_kcount
    fast = next((each.prices for each in variants if each.when == {"speed": "fast"} and each.constraint is None), None)
    return Price(
        _rates(prices, -1),
        tiers,
        0 if searches is None else _nano(_at(searches, -1) / 1000),
        None if fast is None else _rates(fast, -1),
    )


_KINDS: Final = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")


def _starts(prices: Any) -> Iterator[int]:
    for kind in _KINDS:
        for tier in getattr(getattr(prices, kind), "tiers", ()):
            yield tier.start


def _rates(prices: Any, start: int) -> Rates:
    """The rates for a prompt of more than `start` tokens. A kind without a price of its own costs what its wider kind does."""
    values = {kind: getattr(prices, kind) for kind in _KINDS}
    for narrow, wide in zip(_KINDS[2:], ("input_mtok", "input_mtok", "cache_write_mtok"), strict=True):
        if values[narrow] is None:
            values[narrow] = values[wide]
    if values["input_mtok"] is None or values["output_mtok"] is None:
        raise NotRead
    return Rates(*(_nano(_at(values[kind], start)) for kind in _KINDS))


def _at(value: Any, start: int) -> Decimal:
    """The price for a prompt of more than `start` tokens."""
    if isinstance(value, Decimal):
        return value
    price: Decimal = value.base
    for tier in value.tiers:
        if tier.start <= start:
            price = tier.price
    return price


def _nano(dollars: Decimal) -> int:
    return round(dollars * NANO)


def _clause(clause: Any) -> dict[str, Any]:
    """The clause as `catalog.matches` reads it. Names are compared in lower case, except by patterns."""
    ((field, value),) = vars(clause).items()
    kind = field.rstrip("_")
    if kind in ("or", "and"):
        return {kind: [_clause(part) for part in value]}
    if kind not in ("starts_with", "ends_with", "contains", "equals", "regex"):
        raise NotRead
    return {kind: value if kind == "regex" else value.lower()}


def main() -> None:
    """Write the prices of the providers that the arguments name."""
    sys.addaudithook(refuse_network)
    sys.stdout.buffer.write(extract(frozenset(sys.argv[1:])))


if __name__ == "__main__":
    main()
