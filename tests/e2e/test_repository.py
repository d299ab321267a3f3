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


# --- the command byway on the PATH ------------------------------------------------------------------------------------


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` for an installation in `folder`, with the commands of the user in `folder/bin`."""
    if sys.platform == "win32":
        pytest.skip("only on systems with make")
    places = [f"VENV={folder / 'venv'}", f"LINKS={folder / 'bin'}"]
    path = "/usr/bin:/bin"
    return subprocess.run(
        ["make", *places, *arguments], cwd=ROOT, env={"PATH": path, "HOME": str(folder)}, capture_output=True, text=True
    )


def test_the_command_is_linked_and_removed_with_the_installation(tmp_path: Path) -> None:
    link = tmp_path / "bin/byway"
    done = make(tmp_path, "link")
    assert done.returncode == 0 and os.readlink(link) == str(tmp_path / "venv/bin/byway")
    assert "not on your PATH yet" in done.stdout
    assert make(tmp_path, "link").returncode == 0, "a second time changes nothing"
    assert make(tmp_path, "unlink").returncode == 0 and not link.is_symlink()
    assert "unlink" in re.search(r"^clean:.*$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0]  # type: ignore[index]


def test_the_command_of_another_installation_is_kept(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    other = tmp_path / "bin/byway"
    other.write_text("mine")
    done = make(tmp_path, "link")
    assert done.returncode != 0 and "belongs to another installation" in done.stderr
    make(tmp_path, "unlink")
    assert other.read_text() == "mine"


@pytest.mark.parametrize(("answer", "is_linked"), [("\n", True), ("n\n", False)])
def test_make_up_asks_once_on_a_terminal(tmp_path: Path, answer: str, is_linked: bool) -> None:
    if sys.platform == "win32":
        pytest.skip("only on systems with make")
    import pty

    stamp = tmp_path / "venv/.linked"
    stamp.parent.mkdir()
    command = ["make", "-o", f"{stamp.parent}/.byway", f"VENV={stamp.parent}", f"LINKS={tmp_path / 'bin'}", str(stamp)]
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    code = process.wait(60)
    text = os.read(ours, 4096).decode()
    os.close(ours)
    assert code == 0 and "put the command byway into" in text, text
    assert (tmp_path / "bin/byway").is_symlink() == is_linked
    assert stamp.exists(), "it does not ask again"
    assert not make(tmp_path, "-o", f"{stamp.parent}/.byway", str(stamp)).stdout.startswith("Byway")
