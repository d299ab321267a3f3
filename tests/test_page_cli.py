"""`byway page` without a running Byway."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner

from byway.cli.main import byway


def test_without_a_running_byway_there_is_no_link(tmp_path: Path) -> None:
    done = CliRunner().invoke(byway, ["page", "--data-dir", str(tmp_path)])
    assert (
        (done.exit_code, done.stdout) == (1, "") and "No Byway is running" in done.stderr and "byway up" in done.stderr
    )
    assert os.listdir(tmp_path) in ([], ["lock"]), "no signing key is made"
