"""The growth helper passes linear work and fails quadratic work."""

from __future__ import annotations

import contextlib

import pytest
from growth import assert_linear


class Clock:
    """A process clock that only the work moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("growth.time.process_time", lambda: self.now)

    def work(self, steps: float) -> None:
        """Take a microsecond per step."""
        self.now += steps * 1e-6


def test_linear_work_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert_linear(range, lambda numbers: clock.work(len(numbers)))


@pytest.mark.parametrize("power", [1.5, 2, 3])
def test_work_that_grows_faster_than_its_input_fails(monkeypatch: pytest.MonkeyPatch, power: float) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(AssertionError, match="per doubling"):
        assert_linear(range, lambda numbers: clock.work(int(len(numbers) ** power)))


@pytest.mark.parametrize("microseconds", [0.1, 10])
@pytest.mark.parametrize("power", [1, 2])
def test_no_input_reaches_the_bound_of_the_code(
    monkeypatch: pytest.MonkeyPatch, microseconds: float, power: float
) -> None:
    clock, sizes = Clock(monkeypatch), []

    def make(size: int) -> int:
        sizes.append(size)
        return size

    context = pytest.raises(AssertionError, match="per doubling") if power > 1 else contextlib.nullcontext()
    with context:
        assert_linear(make, lambda size: clock.work(microseconds * size**power), 10, 1000)
    assert max(sizes) <= 1000


def test_one_slow_doubling_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert_linear(range, lambda numbers: clock.work(len(numbers) * (5 if len(numbers) > 20_000 else 1)), size=16_000)


def test_real_work_that_cannot_be_measured_passes() -> None:
    assert_linear(lambda size: [None] * (size * 1000), len)
