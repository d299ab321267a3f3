"""The rules of a config: `limits`, `rate_limiting` and the keys' `rate_limit` in one form."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from byway.config.limits import LimitSubject, Period, RateLimitSettings
from byway.config.settings import Config
from byway.limits.bucket import Rate, per_minute, per_second
from byway.prices.price import NANO

#: Bits of an IPv6 address that identify a client: a provider gives each customer a network of this size at least.
_IPV6_BITS: Final = 64
#: Characters of `x-forwarded-for` that are read.
_LONGEST_FORWARDED: Final = 1024
#: An address with a port, as some proxies (Azure's Application Gateway) write it in `x-forwarded-for`.
_WITH_PORT: Final = re.compile(r"(?:([^:\[\]]+)|\[([^\[\]]+)\]):[0-9]{1,5}")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Rule(Struct, frozen=True):
    """One limit."""

    subject: LimitSubject
    name: str = "*"
    """A name, or a pattern."""
    requests: Rate | None = None
    tokens: Rate | None = None
    input_tokens: Rate | None = None
    output_tokens: Rate | None = None
    concurrency: int | None = None
    budget: int | None = None
    """In nano-dollars."""
    period: Period = "month"
    skippable: bool = False
    """Clients of `rate_limiting.whitelist` and `rate_limiting.bypass_keys` are not limited."""
    anonymous: bool = False
    """It is for clients without a key only."""

    @property
    def uses_tokens(self) -> bool:
        return any(rate is not None for rate in (self.tokens, self.input_tokens, self.output_tokens))

    @property
    def is_pattern(self) -> bool:
        return any(char in self.name for char in "*?[")

    def matcher(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(self.name))


def make_rules(config: Config) -> dict[Rule, str]:
    """Every limit of the config, and its path there, such as `limits.0`. Equal ones count once."""
    rules: dict[Rule, str] = {}
    for path, rule in (*_limits(config), *_key_limits(config), *_rate_limiting(config)):
        rules.setdefault(rule, path)
    return rules


def _limits(config: Config) -> Iterator[tuple[str, Rule]]:
    def rate(number: int | None) -> Rate | None:
        return None if number is None else per_minute(number)

    for at, limit in enumerate(config.limits):
        rule = Rule(
            limit.subject,
            limit.name,
            rate(limit.requests_per_minute),
            rate(limit.tokens_per_minute),
            rate(limit.input_tokens_per_minute),
            rate(limit.output_tokens_per_minute),
            limit.concurrency,
            None if limit.budget is None else round(limit.budget * NANO),
            limit.period,
        )
        yield f"limits.{at}", rule


def _key_limits(config: Config) -> Iterator[tuple[str, Rule]]:
    for at, key in enumerate(config.api_keys.api_keys):
        limit = key.rate_limit
        requests = _rate(limit) if isinstance(limit, RateLimitSettings) else None if not limit else per_minute(limit)
        if requests is not None:
            # The id that the keyring gives the key.
            name = _literal(key.id or f"key-{at + 1}")
            yield f"api_keys.api_keys.{at}.rate_limit", Rule("key", name, requests=requests)


def _rate_limiting(config: Config) -> Iterator[tuple[str, Rule]]:
    section = config.rate_limiting
    if not section.enabled:
        return
    buckets = section.limits
    path = "rate_limiting.limits"
    if requests := _rate(buckets.per_client):
        yield f"{path}.per_client", Rule("key", requests=requests, skippable=True)
        yield f"{path}.per_client", Rule("address", requests=requests, skippable=True, anonymous=True)
    if requests := _rate(buckets.per_api_key):
        yield f"{path}.per_api_key", Rule("key", requests=requests, skippable=True)
    if requests := _rate(buckets.per_backend):
        yield f"{path}.per_backend", Rule("backend", requests=requests, skippable=True)
    if requests := _rate(buckets.per_model):
        yield f"{path}.per_model", Rule("model", requests=requests, skippable=True)
    if requests := _rate(buckets.all):
        yield f"{path}.global", Rule("global", requests=requests, skippable=True)


def _rate(bucket: RateLimitSettings | None) -> Rate | None:
    if bucket is None or not bucket.requests_per_second:
        return None
    return per_second(bucket.requests_per_second, bucket.burst_capacity)


def _literal(name: str) -> str:
    """The pattern that matches only `name`."""
    return re.sub(r"([*?[])", r"[\1]", name)


def networks(texts: tuple[str, ...]) -> tuple[IpNetwork, ...]:
    """The networks of settings with the format `cidr`."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def parse_address(text: str) -> IpAddress | None:
    """An IP address, with or without a port, or None. An IPv4 address in IPv6 form is the IPv4 address."""
    text = text.strip()
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(text.strip("[]") if with_port is None else with_port[1] or with_port[2])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def contains(allowed: tuple[IpNetwork, ...], address: IpAddress) -> bool:
    """Whether one of the networks contains `address`."""
    return any(address in network for network in allowed)


def browser_address(peer: str, forwarded: str, proxies: tuple[str, ...]) -> str:
    """The address of a browser: that of the connection, or the last one that no trusted proxy has.

    `forwarded` is the header `x-forwarded-for`.
    """
    address, trusted = parse_address(peer), networks(proxies)
    named = reversed(forwarded[-_LONGEST_FORWARDED:].split(","))
    while address is not None and contains(trusted, address):
        before = parse_address(next(named, ""))
        if before is None:
            break
        address = before
    return peer if address is None else str(address)


def counted_address(text: str) -> str:
    """The name by which the failures of an address are counted: all addresses of an IPv6 network count as one."""
    address = parse_address(text)
    return text if address is None else address_name(address)


def address_name(address: IpAddress) -> str:
    """The name of a client's count: its IPv4 address, or the /64 network of its IPv6 address."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> _IPV6_BITS << _IPV6_BITS, _IPV6_BITS)))
