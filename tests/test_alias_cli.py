"""`byway alias`: list, set and remove aliases, without a running Byway."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scripted import Say, Scripted

from byway.admin import aliases
from byway.admin.config import CurrentConfig
from byway.cli.main import byway
from byway.config import load
from byway.runtime import Runtime

TEXT = """\
backends:
  # gone for today
  - {name: work, type: vllm, url: "http://127.0.0.1:1", models: [big, gpt-4.1]}
model_aliases:
  haiku: [gpt-4.1, work/big]   # small calls
  claude-*: work/big
  lost: nowhere
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "byway.yaml").write_text(TEXT)
    return tmp_path / "byway.yaml"


def run(file: Path, *arguments: str) -> Result:
    places = ["--config", str(file), "--data-dir", str(file.parent / "data")]
    return CliRunner().invoke(byway, ["alias", *arguments, *places])


def test_the_list_contains_the_slots_and_the_aliases_of_the_config(file: Path) -> None:
    done = run(file)
    assert done.exit_code == 0, done.output
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "TARGETS", "ANSWERS", "NOW", "STATE"]
    assert [row.split()[0] for row in rows] == [
        *("haiku", "sonnet", "opus", "fable", "default"),
        *("claude-*", "lost"),
    ]
    assert "gpt-4.1, work/big" in rows[0] and "work/big (by claude-*)" in rows[0], (
        "what Claude Code asks for fits the glob"
    )
    assert rows[1].split() == ["sonnet", "-", "work/big", "(by", "claude-*)", "failed"]
    assert rows[4].split() == ["default", "-", "-", "not", "set"]
    assert "nowhere" in rows[6] and "no backend" in rows[6]
    assert "work: Backend 'work' at 127.0.0.1:1 cannot be reached" in done.stderr
    assert run(file, "list").stdout == done.stdout


def test_json_output_is_that_of_the_api(file: Path) -> None:
    table = {alias["name"]: alias for alias in json.loads(run(file, "--json").stdout)["aliases"]}
    assert table["haiku"]["targets"] == ["gpt-4.1", "work/big"]
    assert table["haiku"]["resolved"][0]["backend"] == "work"
    assert (table["opus"]["targets"], table["opus"]["alias"]) == ([], "claude-*")
    assert (table["default"]["resolved"], table["default"]["state"]) == ([], "not set")
    tried = json.loads(run(file, "try", "claude-haiku-4-5-20251001", "--json").stdout)
    assert (tried["alias"], [target["model"] for target in tried["targets"]]) == ("claude-*", ["big"])
    changed = json.loads(run(file, "set", "opus", "work/big", "--json").stdout)
    assert (changed["name"], changed["targets"], changed["changed"], changed["running"]) == (
        "opus",
        ["work/big"],
        True,
        False,
    )
    assert json.loads(run(file, "unset", "opus", "--json").stdout)["targets"] == []


def test_set_and_unset_keep_the_rest_of_the_file(file: Path) -> None:
    assert run(file, "set", "default", "work/big", "gpt-4.1").stdout == "Alias default set: work/big, gpt-4.1\n"
    assert run(file, "set", "haiku", "work/big").exit_code == 0
    text = file.read_text()
    assert "  haiku: work/big   # small calls\n" in text and "  # gone for today\n" in text
    assert text.endswith("  default:\n    - work/big\n    - gpt-4.1\n")
    assert (
        "byway alias"
        in CliRunner()
        .invoke(byway, ["config", "history", "--config", str(file), "--data-dir", str(file.parent / "data")])
        .stdout
    )
    assert run(file, "set", "gpt-5.1", "work/big").exit_code == 0, "a name may have dots"
    assert "gpt-5.1: work/big" in file.read_text()
    assert run(file, "unset", "default").stdout == "Alias default removed\n"
    assert "default" not in file.read_text()


