"""Makes a diagnosis of this machine: reads the places, the sessions and the endpoints. CLI and page use it; calls block."""

from __future__ import annotations

import asyncio
import datetime
import os
import platform as system
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from byway import __version__, platform
from byway.admin.addresses import listens_wide
from byway.admin.log import read_log
from byway.admin.verify import verify
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders, user_folders
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.variables import EXTRA_CAS
from byway.clients.checks import checks
from byway.clients.doctor import Diagnosis, client_request, diagnose, removed_at, request_finding, requested_models
from byway.clients.facts import GatewayFacts, gateway_facts
from byway.clients.issuereport import IssueFacts, issue_report
from byway.clients.places import Surroundings, survey
from byway.clients.problemlist import ProblemList, problem_list
from byway.clients.report import ClientVersion, ExpectedEndpoint, Finding, version_remark
from byway.clients.sessions import SessionInfo, list_sessions, local_sessions
from byway.clients.signin import connected_sign_in
from byway.clients.signinfindings import KnownSignIn
from byway.display import count
from byway.endpoints.clients import ClientRecord, is_stale, request_restart, running_clients
from byway.endpoints.registry import BYWAY, EndpointError, Endpoints
from byway.gateway import Gateway
from byway.logs import recent_lines
from byway.store import StoreError

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


async def diagnose_machine(gateway: Gateway, *, run_checks: bool = False) -> Diagnosis:
    """The diagnosis of the machine that runs Byway, for its page and API. Raises ClientFileError, EndpointError."""
    data, folders = gateway.services.folder, own_folders()
    surroundings = await asyncio.to_thread(lambda: survey(folders, process=False))
    facts = await gateway_facts(
        gateway, requested_models(surroundings), sign_in=surroundings.sign_in.digest, run_checks=run_checks
    )
    return await asyncio.to_thread(
        lambda: examine(
            data,
            folders,
            # The root has no `.byway` file: the active endpoint counts.
            expected_endpoint(data, os.environ, Path(folders.home.anchor), facts),
            facts,
            surroundings,
        )
    )


class MachineReport(NamedTuple):
    """The problems of Byway and of clients on its machine, and a report about them for an issue."""

    list: ProblemList
    text: str
    problem: str
    """Why the settings of clients could not be read; empty when they were."""


async def machine_report(gateway: Gateway) -> MachineReport:
    """Run all checks."""
    problem = ""
    findings: tuple[Finding, ...] = ()
    results = asyncio.create_task(checks(gateway))
    try:
        findings = (await diagnose_machine(gateway)).report.findings
    except (ClientFileError, EndpointError, StoreError) as error:
        problem = gateway.runtime.scrubber.scrub(str(error))
    rows = problem_list(await results, findings)
    home, hosts = str(platform.expand_user("~")), _hosts(gateway)
    text = issue_report(_issue_facts(gateway, rows), gateway.runtime.scrubber.scrub, home, hosts)
    return MachineReport(rows, text, problem)


def _issue_facts(gateway: Gateway, rows: ProblemList) -> IssueFacts:
    runtime, services = gateway.runtime, gateway.services
    wide = listens_wide(services.addresses)
    required = "keys required" if runtime.keyring.blocking else "no key required"
    scheme = "https" if gateway.certificate is not None else "http"
    warnings = len(runtime.config.warnings)
    state = "rejected, the last valid one is used" if gateway.config_problem else f"valid, {count(warnings, 'warning')}"
    lines = read_log(recent_lines(), gateway.requests, level="warning", limit=20).lines
    return IssueFacts(
        __version__,
        system.python_version(),
        f"{system.system()} {system.machine()}",
        f"{scheme} {'on the network' if wide else 'on this machine'}, {required}",
        state,
        [(backend.vendor.title, backend.state) for backend in runtime.backends.values()],
        rows,
        [f"{_utc(line.at)} {line.level} {line.message} {line.text}" for line in lines],
    )


def _hosts(gateway: Gateway) -> set[str]:
    """The hosts that the config names, which errors repeat without a URL around them."""
    config = gateway.runtime.config
    urls = [backend.url or "" for backend in config.backends]
    urls += [config.web_search.base_url or "", config.server.public_url or ""]
    return {host for url in urls if (host := urlsplit(url).hostname)}


def _utc(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}"


def own_folders() -> UserFolders:
    """The folders of the user that runs Byway, whose working folder is the home."""
    return user_folders(platform.expand_user("~"), os.environ)


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
