"""The Byway that runs beside a command: where it is, and how its backends are doing."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from byway import platform

#: The file in the data folder that says where Byway listens.
ADDRESS: Final = "address"
#: The unix socket in the data folder: whoever can open it is the owner, and needs no login.
SOCKET: Final = "byway.sock"
_LIMIT: Final = 5.0
_MOST: Final = 16 << 20


def address(folder: Path) -> str | None:
    """The URL of the Byway that has this data folder; None when none runs, or it listens at a unix socket only."""
    try:
        with platform.lock_folder(folder):
            return None
    except platform.FolderLocked:
        pass
    except OSError:
        return None
    try:
        return (folder / ADDRESS).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class _Own(http.client.HTTPConnection):
    """A connection to the socket in a data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=_LIMIT)
        self._path = str(folder / SOCKET)

    def connect(self) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("Python has no unix sockets on this system")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(folder: Path, path: str) -> dict[str, Any] | None:
    """What the Byway with this data folder answers its owner at `path` (`/byway/requests`); None when none answers."""
    connection = _Own(folder)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        found = json.loads(answer.read(_MOST)) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None


def takes(folder: Path, file: Path) -> bool | None:
    """Does a Byway with this data folder run that has this config file? None: one runs, and does not say."""
    told = ask(folder, "/byway/config")
    if told is None:
        return None if address(folder) else False
    return Path(str(told.get("file"))).absolute() == file.absolute()


def report(url: str) -> dict[str, Any] | None:
    """What `/readyz` of a Byway says: `config` and `backends`; None when nobody answers like one."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=_LIMIT)
    try:
        connection.request("GET", f"{at.path}/readyz")
        found = json.loads(connection.getresponse().read(1 << 20))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) and isinstance(found.get("backends"), list) else None


def backend(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    """One backend of a report: `state`, and perhaps `message` and `memory`."""
    found = (one for one in report["backends"] if isinstance(one, dict) and one.get("name") == name)
    return next(found, None)
