"""Stops a Byway that a launcher has started, once it has had no client for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from byway.admin import keys
from byway.endpoints.clients import running_clients
from byway.gateway import Gateway
from byway.logs import log


async def stop_when_idle(gateway: Gateway, data: Path, seconds: float, stop: Callable[[], None]) -> None:
    """Call `stop` when for `seconds` no client has run, no request has arrived and no batch was in progress.

    Runs until then, or until cancelled.
    """
    last_active = time.monotonic()
    seen = gateway.requests.count
    while True:
        await asyncio.sleep(max(0.05, min(seconds / 20, 15.0)))
        clients = await asyncio.to_thread(running_clients, data)
        for client in clients.ended:
            for key in client.keys:
                await _revoke(gateway, key)
        has_batches = gateway.batches is not None and gateway.batches.in_progress
        if clients.running or gateway.exchanges or has_batches or gateway.requests.count != seen:
            seen = gateway.requests.count
            last_active = time.monotonic()
        elif time.monotonic() - last_active >= seconds:
            log("Stopping, because no client has used this Byway", idle_s=round(seconds))
            stop()
            return


async def _revoke(gateway: Gateway, id: str) -> None:
    """Revoke the key of a client whose launcher was killed."""
    store = gateway.services.store

    def revoke() -> None:
        try:
            keys.revoke_key(store, id, "the end of its client")
        except LookupError:
            return

    await asyncio.to_thread(revoke)
    gateway.runtime.take_keys(await asyncio.to_thread(store.key_records))
