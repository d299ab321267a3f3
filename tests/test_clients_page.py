"""The page Clients in this process: endpoint switch, connect and disconnect after a diff, sessions, fixes."""

from __future__ import annotations

import asyncio
import html
import json
import os
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from click.testing import CliRunner
from test_admin_api import CONFIG, Answer, Api

from byway.admin.requests import RequestLine
from byway.cli.main import byway
from byway.clientfiles.folders import user_folders
from byway.clientfiles.ledger import Ledger
from byway.clients.connect import carry_out
from byway.clients.signin import SignInValues, prepare_sign_in
from byway.endpoints.clients import ClientRecord, registered, restart_requested
from byway.endpoints.registry import Endpoint, Endpoints
from byway.store import SignInTokens

REAL_KEY = "sk-ant-api03-real-looking-0123456789"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return Api(data)


def page(api: Api) -> str:
    answer = api("GET", "/clients", accept="text/html")
    assert answer.status == 200
    return str(answer.body)


def post(api: Api, path: str, **fields: str) -> Answer:
    return asyncio.run(
        api.call("POST", f"/clients/{path}", urlencode(fields), content_type="application/x-www-form-urlencoded")
    )


def settings(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".claude" / "settings.json"


def test_connect_shows_a_diff_first_and_disconnect_undoes_it(api: Api, tmp_path: Path) -> None:
    settings(tmp_path).parent.mkdir()
    text = json.dumps({"env": {"ANTHROPIC_API_KEY": REAL_KEY}})
    settings(tmp_path).write_text(text)
    shown = post(api, "connect", target="claude")
    assert "Confirm the change" in shown.body and "+++" in shown.body and REAL_KEY not in shown.body
    assert settings(tmp_path).read_text() == text and len(api.store.keys()) == 0
    done = post(api, "connect", target="claude", confirm="on")
    assert "connected" in done.body
    env = json.loads(settings(tmp_path).read_text())["env"]
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9/anthropic" and env["ANTHROPIC_API_KEY"] == ""
    # This Byway requires keys, so one was created, and it works at once.
    (key,) = api.store.keys()
    assert env["ANTHROPIC_AUTH_TOKEN"].endswith(key.hint) and env["ANTHROPIC_AUTH_TOKEN"] not in done.body
    assert api("GET", "/v1/models", key=env["ANTHROPIC_AUTH_TOKEN"]).status == 200
    post(api, "disconnect", target="claude", confirm="on")
    assert settings(tmp_path).read_text() == text
    assert api("GET", "/v1/models", key=env["ANTHROPIC_AUTH_TOKEN"]).status == 401


def test_connect_keeps_a_login_that_this_byway_forwards(api: Api, tmp_path: Path) -> None:
    forwarding = "{name: claude, type: anthropic, credential: client, credential_host: api.anthropic.com, models: [m]}"
    api.file.write_text(CONFIG.replace("backends:\n", f"backends:\n  - {forwarding}\n"))
    asyncio.run(api.reload())
    assert "Claude Code keeps its own login" in api("GET", "/claude", accept="text/html").body
    shown = post(api, "connect", target="claude")
    assert "ANTHROPIC_CUSTOM_HEADERS" in shown.body and not api.store.keys()
    post(api, "connect", target="claude", confirm="on")
    env = json.loads(settings(tmp_path).read_text())["env"]
    (key,) = api.store.keys()
    assert env["ANTHROPIC_CUSTOM_HEADERS"].startswith("x-byway-key: sk-byway-")
    assert env["ANTHROPIC_CUSTOM_HEADERS"].endswith(key.hint)
    assert not {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"} & env.keys()
    # The page and the doctor find nothing wrong with that.
    assert "replaces the login" not in page(api) and "No credential is set" not in page(api)


@pytest.mark.parametrize(("more", "mode"), [("", "acceptEdits"), ("safeguards: {classifier: one/small}\n", None)])
def test_connect_sets_a_permission_mode_that_works_without_a_classifier(
    api: Api, tmp_path: Path, more: str, mode: str | None
) -> None:
    api.file.write_text(CONFIG + more)
    asyncio.run(api.reload())
    post(api, "connect", target="claude", confirm="on")
    written = json.loads(settings(tmp_path).read_text())
    assert written.get("permissions", {}).get("defaultMode") == mode


def test_disconnect_signs_claude_code_out(api: Api, tmp_path: Path) -> None:
    settings(tmp_path).parent.mkdir()
    sign_in = api.store.add_sign_in("", "claude-code/2.1.329", "127.0.0.1", SignInTokens(b"a", 9e9, b"r", 9e9))
    folders = user_folders(tmp_path, os.environ)
    ledger = Ledger(api.folder)
    url = "http://127.0.0.1:9/anthropic"
    carry_out(
        ledger, prepare_sign_in(ledger, folders, SignInValues(url, "sk-byway-mt-x", id=sign_in.id)), lambda id: None
    )
    credentials = settings(tmp_path).with_name(".credentials.json")
    credentials.write_text(json.dumps({"enterpriseGateway": {"url": url, "jwt": "x"}}))
    done = post(api, "disconnect", target="claude", confirm="on")
    assert "disconnected" in done.body and not settings(tmp_path).exists() and not folders.claude_state.exists()
    assert json.loads(credentials.read_text()) == {} and api.store.sign_ins() == []


def test_the_endpoint_switch_changes_the_active_endpoint(api: Api) -> None:
    endpoints = Endpoints(api.folder, os.environ)
    endpoints.add(Endpoint("work", "https://gw.example"))
    assert "https://gw.example" in page(api)
    assert "work is the active endpoint" in post(api, "endpoint", name="work").body
    assert endpoints.book().active == "work"
    assert "Endpoints are off" in post(api, "endpoint", name="off").body
    assert endpoints.book().active == ""
    assert "Choose one first" in post(api, "connect", target="claude").body
    assert post(api, "endpoint", name="nosuch").status == 422


def test_a_key_for_a_change_that_fails_is_revoked(api: Api, tmp_path: Path) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text("{")
    post(api, "connect", target="claude", confirm="on")
    assert [key.live for key in api.store.keys()] == [False]


def test_a_hosted_client_with_an_old_endpoint_is_restarted(api: Api) -> None:
    overlay = str(api.folder / "clients" / "settings-1.json")
    record = ClientRecord(os.getpid(), "old", "https://old.example", "", "/work", program="host", overlay=overlay)
    bound = msgspec.structs.replace(record, bound=True, overlay=overlay.replace("-1", "-2"))
    with registered(api.folder, record), registered(api.folder, bound):
        shown = page(api)
        assert "hosted client in /work uses an old endpoint" in shown and "clients/restart" in shown
        assert "settings-2" not in shown
        assert "uses the active endpoint" in post(api, "restart", id="settings-2").body
        assert "uses the active endpoint" in post(api, "restart", id="../settings-1").body
        assert not restart_requested(api.folder, record) and not restart_requested(api.folder, bound)
        assert "restarts with the active endpoint" in post(api, "restart", id="settings-1").body
        assert restart_requested(api.folder, record)
    assert "old endpoint" not in page(api)


def test_sessions_are_listed_with_where_they_go(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, id in enumerate(("11111111-a", "22222222-b")):
        file = tmp_path / "home" / ".claude" / "sessions" / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "pid": os.getpid(),
            "sessionId": id,
            "cwd": f"/work/{number}",
            "version": "2.1.329",
            "startedAt": 1e12,
        }
        file.write_text(json.dumps(record))
    monkeypatch.setattr("byway.programs.process_environment", lambda pid: {"ANTHROPIC_BASE_URL": "http://old:1"})
    line = RequestLine("r", "POST", "/v1/messages", 200, 5, session="22222222-b", backend="one", model="big")
    api.gateway.requests.add(line, "")
    body = page(api)
    assert "elsewhere, stale" in body and "It was started with http://old:1" in body
    assert "one/big, 1 request" in body and "/work/1" in body


def test_a_conflict_is_fixed_after_its_diff(api: Api, tmp_path: Path) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text(
        json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://old:1", "ANTHROPIC_API_KEY": "k"}, "model": "haiku"})
    )
    assert "Claude Code uses another base URL" in page(api)
    shown = post(api, "fix", id="address")
    assert "Make this change" in shown.body and "http://old:1" in settings(tmp_path).read_text()
    assert "Fixed" in post(api, "fix", id="address", confirm="on").body
    assert "http://127.0.0.1:9/anthropic" in settings(tmp_path).read_text()
    assert "does not exist any more" in post(api, "fix", id="address").body


def test_the_page_and_the_command_find_the_same(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(tmp_path).parent.mkdir()
    env = {"ANTHROPIC_BASE_URL": "http://old:1", "ANTHROPIC_API_KEY": REAL_KEY, "CLAUDE_CODE_USE_VERTEX": "1"}
    settings(tmp_path).write_text(json.dumps({"env": env, "apiKeyHelper": "x", "model": "nosuch"}))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("byway.cli.doctor.find_claude", lambda environ: None)
    monkeypatch.setattr("byway.cli.client.get", lambda data, path: api("GET", path).body)
    done = CliRunner().invoke(byway, ["doctor", "--json", "--data-dir", str(api.folder)])
    findings = json.loads(done.stdout)["findings"]
    assert len(findings) >= 5
    body = page(api)
    for finding in findings:
        assert html.escape(finding["title"], quote=True).replace("&#x27;", "&#39;") in body
    for row in json.loads(done.stdout)["places"]:
        assert not row["base_url"] or row["base_url"] in body


def test_a_damaged_settings_file_is_shown_and_stays(api: Api, tmp_path: Path) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text('{"env": {')
    assert "User settings cannot be used" in page(api)
    assert post(api, "connect", target="claude").status == 422
    assert settings(tmp_path).read_text() == '{"env": {'


def test_a_program_with_a_folder_of_its_own_cannot_be_connected_from_the_page(api: Api) -> None:
    assert post(api, "connect", target="project").status == 400
    assert post(api, "connect", target="nosuch").status == 400
