"""The files that start Byway at login, for each system."""

from __future__ import annotations

import plistlib
import xml.etree.ElementTree as ElementTree
from pathlib import PurePosixPath, PureWindowsPath

from byway.launch.service import ServicePlaces, service_file

COMMAND = ["/opt/by way/python", "-m", "byway", "up", "--data-dir", "/home/ada/100% $HOME"]
PLACES = ServicePlaces(
    PurePosixPath("/home/ada"), PurePosixPath("/home/ada/.config"), PurePosixPath("/home/ada/.local/share/byway"), 501
)


def test_the_systemd_unit_starts_byway_with_the_exact_words() -> None:
    service = service_file("linux", COMMAND, PLACES)
    assert str(service.path) == "/home/ada/.config/systemd/user/byway.service"
    assert service.content.decode() == (
        "[Unit]\nDescription=Byway, a gateway between Claude Code and any model\nAfter=network.target\n"
        "StartLimitIntervalSec=60\nStartLimitBurst=5\n\n[Service]\n"
        'ExecStart="/opt/by way/python" "-m" "byway" "up" "--data-dir" "/home/ada/100%% $$HOME"\n'
        "ExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure\nRestartSec=2\nStandardOutput=null\n"
        "StandardError=journal\nUMask=0077\n\n[Install]\nWantedBy=default.target\n"
    )
    assert service.install[-1] == ("systemctl", "--user", "restart", "byway.service")


def test_the_launchd_agent_runs_at_login_and_after_a_crash() -> None:
    service = service_file("macos", COMMAND, PLACES)
    assert str(service.path) == "/home/ada/Library/LaunchAgents/byway.plist"
    agent = plistlib.loads(service.content)
    assert agent["ProgramArguments"] == COMMAND and agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False} and agent["StandardOutPath"] == "/dev/null"
    assert service.install[-1] == ("launchctl", "bootstrap", "gui/501", str(service.path))


def test_the_windows_task_runs_at_logon_without_a_time_limit() -> None:
    home = PureWindowsPath("C:/Users/Ada L")
    places = ServicePlaces(home, home, home / "byway", 0)
    command = [r"C:\Program Files\Python\python.exe", "-m", "byway", "up", "--data-dir", str(places.data)]
    service = service_file("windows", command, places)
    task = ElementTree.fromstring(service.content.decode("utf-16"))  # noqa: S314 - our own text
    names = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    action = task.find("t:Actions/t:Exec", names)
    assert action is not None and action.findtext("t:Command", "", names) == command[0]
    assert action.findtext("t:Arguments", "", names) == r'-m byway up --data-dir "C:\Users\Ada L\byway"'
    assert task.find("t:Triggers/t:LogonTrigger", names) is not None
    assert task.findtext("t:Settings/t:ExecutionTimeLimit", "", names) == "PT0S"
    assert service.install[0] == ("schtasks", "/Create", "/TN", "Byway", "/XML", str(service.path), "/F")
