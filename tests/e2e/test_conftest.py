"""The guards of tests/conftest.py, tried on tests that break each of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAVING = """
import asyncio, contextlib, socket, subprocess, pytest

def test_connects():
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 9), timeout=1)

def test_looks_up():
    async def go():
        with contextlib.suppress(OSError):
            await asyncio.open_connection("byway.example", 9)
    asyncio.run(go())

def test_stays():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass

def test_needs(program):
    program("a-program-that-is-not-installed")

def test_elsewhere():
    pytest.skip("only on another system")

def test_starts_a_process():
    subprocess.run(["true"], check=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose tests have our conftest."""
    for name in ("conftest.py", "properties.py"):
        (tmp_path / name).write_text((ROOT / "tests" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str, **environ: str) -> str:
    """The output of pytest; a worker of the outer run passes nothing of itself on."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *arguments, str(folder)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=folder, env=own | environ, capture_output=True, text=True).stdout


def test_conftest_fails_tests_that_leave_the_machine_start_processes_or_skip(folder: Path) -> None:
    (folder / "test_leaving.py").write_text(LEAVING, encoding="utf-8")
    lenient, strict = run(folder, BYWAY_TEST_REQUIRE=""), run(folder, "-n", "2", BYWAY_TEST_REQUIRE="all")
    assert "tried to leave the machine: a connection to 192.0.2.1:9" in lenient
    assert "tried to leave the machine: a look-up of byway.example" in lenient
    assert re.search(r"^4 passed, 2 skipped, 3 errors in", lenient, re.MULTILINE), lenient
    assert "this test started a process, so it belongs in tests/e2e: true" in lenient
    assert "a-program-that-is-not-installed is not installed" in lenient
    assert re.search(r"^1 failed, 4 passed, 1 skipped, 3 errors in", strict, re.MULTILINE), strict
    assert "allows no skip, and this test was skipped: a-program-that-is-not-installed is not installed" in strict


WORKER = """
import os, pathlib

def note(name):
    with (pathlib.Path(__file__).parents[1] / "log").open("a") as file:
        file.write(f"{name} {os.environ['PYTEST_XDIST_WORKER']} {os.environ['HOME']}\\n")
"""


def test_a_file_of_e2e_runs_in_one_worker_and_each_worker_has_its_own_home(folder: Path) -> None:
    tests = "\n".join(f"def test_{number}():\n    note(__file__)\n" for number in range(6))
    for name in ("e2e/test_first.py", "e2e/test_second.py", "unit/test_third.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(WORKER + tests, encoding="utf-8")
    assert "18 passed" in run(folder, "-n", "2")
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    for name in ("first", "second"):
        assert len({worker for file, worker, _ in lines if name in file}) == 1
    homes = {(worker, home) for _, worker, home in lines}
    assert len({worker for worker, _ in homes}) == len({home for _, home in homes}) == len(homes) == 2
