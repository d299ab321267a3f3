"""The growth helper passes linear work and fails quadratic work."""

from __future__ import annotations

import pytest
from growth import assert_linear


def test_linear_work_passes() -> None:
    assert_linear(range, lambda numbers: sum(numbers))


def test_quadratic_work_fails() -> None:
    with pytest.raises(AssertionError, match="per doubling"):
        assert_linear(lambda size: list(range(size)), lambda numbers: [sum(numbers) for _ in numbers], size=100)


def test_work_that_cannot_be_measured_passes() -> None:
    assert_linear(lambda size: [None] * (size * 1000), len)
