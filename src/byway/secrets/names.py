"""Secrets in the settings: `${NAME}` -> value, the names of those that Byway can keep, and what keeps a secret out of
anything printed. Opens no file: they are kept by `vault`."""

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

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "${"
        name, default_given, default = found[1].partition(":-")
        got = environ.get(name.strip(), "")
        if not got and not default_given:
            missing.append(name.strip())
        return got or default

    return _VARIABLE.sub(value, text), tuple(dict.fromkeys(missing))


def literal(text: str) -> str:
    """How `text` is written in a config so that it stays what it is: a model's name is somebody else's word, and `${NAME}` in it
    must not become our secret."""
    return text.replace("${", "$${")


def variables_in(text: str) -> set[str]:
    """The variables that a text asks for by `${NAME}`."""
    return {found[1].partition(":-")[0].strip() for found in _VARIABLE.finditer(text) if found[1] is not None}


class SecretEntry(NamedTuple):
    """A secret that Byway can keep for its user."""

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
    """A secret as it may be shown: `sk-…1a2b`; one too short for that wholly hidden."""
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


def _hide(found: re.Match[str]) -> str:
    """A key has digits in it, or is long; words that only begin like one stay. (As a lookahead this would be quadratic.)"""
    return "[secret]" if len(found[0]) >= 24 or _DIGIT.search(found[0]) else found[0]


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it may stand in others' words: itself, in a URL, in base64."""
    return secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")


class Scrubber:
    """Takes the configured secrets, and whatever looks like a key, out of text that others wrote."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= 8 for form in _forms(secret)}
        worth = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, worth)), re.IGNORECASE) if worth else None

    def scrub(self, text: str) -> str:
        """`text` with every secret replaced by `[secret]`."""
        if self._known is not None:
            text = self._known.sub("[secret]", text)
        return _LOOKS.sub(_hide, text)
