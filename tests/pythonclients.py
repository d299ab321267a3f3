"""Installs Python clients for `make long`, each list in an environment of its own: `python tests/pythonclients.py`.

They run in the tests only, and are no part of Byway. Each file tests/python/NAME.in is locked in NAME.txt, with hashes, by
`make lock`; agents pin versions of SDKs that others cannot have beside them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent / "python"
#: Where the environments are kept.
FOLDER: Final = Path(sys.prefix) / "python-clients"
LISTS: Final = tuple(sorted(path.stem for path in ROOT.glob("*.txt")))


def environment(name: str) -> Path:
    """The folder of an environment, which changes with its list."""
    return FOLDER / f"{name}-{hashlib.sha256((ROOT / f'{name}.txt').read_bytes()).hexdigest()[:12]}"


def program(name: str, command: str) -> Path:
    """The path of a program in an environment, whether it is installed or not."""
    return environment(name) / "bin" / command


def _install(name: str) -> None:
    folder = environment(name)
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
    python = ["--python", str(folder / "bin/python")]
    options = ["--require-hashes", "--no-deps", "-r", str(ROOT / f"{name}.txt")]
    subprocess.run([*uv, "pip", "install", *python, *options], check=True)
    (folder / "installed").touch()


def main() -> None:
    """Install what is not there."""
    FOLDER.mkdir(exist_ok=True)
    for name in LISTS:
        if not (environment(name) / "installed").exists():
            print(f"Byway: installing the Python clients {name}", flush=True)
            _install(name)


if __name__ == "__main__":
    main()
