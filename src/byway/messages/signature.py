"""The signature of thinking that Byway itself handed out: it says whose it is, and whether its text came back unchanged. Pure.

It is a check and no secret: thinking belongs to the client, who may change it; then it is not passed on as the model's own.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

#: What begins every one. No other server's signature does, so exactly these blocks are kept from Anthropic's servers.
PREFIX: Final = "byway."
#: So many pieces are hashed at once: each is a token, and hashing costs more than keeping it for a while.
_TOGETHER: Final = 64


class Signer:
    """Signs a block whose text comes in pieces."""

    __slots__ = ("_hash", "_pieces")

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=15)
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """The next piece of the text."""
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
    """Did Byway make `signature`?"""
    return signature is not None and signature.startswith(PREFIX)


def holds(thinking: str, signature: str | None) -> bool:
    """Is this thinking of ours, as it was handed out?"""
    return signature == sign(thinking)
