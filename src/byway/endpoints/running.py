"""The running Byway that a command belongs to: its address, and requests over the owner's socket in the data folder."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway import platform
from byway.endpoints.datafolder import ADDRESS, SOCKET

#: The URL of a Byway with the default settings.
USUAL_URL: Final = "http://127.0.0.1:38080"
_TIMEOUT: Final = 5.0
_ANSWER_LIMIT: Final = 16 << 20


class OwnerAnswer(NamedTuple):
    """An answer of the admin API."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """The sentence of an error."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, dict) else ""


class _OwnerConnection(http.client.HTTPConnection):
    """A connection to the socket in a data folder."""

    def __init__(self, folder: Path, seconds: float = _TIMEOUT) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = str(folder / SOCKET)

    def connect(self) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("Python has no unix sockets on this system")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def address(folder: Path) -> str | None:
    """The URL of the Byway that uses this data folder; None when none runs, or when it has only a unix socket."""
    if not is_running(folder):
        return None
    try:
        return (folder / ADDRESS).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def is_running(folder: Path) -> bool:
    """Whether a Byway uses this data folder."""
    try:
        with platform.lock_folder(folder):
            return False
    except platform.FolderLocked:
        return True
    except OSError:
        return False


def request(folder: Path, method: str, path: str, body: Any = None, seconds: float = _TIMEOUT) -> OwnerAnswer | None:
    """Send a request to the Byway with this data folder, over the owner's socket; None without an answer in `seconds`."""
    connection = _OwnerConnection(folder, seconds)
    content = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, content, {"content-type": "application/json"} if content else {})
        answer = connection.getresponse()
        read = json.loads(answer.read(_ANSWER_LIMIT) or b"{}")
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return OwnerAnswer(answer.status, read) if isinstance(read, dict) else None


def get(folder: Path, path: str) -> dict[str, Any] | None:
    """The answer to `GET path` over the owner's socket; None without a good answer."""
    answer = request(folder, "GET", path)
    return answer.body if answer is not None and answer.status == 200 else None


def delete(folder: Path, path: str) -> dict[str, Any] | None:
    """The answer to `DELETE path` over the owner's socket; None without a good answer."""
    answer = request(folder, "DELETE", path)
    return answer.body if answer is not None and answer.status == 200 else None
