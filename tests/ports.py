"""A port for tests that have to name one before, or without, anything listening there."""

from __future__ import annotations

import random
import socket
from typing import Final

#: Below the ports that systems give to connections and to servers without a port of their own, so no parallel test gets one.
_PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """Choose a port of loopback at which nothing listens."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
