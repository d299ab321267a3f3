"""Recognises a whole answer that is one text, as most are: a front writes it without the events between. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from byway.messages.events import (
    BlockDelta,
    BlockStart,
    MessageDelta,
    MessageStop,
    Part,
    TextDelta,
    TextStart,
    Usage,
)

#: Parts of an answer that is one text.
_PARTS: Final = 6
_NO_TEXT: Final = TextStart()


def text_answer(parts: Sequence[Part]) -> tuple[str, Usage] | None:
    """The text and the usage of an answer that is one text and is finished; None for any other."""
    if len(parts) != _PARTS:
        return None
    _, start, piece, _, end, last = parts
    if type(piece) is not BlockDelta or type(end) is not MessageDelta or type(last) is not MessageStop:
        return None
    delta = piece.delta
    # A block of a server tool is a dict.
    if type(delta) is TextDelta and type(start) is BlockStart and start.content_block == _NO_TEXT:
        reason = end.delta.stop_reason
        if delta.text and (reason == "end_turn" or reason == "stop_sequence"):
            return delta.text, end.usage
    return None