def test_a_target_that_no_backend_serves_causes_a_warning(file: Path) -> None:
    done = run(file, "set", "default", "work/small")
    assert done.exit_code == 0 and "does not list the model 'small'" in done.stderr
    assert "nowhere" not in done.stderr, "that was so before"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["unset", "sonnet"], 2, "There is no alias sonnet. Aliases: haiku, claude-*, lost."),
        (["set", "sonnet"], 2, "TARGET"),
        (["set", "", "x"], 2, "name: an alias needs a name"),
        (["set", "sonnet", " "], 2, "targets: give at least one"),
        (["try", "gpt-9"], 1, "model: gpt-9 is not known"),
        (["try", "lost"], 1, "model_aliases.lost"),
    ],
)
def test_an_invalid_change_is_explained_and_nothing_is_written(
    file: Path, arguments: list[str], code: int, says: str
) -> None:
    done = run(file, *arguments)
    assert (done.exit_code, done.stdout) == (code, "") and says in done.stderr
    assert file.read_text() == TEXT


def test_try_prints_the_alias_and_the_targets_in_order(file: Path) -> None:
    lines = run(file, "try", "haiku").stdout.splitlines()
    assert lines[0] == "haiku (by the alias haiku):"
    assert lines[1].startswith("  1. work/gpt-4.1  failed: ") and lines[2].startswith("  2. work/big  failed")
    assert run(file, "try", "big").stdout.startswith("big (a model's own name):\n")


# --- targets that no backend serves -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello."), models=("my-model",)) as server:
        yield server


def served(file: Path, server: Scripted, aliases: str = "") -> Path:
    file.write_text(f"backends:\n  - {{name: my-self-hosted, type: generic, url: '{server.url}'}}\n{aliases}")
    return file


def states(file: Path) -> dict[str, tuple[str, list[str]]]:
    """The state and the unserved targets of each alias."""
    table = json.loads(run(file, "--json").stdout)["aliases"]
    return {alias["name"]: (alias["state"], alias["unserved"]) for alias in table}


def test_the_only_model_answers_every_name_without_an_alias(file: Path, server: Scripted) -> None:
    served(file, server)
    done = run(file, "try", "claude-opus-5-5")
    assert done.exit_code == 0 and "1. my-self-hosted/my-model  ready" in done.stdout


def test_the_first_alias_keeps_the_implied_default(file: Path, server: Scripted) -> None:
    served(file, server)
    done = run(file, "set", "haiku", "nosuch")
    assert done.exit_code == 0
    assert "warning: no backend serves nosuch, so `default` answers instead." in done.stderr
    assert "default: my-self-hosted/my-model" in file.read_text()
    assert run(file, "try", "claude-sonnet-5").exit_code == 0


def test_the_first_alias_without_a_config_file_keeps_the_built_in_model(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    done = run(file, "set", "haiku", "nosuch")
    assert done.exit_code == 0 and "no backend serves nosuch" in done.stderr
    assert re.search(r"default: builtin/\S+", file.read_text())


def test_a_target_that_its_backend_does_not_list_is_never_ready(file: Path, server: Scripted) -> None:
    aliases = "model_aliases: {haiku: my-self-hosted/my-modle, opus: nosuch, default: my-model}\n"
    served(file, server, aliases)
    assert states(file)["haiku"] == ("not served", ["my-self-hosted/my-modle"])
    assert states(file)["opus"] == ("not served", ["nosuch"]), "although `default` answers for it"
    assert states(file)["default"] == ("ready", [])
    assert "opus: no backend serves nosuch" in run(file).stderr
    assert "my-modle  not served" in run(file, "try", "haiku").stdout
    done = run(file, "set", "sonnet", "my-self-hosted/my-modle")
    assert "no backend serves my-self-hosted/my-modle, so requests for sonnet fail with 404." in done.stderr
    done = run(file, "set", "sonnet", "my-model", "my-self-hosted/my-modle")
    assert "so only the other targets can answer" in done.stderr
    assert "warning" not in run(file, "set", "sonnet", "my-model").stderr


def test_a_change_through_the_api_keeps_the_implied_default(tmp_path: Path) -> None:
    config = load("", {})
    current = CurrentConfig("", "", config, [])
    edits = aliases.alias_edits(current, Runtime(config), "haiku", ["nosuch"])
    assert [edit.path for edit in edits] == [("model_aliases", "haiku"), ("model_aliases", "default")]
