"""Starts Byway for a client when none runs, and gets the client a key that expires."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway import platform, programs
from byway.endpoints import running
from byway.endpoints.clients import running_clients

#: Seconds until a new Byway must answer. Reading the config may wait for a keychain.
_START: Final = 30.0
_TICK: Final = 0.1
#: Seconds for which a new Byway waits for its backends to list their models.
_MODELS: Final = 5.0
#: A Byway that a launcher has started stops this many seconds after its last client.
IDLE_SECONDS: Final = 600
#: A key is revoked when its client ends. This is for launchers that are killed.
KEY_LIFETIME: Final = "7d"
#: Characters of the log that an error shows.
_LOG_TAIL: Final = 2_000


class LaunchError(Exception):
    """A client cannot be started: what failed, why, and the next step."""


class ClientKey(NamedTuple):
    """A key that only one client uses."""

    id: str
    value: str

    def __repr__(self) -> str:
        return f"ClientKey({self.id!r})"


def start_byway(data: Path, environ: Mapping[str, str], options: Sequence[str], report: Callable[[str], None]) -> str:
    """The URL of the Byway with this data folder, which is started when none runs. Blocks. Raises LaunchError.

    `options` are passed to `byway up`. It stops by itself when it has had no client for ten minutes.
    """
    if running.is_running(data):
        return _url(data, _wait(data, lambda: True, ""))
    report("Starting Byway")
    log = platform.private_folder(data) / "launch.log"
    idle = environ.get("BYWAY_IDLE_SECONDS", str(IDLE_SECONDS))
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "byway", "up"]
    command += ["--stop-when-idle", idle, "--data-dir", str(data), *options]
    try:
        process = programs.start_background(command, environ, log)
    except OSError as error:
        raise LaunchError(f"Cannot start Byway: {error.strerror or error}.") from None
    status = _wait(data, lambda: process.poll() is None, _tail(log))
    url = _url(data, status)
    latest = time.monotonic() + _MODELS
    while time.monotonic() < latest:
        backends = (running.get(data, "/byway/status") or {}).get("backends") or {}
        if not {"unknown", "loading"} & set(backends.values()):
            break
        time.sleep(_TICK)
    return url


def _wait(data: Path, alive: Callable[[], bool], tail: Callable[[], str] | str) -> dict[str, Any]:
    """The status of a Byway that runs or starts. Raises LaunchError when it ends or does not answer in time."""
    latest = time.monotonic() + _START
    while time.monotonic() < latest:
        if status := running.get(data, "/byway/status"):
            return status
        if not alive() and not running.is_running(data):
            text = tail if isinstance(tail, str) else tail()
            raise LaunchError(f"Byway did not start:\n{text or 'It printed no error.'}\nTo see more, run: byway up")
        time.sleep(_TICK)
    if url := running.address(data):
        # Without unix sockets there is no status, and the address is enough.
        return {"url": url}
    raise LaunchError(f"The Byway that uses {data} does not answer. Stop it, and try again.")


def _url(data: Path, status: Mapping[str, Any]) -> str:
    url = status.get("url") or running.address(data)
    if not url:
        raise LaunchError(
            "Byway has no TCP address, and Claude Code needs one. Add 127.0.0.1:38080 to server.bind_address in byway.yaml."
        )
    return str(url)


def _tail(log: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return log.read_text("utf-8", "replace")[-_LOG_TAIL:].strip()
        except OSError:
            return ""

    return read


def create_key(data: Path) -> ClientKey:
    """Create a key for one client, over the owner's socket. Raises LaunchError."""
    body = {"name": f"byway claude, process {os.getpid()}", "scopes": ["read", "write"], "expires": KEY_LIFETIME}
    answer = running.request(data, "POST", "/byway/keys", body)
    if answer is None or answer.status != 201:
        reason = f" ({answer.message})" if answer is not None and answer.message else ""
        raise LaunchError(
            f"Byway requires a key, and its socket in the data folder gave none{reason}. Create one: byway key create NAME. "
            "Then add an endpoint that uses it: byway endpoint add NAME URL --key"
        )
    return ClientKey(str(answer.body["key"]["id"]), str(answer.body["value"]))


def revoke_key(data: Path, id: str) -> None:
    """Revoke the key of a client that has ended. Without a running Byway it expires by itself."""
    running.request(data, "DELETE", f"/byway/keys/{id}")


def revoke_left_keys(data: Path) -> None:
    """Revoke the keys of clients whose launcher was killed."""
    for client in running_clients(data).ended:
        for key in client.keys:
            revoke_key(data, key)
