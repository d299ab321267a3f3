"""Recording of requests: start, stop and delete it, and what was recorded of one request.

Each account records its own requests only. The local owner, without accounts, records all of this Byway.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from msgspec import Struct

from byway.admin.errors import invalid, run
from byway.display import clock
from byway.inspector.recording import RecordedExchange, Recording, Recordings
from byway.problems import Problem
from byway.store import StoreError, StoreProtocol

#: Minutes of a recording.
DEFAULT_MINUTES: Final = 15
MOST_MINUTES: Final = 240
_SESSION_LIMIT: Final = 128
#: Seconds that a page waits for the secrets of a request that has just ended to be removed.
_CLEANING_SECONDS: Final = 20.0
NOT_RECORDED: Final = (
    "This request was not recorded. Start a recording on the page Requests or with `byway record`, and send it again."
)


class RecordingState(Struct, frozen=True):
    """Whether the caller's account records its requests, and what it has recorded."""

    active: bool
    session: str
    """Only this session is recorded; empty: all requests."""
    ends_at: float | None
    """Seconds since the epoch; null while nothing is recorded."""
    requests: int
    """Recorded requests that are kept."""
    bytes: int

    @property
    def notice(self) -> str:
        """What every page shows while it records."""
        what = f"the session {self.session[:8]}" if self.session else "your requests"
        return f"Byway records the prompts and answers of {what} in memory until {clock(self.ends_at or 0)}."


def state(recordings: Recordings, account: str) -> RecordingState:
    """The state of an account's recording."""
    recording = recordings.current(account, time.monotonic())
    count, size = recordings.sizes(account)
    if recording is None:
        return RecordingState(False, "", None, count, size)
    return RecordingState(True, recording.session, recording.ends_at, count, size)


async def start(
    recordings: Recordings, store: StoreProtocol, account: str, who: str, minutes: int, session: str = ""
) -> RecordingState:
    """Record the requests of an account for some minutes, or only one session. Raises Problem."""
    if not 1 <= minutes <= MOST_MINUTES:
        raise invalid("minutes", f"a number from 1 to {MOST_MINUTES}")
    session = session.strip()
    if len(session) > _SESSION_LIMIT or not session.isprintable():
        raise invalid("session", f"the id of a session has at most {_SESSION_LIMIT} characters")
    recording = Recording(account, session, time.monotonic() + 60 * minutes, time.time() + 60 * minutes)
    detail = f"{_whose(account)}, {f'session {session}' if session else 'all requests'}, for {minutes} min"
    await run(lambda: store.add_audit_entry(who, "recording started", detail))
    recordings.start(recording)
    asyncio.get_running_loop().call_later(60 * minutes, _end, recordings, store, recording)
    return state(recordings, account)


async def stop(
    recordings: Recordings, store: StoreProtocol, account: str, who: str, *, discard: bool
) -> RecordingState:
    """End the recording of an account; with `discard` also delete what was recorded. Raises Problem."""
    ended = recordings.stop(account)
    count = recordings.discard(account) if discard else 0
    if ended is not None:
        await run(lambda: store.add_audit_entry(who, "recording stopped", _whose(account)))
    if count:
        await run(lambda: store.add_audit_entry(who, "recorded requests deleted", f"{count} of {_whose(account)}"))
    return state(recordings, account)


async def recorded(recordings: Recordings, id: str, account: str) -> RecordedExchange:
    """What an account has recorded of a request. Raises Problem `not_found` when it has not."""
    exchange = recordings.find(id, account)
    if exchange is not None and not exchange.cleaned and exchange.cleaning is not None:
        await asyncio.wait((exchange.cleaning,), timeout=_CLEANING_SECONDS)
    if exchange is None or not exchange.cleaned or not exchange.size:
        raise Problem("not_found", NOT_RECORDED)
    return exchange


def _end(recordings: Recordings, store: StoreProtocol, recording: Recording) -> None:
    """End a recording whose time is over, unless it was replaced or has been stopped."""
    if recordings.active.get(recording.account) is not recording:
        return
    recordings.stop(recording.account)
    asyncio.get_running_loop().run_in_executor(None, _note_end, store, recording)


def _note_end(store: StoreProtocol, recording: Recording) -> None:
    try:
        store.add_audit_entry("byway", "recording ended", _whose(recording.account))
    except StoreError:
        # The audit log cannot be written at the moment: the recording has ended all the same.
        return


def _whose(account: str) -> str:
    return f"account {account}" if account else "the local owner"
