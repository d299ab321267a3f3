"""Makes a diagnosis of this machine: reads the places, the sessions and the endpoints. CLI and page use it; calls block."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from byway.admin.verify import verify
from byway.clientfiles.folders import UserFolders
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.variables import EXTRA_CAS
from byway.clients.doctor import Diagnosis, client_request, diagnose, removed_at, request_finding
from byway.clients.facts import GatewayFacts
from byway.clients.places import Surroundings, survey
from byway.clients.report import ClientVersion, ExpectedEndpoint, version_remark
from byway.clients.sessions import SessionInfo, list_sessions, local_sessions
from byway.clients.signin import connected_sign_in
from byway.clients.signinfindings import KnownSignIn
from byway.endpoints.clients import ClientRecord, is_stale, request_restart, running_clients
from byway.endpoints.registry import BYWAY, EndpointError, Endpoints

#: Findings that already explain why a request fails.
_EXPLAINED: Final = frozenset(
    ("not-running", "no-credential", "certificate-trust", "certificate-names", "model:ANTHROPIC_MODEL", "model:model")
)
#: The name of the endpoint while endpoints are off.
ANTHROPIC: Final = "Anthropic"
#: Seconds that `claude --version` may take.
_VERSION_SECONDS: Final = 10.0


def expected_endpoint(
    data: Path,
    environ: Mapping[str, str],
    project: Path,
    facts: GatewayFacts | None,
    *,
    name: str | None = None,
) -> ExpectedEndpoint:
    """The endpoint that clients in `project` should use. `facts`: None while Byway is not running. Raises EndpointError."""
    endpoints = Endpoints(data, environ)
    selection = endpoints.select(project, name)
    if selection.name == BYWAY:
        if facts is None:
            return ExpectedEndpoint(BYWAY, "")
        return ExpectedEndpoint(BYWAY, facts.url or "", True, facts.keys_required, facts.client_credential)
    if not selection.name:
        return ExpectedEndpoint(ANTHROPIC, "", False)
    endpoint = endpoints.get(selection.name)
    return ExpectedEndpoint(endpoint.name, endpoint.check().url, False, endpoint.credential != "none")


def sessions_of(
    data: Path, surroundings: Surroundings, expected: ExpectedEndpoint, facts: GatewayFacts | None
) -> list[SessionInfo]:
    """Every session of this machine and of this Byway. Raises ClientFileError."""
    return list_sessions(
        local_sessions(surroundings.folders.claude),
        facts.sessions if facts else (),
        surroundings,
        expected.url,
        removed_at(Ledger(data).read().history),
        running_clients(data, clean=False).running,
    )


def examine(
    data: Path,
    folders: UserFolders,
    expected: ExpectedEndpoint,
    facts: GatewayFacts | None,
    surroundings: Surroundings | None = None,
    *,
    versions: Sequence[ClientVersion] = (),
    starts_at_login: bool | None = None,
) -> Diagnosis:
    """Compare this machine with the endpoint. `starts_at_login`: Byway is a service. Raises ClientFileError."""
    surroundings = surroundings or survey(folders)
    sessions = sessions_of(data, surroundings, expected, facts)
    seen = {version.version for version in versions}
    others = {session.version: session for session in sessions if session.version and session.version not in seen}
    every = [
        *versions,
        *(
            ClientVersion(f"process {session.pid}", version, version_remark(version))
            for version, session in others.items()
        ),
    ]
    receipt = connected_sign_in(Ledger(data).read(), folders)
    known = KnownSignIn(receipt.key, receipt.base_url) if receipt else KnownSignIn()
    known = known._replace(starts_at_login=starts_at_login)
    return diagnose(surroundings, expected, facts, sessions, every, known, stale_hosted(data, expected))


def stale_hosted(data: Path, expected: ExpectedEndpoint) -> list[ClientRecord]:
    """The clients of hosts that do not use the active endpoint. None when `expected` is another one, or unknown."""
    try:
        active = Endpoints(data, {}).book().active
    except EndpointError:
        return []
    is_active = expected.name == (active or ANTHROPIC)
    if not is_active or (expected.is_byway and not expected.url):
        return []
    running = running_clients(data, clean=False).running
    return [record for record in running if record.is_hosted and is_stale(record, expected.url)]


def restart_hosted(data: Path, expected: ExpectedEndpoint, id: str) -> bool:
    """Request the restart of a client that `stale_hosted` lists. Returns whether there is one. Raises OSError."""
    for record in stale_hosted(data, expected):
        if record.id == id:
            request_restart(data, record)
            return True
    return False


def with_test_request(diagnosis: Diagnosis, surroundings: Surroundings, expected: ExpectedEndpoint) -> Diagnosis:
    """The diagnosis, with a finding when a request with the client's own URL, credential and model fails."""
    # The login that a client keeps is not known here.
    sent = None if expected.keeps_login else client_request(surroundings, expected)
    if sent is None or any(finding.id in _EXPLAINED for finding in diagnosis.report.findings):
        return diagnosis
    url, credential, model = sent
    # What the client trusts, so that a failure is the one that the user sees.
    trusted = surroundings.effective(EXTRA_CAS)
    verdict = asyncio.run(verify(url, credential, model, extra_cas=(trusted,) if trusted else ()))
    if verdict.good:
        return diagnosis
    finding = request_finding(verdict.summary, verdict.message, verdict.hint)
    report = msgspec.structs.replace(diagnosis.report, findings=(finding, *diagnosis.report.findings))
    return diagnosis._replace(report=report)


def installed_version(program: Path | None) -> list[ClientVersion]:
    """The version of an installed Claude Code; an empty list when there is none or it does not answer."""
    if program is None:
        return []
    path = str(program)
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return []
    version = done.stdout.strip().partition(" ")[0][:40]
    return [ClientVersion(path, version, version_remark(version))] if version else []
