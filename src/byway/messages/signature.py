"""The signature of thinking blocks that Byway made: it marks them, and shows whether their text came back unchanged. Pure.

It is a checksum without a secret: a client may change its thinking, which is then not sent on as the model's own.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

#: The beginning of every signature of Byway. No other server uses it, so exactly these blocks are removed for Anthropic.
PREFIX: Final = "byway."
#: Pieces that are hashed at once: a piece is one token, and a call of the hash costs more than keeping the piece.
_TOGETHER: Final = 64


class Signer:
    """Signs a block whose text arrives in pieces."""

    __slots__ = ("_hash", "_pieces")

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=15)
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Add the next piece of the text."""
        self._pieces.append(piece)
        if len(self._pieces) == _TOGETHER:
            self._digest()

    def _digest(self) -> None:
        self._hash.update("".join(self._pieces).encode())
        self._pieces.clear()

    def signature(self) -> str:
        """The signature for all pieces so far."""
        self._digest()
        return PREFIX + base64.urlsafe_b64encode(self._hash.digest()).decode()


def sign(thinking: str) -> str:
    """The signature for a block whose whole text is `thinking`."""
    signer = Signer()
    signer.add(thinking)
    return signer.signature()


def ours(signature: str | None) -> bool:
    """Return whether Byway made `signature`."""
    return signature is not None and signature.startswith(PREFIX)


def holds(thinking: str, signature: str | None) -> bool:
    """Return whether Byway signed exactly this text."""
    return signature == sign(thinking)
