"""Replaces `${NAME}` in settings, names the secrets that Byway can store, and removes secrets from text. Pure; `vault` stores
them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from byway.backends.vendors import VENDORS
from byway.providers.registry import PROVIDERS

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}")


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """`text` with each `${NAME}` and `${NAME:-default}` replaced, and the names that are not set (or empty).

    `$${` stands for a literal `${`. What comes in is not looked at again. A missing name leaves nothing in its place.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        name, default_given, default = match[1].partition(":-")
        got = environ.get(name.strip(), "")
        if not got and not default_given:
            missing.append(name.strip())
        return got or default

    return _VARIABLE.sub(value, text), tuple(dict.fromkeys(missing))


def literal(text: str) -> str:
    """Escape `text` for a config, so that a `${NAME}` in the name of a model is not replaced by a secret."""
    return text.replace("${", "$${")


def variables_in(text: str) -> set[str]:
    """Return the names of the variables in a text."""
    return {match[1].partition(":-")[0].strip() for match in _VARIABLE.finditer(text) if match[1] is not None}


class SecretEntry(NamedTuple):
    """A secret that Byway can store."""

    name: str
    """What it is called: the search provider or the vendor that wants it."""
    title: str
    kind: str
    """`search` or `backend`: which part of the config uses it."""
    variables: tuple[str, ...]
    """The variables that mean it in a config, our own first."""

    @property
    def variable(self) -> str:
        """The variable that a config should name."""
        return self.variables[0]


def _entries() -> Iterable[SecretEntry]:
    for name, provider in PROVIDERS.items():
        if provider.INFO.keyed:
            yield SecretEntry(name, provider.INFO.title, "search", (_variable(name), *provider.INFO.variables))
    for row in VENDORS.values():
        if not row.self_hosted:
            yield SecretEntry(row.name, row.title, "backend", (_variable(row.name),))


def _variable(name: str) -> str:
    return f"BYWAY_{name.upper()}_API_KEY"


ENTRIES: Final[dict[str, SecretEntry]] = {entry.name: entry for entry in _entries()}
ENTRY_OF_VARIABLE: Final[dict[str, SecretEntry]] = {
    variable: entry for entry in ENTRIES.values() for variable in entry.variables
}
"""By the variables that mean them."""


def mask(secret: str) -> str:
    """Shorten a secret for display: `sk-…1a2b`. A short secret is hidden entirely."""
    if len(secret) < 16:
        return "***"
    prefix = re.match(r"[a-z]{2,6}-", secret)
    return f"{prefix[0] if prefix else ''}…{secret[-4:]}"


#: Keys by their looks: OpenAI, Anthropic and others (`sk-`), xAI, Groq, Hugging Face, GitHub, Google, AWS, any bearer.
_LOOKS: Final = re.compile(
    r"\b(?:sk|xai|gsk|hf|ghp)[-_][A-Za-z0-9_\-]{12,}"
    r"|\bAIza[0-9A-Za-z_\-]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=\b[Bb]earer )[A-Za-z0-9._~+/\-]{8,}=*"
)
_DIGIT: Final = re.compile("[0-9]")


def _hide(match: re.Match[str]) -> str:
    """Hide what looks like a key: it has digits or is long. (As a lookahead in the pattern this would be quadratic.)"""
    return "[secret]" if len(match[0]) >= 24 or _DIGIT.search(match[0]) else match[0]


def _forms(secret: str) -> tuple[str, ...]:
    """The forms in which a secret can appear in a text: plain, in a URL, in base64."""
    return secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")


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
