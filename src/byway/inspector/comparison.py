"""Two JSON values side by side: lines of both, aligned by their fields, with what differs marked. Linear in their size. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

Mark = Literal["same", "changed", "added", "removed"]

#: Characters of a text that are shown, and characters at which two texts are compared for where they begin to differ.
_TEXT_LIMIT: Final = 600
_BEFORE: Final = 60
#: Depth below which a value is shown in one line.
_DEEPEST: Final = 40
#: Equal lines that are shown before and after lines that differ; longer runs are folded.
_AROUND: Final = 2
_FOLDED: Final = 8
#: Roles of messages that only one of two conversations may have.
_EXTRA_ROLES: Final = frozenset(("system", "developer", "tool"))


class ComparedLine(NamedTuple):
    """A line of both sides; a side is empty where the other one has more."""

    mark: Mark
    left: str
    right: str


class LineGroup(NamedTuple):
    """Neighbouring lines. `folded`: all of them are equal, and there are many."""

    folded: bool
    lines: tuple[ComparedLine, ...]


class _Nothing:
    """There is no value."""


_ABSENT: Final = _Nothing()


def compare(left: Any, right: Any, most: int = 4_000) -> tuple[list[ComparedLine], bool]:
    """The lines of two JSON values, at most `most`, and whether these are all of them."""
    lines: list[ComparedLine] = []
    for line in _compared(left, right, "", 0):
        if len(lines) >= most:
            return lines, False
        lines.append(line)
    return lines, True


def groups(lines: Sequence[ComparedLine]) -> list[LineGroup]:
    """The lines with long runs of equal ones folded."""
    result: list[LineGroup] = []
    at = 0
    while at < len(lines):
        end = at
        is_same = lines[at].mark == "same"
        while end < len(lines) and (lines[end].mark == "same") == is_same:
            end += 1
        run = tuple(lines[at:end])
        before = _AROUND if at else 0
        after = _AROUND if end < len(lines) else 0
        if is_same and len(run) - before - after >= _FOLDED:
            middle = len(run) - after
            parts = (
                LineGroup(False, run[:before]),
                LineGroup(True, run[before:middle]),
                LineGroup(False, run[middle:]),
            )
            result += [part for part in parts if part.lines]
        else:
            result.append(LineGroup(False, run))
        at = end
    return result


def count_marks(lines: Sequence[ComparedLine]) -> dict[Mark, int]:
    """How many lines have each mark."""
    counts: dict[Mark, int] = {"same": 0, "changed": 0, "added": 0, "removed": 0}
    for line in lines:
        counts[line.mark] += 1
    return counts


def _compared(left: Any, right: Any, name: str, depth: int) -> Iterator[ComparedLine]:
    """The lines of a value of both sides. `name` is the beginning of its first line."""
    indent = "  " * depth
    if left is _ABSENT:
        yield from (ComparedLine("added", "", line) for line in _lines(right, name, depth))
    elif right is _ABSENT:
        yield from (ComparedLine("removed", line, "") for line in _lines(left, name, depth))
    elif depth < _DEEPEST and isinstance(left, dict) and isinstance(right, dict) and (left or right):
        yield ComparedLine("same", f"{indent}{name}{{", f"{indent}{name}{{")
        for key in left:
            yield from _compared(left[key], right.get(key, _ABSENT), f"{_text(key)}: ", depth + 1)
        for key in right:
            if key not in left:
                yield from _compared(_ABSENT, right[key], f"{_text(key)}: ", depth + 1)
        yield ComparedLine("same", f"{indent}}}", f"{indent}}}")
    elif depth < _DEEPEST and isinstance(left, list) and isinstance(right, list) and (left or right):
        yield ComparedLine("same", f"{indent}{name}[", f"{indent}{name}[")
        for mine, other in _paired(left, right):
            yield from _compared(mine, other, "", depth + 1)
        yield ComparedLine("same", f"{indent}]", f"{indent}]")
    elif type(left) is type(right) and left == right:
        yield from (ComparedLine("same", line, line) for line in _lines(left, name, depth))
    elif isinstance(left, str) and isinstance(right, str):
        start = _difference(left, right)
        yield ComparedLine("changed", f"{indent}{name}{_shown(left, start)}", f"{indent}{name}{_shown(right, start)}")
    else:
        yield from _replaced([*_lines(left, name, depth)], [*_lines(right, name, depth)])


def _replaced(left: list[str], right: list[str]) -> Iterator[ComparedLine]:
    for at in range(max(len(left), len(right))):
        yield ComparedLine("changed", left[at] if at < len(left) else "", right[at] if at < len(right) else "")


def _paired(left: list[Any], right: list[Any]) -> Iterator[tuple[Any, Any]]:
    """The members of two lists in order, side by side. Messages meet messages of the same role."""
    at = other = 0
    while at < len(left) and other < len(right):
        mine, theirs = _role(left[at]), _role(right[other])
        if mine != theirs and theirs in _EXTRA_ROLES:
            yield _ABSENT, right[other]
            other += 1
        elif mine != theirs and mine in _EXTRA_ROLES:
            yield left[at], _ABSENT
            at += 1
        else:
            yield left[at], right[other]
            at += 1
            other += 1
    for member in left[at:]:
        yield member, _ABSENT
    for member in right[other:]:
        yield _ABSENT, member


def _role(member: Any) -> Any:
    return member.get("role") if isinstance(member, dict) else None


def _lines(value: Any, name: str, depth: int) -> Iterator[str]:
    """The lines of a value of one side."""
    indent = "  " * depth
    if depth < _DEEPEST and isinstance(value, dict) and value:
        yield f"{indent}{name}{{"
        for key, member in value.items():
            yield from _lines(member, f"{_text(key)}: ", depth + 1)
        yield f"{indent}}}"
    elif depth < _DEEPEST and isinstance(value, list) and value:
        yield f"{indent}{name}["
        for member in value:
            yield from _lines(member, "", depth + 1)
        yield f"{indent}]"
    elif isinstance(value, str):
        yield f"{indent}{name}{_shown(value, 0)}"
    else:
        yield f"{indent}{name}{_cut(_text(value))}"


def _difference(left: str, right: str) -> int:
    """Where two texts begin to differ."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shown(text: str, start: int) -> str:
    """A text as JSON: the whole one, or the part around `start` with the number of characters that are missing."""
    if len(text) <= _TEXT_LIMIT:
        return _text(text)
    begin = max(0, min(start - _BEFORE, len(text) - _TEXT_LIMIT))
    end = begin + _TEXT_LIMIT
    before = f"… {begin:,} characters … " if begin else ""
    after = f" … {len(text) - end:,} more characters" if end < len(text) else ""
    return f"{before}{_text(text[begin:end])}{after}"


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]} … {len(text) - _TEXT_LIMIT:,} more characters"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
