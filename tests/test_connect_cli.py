"""`byway connect`, `byway disconnect` and `byway doctor` in this process, beside a Byway whose answers are scripted."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byway.admin.verify import Verdict
from byway.cli import client
from byway.cli.main import byway
from byway.clientfiles.ledger import Ledger
from byway.clients import connect
from byway.endpoints.registry import Endpoint, Endpoints
from byway.store import Store

URL = "http://127.0.0.1:38080/anthropic"
REAL_KEY = "sk-ant-api03-real-looking-0123456789"


class Cli:
    """The commands in a scratch home and folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.data = root / "home", root / "data"
        self.answers: dict[str, Any] = {
            "/byway/exports": {
                "variables": {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": "byway-local", "CLAUDE_CODE_X": "1"},
                "permission_mode": "acceptEdits",
            },
            "/byway/status": {"keys_required": False},
            "/byway/doctor": {
                "version": "1",
                "url": URL,
                "keys_required": False,
                "checks": [],
                "sessions": [],
                "models": {},
                "served": ["gpu/m"],
            },
        }

    @property
    def settings(self) -> Path:
        return self.home / ".claude" / "settings.json"

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(byway, [*arguments, "--data-dir", str(self.data)])


class Verifier:
    """Records the test requests of the doctor, and answers them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.verdict = Verdict(True, "Connected")

    async def __call__(self, base: str, key: str, model: str = "sonnet", **options: object) -> Verdict:
        self.requests.append((base, key, model))
        return self.verdict


@pytest.fixture(autouse=True)
def verifier(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    made = Verifier()
    monkeypatch.setattr("byway.clients.diagnosis.verify", made)
    return made


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    made = Cli(tmp_path)
    (tmp_path / "project").mkdir()
    made.home.mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setattr("byway.cli.doctor.find_claude", lambda environ: None)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "get", lambda data, path: made.answers.get(path.partition("?")[0]))
    return made


def test_connect_needs_a_yes_and_disconnect_restores(cli: Cli) -> None:
    cli.settings.parent.mkdir()
    text = json.dumps({"env": {"ANTHROPIC_API_KEY": REAL_KEY}, "model": "opus"})
    cli.settings.write_text(text)
    unconfirmed = cli("connect")
    assert unconfirmed.exit_code == 0 and "--yes" in unconfirmed.stderr and cli.settings.read_text() == text
    done = cli("connect", "--yes")
    env = json.loads(cli.settings.read_text())["env"]
    assert env["ANTHROPIC_BASE_URL"] == URL and env["ANTHROPIC_AUTH_TOKEN"] == "byway-local"
    assert env["ANTHROPIC_API_KEY"] == ""
    assert json.loads(cli.settings.read_text())["permissions"] == {"defaultMode": "acceptEdits"}
    assert "connected to byway" in done.stdout and REAL_KEY not in done.output + unconfirmed.output
    assert "byway disconnect" in done.stderr
    assert "nothing to change" in cli("connect", "-y").stderr
    status = json.loads(cli("connect", "--status", "--json").stdout)["targets"]
    assert [entry["target"] for entry in status if entry["connected"]] == ["claude"]
    cli.settings.write_text(cli.settings.read_text().replace('"CLAUDE_CODE_X": "1"', '"CLAUDE_CODE_X": "2"'))
    assert "changed since: env.CLAUDE_CODE_X" in cli("connect", "--status").stdout
    cli.settings.write_text(cli.settings.read_text().replace('"CLAUDE_CODE_X": "2"', '"CLAUDE_CODE_X": "1"'))
    gone = cli("disconnect", "--yes")
    assert "restarted" in gone.stderr and cli.settings.read_text() == text
    assert "Nothing to undo" in cli("disconnect").stderr
    history = json.loads(cli("connect", "--history", "--json").stdout)["history"]
    assert [entry["action"] for entry in history] == ["disconnect", "connect"]


def test_a_dry_run_changes_nothing(cli: Cli) -> None:
    assert "+++" in cli("connect", "--dry-run").stdout
    assert not cli.settings.exists()
    assert not list(cli.data.glob("client-changes.json"))


def test_without_a_running_byway_connect_says_how_to_start_it(cli: Cli) -> None:
    cli.answers.clear()
    done = cli("connect")
    assert done.exit_code == 1 and "byway up" in done.stderr


def test_an_unknown_target_lists_the_targets(cli: Cli) -> None:
    done = cli("connect", "emacs")
    assert done.exit_code == 2 and "vscode" in done.stderr


def test_where_a_key_is_required_one_is_created_and_revoked_with_the_last_file(cli: Cli) -> None:
    cli.answers["/byway/status"] = {"keys_required": True}
    done = cli("connect", "claude", "bash", "-y")
    assert done.exit_code == 0, done.output
    value = json.loads(cli.settings.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"]
    with Store(cli.data) as store:
        (key,) = store.keys()
        assert key.live and key.hint == value[-4:]
    assert value not in done.output and value in (cli.home / ".bashrc").read_text()
    for file in (cli.settings, cli.home / ".bashrc", cli.data / "client-changes.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.name != "client-changes.json" or value not in file.read_text()
    assert "nothing to change" in cli("connect", "-y").stderr, "the same key is used again"
    cli("disconnect", "bash", "-y")
    with Store(cli.data) as store:
        assert store.keys()[0].live, "the other file has it still"
    cli("disconnect", "-y")
    with Store(cli.data) as store:
        assert not store.keys()[0].live


def test_a_key_for_a_change_that_is_not_made_is_revoked(cli: Cli) -> None:
    cli.answers["/byway/status"] = {"keys_required": True}
    cli("connect")
    assert not cli.settings.exists(), "nothing confirms the change"
    cli.settings.parent.mkdir(parents=True, exist_ok=True)
    cli.settings.write_text("{")
    assert cli("connect", "-y").exit_code != 0
    with Store(cli.data) as store:
        assert len(store.keys()) == 2 and not any(key.live for key in store.keys())


def test_another_endpoint_is_connected_with_its_own_credential(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints(cli.data, {})
    endpoint = Endpoint(
        "work", "https://gw.example", "api_key", {"x-team": "a"}, {"default": "big", "claude-opus-5-5": "o"}
    )
    endpoints.add(endpoint, "secret-of-the-endpoint", accept_file=True)
    cli.answers.clear()
    done = cli("connect", "--endpoint", "work", "-y")
    assert done.exit_code == 0, done.output
    assert "secret-of-the-endpoint" not in done.output
    tree = json.loads(cli.settings.read_text())
    assert tree["env"] == {
        "ANTHROPIC_BASE_URL": "https://gw.example",
        "ANTHROPIC_AUTH_TOKEN": "",
        "ANTHROPIC_API_KEY": "secret-of-the-endpoint",
        "ANTHROPIC_MODEL": "big",
        "ANTHROPIC_CUSTOM_HEADERS": "x-team: a",
    }
    assert tree["modelOverrides"] == {"claude-opus-5-5": "o"}


def test_a_console_login_gets_a_key_so_that_its_own_is_not_sent(cli: Cli) -> None:
    (cli.home / ".claude.json").write_text(json.dumps({"primaryApiKey": REAL_KEY}))
    cli("connect", "-y")
    env = json.loads(cli.settings.read_text())["env"]
    assert (env["ANTHROPIC_API_KEY"], env["ANTHROPIC_AUTH_TOKEN"]) == ("byway-local", "")


def test_doctor_finds_a_conflict_and_fixes_it(cli: Cli) -> None:
    cli("connect", "-y")
    cli.settings.write_text(cli.settings.read_text().replace(URL, "http://127.0.0.1:9999/anthropic"))
    first = cli("doctor")
    assert first.exit_code == 1 and "uses another base URL" in first.stdout
    assert "127.0.0.1:9999" in first.stdout
    assert "add --fix" in first.stderr and "--yes" not in first.output
    report = json.loads(cli("doctor", "--json").stdout)
    assert [finding["id"] for finding in report["findings"]] == ["address"] and report["running"]
    fixed = cli("doctor", "--fix")
    assert fixed.exit_code == 0 and "No problems found" in fixed.stdout
    assert cli("doctor").exit_code == 0


def test_doctor_creates_a_key_only_for_a_change_that_is_made(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.answers["/byway/status"] = {"keys_required": True}
    assert "Nothing was changed" in cli("doctor").stderr
    with Store(cli.data) as store:
        assert not store.keys(), "without a terminal the change cannot be confirmed"
    monkeypatch.setattr("byway.cli.doctor.confirm", lambda question, **options: False)
    monkeypatch.setattr("byway.platform.is_terminal", lambda stream: True)
    cli("doctor")
    with Store(cli.data) as store:
        assert [key.live for key in store.keys()] == [False], "the change was declined"
    monkeypatch.undo()


def test_doctor_sends_a_request_as_claude_code_would(cli: Cli, verifier: Verifier) -> None:
    """The row `Authentication failed`, with the key that the client really sends."""
    cli("connect", "-y")
    assert cli("doctor").exit_code == 0
    assert verifier.requests == [(URL, "byway-local", "sonnet")]
    verifier.verdict = Verdict(False, "Authentication failed", "credential", "This key is unknown.", "Use a valid key.")
    done = cli("doctor")
    assert done.exit_code == 1
    assert "Authentication failed" in done.stdout and "Use a valid key." in done.stdout


@pytest.mark.parametrize(("repair", "advice"), [("enable-tcp", "add --fix"), ("require-keys", "in a terminal")])
def test_doctor_names_what_makes_a_fix_where_it_cannot_ask(cli: Cli, repair: str, advice: str) -> None:
    cli("connect", "-y")
    check = {
        "id": "x",
        "word": "wrong",
        "title": "X",
        "state": "bad",
        "finding": "It is wrong.",
        "fix": "Mend it.",
        "repair": repair,
    }
    cli.answers["/byway/doctor"]["checks"] = [check]
    assert advice in cli("doctor").stderr


def test_doctor_sends_no_credential_to_another_address(cli: Cli, verifier: Verifier) -> None:
    cli("connect", "-y")
    cli.settings.write_text(cli.settings.read_text().replace(URL, "http://127.0.0.1:9999/anthropic"))
    cli("doctor")
    assert verifier.requests == []


def test_connect_warns_when_a_stronger_place_sets_another_base_url(cli: Cli) -> None:
    folder = cli.root / "project" / ".claude"
    folder.mkdir()
    (folder / "settings.json").write_text('{"env": {"ANTHROPIC_BASE_URL": "https://other"}}')
    done = cli("connect", "-y")
    assert "Project settings" in done.stderr and "byway doctor" in done.stderr


def test_doctor_connects_a_home_that_is_not_connected(cli: Cli) -> None:
    assert "Connect Claude Code to byway" in cli("doctor").stdout
    cli("doctor", "--fix")
    assert json.loads(cli.settings.read_text())["env"]["ANTHROPIC_BASE_URL"] == URL
    cli("disconnect", "-y")
    assert not cli.settings.exists()


def test_doctor_without_a_running_byway_says_so(cli: Cli) -> None:
    cli.answers.clear()
    done = cli("doctor")
    assert done.exit_code == 1 and "Byway is not running" in done.stdout


def test_one_key_confirms_a_change(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.platform.is_terminal", lambda stream: True)
    CliRunner().invoke(byway, ["connect", "--data-dir", str(cli.data)], input="n")
    assert not cli.settings.exists()
    CliRunner().invoke(byway, ["connect", "--data-dir", str(cli.data)], input="y")
    assert cli.settings.exists()


def forwarding(cli: Cli, *, key: bool) -> None:
    """Let the Byway forward the client's own login."""
    cli.answers["/byway/status"]["keys_required"] = key
    cli.answers["/byway/exports"] = {
        "variables": {
            "ANTHROPIC_BASE_URL": URL,
            **({"ANTHROPIC_CUSTOM_HEADERS": "x-byway-key: YOUR-KEY"} if key else {}),
            "CLAUDE_CODE_X": "1",
        },
        "permission_mode": "",
        "client_credential": True,
    }


def test_connect_keeps_a_login_that_byway_forwards(cli: Cli) -> None:
    forwarding(cli, key=False)
    cli.settings.parent.mkdir()
    text = json.dumps({"env": {"ANTHROPIC_API_KEY": REAL_KEY}, "apiKeyHelper": "./key"})
    cli.settings.write_text(text)
    assert cli("connect", "--yes").exit_code == 0
    written = json.loads(cli.settings.read_text())
    # The user's own credentials for Anthropic stay: Byway forwards them.
    assert written["env"]["ANTHROPIC_API_KEY"] == REAL_KEY and written["apiKeyHelper"] == "./key"
    assert written["env"]["ANTHROPIC_BASE_URL"] == URL
    assert not {"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"} & written["env"].keys()
    assert cli("disconnect", "--yes").exit_code == 0
    assert cli.settings.read_text() == text


@pytest.mark.parametrize("target", ["claude", "vscode", "zed", "bash"])
def test_connect_sends_the_key_of_byway_in_a_header_beside_the_login(cli: Cli, target: str) -> None:
    forwarding(cli, key=True)
    shown = cli("connect", target, "--dry-run")
    assert shown.exit_code == 0 and "ANTHROPIC_CUSTOM_HEADERS" in shown.stdout and "key-that-is" not in shown.stdout
    assert cli("connect", target, "--yes").exit_code == 0
    with Store(cli.data) as store:
        (key,) = store.keys()
    ledger = Ledger(cli.data)
    (receipt,) = ledger.read().files
    text = Path(receipt.file).read_text()
    id, value = connect.created_key(ledger.read())
    assert id == key.id and value.endswith(key.hint) and f"x-byway-key: {value}" in text
    assert "ANTHROPIC_API_KEY" not in text and "ANTHROPIC_AUTH_TOKEN" not in text
    assert stat.S_IMODE(Path(receipt.file).stat().st_mode) == 0o600
    # Connecting again uses the same key, and disconnecting revokes it.
    assert "nothing to change" in cli("connect", target, "--yes").stderr
    assert cli("disconnect", target, "--yes").exit_code == 0
    with Store(cli.data) as store:
        assert [key.revoked_at is not None for key in store.keys()] == [True]


@pytest.mark.parametrize("target", ["claude", "bash"])
def test_a_credential_of_another_endpoint_is_not_forwarded_as_a_login(cli: Cli, target: str) -> None:
    forwarding(cli, key=False)
    file = {"claude": cli.settings, "bash": cli.home / ".bashrc"}[target]
    file.parent.mkdir(exist_ok=True)
    other = {"ANTHROPIC_BASE_URL": "https://gateway.example", "ANTHROPIC_API_KEY": "of-the-gateway"}
    text = json.dumps({"env": other, "apiKeyHelper": "./key"})
    if target == "bash":
        text = "".join(f"export {name}={value}\n" for name, value in other.items())
    file.write_text(text)
    assert cli("connect", target, "--yes").exit_code == 0
    if target == "claude":
        written = json.loads(file.read_text())
        assert (written["env"]["ANTHROPIC_API_KEY"], written["apiKeyHelper"]) == ("", "")
    else:
        assert "export ANTHROPIC_API_KEY=''" in file.read_text().splitlines()
    first = file.read_text()
    cli("connect", target, "--yes")
    assert file.read_text() == first
    assert cli("disconnect", target, "--yes").exit_code == 0
    assert file.read_text() == text
