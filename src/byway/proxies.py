"""The proxy variables of an environment, and the NO_PROXY that keeps requests to this machine off a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
NO_PROXIES: Final = ("NO_PROXY", "no_proxy")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def has_proxy(environ: Mapping[str, str]) -> bool:
    """Whether a proxy is set."""
    return any(environ.get(name) for name in PROXIES)


def exceptions(environ: Mapping[str, str]) -> list[str]:
    """The entries of NO_PROXY: hosts for which no proxy is used, `*` for all of them."""
    return [entry for name in NO_PROXIES for entry in environ.get(name, "").replace(",", " ").split()]


def merged_no_proxy(environ: Mapping[str, str], *hosts: str) -> str:
    """NO_PROXY with this machine and `hosts` added: clients use a proxy for this machine too (measured with Claude Code)."""
    entries = exceptions(environ)
    return ",".join(dict.fromkeys(entries if "*" in entries else (*entries, *LOOPBACK, *hosts)))
