"""Text that a server sends more than once: all so far in each piece, or the whole text again at the end."""

from __future__ import annotations

from typing import Final

#: Shorter texts may begin alike by coincidence.
_SHORT: Final = 8
_WHOLE_TEXT: Final = 16


class TextPieces:
    """Passes on what is new in the pieces of a text. Ordinary text is settled with its second piece, and never kept."""

    __slots__ = ("_held", "_repeats", "_so_far", "cumulative", "settled")

    def __init__(self) -> None:
        self.settled = False
        """The pieces continue each other: `add` has nothing more to do."""
        self.cumulative = False
        """Each piece holds all that came before it."""
        self._so_far = ""
        """The last piece, as long as the next one may hold it."""
        self._held: list[str] = []
        """Pieces that held what came before them, until that is no coincidence."""
        self._repeats = 0
        """How much of the first of them has been passed on."""

    def add(self, piece: str) -> str:
        """Returns what is new in `piece`, with what was held before; an empty string while it is held."""
        if self.settled:
            return piece
        if self.cumulative:
            if len(piece) >= len(self._so_far) and piece.startswith(self._so_far):
                repeats, self._so_far = len(self._so_far), piece
                return piece[repeats:]
            return self._settle() + piece
        if not self._repeats:
            self._so_far, self._repeats = piece, len(piece)
            return piece
        if len(piece) < len(self._so_far) or not piece.startswith(self._so_far):
            return self._settle() + piece
        if len(piece) == len(self._so_far) and (self._held or len(piece) < _SHORT):
            return self._settle() + piece
        self._held.append(piece)
        self._so_far = piece
        if len(self._held) > 1 and len(piece) >= _SHORT:
            self.cumulative, self._held = True, []
            return piece[self._repeats :]
        return ""

    def _settle(self) -> str:
        held, self._held = "".join(self._held), []
        self.settled, self._so_far = True, ""
        return held

    def end(self) -> str:
        """The text has ended: what was held is either a repetition or text."""
        if not self._held:
            return ""
        last, repeats = self._held[-1], self._repeats
        # Twice the same, or longer by what is new: the longer the first piece is, the less likely by coincidence.
        if len(self._held) > 1 or repeats >= (_WHOLE_TEXT if len(last) == repeats else _SHORT):
            self._held = []
            return last[repeats:]
        return self._settle()


def is_whole_text(piece: str, first: str, length: int) -> bool:
    """Whether a last piece is a whole text again, which began with the piece `first` and has `length` characters."""
    return length >= _WHOLE_TEXT and len(piece) == length > len(first) and piece.startswith(first)
