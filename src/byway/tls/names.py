"""The names and addresses by which clients reach this machine, for a certificate. Calls may block for a moment."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from byway import urls
from byway.config import ServerSettings

_LOOPBACK_NAME: Final = "localhost"
_LOOPBACK: Final = ("127.0.0.1", "::1")
#: Addresses of other networks. Connecting a datagram socket sends nothing: it selects the address of this machine.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


class ServedNames(NamedTuple):
    """What a certificate of this Byway has to contain."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]


def served_names(server: ServerSettings, hosts: Sequence[str]) -> ServedNames:
    """The names and addresses of the settings and of this machine. `hosts` are the addresses of the listeners."""
    names, addresses = [_LOOPBACK_NAME], list(_LOOPBACK)
    given = [*server.allowed_hosts, *([urls.parse(server.public_url).host] if server.public_url else [])]
    for text in (*given, *hosts):
        _add(text, names, addresses)
    if any(not ipaddress.ip_address(host).is_loopback for host in hosts):
        for name in machine_names():
            _add(name, names, addresses)
        addresses += _machine_addresses()
    return ServedNames(_unique(names), _unique(addresses))


def machine_names() -> tuple[str, ...]:
    """The names of this machine: its host name, and that name in the domain `local`, which local networks resolve."""
    try:
        name = urls.host(socket.gethostname())
    except ValueError:
        return ()
    # A name whose last part is a number would be read as an address.
    if name.rpartition(".")[2].isdigit():
        return ()
    return (name,) if "." in name or name == _LOOPBACK_NAME else (name, f"{name}.local")


def _machine_addresses() -> list[str]:
    """The addresses with which this machine sends, and those of its host name."""
    addresses = []
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            addresses.append(str(probe.getsockname()[0]))
    with contextlib.suppress(OSError, UnicodeError):
        addresses += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    return [address.partition("%")[0] for address in addresses]


def _add(text: str, names: list[str], addresses: list[str]) -> None:
    """Sort a host name or an address into its list. What is neither is left out."""
    try:
        host = urls.host(f"[{text}]" if ":" in text and not text.startswith("[") else text)
    except ValueError:
        return
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        names.append(host)
    else:
        if not number.is_unspecified:
            addresses.append(str(number))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
