"""The signature of thinking blocks that Byway made: it marks them, and shows whether their text came back unchanged. Pure.

Its key belongs to one backend, so that thinking goes back to that backend only. A changed text is not sent on at all.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

#: The beginning of every signature of Byway. No other server uses it, so exactly these blocks are removed for Anthropic.
PREFIX: Final = "byway."
#: Pieces that are hashed at once: a piece is one token, and a call of the hash costs more than keeping the piece.
_TOGETHER: Final = 64


class Signer:
    """Signs a block whose text arrives in pieces."""

    __slots__ = ("_hash", "_pieces")

    def __init__(self, key: bytes = b"") -> None:
        """`key` belongs to one backend: a signature of another backend does not hold."""
        self._hash = blake2b(digest_size=15, key=key)
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Add the next piece of the text."""
        self._pieces.append(piece)
        if len(self._pieces) == _TOGETHER:
            self._digest()

    def _digest(self) -> None:
        self._hash.update("".join(self._pieces).encode())
        self._pieces.clear()

    def signature(self, payload: str = "") -> str:
        """The signature for all pieces so far, with a payload that it protects too."""
        if payload:
            self.add("\0" + payload)
        self._digest()
        digest = PREFIX + base64.urlsafe_b64encode(self._hash.digest()).decode()
        return f"{digest}.{payload}" if payload else digest


def sign(thinking: str, key: bytes = b"", payload: str = "") -> str:
    """The signature for a block whose whole text is `thinking`."""
    signer = Signer(key)
    signer.add(thinking)
    return signer.signature(payload)


def ours(signature: str | None) -> bool:
    """Return whether Byway made `signature`."""
    return signature is not None and signature.startswith(PREFIX)


def payload(signature: str | None) -> str:
    """What a signature of Byway carries beside its digest."""
    return signature[len(PREFIX) :].partition(".")[2] if signature is not None and ours(signature) else ""


def holds(thinking: str, signature: str | None, key: bytes = b"") -> bool:
    """Return whether Byway signed exactly this text and payload, for the backend of `key`."""
    return signature is not None and compare_digest(
        signature.encode("utf-8", "replace"), sign(thinking, key, payload(signature)).encode()
    )
