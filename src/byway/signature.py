"""The signature of thinking that Byway itself handed out: it says whose it is, and whether its text came back unchanged. Pure.

It is a check and no secret: thinking belongs to the client, who may change it; then it is not passed on as the model's own.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

#: What begins every one. No other server's signature does, so exactly these blocks are kept from Anthropic's servers.
PREFIX: Final = "byway."


def sign(thinking: str) -> str:
    """The signature for a block whose whole text is `thinking`."""
    return PREFIX + base64.urlsafe_b64encode(blake2b(thinking.encode(), digest_size=15).digest()).decode()


def ours(signature: str | None) -> bool:
    """Did Byway make `signature`?"""
    return signature is not None and signature.startswith(PREFIX)


def holds(thinking: str, signature: str | None) -> bool:
    """Is this thinking of ours, as it was handed out?"""
    return signature == sign(thinking)
