"""Where the client programs of a user keep their settings and logins, and what Claude Code's own files contain of logins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from byway import platform
from byway.clientfiles import files, shell
from byway.clientfiles.files import ClientFileError
from byway.codes import text_digest

System = Literal["linux", "macos", "windows"]


class UserFolders(NamedTuple):
    """Where the programs of a user keep their settings."""

    home: Path
    project: Path
    """The working folder, whose `.claude` folder counts."""
    environ: Mapping[str, str]
    system: System

    @property
    def claude(self) -> Path:
        """Claude Code's config folder."""
        named = self.environ.get("CLAUDE_CONFIG_DIR")
        return Path(os.path.expanduser(named)) if named else self.home / ".claude"

    @property
    def claude_state(self) -> Path:
        """The file in which Claude Code keeps its state: beside its default folder, and inside a chosen one."""
        return (self.claude if self.environ.get("CLAUDE_CONFIG_DIR") else self.home) / ".claude.json"

    @property
    def config(self) -> Path:
        """Where programs keep their settings: `~/.config`, or `%APPDATA%` on Windows."""
        if self.system == "windows":
            return Path(self.environ.get("APPDATA") or self.home / "AppData" / "Roaming")
        return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config")

    @property
    def vscode(self) -> Path:
        """https://code.visualstudio.com/docs/configure/settings#_user-settingsjson-location (seen 2026-11-29)."""
        base = self.home / "Library" / "Application Support" if self.system == "macos" else self.config
        return base / "Code" / "User" / "settings.json"

    @property
    def zed(self) -> Path:
        """https://zed.dev/docs/configuring-zed (seen 2026-11-29)."""
        if self.system == "macos":
            return self.home / ".config" / "zed" / "settings.json"
        return self.config / ("Zed" if self.system == "windows" else "zed") / "settings.json"

    @property
    def jetbrains(self) -> Path:
        """https://www.jetbrains.com/help/ai-assistant/acp.html (seen 2026-11-29)."""
        return self.home / ".jetbrains" / "acp.json"

    @property
    def desktop(self) -> Path | None:
        """https://claude.com/docs/third-party/claude-desktop/configuration (seen 2026-11-29): no place on Linux."""
        if self.system == "macos":
            return self.home / "Library" / "Application Support" / "Claude-3p" / "configLibrary"
        if self.system == "windows":
            local = self.environ.get("LOCALAPPDATA") or self.home / "AppData" / "Local"
            return Path(local) / "Claude-3p" / "configLibrary"
        return None

    @property
    def managed(self) -> Path:
        """https://code.claude.com/docs/en/settings#settings-files (seen 2026-11-29)."""
        folder = {
            "linux": Path("/etc/claude-code"),
            "macos": Path("/Library/Application Support/ClaudeCode"),
            "windows": Path(self.environ.get("PROGRAMFILES") or "C:/Program Files") / "ClaudeCode",
        }[self.system]
        return folder / "managed-settings.json"

    def profile(self, kind: shell.Shell) -> Path:
        """The profile that an interactive shell reads last."""
        if kind == "zsh":
            return Path(self.environ.get("ZDOTDIR") or self.home) / ".zshrc"
        if kind == "fish":
            return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config") / "fish" / "config.fish"
        if kind == "powershell":
            # https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_profiles (seen 2026-11-29).
            name = "Microsoft.PowerShell_profile.ps1"
            if self.system == "windows":
                return self.home / "Documents" / "PowerShell" / name
            return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config") / "powershell" / name
        # A terminal on macOS starts login shells, which do not read .bashrc.
        return self.home / (".bash_profile" if self.system == "macos" else ".bashrc")


def user_folders(project: Path, environ: Mapping[str, str]) -> UserFolders:
    """Where the programs of this user keep their settings."""
    return UserFolders(platform.expand_user("~"), project, environ, platform.system())


def has_console_login(folders: UserFolders) -> bool:
    """Is Claude Code logged in with a key of the Anthropic Console?

    That key is sent beside a token, but not beside another key (measured, 2.1.329). Without such a login a token is
    better: Claude Code's terminal first asks whether it may use a key from the environment.
    """
    return bool((read_object(folders.claude_state) or {}).get("primaryApiKey"))


class ClaudeLogins(NamedTuple):
    """The logins in Claude Code's file of credentials, without their secrets."""

    claude: bool
    """It is logged in to claude.ai."""
    gateway: str
    """The URL of the gateway that it is signed in to; empty when it is not."""


def claude_logins(folders: UserFolders) -> ClaudeLogins:
    """What Claude Code is logged in to."""
    credentials = read_object(folders.claude / ".credentials.json") or {}
    gateway = credentials.get("enterpriseGateway")
    url = str(gateway.get("url") or "") if isinstance(gateway, dict) else ""
    return ClaudeLogins(bool(credentials.get("claudeAiOauth")), url)


def gateway_digest(folders: UserFolders) -> str:
    """The SHA-256 of the token with which Claude Code is signed in to a gateway, in hexadecimal digits.

    Empty when it is not signed in, and on macOS, where the token is in the keychain.
    """
    gateway = (read_object(folders.claude / ".credentials.json") or {}).get("enterpriseGateway")
    token = gateway.get("jwt") if isinstance(gateway, dict) else None
    return text_digest(token).hex() if isinstance(token, str) and token else ""


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file; None when there is none."""
    try:
        content = json.loads(files.read(path).data)
    except (ClientFileError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
