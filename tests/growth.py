"""Growth of work with the size of its input, measured as CPU time of this process and never as wall-clock time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final, TypeVar

Input = TypeVar("Input")

#: Linear work takes twice as long for twice the input, quadratic work four times: the limit lies between, above noise.
LIMIT: Final = 2.6
#: Seconds of CPU below which a figure is noise: the input is doubled until a run takes longer.
_MEASURABLE: Final = 0.02
_RUNS: Final = 3
_LARGEST: Final = 1 << 22


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of the quickest of three runs, without the garbage collector: its passes come in steps, not in proportion."""
    times = []
    enabled = gc.isenabled()
    for _ in range(_RUNS):
        gc.collect()
        gc.disable()
        try:
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        finally:
            if enabled:
                gc.enable()
    return min(times)


def assert_linear(make: Callable[[int], Input], run: Callable[[Input], object], size: int = 1000) -> None:
    """Fail when `run(make(n))` grows faster than its input: by a factor of LIMIT or more for two doublings in a row.

    `size` is the smallest n. It is doubled until one run can be measured, so a fast function is measured at a large n.
    """
    first = make(size)
    seconds = cpu_seconds(lambda: run(first))
    while seconds < _MEASURABLE and size < _LARGEST:
        size *= 2
        larger = make(size)
        seconds = cpu_seconds(lambda: run(larger))  # noqa: B023 - called before the name changes
    factors = []
    for _ in range(2):
        size *= 2
        larger = make(size)
        doubled = cpu_seconds(lambda: run(larger))  # noqa: B023 - called before the name changes
        factors.append(doubled / seconds)
        seconds = doubled
        if factors[-1] < LIMIT:
            return
    raise AssertionError(f"CPU time grew by {factors[0]:.2f} and {factors[1]:.2f} when the input doubled to {size}")
