"""Secrets typed at a terminal, and a start that touches no keychain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from keychain import kept as kept
from keychain import use as use

chain = pytest.importorskip("chain")
VALUE = "serper-0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_config_that_names_none_touches_no_keychain(tmp_path: Path) -> None:
    """Nor does it import the library: that would be a tenth of a second at every start."""
    file = tmp_path / "byway.yaml"
    file.write_text("backends: [{type: ollama, api_key: '${SOME_KEY:-none}'}]")
    code = (
        "import os, sys; from byway.cli.configfile import find; find(sys.argv[1], os.environ).read();"
        "print([name for name in sys.modules if name.split('.')[0] == 'keyring'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYWAY_HOME", str(folder))
    return folder


def test_a_secret_is_typed_without_being_seen(home: Path, kept: Any) -> None:
    if sys.platform == "win32":
        pytest.skip("only on systems with terminals that a program can be")
    import pty

    ours, theirs = pty.openpty()
    environ = {
        **os.environ,
        "PYTHON_KEYRING_BACKEND": "chain.Chain",
        "CHAIN": str(kept.path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "byway", "secret", "set", "serper"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    seen = b""
    while b"hidden" not in seen:
        seen += os.read(ours, 1000)
    time.sleep(0.1)
    os.write(ours, VALUE.encode() + b"\n")
    try:
        while data := os.read(ours, 1000):
            seen += data
    except OSError:
        pass
    os.close(ours)
    assert process.wait(60) == 0 and kept.get_password("byway", "serper") == VALUE
    assert b"stored in the system's keychain" in seen and VALUE.encode() not in seen
