"""What depends on the operating system and needs a second process: locks and limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byway import platform

SOURCE = Path(__file__).parents[2] / "src"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that has Byway."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_lock_names_its_process_and_is_released_when_that_is_killed(tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom byway import platform\n"
    code += "with platform.lock_folder(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    other = python(code, str(tmp_path))
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(platform.FolderLocked, match=f"process {other.pid}.*--data-dir") as held,
            platform.lock_folder(tmp_path),
        ):
            raise AssertionError("two have the same lock")
        assert held.value.pid == other.pid
        other.kill()
    with platform.lock_folder(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with platform.lock_folder(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with such limits")
def test_a_server_raises_its_limit_of_open_files() -> None:
    code = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))\nfrom byway import platform\n"
    code += "platform.prepare_server()\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))"
    with python(code) as other:
        assert other.communicate()[0] == "(4096, 4096)\n"
