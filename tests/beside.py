"""Runs commands as processes beside a running Byway, with its config, data folder and home."""

from __future__ import annotations

import os
import subprocess
import sys

from gateway import SOURCE, Gateway


def command(gateway: Gateway, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `byway` with `arguments` and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "byway", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "HOME": str(gateway.home),
            "BYWAY_HOME": str(gateway.home / "data"),
            "BYWAY_CONFIG": str(gateway.file),
            **environ,
        },
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
