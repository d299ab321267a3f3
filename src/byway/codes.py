"""Codes that people type, and the parts of keys and tokens: how they begin, random bytes as text, hashes. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NamedTuple

#: The beginning of every key that Byway creates, and of the tokens of a client that is signed in.
KEY_PREFIX: Final = "sk-byway-"
ACCESS_PREFIX: Final = f"{KEY_PREFIX}at-"
REFRESH_PREFIX: Final = f"{KEY_PREFIX}rt-"
MCP_PREFIX: Final = f"{KEY_PREFIX}mt-"
#: Characters of a typed code that are read. The longest code has 14.
_TYPED_LIMIT: Final = 40
_NOT_IN_CODE: Final = re.compile(r"[\s-]+")


class CodeForm(NamedTuple):
    """The form of a code that a person can compare and type: groups of four letters, such as `WDJB-MJHT`."""

    letters: str
    length: int

    def new(self, randomness: bytes) -> str:
        """A code made of random bytes, of which there must be more than a code has random bits."""
        number = int.from_bytes(randomness)
        chosen = []
        for _ in range(self.length):
            number, letter = divmod(number, len(self.letters))
            chosen.append(self.letters[letter])
        return self._grouped("".join(chosen))

    def typed(self, text: str) -> str:
        """A code as a person types it, in any case, with or without hyphens; "" when it has not this form."""
        text = _NOT_IN_CODE.sub("", text[:_TYPED_LIMIT]).upper()
        if len(text) != self.length or any(letter not in self.letters for letter in text):
            return ""
        return self._grouped(text)

    def _grouped(self, text: str) -> str:
        return "-".join(text[at : at + 4] for at in range(0, self.length, 4))


def base64url(data: bytes) -> str:
    """Bytes as letters, digits, hyphens and underscores (RFC 4648, section 5), without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def text_digest(text: str) -> bytes:
    """The SHA-256 by which a secret text is known. Any text has one, also one that is not valid Unicode."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
