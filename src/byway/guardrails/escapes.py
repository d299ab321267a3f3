"""JsonEscapes: the text behind the escapes of JSON that arrives in pieces. Pure."""

from __future__ import annotations

import re
from typing import Final

#: An escape with the digits of its character, one that goes on in the next piece, or one with a single character.
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(?:u[0-9a-fA-F]{0,3})?\Z|(.))", re.DOTALL)
_CHARACTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class JsonEscapes:
    """Feed it the pieces of one JSON text."""

    def __init__(self) -> None:
        self._rest = ""
        """The beginning of an escape at the end of the last piece."""

    def feed(self, piece: str) -> str:
        """Return `piece` with the characters that its escapes stand for."""
        text = self._rest + piece
        self._rest = ""
        return _ESCAPE.sub(self._character, text) if "\\" in text else text

    def _character(self, escape: re.Match[str]) -> str:
        if escape[1]:
            return chr(int(escape[1], 16))
        if escape[2]:
            return _CHARACTERS.get(escape[2], escape[2])
        self._rest = escape[0]
        return ""
