"""Which addresses a page may be fetched from: public ones, and what `web_fetch.allow_private` lists. Values only.

Networks: https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry (seen 2026-11-21).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from byway.urls import Url

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(text: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(one) for one in text.split())


#: Never, whatever is listed: nowhere, this link and its metadata services, groups, and IPv4 in the dress of IPv6, by which a
#: private address would get past a list.
_NEVER: Final = _networks(
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 224.0.0.0/4 240.0.0.0/4 "
    # Metadata and agents of Alibaba and Azure, which lie outside the link.
    "100.100.100.200/32 168.63.129.16/32 "
    "::/128 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2002::/16 "
    "fe80::/10 fec0::/10 ff00::/8 fd00:ec2::/32"
)
#: Not public: only when listed.
_PRIVATE: Final = _networks(
    "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 "
    "198.51.100.0/24 203.0.113.0/24 2001::/23 2001:db8::/32 3fff::/20"
)
#: The oldest dress of IPv4; of it only loopback is in use.
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_LOOPBACK: Final = ipaddress.IPv6Address("::1")
#: All of IPv6 that is public so far; what lies outside is loopback, unique-local, or for nobody yet.
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
#: Names that are never public: RFC 6761, RFC 6762, RFC 8375, and the private domain `internal` (ICANN, 2024).
_INNER: Final = (".localhost", ".local", ".internal", ".home.arpa", ".lan", ".onion", ".test", ".invalid", ".example")
_UNLISTED: Final = ", and `web_fetch.allow_private` does not list it"


def never(number: IPAddress) -> bool:
    """Is it an address that nothing is fetched from, however Byway is configured?"""
    if number in _COMPATIBLE and number != _LOOPBACK:
        return True
    return any(number in network for network in _NEVER)


def public(number: IPAddress) -> bool:
    """Is it an address of the open internet?"""
    if never(number) or any(number in network for network in _PRIVATE):
        return False
    return number.version == 4 or number in _GLOBAL


class AddressPolicy:
    """Where Byway may fetch from: everywhere public, unless it stays local, and what is listed."""

    def __init__(self, listed: Iterable[str] = (), *, local_only: bool = False) -> None:
        """`listed` are addresses, networks, and names of hosts, as `web_fetch.allow_private` has them."""
        self.local_only = local_only
        self._names: set[str] = set()
        networks: list[IPNetwork] = []
        for entry in listed:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._names.add(entry)
        self._networks = tuple(networks)

    def refuses(self, url: Url) -> str:
        """Why nothing is even looked up for `url`; empty when its addresses decide."""
        if url.port not in (80, 443) and url.port < 1024:
            return f"port {url.port} belongs to something other than the web"
        number = url.number
        if number is not None:
            return self.bars(url, number)
        if url.host in self._names:
            return ""
        if self.local_only:
            return "`local_only` is on, and a name may come to mean any address"
        inner = "." not in url.host or url.host.endswith(_INNER)
        return f"{url.host} is no name of the open internet{_UNLISTED}" if inner and not self._networks else ""

    def lists(self, url: Url, number: IPAddress) -> bool:
        """Has somebody listed this host or this address?"""
        return url.host in self._names or any(number in network for network in self._networks)

    def bars(self, url: Url, number: IPAddress) -> str:
        """Why Byway may not connect to `number` for `url`; empty when it may."""
        if never(number):
            return f"{number} is an address that nothing is ever fetched from"
        if self.lists(url, number):
            if self.local_only and public(number):
                return f"`local_only` is on, and {number} is a public address"
            return ""
        if self.local_only:
            return f"`local_only` is on{_UNLISTED}"
        return "" if public(number) else f"{number} is not a public address{_UNLISTED}"
