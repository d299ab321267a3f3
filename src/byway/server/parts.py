"""Opens what only requests beyond the first routes use."""

from __future__ import annotations

import asyncio
from pathlib import Path

from byway.gateway import Gateway
from byway.server.batches import open_batches
from byway.server.probing import open_readiness
from byway.server.replaying import open_replay


async def open_parts(gateway: Gateway, folder: Path) -> None:
    """Open the readiness tests, what sends recorded requests again, and batches when the start has found none to continue."""
    open_readiness(gateway)
    open_replay(gateway)
    if gateway.batches is None and not gateway.batches_problem:
        # In a thread: it creates a file, and waits for the disk.
        worker = await asyncio.to_thread(open_batches, gateway, folder)
        if worker is not None:
            worker.start()
