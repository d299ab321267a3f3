"""The Byway that runs beside a command: where it is, and how its backends are doing."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from byway import platform

#: The file in the data folder that says where Byway listens.
ADDRESS: Final = "address"
_LIMIT: Final = 5.0


def address(folder: Path) -> str | None:
    """The URL of the Byway that has this data folder; None when none runs, or it listens at a unix socket only."""
    try:
        with platform.lock(folder):
            return None
    except platform.Held:
        pass
    except OSError:
        return None
    try:
        return (folder / ADDRESS).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


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
