"""The running Byway that a command belongs to: its address, and requests over the owner's socket in the data folder."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from byway.cli.output import Failure, Misuse, printable
from byway.endpoints.datafolder import ADDRESS, SOCKET
from byway.endpoints.running import address, delete, get, request
from byway.tls.trust import extra_cas

__all__ = [
    "ADDRESS",
    "SOCKET",
    "address",
    "backend",
    "delete",
    "get",
    "needed_answer",
    "not_running",
    "page_url",
    "report",
    "uses_file",
]

_TIMEOUT: Final = 5.0
_REPORT_LIMIT: Final = 1 << 20


def not_running(folder: Path) -> str:
    """The message of a command that needs a running Byway."""
    return f"No Byway is running with the data folder {folder}. Start it: byway up"


def needed_answer(folder: Path, method: str, path: str, seconds: float = _TIMEOUT) -> dict[str, Any]:
    """The answer of the running Byway over the owner's socket. Without a good one in `seconds` the command ends."""
    answer = request(folder, method, path, seconds=seconds)
    if answer is None:
        raise Failure(not_running(folder))
    if answer.status != 200:
        message = printable(answer.message) or f"Byway has answered with status {answer.status}."
        raise (Misuse if answer.status == 404 else Failure)(message)
    return answer.body


def uses_file(folder: Path, file: Path) -> bool | None:
    """Does the Byway with this data folder use this config file? False when none runs; None when that is unknown."""
    status = get(folder, "/byway/config")
    if status is None:
        return None if address(folder) else False
    return Path(str(status.get("file"))).absolute() == file.absolute()


def page_url(view: dict[str, Any] | None, address: str | None) -> str:
    """The URL at which browsers reach the running Byway: `server.public_url` or `oidc.url` of its config, else its own address.

    `view` is the answer of `GET /byway/config`.
    """
    settings = (view or {}).get("settings") or {}
    server, oidc = settings.get("server") or {}, settings.get("oidc") or {}
    url = str(server.get("public_url") or oidc.get("url") or "").rstrip("/")
    return f"{url}{server.get('root_path') or ''}" if url else address or ""


def report(url: str, folder: Path) -> dict[str, Any] | None:
    """The report at `/readyz`: `config` and `backends`; None without an answer of a Byway. `folder` is its data folder."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        from byway.config import TlsSettings
        from byway.upstream.address import tls_context

        context = tls_context(TlsSettings(), extra_cas(folder, os.environ))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=_TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT)
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
