"""Reasoning that a backend wants back: packed into the signature of a thinking block, and unpacked from it. Pure, bounded."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, Final

import msgspec
from msgspec import Struct

#: Bytes of JSON that are carried, and characters that a signature may have for them.
_LARGEST: Final = 1 << 19
_MAX_PACKED: Final = 1 << 17
#: Bytes from which compression is worth its time.
_COMPRESSED: Final = 200
_TEXTS: Final = ("text", "summary", "data")


class Reasoning(Struct, omit_defaults=True):
    """What one thinking block carries for the backend, beside its text."""

    field: str = ""
    """The field in which the backend has sent the text, where its vendor's row names none."""
    details: list[Any] = []
    """`reasoning_details`, as OpenRouter sends them."""
    extra: Any = None
    """`extra_content` of the tool call after the block: Gemini's thought signature."""
    item: Any = None
    """A reasoning item of the Responses API: its id and encrypted content, and the lengths of its texts."""
    phase: str = ""
    """The phase of the message after the block, at the Responses API."""

    def add_details(self, details: Any) -> None:
        """Add the entries of one chunk. Texts of an entry arrive in pieces; its other fields arrive once."""
        for entry in details if isinstance(details, list) else ():
            if not isinstance(entry, dict):
                continue
            last = self.details[-1] if self.details else None
            if last is None or (last.get("index"), last.get("type")) != (entry.get("index"), entry.get("type")):
                self.details.append({name: [value] if name in _TEXTS else value for name, value in entry.items()})
                continue
            for name, value in entry.items():
                if name in _TEXTS:
                    last.setdefault(name, []).append(value)
                elif value is not None:
                    last[name] = value


def pack(reasoning: Reasoning) -> str:
    """The reasoning as URL-safe text; empty when there is none, or more than a signature can carry."""
    details = [
        {name: _joined(value) if name in _TEXTS else value for name, value in entry.items()}
        for entry in reasoning.details
    ]
    data = msgspec.json.encode(Reasoning(reasoning.field, details, reasoning.extra, reasoning.item, reasoning.phase))
    if data == b"{}" or len(data) > _LARGEST:
        return ""
    mark, data = ("z", zlib.compress(data)) if len(data) > _COMPRESSED else ("j", data)
    text = mark + base64.urlsafe_b64encode(data).decode().rstrip("=")
    return text if len(text) <= _MAX_PACKED else ""


def _joined(pieces: list[Any]) -> Any:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if texts else pieces[0]


def unpack(text: str) -> Reasoning | None:
    """The reasoning in `text`; None for anything that `pack` has not made."""
    if not text or len(text) > _MAX_PACKED:
        return None
    try:
        data = base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))
        if text[0] == "z":
            data = zlib.decompressobj().decompress(data, _LARGEST)
        return msgspec.json.decode(data, type=Reasoning)
    except (binascii.Error, ValueError, zlib.error, RecursionError):
        return None
