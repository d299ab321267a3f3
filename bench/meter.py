"""What a tree of processes has used: processor time and memory, read from Linux's /proc."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """`pid` and everything below it that lives."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold spaces and parentheses itself: the fields start behind the last one.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    pids = [pid]
    for parent in pids:
        pids += children.get(parent, [])
    return pids


def cpu(pid: int) -> float:
    """Microseconds of processor time, user and system, that the tree's living processes have used in all their threads."""
    seconds = 0.0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            # The clock that clock_getcpuclockid(3) names. /proc/PID/stat counts in hundredths of a second, and the
            # threads' schedstat forgets those that have ended.
            seconds += time.clock_gettime((~process << 3) | 2)
    return seconds * 1e6


def pss(pid: int) -> int:
    """Bytes of memory of the tree; pages that several processes share are divided among them."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
