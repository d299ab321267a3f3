"""Finds the tools that a regular expression matches, for the official tool search.

A pattern of a model may need exponential time. So only patterns without repetition run in this process; the others run in the
worker, which ends after a few seconds.
"""

from __future__ import annotations

import re
from typing import Final

#: Literal text and alternatives of it: linear for any input.
_SIMPLE: Final = re.compile(r"(?:\(\?i\))?[\w \-/|]*")


class PatternError(Exception):
    """A pattern that is not a regular expression."""


def is_simple(pattern: str) -> bool:
    """Return whether the pattern takes linear time."""
    return _SIMPLE.fullmatch(pattern) is not None


def matching(pattern: str, tools: list[list[str]]) -> list[int]:
    """The indices of the tools that `pattern` matches, as `re.search` does: first those whose name matches.

    `tools`: the texts of each tool, its name first. Raises PatternError.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(str(error)) from None
    places = [next((place for place, text in enumerate(texts) if search(text)), None) for texts in tools]
    matches = [index for index, place in enumerate(places) if place is not None]
    return sorted(matches, key=lambda index: places[index] != 0)
