"""The system texts of a request as one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from byway.bounded import RecentValues

_joined: Final[RecentValues[list[str], str]] = RecentValues(8)
#: Characters of the longest texts that are kept.
_LONGEST: Final = 200_000


def system_text(texts: Sequence[str]) -> str:
    """`texts` as paragraphs of one text, without empty ones.

    Requests repeat their system texts. A text that was made before is returned as the same object: Python keeps the UTF-8
    of a text with it, and encoding a text that is not ASCII takes longer than the rest of its translation.
    """
    if len(texts) < 2:
        return texts[0] if texts else ""
    parts = [text for text in texts if text]
    text = _joined.get(parts)
    if text is None:
        text = "\n\n".join(parts)
        if len(text) <= _LONGEST:
            _joined.add(parts, text)
    return text
