"""The input of a tool call as models write it: JSON that comes in pieces, and what is safe to mend in it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

#: What can open or close something in JSON, and what hides it: an escape, whose other half may be in the next piece.
_MARKS: Final = re.compile(r'\\.|["{}\[\]\\]', re.DOTALL)
_LOOSE: Final = re.compile(r'\\.|"|[\x00-\x1f]|,(?=\s*[}\]])', re.DOTALL)
_CLOSES: Final = {"{": "}", "[": "]"}


class Braces:
    """Follows one JSON value that comes in pieces: how deep it is, and whether a string is open."""

    __slots__ = ("_escaped", "missing", "quoted", "whole")

    def __init__(self) -> None:
        self.whole = False
        """The value is complete, as far as braces tell."""
        self.quoted = False
        self.missing: list[str] = []
        """What has to close it, innermost last."""
        self._escaped = False

    def feed(self, piece: str) -> int:
        """Where in `piece` the value ends, -1 while it goes on. Each piece is looked at once."""
        if not piece:
            return -1
        skip, self._escaped = int(self._escaped), False
        for found in _MARKS.finditer(piece, skip):
            mark = found[0]
            if mark[0] == "\\":
                self._escaped = mark == "\\"
            elif mark == '"':
                self.quoted = not self.quoted
            elif self.quoted:
                continue
            elif mark in _CLOSES:
                self.missing.append(_CLOSES[mark])
            elif self.missing:
                self.missing.pop()
                if not self.missing:
                    self.whole = True
                    return found.end()
        return -1

    def clean(self, piece: str) -> str:
        """The next piece with raw control characters in strings escaped, as JSON wants them. Not fed yet."""
        quoted = self.quoted

        def one(found: re.Match[str]) -> str:
            nonlocal quoted
            mark = found[0]
            if mark == '"':
                quoted = not quoted
            elif quoted and mark < " ":
                return json.dumps(mark)[1:-1]
            return mark

        skip = int(self._escaped)
        return piece[:skip] + _LOOSE.sub(one, piece[skip:])


def decoded(text: str) -> Any:
    """The JSON value that `text` is; None for what is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def mended(text: str) -> str:
    """The JSON text of an object: `text` itself, or mended where only one meaning is left, else `text` as it is.

    Mended are: an object that was encoded twice, `null`, raw control characters in strings, a comma before a closing
    brace, and missing closing braces. A string without its end is left alone: nobody knows how it would have gone on.
    """
    value = decoded(text)
    if isinstance(value, dict) or not text.strip():
        return text
    if isinstance(value, str):
        inner = mended(value)
        return inner if isinstance(decoded(inner), dict) else text
    if value is None and text.strip() == "null":
        return "{}"
    braces = Braces()
    quoted = False

    def one(found: re.Match[str]) -> str:
        nonlocal quoted
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif mark == ",":
            return mark if quoted else ""
        elif quoted and mark < " ":
            return json.dumps(mark)[1:-1]
        return mark

    tidy = _LOOSE.sub(one, text)
    braces.feed(tidy)
    if braces.quoted:
        return text
    tidy += "".join(reversed(braces.missing))
    return tidy if isinstance(decoded(tidy), dict) else text
