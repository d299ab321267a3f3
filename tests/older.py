"""Fetches Claude Code 2.1.197, an older version still in use, for `make long`: `python tests/older.py`.

It is the last version for node 18 and 20, so npm still installs it there. It has no tool search, and assumes a window of
200,000 tokens for an unknown model.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "2.1.197"
#: Where the tests expect it.
PROGRAM = Path(sys.prefix) / f"claude-{VERSION}"
_PACKAGE = f"@anthropic-ai/claude-code-linux-x64@{VERSION}"
_SHA512 = "rIlKmrY0QMyHgPRX/MYWNj039vbypICvI9jVe3rs9Xy2RnNklySjyPxqh62QadznzoftEO23uYQ1tFePcQ//bg=="


def missing() -> str:
    """Why it cannot be fetched here; "" when it can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"only on Linux x64 is Claude Code {VERSION} fetched"
    return "" if shutil.which("npm") else f"npm is not installed, which brings Claude Code {VERSION}"


def fetch() -> None:
    """Fetch the program to PROGRAM; raises SystemExit when its checksum differs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", _PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != _SHA512:
            raise SystemExit(f"{_PACKAGE} has changed: its sha512 is {digest}, expected {_SHA512}")
        with tarfile.open(archive) as opened:
            member = opened.extractfile("package/claude")
            if member is None:
                raise SystemExit(f"{_PACKAGE} holds no program")
            part = PROGRAM.with_suffix(".part")
            with member, part.open("wb") as file:
                shutil.copyfileobj(member, file, 1 << 20)
        part.chmod(0o755)
        part.replace(PROGRAM)


if __name__ == "__main__" and not PROGRAM.exists():
    why = missing()
    if why:
        print(why)
    else:
        fetch()
