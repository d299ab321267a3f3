"""Compares the gateway contract in a Claude Code program with `byway.signin.contract`: `make contract CLAUDE=/path/to/claude`."""

from __future__ import annotations

import difflib
import json
import mmap
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import claude_agent_sdk

from byway.signin.contract import ERRORS, NAMES, PATHS, REFUSALS, SAFE_VARIABLES, SECTIONS

BUNDLED = Path(claude_agent_sdk.__file__).parent / "_bundled/claude"
#: Names that 2.1.329 applies without a question and 2.1.332 does not.
WITHDRAWN = frozenset(["CLAUDE_CODE_DISABLE_CRON"])
#: A path in the text, and a row of the table of errors.
_PATH = re.compile(r"(?:(?<=[`} ])|^)/(?:v1|api|oauth|managed|\.well-known)/[\w/.-]*\w(?![\w{}])", re.MULTILINE)
_ERROR = re.compile(r"^\| (\d\d\d|5xx) \| `(\w+)` \|", re.MULTILINE)
_NEWEST = "@anthropic-ai/claude-code-linux-x64@latest"


class Contract(NamedTuple):
    """The parts of the contract that Byway relies on."""

    refusals: list[str]
    sections: list[str]
    variables: list[str]
    paths: list[str]
    errors: list[str]
    """Each with its status."""
    code: list[str]
    """The names that the program's code contains, of those that Byway relies on."""


def read(program: Path) -> Contract:
    """Read the contract from a Claude Code program. Raises ValueError when its layout has changed."""
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        text = _part(content, b"# Claude Code gateway protocol\n", b"\n`,")
        routed = _part(content, b"## Customer-routed inference\n", b"\n`")
        names = _part(content, b'=new Set(["ANTHROPIC_BEDROCK_REGION_PREFIX"', b"])")
        code = [name for name in _relied_on() if _is_in_code(content, name.encode())]
    return Contract(
        re.findall(r"^\| `([a-z_]+)(?::<[^`]*>)?` \|", routed, re.MULTILINE),
        [json.loads(f'"{title}"') for title in re.findall(r"^## (.+)$", text, re.MULTILINE)],
        sorted(re.findall(r'"(\w+)"', names)),
        sorted(set(_PATH.findall(text))),
        [" ".join(row) for row in _ERROR.findall(text)],
        code,
    )


def _relied_on() -> list[str]:
    """What the code must contain: a name that only its text contains has no effect."""
    return sorted({*NAMES, *PATHS, *(type for _, type in ERRORS)})


def _is_in_code(content: mmap.mmap, name: bytes) -> bool:
    """Is it a text of the code, or the end of a template?"""
    return content.find(b'"%b"' % name) >= 0 or content.find(b"}%b`" % name) >= 0


def _part(content: mmap.mmap, start: bytes, stop: bytes) -> str:
    """The text from `start` to `stop`, with the backticks of a template as they are meant."""
    first = content.find(start)
    last = content.find(stop, first)
    if first < 0 or last < first:
        raise ValueError(f"the program does not contain {start.decode()!r}: its layout has changed")
    return content[first:last].decode("utf-8", "replace").replace("\\`", "`")


def differences(contract: Contract) -> list[str]:
    """The lines of a diff from what Byway relies on to the contract of a client; empty when they are the same."""
    known = sorted(SAFE_VARIABLES | (WITHDRAWN & set(contract.variables)))
    return [
        *_diff("names of refusals", REFUSALS, contract.refusals),
        *_diff("sections", SECTIONS, contract.sections),
        *_diff("variables without a question", known, contract.variables),
        *_diff("paths", PATHS, contract.paths),
        *_diff("errors", map(" ".join, ERRORS), contract.errors),
        *_diff("names in the code", _relied_on(), contract.code),
    ]


def _diff(what: str, known: Iterable[str], client: Iterable[str]) -> list[str]:
    return list(difflib.unified_diff(list(known), list(client), f"Byway: {what}", f"client: {what}", lineterm="", n=1))


def fetch_newest(folder: Path) -> Path:
    """Fetch npm's newest Claude Code for Linux x64 into a folder, and return its program."""
    subprocess.run(["npm", "pack", "--silent", _NEWEST], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as opened:
        opened.extract("package/claude", folder, filter="data")
    return folder / "package/claude"


def main(arguments: list[str]) -> int:
    """Print the differences for a program, for npm's newest with `newest`, else for the bundled one."""
    with tempfile.TemporaryDirectory() as folder:
        program = (
            fetch_newest(Path(folder)) if arguments == ["newest"] else Path(arguments[0]) if arguments else BUNDLED
        )
        lines = differences(read(program))
    print("\n".join(lines) or "The contract of this client is the one that Byway implements.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
