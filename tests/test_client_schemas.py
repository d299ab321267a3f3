"""The files that `byway connect` writes, against the documented schemas of the programs that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from test_clientfiles import URL, VALUES, Machine

from byway.clientfiles import jsonc
from byway.clientfiles.targets import DESKTOP_ID, TARGETS, ClientValues

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
#: https://code.claude.com/docs/en/settings (seen 2026-11-29).
CLAUDE = {
    "type": "object",
    "properties": {
        "env": _TEXTS,
        "apiKeyHelper": {"type": "string"},
        "model": {"type": "string"},
        "modelOverrides": _TEXTS,
        "skipWebFetchPreflight": {"type": "boolean"},
        "permissions": {
            "type": "object",
            "properties": {
                "defaultMode": {"enum": ["default", "acceptEdits", "plan", "auto", "dontAsk", "bypassPermissions"]}
            },
        },
    },
    "additionalProperties": False,
}
#: https://code.claude.com/docs/en/vs-code (seen 2026-11-29).
VSCODE = {
    "type": "object",
    "properties": {
        "claudeCode.environmentVariables": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                "required": ["name", "value"],
                "additionalProperties": False,
            },
        },
        "claudeCode.disableLoginPrompt": {"type": "boolean"},
    },
    "additionalProperties": False,
}


def _agents(required: str, **more: Any) -> dict[str, Any]:
    """Settings of an editor with agents. Each agent has the field `required`."""
    texts = {"type": "array", "items": {"type": "string"}}
    agent = {
        "type": "object",
        "properties": {**more, "command": {"type": "string"}, "args": texts, "env": _TEXTS},
        "required": [required],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"agent_servers": {"type": "object", "additionalProperties": agent}},
        "additionalProperties": False,
    }


#: https://zed.dev/docs/ai/external-agents (seen 2026-11-29): an agent of the registry, or a custom one with its command.
ZED = _agents("type", type={"enum": ["registry", "custom"]})
#: https://www.jetbrains.com/help/ai-assistant/acp.html (seen 2026-11-29).
JETBRAINS = _agents("command")
#: https://claude.com/docs/third-party/claude-desktop/configuration (seen 2026-11-29): every value is a string.
DESKTOP = {
    "type": "object",
    "properties": {
        "inferenceProvider": {"const": "gateway"},
        "inferenceGatewayBaseUrl": {"type": "string", "pattern": "^https?://"},
        "inferenceGatewayApiKey": {"type": "string", "minLength": 1},
        "inferenceGatewayAuthScheme": {"enum": ["bearer", "x-api-key", "auto"]},
    },
    "required": ["inferenceProvider", "inferenceGatewayBaseUrl", "inferenceGatewayApiKey"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "claude": CLAUDE,
    "project": CLAUDE,
    "local": CLAUDE,
    "vscode": VSCODE,
    "zed": ZED,
    "jetbrains": JETBRAINS,
}


@pytest.mark.parametrize("target", SCHEMAS)
def test_a_new_file_fits_the_documented_schema(tmp_path: Path, target: str) -> None:
    machine = Machine(tmp_path)
    values = VALUES._replace(permission_mode="acceptEdits", overrides={"claude-opus-5-5": "big"})
    machine.connect(target, values)
    path = TARGETS[target].path(machine.folders)
    assert path is not None
    tree = json.loads(path.read_text())
    jsonschema.validate(tree, SCHEMAS[target])
    assert URL in path.read_text()


def test_the_configuration_of_claude_desktop_fits_its_documentation(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "macos")
    machine.connect("desktop")
    folder = machine.home / "Library/Application Support/Claude-3p/configLibrary"
    index = json.loads((folder / "_meta.json").read_text())
    assert index == {"entries": [{"id": DESKTOP_ID, "name": "Byway"}], "appliedId": DESKTOP_ID}
    jsonschema.validate(json.loads((folder / f"{DESKTOP_ID}.json").read_text()), DESKTOP)


def test_the_applied_configuration_of_claude_desktop_is_changed_in_place(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "windows")
    folder = machine.home / "AppData/Local/Claude-3p/configLibrary"
    folder.mkdir(parents=True)
    index = '{"appliedId": "1111-2222", "entries": [{"id": "1111-2222", "name": "Mine"}]}'
    (folder / "_meta.json").write_text(index)
    mine = '{"inferenceProvider": "bedrock", "inferenceModels": "[\\"a\\"]"}'
    (folder / "1111-2222.json").write_text(mine)
    values = ClientValues(
        "work",
        {"ANTHROPIC_BASE_URL": "https://gw", "ANTHROPIC_API_KEY": "secret-key", "ANTHROPIC_AUTH_TOKEN": ""},
        secret=True,
    )
    machine.connect("desktop", values)
    tree = json.loads((folder / "1111-2222.json").read_text())
    assert tree.pop("inferenceModels") == '["a"]'
    jsonschema.validate(tree, DESKTOP)
    assert tree["inferenceGatewayAuthScheme"] == "x-api-key"
    machine.disconnect()
    assert (folder / "1111-2222.json").read_text() == mine and (folder / "_meta.json").read_text() == index


def test_an_agent_that_runs_claude_is_changed_and_others_stay(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    path = machine.folders.jetbrains
    path.parent.mkdir()
    text = json.dumps(
        {
            "agent_servers": {
                "Other": {"command": "other", "env": {"A": "b"}},
                "Claude": {"command": "node", "args": ["/x/claude-code-acp/index.js"]},
            }
        },
        indent=4,
    )
    path.write_text(text)
    machine.connect("jetbrains")
    agents = json.loads(path.read_text())["agent_servers"]
    assert list(agents) == ["Other", "Claude"] and agents["Other"] == {"command": "other", "env": {"A": "b"}}
    assert agents["Claude"]["env"]["ANTHROPIC_BASE_URL"] == URL and agents["Claude"]["command"] == "node"
    machine.disconnect()
    assert path.read_text() == text


def test_vs_code_settings_with_comments_keep_them(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    path = machine.folders.vscode
    path.parent.mkdir(parents=True)
    text = """{
    // fonts
    "editor.fontSize": 14,
    "claudeCode.environmentVariables": [
        { "name": "MINE", "value": "1" }, // keep
    ],
}
"""
    path.write_text(text)
    machine.connect("vscode")
    assert "// fonts" in path.read_text() and "// keep" in path.read_text()
    variables = jsonc.value(path.read_text(), ("claudeCode.environmentVariables",))
    assert [entry["name"] for entry in variables][:2] == ["MINE", "ANTHROPIC_BASE_URL"]
    jsonschema.validate({"claudeCode.environmentVariables": variables}, VSCODE)
    machine.disconnect()
    assert path.read_text() == text
