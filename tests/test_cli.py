"""The command line in this process: config sources, welcome text and exports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml

from byway.admin.exports import ClientSetup, launch
from byway.admin.exports import variables as exports
from byway.cli.configfile import find, ignored_file
from byway.cli.welcome import BackendLine, StartReport, offer, welcome, wrap
from byway.config import ConfigError, load
from byway.local.discovery import DiscoveredServer


def test_the_installed_command_calls_main() -> None:
    scripts = Path(__file__).parent.parent / "pyproject.toml"
    assert 'byway = "byway.cli.main:main"' in scripts.read_text()


def test_the_file_is_found_in_this_order_and_never_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("given.yaml", {"BYWAY_CONFIG": "named.yaml"}).path == Path("given.yaml")
    assert find(None, {"BYWAY_CONFIG": "named.yaml"}).path == Path("named.yaml")
    monkeypatch.setattr("byway.platform.config_folder", lambda: tmp_path / "user")
    own = find(None, {})
    assert own.path == tmp_path / "user" / "byway.yaml"
    assert not own.there
    assert own.read().backends[0].type == "builtin"
    assert ignored_file(own) is None
    Path("byway.yaml").write_text("backends: [{type: ollama}]\n")
    assert own.read().backends[0].type == "builtin"
    note = ignored_file(own)
    assert note is not None
    assert "./byway.yaml was not loaded" in note
    assert ignored_file(find("byway.yaml", {})) is None


def test_a_config_file_that_disappears_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.platform.config_folder", lambda: tmp_path)
    source = find(None, {})
    before = source.stamp()
    file = tmp_path / "byway.yaml"
    file.write_text("backends: [{type: ollama}]\n")
    assert source.stamp() != before
    assert source.read().backends[0].type == "ollama"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        source.read()


def test_keys_of_the_key_file_are_added_to_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "byway.yaml").write_text("api_keys: {api_keys: [{key: one-0123456789}], api_keys_file: keys.yaml}\n")
    keys = tmp_path / "keys.yaml"
    keys.write_text("- {key: '${SECOND}'}\n")
    source = find(str(tmp_path / "byway.yaml"), {"SECOND": "two-0123456789"})
    assert [key.key for key in source.read().api_keys.api_keys] == ["one-0123456789", "two-0123456789"]
    before = source.stamp()
    keys.write_text("- {nonsense: 1}\n")
    assert source.stamp() != before
    with pytest.raises(ConfigError, match=rf"{re.escape(str(keys))}:1"):
        source.read()


def setup(**more: Any) -> ClientSetup:
    return ClientSetup("http://127.0.0.1:38080", window=32768)._replace(**more)


BOX = BackendLine("box", "llama.cpp", "ready", "", ("qwen3",))


def text_of(changes: ClientSetup | None = None, **more: Any) -> str:
    """The start text; `more` are fields of the report."""
    report = StartReport(changes or setup(), config="none", backends=(BOX,))._replace(**more)
    return "\n".join(line.text for line in welcome(report))


def test_a_small_window_is_set_for_claude_code() -> None:
    names = dict(exports(setup()))
    assert names["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "32768"
    assert names["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "8192"
    assert names["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "claude-haiku-5-5"
    assert launch(setup()) == "claude --permission-mode acceptEdits"


def test_an_unknown_window_is_left_to_the_user() -> None:
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS" not in dict(exports(setup(window=None)))
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=WINDOW" in text_of(setup(window=None))


def test_anthropics_own_models_need_only_the_address() -> None:
    official = setup(is_official=True, window=None)
    assert list(dict(exports(official))) == ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"]
    assert launch(official) == "claude"


def test_without_an_alias_for_claudes_names_the_model_is_named() -> None:
    names = dict(exports(setup(has_claude_names=False, test_model="qwen3")))
    assert names["ANTHROPIC_MODEL"] == names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "qwen3"


def test_the_key_is_never_empty_and_never_shown() -> None:
    assert dict(exports(setup()))["ANTHROPIC_API_KEY"] == "byway-local"
    text = text_of(setup(key_required=True), keys=("team", "ci"))
    assert "export ANTHROPIC_API_KEY=YOUR-KEY" in text
    assert "team, ci" in text
    assert '-H "x-api-key: $ANTHROPIC_API_KEY"' in text


def test_the_limits_of_the_built_in_model_are_stated() -> None:
    text = text_of(setup(is_builtin=True, window=8192))
    assert "cannot work as an agent" in text
    assert 'claude --bare -p "Say hello"' in text
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=8192" in text


def test_a_failed_backend_is_shown_with_its_message() -> None:
    text = text_of(backends=(BackendLine("box", "vLLM", "failed", "connection refused", ()),))
    assert "box (vLLM, failed)" in text
    assert "connection refused" in text


def test_without_a_tcp_address_only_curl_is_offered() -> None:
    text = text_of(setup(url=None), socket="/run/byway.sock")
    assert "curl --unix-socket /run/byway.sock http://localhost/anthropic/v1/messages" in text
    assert "export" not in text


@pytest.mark.parametrize("model", ["qwen3-coder:30b", "Qwen/Qwen3-8B", "7b", "on", "a: b", "weird #name", "null", "x:"])
def test_the_lines_for_a_running_server_are_a_config_that_uses_it(model: str) -> None:
    for url in ("http://127.0.0.1:11434", "http://127.0.0.1:9999"):
        lines = offer(DiscoveredServer("ollama", url, (model,), "0.13"))
        assert len(lines) == 4
        loaded = load("\n".join(lines), {})
        assert loaded.backends[0].type == "ollama"
        assert loaded.backends[0].url in (None, url)
        assert loaded.model_aliases == {"default": (model,)}
        assert ruamel.yaml.YAML(typ="safe").load("\n".join(lines))["model_aliases"]["default"] == model
    text = text_of(
        servers=(DiscoveredServer("ollama", "http://127.0.0.1:11434", (model,), "0.13"),), config_file="~/byway.yaml"
    )
    assert "Ollama 0.13 is running at http://127.0.0.1:11434" in text
    assert "~/byway.yaml" in text


def test_a_server_without_models_is_shown_without_config_lines() -> None:
    assert "serves no model yet" in text_of(servers=(DiscoveredServer("vllm", "http://127.0.0.1:8000", ()),))


def test_wrapping_never_splits_a_word() -> None:
    assert wrap("a bb " + "c" * 30 + " d", 6) == ["a bb", "c" * 30, "d"]
    assert wrap("") == []
