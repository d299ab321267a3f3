"""Finds what keeps Claude Code from the https of this Byway: trust, names, and a certificate that has changed since a sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from byway.clientfiles.variables import BASE_URL, EXTRA_CAS
from byway.clients.facts import GatewayFacts
from byway.clients.places import Surroundings
from byway.clients.report import ExpectedEndpoint, Finding
from byway.endpoints.address import same_server, same_url

#: Bytes of a file of certificates.
_FILE_LIMIT = 4 << 20


def certificate_findings(
    surroundings: Surroundings, expected: ExpectedEndpoint, facts: GatewayFacts | None
) -> Iterator[Finding]:
    """The findings; none while Byway serves http, and for clients that use another endpoint."""
    certificate = facts.certificate if facts is not None else None
    signed_in = surroundings.gateway_login
    url = signed_in or surroundings.effective(BASE_URL)
    if certificate is None or not expected.is_byway or not url.startswith("https:"):
        return
    host = urlsplit(url).hostname or ""
    if not (same_url(url, expected.url) or same_server(url, expected.url)):
        return
    if certificate.trust:
        yield from _trust(surroundings.effective(EXTRA_CAS), certificate.trust)
    if host not in (*certificate.names, *certificate.addresses):
        yield Finding(
            "certificate-names",
            "problem",
            "The certificate of Byway does not contain the host of the URL",
            f"Claude Code connects to {host}. The certificate is for {', '.join((*certificate.names, *certificate.addresses))}.",
            advice="Use one of these names, or add the name: byway config set server.allowed_hosts NAME --append",
        )
    pinned = surroundings.sign_in.pinned.replace(":", "").lower()
    if signed_in and pinned and pinned != certificate.fingerprint:
        yield Finding(
            "certificate-changed",
            "problem",
            "The certificate of Byway has changed since Claude Code signed in",
            "Claude Code accepts only the one that it saw at its sign-in: it cannot renew its tokens, and starts signed out.",
            advice="Sign in again: byway connect --sign-in, or /login in Claude Code",
        )


def _trust(file: str, trust: str) -> Iterator[Finding]:
    """`file` is what Claude Code trusts, `trust` what it has to trust."""
    title = "Claude Code does not trust the certificate of Byway"
    if not file:
        yield Finding("certificate-trust", "problem", title, f"{EXTRA_CAS} is not set.", f"set {EXTRA_CAS} to {trust}")
    elif not _contains(Path(file), Path(trust)):
        yield Finding(
            "certificate-trust",
            "problem",
            title,
            f"{EXTRA_CAS} names {file}, which does not contain the certificate authority of Byway.",
            advice=f"Connect again: byway connect. Or add it yourself: byway tls export >> {file}",
        )


def _contains(file: Path, trust: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return trust.read_bytes().strip() in opened.read(_FILE_LIMIT)
    except OSError:
        return False
