"""Fetches axe-core, which checks pages for accessibility, for the tests: `python tests/axe.py`.

It is MPL-2.0 (https://github.com/dequelabs/axe-core/blob/develop/LICENSE, seen 2026-11-21), runs in the tests' browser only,
and is no part of Byway.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.10.3"
#: Where the tests expect it.
SCRIPT = Path(sys.prefix) / f"axe-{VERSION}.js"
_PACKAGE = f"axe-core@{VERSION}"
_SHA512 = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="


def missing() -> str:
    """Why it cannot be fetched here; "" when it can."""
    return "" if shutil.which("npm") else f"npm is not installed, which brings {_PACKAGE}"


def fetch() -> None:
    """Fetch the script to SCRIPT; raises SystemExit when its checksum differs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", _PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != _SHA512:
            raise SystemExit(f"{_PACKAGE} has changed: its sha512 is {digest}, expected {_SHA512}")
        with tarfile.open(archive) as opened:
            member = opened.extractfile("package/axe.min.js")
            if member is None:
                raise SystemExit(f"{_PACKAGE} holds no script")
            part = SCRIPT.with_suffix(".part")
            with member:
                part.write_bytes(member.read())
        part.replace(SCRIPT)


if __name__ == "__main__" and not SCRIPT.exists():
    why = missing()
    if why:
        print(why)
    else:
        fetch()
