"""Charts as SVG: axes with round numbers, gaps, labels and texts for people who do not see them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway.ui.charts import HEIGHT, WIDTH, Series, bar_chart, line_chart, steps

HOURS = [f"{hour:02d}:00" for hour in range(24)]


@given(st.floats(1e-6, 1e12))
def test_an_axis_has_round_numbers_and_room_for_the_highest(highest: float) -> None:
    step, count = steps(highest)
    assert 1 <= count <= 5
    assert step * count >= highest * (1 - 1e-9) and step * (count - 1) < highest * (1 + 1e-9)
    digits = f"{step:.3e}".partition("e")[0].rstrip("0").rstrip(".")
    assert digits in ("1", "2", "2.5", "5")


def test_bars_are_stacked_and_within_the_plot() -> None:
    chart = bar_chart(
        "Requests",
        ["a", "b", "c"],
        (Series("good", "series-1", [1, 0, 3]), Series("failed", "series-bad", [1, 0, None])),
        "{:g}".format,
    )
    assert chart is not None
    assert chart.ticks == ("3", "2", "1", "0") and chart.lines[0] == "0.00" and chart.lines[-1] == "200.00"
    first, second, third = chart.columns
    lower, upper = first.bars
    assert (lower.style, upper.style) == ("series-1", "series-bad")
    assert float(upper.y) + float(upper.height) == pytest.approx(float(lower.y), abs=0.01)
    assert float(lower.y) + float(lower.height) == pytest.approx(HEIGHT, abs=0.01)
    assert second.bars == () and float(third.x) + float(third.width) == pytest.approx(WIDTH, abs=0.2)
    assert first.text == "a\ngood: 1\nfailed: 1" and second.text == "b"
    assert chart.about == "Requests, a to c: 5 in total, most at c with 3."
    assert chart.legend == (("series-1", "good"), ("series-bad", "failed"))


def test_a_chart_without_values_is_none() -> None:
    assert bar_chart("Cost", ["a", "b"], (Series("cost", "series-3", [None, 0]),), str) is None
    assert line_chart("Wait", ["a", "b"], (Series("p50", "series-1", [None, None]),), str) is None


def test_a_line_has_gaps_and_a_lonely_value_is_a_dot() -> None:
    chart = line_chart("Wait", list("abcdef"), (Series("p50", "series-1", [1, 2, None, 2, None, 1]),), "{:g} ms".format)
    assert chart is not None
    line, dots = chart.paths
    assert (line.style, dots.style) == ("series-1", "series-1 dot")
    assert line.d.count("M") == 1 and line.d.count("L") == 1 and len(re.findall(r"M[\d. ]+h0\.01", dots.d)) == 2
    assert chart.columns[2].text == "c" and chart.columns[0].text == "a\np50: 1 ms"
    assert "p50 up to 2 ms" in chart.about


def test_marks_leave_room_for_each_other() -> None:
    chart = bar_chart("Requests", HOURS, (Series("all", "series-1", [1] * 24),), str)
    assert chart is not None and len(chart.marks) == 6
    assert [mark.text for mark in chart.marks][:2] == ["00:00", "04:00"]
    places = [float(mark.x) for mark in chart.marks]
    assert min(later - earlier for earlier, later in itertools.pairwise(places)) > 10
