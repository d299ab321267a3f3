"""`byway doctor`: finds what keeps clients on this machine from their endpoint, and fixes it after one key."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from byway import platform
from byway.cli import client
from byway.cli.clientchange import confirm, explained, make, show
from byway.cli.connect import client_values
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, print_json, print_table
from byway.cli.service import is_installed
from byway.clientfiles.folders import UserFolders, user_folders
from byway.clientfiles.ledger import Ledger
from byway.clients import connect
from byway.clients.diagnosis import examine, expected_endpoint, installed_version, restart_hosted, with_test_request
from byway.clients.doctor import Diagnosis, requested_models
from byway.clients.facts import GatewayFacts
from byway.clients.fixes import FIXES
from byway.clients.places import survey
from byway.clients.problemlist import problem_list
from byway.clients.report import DoctorReport, Finding
from byway.display import moment
from byway.endpoints.registry import EndpointError
from byway.launch.finding import find_claude

_COLOURS = {"problem": "red", "warning": "yellow", "note": None}
_OPTION = "--fix"
#: Fixes that need a key also with that option.
_DISTURBING = ("restart", "require-keys")
#: Seconds that a fix or a report may take: it waits for backends.
_SECONDS = 60.0
_STATES = {"good": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.option(
    "--endpoint", "name", metavar="NAME", help="The endpoint. [default: the one of this folder, else the active one]"
)
@click.option(_OPTION, is_flag=True, help="Make every fix without a question.")
@click.option("--report", "for_issue", is_flag=True, help="Print a report for an issue: no secrets, prompts or hosts.")
@click.option("--all", "everything", is_flag=True, help="Also list places without a value, and checks that are fine.")
@DATA_DIR
@JSON
def command(name: str | None, fix: bool, for_issue: bool, everything: bool, folder: str | None, as_json: bool) -> None:
    """Find what keeps Claude Code and editors from their endpoint. Each fix is shown as a diff and made after one key.

    Reads every place where the endpoint can be set, checks the running Byway, and lists the sessions. The exit code is 1
    when a problem remains.
    """
    data = data_folder(folder)
    if for_issue:
        answer = client.needed_answer(data, "GET", "/byway/doctor/report", _SECONDS)
        if as_json:
            print_json(answer)
        else:
            click.echo(answer["text"], nl=False)
        return
    folders = user_folders(Path.cwd(), os.environ)
    ledger = Ledger(data)
    diagnosis = _diagnose(data, folders, name)
    if as_json and not fix:
        print_json(diagnosis.report)
    else:
        if not as_json:
            _print(diagnosis.report, everything=everything)
        if _fix(ledger, data, folders, diagnosis, name, yes=fix, quiet=as_json):
            diagnosis = _diagnose(data, folders, name)
            if not as_json:
                _print_verdict(diagnosis.report)
        if as_json:
            print_json(diagnosis.report)
    if not diagnosis.report.good:
        raise click.exceptions.Exit(Failure.exit_code)


def _diagnose(data: Path, folders: UserFolders, name: str | None) -> Diagnosis:
    surroundings = survey(folders)
    names = ",".join(quote(model, safe="") for model in requested_models(surroundings))
    answer = client.get(data, f"/byway/doctor?models={names}&sign_in={surroundings.sign_in.digest}")
    facts = msgspec.convert(answer, GatewayFacts) if answer is not None else None
    try:
        expected = expected_endpoint(
            data,
            os.environ,
            folders.project,
            facts,
            name=name,
        )
    except EndpointError as error:
        raise Failure(str(error)) from None
    with explained():
        diagnosis = examine(
            data,
            folders,
            expected,
            facts,
            surroundings,
            versions=installed_version(find_claude(os.environ)),
            starts_at_login=is_installed(data),
        )
    return diagnosis if facts is None else with_test_request(diagnosis, surroundings, expected)


def _fix(
    ledger: Ledger, data: Path, folders: UserFolders, diagnosis: Diagnosis, name: str | None, *, yes: bool, quiet: bool
) -> bool:
    """Offer the fix of each finding and of each check. Returns whether something was changed."""
    changed = _repair(data, diagnosis, yes=yes, quiet=quiet)
    for finding in diagnosis.report.findings:
        if not finding.fix:
            continue
        if finding.restarts:
            changed |= _restart(data, diagnosis, finding, yes=yes, quiet=quiet)
            continue
        with ExitStack() as stack:
            if finding.connects:
                # Without a terminal nothing is changed, so no key is created either.
                dry_run = not yes and not platform.is_terminal(sys.stdin)
                values = stack.enter_context(client_values(data, ledger, folders, name, dry_run=dry_run))
                with explained():
                    prepared = connect.prepare_connect(ledger, [finding.connects], folders, values)
            elif change := diagnosis.fixes.get(finding.id):
                with explained():
                    prepared = connect.prepare_fix(ledger, change)
            else:
                continue
            if not prepared.changes:
                continue
            if not quiet:
                click.echo(f"\n{click.style(finding.title, bold=True)}\n  {finding.fix}:")
                for planned in prepared.shown:
                    show(planned)
            if confirm("Make this change?", yes=yes, option=_OPTION):
                make(ledger, prepared, data, "fix")
                changed = True
    return changed


def _repair(data: Path, diagnosis: Diagnosis, *, yes: bool, quiet: bool) -> bool:
    """Offer the fixes that the running Byway makes itself. `yes` makes none that could stop a client that works."""
    changed = False
    rows = problem_list(diagnosis.report.checks).problems
    for name, headline in {row.repair: row.headline for row in rows if row.repair}.items():
        if yes and name in _DISTURBING:
            continue
        if not quiet:
            click.echo(f"\n{click.style(headline, bold=True)}\n  {FIXES.get(name, name)}.")
        if confirm("Do this now?", yes=yes, option="" if name in _DISTURBING else _OPTION):
            path = f"/byway/doctor/fixes/{quote(name, safe='')}"
            text = client.needed_answer(data, "POST", path, _SECONDS)["text"]
            if not quiet:
                click.echo(f"  {text}")
            changed = True
    return changed


def _restart(data: Path, diagnosis: Diagnosis, finding: Finding, *, yes: bool, quiet: bool) -> bool:
    """Offer the restart of a client that a host owns. Returns whether it was requested."""
    if not quiet:
        click.echo(f"\n{click.style(finding.title, bold=True)}\n  {finding.fix}.")
    if not confirm("Restart it?", yes=yes, option=_OPTION):
        return False
    try:
        return restart_hosted(data, diagnosis.expected, finding.restarts)
    except OSError as error:
        raise Failure(f"The restart was not requested: {error}") from None


def _print(report: DoctorReport, *, everything: bool) -> None:
    click.echo(f"Endpoint: {report.endpoint} {report.base_url}".rstrip())
    rows = [("", "PLACE", "BASE URL", "CREDENTIAL", "MODEL", "FILE")]
    rows += [
        ("*" if row.wins else "", row.title, row.base_url, row.credential, row.model, row.file)
        for row in report.places
        if everything or row.base_url or row.credential or row.model or row.problem
    ]
    if len(rows) > 1:
        click.echo("\nPlaces, the strongest first (* Claude Code uses this base URL):")
        print_table(rows)
    if report.sessions:
        click.echo("\nSessions:")
        _print_sessions(report)
    checks = problem_list(report.checks)
    listed = [*checks.problems, *((*checks.notes, *checks.healthy) if everything else ())]
    if listed:
        click.echo("\nChecks of Byway:")
        for row in listed:
            headline = click.style(row.headline, fg=_STATES.get(row.state))
            click.echo(f"  {headline}. {row.text}".rstrip() + (f" {row.advice}" if row.advice else ""))
            for item in row.items:
                click.echo(f"    {item.title}{f': {item.text}' if item.text else ''}")
    _print_verdict(report)


def _print_sessions(report: DoctorReport) -> None:
    rows = [("SESSION", "CLIENT", "SINCE", "STATE", "REQUESTS", "FOLDER", "REMARK")]
    for session in report.sessions:
        client_name = f"{session.client} {session.version}".strip() or "another machine"
        state = f"{session.arrival}{', stale' if session.stale else ''}"
        requests = str(session.requests or "")
        rows.append(
            (session.id[:8], client_name, moment(session.since), state, requests, session.folder, session.reason)
        )
    print_table(rows)


def _print_verdict(report: DoctorReport) -> None:
    click.echo("")
    for finding in report.findings:
        label = click.style(finding.severity, fg=_COLOURS[finding.severity], bold=True)
        click.echo(f"{label}: {finding.title}\n  {finding.text}")
        if finding.fix:
            click.echo(f"  Fix: {finding.fix}.")
        if finding.advice:
            click.echo(f"  {finding.advice}")
    if not report.findings:
        click.echo(click.style("No problems found.", fg="green"))
