"""Where Byway listens: from which machines it can be reached, and whether it could listen elsewhere after a restart."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from byway import platform
from byway.config import listen, validators


def busy_address(addresses: Sequence[str], own: Sequence[str]) -> str:
    """Why Byway could not listen at one of `addresses`, as a sentence; empty when it could. Opens each for a moment.

    `own` are the addresses where it listens now: it closes them before it restarts.
    """
    current = {place[1] for place in map(listen, own) if not isinstance(place, str)}
    for place in map(listen, addresses):
        if isinstance(place, str) or place[1] == 0 or place[1] in current:
            continue
        host, port = place
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # A name is resolved by `bind` itself.
            platform.listen_tcp(family, host, port).close()
        except OSError as error:
            return f"{platform.listen_failure(error, host, port)}."
    return ""


def listens_wide(addresses: Sequence[str]) -> bool:
    """Can other machines reach Byway at one of these addresses, as `host:port` or `unix:path`?"""
    return any(not address.startswith("unix:") and not validators.loopback(f"//{address}") for address in addresses)
