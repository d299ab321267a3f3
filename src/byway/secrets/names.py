"""Replaces `${NAME}` in settings, and names the secrets that Byway can store. Pure; `vault` stores them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

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


#: Entries of the secrets of endpoints: this, and the name of the endpoint. No config can name them.
ENDPOINT_PREFIX: Final = "endpoint-"


class SecretEntry(NamedTuple):
    """A secret that Byway can store."""

    name: str
    """What it is called: the search provider or the vendor that requires it, or `oidc`."""
    title: str
    kind: str
    """`search`, `backend` or `login`: which part of the config uses it."""
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
    yield SecretEntry("oidc", "Identity provider", "login", ("BYWAY_OIDC_CLIENT_SECRET",))


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
