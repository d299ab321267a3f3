"""`byway verify` without a running Byway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from byway.cli.main import byway


def run(folder: Path, *arguments: str, **environ: str) -> Result:
    environ = {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_KEY": "", **environ}
    return CliRunner().invoke(byway, ["verify", "--data-dir", str(folder), *arguments], env=environ)


def test_nobody_is_there(tmp_path: Path) -> None:
    done = run(tmp_path, "--url", "http://127.0.0.1:9/anthropic")
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        "Connection refused (address)" in done.stderr and "byway up" in done.stderr and "backends[]" not in done.stderr
    )
    told = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL="http://127.0.0.1:9/anthropic").stdout)
    assert (told["url"], told["said"]) == ("http://127.0.0.1:9/anthropic", "Connection refused")


@pytest.mark.parametrize("elsewhere", ["https://api.anthropic.com", "http://10.0.0.1", "http://[", "nonsense", ""])
def test_without_a_byway_only_this_machine_is_asked(
    tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byway.cli.verify._USUAL", "http://127.0.0.1:9")
    told = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL=elsewhere).stdout)
    assert told["url"] == "http://127.0.0.1:9/anthropic"


def test_what_is_no_url_and_no_key_is_said(tmp_path: Path) -> None:
    odd = run(tmp_path, "--url", "nonsense")
    assert odd.exit_code == 1 and "No such address" in odd.stderr and "HOST:PORT" in odd.stderr
    assert run(tmp_path, "--url", "http://127.0.0.1:9", ANTHROPIC_API_KEY="a\u2028b").exit_code == 2
