"""The repository as git and make see it: committed files, the make targets, quiet installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_committed_files_name_no_registry_and_no_path_of_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("only on a git checkout")
    host = re.compile(
        rb"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|/root/|/work/(?:main|shared)|/opt/wheels|/tmp/w/"
    )
    named = [
        name
        for name in listed.stdout.decode().split("\0")
        if name
        and name != "tests/e2e/test_repository.py"
        and (ROOT / name).is_file()
        and host.search((ROOT / name).read_bytes())
    ]
    assert not named


def test_make_help_lists_each_target() -> None:
    if sys.platform == "win32":
        pytest.skip("only on systems with make")
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"up", "unit", "test", "long", "mutants", "check", "bench", "lock", "clean"} <= set(targets)
    assert all(f"make {target}" in listed for target in targets if target != "help")


@pytest.mark.slow
def test_an_installation_shows_its_own_lines_and_errors_and_no_warnings(tmp_path: Path) -> None:
    """pip warns of the missing folder in its configuration, and fails because it has no index."""
    if sys.platform == "win32":
        pytest.skip("only on systems with make")
    stamp = tmp_path / "venv/.runtime"
    done = subprocess.run(
        ["make", f"VENV={stamp.parent}", str(stamp)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["Byway:", "Byway:"], done.stdout
    assert "WARNING" not in done.stderr and "ERROR: No matching distribution found" in done.stderr
