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
_MEASURABLE: Final = 0.01
_RUNS: Final = 3
_LARGEST: Final = 1 << 22
_LONG_MAKE: Final = 0.25


def cpu_seconds(run: Callable[[], object], runs: int = _RUNS) -> float:
    """CPU seconds of the quickest of `runs` runs, without garbage collection: its passes come in steps, not in proportion."""
    times = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(runs):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    finally:
        if collecting:
            gc.enable()
    return min(times)


def assert_linear(make: Callable[[int], Input], run: Callable[[Input], object], size: int = 1000) -> None:
    """Fail when `run(make(n))` grows faster than its input: by a factor of LIMIT or more for three doublings in a row.

    `size` is the smallest n. It is doubled until one run can be measured, so a fast function is measured at a large n. A
    function that is still too fast when its input takes `_LONG_MAKE` seconds to make passes.
    """

    making = 0.0

    def measure(runs: int) -> float:
        nonlocal making
        start = time.process_time()
        value = make(size)
        making = time.process_time() - start
        return cpu_seconds(lambda: run(value), runs)

    while measure(1) < _MEASURABLE:
        if making > _LONG_MAKE or size >= _LARGEST:
            return
        size *= 2
    seconds = measure(_RUNS)
    factors = []
    # Larger inputs leave the caches of the processor, which can cost one doubling more than its factor.
    for _ in range(3):
        size *= 2
        doubled = measure(_RUNS)
        factors.append(doubled / seconds)
        seconds = doubled
        if factors[-1] < LIMIT:
            return
    raise AssertionError(
        f"CPU time grew by {', '.join(f'{factor:.2f}' for factor in factors)} per doubling up to {size}"
    )
