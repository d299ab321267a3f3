"""The printed exports for shells that the tests do not run, and the texts for editors, Docker and GitHub Actions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from byway.admin import exports
from byway.admin.exports import ClientSetup
from byway.admin.setups import SetupText, setup_texts
from byway.clientfiles.folders import user_folders
from byway.clientfiles.targets import TARGETS, ClientValues


def test_fish_and_powershell_values_are_quoted() -> None:
    assert exports.fish([("A", "it's \\ here")]) == "set -gx A 'it\\'s \\\\ here'"
    assert exports.powershell([("A", "it's $here")]) == "$env:A = 'it''s $here'"


def test_variables_beside_a_forwarded_login_have_no_key_or_token() -> None:
    setup = ClientSetup("http://127.0.0.1:38080", client_credential=True)
    assert (
        not {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"}
        & dict(exports.variables(setup)).keys()
    )
    setup = setup._replace(key_required=True)
    pairs = exports.variables(setup)
    assert dict(pairs)["ANTHROPIC_CUSTOM_HEADERS"] == "x-byway-key: YOUR-KEY"
    assert "ANTHROPIC_API_KEY" not in dict(pairs)
    assert "export ANTHROPIC_CUSTOM_HEADERS='x-byway-key: YOUR-KEY'" in exports.bash(pairs)
    assert '-H "$ANTHROPIC_CUSTOM_HEADERS"' in exports.curl(setup)[0]


def test_clients_of_https_get_the_file_that_they_have_to_trust() -> None:
    setup = ClientSetup("https://127.0.0.1:38080", trust="/home/ada/my data/tls/ca.pem")
    pairs = dict(exports.variables(setup))
    assert pairs["NODE_EXTRA_CA_CERTS"] == "/home/ada/my data/tls/ca.pem"
    assert "curl --cacert '/home/ada/my data/tls/ca.pem' https://127.0.0.1:38080/" in exports.curl(setup)[0]
    assert "NODE_EXTRA_CA_CERTS" not in dict(exports.variables(setup._replace(trust="")))


PAIRS = [
    ("ANTHROPIC_BASE_URL", "http://127.0.0.1:38080/anthropic"),
    ("ANTHROPIC_API_KEY", "YOUR-KEY"),
    ("ANTHROPIC_MODEL", 'it\'s a "model" & ${{ secrets.X }} %PATH%'),
    ("NODE_EXTRA_CA_CERTS", "/home/ada/my data/ca.pem"),
    ("NO_PROXY", "127.0.0.1"),
]


def texts(pairs: exports.Pairs = PAIRS, *, listens_wide: bool = False) -> dict[str, SetupText]:
    return {text.name: text for text in setup_texts(pairs, listens_wide=listens_wide, key_required=True)}


def test_there_is_a_text_for_each_shell_editor_and_place() -> None:
    names = "bash fish powershell cmd env settings vscode jetbrains zed desktop docker actions"
    assert list(texts()) == names.split()


def test_the_texts_for_editors_are_json_with_every_variable() -> None:
    variables = dict(PAIRS)
    vscode = json.loads(texts()["vscode"].text)
    assert {entry["name"]: entry["value"] for entry in vscode["claudeCode.environmentVariables"]} == variables
    (agent,) = json.loads(texts()["jetbrains"].text)["agent_servers"].values()
    assert agent["env"] == variables and agent["command"] == "npx"
    assert json.loads(texts()["zed"].text)["agent_servers"]["claude-acp"] == {"type": "registry", "env": variables}
    assert json.loads(texts()["settings"].text)["env"] == variables
    assert json.loads(texts()["desktop"].text) == {
        "inferenceProvider": "gateway",
        "inferenceGatewayBaseUrl": variables["ANTHROPIC_BASE_URL"],
        "inferenceGatewayApiKey": "YOUR-KEY",
        "inferenceGatewayAuthScheme": "x-api-key",
    }


def test_the_texts_for_editors_are_what_connect_writes(tmp_path: Path) -> None:
    """The same variables at the same places."""
    folders = user_folders(tmp_path, {"HOME": str(tmp_path)})
    values = ClientValues("byway", dict(PAIRS))
    for name, path in (
        ("vscode", ("claudeCode.environmentVariables",)),
        ("zed", ("agent_servers", "claude-acp", "env")),
        ("jetbrains", ("agent_servers", "Claude Agent (Byway)", "env")),
    ):
        (change,) = TARGETS[name].plan(folders, values)
        settings = [setting for setting in change.settings if setting.path[: len(path)] == path]
        assert len(settings) == len(PAIRS), name
        assert texts()[name].text.count(path[0]) == 1


def test_a_container_uses_the_name_of_its_host() -> None:
    text = texts()["docker"].text
    words = shlex.split(text)
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    variables = dict(PAIRS) | {
        "ANTHROPIC_BASE_URL": "http://host.docker.internal:38080/anthropic",
        "NODE_EXTRA_CA_CERTS": "/etc/byway-ca.pem",
        "NO_PROXY": "127.0.0.1,host.docker.internal",
    }
    assert dict(entry.split("=", 1) for entry in given) == variables
    assert "/home/ada/my data/ca.pem:/etc/byway-ca.pem:ro" in words
    assert "host.docker.internal:host-gateway" in words
    assert "allow external access" in texts()["docker"].note
    assert "allow external access" not in texts(listens_wide=True)["docker"].note
    public = [("ANTHROPIC_BASE_URL", "https://byway.example.org/anthropic")]
    assert "https://byway.example.org/anthropic" in texts(public)["docker"].text


@pytest.mark.parametrize("client_credential", [False, True])
def test_the_workflow_is_yaml_and_takes_the_key_from_a_secret(client_credential: bool) -> None:
    setup = ClientSetup("http://10.0.0.2:38080", key_required=True, client_credential=client_credential)
    text = texts([*exports.variables(setup), PAIRS[2]])["actions"].text
    job = YAML(typ="safe", pure=True).load(text)["jobs"]["claude"]
    step = job["steps"][1]
    assert job["env"] == {"ANTHROPIC_BASE_URL": "http://10.0.0.2:38080/anthropic"}
    secret = "ANTHROPIC_API_KEY" if client_credential else "BYWAY_KEY"
    assert step["with"]["anthropic_api_key"] == f"${{{{ secrets.{secret} }}}}"
    variables = json.loads(step["with"]["settings"])["env"]
    assert "${{ secrets.X" not in text and variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert (variables.get("ANTHROPIC_CUSTOM_HEADERS") == "x-byway-key: ${{ secrets.BYWAY_KEY }}") is client_credential
    assert "YOUR-KEY" not in text


def test_a_value_for_cmd_cannot_end_its_command() -> None:
    assert exports.cmd([("A", 'x" & del *\n')]) == 'set "A=x & del *"'
