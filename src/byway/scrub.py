"""Removes secrets from text that other programs wrote: errors, logs, names. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote

#: Keys by their looks: OpenAI, Anthropic and others (`sk-`), xAI, Groq, Hugging Face, GitHub, Google, AWS, any bearer.
_LOOKS: Final = re.compile(
    r"\b(?:sk|xai|gsk|hf|ghp)[-_][A-Za-z0-9_\-]{12,}"
    r"|\bAIza[0-9A-Za-z_\-]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=\b[Bb]earer )[A-Za-z0-9._~+/\-]{8,}=*"
)
_DIGIT: Final = re.compile("[0-9]")
#: Names whose values are credentials, or may contain some.
_SECRET_NAME: Final = re.compile(
    r"key\b|_key|apikey|token|secret|passw|credential|authorization|auth\b|cookie|headers\b|bearer|\bpat\b|private",
    re.IGNORECASE,
)
#: Names that match by chance, or that hold a command or a number.
_PLAIN_NAME: Final = re.compile(r"max_.*tokens|_tokens\b|keybinding|keymap|authscheme", re.IGNORECASE)
_LONGEST_NAME: Final = 200


def _looks_like_key(text: str) -> bool:
    """It has digits or is long. (As a lookahead in the pattern this would be quadratic.)"""
    return len(text) >= 24 or _DIGIT.search(text) is not None


def _hide(match: re.Match[str]) -> str:
    return "[secret]" if _looks_like_key(match[0]) else match[0]


def _forms(secret: str) -> tuple[str, ...]:
    """The forms in which a secret can appear in a text: plain, in a URL, in base64, in JSON."""
    in_base64 = base64.b64encode(secret.encode()).decode().rstrip("=")
    return (
        secret,
        quote(secret, safe=""),
        in_base64,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    )


def is_secret_name(name: str) -> bool:
    """Does a setting or variable of this name hold a credential?"""
    name = name[:_LONGEST_NAME]
    return bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)


class Scrubber:
    """Removes the configured secrets, and everything that looks like a key, from text of other programs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= 8 for form in _forms(secret)}
        worth = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, worth)), re.IGNORECASE) if worth else None

    def scrub(self, text: str) -> str:
        """`text` with every secret replaced by `[secret]`."""
        if self._known is not None:
            text = self._known.sub("[secret]", text)
        return _LOOKS.sub(_hide, text)

    def replace(self, text: str, make: Callable[[str], str]) -> str:
        """`text` with every secret replaced by what `make` returns for it."""
        if self._known is not None:
            text = self._known.sub(lambda match: make(match[0]), text)
        return _LOOKS.sub(lambda match: make(match[0]) if _looks_like_key(match[0]) else match[0], text)
