"""Finds what keeps clients on this machine from their endpoint, and a fix for each conflict. Changes nothing.

The rules of Claude Code are measured with 2.1.316 and 2.1.329.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from byway.access.keys import KEY_PREFIX
from byway.admin.exports import ANY_KEY
from byway.clientfiles.changes import Setting
from byway.clientfiles.jsonc import Member
from byway.clientfiles.plans import FIX, FileChange
from byway.clientfiles.variables import (
    API_KEY,
    AUTH_TOKEN,
    BASE_URL,
    CREDENTIALS,
    EXTRA_CAS,
    MODEL_VARIABLES,
    PROVIDER_FLAGS,
)
from byway.clients.certificatefindings import certificate_findings
from byway.clients.connect import no_proxy
from byway.clients.facts import GatewayFacts
from byway.clients.modelfindings import small_model_findings
from byway.clients.places import CLAUDE_ORDER, Place, PlacedValue, PlaceKind, Surroundings
from byway.clients.report import (
    ClientVersion,
    DoctorReport,
    ExpectedEndpoint,
    Finding,
    Severity,
    place_rows,
)
from byway.clients.sessions import SessionInfo
from byway.clients.signinfindings import KnownSignIn, sign_in_findings, uses_sign_in
from byway.endpoints.address import check_address, same_server, same_url, shown_url
from byway.endpoints.clients import ClientRecord
from byway.proxies import NO_PROXIES, PROXIES, exceptions, has_proxy
from byway.upstream.address import is_self_hosted

#: Claude Code's own names of models, which a settings file may contain.
_CLAUDE_NAMES: Final = ("default", "best", "opusplan", "opus", "sonnet", "haiku", "fable")
_FALSE: Final = ("", "0", "false", "no", "off")
_EDITORS: Final[tuple[PlaceKind, ...]] = ("vscode", "zed", "jetbrains", "desktop")


class Diagnosis(NamedTuple):
    """A report, and the change of each finding that has a fix."""

    report: DoctorReport
    fixes: Mapping[str, FileChange]
    expected: ExpectedEndpoint
    """What the places were compared with."""


class _Suggestion(NamedTuple):
    """A finding, and the change that fixes it."""

    finding: Finding
    change: FileChange | None = None


def client_request(surroundings: Surroundings, expected: ExpectedEndpoint) -> tuple[str, str, str] | None:
    """The base URL, credential and model that Claude Code in a terminal sends to this Byway; None when it uses another URL.

    A test request with them shows what the user would see.
    """
    url = surroundings.effective(BASE_URL)
    if not expected.is_byway or not url or not same_url(url, expected.url):
        return None
    credential = surroundings.effective(API_KEY) or surroundings.effective(AUTH_TOKEN)
    model = surroundings.effective("ANTHROPIC_MODEL") or surroundings.effective("model")
    return expected.url, credential, "sonnet" if model in ("", *_CLAUDE_NAMES) else model


def request_finding(summary: str, message: str, hint: str) -> Finding:
    """The finding of a test request that failed."""
    return Finding("request", "problem", f"A request as Claude Code sends it fails: {summary}", message, advice=hint)


def requested_models(surroundings: Surroundings) -> list[str]:
    """The model names that clients on this machine request by their settings."""
    names = [surroundings.effective(name) for name in (*MODEL_VARIABLES, "model")]
    return [name for name in names if name]


def diagnose(
    surroundings: Surroundings,
    expected: ExpectedEndpoint,
    facts: GatewayFacts | None,
    sessions: Sequence[SessionInfo] = (),
    versions: Sequence[ClientVersion] = (),
    sign_in: KnownSignIn = KnownSignIn(),  # noqa: B008 - a constant
    hosted: Sequence[ClientRecord] = (),
) -> Diagnosis:
    """Compare every place with the endpoint. `facts` is None when Byway is not running.

    `hosted`: the clients of hosts that still use an old endpoint.
    """
    doctor = _Doctor(surroundings, expected, facts, sign_in)
    results = [*doctor.findings(sessions, versions), *map(_old_endpoint, hosted)]
    order = {"problem": 0, "warning": 1, "note": 2}
    results.sort(key=lambda result: order[result.finding.severity])
    report = DoctorReport(
        expected.name,
        expected.url,
        facts is not None,
        tuple(result.finding for result in results),
        tuple(place_rows(surroundings)),
        facts.checks if facts else (),
        tuple(sessions),
        tuple(versions),
    )
    fixes = {result.finding.id: result.change for result in results if result.change is not None}
    return Diagnosis(report, fixes, expected)


class _Doctor:
    """One run: the places, and what they are compared with."""

    def __init__(
        self, surroundings: Surroundings, expected: ExpectedEndpoint, facts: GatewayFacts | None, sign_in: KnownSignIn
    ) -> None:
        self.all = surroundings
        self.expected = expected
        self.facts = facts
        self.sign_in = sign_in
        self._is_signed_in = uses_sign_in(surroundings, expected, sign_in)
        self.user_file = surroundings.folders.claude / "settings.json"

    def findings(self, sessions: Sequence[SessionInfo], versions: Sequence[ClientVersion]) -> Iterator[_Suggestion]:
        yield from self._process()
        yield from self._files()
        yield from self._gateway_login()
        yield from self._certificate()
        yield from map(_Suggestion, sign_in_findings(self.all, self.expected, self.facts, self.sign_in))
        yield from self._provider_flags()
        # A client that is signed in ignores the base URL and its credential. One that should be needs none.
        if not self._is_signed_in and not (self.expected.is_byway and self.sign_in.id):
            yield from self._address()
            yield from self._other_addresses()
            yield from self._editors()
            yield from self._credentials()
        yield from self._proxies()
        yield from self._models()
        yield from map(_Suggestion, small_model_findings(self.expected, self.facts, requested_models(self.all)))
        yield from self._policy()
        yield from self._sessions(sessions)
        yield from self._versions(versions)

    # ---- fixes

    def _change(self, id: str, path: Path, settings: Sequence[Setting], form: Any = "jsonc") -> FileChange:
        return FileChange(f"{FIX}{id}", path, form, tuple(settings), self.expected.name, self.expected.url)

    def _in_user_file(self, id: str, values: Mapping[str, str]) -> FileChange | None:
        """Set variables in the user's settings file: they replace those of a shell (measured)."""
        user = self.all.of("user")
        if user is not None and user.problem:
            return None
        return self._change(id, self.user_file, [Setting(("env", name), value) for name, value in values.items()])

    def _at(self, id: str, place: Place, entry: PlacedValue, value: str) -> FileChange | None:
        """Set a value where it is; disable a line of a profile; replace a variable of this shell by the user's settings."""
        if place.kind == "process":
            return self._in_user_file(id, {entry.name: value})
        if place.file is None or not place.writable:
            return None
        if place.kind == "profile":
            return self._change(id, place.file, [Setting((entry.name,), "", disables=entry.line)], place.form)
        last = entry.path[-1]
        new: Any = {"name": last.name, "value": value} if isinstance(last, Member) else value
        return self._change(id, place.file, [Setting(entry.path, new)])

    def _where(self, place: Place, entry: PlacedValue | None = None) -> str:
        number = f", line {entry.number}" if entry is not None and entry.number else ""
        return f"{place.file}{number}" if place.file else place.title.lower()

    def _problem(
        self, id: str, title: str, text: str, place: Place, entry: PlacedValue, value: str, action: str
    ) -> _Suggestion:
        """A problem with a value, and the fix that sets another one. `action` describes the fix, without the file."""
        change = self._at(id, place, entry, value)
        if change is not None:
            return _Suggestion(Finding(id, "problem", title, text, f"{action} in {change.path}"), change)
        advice = f"Ask the administrator of {place.file}." if place.file else f"Correct {self.user_file} first."
        return _Suggestion(Finding(id, "problem", title, text, advice=advice))

    # ---- checks

    def _process(self) -> Iterator[_Suggestion]:
        if self.expected.is_byway and self.facts is None:
            yield _Suggestion(
                Finding(
                    "not-running",
                    "problem",
                    "Byway is not running",
                    "Claude Code is signed in to it, and does not start without it."
                    if self._is_signed_in
                    else "Clients that use it wait for three minutes before they show an error.",
                    advice="Start it: byway up. To start it at login: byway service install",
                )
            )

    def _files(self) -> Iterator[_Suggestion]:
        for place in self.all.places:
            if place.problem:
                severity: Severity = "problem" if place.kind in CLAUDE_ORDER else "warning"
                yield _Suggestion(
                    Finding(
                        f"file:{place.kind}:{place.title}",
                        severity,
                        f"{place.title} cannot be used",
                        place.problem,
                        advice=f"Open {place.file} and correct it.",
                    )
                )

    def _gateway_login(self) -> Iterator[_Suggestion]:
        url = self.all.gateway_login
        if url and not same_url(url, self.expected.url):
            yield _Suggestion(
                Finding(
                    "gateway-login",
                    "problem",
                    "Claude Code is signed in to another gateway",
                    f"It sends every request to {shown_url(url)}; ANTHROPIC_BASE_URL is ignored.",
                    advice="Sign out: claude auth logout",
                )
            )

    def _certificate(self) -> Iterator[_Suggestion]:
        for finding in certificate_findings(self.all, self.expected, self.facts):
            trust = self.facts.certificate.trust if self.facts and self.facts.certificate else ""
            change = self._in_user_file(finding.id, {EXTRA_CAS: trust}) if finding.fix else None
            yield _Suggestion(finding, change)

    def _provider_flags(self) -> Iterator[_Suggestion]:
        for name in PROVIDER_FLAGS:
            winner = self.all.winner(name)
            if winner is None or winner[1].text.lower() in _FALSE:
                yield from self._flags_of_profiles(name)
                continue
            place, entry = winner
            yield self._problem(
                f"provider:{name}",
                f"{name} bypasses the endpoint",
                f"{self._where(place)} sets it: Claude Code then ignores ANTHROPIC_BASE_URL.",
                place,
                entry,
                "",
                "Set it to an empty value",
            )

    def _flags_of_profiles(self, name: str) -> Iterator[_Suggestion]:
        for place in self.all.places:
            entry = place.get(name) if place.kind == "profile" else None
            if entry is None or entry.text.lower() in _FALSE or self.all.winner(name, CLAUDE_ORDER[:-1]):
                continue
            id = f"provider:{name}:{place.title}"
            yield _Suggestion(
                Finding(
                    id,
                    "problem",
                    f"{name} bypasses the endpoint in new shells",
                    f"{self._where(place, entry)} sets it: Claude Code then ignores ANTHROPIC_BASE_URL.",
                    f"Disable the line in {place.file}",
                ),
                self._at(id, place, entry, ""),
            )

    def _address(self) -> Iterator[_Suggestion]:
        """The base URL that Claude Code uses in a terminal."""
        if not self.expected.url:
            return
        winner = self.all.winner(BASE_URL)
        if winner is None or not winner[1].text:
            if winner is None and any(place.url for place in self.all.places if place.kind == "profile"):
                return
            yield _Suggestion(
                Finding(
                    "not-connected",
                    "problem" if winner else "warning",
                    "Claude Code uses Anthropic",
                    "An empty base URL hides the others." if winner else "No setting names a base URL.",
                    f"Connect Claude Code to {self.expected.name}",
                    connects="claude",
                )
            )
            return
        place, entry = winner
        checked = check_address(entry.text)
        if same_url(entry.text, self.expected.url) and checked.state != "refused":
            yield from self._form(place, entry, "; ".join(checked.repairs))
            return
        if same_server(entry.text, self.expected.url):
            yield from self._form(place, entry, f"its path is not {urlsplit(self.expected.url).path}")
            return
        reason = f" {checked.problem}" if checked.problem else ""
        yield self._problem(
            "address",
            "Claude Code uses another base URL",
            f"{self._where(place)} sets {shown_url(entry.text)}, not {self.expected.url}.{reason}",
            place,
            entry,
            self.expected.url,
            f"Set {self.expected.url}",
        )

    def _form(self, place: Place, entry: PlacedValue, what: str) -> Iterator[_Suggestion]:
        if not what:
            return
        yield self._problem(
            "address-form",
            "The base URL needs a correction",
            f"{self._where(place)} sets {shown_url(entry.text)}: {what}.",
            place,
            entry,
            self.expected.url,
            f"Set {self.expected.url}",
        )

    def _other_addresses(self) -> Iterator[_Suggestion]:
        """Weaker places with another base URL: they apply as soon as the stronger one is gone, or in another folder."""
        winner = self.all.winner(BASE_URL)
        if not self.expected.url:
            return
        for place in self.all.places:
            entry = place.get(BASE_URL)
            is_winner = winner is not None and winner[0] is place
            if entry is None or place.kind in _EDITORS or is_winner or not entry.text:
                continue
            if same_url(entry.text, self.expected.url) or not place.writable:
                continue
            id = f"other:{place.kind}:{place.title}"
            change = self._at(id, place, entry, self.expected.url)
            overridden = winner is not None and winner[0].kind not in ("process",)
            action = (
                f"Disable the line in {place.file}" if place.kind == "profile" else f"Set {self.expected.url} there"
            )
            yield _Suggestion(
                Finding(
                    id,
                    "warning" if overridden or place.kind != "profile" else "problem",
                    f"{place.title}: another base URL",
                    f"{self._where(place, entry)} sets {shown_url(entry.text)}."
                    + (f" {winner[0].title} override it." if overridden and winner else " It applies in new shells."),
                    action if change else "",
                ),
                change,
            )

    def _editors(self) -> Iterator[_Suggestion]:
        for kind in _EDITORS:
            place = self.all.of(kind)
            if place is None or not place.exists or place.problem:
                continue
            if place.get("claudeCode.env"):
                yield _Suggestion(
                    Finding(
                        "vscode-setting",
                        "warning",
                        "VS Code: claudeCode.env has no effect",
                        f"{place.file} sets it. The extension reads claudeCode.environmentVariables.",
                        "Connect VS Code",
                        connects="vscode",
                    )
                )
            entry = place.get(BASE_URL)
            if entry is None or not entry.text or not self.expected.url or same_url(entry.text, self.expected.url):
                continue
            id = f"editor:{kind}"
            change = self._at(id, place, entry, self.expected.url)
            yield _Suggestion(
                Finding(
                    id,
                    "warning",
                    f"{place.title} uses another base URL",
                    f"{place.file} sets {shown_url(entry.text)}. Claude Code's settings files override it, the shell does not.",
                    f"Set {self.expected.url} in {place.file}",
                ),
                change,
            )

    def _credentials(self) -> Iterator[_Suggestion]:
        """Which credentials are sent to the base URL. Without a base URL they go to Anthropic, where they belong."""
        if not self.all.effective(BASE_URL) or not self.expected.url:
            return
        if self.expected.keeps_login and same_url(self.all.effective(BASE_URL), self.expected.url):
            yield from self._replaced_login()
            return
        key, token = self.all.effective(API_KEY), self.all.effective(AUTH_TOKEN)
        helper = self.all.winner("apiKeyHelper")
        if helper is not None and helper[1].text:
            place, entry = helper
            yield self._problem(
                "helper",
                "The output of apiKeyHelper is sent to the endpoint",
                f"{self._where(place)} sets it. Its output is sent together with the other credential.",
                place,
                entry,
                "",
                "Set it to an empty value",
            )
        if not key and not token and not (helper and helper[1].text):
            yield from self._no_credential()
        if key and token and key != token:
            yield from self._two_credentials()
        for name, value in ((API_KEY, key), (AUTH_TOKEN, token)):
            if value.startswith("sk-ant-") and not _is_anthropic(self.all.effective(BASE_URL)):
                yield from self._real_key(name)

    def _replaced_login(self) -> Iterator[_Suggestion]:
        """This Byway forwards the client's own login: a placeholder or a key of Byway must not take its place."""
        for name in CREDENTIALS:
            winner = self.all.winner(name)
            if winner is None or not (winner[1].text == ANY_KEY or winner[1].text.startswith(KEY_PREFIX.decode())):
                continue
            place, entry = winner
            id = f"login-replaced:{name}"
            # The key that Byway requires moves to another header.
            change = None if self.expected.needs_key else self._at(id, place, entry, "")
            yield _Suggestion(
                Finding(
                    id,
                    "problem",
                    "A key replaces the login of Claude Code",
                    f"{self._where(place)} sets {name}, which is sent instead of the login that this Byway forwards.",
                    f"Set {name} to an empty value in {change.path}" if change else "Connect Claude Code",
                    connects="" if change else "claude",
                ),
                change,
            )

    def _no_credential(self) -> Iterator[_Suggestion]:
        winner = self.all.winner(API_KEY)
        is_empty = winner is not None and not winner[1].text
        login = self.all.claude_login
        text = (
            "The token of your claude.ai login is sent to the endpoint."
            if login
            else "Claude Code shows `Not logged in` and sends no request."
        )
        change = None if self.expected.needs_key else self._in_user_file("no-credential", {AUTH_TOKEN: ANY_KEY})
        yield _Suggestion(
            Finding(
                "no-credential",
                "problem",
                "ANTHROPIC_API_KEY is empty" if is_empty else "No credential is set",
                text,
                f"Set a placeholder in {self.user_file}" if change else "Connect Claude Code with a key",
                connects="" if change else "claude",
            ),
            change,
        )

    def _two_credentials(self) -> Iterator[_Suggestion]:
        """The credential that belongs to the stronger place stays; the other one is set to an empty value."""
        ranked = []
        for name in CREDENTIALS:
            winner = self.all.winner(name)
            if winner is not None:
                ranked.append((CLAUDE_ORDER.index(winner[0].kind), name, winner))
        ranked.sort(key=lambda entry: entry[0])
        _, name, (place, entry) = ranked[-1]
        yield self._problem(
            "two-credentials",
            "Two credentials are sent",
            f"ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN are both set, and both are sent. {self._where(place)} sets {name}.",
            place,
            entry,
            "",
            f"Set {name} to an empty value",
        )

    def _real_key(self, name: str) -> Iterator[_Suggestion]:
        winner = self.all.winner(name)
        if winner is None:
            return
        place, entry = winner
        id = f"real-key:{name}"
        change = None if self.expected.needs_key else self._at(id, place, entry, ANY_KEY)
        yield _Suggestion(
            Finding(
                id,
                "problem",
                "A key of Anthropic is sent to another server",
                f"{self._where(place)} sets {name} to a key that looks like Anthropic's.",
                f"Replace it by a placeholder in {change.path}"
                if change
                else "Connect Claude Code with a key of Byway",
                connects="" if change else "claude",
            ),
            change,
        )

    def _proxies(self) -> Iterator[_Suggestion]:
        """A proxy is used for this machine too, unless NO_PROXY names it."""
        url = self.all.effective(BASE_URL)
        if check_address(url).problem:
            url = self.expected.url
        host = urlsplit(url).hostname or ""
        values = {name: value for name in (*PROXIES, *NO_PROXIES) if (value := self.all.effective(name))}
        if not host or not is_self_hosted(url) or not has_proxy(values):
            return
        if not {"*", host}.isdisjoint(exceptions(values)):
            return
        name = next(name for name in PROXIES if values.get(name))
        change = self._in_user_file("proxy", no_proxy(url, values))
        yield _Suggestion(
            Finding(
                "proxy",
                "problem",
                f"{name} is used for the endpoint",
                f"{name} is set, and NO_PROXY does not name {host}: requests to the endpoint go to the proxy.",
                f"Add {host} to NO_PROXY in {self.user_file}" if change else "",
            ),
            change,
        )

    def _models(self) -> Iterator[_Suggestion]:
        """Model names in settings that this Byway does not serve."""
        if self.facts is None or not self.expected.is_byway:
            return
        best = self.facts.served[0] if self.facts.served else ""
        for name in (*MODEL_VARIABLES, "model"):
            winner = self.all.winner(name)
            if winner is None or not winner[1].text:
                continue
            place, entry = winner
            model = entry.text
            if name == "model" and self.all.effective("ANTHROPIC_MODEL"):
                continue
            if self.facts.models.get(model) or model in self.facts.served or model in _CLAUDE_NAMES:
                continue
            id = f"model:{name}"
            change = self._at(id, place, entry, best) if best else None
            yield _Suggestion(
                Finding(
                    id,
                    "problem",
                    f"The model {model[:80]} is not served",
                    f"{self._where(place)} sets {name}, and no backend serves it.",
                    f"Switch to {best} in {change.path}" if change else "",
                    "" if change else "Add a backend that serves it, or set an alias: byway alias set default MODEL",
                ),
                change,
            )
        allowed = self.all.winner("availableModels")
        main = self.all.effective("ANTHROPIC_MODEL") or self.all.effective("model")
        if allowed and isinstance(allowed[1].value, list) and main and main not in allowed[1].value:
            place, entry = allowed
            change = (
                self._change("model-restricted", place.file, [Setting(entry.path, [*entry.value, main])])
                if place.writable and place.file
                else None
            )
            yield _Suggestion(
                Finding(
                    "model-restricted",
                    "problem",
                    f"availableModels does not contain {main[:80]}",
                    f"{self._where(place)} restricts the models: Claude Code uses another one.",
                    f"Add it in {place.file}" if change else "",
                    "" if change else f"Ask the administrator of {place.file}.",
                ),
                change,
            )

    def _policy(self) -> Iterator[_Suggestion]:
        managed = self.all.of("managed")
        entry = managed.get("allowedProviders") if managed else None
        if entry and isinstance(entry.value, list) and "customEndpoint" not in entry.value and managed:
            yield _Suggestion(
                Finding(
                    "policy",
                    "problem",
                    "The administrator forbids other endpoints",
                    f"{managed.file}: allowedProviders does not contain customEndpoint.",
                    advice="Ask the administrator.",
                )
            )

    def _sessions(self, sessions: Sequence[SessionInfo]) -> Iterator[_Suggestion]:
        for session in sessions:
            # What a host owns has a finding of its own, when it is stale.
            if not session.hosted and (session.stale or session.arrival == "elsewhere"):
                yield _Suggestion(
                    Finding(
                        f"session:{session.id[:8]}",
                        "warning",
                        f"The session in {session.folder or 'an unknown folder'} does not use the endpoint",
                        f"Process {session.pid}. {session.reason}",
                        advice="Quit and restart it; `claude --continue` resumes the conversation.",
                    )
                )

    def _versions(self, versions: Sequence[ClientVersion]) -> Iterator[_Suggestion]:
        for version in versions:
            if version.remark:
                yield _Suggestion(
                    Finding(
                        f"version:{version.version}",
                        "note",
                        f"Claude Code {version.version} is old",
                        f"{version.path}: {version.remark}",
                        advice="Update it: npm install -g @anthropic-ai/claude-code@latest (needs Node.js 22).",
                    )
                )


def _old_endpoint(record: ClientRecord) -> _Suggestion:
    return _Suggestion(
        Finding(
            f"client:{record.id}",
            "warning",
            f"The hosted client in {record.folder or 'an unknown folder'} uses an old endpoint",
            f"Its host, process {record.pid}, started it with {record.endpoint or 'Anthropic'}.",
            "Restart it with the active endpoint when its turn ends; the conversation continues",
            restarts=record.id,
        )
    )


def removed_at(history: Sequence[Any]) -> datetime.datetime | None:
    """When Byway last removed the base URL from a settings file of Claude Code; None when it never did."""
    for entry in history:
        if entry.target in ("claude", "project", "local"):
            return entry.at if entry.action == "disconnect" else None
    return None


def _is_anthropic(url: str) -> bool:
    host = urlsplit(check_address(url).url).hostname or ""
    return host == "anthropic.com" or host.endswith(".anthropic.com")
