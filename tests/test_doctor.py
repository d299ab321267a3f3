"""The doctor: a home full of conflicts is found conflict by conflict, each fix works, and sessions are told apart."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from byway.admin.requests import RecentRequests, RequestLine
from byway.cli.main import byway
from byway.clientfiles import plans
from byway.clientfiles.folders import UserFolders
from byway.clientfiles.ledger import ChangeEntry, Ledger
from byway.clients import connect, doctor, places, sessions
from byway.clients.doctor import Diagnosis
from byway.clients.facts import CertificateFacts, GatewayFacts
from byway.clients.places import Surroundings, survey
from byway.clients.report import ClientVersion, ExpectedEndpoint, Finding, version_remark
from byway.clients.signin import SignInValues, prepare_sign_in
from byway.clients.signinfindings import KnownSignIn
from byway.endpoints.clients import ClientRecord, registered, restart_requested
from byway.endpoints.registry import Endpoint, Endpoints

URL = "http://127.0.0.1:38080/anthropic"
OTHER = "https://gateway.example/anthropic"
REAL_KEY = "sk-ant-api03-real-looking-0123456789"
GOOD = {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_AUTH_TOKEN": "byway-local", "ANTHROPIC_API_KEY": ""}
FACTS = GatewayFacts("1", URL, False, (), (), {"served": "gpu/served"}, ("gpu/served", "gpu/other"))
EXPECTED = ExpectedEndpoint("byway", URL)


class Home:
    """A machine with a home, a project, managed settings, and a shell's environment."""

    def __init__(self, root: Path) -> None:
        self.home, self.project = root / "home", root / "project"
        self.home.mkdir()
        self.project.mkdir()
        self.root = root
        self.environ: dict[str, str] = {}
        self.ledger = Ledger(root / "data")

    @property
    def folders(self) -> UserFolders:
        return _Folders(self.home, self.project, self.environ, "linux")

    def user(self, env: Mapping[str, str] | None = None, **settings: Any) -> Path:
        return self.write("home/.claude/settings.json", {**({"env": env} if env is not None else {}), **settings})

    def write(self, name: str, content: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return path

    def diagnose(
        self, facts: GatewayFacts | None = FACTS, expected: ExpectedEndpoint = EXPECTED, **more: Any
    ) -> Diagnosis:
        return doctor.diagnose(survey(self.folders), expected, facts, **more)

    def findings(self, **arguments: Any) -> dict[str, Finding]:
        return {finding.id: finding for finding in self.diagnose(**arguments).report.findings}

    def fix(self, id: str, **arguments: Any) -> None:
        prepared = connect.prepare_fix(self.ledger, self.diagnose(**arguments).fixes[id])
        assert prepared.shown[0].diff, "a fix shows its diff"
        assert REAL_KEY not in prepared.shown[0].diff
        connect.carry_out(self.ledger, prepared, lambda id: None, "fix")

    def fix_everything(self) -> list[str]:
        """Make every fix, and return the ids of the findings."""
        made: list[str] = []
        for _ in range(20):
            diagnosis = self.diagnose()
            if not diagnosis.fixes:
                return made
            id = next(iter(diagnosis.fixes))
            made.append(id)
            self.fix(id)
        raise AssertionError(f"the fixes do not come to an end: {made}")


class _Folders(UserFolders):
    @property
    def managed(self) -> Path:
        return self.home.parent / "etc" / "managed-settings.json"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_connected_home_has_no_findings(home: Home) -> None:
    home.user(GOOD)
    report = home.diagnose().report
    assert report.findings == () and report.good
    assert [row.title for row in report.places if row.wins] == ["User settings"]


@pytest.mark.parametrize(
    ("settings", "main", "severity"),
    [
        ({}, "gpu/served", "note"),
        ({}, "gpu/tiny", "warning"),
        ({"model": "mini"}, "gpu/served", "warning"),
        ({"model": "gpu/tiny"}, "gpu/served", "warning"),
        ({"model": "served"}, "gpu/tiny", "note"),
    ],
)
def test_models_that_cannot_hold_a_session_are_named_with_what_to_do(
    home: Home, settings: dict[str, str], main: str, severity: str
) -> None:
    home.user(GOOD, **settings)
    small = {"gpu/embed": 512, "gpu/tiny": 8192}
    models = {"mini": "gpu/tiny", "served": "gpu/served"}
    facts = msgspec.structs.replace(
        FACTS, models=models, served=("gpu/served", "gpu/tiny"), small_models=small, main_model=main
    )
    finding = home.findings(facts=facts)["small-models"]
    assert finding.severity == severity and "2 models" in finding.title
    assert "gpu/tiny (8,192)" in finding.text and "gpu/embed (512)" in finding.text and "30,000 tokens" in finding.text
    assert ("Claude Code uses gpu/tiny." in finding.text) is (severity == "warning")
    assert "OLLAMA_CONTEXT_LENGTH" in finding.advice and not finding.fix
    assert "small-models" not in home.findings(facts=facts, expected=ExpectedEndpoint("other", OTHER, False))


def test_a_long_list_of_small_models_is_cut_with_the_used_one_first(home: Home) -> None:
    home.user(GOOD)
    small = {f"gpu/m{number}": 4096 for number in range(20)}
    facts = msgspec.structs.replace(FACTS, main_model="gpu/m19", small_models=small)
    text = home.findings(facts=facts)["small-models"].text
    assert "have less: gpu/m19 (4,096), gpu/m0 (4,096)" in text and "and 12 more." in text and "gpu/m9 " not in text


def test_a_fresh_home_is_not_connected_and_offers_to_connect(home: Home) -> None:
    (finding,) = home.diagnose().report.findings
    assert (finding.id, finding.severity, finding.connects) == ("not-connected", "warning", "claude")


def test_byway_that_does_not_run_is_a_problem(home: Home) -> None:
    home.user(GOOD)
    findings = home.findings(facts=None, expected=ExpectedEndpoint("byway", ""))
    assert list(findings) == ["not-running"] and "byway up" in findings["not-running"].advice


# ----------------------------------------------------------------------------------------------- one conflict each


def vscode(url: str) -> dict[str, Any]:
    """Settings of VS Code with a base URL."""
    return {"claudeCode.environmentVariables": [{"name": "ANTHROPIC_BASE_URL", "value": url}]}


def conflicts() -> dict[str, Any]:
    """A home with one conflict each: what is written, and the finding."""
    flag = "CLAUDE_CODE_USE_BEDROCK"
    return {
        "user settings name another URL": ({}, {"env": {**GOOD, "ANTHROPIC_BASE_URL": OTHER}}, "address"),
        "local settings override the user's": (
            {"project/.claude/settings.local.json": {"env": {"ANTHROPIC_BASE_URL": OTHER}}},
            {"env": GOOD},
            "address",
        ),
        "project settings override the user's": (
            {"project/.claude/settings.json": {"env": {"ANTHROPIC_BASE_URL": OTHER}}},
            {"env": GOOD},
            "address",
        ),
        "the scheme is missing": (
            {},
            {"env": {**GOOD, "ANTHROPIC_BASE_URL": "127.0.0.1:38080/anthropic"}},
            "address-form",
        ),
        "the URL ends in /v1/messages": (
            {},
            {"env": {**GOOD, "ANTHROPIC_BASE_URL": f"{URL}/v1/messages"}},
            "address-form",
        ),
        "the path /anthropic is missing": (
            {},
            {"env": {**GOOD, "ANTHROPIC_BASE_URL": "http://127.0.0.1:38080"}},
            "address-form",
        ),
        "a profile names another URL": (
            {"home/.bashrc": f"alias x=y\nexport ANTHROPIC_BASE_URL={OTHER}\n"},
            {"env": GOOD},
            "other:profile:bash profile",
        ),
        "VS Code names another URL": (
            {"home/.config/Code/User/settings.json": vscode(OTHER)},
            {"env": GOOD},
            "editor:vscode",
        ),
        "Zed names another URL": (
            {
                "home/.config/zed/settings.json": {
                    "agent_servers": {"claude-acp": {"type": "registry", "env": {"ANTHROPIC_BASE_URL": OTHER}}}
                }
            },
            {"env": GOOD},
            "editor:zed",
        ),
        "JetBrains names another URL": (
            {
                "home/.jetbrains/acp.json": {
                    "agent_servers": {"Claude": {"command": "claude-agent-acp", "env": {"ANTHROPIC_BASE_URL": OTHER}}}
                }
            },
            {"env": GOOD},
            "editor:jetbrains",
        ),
        "the key is empty": (
            {},
            {"env": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": ""}},
            "no-credential",
        ),
        "no credential at all": ({}, {"env": {"ANTHROPIC_BASE_URL": URL}}, "no-credential"),
        "a key beside the token": ({}, {"env": {**GOOD, "ANTHROPIC_API_KEY": "other"}}, "two-credentials"),
        "a real key of Anthropic": (
            {},
            {"env": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": REAL_KEY}},
            "real-key:ANTHROPIC_API_KEY",
        ),
        "a helper for keys": ({}, {"env": GOOD, "apiKeyHelper": "/bin/key.sh"}, "helper"),
        "Bedrock in the user's settings": ({}, {"env": {**GOOD, flag: "1"}}, f"provider:{flag}"),
        "Vertex in a profile": (
            {"home/.zshrc": "export CLAUDE_CODE_USE_VERTEX=1\n"},
            {"env": GOOD},
            "provider:CLAUDE_CODE_USE_VERTEX:zsh profile",
        ),
        "a proxy without an exception": ({}, {"env": {**GOOD, "HTTP_PROXY": "http://proxy:3128"}}, "proxy"),
        "a model that is not served": ({}, {"env": {**GOOD, "ANTHROPIC_MODEL": "nosuch"}}, "model:ANTHROPIC_MODEL"),
        "a small model that is not served": (
            {},
            {"env": {**GOOD, "ANTHROPIC_DEFAULT_HAIKU_MODEL": "nosuch"}},
            "model:ANTHROPIC_DEFAULT_HAIKU_MODEL",
        ),
        "a model in the settings that is not served": ({}, {"env": GOOD, "model": "nosuch"}, "model:model"),
        "a model that the settings do not allow": (
            {},
            {"env": {**GOOD, "ANTHROPIC_MODEL": "served"}, "availableModels": ["opus"]},
            "model-restricted",
        ),
    }


CONFLICTS = conflicts()


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_the_doctor_finds(home: Home, conflict: str) -> None:
    files, settings, expected = CONFLICTS[conflict]
    before = {}
    for name, content in {**files, "home/.claude/settings.json": settings}.items():
        path = home.write(name, content)
        before[path] = path.read_bytes()
    findings = home.findings()
    assert list(findings) == [expected], findings
    assert findings[expected].fix
    home.fix(expected)
    assert home.findings() == {}, "the fix works"
    prepared = connect.prepare_disconnect(home.ledger, ())
    connect.carry_out(home.ledger, prepared, lambda id: None)
    assert {path: path.read_bytes() for path in before} == before, "and can be undone"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({**GOOD, "ANTHROPIC_BASE_URL": OTHER}, "address"),
        ({**GOOD, "CLAUDE_CODE_USE_BEDROCK": "1"}, "provider:CLAUDE_CODE_USE_BEDROCK"),
        ({**GOOD, "HTTPS_PROXY": "http://proxy:3128"}, "proxy"),
        ({**GOOD, "ANTHROPIC_API_KEY": "other"}, "two-credentials"),
        ({**GOOD, "ANTHROPIC_AUTH_TOKEN": ""}, "no-credential"),
        ({**GOOD, "ANTHROPIC_MODEL": "nosuch"}, "model:ANTHROPIC_MODEL"),
    ],
)
def test_a_variable_of_the_shell_is_replaced_by_the_users_settings(
    home: Home, environ: dict[str, str], expected: str
) -> None:
    """Nothing can change the environment of a running shell, and a settings file replaces it (measured)."""
    home.environ.update(environ)
    assert list(home.findings()) == [expected]
    home.fix(expected)
    assert home.findings() == {}
    assert (home.home / ".claude" / "settings.json").exists()


def test_a_home_full_of_conflicts_is_found_and_repaired(home: Home) -> None:
    home.user(
        {"ANTHROPIC_BASE_URL": OTHER, "ANTHROPIC_API_KEY": REAL_KEY, "ANTHROPIC_MODEL": "nosuch"}, apiKeyHelper="x"
    )
    home.write("project/.claude/settings.local.json", {"env": {"ANTHROPIC_BASE_URL": "ftp://x"}})
    home.write("project/.claude/settings.json", {"env": {"CLAUDE_CODE_USE_FOUNDRY": "true"}})
    home.write("home/.bashrc", f"export ANTHROPIC_BASE_URL={OTHER}\nexport CLAUDE_CODE_USE_BEDROCK=1\n")
    home.write("home/.config/fish/config.fish", f"set -gx ANTHROPIC_BASE_URL '{OTHER}'\n")
    home.write("home/.config/Code/User/settings.json", '{\n  // mine\n  "claudeCode.environmentVariables": [\n    {"name": '
               f'"ANTHROPIC_BASE_URL", "value": "{OTHER}"}},\n  ],\n}}')  # fmt: skip
    home.environ.update({"HTTP_PROXY": "http://proxy:1", "ANTHROPIC_AUTH_TOKEN": "token-of-a-shell"})
    originals = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    before = set(home.findings())
    assert before >= {
        "address",
        "other:user:User settings",
        "other:profile:bash profile",
        "other:profile:fish profile",
        "editor:vscode",
        "provider:CLAUDE_CODE_USE_FOUNDRY",
        "provider:CLAUDE_CODE_USE_BEDROCK:bash profile",
        "helper",
        "two-credentials",
        "proxy",
        "model:ANTHROPIC_MODEL",
    }
    home.fix_everything()
    assert home.findings() == {}
    connect.carry_out(home.ledger, connect.prepare_disconnect(home.ledger, ()), lambda id: None)
    assert {path: path.read_bytes() for path in originals} == originals


def test_what_the_administrator_sets_has_no_fix(home: Home) -> None:
    home.user(GOOD)
    home.write("etc/managed-settings.json", {"env": {"ANTHROPIC_BASE_URL": OTHER}, "allowedProviders": ["firstParty"]})
    findings = home.findings()
    assert set(findings) == {"address", "policy"}
    assert not findings["address"].fix and "administrator" in findings["address"].advice


def test_a_variable_of_the_shell_needs_settings_that_can_be_changed(home: Home) -> None:
    path = home.write("home/.claude/settings.json", "{")
    home.environ.update({**GOOD, "CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_API_KEY": "other"})
    findings = home.findings()
    for id in ("provider:CLAUDE_CODE_USE_BEDROCK", "two-credentials"):
        assert not findings[id].fix and findings[id].advice == f"Correct {path} first."


def test_a_settings_file_with_a_comment_is_ignored_by_claude_code(home: Home) -> None:
    home.write("home/.claude/settings.json", "// mine\n" + json.dumps({"env": GOOD}))
    findings = home.findings()
    assert "Claude Code ignores the whole file" in findings["file:user:User settings"].text
    assert "not-connected" in findings


def test_an_empty_key_beside_a_claude_login_leaks_its_token(home: Home) -> None:
    home.user({"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": ""})
    assert "Not logged in" in home.findings()["no-credential"].text
    home.write("home/.claude/.credentials.json", {"claudeAiOauth": {"accessToken": "x"}})
    assert "token of your claude.ai login is sent" in home.findings()["no-credential"].text


def test_a_sign_in_to_another_gateway_is_found(home: Home) -> None:
    home.user(GOOD)
    home.write(
        "home/.claude/.credentials.json", {"enterpriseGateway": {"url": "https://gw.example", "jwt": "secret-jwt"}}
    )
    findings = home.findings()
    assert list(findings) == ["gateway-login"] and "claude auth logout" in findings["gateway-login"].advice
    assert "secret-jwt" not in str(findings)


def test_where_a_key_is_required_a_placeholder_is_no_fix(home: Home) -> None:
    home.user({"ANTHROPIC_BASE_URL": URL})
    findings = home.findings(expected=EXPECTED._replace(needs_key=True))
    assert findings["no-credential"].connects == "claude"


def test_localhost_and_127_0_0_1_are_the_same_address(home: Home) -> None:
    home.user({**GOOD, "ANTHROPIC_BASE_URL": "http://localhost:38080/anthropic/"})
    assert home.findings() == {}


def test_the_report_contains_no_secret(home: Home) -> None:
    home.user({"ANTHROPIC_BASE_URL": "http://user:pass-word@gw.example", "ANTHROPIC_API_KEY": REAL_KEY})
    text = str(home.diagnose().report)
    assert REAL_KEY not in text
    assert "pass-word" not in text


def test_an_old_version_of_claude_code_is_a_note(home: Home) -> None:
    home.user(GOOD)
    old = ClientVersion("/usr/bin/claude", "2.1.197", version_remark("2.1.197"))
    new = ClientVersion("/usr/bin/claude", "2.1.329", version_remark("2.1.329"))
    assert [finding.severity for finding in home.findings(versions=[old, new]).values()] == ["note"]


# ------------------------------------------------------------------------------------------------------------ sessions


def local(home: Home, id: str = "11111111-aaaa", **record: Any) -> None:
    """The file of a running session: this process stands for Claude Code."""
    content = {"pid": os.getpid(), "sessionId": id, "cwd": "/work", "version": "2.1.329", "entrypoint": "cli",
               "startedAt": 1_700_000_000_000, **record}  # fmt: skip
    home.write(f"home/.claude/sessions/{id}.json", content)


def rows(
    home: Home, recent: RecentRequests | None = None, removed: datetime.datetime | None = None
) -> list[sessions.SessionInfo]:
    surroundings: Surroundings = survey(home.folders)
    arrived = sessions.arrived_sessions(recent or RecentRequests())
    return sessions.list_sessions(sessions.local_sessions(home.folders.claude), arrived, surroundings, URL, removed)


def started_with(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    monkeypatch.setattr("byway.programs.process_environment", lambda pid: environ)


def test_the_environment_of_a_process_never_changes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 1 of the read-once rule: it has to be restarted."""
    local(home)
    started_with(monkeypatch, ANTHROPIC_BASE_URL=OTHER)
    (row,) = rows(home)
    assert (row.arrival, row.stale, row.base_url) == ("elsewhere", True, OTHER) and "restart" in row.reason
    findings = home.findings(sessions=[row])
    assert "claude --continue" in findings["session:11111111"].advice


def test_a_session_with_another_form_of_the_base_url_uses_the_endpoint(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    local(home)
    started_with(monkeypatch, ANTHROPIC_BASE_URL=URL.replace("127.0.0.1", "localhost") + "/")
    (row,) = rows(home)
    assert (row.arrival, row.stale) == ("no request yet", False)


def test_a_password_in_the_base_url_of_a_session_is_not_shown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    local(home)
    started_with(monkeypatch, ANTHROPIC_BASE_URL="http://user:pass-word@gw.example")
    assert "gw.example" in str(rows(home)) and "pass-word" not in str(rows(home))


def test_a_changed_value_in_a_settings_file_reaches_running_sessions(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 2: it applies from the next request on."""
    local(home)
    started_with(monkeypatch, ANTHROPIC_BASE_URL=OTHER)
    home.user(GOOD)
    (row,) = rows(home)
    assert (row.arrival, row.stale, row.base_url) == ("no request yet", False, URL)


def test_a_removed_value_stays_in_force_until_the_restart(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 3: Claude Code does not notice that a value was removed."""
    local(home)
    started_with(monkeypatch)
    (row,) = rows(home, removed=datetime.datetime.now(datetime.UTC))
    assert row.stale and row.arrival == "unknown" and "removed" in row.reason
    (fresh,) = rows(home, removed=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert "removed" not in fresh.reason, "a session that started later has read the settings without it"


def test_sessions_that_arrive_are_proved_by_their_id(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    local(home, "11111111-aaaa")
    local(home, "22222222-bbbb")
    started_with(monkeypatch, ANTHROPIC_BASE_URL=OTHER)
    recent = RecentRequests()
    for id in ("11111111-aaaa", "33333333-cccc", "11111111-aaaa"):
        recent.add(RequestLine("r", "POST", "/v1/messages", 200, 5, session=id, backend="gpu", model="m"), "")
    recent.add(RequestLine("r", "POST", "/v1/messages", 200, 5, session="probe", probe=True), "")
    listed = {row.id[:8]: row for row in rows(home, recent)}
    assert [row.arrival for row in listed.values()] == ["elsewhere", "arrives", "arrives"]
    assert listed["11111111"].requests == 2 and listed["11111111"].target == "gpu/m" and listed["11111111"].pid
    assert listed["33333333"].pid == 0, "a session on another machine"


def test_a_session_that_byway_claude_started_keeps_its_endpoint(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file overrides what the launcher gave it; a change of the active endpoint may make it stale."""
    local(home)
    started_with(monkeypatch, ANTHROPIC_BASE_URL="http://127.0.0.1:5555")
    home.user({**GOOD, "ANTHROPIC_BASE_URL": OTHER})
    record = ClientRecord(os.getppid(), "byway", URL, "", "/work")
    surroundings, running = survey(home.folders), sessions.local_sessions(home.folders.claude)
    (row,) = sessions.list_sessions(running, [], surroundings, URL, None, [record])
    assert (row.arrival, row.stale) == ("no request yet", False) and "byway claude" in row.reason
    (row,) = sessions.list_sessions(running, [], surroundings, "http://127.0.0.1:2", None, [record])
    assert (row.arrival, row.stale) == ("elsewhere", True)
    bound = msgspec.structs.replace(record, bound=True)
    (row,) = sessions.list_sessions(running, [], surroundings, "http://127.0.0.1:2", None, [bound])
    assert not row.stale


def test_a_file_of_an_ended_session_is_not_listed(home: Home) -> None:
    local(home, pid=2**22 + 1)
    home.write("home/.claude/sessions/x.json", "{")
    home.write("home/.claude/sessions/y.json", {"pid": "x"})
    assert rows(home) == []


def test_the_last_removal_of_the_base_url_is_known_from_the_history() -> None:
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    gone = ChangeEntry(at, "disconnect", "claude", "f", "byway", ())
    again = ChangeEntry(at, "connect", "claude", "f", "byway", ())
    assert doctor.removed_at([gone, again]) == at
    assert doctor.removed_at([again, gone]) is None and doctor.removed_at([]) is None


def test_places_are_read_in_the_order_of_claude_code(home: Home) -> None:
    home.environ["ANTHROPIC_BASE_URL"] = "http://process"
    assert survey(home.folders).effective("ANTHROPIC_BASE_URL") == "http://process"
    for name, path in (
        ("user", "home/.claude/settings.json"),
        ("project", "project/.claude/settings.json"),
        ("local", "project/.claude/settings.local.json"),
        ("managed", "etc/managed-settings.json"),
    ):
        home.write(path, {"env": {"ANTHROPIC_BASE_URL": f"http://{name}"}})
        assert survey(home.folders).effective("ANTHROPIC_BASE_URL") == f"http://{name}"
    assert [place.kind for place in survey(home.folders).places][:5] == list(places.CLAUDE_ORDER)


def test_a_fix_is_on_top_of_connect_and_a_later_connect_replaces_it(home: Home) -> None:
    values = connect.byway_values(
        {"variables": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": "byway-local"}}, home.folders
    )
    path = home.user({"ANTHROPIC_MODEL": "nosuch"}, model="opus")
    original = path.read_bytes()
    connect.carry_out(
        home.ledger, connect.prepare_connect(home.ledger, ["claude"], home.folders, values), lambda id: None
    )
    assert list(home.findings()) == ["model:ANTHROPIC_MODEL"]
    home.fix("model:ANTHROPIC_MODEL")
    connect.carry_out(
        home.ledger, connect.prepare_connect(home.ledger, ["claude"], home.folders, values), lambda id: None
    )
    assert home.findings() == {}, "the fix of another key stays"
    assert [receipt.target for receipt in plans.undo_order(home.ledger.read().files)]
    connect.carry_out(home.ledger, connect.prepare_disconnect(home.ledger, ()), lambda id: None)
    assert path.read_bytes() == original


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("home/.config/Code/User/settings.json", '{"claudeCode.environmentVariables": 5}'),
        ("home/.config/Code/User/settings.json", '{"claudeCode.environmentVariables": [{"name": ["x"]}, 5]}'),
        ("home/.config/Code/User/settings.json", f'{{"number": {"9" * 5000}}}'),
        ("home/.claude/settings.json", f'{{"number": {"9" * 5000}}}'),
        ("home/.claude/settings.json", '{"env": {"ANTHROPIC_BASE_URL": "\\ud800"}}'),
        (
            "home/.claude/settings.json",
            '{"env": {"ANTHROPIC_BASE_URL": "http://[::1", "HTTP_PROXY": "http://proxy:1"}}',
        ),
        ("home/.config/Code/User/settings.json", json.dumps(vscode("http://me@[x]"))),
        ("home/.claude/settings.json", '{"env": [], "model": {}, "apiKeyHelper": 1}'),
        ("home/.config/zed/settings.json", '{"agent_servers": {"claude": {"command": 5, "env": []}}}'),
    ],
)
def test_settings_of_any_shape_give_a_report(tmp_path: Path, name: str, content: str) -> None:
    home = Home(tmp_path)
    home.write(name, content)
    assert msgspec.json.encode(home.diagnose().report)


def test_a_key_that_replaces_a_forwarded_login_is_found(home: Home) -> None:
    expected = ExpectedEndpoint("byway", URL, keeps_login=True)
    home.user({"ANTHROPIC_BASE_URL": URL})
    assert not home.findings(expected=expected)
    home.user({"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": REAL_KEY})
    assert not home.findings(expected=expected), "the user's own key is forwarded"
    home.user(GOOD)
    assert list(home.findings(expected=expected)) == ["login-replaced:ANTHROPIC_AUTH_TOKEN"]
    home.fix("login-replaced:ANTHROPIC_AUTH_TOKEN", expected=expected)
    assert not home.findings(expected=expected)
    home.user(GOOD)
    (finding,) = home.findings(expected=expected._replace(needs_key=True)).values()
    assert finding.connects == "claude"


# --------------------------------------------------------------------------------------------------------------- sign-in

SIGN_IN = KnownSignIn("signin_abcdefgh", URL, starts_at_login=True)
SIGNED_IN_FACTS = msgspec.structs.replace(FACTS, sign_ins=("signin_abcdefgh",), web_search=True)


def signed_in(home: Home, url: str = URL, token: str = "sk-byway-mt-signin_abcdefgh" + "x" * 43) -> None:
    """A Claude Code that `byway connect --sign-in` has signed in."""
    home.user(forceLoginMethod="gateway", forceLoginGatewayUrl=URL)
    home.write("home/.claude/.credentials.json", {"enterpriseGateway": {"url": url, "jwt": "x"}})
    server = {"type": "http", "url": f"{URL}/mcp", "headers": {"Authorization": f"Bearer {token}"}}
    home.write("home/.claude.json", {"mcpServers": {"byway": server}})


def test_a_client_that_is_signed_in_needs_no_base_url(home: Home) -> None:
    signed_in(home)
    assert not home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)
    home.environ["ANTHROPIC_BASE_URL"] = OTHER
    assert not home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN), "it ignores the variable"
    assert not home.findings(facts=SIGNED_IN_FACTS), "a sign-in by hand is one too"


