"""Waiting for a condition, with a limit that no busy machine reaches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: Seconds until a test that waits fails. A longer time makes no test slower: nothing waits longer than it must.
PATIENCE: Final = 60.0
_STEP: Final = 0.005


async def until(met: Callable[[], object]) -> None:
    """Wait until `met` returns something true, while the event loop runs."""
    async with asyncio.timeout(PATIENCE):
        while not met():  # noqa: ASYNC110 - `met` looks at code that has no event to wait for
            await asyncio.sleep(_STEP)


def wait_until(met: Callable[[], object]) -> None:
    """Wait until `met` returns something true, while other threads run."""
    ends = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < ends, f"not within {PATIENCE:.0f} s"
        time.sleep(_STEP)
