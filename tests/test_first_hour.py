"""The first hour: a copied config, its check, and the steps that connect Claude Code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pages import Pages

from byway.admin import verify
from byway.cli.main import byway

#: The sample of the reference router's guide.
SAMPLE = """\
server:
  bind_address: 0.0.0.0:8000
backends:
  - name: my-self-hosted
    type: vllm # or ollama | llamacpp | lmstudio | mlxcel | generic
    url: http://localhost:11434
    api_key: "${BACKEND_API_KEY}"
    models:
      - my-model
web_search:
  enabled: true
  provider: brave # serper | brave | exa
  api_key: "${BRAVE_API_KEY}"
# Rewrite the internal calls.
model_aliases:
  haiku: my-model
  default: my-model
"""
VARIABLES = {"BACKEND_API_KEY": "backend-0123456789", "BRAVE_API_KEY": "brave-0123456789"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYWAY_HOME", str(tmp_path / "data"))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def check(folder: Path, text: str) -> Result:
    file = folder / "config.yaml"
    file.write_text(text)
    return CliRunner().invoke(byway, ["config", "check", str(file)])


def value(done: Result, name: str) -> str:
    match = re.search(rf"^  {name}  +(.*)$", done.stdout, re.MULTILINE)
    assert match is not None, done.output
    return match[1]


# --- a copied config that has lost its indentation ---------------------------------------------------------------------


def test_a_copied_config_without_indentation_gets_one_sentence(folder: Path) -> None:
    copied = "\n".join(line.strip() for line in SAMPLE.splitlines())
    done = check(folder, copied)
    assert done.exit_code == 2
    complaints = [line for line in done.stderr.splitlines() if "config.yaml:" in line and "see above" not in line]
    assert len(complaints) == 1 and "config.yaml:2: the indentation of this file was lost" in complaints[0]


@pytest.mark.parametrize(
    "text",
    [
        "server:\nnonsense: 1\nbackends:\n  - {type: vllm}\n",
        "nonsense: 1\n",
        "server: {}\nnonsense: 1\n",
        "backends: [\n",
    ],
)
def test_another_mistake_is_reported_as_itself(folder: Path, text: str) -> None:
    done = check(folder, text)
    assert done.exit_code == 2 and "indentation of this file was lost" not in done.stderr


def test_a_list_at_the_first_column_is_valid(folder: Path) -> None:
    assert check(folder, "backends:\n- {type: vllm, models: [m]}\nlocal_only: true\n").exit_code == 0


@pytest.mark.parametrize(("key", "is_named"), [("timeout: 5x", True), ("sk-live-0123456789: x", False)])
def test_an_unknown_key_beside_a_secret_is_named_unless_it_may_be_one(folder: Path, key: str, is_named: bool) -> None:
    done = check(folder, f"backends:\n  - type: vllm\n    api_key: x-0123456789\n    {key}\n")
    name = key.partition(":")[0]
    assert done.exit_code == 2 and (f"backends.0.{name}: unknown key" in done.stderr) == is_named
    assert is_named or name not in done.output


# --- what `byway config check` says will happen ------------------------------------------------------------------------


def test_check_prints_the_address_the_keys_and_the_web_search_that_will_be_used(folder: Path) -> None:
    done = check(folder, SAMPLE)
    assert done.exit_code == 0
    assert value(done, "listens at").startswith("127.0.0.1:8000 (0.0.0.0:8000 requires a key")
    assert value(done, "keys") == "none; required once `byway key create` has made one"
    assert value(done, "web search") == "on: brave"
    assert CliRunner().invoke(byway, ["key", "create", "laptop"]).exit_code == 0
    done = check(folder, SAMPLE)
    assert value(done, "listens at") == "0.0.0.0:8000"
    assert value(done, "keys") == "1 created by `byway key`; required"


def test_check_reports_a_search_key_that_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAVE_API_KEY")
    assert value(check(folder, SAMPLE), "web search") == "brave: BRAVE_API_KEY is not set, so searches fail"
    fallback = SAMPLE.replace(
        "# Rewrite", "  fallback: [{provider: searxng, base_url: 'http://127.0.0.1:1'}]\n# Rewrite"
    )
    assert value(check(folder, fallback), "web search").endswith("so only searxng is used")


def test_check_prints_windows_and_the_implied_default(folder: Path) -> None:
    text = "backends: [{type: vllm, models: [{id: small, window: 32768}, big]}]\n"
    done = check(folder, text)
    assert "small (window 32,768), big" in value(done, "backends")
    assert value(done, "windows").startswith("as the backends report them")
    assert value(done, "aliases") == "none; a single model answers every name"
    assert value(done, "web search") == "off"


# --- connecting Claude Code step by step, as a guide describes it -------------------------------------------------------

BACKEND = "backends: [{name: box, type: vllm, url: 'http://127.0.0.1:1', models: [qwen3]}]\n"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    opened = Pages(tmp_path, BACKEND)
    backend = opened.gateway.runtime.backends["box"]
    backend.state = "ready"
    yield opened
    opened.close()


def test_step_1_the_api_page_shows_the_tcp_switch_and_the_port(pages: Pages) -> None:
    page = pages.get("/api")
    form = page.form("/api/server")
    assert (form["tcp"], form["port"]) == ("on", "38080") and "Listens at 127.0.0.1:38080" in page.text


def test_step_2_the_endpoint_card_shows_both_variables_with_a_key_that_is_not_empty(pages: Pages) -> None:
    text = pages.get("/claude").text
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:38080/anthropic" in text
    # An empty key makes Claude Code send its own login.
    assert "export ANTHROPIC_API_KEY=byway-local" in text


def test_step_3_a_model_is_chosen_by_the_name_that_the_backend_lists(pages: Pages) -> None:
    answer = pages.call("GET", "/claude/resolve?name=qwen3", "", {"hx-request": "true"})
    assert "box/qwen3" in answer.text and "by its model name; ready" in answer.text


@pytest.mark.parametrize(
    ("symptom", "fix"),
    [
        ("Connection refused", "compare the port with API"),
        ("Model not found", "check under Models whether the model is loaded"),
        ("Request timed out after 5 s", "check the load of CPU and GPU"),
        ("Authentication failed", "API -> Keys"),
        ("Byway could not parse the request", "Update both"),
        ("No model is loaded", "lms load"),
    ],
)
def test_each_row_of_the_troubleshooting_table_is_a_result_of_verify_and_a_row_of_the_docs(
    symptom: str, fix: str
) -> None:
    docs = (Path(__file__).parents[1] / "docs/troubleshooting.md").read_text("utf-8")
    assert f"`{symptom}`" in docs
    kinds = {
        "Model not found": "model_not_found",
        "Authentication failed": "authentication",
        "Request timed out after 5 s": "timeout",
        "Byway could not parse the request": "invalid_request",
    }
    if symptom == "Connection refused":
        result = asyncio.run(verify.verify("http://127.0.0.1:9/anthropic", ""))
    else:
        message = "Load the model there first." if symptom == "No model is loaded" else "model: x"
        result = verify._failed(kinds.get(symptom, "model_not_found"), message, "box", "http://127.0.0.1:9")
    assert result.summary == symptom and fix in result.hint


def test_a_model_of_claude_that_has_no_target_is_named_with_its_alias(pages: Pages) -> None:
    """`Model claude-haiku-4-5-20251001 not found`: the page names the alias to set."""
    pages.file.write_text(BACKEND + "model_aliases: {opus: box/qwen3}\n")
    asyncio.run(pages.reload())
    text = pages.get("/trouble?run=1").text
    assert "claude-haiku-4-5-20251001" in text and "Set the haiku alias or the default alias" in text
