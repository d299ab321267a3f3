"""The running Byway that a command belongs to: its address, and requests over the owner's socket in the data folder."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from byway import platform

#: The file in the data folder that contains the URL of the running Byway.
ADDRESS: Final = "address"
#: The unix socket in the data folder. Only the owner of the folder can open it, so it requires no login.
SOCKET: Final = "byway.sock"
_TIMEOUT: Final = 5.0
_ANSWER_LIMIT: Final = 16 << 20
_REPORT_LIMIT: Final = 1 << 20


class _OwnerConnection(http.client.HTTPConnection):
    """A connection to the socket in a data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = str(folder / SOCKET)

    def connect(self) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("Python has no unix sockets on this system")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def address(folder: Path) -> str | None:
    """The URL of the Byway that uses this data folder; None when none runs, or when it has only a unix socket."""
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


def get(folder: Path, path: str) -> dict[str, Any] | None:
    """The answer of the Byway with this data folder to `GET path`, over the owner's socket; None without an answer."""
    connection = _OwnerConnection(folder)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = json.loads(answer.read(_ANSWER_LIMIT)) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if isinstance(body, dict) else None


def uses_file(folder: Path, file: Path) -> bool | None:
    """Does the Byway with this data folder use this config file? False when none runs; None when that is unknown."""
    status = get(folder, "/byway/config")
    if status is None:
        return None if address(folder) else False
    return Path(str(status.get("file"))).absolute() == file.absolute()


def report(url: str) -> dict[str, Any] | None:
    """The report at `/readyz`: `config` and `backends`; None without an answer of a Byway."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", f"{parts.path}/readyz")
        body = json.loads(connection.getresponse().read(_REPORT_LIMIT))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if isinstance(body, dict) and isinstance(body.get("backends"), list) else None


def backend(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    """One backend of a report: its `state`, and where known `message` and `memory`."""
    for entry in report["backends"]:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    return None
