"""The clients that `byway claude` has started and that still run: one file each in the data folder, locked by its launcher.

The system releases the lock when the launcher ends in any way. A process id alone may belong to another process by then.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from byway import platform
from byway.decoding import DECODE_ERRORS

_FOLDER: Final = "clients"
#: The program of a client that a host of Byway owns.
HOST: Final = "host"
#: Files that are read: more launchers than that do not run on one machine.
_MOST: Final = 1_000
_LONGEST: Final = 16_384
#: Tries to lock a new file, and seconds between them.
_LOCK_TRIES: Final = 100
_LOCK_PAUSE: Final = 0.01


class ClientRecord(Struct, frozen=True, omit_defaults=True):
    """One running client. It contains no secret."""

    pid: int
    """The launcher's process."""
    endpoint: str
    """The endpoint's name; empty for Anthropic."""
    base_url: str
    """What the client was given; empty for Anthropic."""
    started: str
    """In UTC."""
    folder: str
    """The working folder."""
    program: str = "claude"
    bound: bool = False
    """The endpoint was chosen for this client by an option or a `.byway` file."""
    keys: tuple[str, ...] = ()
    """The ids of its short-lived keys, which are revoked when the client ends."""
    overlay: str = ""
    """The path of the settings file that the client uses."""
    switchable: bool = False
    """It follows a change of the active endpoint. Otherwise it is stale until it is restarted."""

    @property
    def is_hosted(self) -> bool:
        """A host owns it, and can restart it while its conversation continues."""
        return self.program == HOST

    @property
    def id(self) -> str:
        """The name of its settings file: one process can have several clients."""
        return Path(self.overlay).stem


class RunningClients(NamedTuple):
    """The clients of one data folder."""

    running: tuple[ClientRecord, ...]
    ended: tuple[ClientRecord, ...]
    """Clients whose launcher was killed. Their files were removed just now; their keys have to be revoked."""


@contextlib.contextmanager
def registered(data: Path, record: ClientRecord) -> Iterator[Callable[[ClientRecord], None]]:
    """List a client while the block runs; yields a function that replaces its record. Blocks.

    Without a usable data folder it is not listed.
    """
    path: Path | None = None
    descriptor = -1
    try:
        with contextlib.suppress(OSError):
            folder = platform.private_folder(data / _FOLDER)
            path = folder / f"{record.pid}-{secrets.token_hex(4)}.json"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            _lock(descriptor)
            os.write(descriptor, msgspec.json.encode(record))

        def replace(changed: ClientRecord) -> None:
            with contextlib.suppress(OSError):
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.ftruncate(descriptor, os.write(descriptor, msgspec.json.encode(changed)))

        yield replace
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _lock(descriptor: int) -> None:
    """Lock a new file. Another process that looks for ended clients may hold its lock for a moment."""
    for _ in range(_LOCK_TRIES):
        if platform.try_lock(descriptor):
            return
        time.sleep(_LOCK_PAUSE)
    raise OSError("the file of the client stays locked")


def running_clients(data: Path, *, clean: bool = True) -> RunningClients:
    """The clients that run now, oldest first. Blocks for some file reads.

    `clean`: remove what killed launchers have left; the caller revokes their keys.
    """
    running: list[ClientRecord] = []
    ended: list[ClientRecord] = []
    with contextlib.suppress(OSError):
        for path in sorted((data / _FOLDER).glob("*.json"))[:_MOST]:
            record, is_locked = _read(path)
            if is_locked:
                if record is not None:
                    running.append(record)
                continue
            if not clean:
                continue
            if record is not None:
                ended.append(record)
                _remove_overlay(data, record)
            with contextlib.suppress(OSError):
                path.unlink()
    return RunningClients(tuple(sorted(running, key=lambda record: record.started)), tuple(ended))


def is_stale(record: ClientRecord, active_url: str) -> bool:
    """Whether a running client uses another base URL than the active endpoint's, and does not follow the change."""
    return not record.switchable and not record.bound and record.base_url.rstrip("/") != active_url.rstrip("/")


def request_restart(data: Path, record: ClientRecord) -> None:
    """Request from the host of a client that it uses the active endpoint now. Raises OSError."""
    platform.write_private(_request_file(data, record), b"")


def restart_requested(data: Path, record: ClientRecord | None) -> bool:
    """Whether a restart of this client was requested since the last call."""
    if record is None:
        return False
    path = _request_file(data, record)
    with contextlib.suppress(OSError):
        if path.exists():
            path.unlink()
            return True
    return False


def _request_file(data: Path, record: ClientRecord) -> Path:
    return data / _FOLDER / f"{record.id}.restart"


def overlay_folder(data: Path) -> Path:
    """The folder of the settings files of running clients."""
    return data / _FOLDER


def _read(path: Path) -> tuple[ClientRecord | None, bool]:
    """The record of a file, and whether its launcher still runs."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None, True
    try:
        content = os.read(descriptor, _LONGEST)
        is_locked = not platform.try_lock(descriptor)
        return msgspec.json.decode(content, type=ClientRecord), is_locked
    except (OSError, *DECODE_ERRORS):
        # It may be written just now.
        return None, True
    finally:
        os.close(descriptor)


def _remove_overlay(data: Path, record: ClientRecord) -> None:
    """Remove the settings file of a killed launcher. Only files in Byway's own folder are removed."""
    path = Path(record.overlay)
    if record.overlay and path.parent == overlay_folder(data):
        with contextlib.suppress(OSError):
            path.unlink()
