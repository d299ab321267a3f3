"""Ends hosted processes with everything that they have started, so that none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from byway import programs

#: Seconds for a process to end by itself after the signal.
_GRACE: Final = 2.0
_TICK: Final = 0.02


async def end_tree(roots: Iterable[int], *, grace: float = _GRACE) -> None:
    """End processes and their descendants. Those that do not end in time are killed. Raises nothing."""
    tree = await asyncio.to_thread(programs.process_tree, roots)
    # Children first: a parent that ends would leave them to the system. Some of them leave the process group.
    for pid in reversed(tree):
        programs.end_process(pid)
    if await _ended(tree, grace):
        return
    # Children that were started meanwhile.
    tree = await asyncio.to_thread(programs.process_tree, tree)
    for pid in reversed(tree):
        programs.end_process(pid, force=True)
    await _ended(tree, grace)


async def _ended(pids: Iterable[int], seconds: float) -> bool:
    """Whether all processes have ended within some seconds."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + seconds
    while any(map(programs.is_running, pids)):
        if loop.time() >= latest:
            return False
        await asyncio.sleep(_TICK)
    return True
