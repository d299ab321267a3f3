"""Ranks texts by the words of a query: Okapi BM25. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

#: The usual constants: how fast a repeated word saturates, and how much a long text counts less.
_SATURATION: Final = 1.5
_LENGTH: Final = 0.75
#: A word in the first text, the name, counts as often.
_NAME: Final = 3
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, singular in the English manner: parts of `camelCase` and `snake_case` are words."""
    return [_singular(word.lower()) for word in _WORD.findall(text)]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def rank(query: str, documents: Iterable[list[str]]) -> list[int]:
    """The indices of the documents that share a word with `query`, the best one first. The first text is the name."""
    counts = [Counter(words(" ".join(texts)) + words(texts[0]) * (_NAME - 1)) for texts in documents]
    lengths = [sum(count.values()) for count in counts]
    average = sum(lengths) / len(lengths) if lengths else 1.0
    scores = [0.0] * len(counts)
    for word in set(words(query)):
        having = [index for index, count in enumerate(counts) if word in count]
        weight = math.log(1 + (len(counts) - len(having) + 0.5) / (len(having) + 0.5))
        for index in having:
            times = counts[index][word]
            norm = _SATURATION * (1 - _LENGTH + _LENGTH * lengths[index] / average)
            scores[index] += weight * times * (_SATURATION + 1) / (times + norm)
    matches = [index for index, score in enumerate(scores) if score > 0]
    return sorted(matches, key=lambda index: -scores[index])
