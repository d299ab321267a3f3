"""How Claude Code is started for an endpoint: its environment, its settings file, models of the target, shells."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from byway.backends.protocol import ModelFacts
from byway.clientfiles.folders import UserFolders, claude_logins, user_folders
from byway.endpoints import running
from byway.endpoints.clients import ClientRecord, registered, running_clients
from byway.endpoints.preflight import PreflightReport
from byway.endpoints.registry import Endpoint, Selection
from byway.launch import session
from byway.launch.clientsettings import conflict, read_settings
from byway.launch.environment import DIVERTING, client_environment, masked
from byway.launch.finding import find_claude
from byway.launch.localbyway import ClientKey, LaunchError
from byway.launch.session import LaunchOptions, LaunchPlan, take_settings
from byway.launch.shells import export_text
from byway.launch.target import LaunchTarget, byway_target, endpoint_target, with_byway_models, with_models

URL = "http://127.0.0.1:8766"
TARGET = LaunchTarget("lab", URL)
CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
HOSTILE = {
    "PATH": "/bin",
    "LANG": "C",
    "ANTHROPIC_BASE_URL": "http://evil.example",
    "ANTHROPIC_API_KEY": "sk-ant-real",
    "ANTHROPIC_AUTH_TOKEN": "real-token",
    "ANTHROPIC_CUSTOM_HEADERS": "x-api-key: sk-ant-real",
    "ANTHROPIC_MODEL": "stale-model",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1000",
    **dict.fromkeys(DIVERTING, "1"),
}


def client_sees(made: Any, name: str) -> str:
    """The value that Claude Code uses: its settings file overrides the environment, and an empty value counts as not set."""
    return str(made.overlay["env"].get(name, made.environ.get(name, "")))


# --- exactly one credential ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (TARGET, {"ANTHROPIC_API_KEY": "byway-local"}),
        (LaunchTarget("lab", URL, "api_key", "sk-lab"), {"ANTHROPIC_API_KEY": "sk-lab"}),
        (LaunchTarget("lab", URL, "auth_token", "token"), {"ANTHROPIC_AUTH_TOKEN": "token"}),
    ],
)
def test_exactly_one_credential_is_set(target: LaunchTarget, expected: dict[str, str]) -> None:
    user = [{"apiKeyHelper": "echo leak", "env": {name: "sk-user" for name in CREDENTIALS}}]
    made = client_environment(target, HOSTILE, user)
    assert {name: value for name in CREDENTIALS if (value := client_sees(made, name))} == expected
    assert {name: made.environ[name] for name in CREDENTIALS if name in made.environ} == expected
    assert made.overlay["apiKeyHelper"] == ""
    assert "real" not in json.dumps(made.overlay) and "sk-user" not in json.dumps(made.overlay)


def test_behind_the_relay_the_client_has_neither_the_credential_nor_the_address() -> None:
    target = LaunchTarget("lab", URL, "api_key", "sk-lab", {"x-team": "blue"})
    made = client_environment(target, HOSTILE, through=("http://127.0.0.1:5555", "byway-123"))
    assert client_sees(made, "ANTHROPIC_BASE_URL") == "http://127.0.0.1:5555"
    assert client_sees(made, "ANTHROPIC_AUTH_TOKEN") == "byway-123" and not client_sees(made, "ANTHROPIC_API_KEY")
    assert "sk-lab" not in f"{made.overlay}{made.environ}" and URL not in f"{made.overlay}{made.environ}"


def test_variables_that_lead_elsewhere_are_removed_and_blanked() -> None:
    user = [{"env": {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_MODEL": "user-model"}}]
    made = client_environment(TARGET, HOSTILE, user)
    for name in (*DIVERTING, "ANTHROPIC_MODEL", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_MAX_CONTEXT_TOKENS"):
        assert name not in made.environ and not client_sees(made, name), name
    assert made.environ["LANG"] == "C" and set(DIVERTING) <= set(made.removed)
    assert client_sees(made, "ANTHROPIC_BASE_URL") == URL


def test_headers_of_the_endpoint_replace_those_of_the_user() -> None:
    made = client_environment(LaunchTarget("lab", URL, headers={"x-team": "blue"}), HOSTILE)
    assert client_sees(made, "ANTHROPIC_CUSTOM_HEADERS") == "x-team: blue"


# --- a login that is kept -------------------------------------------------------------------------------------------------

FORWARDING = byway_target(Endpoint("byway"), URL, {"client_credential": True}, "sk-byway-1")
RELAY = ("http://127.0.0.1:5555", "byway-123")


@pytest.mark.parametrize("name", [*CREDENTIALS, "CLAUDE_CODE_OAUTH_TOKEN"])
def test_a_byway_that_forwards_logins_leaves_the_login_alone(name: str) -> None:
    made = client_environment(FORWARDING, {name: "sk-ant-own"}, [{"apiKeyHelper": "echo own"}], through=RELAY)
    sent = {name: value for name in (*CREDENTIALS, "CLAUDE_CODE_OAUTH_TOKEN") if (value := client_sees(made, name))}
    assert sent == {name: "sk-ant-own"} and "apiKeyHelper" not in made.overlay
    assert client_sees(made, "ANTHROPIC_BASE_URL") == RELAY[0]
    assert client_sees(made, "ANTHROPIC_CUSTOM_HEADERS") == "x-byway-key: byway-123"
    assert "sk-byway-1" not in f"{made.overlay}{made.environ}"


@pytest.mark.parametrize("key", ["sk-byway-1", ""])
def test_without_the_relay_the_key_of_byway_goes_into_a_header(key: str) -> None:
    made = client_environment(byway_target(Endpoint("byway"), URL, {"client_credential": True}, key), {})
    assert client_sees(made, "ANTHROPIC_CUSTOM_HEADERS") == (f"x-byway-key: {key}" if key else "")
    assert not any(client_sees(made, name) for name in CREDENTIALS)


def test_the_printed_header_does_not_replace_that_of_the_relay() -> None:
    exported = {"client_credential": True, "variables": {"ANTHROPIC_CUSTOM_HEADERS": "x-byway-key: YOUR-KEY"}}
    target = with_byway_models(FORWARDING, exported, PreflightReport(()), "")
    made = client_environment(target, {}, through=RELAY)
    assert client_sees(made, "ANTHROPIC_CUSTOM_HEADERS") == "x-byway-key: byway-123"


def test_credentials_of_another_endpoint_are_no_login() -> None:
    made = client_environment(FORWARDING, HOSTILE, [{"apiKeyHelper": "echo leak"}], through=RELAY)
    assert not any(client_sees(made, name) for name in CREDENTIALS) and made.overlay["apiKeyHelper"] == ""
    assert not client_sees(made, "CLAUDE_CODE_USE_BEDROCK") and "sk-ant-real" not in f"{made.overlay}{made.environ}"
    # A placeholder would be sent instead of the login.
    made = client_environment(FORWARDING, {"ANTHROPIC_API_KEY": "byway-local"}, through=RELAY)
    assert not client_sees(made, "ANTHROPIC_API_KEY")


def test_only_a_byway_that_forwards_logins_gets_one() -> None:
    assert FORWARDING.keeps_login and FORWARDING.request_headers() == {"x-byway-key": "sk-byway-1"}
    other = byway_target(Endpoint("byway"), URL, {"client_credential": False}, "sk-byway-1")
    assert not other.keeps_login and other.request_headers() == {"authorization": "Bearer sk-byway-1"}
    assert not endpoint_target(Endpoint("lab", URL), URL, "").keeps_login


# --- proxies, retries, permissions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "user", "expected"),
    [
        ({}, {}, None),
        ({"HTTP_PROXY": "http://proxy:3128"}, {}, "127.0.0.1,localhost,::1"),
        ({"https_proxy": "http://proxy:3128", "NO_PROXY": "corp.example"}, {}, "corp.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a.example b.example"}, {}, "a.example,b.example,127.0.0.1,localhost,::1"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, {}, "*"),
        ({}, {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "c.example"}, "c.example,127.0.0.1,localhost,::1"),
    ],
)
def test_no_proxy_keeps_its_entries_and_gets_this_machine(
    environ: dict[str, str], user: dict[str, str], expected: str | None
) -> None:
    made = client_environment(TARGET, environ, [{"env": user}])
    for name in ("NO_PROXY", "no_proxy"):
        assert made.overlay["env"].get(name) == expected and made.environ.get(name) == expected


def test_no_proxy_gets_a_private_endpoint_but_not_a_public_one() -> None:
    environ = {"HTTP_PROXY": "http://proxy:3128"}
    assert (
        "192.168.1.5" in client_environment(LaunchTarget("lab", "http://192.168.1.5:80"), environ).environ["NO_PROXY"]
    )
    assert (
        "example" not in client_environment(LaunchTarget("corp", "https://gw.example.com"), environ).environ["NO_PROXY"]
    )


def test_a_permission_mode_of_the_user_is_kept() -> None:
    target = LaunchTarget("lab", URL, settings={"permissions": {"defaultMode": "acceptEdits"}})
    assert client_environment(target, {}).overlay["permissions"] == {"defaultMode": "acceptEdits"}
    auto = client_environment(target, {}, [{"permissions": {"defaultMode": "auto"}}])
    assert auto.overlay["permissions"]["defaultMode"] == "acceptEdits"
    assert "permissions" not in client_environment(target, {}, [{"permissions": {"defaultMode": "plan"}}]).overlay


def test_settings_of_the_command_line_are_merged_and_cannot_divert() -> None:
    extra = {"env": {"ANTHROPIC_BASE_URL": "http://evil", "MINE": "1"}, "apiKeyHelper": "echo x", "theme": "dark"}
    made = client_environment(TARGET, {}, extra=extra)
    assert made.overlay["theme"] == "dark" and made.overlay["env"]["MINE"] == "1"
    assert made.overlay["env"]["ANTHROPIC_BASE_URL"] == URL and made.overlay["apiKeyHelper"] == ""


def test_the_settings_argument_is_taken_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"theme": "dark"}')
    assert take_settings(["-p", "x", "--settings", "mine.json"], tmp_path) == (["-p", "x"], {"theme": "dark"})
    assert take_settings(['--settings={"a": 1}'], tmp_path) == ([], {"a": 1})
    assert take_settings(["--", "--settings"], tmp_path) == (["--", "--settings"], {})
    with pytest.raises(LaunchError, match="--settings"):
        take_settings(["--settings", "missing.json"], tmp_path)


# --- models -------------------------------------------------------------------------------------------------------------


def report(**windows: int | None) -> PreflightReport:
    models = {name: ModelFacts(window=window) for name, window in windows.items()}
    return PreflightReport((), next(iter(models), "claude-opus-5-5"), models)


def test_a_server_without_claude_models_gets_its_own_for_every_name() -> None:
    made = with_models(TARGET, Endpoint("lab", URL), report(qwen=32768, other=None), "")
    families = ("OPUS", "SONNET", "HAIKU", "FABLE")
    assert {made.variables[f"ANTHROPIC_DEFAULT_{family}_MODEL"] for family in families} == {"qwen"}
    assert made.variables["ANTHROPIC_MODEL"] == "qwen" and "CLAUDE_CODE_MAX_CONTEXT_TOKENS" in made.variables
    assert [option["model"] for option in made.settings["modelPicker"]["options"]] == ["qwen", "other"]
    assert made.settings["permissions"] == {"defaultMode": "acceptEdits"}
    assert made.variables["CLAUDE_CODE_MAX_RETRIES"] == "2"


def test_a_server_with_claude_models_keeps_the_defaults_of_the_client() -> None:
    listed = PreflightReport((), "claude-opus-5-5", {"claude-opus-5-5": ModelFacts(window=1_000_000)})
    made = with_models(
        LaunchTarget("corp", "https://gw.example.com"), Endpoint("corp", "https://gw.example.com"), listed, ""
    )
    assert made.variables == {} and made.settings == {}


def test_the_model_map_sets_families_and_overrides_ids() -> None:
    endpoint = Endpoint("lab", URL, model_map={"default": "big", "haiku": "small", "claude-sonnet-5-5": "mid"})
    made = with_models(TARGET, endpoint, PreflightReport(()), "")
    assert made.variables["ANTHROPIC_MODEL"] == "big" and made.variables["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "small"
    assert made.settings["modelOverrides"] == {"claude-sonnet-5-5": "mid"}


def test_byway_gets_the_variables_that_it_exports_and_the_chosen_model() -> None:
    exported = {
        "variables": {
            **{"ANTHROPIC_BASE_URL": "x", "ANTHROPIC_API_KEY": "y", "NO_PROXY": "z"},
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        },
        "permission_mode": "acceptEdits",
    }
    listed = report(**{"qwen": 65536, "claude-byway-qwen": 65536})
    made = with_byway_models(endpoint_target(Endpoint("byway"), f"{URL}/anthropic", ""), exported, listed, "qwen")
    assert made.variables["ANTHROPIC_MODEL"] == "qwen" and made.variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert (
        not {"ANTHROPIC_API_KEY", "NO_PROXY"} & set(made.variables)
        and "CLAUDE_CODE_MAX_CONTEXT_TOKENS" in made.variables
    )
    # The second name of each model is for clients that hide the first.
    assert [option["model"] for option in made.settings["modelPicker"]["options"]] == ["qwen"]


def test_retries_of_the_user_are_kept() -> None:
    made = with_models(TARGET, Endpoint("lab", URL), report(qwen=None), "")
    environ = client_environment(made, {"CLAUDE_CODE_MAX_RETRIES": "7"}).environ
    assert environ["CLAUDE_CODE_MAX_RETRIES"] == "7"


# --- without an endpoint ------------------------------------------------------------------------------------------------


def test_off_removes_a_base_url_and_the_credentials_beside_it() -> None:
    environ = {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": "byway-local"}
    made = client_environment(LaunchTarget(""), environ)
    assert not client_sees(made, "ANTHROPIC_BASE_URL") and not client_sees(made, "ANTHROPIC_API_KEY")


def test_off_keeps_the_credentials_of_a_user_of_anthropic() -> None:
    made = client_environment(LaunchTarget(""), {"ANTHROPIC_API_KEY": "sk-ant-own"})
    assert made.environ["ANTHROPIC_API_KEY"] == "sk-ant-own" and "apiKeyHelper" not in made.overlay


# --- what nothing overrides ---------------------------------------------------------------------------------------------


def test_a_gateway_login_and_managed_settings_are_conflicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed = tmp_path / "managed.json"
    monkeypatch.setattr(UserFolders, "managed", managed)
    environ = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    (tmp_path / "settings.json").write_text('{"env": {"ANTHROPIC_BASE_URL": "http://user"}}')
    # A file of the user is overridden.
    assert not conflict(read_settings(tmp_path / "work", environ), environ, URL)
    managed.write_text('{"env": {"ANTHROPIC_BASE_URL": "https://corp"}}')
    assert str(managed) in conflict(read_settings(tmp_path / "work", environ), environ, URL)
    managed.unlink()
    (tmp_path / ".credentials.json").write_text('{"enterpriseGateway": {"url": "https://gw", "jwt": "secret"}}')
    assert claude_logins(user_folders(tmp_path, environ)).gateway == "https://gw"
    problem = conflict([], environ, URL)
    assert "claude auth logout" in problem and "secret" not in problem


@pytest.mark.parametrize("text", ["", "[]", "{", "\0", '{"env": 5}', '{"permissions": []}'])
def test_damaged_settings_of_the_user_are_left_out(tmp_path: Path, text: str) -> None:
    environ = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    (tmp_path / "settings.json").write_text(text)
    values = [entry.values for entry in read_settings(tmp_path / "work", environ)]
    assert client_environment(TARGET, {}, values).environ["ANTHROPIC_BASE_URL"] == URL


# --- the program --------------------------------------------------------------------------------------------------------


def test_claude_is_found_on_path_then_in_the_places_of_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(folder: Path) -> Path:
        folder.mkdir(parents=True)
        path = folder / "claude"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    old = program(tmp_path / ".nvm/versions/node/v20.1.0/bin")
    assert find_claude({"PATH": str(tmp_path)}) == old
    prefix = program(tmp_path / "prefix/bin")
    assert find_claude({"PATH": str(tmp_path), "npm_config_prefix": str(tmp_path / "prefix")}) == prefix
    on_path = program(tmp_path / "bin")
    assert find_claude({"PATH": str(tmp_path / "bin")}) == on_path
    assert find_claude({"PATH": str(tmp_path), "BYWAY_CLAUDE": str(old)}) == old
    assert find_claude({"PATH": str(tmp_path), "BYWAY_CLAUDE": "/missing/claude"}) is None


def test_claude_in_the_wheel_of_the_sdk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "claude_agent_sdk/_bundled"
    bundled.mkdir(parents=True)
    (bundled / "claude").write_text("")
    (bundled / "claude").chmod(0o755)
    (tmp_path / "claude_agent_sdk/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("byway.programs.npm_folders", lambda environ: iter(()))
    monkeypatch.setitem(__import__("sys").modules, "claude_agent_sdk", None)
    monkeypatch.delitem(__import__("sys").modules, "claude_agent_sdk")
    assert find_claude({"PATH": os.devnull}) == bundled / "claude"


# --- shells -------------------------------------------------------------------------------------------------------------

PAIRS = {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_MODEL": "it's 100% & <b>"}
GOLDEN = {
    "bash": f"unset CLAUDECODE\nexport ANTHROPIC_BASE_URL={URL}\nexport ANTHROPIC_MODEL='it'\"'\"'s 100% & <b>'\n",
    "fish": f"set -e CLAUDECODE\nset -gx ANTHROPIC_BASE_URL '{URL}'\nset -gx ANTHROPIC_MODEL 'it\\'s 100% & <b>'\n",
    "powershell": (
        "Remove-Item Env:CLAUDECODE -ErrorAction SilentlyContinue\n"
        f"$env:ANTHROPIC_BASE_URL = '{URL}'\n$env:ANTHROPIC_MODEL = 'it''s 100% & <b>'\n"
    ),
    "cmd": f'set "CLAUDECODE="\nset "ANTHROPIC_BASE_URL={URL}"\nset "ANTHROPIC_MODEL=it\'s 100%% & <b>"\n',
}


@pytest.mark.parametrize("shell", GOLDEN)
def test_variables_are_printed_in_the_syntax_of_each_shell(shell: str) -> None:
    assert export_text(shell, PAIRS, ["CLAUDECODE"]) == GOLDEN[shell]


def test_a_value_cannot_end_the_command_of_cmd() -> None:
    assert export_text("cmd", {"A": 'x" & del *\n%PATH%'}, []) == 'set "A=x & del *%%PATH%%"\n'


def test_a_key_that_was_renewed_is_in_the_record_of_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "is_running", lambda data: True)
    monkeypatch.setattr(running, "get", lambda data, path: {"key_required": True})
    monkeypatch.setattr(running, "address", lambda data: "http://127.0.0.1:1")
    fresh = iter((ClientKey("key_2", "sk-byway-2"), ClientKey("key_3", "sk-byway-3")))
    monkeypatch.setattr(session, "create_key", lambda data: next(fresh))
    plan = LaunchPlan(Selection("byway", "active"), LaunchTarget("byway"), key=ClientKey("key_1", "sk-byway-1"))
    record = ClientRecord(1, "byway", "", "", "", keys=("key_1",))
    follower = session.EndpointFollower(plan, LaunchOptions(tmp_path, tmp_path), {}, record)
    with registered(tmp_path, record) as follower.update:
        renewed = follower.renew()
        assert renewed is not None and renewed.secret == "sk-byway-2"
        assert running_clients(tmp_path).running[0].keys == ("key_1", "key_2")
        follower.renew()
        assert running_clients(tmp_path).running[0].keys == ("key_1", "key_2", "key_3")


def test_secrets_are_masked_for_display_and_placeholders_are_not() -> None:
    pairs = {"ANTHROPIC_API_KEY": "sk-secret", "ANTHROPIC_AUTH_TOKEN": "byway-local", "ANTHROPIC_MODEL": "qwen"}
    assert masked(pairs) == {**pairs, "ANTHROPIC_API_KEY": "***"}
