"""FreeInput: the input of a free-form tool, out of the JSON `{"input": "..."}` that a model writes in pieces. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from byway.messages.stream import tool_input

_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
#: Characters in which the opening is complete.
_LONGEST_OPENING: Final = 200
#: Whole characters and escapes of a JSON string. The half of a pair of surrogates waits for the other half.
_CHARACTERS: Final = re.compile(
    r'(?:[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u])*+'
)


class FreeInput:
    """Feed it the pieces of one input."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._rest = ""
        """What is not decoded yet."""
        self._opened = False
        self._ended = False
        """The string has ended, or the input has another form."""
        self._length = 0
        """Characters that `feed` has returned."""

    def feed(self, piece: str) -> str:
        """The text that is complete with `piece`."""
        self._pieces.append(piece)
        if self._ended:
            return ""
        self._rest += piece
        if not self._opened:
            match = _OPENING.match(self._rest)
            if match is None:
                self._ended = len(self._rest) > _LONGEST_OPENING
                return ""
            self._opened = True
            self._rest = self._rest[match.end() :]
        match = _CHARACTERS.match(self._rest)
        end = 0 if match is None else match.end()
        text, self._rest = self._rest[:end], self._rest[end:]
        if self._rest[:1] == '"':
            self._ended = True
        decoded = _decoded(text)
        if decoded is None:
            self._ended = True
            return ""
        self._length += len(decoded)
        return decoded

    def finish(self) -> tuple[str, str]:
        """The whole text, and what of it `feed` has not returned."""
        text = free_text("".join(self._pieces))
        return text, text[self._length :]


def _decoded(text: str) -> str | None:
    if "\\" not in text:
        return text
    try:
        decoded = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return None
    return decoded if isinstance(decoded, str) else None


def free_text(arguments: str) -> str:
    """The text of a whole input. A model may have named it otherwise, or written it without JSON."""
    given: dict[str, Any] = tool_input(arguments)
    if "__unparsedToolInput" in given:
        return arguments
    text = given.get("input")
    if isinstance(text, str):
        return text
    texts = [value for value in given.values() if isinstance(value, str)]
    return texts[0] if len(given) == 1 and texts else arguments
