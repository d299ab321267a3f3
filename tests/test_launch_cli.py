"""`byway endpoint` and `byway claude` up to the moment where the client starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from endpointserver import EndpointServer
from launching import Run, Started
from launching import run as run
from launching import server as server
from launching import started as started

from byway.endpoints import running
from byway.endpoints.registry import Endpoint, Endpoints

# --- endpoints ----------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_added_checked_used_listed_and_removed(run: Run, server: EndpointServer) -> None:
    added = run("endpoint", "add", "lab", server.url)
    assert added.exit_code == 0 and "saved" in added.output and "byway endpoint use lab" in added.output
    for check in ("url", "tcp", "models", "message", "count_tokens"):
        assert check in added.output
    assert "lab now" in run("endpoint", "use", "lab").output
    listed = json.loads(run("endpoint", "list", "--json").stdout)
    assert [(entry["name"], entry["active"]) for entry in listed["endpoints"]] == [("byway", False), ("lab", True)]
    assert listed["endpoints"][1]["verified"]
    assert "byway is active now" in run("endpoint", "remove", "lab").output


def test_a_correction_is_shown_and_saved_only_when_accepted(run: Run, server: EndpointServer) -> None:
    given = f"{server.url.removeprefix('http://')}/v1/messages"
    refused = run("endpoint", "add", "lab", given)
    assert refused.exit_code == 2 and f"Corrected form: {server.url}" in refused.output
    assert len(json.loads(run("endpoint", "--json").stdout)["endpoints"]) == 1
    accepted = run("endpoint", "add", "lab", given, "--yes")
    assert accepted.exit_code == 0 and f"saved: {server.url}" in accepted.output


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user:hunter2@127.0.0.1:1", "http://127.0.0.1:99999"])
def test_an_unusable_url_is_refused(run: Run, url: str) -> None:
    result = run("endpoint", "add", "lab", url, "--yes")
    assert result.exit_code == 2 and "cannot be used" in result.output and "hunter2" not in result.output


def test_a_secret_comes_from_stdin_and_is_sent_in_one_header(run: Run, server: EndpointServer, tmp_path: Path) -> None:
    without = run("endpoint", "add", "corp", server.url, "--token", stdin="sk-corp-0123456789\n")
    assert without.exit_code == 1 and "--file" in without.output
    result = run("endpoint", "add", "corp", server.url, "--token", "--file", stdin="sk-corp-0123456789\n")
    assert result.exit_code == 0 and "sk-corp" not in result.output
    assert {str(request.credentials) for request in server.seen} == {"{'authorization': 'Bearer sk-corp-0123456789'}"}


def test_an_endpoint_that_does_not_work_is_not_switched_to(run: Run, server: EndpointServer, tmp_path: Path) -> None:
    server.answer = (400, "application/json", '{"error":"No models loaded. Use `lms load`."}')
    run("endpoint", "add", "lab", server.url)
    result = run("endpoint", "use", "lab")
    assert result.exit_code == 1 and "no model loaded" in result.output and "still byway" in result.output
    assert run("endpoint", "use", "lab", "--force").exit_code == 0
    check = run("endpoint", "check", "lab", "--json")
    assert check.exit_code == 1 and json.loads(check.stdout)["advice"]["layer"] == "model"


def test_a_byway_that_forwards_the_login_of_the_client_is_checked_without_it(
    run: Run, server: EndpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "get", lambda data, path: {"client_credential": True, "variables": {}})
    monkeypatch.setattr(running, "address", lambda data: server.url)
    server.answer = (401, "application/json", '{"error":{"message":"this request has no credential"}}')
    check = run("endpoint", "check", "byway")
    assert check.exit_code == 0 and "needs the login of Claude Code" in check.output
    assert not any(seen.credentials for seen in server.seen)


# --- the client ---------------------------------------------------------------------------------------------------------


def test_arguments_behind_byways_own_go_to_the_client(run: Run, server: EndpointServer, started: Started) -> None:
    run("endpoint", "add", "lab", server.url)
    result = run("claude", "--endpoint", "lab", "-p", "a b; $(x)", "--model", "opus", "--dry-run")
    assert result.exit_code == 7
    assert started.command[3:] == ["-p", "a b; $(x)", "--model", "opus", "--dry-run"]
    assert run("claude", "--endpoint=lab", "--", "--endpoint", "x").exit_code == 7
    assert started.command[3:] == ["--endpoint", "x"]


def test_the_model_is_checked_and_set(run: Run, server: EndpointServer, started: Started) -> None:
    run("endpoint", "add", "lab", server.url)
    assert run("claude", "--endpoint", "lab", "--model", "other").exit_code == 7
    assert started.overlay["env"]["ANTHROPIC_MODEL"] == started.environ["ANTHROPIC_MODEL"] == "other"
    assert server.seen[-1].body["model"] == "other"


@pytest.mark.parametrize(
    ("window", "arguments", "is_noted"), [(8192, (), True), (8192, ("--bare", "-p", "x"), False), (32_768, (), False)]
)
def test_a_window_that_holds_no_session_is_noted(
    run: Run, server: EndpointServer, started: Started, window: int, arguments: tuple[str, ...], is_noted: bool
) -> None:
    server.models = [{"id": "tiny", "max_input_tokens": window}]
    run("endpoint", "add", "lab", server.url)
    result = run("claude", "--endpoint", "lab", *arguments)
    assert result.exit_code == 7
    assert ("8,192 tokens is too small" in result.stderr and "claude --bare" in result.stderr) is is_noted


def test_nothing_is_left_behind_when_the_client_has_ended(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    run("endpoint", "add", "lab", server.url)
    run("claude", "--endpoint", "lab")
    assert started.command[1] == "--settings" and not list((tmp_path / "data/clients").iterdir())
    assert not (tmp_path / "config").exists()


def test_no_secret_is_in_the_arguments_environment_or_settings(
    run: Run, server: EndpointServer, started: Started
) -> None:
    run("endpoint", "add", "corp", server.url, "--key", "--file", stdin="sk-corp-0123456789")
    hostile = {"ANTHROPIC_API_KEY": "sk-ant-real", "CLAUDE_CODE_USE_BEDROCK": "1", "CLAUDECODE": "1"}
    assert run("claude", "--endpoint", "corp", **hostile).exit_code == 7
    text = f"{started.command}{dict(started.environ)}{started.overlay}"
    assert "sk-corp" not in text and "sk-ant-real" not in text
    assert not {"CLAUDECODE", "CLAUDE_CODE_USE_BEDROCK"} & set(started.environ)


def test_an_endpoint_that_fails_starts_nothing(run: Run, server: EndpointServer, started: Started) -> None:
    run("endpoint", "add", "lab", server.url, "--use")
    server.answer = (401, "application/json", '{"error":{"message":"invalid x-api-key"}}')
    result = run("claude")
    assert result.exit_code == 1 and "rejected the key" in result.output and "invalid x-api-key" in result.output
    assert not started.command


def test_an_endpoint_with_a_damaged_url_fails_closed(run: Run, started: Started, tmp_path: Path) -> None:
    Endpoints(tmp_path / "data", {}).add(Endpoint("lab", "http://127.0.0.1:1"))
    Endpoints(tmp_path / "data", {}).use("lab")
    file = tmp_path / "data/endpoints.json"
    file.write_text(file.read_text().replace("http://127.0.0.1:1", "127.0.0.1:1"))
    result = run("claude", "--no-check")
    assert result.exit_code == 1 and "Correct form" in result.output and not started.command
    file.write_text("{}}")
    assert run("claude").exit_code == 1 and not started.command


def test_fallback_to_anthropic_is_a_choice_with_a_notice(run: Run, started: Started, tmp_path: Path) -> None:
    Endpoints(tmp_path / "data", {}).add(Endpoint("lab", "http://127.0.0.1:1"))
    Endpoints(tmp_path / "data", {}).use("lab")
    run("endpoint", "fallback", "on")
    result = run("claude", ANTHROPIC_BASE_URL="http://127.0.0.1:1")
    assert result.exit_code == 7 and result.output.count("Anthropic answers instead") == 2
    assert "ANTHROPIC_BASE_URL" not in started.environ and not started.overlay["env"]["ANTHROPIC_BASE_URL"]
    assert "Anthropic answers instead" in started.overlay["statusLine"]["command"]
    run("endpoint", "fallback", "off")
    assert run("claude").exit_code == 1


def test_off_uses_anthropic_with_a_notice(run: Run, started: Started) -> None:
    run("endpoint", "off")
    result = run("claude", ANTHROPIC_API_KEY="sk-ant-own")
    assert result.exit_code == 7 and "Endpoints are off" in result.output
    assert started.environ["ANTHROPIC_API_KEY"] == "sk-ant-own" and "statusLine" in started.overlay


def test_a_folder_file_has_to_be_confirmed(run: Run, server: EndpointServer, started: Started, tmp_path: Path) -> None:
    run("endpoint", "add", "lab", server.url)
    (tmp_path / "work/.byway").write_text("lab\n")
    result = run("claude")
    assert result.exit_code == 1 and "not confirmed" in result.output and not started.command
    assert run("endpoint", "use", "lab", "--folder").exit_code == 0
    assert run("claude").exit_code == 7


def test_a_gateway_login_of_claude_code_is_a_conflict(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    run("endpoint", "add", "lab", server.url)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/.credentials.json").write_text(
        '{"enterpriseGateway": {"url": "https://gw.example", "jwt": "x"}}'
    )
    result = run("claude", "--endpoint", "lab")
    assert result.exit_code == 1 and "claude auth logout" in result.output and not started.command


def test_a_dry_run_starts_nothing_and_masks_secrets(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    run("endpoint", "add", "corp", server.url, "--key", "--file", stdin="sk-corp-0123456789")
    result = run("claude", "--endpoint", "corp", "--dry-run", "-p", "x", CLAUDECODE="1")
    assert result.exit_code == 0 and not started.command
    assert "sk-corp" not in result.output and "ANTHROPIC_API_KEY=***" in result.output
    assert "Removed:   CLAUDECODE" in result.output and f"ANTHROPIC_BASE_URL={server.url}" in result.output
    assert not (tmp_path / "data/clients").exists()


def test_variables_are_printed_for_a_shell_without_the_secret(run: Run, server: EndpointServer) -> None:
    run("endpoint", "add", "corp", server.url, "--token", "--file", stdin="sk-corp-0123456789")
    hidden = run("claude", "--endpoint", "corp", "--print-env", "fish", CLAUDECODE="1")
    assert "set -gx ANTHROPIC_AUTH_TOKEN 'YOUR-KEY'" in hidden.stdout and "set -e CLAUDECODE" in hidden.stdout
    assert "sk-corp" not in hidden.output
    shown = run("claude", "--endpoint", "corp", "--show-secrets", "--print-env")
    assert "export ANTHROPIC_AUTH_TOKEN=sk-corp-0123456789" in shown.stdout


def test_settings_of_the_user_that_override_printed_variables_are_named(
    run: Run, server: EndpointServer, tmp_path: Path
) -> None:
    run("endpoint", "add", "lab", server.url)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.json").write_text('{"apiKeyHelper": "echo x"}')
    assert "settings.json overrides" in run("claude", "--endpoint", "lab", "--print-env").output


def test_a_missing_client_is_answered_with_how_to_install_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.launch.finding.find_claude", lambda environ: None)
    result = run("claude")
    assert result.exit_code == 1 and "npm install -g @anthropic-ai/claude-code" in result.output


def test_the_version_of_the_client_needs_no_endpoint(run: Run, started: Started) -> None:
    assert run("claude", "--version").exit_code == 7 and started.command[1:] == ["--version"]


def test_the_help_is_byways_own(run: Run) -> None:
    assert "byway claude -- --help" in run("claude", "--help").output
