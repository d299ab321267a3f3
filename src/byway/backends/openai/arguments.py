"""The arguments of a tool call as models write them: JSON that arrives in pieces, and repairs that have one meaning only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from byway.decoding import DECODE_ERRORS

#: What opens or closes something in JSON, and a backslash, which hides the next character (perhaps in the next piece).
_STRUCTURE: Final = re.compile(r'\\.|["{}\[\]\\]', re.DOTALL)
#: The same with what may need a repair: raw control characters, and a comma before a closing bracket.
_REPAIRABLE: Final = re.compile(r'\\.|["{}\[\]]|[\x00-\x1f]|,(?=\s*[}\]])', re.DOTALL)
_QUOTES_AND_CONTROLS: Final = re.compile(r'\\.|"|[\x00-\x1f]', re.DOTALL)
_CLOSERS: Final = {"{": "}", "[": "]"}
#: What may follow a complete object: closing brackets, a fence, and closing tags or special tokens of a template.
SURPLUS: Final = re.compile(r"(?:[\s}\]]|```|</[\w:.-]{1,40}>|<[|\uff5c][^<>]{1,40}[|\uff5c]>)*\Z")
_FENCED: Final = re.compile(r"\s*```(?:json)?\s*(?=\{)")
_SPACE: Final = re.compile(r"\s*")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_BOOLEANS: Final = {"true": "true", "false": "false", "True": "true", "False": "false"}
_scan_value: Final = json.JSONDecoder().raw_decode


class JsonTracker:
    """Follows one JSON value that arrives in pieces: how deep it is nested, and whether a string is open."""

    __slots__ = ("_escaped", "closers", "complete", "in_string")

    def __init__(self) -> None:
        self.complete = False
        """The value has ended, judged by its brackets."""
        self.in_string = False
        self.closers: list[str] = []
        """The brackets that are still missing, innermost last."""
        self._escaped = False

    def feed(self, piece: str, start: int = 0) -> int:
        """Read `piece` from `start` on. Returns where in it the value ends, -1 while it goes on."""
        if start >= len(piece):
            return -1
        skip, self._escaped = int(self._escaped), False
        for match in _STRUCTURE.finditer(piece, start + skip):
            mark = match[0]
            if mark[0] == "\\":
                self._escaped = mark == "\\"
            elif mark == '"':
                self.in_string = not self.in_string
            elif self.in_string:
                continue
            elif mark in _CLOSERS:
                self.closers.append(_CLOSERS[mark])
            elif self.closers:
                self.closers.pop()
                if not self.closers:
                    self.complete = True
                    return match.end()
        return -1

    def escape_controls(self, piece: str) -> str:
        """The next piece, not fed yet, with raw control characters in strings escaped as JSON requires."""
        in_string = self.in_string

        def escape(match: re.Match[str]) -> str:
            nonlocal in_string
            mark = match[0]
            if mark == '"':
                in_string = not in_string
            elif in_string and mark < " ":
                return json.dumps(mark)[1:-1]
            return mark

        skip = int(self._escaped)
        return piece[:skip] + _QUOTES_AND_CONTROLS.sub(escape, piece[skip:])


def decode_json(text: str) -> Any:
    """The value of a JSON text; None for text that is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (UnicodeEncodeError, *DECODE_ERRORS):
        return None


def repaired(text: str) -> str:
    """The JSON text of an object: `text` itself, or repaired where one meaning is left, else `text` unchanged.

    Repairs: an object that was encoded twice, `null`, raw control characters in strings, a comma before a closing
    bracket, doubled braces (`{{"a": 1}}`), missing closing brackets, a code block around the object, and closing
    brackets or tags of a template after its end. A string without its end is not repaired: how it would have continued
    is unknown.
    """
    value = decode_json(text)
    if isinstance(value, dict) or not text.strip():
        return text
    if isinstance(value, str):
        inner = repaired(value)
        return inner if isinstance(decode_json(inner), dict) else text
    if value is None and text.strip() == "null":
        return "{}"
    fence = _FENCED.match(text)
    tidy = _tidy(text[fence.end() :] if fence else text)
    return tidy if tidy is not None and isinstance(decode_json(tidy), dict) else text


def _tidy(text: str) -> str | None:
    """`text` with its brackets, commas and control characters repaired; None where more than that is wrong."""
    parts: list[str] = []
    copied = 0
    in_string = False
    closers: list[str] = []
    for match in _REPAIRABLE.finditer(text):
        mark, replacement = match[0], None
        if mark == '"':
            in_string = not in_string
        elif in_string:
            if mark < " ":
                replacement = json.dumps(mark)[1:-1]
        elif mark == ",":
            replacement = ""
        elif mark == "[":
            closers.append("]")
        elif mark == "{":
            # No key begins with a brace: the outer of two is left out, and so is its closing brace.
            doubled = text.startswith("{", _after_space(text, match.end()))
            closers.append("" if doubled else "}")
            replacement = "" if doubled else None
        elif mark in "}]":
            if not closers:
                return None
            if closers.pop() == "":
                replacement = ""
            if not any(closers):
                # What is left may be closing brackets that were written too many times.
                if not SURPLUS.match(text, match.end()):
                    return None
                end = match.start() if replacement == "" else match.end()
                return "".join(parts) + text[copied:end]
        if replacement is not None:
            parts += (text[copied : match.start()], replacement)
            copied = match.end()
    if in_string:
        return None
    return "".join([*parts, text[copied:], *reversed(closers)])


def with_schema_types(text: str, types: Mapping[str, str]) -> str:
    """The JSON text of an object, with strings converted to the types of its schema where that is exact.

    `types` has the JSON type of each property that takes no string. The text of a list, an object, a number or a
    boolean replaces the string that holds it; all other bytes stay.
    """
    value = decode_json(text)
    if not isinstance(value, dict):
        return text
    literals: dict[str, str] = {}
    for name, kind in types.items():
        held = value.get(name)
        if isinstance(held, str) and (literal := _literal(held, kind)) is not None:
            literals[name] = literal
    if not literals:
        return text
    try:
        return _with_literals(text, literals)
    except (ValueError, IndexError, RecursionError):
        return text


def _literal(text: str, kind: str) -> str | None:
    """The JSON literal that a string stands for where its schema wants `kind`; None where it stands for none."""
    match kind:
        case "integer":
            return text if _INTEGER.match(text) else None
        case "number":
            return text if _NUMBER.match(text) else None
        case "boolean":
            return _BOOLEANS.get(text)
        case "array":
            return text if isinstance(decode_json(text), list) else None
        case "object":
            return text if isinstance(decode_json(text), dict) else None
        case _:
            return None


def _with_literals(text: str, literals: Mapping[str, str]) -> str:
    """`text`, a valid JSON object, with the values of some of its own properties replaced."""
    parts: list[str] = []
    copied = 0
    at = text.index("{") + 1
    while True:
        at = _after_space(text, at)
        if text[at] == "}":
            return "".join([*parts, text[copied:]])
        if text[at] == ",":
            at = _after_space(text, at + 1)
        name, at = _scan_value(text, at)
        at = _after_space(text, _after_space(text, at) + 1)
        _, end = _scan_value(text, at)
        if name in literals:
            parts += (text[copied:at], literals[name])
            copied = end
        at = end


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
