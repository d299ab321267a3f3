"""Charts as the template `charts.html` draws them: bars or lines over time, as SVG. Pure.

The plot is stretched to the width of the page, so texts are outside of it. Colours are the classes of `style.css`: `series-1` to
`series-5`, `series-other`, `series-bad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

#: The size of the plot in units of its SVG.
WIDTH: Final = 1000.0
HEIGHT: Final = 200.0
#: The part of a column that is left empty.
_GAP: Final = 0.22
#: Steps of the vertical axis, and labels of the horizontal one, at most.
_MOST_STEPS: Final = 4
_MOST_MARKS: Final = 6


class Series(NamedTuple):
    """One value for each column, with a name and a colour. None is a gap."""

    name: str
    style: str
    values: Sequence[float | None]


class Shape(NamedTuple):
    """A rectangle."""

    style: str
    x: str
    y: str
    width: str
    height: str


class Column(NamedTuple):
    """One column: where the pointer finds it, its values as text, and its bars."""

    x: str
    width: str
    text: str
    bars: tuple[Shape, ...]


class Path(NamedTuple):
    """A line, which has gaps where there is no value."""

    style: str
    d: str


class Mark(NamedTuple):
    """A label of the horizontal axis."""

    x: str
    """In percent of the width."""
    text: str


class Chart(NamedTuple):
    """A chart."""

    title: str
    about: str
    """The chart in words, for those who do not see it."""
    ticks: tuple[str, ...]
    """Labels of the vertical axis, at equal distances, from the top to zero."""
    lines: tuple[str, ...]
    """Where these are."""
    columns: tuple[Column, ...]
    paths: tuple[Path, ...]
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...]
    """Style and name."""


def bar_chart(
    title: str, labels: Sequence[str], series: Sequence[Series], text: Callable[[float], str], marks: Sequence[str] = ()
) -> Chart | None:
    """Bars, with the values of the series on top of each other; None when all are zero.

    `text` formats a value. `marks`: shorter labels for the axis, "" for columns that need none. A column without a label is
    room without a bar.
    """
    totals = [sum(values) for values in zip(*(_numbers(item) for item in series), strict=True)]
    highest = max(totals, default=0.0)
    if highest <= 0:
        return None
    step, count = steps(highest)
    most, room = step * count, WIDTH / len(labels)
    columns = []
    for number, label in enumerate(labels):
        if not label:
            continue
        base, bars = HEIGHT, list[Shape]()
        for item in series:
            value = item.values[number]
            if not value:
                continue
            height = value / most * HEIGHT
            base -= height
            bars.append(
                Shape(
                    item.style,
                    f"{(number + _GAP / 2) * room:.1f}",
                    f"{base:.2f}",
                    f"{room * (1 - _GAP):.1f}",
                    f"{height:.2f}",
                )
            )
        columns.append(_column(number, room, label, series, text, bars))
    peak = max(range(len(totals)), key=totals.__getitem__)
    total = sum(totals)
    last = next(label for label in reversed(labels) if label)
    about = f"{title}, {labels[0]} to {last}: {text(total)} in total, most at {labels[peak]} with {text(highest)}."
    return Chart(title, about, *_axis(step, count, text), tuple(columns), (), _marks(marks or labels), _legend(series))


def line_chart(
    title: str, labels: Sequence[str], series: Sequence[Series], text: Callable[[float], str], marks: Sequence[str] = ()
) -> Chart | None:
    """A line for each series, with gaps where a value is None; None when there is no value at all."""
    highest = max((value for item in series for value in item.values if value is not None), default=0.0)
    if highest <= 0:
        return None
    step, count = steps(highest)
    most, room = step * count, WIDTH / len(labels)
    columns = tuple(_column(number, room, label, series, text, ()) for number, label in enumerate(labels))
    paths = tuple(path for item in series for path in _paths(item, room, most) if path.d)
    tops = ", ".join(
        f"{item.name} up to {text(max(known))}"
        for item in series
        if (known := [value for value in item.values if value is not None])
    )
    about = f"{title}, {labels[0]} to {labels[-1]}: {tops}."
    return Chart(title, about, *_axis(step, count, text), columns, paths, _marks(marks or labels), _legend(series))


def steps(highest: float) -> tuple[float, int]:
    """The distance of the lines of the axis, a round number, and how many there are above zero."""
    rough = highest / _MOST_STEPS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    return step, max(1, math.ceil(highest / step - 1e-9))


def _numbers(series: Series) -> list[float]:
    return [value or 0.0 for value in series.values]


def _column(
    number: int, room: float, label: str, series: Sequence[Series], text: Callable[[float], str], bars: Sequence[Shape]
) -> Column:
    lines = [label]
    for item in series:
        value = item.values[number]
        if value is not None and (value or len(series) == 1):
            lines.append(f"{item.name}: {text(value)}")
    return Column(f"{number * room:.1f}", f"{room:.1f}", "\n".join(lines), tuple(bars))


def _paths(series: Series, room: float, most: float) -> tuple[Path, Path]:
    """The path of a line, and that of its dots: a value between two gaps is a line without a length, with round ends."""
    line: list[str] = []
    dots: list[str] = []
    is_drawing = False
    for number, value in enumerate(series.values):
        if value is None:
            is_drawing = False
            continue
        place = f"{(number + 0.5) * room:.1f} {HEIGHT - value / most * HEIGHT:.2f}"
        if not is_drawing and (number + 1 == len(series.values) or series.values[number + 1] is None):
            dots.append(f"M{place}h0.01")
            continue
        line.append(f"{'L' if is_drawing else 'M'}{place}")
        is_drawing = True
    return Path(series.style, "".join(line)), Path(f"{series.style} dot", "".join(dots))


def _axis(step: float, count: int, text: Callable[[float], str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ticks = (*(text(step * (count - number)) for number in range(count)), "0")
    lines = tuple(f"{HEIGHT * number / count:.2f}" for number in range(count + 1))
    return ticks, lines


def _marks(labels: Sequence[str]) -> tuple[Mark, ...]:
    """The labels at most of the columns that have one, so that there is room for each."""
    places = [number for number, label in enumerate(labels) if label]
    every = max(1, math.ceil(len(places) / _MOST_MARKS))
    return tuple(Mark(f"{(number + 0.5) / len(labels) * 100:.2f}", labels[number]) for number in places[::every])


def _legend(series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    return tuple((item.style, item.name) for item in series) if len(series) > 1 else ()
