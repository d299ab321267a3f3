"""Finds what is wrong with Claude Code's sign-in to Byway. Changes nothing: `byway connect --sign-in` repairs all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from byway.clients.facts import GatewayFacts
from byway.clients.places import Surroundings
from byway.clients.report import ExpectedEndpoint, Finding, Severity
from byway.codes import MCP_PREFIX
from byway.endpoints.address import same_url, shown_url

_AGAIN: Final = "Sign in again: byway connect --sign-in"


class KnownSignIn(NamedTuple):
    """What Byway knows of the sign-in beside Claude Code's files."""

    id: str = ""
    """The id that `byway connect --sign-in` has kept; empty after a sign-in by hand."""
    base_url: str = ""
    """The base URL that it has written."""
    starts_at_login: bool | None = None
    """Byway is installed as a service; None when that is not known."""


def uses_sign_in(surroundings: Surroundings, expected: ExpectedEndpoint, known: KnownSignIn) -> bool:
    """Does Claude Code send its requests to this Byway because it is signed in, whatever base URL its settings name?"""
    url = expected.url or known.base_url
    if not expected.is_byway or not url:
        return False
    if same_url(surroundings.gateway_login, url):
        return True
    # In the keychain of macOS the credentials cannot be seen.
    return surroundings.folders.system == "macos" and bool(known.id) and same_url(surroundings.sign_in.url, url)


def sign_in_findings(
    surroundings: Surroundings, expected: ExpectedEndpoint, facts: GatewayFacts | None, known: KnownSignIn
) -> Iterator[Finding]:
    """The findings; none where Claude Code neither is signed in to this Byway nor should be."""
    is_in = uses_sign_in(surroundings, expected, known)
    is_set_up = bool(expected.url) and same_url(surroundings.sign_in.url, expected.url)
    if not expected.is_byway or not (is_in or is_set_up or known.id):
        return
    if facts is not None:
        yield from _state(surroundings, expected, facts, known, is_in=is_in, is_set_up=is_set_up)
    if is_in and known.starts_at_login is False:
        yield _finding(
            "sign-in-service",
            "warning",
            "Claude Code does not start while Byway is stopped",
            "It is signed in, so it reads its settings from Byway at each start. Byway does not start at login.",
            "Start Byway at login: byway service install",
        )
    managed = surroundings.of("managed")
    if managed is not None and managed.exists:
        yield _finding(
            "sign-in-managed",
            "warning",
            "Managed settings may prevent the sign-in",
            f"{managed.file} exists, so Claude Code ignores forceLoginMethod and forceLoginGatewayUrl in the user settings.",
            "Ask the administrator to set both there.",
        )


def _state(
    surroundings: Surroundings,
    expected: ExpectedEndpoint,
    facts: GatewayFacts,
    known: KnownSignIn,
    *,
    is_in: bool,
    is_set_up: bool,
) -> Iterator[Finding]:
    if not is_set_up:
        url = surroundings.sign_in.url
        yield _finding(
            "sign-in-settings",
            "warning" if is_in else "problem",
            "The settings of the sign-in do not fit",
            f"The user settings name {shown_url(url) if url else 'no gateway'}, not {expected.url} (forceLoginMethod, "
            "forceLoginGatewayUrl). When the sign-in ends, /login does not offer this Byway.",
        )
    elif not is_in and surroundings.folders.system != "macos":
        yield _finding(
            "sign-in-missing",
            "problem",
            "Claude Code is not signed in",
            "Its settings name this Byway, but it has no credentials for it: it shows `Not logged in`.",
        )
    if is_in and known.id and known.id not in facts.sign_ins and not facts.sign_in:
        yield _finding(
            "sign-in-ended",
            "problem",
            "The sign-in of Claude Code has ended",
            f"{known.id} was revoked or has expired. Claude Code does not start, unless you have entered /login since.",
        )
    elif is_in and facts.sign_in and known.id in facts.sign_ins and facts.sign_in != known.id:
        yield _finding(
            "sign-in-left",
            "warning",
            "An earlier sign-in of Claude Code is still valid",
            f"It uses {facts.sign_in} since a /login. {known.id} is not used any more, except by the web search over http.",
            "Use the new one for both, and end the earlier one: byway connect --sign-in",
        )
    elif is_in and facts.web_search:
        yield from _web_search(surroundings, expected, facts.sign_in or known.id)


def _web_search(surroundings: Surroundings, expected: ExpectedEndpoint, sign_in: str) -> Iterator[Finding]:
    """Over http Claude Code has the MCP server only when it is in its own file. `sign_in`: the present one, if known."""
    url, token = surroundings.sign_in.server_url, surroundings.sign_in.server_token
    if expected.url.startswith("https:"):
        return
    if not url or not same_url(url.removesuffix("/mcp"), expected.url):
        yield _finding(
            "sign-in-search",
            "warning",
            "Claude Code has no web search",
            "Its own WebSearch is off while it is signed in, and Byway's MCP server is not among its servers.",
            "Add it: byway connect --sign-in",
        )
    elif sign_in and token.startswith(MCP_PREFIX) and not token.startswith(f"{MCP_PREFIX}{sign_in}"):
        yield _finding(
            "sign-in-search",
            "warning",
            "The web search of Claude Code belongs to an earlier sign-in",
            "The token of Byway's MCP server in Claude Code's file has ended.",
            "Replace it: byway connect --sign-in",
        )


def _finding(id: str, severity: Severity, title: str, text: str, advice: str = _AGAIN) -> Finding:
    return Finding(id, severity, title, text, advice=advice)
