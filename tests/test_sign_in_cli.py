"""`byway connect --sign-in` in this process: beside a scripted Claude Code and a Byway whose answers are scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_connect_cli import URL, Cli
from test_connect_cli import cli as cli
from test_connect_cli import verifier as verifier

from byway.clientfiles.ledger import Ledger
from byway.codes import text_digest
from byway.endpoints import running
from byway.endpoints.running import OwnerAnswer
from byway.store import SignInTokens, Store

SECRET = "sk-byway-mt-signin_abcdefgh0123456789012345678901234567890123456789012"
DONE: list[dict[str, Any]] = [
    {"state": "url_input", "shown": URL},
    {"state": "connecting"},
    {"state": "trust_prompt", "shown": "http-loopback"},
    {"state": "polling", "userCode": "WDJB-MJHT", "browserUrl": "http://127.0.0.1:38080/device"},
    {"state": "saving"},
    {"state": "done"},
]


class Dialogue:
    """What `claude auth login --gateway-json` prints and reads, as a process."""

    def __init__(self, lines: list[dict[str, Any]], done: Callable[[], None]) -> None:
        self.stdin = self.stdout = self
        self._lines = iter(lines)
        self._line: dict[str, Any] = {}
        self._done = done

    def readline(self, limit: int) -> str:
        self._line = next(self._lines, {})
        if self._line.get("state") == "done":
            self._done()
        return f"{json.dumps(self._line)}\n" if self._line else ""

    def write(self, text: str) -> None:
        if json.loads(text) != {"state": self._line["state"], "shown": self._line["shown"], "accept": True}:
            self._lines = iter([{"state": "error", "message": "cancelled"}])

    def flush(self) -> None: ...

    def kill(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class Client:
    """A scripted Claude Code, and what Byway was sent over its socket."""

    def __init__(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cli = cli
        self.sent: list[tuple[str, str, Any]] = []
        self.answers: dict[str, OwnerAnswer] = {}
        self.lines = DONE
        self.id = ""
        cli.data.mkdir(mode=0o700)
        monkeypatch.setattr("byway.cli.gatewaylogin.find_claude", lambda environ: Path("claude"))
        monkeypatch.setattr("byway.clients.signin.subprocess.Popen", lambda *_, **__: Dialogue(self.lines, self.done))
        monkeypatch.setattr(running, "request", self.request)

    def done(self) -> None:
        content = {"enterpriseGateway": {"url": URL, "jwt": "sk-byway-at-x"}, "claudeAiOauth": {"x": 1}}
        self.credentials.write_text(json.dumps(content))

    @property
    def credentials(self) -> Path:
        return self.cli.home / ".claude" / ".credentials.json"

    @property
    def state(self) -> Path:
        return self.cli.home / ".claude.json"

    def request(self, folder: Path, method: str, path: str, body: Any = None) -> OwnerAnswer | None:
        self.sent.append((method, path, body))
        if path in self.answers:
            return self.answers[path]
        if path == "/byway/sign-ins":
            tokens = SignInTokens(b"a%d" % len(self.sent), 9e9, b"r%d" % len(self.sent), 9e9)
            with Store(self.cli.data) as store:
                self.id = store.add_sign_in("", "claude-code/2.1.329", "127.0.0.1", tokens).id
            return OwnerAnswer(201, {"approved": True, "id": self.id})
        if path == f"/byway/sign-ins/{self.id}/mcp-token" and self.is_signed_in():
            return OwnerAnswer(200, {"token": SECRET})
        return OwnerAnswer(404, {"error": {"message": "There is no such sign-in."}})

    def is_signed_in(self) -> bool:
        with Store(self.cli.data) as store:
            return bool(store.sign_ins())


@pytest.fixture
def client(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client(cli, monkeypatch)


def test_one_yes_signs_in_and_disconnect_signs_out(cli: Cli, client: Client) -> None:
    client.state.write_text(json.dumps({"numStartups": 7}))
    shown = cli("connect", "--sign-in", "--dry-run")
    assert "forceLoginGatewayUrl" in shown.stdout and "mcpServers" in shown.stdout and "does not start" in shown.stdout
    assert not client.sent and not cli.settings.exists()
    done = cli("connect", "--sign-in", "--yes")
    assert done.exit_code == 0, done.output
    assert json.loads(cli.settings.read_text()) == {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": URL}
    assert client.sent[0] == ("POST", "/byway/sign-ins", {"user_code": "WDJB-MJHT"})
    server = json.loads(client.state.read_text())["mcpServers"]["byway"]
    assert server == {"type": "http", "url": f"{URL}/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}}
    assert client.state.stat().st_mode & 0o077 == 0
    assert SECRET not in done.output + shown.output and "byway service install" in done.stderr
    assert "nothing to change" in cli("connect", "--sign-in", "-y").stderr
    assert "signed in to byway" in cli("connect", "--status").stdout
    for name in ("remote-settings.json", "remote-settings.json.synced-at"):
        (cli.home / ".claude" / name).write_text("{}")

    gone = cli("disconnect", "--yes")
    assert gone.exit_code == 0 and "Signed out" in gone.stderr, gone.output
    assert not cli.settings.exists() and json.loads(client.state.read_text()) == {"numStartups": 7}
    assert json.loads(client.credentials.read_text()) == {"claudeAiOauth": {"x": 1}}
    assert not client.is_signed_in() and not list((cli.home / ".claude").glob("remote-settings*"))


def test_connecting_by_variables_ends_the_sign_in(cli: Cli, client: Client) -> None:
    client.state.write_text("{}")
    cli("connect", "--sign-in", "--yes")
    done = cli("connect", "--yes")
    assert done.exit_code == 0, done.output
    settings = json.loads(cli.settings.read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == URL and "forceLoginMethod" not in settings
    assert "mcpServers" not in json.loads(client.state.read_text()) and not client.is_signed_in()
    again = cli("connect", "--sign-in", "--yes")
    assert "env" not in json.loads(cli.settings.read_text()), again.output


def test_a_sign_in_that_was_ended_is_replaced(cli: Cli, client: Client) -> None:
    cli("connect", "--sign-in", "--yes")
    with Store(cli.data) as store:
        store.revoke_sign_in(client.id, "test")
    done = cli("connect", "--sign-in", "--yes")
    assert done.exit_code == 0 and "nothing to change" not in done.stderr, done.output
    assert "enterpriseGateway" in json.loads(client.credentials.read_text())
    assert {receipt.key for receipt in Ledger(cli.data).read().files} == {client.id}


def log_in_by_hand(client: Client) -> str:
    """What /login does in Claude Code: a new sign-in, whose tokens replace the earlier ones. Returns its id."""
    tokens = SignInTokens(text_digest("sk-byway-at-new"), 9e9, b"r-new", 9e9)
    with Store(client.cli.data) as store:
        id = store.add_sign_in("", "claude-code/2.1.329", "127.0.0.1", tokens).id
    client.credentials.parent.mkdir(exist_ok=True)
    client.credentials.write_text(json.dumps({"enterpriseGateway": {"url": URL, "jwt": "sk-byway-at-new"}}))
    client.answers[f"/byway/sign-ins/{id}/mcp-token"] = OwnerAnswer(200, {"token": f"{SECRET}-new"})
    return id


@pytest.mark.parametrize("connected", [True, False])
def test_a_sign_in_by_login_is_kept_and_the_earlier_one_ends(cli: Cli, client: Client, connected: bool) -> None:
    if connected:
        cli("connect", "--sign-in", "--yes")
    earlier, id = client.id, log_in_by_hand(client)
    shown = cli("connect", "--sign-in", "--dry-run")
    assert '"Authorization"' in shown.stdout and id in shown.stdout and f"{SECRET}-new" not in shown.output
    done = cli("connect", "--sign-in", "--yes")
    assert done.exit_code == 0, done.output
    assert (f"{earlier} has ended" in done.stderr) is connected
    assert json.loads(client.credentials.read_text())["enterpriseGateway"]["jwt"] == "sk-byway-at-new"
    server = json.loads(client.state.read_text())["mcpServers"]["byway"]
    assert server["headers"] == {"Authorization": f"Bearer {SECRET}-new"}
    assert json.loads(cli.settings.read_text())["forceLoginGatewayUrl"] == URL
    with Store(cli.data) as store:
        assert [sign_in.id for sign_in in store.sign_ins()] == [id]
    assert {receipt.key for receipt in Ledger(cli.data).read().files} == {id}
    assert "nothing to change" in cli("connect", "--sign-in", "-y").stderr
    gone = cli("disconnect", "--yes")
    assert gone.exit_code == 0 and not cli.settings.exists(), gone.output
    with Store(cli.data) as store:
        assert store.sign_ins() == []


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([{"state": "error", "message": "The certificate is not trusted."}], "The certificate is not trusted."),
        ([{"state": "url_input", "shown": "http://evil.example/anthropic"}, *DONE[3:]], "cancelled"),
        ([{"state": "trust_prompt", "shown": "aa:bb"}, *DONE[3:]], "cancelled"),
        ([], "2.1.329"),
        ([{"state": "connecting"}], "connecting"),
        ([{"state": "done"}], "without an approval"),
    ],
)
def test_a_sign_in_that_fails_leaves_nothing_behind(
    cli: Cli, client: Client, lines: list[dict[str, Any]], reason: str
) -> None:
    client.lines = lines
    done = cli("connect", "--sign-in", "--yes")
    assert done.exit_code == 1 and reason in done.stderr and "undone" in done.stderr, done.output
    assert not cli.settings.exists() and not client.state.exists() and not Ledger(cli.data).read().files


def test_a_byway_that_refuses_the_code_is_named(cli: Cli, client: Client) -> None:
    client.answers["/byway/sign-ins"] = OwnerAnswer(404, {"error": {"message": "No client waits with this code."}})
    done = cli("connect", "--sign-in", "--yes")
    assert done.exit_code == 1 and "No client waits with this code." in done.stderr


def test_what_a_sign_in_needs_is_named(cli: Cli, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Only Claude Code" in cli("connect", "vscode", "--sign-in").stderr
    assert "2.1.329" not in cli("connect", "--sign-in", "--endpoint", "nothing").stderr
    monkeypatch.setattr("byway.cli.gatewaylogin.find_claude", lambda environ: None)
    missing = cli("connect", "--sign-in").stderr
    assert "npm install" in missing and "BYWAY_CLAUDE=" in missing and "byway claude" not in missing
    cli.answers.clear()
    assert "byway up" in cli("connect", "--sign-in").stderr
