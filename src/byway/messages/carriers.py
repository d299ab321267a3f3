"""What Byway puts into the opaque `encrypted_content` of Responses items: thinking of any backend, and summaries. Pure.

Clients return the field byte for byte, so a thinking block comes back with the signature that its backend has given it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from hashlib import blake2b
from typing import Any, Final

#: The beginning of everything that Byway puts there. No other server uses it.
MARK: Final = "byway-"
_THINKING: Final = f"{MARK}thinking."
_REDACTED: Final = f"{MARK}redacted."
_SUMMARY: Final = f"{MARK}summary."
#: Characters of a summary: a longer one is no summary.
_LONGEST_SUMMARY: Final = 1 << 20
_SUMMARIZED: Final = "This is a summary of the conversation so far, which it replaces:\n\n{}"


def is_ours(encrypted: Any) -> bool:
    """Return whether Byway has made this `encrypted_content`."""
    return isinstance(encrypted, str) and encrypted.startswith(MARK)


def pack_thinking(thinking: str, signature: str) -> str:
    """The carrier of a thinking block. Its text travels beside it, as the summary: the carrier has a digest of it."""
    return f"{_THINKING}{_digest(thinking)}.{signature}"


def pack_redacted(data: str) -> str:
    """The carrier of a block of redacted thinking."""
    return _REDACTED + data


def unpack(encrypted: Any, summary: Any) -> dict[str, Any] | None:
    """The block of the Messages API that a carrier stands for; None for a foreign one, or with a text that has changed.

    `summary` is that of the item: it has the text.
    """
    if not is_ours(encrypted):
        return None
    if encrypted.startswith(_REDACTED):
        return {"type": "redacted_thinking", "data": encrypted[len(_REDACTED) :]}
    if not encrypted.startswith(_THINKING):
        return None
    digest, _, signature = encrypted[len(_THINKING) :].partition(".")
    thinking = _summary_text(summary)
    if digest != _digest(thinking):
        return None
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def pack_summary(text: str) -> str:
    """The carrier of a summary that replaces a conversation."""
    return _SUMMARY + base64.urlsafe_b64encode(zlib.compress(text.encode("utf-8", "replace"))).decode()


def unpack_summary(encrypted: Any) -> str | None:
    """The summary in a carrier, as a message for the model; None for a carrier of another server, or a damaged one."""
    if not isinstance(encrypted, str) or not encrypted.startswith(_SUMMARY):
        return None
    try:
        data = base64.urlsafe_b64decode(encrypted[len(_SUMMARY) :])
        text = zlib.decompressobj().decompress(data, _LONGEST_SUMMARY).decode("utf-8", "replace")
    except (binascii.Error, ValueError, zlib.error):
        return None
    return _SUMMARIZED.format(text)


def _summary_text(summary: Any) -> str:
    """The text of the field `summary`: one part where Byway has written it."""
    if isinstance(summary, str):
        return summary
    parts = summary if isinstance(summary, list) else []
    return "".join([part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)])


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
