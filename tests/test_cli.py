"""The command line in this process: config sources, welcome text and exports."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from byway.admin.exports import ClientSetup, client_setup, launch, no_proxy
from byway.admin.exports import variables as exports
from byway.cli.configfile import find, ignored_file
from byway.cli.main import byway
from byway.cli.welcome import BackendLine, StartReport, offer, welcome
from byway.config import ConfigError, load
from byway.local.discovery import DiscoveredServer, usual_urls
from byway.runtime import Runtime


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


@pytest.mark.parametrize(
    ("window", "context", "output"),
    [
        # Measured with 60 reads: these use the window and compact without an end of the session.
        (32_768, 49_152, 4_096),
        (65_536, 86_016, 8_192),
        (131_072, 159_744, 16_384),
        (262_144, 294_432, 20_000),
        # Too small for a session: nothing is added.
        (8_192, 8_192, 2_048),
    ],
)
def test_a_small_window_is_set_so_that_claude_code_uses_all_of_it(window: int, context: int, output: int) -> None:
    names = dict(exports(setup(window=window)))
    assert names["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(context)
    assert names["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == str(output)
    assert names["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "claude-haiku-5-5"
    assert ("too small" in text_of(setup(window=window))) == (window < 30_000)


def test_the_printed_permission_mode_works_without_and_with_a_classifier() -> None:
    assert launch(setup()) == "claude --permission-mode acceptEdits"
    assert "For auto mode: byway config set safeguards.classifier qwen3" in text_of(setup(main_model="qwen3"))
    assert launch(setup(has_classifier=True)) == "claude --permission-mode auto"
    assert "For auto mode" not in text_of(setup(has_classifier=True))


def test_an_unknown_window_is_left_to_the_user() -> None:
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS" not in dict(exports(setup(window=None)))
    assert "models: [{id: NAME, window: TOKENS}]" in text_of(setup(window=None, model="qwen3"))


@pytest.mark.parametrize(
    ("environ", "value"),
    [
        ({}, ""),
        ({"NO_PROXY": "corp.example"}, ""),
        ({"HTTP_PROXY": "http://proxy:3128"}, "127.0.0.1,localhost,::1"),
        ({"https_proxy": "proxy", "no_proxy": "corp.example, localhost"}, "corp.example,localhost,127.0.0.1,::1"),
    ],
)
def test_a_proxy_is_not_used_for_byway_itself(environ: dict[str, str], value: str) -> None:
    assert no_proxy(environ) == value
    assert dict(exports(setup(no_proxy=value))).get("NO_PROXY", "") == value


def test_a_model_that_two_backends_list_is_exported_with_its_backend() -> None:
    backends = [
        {"name": name, "type": "generic", "url": url, "models": models}
        for name, url, models in (
            ("here", "http://127.0.0.1:1", ["my-model", "own"]),
            ("far", "https://api.example.com", ["my-model"]),
        )
    ]
    for alias, exported in (("here/my-model", "here/my-model"), ("far/my-model", "far/my-model"), ("own", "own")):
        config = load(json.dumps({"backends": backends, "model_aliases": {"default": alias}}), {})
        result = asyncio.run(client_setup(Runtime(config), "http://127.0.0.1:38080", {}))
        assert result.main_model == exported
        assert dict(exports(result._replace(window=32_768)))["ANTHROPIC_MODEL"] == exported


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
    assert "cannot work as an agent" in text and "too small" not in text
    assert 'claude --bare -p "Say hello"' in text
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=8192" in text


def test_a_failed_backend_is_shown_with_its_message() -> None:
    text = text_of(backends=(BackendLine("box", "vLLM", "failed", "connection refused", ()),))
    assert "box (vLLM, failed): connection refused" in text


def test_without_a_tcp_address_only_curl_is_offered() -> None:
    text = text_of(setup(url=None), socket="/run/byway.sock")
    assert "curl --unix-socket /run/byway.sock http://localhost/anthropic/v1/messages" in text
    assert "export" not in text


@pytest.mark.parametrize("model", ["qwen3-coder:30b", "Qwen/Qwen3-8B", "on", "a: b", "weird #name", "it's $(id)"])
def test_the_line_for_a_running_server_makes_a_config_that_uses_it(model: str, tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:11434", "http://127.0.0.1:9999"):
        file = tmp_path / f"{url[-4:]}.yaml"
        line = offer(DiscoveredServer("ollama", url, (model,), "0.13"))
        for words in (shlex.split(command) for command in line.split(" && ")):
            places = ["--config", str(file), "--data-dir", str(tmp_path)]
            done = CliRunner().invoke(byway, [*words[1:], *places])
            assert done.exit_code == 0, done.output
        loaded = load(file.read_text(), {})
        assert loaded.backends[0].type == "ollama" and loaded.backends[0].url in (None, url)
        assert loaded.model_aliases == {"default": (model,)}
    server = DiscoveredServer("ollama", "http://127.0.0.1:11434", (model,), "0.13")
    text = text_of(servers=(server, server))
    assert "Ollama 0.13 is running at http://127.0.0.1:11434 (and 1 more: see Models on the settings page)" in text


def test_a_server_without_models_is_shown_without_config_lines() -> None:
    assert "serves no model yet" in text_of(servers=(DiscoveredServer("vllm", "http://127.0.0.1:8000", ()),))


# --- one screen -------------------------------------------------------------------------------------------------------

MANY = tuple(
    BackendLine(f"box-{number:02}", "vLLM", "ready" if number < 6 else "failed", "It cannot be reached. " * 9, ("m",))
    for number in range(30)
)
#: The worst case of everything at once.
FULL: dict[str, Any] = {
    "backends": MANY,
    "keys": ("team", "ci", "a", "b", "c", "d"),
    "servers": (DiscoveredServer("ollama", "http://127.0.0.1:11434", ("qwen3",)),) * 3,
    "unserved": tuple(f"nosuch-{number} (haiku)" for number in range(9)),
    "page": f"http://127.0.0.1:38080/login?token={'x' * 90}",
    "program": ".venv/bin/byway",
    "notes": ("./byway.yaml was not loaded: its folder may belong to another user. To use it: --config byway.yaml",),
}


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("more", [{}, FULL], ids=["usual", "full"])
@pytest.mark.parametrize("window", [None, 8_192, 32_768])
def test_the_start_text_fits_one_screen_and_keeps_what_is_needed(
    columns: int, more: dict[str, Any], window: int | None
) -> None:
    changed = setup(window=window, model="qwen3", main_model="qwen3", no_proxy="localhost" if more else "")
    report = StartReport(changed, config="~/.config/byway/byway.yaml", backends=(BOX,))._replace(**more)
    lines = [line.text for line in welcome(report, (24, columns))]
    # Two more lines are printed by `byway up`: the address, and how to stop it.
    assert sum(-(-(len(line) + 2) // columns) or 1 for line in lines) + 2 <= 24, "\n".join(lines)
    text = "\n".join(lines)
    for part in ("http://127.0.0.1:38080/anthropic", "ANTHROPIC_API_KEY", "claude --permission-mode acceptEdits"):
        assert part in text
    if more:
        assert "6 of 30 ready: box-00, box-01, box-02, box-03 and 2 more" in text
        assert "Not ready: box-06" in text and "/login?token=" in text
        assert "No backend serves nosuch-0 (haiku)" in text and "./byway.yaml was not loaded" in text
    else:
        assert "Try it:" in text


def test_a_block_is_left_out_as_a_whole() -> None:
    lines = [line.text for line in welcome(StartReport(setup(), backends=(BOX,)), (14, 100))]
    assert not any("curl" in line or "Try it" in line or "max_tokens" in line for line in lines)


def test_byway_does_not_discover_itself() -> None:
    urls = usual_urls(["127.0.0.1:8000", "unix:/run/byway.sock"], ["http://localhost:11434/v1/"])
    assert "vllm" not in urls and "ollama" not in urls and urls["llamacpp"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize(("typed", "hint"), [("upp", "byway up"), ("alais", "byway alias"), ("verfy", "byway verify")])
def test_an_unknown_command_gets_the_nearest_one(typed: str, hint: str) -> None:
    done = CliRunner().invoke(byway, [typed])
    assert done.exit_code == 2 and f"Did you mean `{hint}`?" in done.stderr
    assert "byway --help" in CliRunner().invoke(byway, ["zzzzz"]).stderr


def test_the_version_is_an_option_too() -> None:
    done = CliRunner().invoke(byway, ["--version"])
    assert done.exit_code == 0 and done.stdout == CliRunner().invoke(byway, ["version"]).stdout
