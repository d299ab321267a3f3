"""Recognises an answer that is one text, as most whole answers are: it is written without a look at every event. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from byway.messages.events import (
    BlockDelta,
    BlockStart,
    MessageDelta,
    MessageStart,
    MessageStop,
    Part,
    Started,
    TextDelta,
    TextStart,
)

#: Parts of an answer that is one text.
_PARTS: Final = 6


def text_answer(parts: Sequence[Part]) -> tuple[Started, str, MessageDelta] | None:
    """The beginning, the text and the end of an answer that is one text; None for any other."""
    if len(parts) != _PARTS:
        return None
    start, opened, piece, _, end, last = parts
    if (
        type(piece) is BlockDelta
        and type(end) is MessageDelta
        and type(last) is MessageStop
        and type(start) is MessageStart
        and type(opened) is BlockStart
        and type(delta := piece.delta) is TextDelta
        and type(block := opened.content_block) is TextStart
        and not block.text
    ):
        return start.message, delta.text, end
    return None
