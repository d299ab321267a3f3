"""`byway service` in a scratch config folder: with the system's own systemctl, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gateway import SOURCE


def test_the_service_is_installed_enabled_valid_and_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    environ = {
        **{"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")},
        **{"BYWAY_HOME": str(tmp_path / "data"), "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
    }

    def byway(*arguments: str) -> str:
        words = [sys.executable, "-m", "byway", "service", *arguments]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    unit = tmp_path / "config/systemd/user/byway.service"
    byway("install")
    link = unit.parent / "default.target.wants/byway.service"
    assert link.is_symlink() and link.resolve() == unit and "ExecStart=" in unit.read_text()
    assert "Service:  installed" in byway("status")
    if analyze := shutil.which("systemd-analyze"):
        verify = [analyze, "--user", "verify", str(unit)]
        checked = subprocess.run(verify, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0 and "byway.service" not in checked.stderr, checked.stderr
    byway("remove")
    assert not unit.exists() and not link.is_symlink()
    assert "not installed" in byway("remove")