def test_what_is_wrong_with_a_sign_in_is_found(home: Home) -> None:
    signed_in(home)
    ended = home.findings(facts=FACTS, sign_in=SIGN_IN)["sign-in-ended"]
    assert ended.severity == "problem" and "byway connect --sign-in" in ended.advice
    service = home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN._replace(starts_at_login=False))
    assert set(service) == {"sign-in-service"} and "byway service install" in service["sign-in-service"].advice
    stopped = home.findings(facts=None, expected=ExpectedEndpoint("byway", ""), sign_in=SIGN_IN)
    assert "does not start" in stopped["not-running"].text
    signed_in(home, token="sk-byway-mt-signin_earlier0" + "x" * 43)
    assert "earlier" in home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)["sign-in-search"].title
    home.write("home/.claude.json", {})
    assert "no web search" in home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)["sign-in-search"].title
    assert not home.findings(facts=msgspec.structs.replace(SIGNED_IN_FACTS, web_search=False), sign_in=SIGN_IN)
    home.user(theme="dark")
    assert home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)["sign-in-settings"].severity == "warning"
    (home.home / ".claude" / ".credentials.json").unlink()
    assert home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)["sign-in-settings"].severity == "problem"
    home.user(forceLoginMethod="gateway", forceLoginGatewayUrl=URL)
    assert set(home.findings(facts=SIGNED_IN_FACTS, sign_in=SIGN_IN)) == {"sign-in-missing"}


