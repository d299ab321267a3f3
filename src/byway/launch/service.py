"""Starts Byway at login: a systemd user unit, a launchd agent, or a Windows task, and the commands for it. Pure.

Sources: systemd.service(5) and systemd.unit(5) of systemd 252; launchd.plist(5); Task Scheduler schema 1.2,
https://learn.microsoft.com/windows/win32/taskschd/task-scheduler-schema (all seen 2026-11-29).
"""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import escape

UNIT: Final = "byway.service"
LABEL: Final = "byway"
Command = tuple[str, ...]


class ServiceFile(NamedTuple):
    """How Byway is started at login on one system."""

    path: PurePath
    content: bytes
    link: PurePath | None
    """A symbolic link to the file that enables it; None where there is none."""
    install: tuple[Command, ...]
    """Commands after the file is written."""
    remove: tuple[Command, ...]
    """Commands before the file is removed."""
    reload: tuple[Command, ...]
    """Commands after the file is removed."""
    status: Command
    """Succeeds while Byway runs as a service."""


class ServicePlaces(NamedTuple):
    """Folders of the user."""

    home: PurePath
    config: PurePath
    """`$XDG_CONFIG_HOME` on Linux."""
    data: PurePath
    """Byway's data folder."""
    uid: int


def service_file(
    system: Literal["linux", "macos", "windows"], command: Sequence[str], places: ServicePlaces
) -> ServiceFile:
    """The service that runs `command`, the words of `byway up`, at login."""
    if system == "linux":
        return _systemd(command, places)
    if system == "macos":
        return _launchd(command, places)
    return _task(command, places)


def _systemd(command: Sequence[str], places: ServicePlaces) -> ServiceFile:
    folder = places.config / "systemd/user"
    line = " ".join(_unit_word(word) for word in command)
    # Standard output contains a link that opens the settings page, which the journal must not keep.
    content = f"""[Unit]
Description=Byway, a gateway between Claude Code and any model
After=network.target
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
ExecStart={line}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
StandardOutput=null
StandardError=journal
UMask=0077

[Install]
WantedBy=default.target
"""
    user = ("systemctl", "--user")
    return ServiceFile(
        folder / UNIT,
        content.encode(),
        folder / "default.target.wants" / UNIT,
        ((*user, "daemon-reload"), (*user, "enable", UNIT), (*user, "restart", UNIT)),
        ((*user, "disable", "--now", UNIT),),
        ((*user, "daemon-reload"),),
        (*user, "is-active", "--quiet", UNIT),
    )


def _unit_word(word: str) -> str:
    """One word of ExecStart: quoted, with `%` and `$` doubled (systemd.service(5), Command lines)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _launchd(command: Sequence[str], places: ServicePlaces) -> ServiceFile:
    path = places.home / "Library/LaunchAgents/byway.plist"
    content = plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Interactive",
            "Umask": 0o077,
            "StandardOutPath": "/dev/null",
            "StandardErrorPath": str(places.data / "service.log"),
        }
    )
    domain = f"gui/{places.uid}"
    return ServiceFile(
        path,
        content,
        None,
        (("launchctl", "bootout", f"{domain}/{LABEL}"), ("launchctl", "bootstrap", domain, str(path))),
        (("launchctl", "bootout", f"{domain}/{LABEL}"),),
        (),
        ("launchctl", "print", f"{domain}/{LABEL}"),
    )


def _task(command: Sequence[str], places: ServicePlaces) -> ServiceFile:
    path = places.data / "byway-task.xml"
    arguments = " ".join(_windows_word(word) for word in command[1:])
    content = f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>Byway, a gateway between Claude Code and any model</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Principals>
    <Principal id="Author"><LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel></Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>5</Count></RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>{escape(command[0])}</Command><Arguments>{escape(arguments)}</Arguments></Exec>
  </Actions>
</Task>
"""
    name = ("/TN", "Byway")
    return ServiceFile(
        path,
        content.replace("\n", "\r\n").encode("utf-16"),
        None,
        (("schtasks", "/Create", *name, "/XML", str(path), "/F"), ("schtasks", "/Run", *name)),
        (("schtasks", "/End", *name), ("schtasks", "/Delete", *name, "/F")),
        (),
        ("schtasks", "/Query", *name),
    )


def _windows_word(word: str) -> str:
    """One argument for the C runtime of Windows: quoted when it contains a space (a path contains no quotes)."""
    return f'"{word}"' if " " in word or not word else word
