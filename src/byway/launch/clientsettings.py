"""Reads Claude Code's own settings and logins, which may lead past the endpoint of a launch. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway.clientfiles.folders import claude_logins, read_object, user_folders

_ADDRESSES: Final = ("ANTHROPIC_BASE_URL", "ANTHROPIC_UNIX_SOCKET")


class ClientSettings(NamedTuple):
    """A settings file of Claude Code."""

    level: str
    """`managed`, `local`, `project` or `user`."""
    path: Path
    values: dict[str, Any]


def read_settings(folder: Path, environ: Mapping[str, str]) -> list[ClientSettings]:
    """The settings files that apply in `folder`, the strongest first. Missing and invalid ones are left out."""
    folders = user_folders(folder, environ)
    files = (
        ("managed", folders.managed),
        ("local", folder / ".claude/settings.local.json"),
        ("project", folder / ".claude/settings.json"),
        ("user", folders.claude / "settings.json"),
    )
    return [ClientSettings(level, path, values) for level, path in files if (values := read_object(path)) is not None]


def conflict(settings: Sequence[ClientSettings], environ: Mapping[str, str], base_url: str) -> str:
    """Why a client would not use `base_url` whatever it is started with; empty when nothing is in the way."""
    for entry in settings:
        block = entry.values.get("env")
        if entry.level != "managed" or not isinstance(block, dict):
            continue
        for name in _ADDRESSES:
            if block.get(name) and str(block[name]).rstrip("/") != base_url.rstrip("/"):
                return f"{entry.path} sets {name}. It is the administrator's file, and nothing overrides it. Change it there."
    gateway = claude_logins(user_folders(Path(), environ)).gateway
    if gateway and gateway.rstrip("/") != base_url.rstrip("/"):
        return (
            f"Claude Code is signed in to the gateway {gateway} and sends every request there (measured). "
            "Sign out first: claude auth logout"
        )
    return ""