def test_a_sign_in_that_login_has_replaced_is_found(home: Home) -> None:
    signed_in(home)
    both = ("signin_abcdefgh", "signin_newer123")
    facts = msgspec.structs.replace(SIGNED_IN_FACTS, sign_ins=both, sign_in="signin_newer123")
    left = home.findings(facts=facts, sign_in=SIGN_IN)
    assert set(left) == {"sign-in-left"} and left["sign-in-left"].severity == "warning"
    assert "signin_newer123" in left["sign-in-left"].text and "signin_abcdefgh" in left["sign-in-left"].text
    assert "byway connect --sign-in" in left["sign-in-left"].advice
    ended = msgspec.structs.replace(facts, sign_ins=both[1:])
    search = home.findings(facts=ended, sign_in=SIGN_IN)
    assert set(search) == {"sign-in-search"}, "Claude Code works, and its web search does not"
    same = msgspec.structs.replace(facts, sign_in="signin_abcdefgh")
    assert not home.findings(facts=same, sign_in=SIGN_IN)
    assert survey(home.folders).sign_in.digest == hashlib.sha256(b"x").hexdigest()


def test_the_settings_of_another_gateway_are_left_alone(home: Home) -> None:
    home.user(GOOD, forceLoginMethod="gateway", forceLoginGatewayUrl=OTHER)
    assert not home.findings()


