"""Listening sockets: from `server.bind_address` to sockets that listen, with an explanation when that is impossible."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform
from byway.config import listen as parse_address
from byway.logs import log

#: Permissions of a unix socket when `server.socket_mode` is not set.
_SOCKET_MODE: Final = 0o600
_LOOPBACK: Final = "127.0.0.1"


class ListenError(Exception):
    """Byway cannot listen at an address: why, and what to do."""


class Listener(NamedTuple):
    """A socket that listens. `port` is None for a unix socket, whose path is `host`."""

    socket: socket.socket
    host: str
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wide(self) -> bool:
        """Can other machines reach it?"""
        return self.port is not None and not ipaddress.ip_address(self.host).is_loopback


def listen(
    addresses: Sequence[str], *, mode: int | None = None, closed: bool, insecure: bool
) -> tuple[list[Listener], list[str]]:
    """Listen at every address of `server.bind_address`; also returns notes for the operator.

    `closed`: a key is required. Without a key, and without `insecure`, an address that other machines can reach is
    replaced by loopback at the same port. Raises ListenError.
    """
    listeners: list[Listener] = []
    notes: list[str] = []
    try:
        for address in addresses:
            parsed = parse_address(address)
            if isinstance(parsed, str):
                listeners.append(_listen_unix(parsed, _SOCKET_MODE if mode is None else mode))
                continue
            host, port = parsed
            resolved = _resolve(host, port)
            if not closed and not insecure and any(not ipaddress.ip_address(ip).is_loopback for _, ip in resolved):
                notes.append(_narrowed(address, port))
                resolved = [(socket.AF_INET, _LOOPBACK)]
            for index, (family, ip) in enumerate(resolved):
                if port and any((ip, port) == (other.host, other.port) for other in listeners):
                    continue
                try:
                    listener = _listen_tcp(family, ip, port)
                except ListenError:
                    # `localhost` is often two addresses, and a machine without IPv6 has only the first.
                    if index == 0:
                        raise
                    continue
                listeners.append(listener)
                # Port 0 lets the system choose; the second address of a name gets the same port.
                port = listener.port or port
    except ListenError:
        close(listeners)
        raise
    return listeners, notes


def owner_socket(path: Path) -> Listener | None:
    """Listen at the unix socket in the data folder that the owner's commands use. None where that is impossible: the
    system has no unix sockets, or the path is too long."""
    try:
        return _listen_unix(str(path), _SOCKET_MODE)
    except ListenError as error:
        log("No socket for commands in the data folder", problem=str(error))
        return None


def close(listeners: Sequence[Listener]) -> None:
    """Close the sockets, and remove the files of unix sockets."""
    for listener in listeners:
        if listener.port is None:
            with contextlib.suppress(OSError):
                os.unlink(listener.host)
        listener.socket.close()


def _narrowed(address: str, port: int) -> str:
    return (
        f"{address} would be open to other machines without a key, so Byway listens at {_LOOPBACK}"
        f"{f':{port}' if port else ''} only. To open it, create a key (`byway key create NAME`, or in byway.yaml "
        "`api_keys: [{key: '${BYWAY_KEY}'}]` under `api_keys`) and restart, or start with --insecure."
    )


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        # Python loads its tables of international names for a text, for bytes it does not.
        name = host.encode() if host.isascii() else host
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f"Cannot resolve {host!r} in `server.bind_address` ({error.strerror}). "
            "Use an address of this machine, such as 127.0.0.1."
        ) from None
    order = {socket.AF_INET: 0, socket.AF_INET6: 1}
    unique = dict.fromkeys((family, str(sockaddr[0])) for family, _, _, _, sockaddr in addresses if family in order)
    return sorted(unique, key=lambda entry: order[entry[0]])


def _listen_tcp(family: socket.AddressFamily, host: str, port: int) -> Listener:
    try:
        listener = platform.listen_tcp(family, host, port)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: f"Stop it, or choose another port: --port {port + 1}",
            errno.EACCES: "Use a port above 1023: --port 38080",
            errno.EADDRNOTAVAIL: f"Use one that is, such as {_LOOPBACK}:{port}",
        }.get(error.errno or 0)
        failure = platform.listen_failure(error, host, port)
        raise ListenError(f"{failure}. {advice}" if advice else failure) from None
    return Listener(listener, host, int(listener.getsockname()[1]))


def _listen_unix(path: str, mode: int) -> Listener:
    try:
        return Listener(platform.listen_unix(path, mode), path, None)
    except OSError as error:
        raise ListenError(f"Cannot listen at unix:{path}: {error.strerror or error}") from None
