"""The version that is installed now, which may be newer than the running one, and what changed in each version.

Nothing is requested from the network: the changelog is installed with the code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

import byway

_PACKAGE: Final = Path(byway.__file__).parent
_VERSION: Final = re.compile(r'^__version__ = "([^"\n]{1,40})"$', re.MULTILINE)
_RELEASE: Final = re.compile(r"## \[?([^\]\s]+)\]?(?: - (\S+))?")
#: Bytes of a changelog that are read.
_LARGEST: Final = 2 << 20


class ReleaseNote(Struct, frozen=True):
    """Changes under one heading."""

    heading: str
    """`Added`, or a topic of it: `Added: Batches`."""
    changes: tuple[str, ...]
    """Markdown."""


class Release(Struct, frozen=True):
    """What changed in a version, the newest first."""

    version: str
    date: str
    """As the changelog has it; empty for a version that is not released."""
    notes: tuple[ReleaseNote, ...]


class InstalledVersion(NamedTuple):
    """A version file, as it was read last."""

    stamp: tuple[int, int]
    version: str


class VersionFile:
    """The version of the code on the disk. It is read again only when the file has changed."""

    def __init__(self, folder: Path = _PACKAGE) -> None:
        self._path = folder / "__init__.py"
        self._last: InstalledVersion | None = None

    def installed(self) -> str:
        """The version on the disk; that of the running process when it cannot be read, as during an upgrade."""
        try:
            facts = self._path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            if self._last is None or self._last.stamp != stamp:
                match = _VERSION.search(self._path.read_text("utf-8"))
                self._last = InstalledVersion(stamp, match[1] if match else byway.__version__)
            return self._last.version
        except (OSError, UnicodeDecodeError):
            return byway.__version__


def read_releases(folder: Path = _PACKAGE) -> tuple[Release, ...]:
    """The releases of the installed changelog; none when it cannot be read. Blocks."""
    path = folder / "CHANGELOG.md"
    try:
        text = path.read_bytes()[:_LARGEST].decode("utf-8", "replace")
        if text.startswith("../") and "\n" not in text.strip():
            # A link, which this system has checked out as a file with its target.
            text = (folder / text.strip()).read_text("utf-8")[:_LARGEST]
    except OSError:
        return ()
    return parse_changelog(text)


def parse_changelog(text: str) -> tuple[Release, ...]:
    """The releases of a changelog in the form of keepachangelog.com. A line without a mark is the topic of those below."""
    releases: list[Release] = []
    notes: list[ReleaseNote] = []
    changes: list[str] = []
    kind = topic = ""

    def end_note() -> None:
        if changes:
            notes.append(ReleaseNote(f"{kind}: {topic}" if topic else kind, tuple(changes)))
            changes.clear()

    def end_release() -> None:
        end_note()
        if releases:
            releases[-1] = Release(releases[-1].version, releases[-1].date, tuple(notes))
        notes.clear()

    for line in text.splitlines():
        if match := _RELEASE.fullmatch(line.strip()):
            end_release()
            releases.append(Release(match[1], match[2] or "", ()))
            kind = topic = ""
        elif not releases:
            # The introduction.
            continue
        elif line.startswith("### "):
            end_note()
            kind, topic = line[4:].strip(), ""
        elif line.startswith("- "):
            changes.append(line[2:].strip())
        elif line.startswith(" ") and changes:
            changes[-1] += f" {line.strip()}"
        elif line.strip():
            end_note()
            topic = line.strip()
    end_release()
    return tuple(releases)
