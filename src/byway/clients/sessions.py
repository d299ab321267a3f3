"""The sessions of Claude Code: those that run on this machine, and those whose requests reach this Byway.

Claude Code writes a file `sessions/PID.json` for each running session: process, session id, folder, version and start
(measured, 2.1.329). Its id arrives with each request as `x-claude-code-session-id`, so Byway knows which sessions arrive.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway import platform, programs
from byway.admin.requests import RecentRequests
from byway.clientfiles.variables import BASE_URL
from byway.clients.places import Surroundings
from byway.decoding import DECODE_ERRORS
from byway.endpoints.address import same_url, shown_url
from byway.endpoints.clients import ClientRecord, is_stale

#: Session files that are read.
_FILES_LIMIT: Final = 200
_FILE_SIZE: Final = 64 << 10
#: Sessions that are listed.
SESSIONS_LIMIT: Final = 200

Arrival = Literal["arrives", "no request yet", "elsewhere", "unknown"]


class ArrivedSession(Struct, frozen=True):
    """A session whose requests have reached this Byway, by the last requests that it keeps."""

    id: str
    first: datetime.datetime
    last: datetime.datetime
    requests: int
    failed: int
    key: str
    """The id of the key that it used; empty without one."""
    target: str
    """`backend/model` of the last answer."""
    error: str
    """The last error, when the last request failed."""


class LocalSession(Struct, frozen=True):
    """A running session of Claude Code on this machine."""

    id: str
    pid: int
    folder: str
    version: str
    client: str
    """How it was started: `cli`, `sdk-cli`, `claude-vscode`, ..."""
    started: datetime.datetime
    base_url: str | None
    """The base URL that its process was started with, empty for none; None when the system does not show it."""
    parent: int = 0
    """The process that started it; 0 when the system does not show it."""


class SessionInfo(Struct, frozen=True):
    """A session as it is listed: which client, through what, since when, stale or not."""

    id: str
    client: str
    version: str
    folder: str
    pid: int
    """0 for a session on another machine, or one that has ended."""
    since: datetime.datetime
    arrival: Arrival
    base_url: str
    """Where its requests go; empty when that is not known."""
    stale: bool
    """It uses another base URL than it would after a restart."""
    reason: str
    """Why it is stale, or does not arrive."""
    requests: int = 0
    last: datetime.datetime | None = None
    target: str = ""
    error: str = ""
    hosted: bool = False
    """A host of Byway owns it."""


def arrived_sessions(recent: RecentRequests) -> list[ArrivedSession]:
    """The sessions among the last requests, the most recent first."""
    sessions: dict[str, ArrivedSession] = {}
    for request in recent.newest():
        line = request.line
        if not line.session or not request.by_client:
            continue
        at = datetime.datetime.fromtimestamp(request.at, datetime.UTC)
        failed = bool(request.error)
        known = sessions.get(line.session)
        if known is None:
            target = f"{line.backend}/{line.model}" if line.model else line.backend
            sessions[line.session] = ArrivedSession(
                line.session, at, at, 1, int(failed), line.key, target, request.error
            )
        else:
            sessions[line.session] = msgspec.structs.replace(
                known, first=at, requests=known.requests + 1, failed=known.failed + failed
            )
    return list(sessions.values())[:SESSIONS_LIMIT]


def local_sessions(claude: Path) -> list[LocalSession]:
    """The running sessions of this user, oldest first. Blocks for some file reads."""
    sessions = []
    try:
        paths = sorted((claude / "sessions").glob("*.json"))[:_FILES_LIMIT]
    except OSError:
        return []
    for path in paths:
        record = _record(path)
        if record is not None and platform.is_same_process(record["pid"], str(record.get("procStart") or "")):
            sessions.append(_local(record))
    return sorted(sessions, key=lambda session: session.started)


def _record(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > _FILE_SIZE:
            return None
        record = msgspec.json.decode(path.read_bytes())
    except (OSError, *DECODE_ERRORS):
        return None
    if isinstance(record, dict) and isinstance(record.get("pid"), int) and isinstance(record.get("sessionId"), str):
        return record
    return None


def _local(record: Mapping[str, Any]) -> LocalSession:
    started = record.get("startedAt")
    milliseconds = started if isinstance(started, int | float) and 0 <= started < 1e14 else 0
    environ = programs.process_environment(record["pid"])
    return LocalSession(
        record["sessionId"][:100],
        record["pid"],
        str(record.get("cwd") or ""),
        str(record.get("version") or ""),
        str(record.get("entrypoint") or record.get("kind") or ""),
        datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC),
        None if environ is None else environ.get(BASE_URL, ""),
        programs.parent_of(record["pid"]),
    )


def list_sessions(
    local: Sequence[LocalSession],
    arrived: Iterable[ArrivedSession],
    surroundings: Surroundings,
    expected: str,
    removed: datetime.datetime | None = None,
    launched: Iterable[ClientRecord] = (),
) -> list[SessionInfo]:
    """Every session, those that do not arrive first.

    `expected` is the base URL of the endpoint; `removed` when Byway last removed the base URL from Claude Code's settings;
    `launched` the clients that `byway claude` and hosts have started.
    """
    by_id = {session.id: session for session in arrived}
    launchers = {record.pid: record for record in launched}
    rows = [
        _row(
            session,
            by_id.pop(session.id, None),
            _route(session, surroundings, expected, removed, launchers),
            expected,
        )
        for session in local
    ]
    rows += [
        SessionInfo(
            session.id, "", "", "", 0, session.first, "arrives", expected, False, "", session.requests, session.last,
            session.target, session.error,
        )
        for session in by_id.values()
    ]  # fmt: skip
    order: Mapping[str, int] = {"elsewhere": 0, "no request yet": 1, "unknown": 2, "arrives": 3}
    return sorted(rows, key=lambda row: (order[row.arrival], -row.since.timestamp()))


class _Route(NamedTuple):
    """Where the requests of a session go."""

    url: str | None
    """None when that is not known."""
    stale: bool = False
    reason: str = ""
    hosted: bool = False


def _row(session: LocalSession, arrived: ArrivedSession | None, route: _Route, expected: str) -> SessionInfo:
    url, stale, reason, hosted = route
    arrival: Arrival
    if arrived is not None:
        arrival = "arrives"
    elif url is None:
        arrival = "unknown"
    elif same_url(url, expected):
        arrival, reason = (
            "no request yet",
            reason or "It uses this endpoint, and has sent no request since Byway started.",
        )
    else:
        arrival = "elsewhere"
        reason = reason or f"It uses {shown_url(url) if url else 'Anthropic'}. Restart it after `byway connect`."
    return SessionInfo(
        session.id,
        session.client,
        session.version,
        session.folder,
        session.pid,
        session.started,
        arrival,
        shown_url(url) if url else "",
        stale,
        reason,
        arrived.requests if arrived else 0,
        arrived.last if arrived else None,
        arrived.target if arrived else "",
        arrived.error if arrived else "",
        hosted,
    )


def _route(
    session: LocalSession,
    surroundings: Surroundings,
    expected: str,
    removed: datetime.datetime | None,
    launchers: Mapping[int, ClientRecord],
) -> _Route:
    """Where a session's requests go, whether that is stale, and why. The three cases of a change (measured, 2.1.329):

    a changed value in a settings file applies to running sessions within two seconds; a value that is removed from a file
    stays in force until the restart; the environment of a process never changes.
    """
    if (record := launchers.get(session.parent)) is not None:
        # It was started with settings that no file overrides.
        starter = "A host of Byway" if record.is_hosted else "`byway claude`"
        reason = f"{starter} started it with {record.endpoint or 'Anthropic'}."
        return _Route(record.base_url, is_stale(record, expected), reason, record.is_hosted)
    if surroundings.gateway_login:
        # A client that is signed in ignores the base URL.
        return _Route(surroundings.gateway_login)
    in_file = surroundings.winner(BASE_URL, ("managed", "local", "project", "user"))
    if in_file is not None:
        return _Route(in_file[1].text)
    if removed is not None and session.started < removed:
        reason = "The base URL was removed from a settings file after it started. It keeps the old one until a restart."
        return _Route(None, True, reason)
    if session.base_url is None:
        return _Route(None, False, "This system does not show with which variables it was started.")
    if not same_url(session.base_url, expected):
        was = shown_url(session.base_url) if session.base_url else "no base URL"
        return _Route(session.base_url, True, f"It was started with {was}. A process keeps its variables: restart it.")
    return _Route(session.base_url)