def test_sessions_of_a_client_that_is_signed_in_arrive(home: Home) -> None:
    signed_in(home)
    session = sessions.LocalSession("s1", 7, "/work", "2.1.329", "cli", datetime.datetime.now(datetime.UTC), "", 0)
    (row,) = sessions.list_sessions([session], (), survey(home.folders), URL)
    assert row.arrival == "no request yet" and not row.stale


# ----------------------------------------------------------------------------------------------------------------- https

HTTPS = "https://127.0.0.1:38080/anthropic"
HTTPS_EXPECTED = ExpectedEndpoint("byway", HTTPS)
PINNED = "ab" * 32


@pytest.fixture
def https(home: Home) -> dict[str, Any]:
    """The arguments of a diagnosis of a Byway that serves https with its own authority."""
    trust = home.write("data/tls/ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    certificate = CertificateFacts(("localhost",), ("127.0.0.1", "::1"), PINNED, str(trust))
    facts = msgspec.structs.replace(FACTS, url=HTTPS, certificate=certificate)
    return {"facts": facts, "expected": HTTPS_EXPECTED}


def test_claude_code_has_to_trust_the_certificate_of_byway(home: Home, https: dict[str, Any]) -> None:
    home.user({**GOOD, "ANTHROPIC_BASE_URL": HTTPS})
    assert "NODE_EXTRA_CA_CERTS is not set" in home.findings(**https)["certificate-trust"].text
    home.fix("certificate-trust", **https)
    assert not home.findings(**https)
    other = home.write("corporate.pem", "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n")
    home.user({**GOOD, "ANTHROPIC_BASE_URL": HTTPS, "NODE_EXTRA_CA_CERTS": str(other)})
    finding = home.findings(**https)["certificate-trust"]
    assert not finding.fix and f"byway tls export >> {other}" in finding.advice, "the file of the user stays"
    other.write_bytes(other.read_bytes() + (home.root / "data/tls/ca.pem").read_bytes())
    assert not home.findings(**https)


def test_the_host_of_the_url_must_be_a_name_of_the_certificate(home: Home, https: dict[str, Any]) -> None:
    facts = https["facts"]
    trust = {"NODE_EXTRA_CA_CERTS": facts.certificate.trust}
    home.user({**GOOD, **trust, "ANTHROPIC_BASE_URL": HTTPS})
    narrow = msgspec.structs.replace(facts.certificate, addresses=("192.168.1.7",))
    https["facts"] = msgspec.structs.replace(facts, certificate=narrow)
    finding = home.findings(**https)["certificate-names"]
    assert "127.0.0.1" in finding.text and "localhost, 192.168.1.7" in finding.text


@pytest.mark.parametrize(
    ("pinned", "changed"), [(PINNED, False), (PINNED.upper(), False), ("cd" * 32, True), ("", False)]
)
def test_a_certificate_that_changed_since_the_sign_in_is_found(
    home: Home, https: dict[str, Any], pinned: str, changed: bool
) -> None:
    trust = {"NODE_EXTRA_CA_CERTS": https["facts"].certificate.trust}
    home.user(trust, forceLoginMethod="gateway", forceLoginGatewayUrl=HTTPS)
    credentials = {"enterpriseGateway": {"url": HTTPS, "jwt": "x"}, "gatewayTrust": {"127.0.0.1": pinned}}
    home.write("home/.claude/.credentials.json", credentials)
    findings = home.findings(**https)
    assert ("certificate-changed" in findings) is changed and len(findings) == changed
    if changed:
        assert "/login" in findings["certificate-changed"].advice


def test_connect_keeps_what_claude_code_trusts_already(home: Home, https: dict[str, Any]) -> None:
    trust = https["facts"].certificate.trust
    exported = {"variables": {"ANTHROPIC_BASE_URL": HTTPS, "NODE_EXTRA_CA_CERTS": trust}}

    def connected() -> Path:
        return Path(connect.byway_values(exported, home.folders).variables["NODE_EXTRA_CA_CERTS"])

    assert connected() == Path(trust)
    home.environ["NODE_EXTRA_CA_CERTS"] = str(home.root / "missing.pem")
    assert connected() == Path(trust)
    other = home.write("corporate.pem", "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----")
    home.environ["NODE_EXTRA_CA_CERTS"] = str(other)
    both = connected()
    assert both.parent == Path(trust).parent and other.read_text() in both.read_text()
    assert Path(trust).read_text() in both.read_text() and connected() == both
    # The variable of the settings is stronger. A new authority is added to the file of both.
    home.user({"NODE_EXTRA_CA_CERTS": str(both)})
    assert connected() == both
    Path(trust).write_text("-----BEGIN CERTIFICATE-----\nCCCC\n-----END CERTIFICATE-----\n")
    assert connected() == both and [text in both.read_text() for text in ("BBBB", "CCCC")] == [True, True]


def test_a_sign_in_over_https_sets_what_claude_code_has_to_trust(home: Home, https: dict[str, Any]) -> None:
    trust = https["facts"].certificate.trust
    planned = prepare_sign_in(home.ledger, home.folders, SignInValues(HTTPS, trust=trust))
    connect.carry_out(home.ledger, planned, lambda id: None)
    settings = json.loads((home.home / ".claude/settings.json").read_text())
    assert settings["env"]["NODE_EXTRA_CA_CERTS"] == trust and settings["forceLoginGatewayUrl"] == HTTPS
    connect.carry_out(home.ledger, connect.prepare_disconnect(home.ledger, ()), lambda id: None)
    assert not (home.home / ".claude/settings.json").exists()


# ---------------------------------------------------------------------------------------------------- clients of hosts


def test_the_doctor_restarts_a_hosted_client_with_an_old_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("byway.cli.doctor.find_claude", lambda environ: None)
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    endpoints = Endpoints(data, {})
    endpoints.add(Endpoint("work", OTHER))
    endpoints.use("work")
    overlay = str(data / "clients" / "settings-1.json")
    record = ClientRecord(os.getpid(), "old", "https://old.example", "", "/work", program="host", overlay=overlay)
    command = ["doctor", "--data-dir", str(data)]
    with registered(data, record):
        shown = CliRunner().invoke(byway, command).output
        assert "hosted client in /work uses an old endpoint" in shown and not restart_requested(data, record)
        CliRunner().invoke(byway, [*command, "--fix", "--json"])
        assert restart_requested(data, record)
    assert "old endpoint" not in CliRunner().invoke(byway, command).output


def test_a_session_of_a_host_is_not_said_to_be_of_byway_claude(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    local(home)
    started_with(monkeypatch)
    record = ClientRecord(os.getppid(), "byway", URL, "", "/work", program="host")
    running = sessions.local_sessions(home.folders.claude)
    (row,) = sessions.list_sessions(running, [], survey(home.folders), OTHER, None, [record])
    assert row.stale and "A host of Byway started it" in row.reason and "byway claude" not in row.reason
    assert not any(id.startswith("session:") for id in home.findings(sessions=[row]))
