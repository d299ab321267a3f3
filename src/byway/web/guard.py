"""Which IP addresses and hosts pages may be fetched from: public ones, and those in `web_fetch.allow_private`. Pure.

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
    return tuple(ipaddress.ip_network(network) for network in text.split())


#: Never permitted, even when listed: unspecified, link-local with its metadata services, multicast, and IPv4 embedded in
#: IPv6, by which a private address could get past a list.
_NEVER: Final = _networks(
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 224.0.0.0/4 240.0.0.0/4 "
    # Metadata services and agents of Alibaba and Azure outside the link-local network.
    "100.100.100.200/32 168.63.129.16/32 "
    "::/128 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2002::/16 "
    "fe80::/10 fec0::/10 ff00::/8 fd00:ec2::/32"
)
#: Not public: permitted only when listed.
_PRIVATE: Final = _networks(
    "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 "
    "198.51.100.0/24 203.0.113.0/24 2001::/23 2001:db8::/32 3fff::/20"
)
#: IPv4-compatible IPv6 addresses. They are deprecated; only loopback is in use.
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_LOOPBACK: Final = ipaddress.IPv6Address("::1")
#: All public IPv6 addresses so far. The rest is loopback, unique-local or unassigned.
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
#: Host names that are never public: RFC 6761, RFC 6762, RFC 8375, and the private domain `internal` (ICANN, 2024).
_PRIVATE_SUFFIXES: Final = (
    ".localhost", ".local", ".internal", ".home.arpa", ".lan", ".onion", ".test", ".invalid", ".example",
)  # fmt: skip
_NOT_LISTED: Final = ", and `web_fetch.allow_private` does not list it"


def never(address: IPAddress) -> bool:
    """True for an address that is never permitted, whatever the config lists."""
    if address in _COMPATIBLE and address != _LOOPBACK:
        return True
    return any(address in network for network in _NEVER)


def public(address: IPAddress) -> bool:
    """True for an address of the public internet."""
    if never(address) or any(address in network for network in _PRIVATE):
        return False
    return address.version == 4 or address in _GLOBAL


class AddressPolicy:
    """Permits public addresses, unless `local_only` is set, and those that are listed."""

    def __init__(self, listed: Iterable[str] = (), *, local_only: bool = False) -> None:
        """`listed` contains addresses, networks and host names (`web_fetch.allow_private`)."""
        self.local_only = local_only
        self._hosts: set[str] = set()
        networks: list[IPNetwork] = []
        for entry in listed:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._hosts.add(entry)
        self._networks = tuple(networks)

    def rejects(self, url: Url) -> str:
        """The reason to reject `url` before its host is resolved. Empty: its addresses decide."""
        if url.port not in (80, 443) and url.port < 1024:
            return f"port {url.port} is reserved for services other than web servers"
        address = url.number
        if address is not None:
            return self.rejects_address(url, address)
        if url.host in self._hosts:
            return ""
        if self.local_only:
            return "`local_only` is on, and a host name may resolve to any address"
        private = "." not in url.host or url.host.endswith(_PRIVATE_SUFFIXES)
        return f"{url.host} is not a public host name{_NOT_LISTED}" if private and not self._networks else ""

    def lists(self, url: Url, address: IPAddress) -> bool:
        """True when the config lists the host of `url` or the address."""
        return url.host in self._hosts or any(address in network for network in self._networks)

    def rejects_address(self, url: Url, address: IPAddress) -> str:
        """The reason not to connect to `address` for `url`. Empty: it is permitted."""
        if never(address):
            return f"{address} is in a network that is never permitted"
        if self.lists(url, address):
            if self.local_only and public(address):
                return f"`local_only` is on, and {address} is a public address"
            return ""
        if self.local_only:
            return f"`local_only` is on{_NOT_LISTED}"
        return "" if public(address) else f"{address} is not a public address{_NOT_LISTED}"
