"""`byway requests` without a running Byway."""

from __future__ import annotations

import time
from pathlib import Path

from click.testing import CliRunner

from byway.cli.main import byway


def test_when_none_runs_that_is_said(tmp_path: Path) -> None:
    for arguments in (["requests"], ["requests", "--follow"], ["requests", "--json"]):
        began = time.monotonic()
        done = CliRunner().invoke(byway, [*arguments, "--data-dir", str(tmp_path)])
        assert (done.exit_code, done.stdout) == (1, "") and "No Byway runs" in done.stderr
        assert time.monotonic() - began < 5
