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


def test_without_a_server_the_connection_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--url", "http://127.0.0.1:9/anthropic")
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        "Connection refused (address)" in done.stderr and "byway up" in done.stderr and "backends[]" not in done.stderr
    )
    verdict = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL="http://127.0.0.1:9/anthropic").stdout)
    assert (verdict["url"], verdict["summary"]) == ("http://127.0.0.1:9/anthropic", "Connection refused")


@pytest.mark.parametrize("elsewhere", ["https://api.anthropic.com", "http://10.0.0.1", "http://[", "nonsense", ""])
def test_without_a_running_byway_only_this_machine_is_queried(
    tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byway.cli.verify.USUAL_URL", "http://127.0.0.1:9")
    verdict = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL=elsewhere).stdout)
    assert verdict["url"] == "http://127.0.0.1:9/anthropic"


def test_an_invalid_url_or_key_is_explained(tmp_path: Path) -> None:
    odd = run(tmp_path, "--url", "nonsense")
    assert odd.exit_code == 1 and "Invalid address" in odd.stderr and "HOST:PORT" in odd.stderr
    assert run(tmp_path, "--url", "http://127.0.0.1:9", ANTHROPIC_API_KEY="a\u2028b").exit_code == 2
