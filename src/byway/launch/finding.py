"""Finds programs of clients: on PATH, where npm and its relatives install, and `claude` in the wheel of claude-agent-sdk."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from byway import programs

INSTALL_HINT: Final = (
    "Claude Code is not installed, or is not on PATH. Install it with one of:\n"
    "  npm install -g @anthropic-ai/claude-code    (needs Node.js 22)\n"
    "  pip install claude-agent-sdk                (contains it, without Node.js)\n"
    "Or name the program by a variable: BYWAY_CLAUDE=/path/to/claude"
)


def find_claude(environ: Mapping[str, str]) -> Path | None:
    """The path of Claude Code: `$BYWAY_CLAUDE`, else the first that is installed; None when there is none."""
    if named := environ.get("BYWAY_CLAUDE"):
        chosen = shutil.which(os.path.expanduser(named), path=environ.get("PATH"))
        return Path(chosen) if chosen else None
    name = programs.program_file("claude")
    if on_path := shutil.which(name, path=environ.get("PATH", os.defpath)):
        return Path(on_path)
    return next((path for path in _places(environ, name) if path.is_file() and os.access(path, os.X_OK)), None)


def find_agent(name: str, program: str, environ: Mapping[str, str]) -> Path | None:
    """The path of an agent: what the variable BYWAY_ with its name in capitals names, else its installed program."""
    search = [environ.get("PATH", os.defpath), *map(str, programs.npm_folders(environ))]
    named = os.path.expanduser(environ.get(f"BYWAY_{name.upper()}") or program)
    path = shutil.which(named, path=os.pathsep.join(search))
    return Path(path) if path else None


def _places(environ: Mapping[str, str], name: str) -> Iterator[Path]:
    yield from (folder / name for folder in programs.npm_folders(environ))
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is not None and spec.origin:
        yield Path(spec.origin).parent / "_bundled" / name
