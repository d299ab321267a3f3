"""`byway requests` without a running Byway."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from byway.cli.main import byway


def test_without_a_running_byway_it_exits_with_1(tmp_path: Path) -> None:
    for arguments in (["requests"], ["requests", "--follow"], ["requests", "--json"]):
        done = CliRunner().invoke(byway, [*arguments, "--data-dir", str(tmp_path)])
        assert (done.exit_code, done.stdout) == (1, "") and "No Byway is running" in done.stderr
