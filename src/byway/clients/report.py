"""The report of the doctor: places, findings, sessions, checks and versions, as `byway doctor --json` prints it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from byway.admin.exports import ANY_KEY
from byway.clientfiles.variables import API_KEY, AUTH_TOKEN, BASE_URL
from byway.clients.checks import LiveCheck
from byway.clients.places import Place, Surroundings
from byway.clients.sessions import SessionInfo
from byway.endpoints.address import shown_url

Severity = Literal["problem", "warning", "note"]
#: Versions of Claude Code from which on the differences do not exist any more.
_OLD: Final = (2, 1, 300)


class ExpectedEndpoint(NamedTuple):
    """The endpoint that clients should use."""

    name: str
    url: str
    """Empty when it is not known: Byway is not running."""
    is_byway: bool = True
    needs_key: bool = False
    """A placeholder is not accepted."""
    keeps_login: bool = False
    """A client sends its own login: this Byway forwards it."""


class ClientVersion(Struct, frozen=True):
    """An installed Claude Code."""

    path: str
    version: str
    remark: str
    """What differs from the current version; empty when nothing does."""


class PlaceRow(Struct, frozen=True):
    """A place where the endpoint can be set."""

    place: str
    title: str
    file: str
    exists: bool
    base_url: str
    credential: str
    """Which credential it sets, without its value."""
    model: str
    wins: bool
    """Claude Code in a terminal uses its base URL."""
    problem: str = ""


class Finding(Struct, frozen=True):
    """Something that keeps a client from its endpoint, or may do so."""

    id: str
    severity: Severity
    title: str
    text: str
    fix: str = ""
    """What the fix does; empty when there is none that Byway can make."""
    advice: str = ""
    """What to do by hand."""
    connects: str = ""
    """The fix is `byway connect` with this target."""
    restarts: str = ""
    """The fix restarts this client, which a host owns."""


class DoctorReport(Struct, frozen=True):
    """The result of `byway doctor`."""

    endpoint: str
    base_url: str
    running: bool
    """Byway is running."""
    findings: tuple[Finding, ...]
    places: tuple[PlaceRow, ...]
    checks: tuple[LiveCheck, ...]
    sessions: tuple[SessionInfo, ...]
    versions: tuple[ClientVersion, ...]

    @property
    def good(self) -> bool:
        """No problem was found."""
        return not any(finding.severity == "problem" for finding in self.findings) and not any(
            check.state == "bad" for check in self.checks
        )


def place_rows(surroundings: Surroundings) -> Iterator[PlaceRow]:
    """Each place as text, without secrets."""
    winner = surroundings.winner(BASE_URL)
    for place in surroundings.places:
        model = place.get("ANTHROPIC_MODEL") or place.get("model")
        yield PlaceRow(
            place.kind,
            place.title,
            f"{place.file or ''}",
            place.exists,
            shown_url(place.url) if place.url else "",
            _credential_text(place),
            model.text if model else "",
            bool(winner and winner[0] is place),
            place.problem,
        )


def _credential_text(place: Place) -> str:
    parts = []
    for name, short in ((AUTH_TOKEN, "token"), (API_KEY, "key"), ("apiKeyHelper", "helper")):
        entry = place.get(name)
        if entry is None:
            continue
        state = "empty" if not entry.text else "placeholder" if entry.text == ANY_KEY else "set"
        parts.append(f"{short} {state}")
    return ", ".join(parts)


def version_remark(version: str) -> str:
    """What differs in an old version of Claude Code; empty for a current one (measured, 2.1.197 and 2.1.329)."""
    try:
        numbers = tuple(int(part) for part in version.split(".")[:3])
    except ValueError:
        return ""
    if numbers >= _OLD:
        return ""
    return (
        "it requests claude-haiku-4-5-20251001 for small calls and subagents, assumes a window of 200,000 tokens for other "
        "models, and has no tool search with a base URL of its own."
    )
