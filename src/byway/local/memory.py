"""The memory of this machine, and whether a model fits into it. Memory of GPUs is not counted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct

from byway import platform

FitWord = Literal["fits", "tight", "too large", "unknown"]
#: Bytes of a process beside the weights and the cache: the engine and its buffers.
OVERHEAD: Final = 600_000_000
#: The part of all memory that a model may take, and of the free memory that it may take without others giving way.
_MOST: Final = 0.92
_COMFORTABLE: Final = 0.95
#: Where the free memory is unknown: the part of all memory that is taken as free.
_USUALLY_FREE: Final = 0.7
_CGROUP: Final = Path("/sys/fs/cgroup")


class MachineMemory(Struct, frozen=True):
    """Bytes of memory of this machine, or of the container that Byway runs in. Null: unknown."""

    total: int | None
    free: int | None


class MemoryFit(Struct, frozen=True):
    """Whether a model fits into the memory of this machine."""

    fit: FitWord
    """`fits` beside what runs now, `tight` when others have to give memory back, `too large`, or `unknown`."""
    needed: int | None
    """Bytes of the weights, of the cache for `window` tokens, and of the process."""
    window: int
    """The context window in tokens that this is for."""
    is_estimate: bool = False
    """The cache is estimated, because its size for a token is unknown."""


def machine_memory(root: Path = _CGROUP, info: Path = Path("/proc/meminfo")) -> MachineMemory:
    """The memory of this machine; within a container that has a limit, of the container."""
    total, free = _total(info), platform.available_memory()
    limit, used = _number(root / "memory.max"), _number(root / "memory.current")
    if limit is not None and (total is None or limit < total):
        rest = max(0, limit - (used or 0))
        return MachineMemory(limit, rest if free is None else min(free, rest))
    return MachineMemory(total, free)


def _total(info: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in info.read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    sysconf: Any = getattr(os, "sysconf", None)
    if sysconf is not None:
        with contextlib.suppress(OSError, ValueError):
            return int(sysconf("SC_PAGE_SIZE")) * int(sysconf("SC_PHYS_PAGES"))
    return None


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def memory_fit(size: int | None, cache: int | None, window: int, memory: MachineMemory) -> MemoryFit:
    """Whether a model of `size` bytes fits with a context of `window` tokens. `cache`: bytes for a token of context."""
    if size is None:
        return MemoryFit("unknown", None, window)
    # Without the facts of the header: as much as models of this size often take.
    per_token = cache if cache is not None else min(200_000, size // 50_000)
    needed = size + per_token * window + OVERHEAD
    return MemoryFit(_word(needed, memory), needed, window, cache is None)


def _word(needed: int, memory: MachineMemory) -> FitWord:
    if memory.total is None:
        return "unknown"
    free = memory.free if memory.free is not None else int(memory.total * _USUALLY_FREE)
    if needed <= free * _COMFORTABLE:
        return "fits"
    return "tight" if needed <= memory.total * _MOST else "too large"
