"""Growth of work with the size of its input, measured as CPU time of this process and never as wall-clock time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final, TypeVar

from properties import SHARE

Input = TypeVar("Input")

#: Linear work takes twice as long for twice the input, quadratic work four times: the limit lies between, above noise.
LIMIT: Final = 2.6
#: Two doublings above this need no third: the work is quadratic.
QUADRATIC: Final = 3.7
#: Seconds of CPU below which a figure is noise: the input grows until a run takes longer. `make unit` takes smaller inputs,
#: on which work that grows faster than its input has to cost more before it is noticed.
_MEASURABLE: Final = 0.01 * SHARE
_RUNS: Final = 3
_LARGEST: Final = 1 << 22
_LONG_MAKE: Final = 0.1
#: An input whose run takes far less than _MEASURABLE grows by this at once: to make each size between costs time.
_STRIDE: Final = 8


def cpu_seconds(run: Callable[[], object], runs: int = _RUNS, enough: float = 0.0) -> float:
    """CPU seconds of the quickest of `runs` runs; after a run of at most `enough` seconds there is no other.

    Garbage collection is off: its passes come in steps, not in proportion.
    """
    times = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(runs):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
            if times[-1] <= enough:
                break
    finally:
        if collecting:
            gc.enable()
    return min(times)


def assert_linear(
    make: Callable[[int], Input], run: Callable[[Input], object], size: int = 1000, bound: int | None = None
) -> None:
    """Fail when `run(make(n))` grows faster than its input: by a factor of LIMIT or more for three doublings in a row.

    `size` is the smallest n, in `make unit` a share of it. It grows until one run can be measured, so a fast function is
    measured at a large n. A function that is still too fast when its input takes `_LONG_MAKE` seconds to make passes.
    `bound` is the largest n that the code accepts: n stays below it on every machine, and a run that is too fast there is
    repeated. A failure is measured again: other processes can take the caches of the processor away for as long as one
    measurement takes.
    """
    factors: list[float] = []
    for _ in range(2):
        factors = _factors(make, run, size, bound)
        if not factors:
            return
    raise AssertionError(f"CPU time grew by {', '.join(f'{factor:.2f}' for factor in factors)} per doubling")


def _factors(make: Callable[[int], Input], run: Callable[[Input], object], size: int, bound: int | None) -> list[float]:
    """The growth per doubling, where it is too large each time; else an empty list."""
    repeats = 1
    size = max(1, round(size * SHARE))

    def work(value: Input) -> None:
        for _ in range(repeats):
            run(value)

    while True:
        start = time.process_time()
        value = make(size)
        making = time.process_time() - start
        seconds = cpu_seconds(lambda: work(value), 1)  # noqa: B023 - called at once
        if seconds >= _MEASURABLE:
            break
        # Three doublings follow this one.
        if bound is not None and size << 4 > bound:
            repeats *= 2
        elif making > _LONG_MAKE or size >= _LARGEST:
            return []
        else:
            far = seconds * _STRIDE * 2 < _MEASURABLE and making * _STRIDE < _LONG_MAKE
            size *= _STRIDE if far and (bound is None or size * _STRIDE << 3 <= bound) else 2
    # A long run is steady: it needs one more to be sure, a short one two.
    seconds = min(seconds, cpu_seconds(lambda: work(value), 1 if seconds > 2 * _MEASURABLE else _RUNS - 1))
    factors: list[float] = []
    # Larger inputs leave the caches of the processor, which can cost one doubling more than its factor.
    while len(factors) < 3 and not (len(factors) == 2 and min(factors) > QUADRATIC):
        size *= 2
        value = make(size)
        # More runs can only give a smaller factor, so one below the limit is enough.
        doubled = cpu_seconds(lambda: work(value), enough=seconds * LIMIT * 0.999)  # noqa: B023 - called at once
        factors.append(doubled / seconds)
        seconds = doubled
        if factors[-1] < LIMIT:
            return []
    return factors
