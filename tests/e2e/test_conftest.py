"""The guards of tests/conftest.py, tried on tests that break each of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_conftest_fails_tests_that_leave_the_machine_start_processes_or_skip(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_leaving.py").write_text(LEAVING, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def run(**more: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", str(tmp_path)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | more, capture_output=True, text=True).stdout

    lenient, strict = run(BYWAY_TEST_REQUIRE=""), run(BYWAY_TEST_REQUIRE="all")
    assert "tried to leave the machine: a connection to 192.0.2.1:9" in lenient
    assert "tried to leave the machine: a look-up of byway.example" in lenient
    assert re.search(r"^4 passed, 2 skipped, 3 errors in", lenient, re.MULTILINE), lenient
    assert "this test started a process, so it belongs in tests/e2e: true" in lenient
    assert "a-program-that-is-not-installed is not installed" in lenient
    assert re.search(r"^1 failed, 4 passed, 1 skipped, 3 errors in", strict, re.MULTILINE), strict
    assert "allows no skip, and this test was skipped: a-program-that-is-not-installed is not installed" in strict
