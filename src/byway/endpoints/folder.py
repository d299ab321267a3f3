"""The `.byway` file of a folder: the name of an endpoint for everything below it, never a URL or a secret."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final, NamedTuple

FILE_NAME: Final = ".byway"
#: The name of an endpoint.
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_LONGEST: Final = 200
#: Parent folders that are searched.
_DEPTH: Final = 40


class FolderFile(NamedTuple):
    """A `.byway` file."""

    path: Path
    name: str = ""
    problem: str = ""
    """Why it cannot be used."""


def find_folder_file(folder: Path) -> FolderFile | None:
    """The nearest `.byway` file in `folder` and its parents; None when there is none. Folders of that name do not count."""
    folder = folder.absolute()
    for parent in (folder, *folder.parents)[:_DEPTH]:
        path = parent / FILE_NAME
        try:
            # Non-blocking: a pipe would wait for a writer.
            opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            continue
        except OSError as error:
            if path.is_dir():
                continue
            return FolderFile(path, problem=f"Cannot read {path}: {error.strerror}.")
        try:
            mode = os.fstat(opened).st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                return FolderFile(path, problem=f"{path} is not a regular file. Remove it.")
            return _read(path, os.read(opened, _LONGEST + 1))
        finally:
            os.close(opened)
    return None


def _read(path: Path, content: bytes) -> FolderFile:
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if len(content) > _LONGEST or len(names) != 1 or not NAME.fullmatch(names[0]):
        # The content is not repeated: it may be anything.
        return FolderFile(
            path, problem=f"{path} must contain the name of one endpoint and nothing else, such as `byway`. Correct it."
        )
    return FolderFile(path, names[0])
