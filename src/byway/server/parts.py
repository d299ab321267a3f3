"""Opens what only requests beyond the first routes use."""

from __future__ import annotations

from byway.gateway import Gateway
from byway.server.probing import open_readiness
from byway.server.replaying import open_replay


def open_parts(gateway: Gateway) -> None:
    """Open the readiness tests and what sends recorded requests again."""
    open_readiness(gateway)
    open_replay(gateway)
