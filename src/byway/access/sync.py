"""Keeps a running Byway and its store in sync: changed keys and revoked logins come in, times of last use go out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol, TypeVar

from byway import platform
from byway.access.keys import Keyring
from byway.access.login import Logins
from byway.learned import LearnedRepairs
from byway.logs import log, log_exception
from byway.store import KeyRecord, StoredAccount, StoreError, StoreProtocol

T = TypeVar("T")

#: Seconds between two reads of the store: how soon a key that another process revoked is rejected.
_READ_INTERVAL: Final = 0.25
#: Seconds between two writes of the times at which keys were used.
_WRITE_INTERVAL: Final = 3.0
#: Smaller differences of the clock, in seconds, are those of a clock that is being adjusted.
_CLOCK_TOLERANCE: Final = 2.0


class KeyedRuntime(Protocol):
    """A runtime that checks keys: `byway.runtime.Runtime`."""

    stored: Sequence[KeyRecord]
    keyring: Keyring
    used: dict[str, float]
    clock_behind: float
    learned: LearnedRepairs

    def take_keys(self, stored: Sequence[KeyRecord]) -> None: ...


class LoginService(Protocol):
    """What holds the logins of the settings page: `byway.admin.services.AdminServices`."""

    @property
    def login(self) -> Logins: ...


class KeyedGateway(Protocol):
    """The process whose keys are kept in sync: `byway.gateway.Gateway`."""

    @property
    def store(self) -> StoreProtocol | None: ...
    @property
    def runtime(self) -> KeyedRuntime: ...
    @property
    def admin(self) -> LoginService | None: ...


class _Contents(NamedTuple):
    """What the store has now. `stamp` changes with it; the rest is None when the stamp is that of the last read."""

    stamp: Hashable
    keys: list[KeyRecord] | None
    logins: frozenset[str] | None
    accounts: list[StoredAccount] | None


class KeySync:
    """Keeps the keyring in memory in sync with the store, so that a key that any process creates or revokes counts at once.

    The store is used in a thread of its own: neither a slow disk nor other work in threads delays a revoked key.
    """

    def __init__(self, gateway: KeyedGateway) -> None:
        self._gateway = gateway
        self._stamp: Hashable = None
        self._reported: set[str] = set()
        """Failures that were logged: they are not logged again until they are over."""
        self._thread = ThreadPoolExecutor(1, "keys")
        self._clock_offset = time.time() - platform.steady_clock()
        """What the steady clock lacks of the system's time, at the start."""

    async def run(self) -> None:
        """Sync until cancelled."""
        clock = asyncio.get_running_loop().time
        written = clock()
        while self._gateway.store is not None:
            try:
                self.check_clock()
                await self.read()
                if clock() - written >= _WRITE_INTERVAL:
                    written = clock()
                    await self.write()
            except Exception:
                if "" not in self._reported:
                    self._reported.add("")
                    log_exception("Syncing keys with the store failed unexpectedly: please report this")
            await asyncio.sleep(_READ_INTERVAL)

    def check_clock(self) -> None:
        """Keep expired keys expired when the system's clock was set back since Byway started."""
        behind = self._clock_offset - (time.time() - platform.steady_clock())
        if behind < _CLOCK_TOLERANCE:
            behind = 0.0
        runtime = self._gateway.runtime
        if abs(behind - runtime.clock_behind) < _CLOCK_TOLERANCE:
            return
        runtime.clock_behind = behind
        runtime.take_keys(runtime.stored)
        if behind:
            log(
                "The system's clock was set back. Keys expire by the time that has passed since Byway started. If the clock "
                "was wrong at that time, restart Byway.",
                logging.WARNING,
                seconds=round(behind),
            )

    async def read(self) -> None:
        """Take over the keys of the store, and end logins that were removed from it, when they changed since the last read."""
        before, admin = self._gateway.runtime.stored, self._gateway.admin
        # Only these must be in the store: a login that is made during the read may be missing there.
        logins, opened = (frozenset(), 0) if admin is None else (admin.login.stored(), admin.login.opened)
        try:
            contents = await self._in_thread(self._read)
        except StoreError as error:
            self._failed("read", error)
            return
        self._succeeded("read")
        runtime = self._gateway.runtime
        if runtime.stored is not before or (admin is not None and admin.login.opened != opened):
            # The page changed the keys during the read, or a new account logged in. The read may be older.
            return
        self._stamp = contents.stamp
        if contents.keys is not None and contents.keys != runtime.stored:
            was_blocking = runtime.keyring.blocking
            runtime.take_keys(contents.keys)
            if runtime.keyring.blocking and not was_blocking:
                log("Clients need a key from now on")
        if admin is not None and contents.logins is not None and contents.accounts is not None:
            for id in logins - contents.logins:
                admin.login.revoke(id)
            admin.login.take_accounts(contents.accounts)

    def _read(self) -> _Contents:
        store = self._gateway.store
        if store is None:
            return _Contents(None, None, None, None)
        stamp = store.keys_stamp()
        if stamp == self._stamp:
            return _Contents(stamp, None, None, None)
        logins = frozenset(record.id for record in store.logins())
        return _Contents(stamp, store.key_records(), logins, store.accounts())

    async def write(self) -> None:
        """Write to the store when keys and logins were last used."""
        await self._write_repairs()
        await self._write_logins()
        store, used = self._gateway.store, self._gateway.runtime.used
        if store is None or not used:
            return
        times = dict(used)
        used.clear()
        try:
            await self._in_thread(lambda: store.record_key_use(times))
        except StoreError as error:
            self._failed("written", error)
            # Kept for the next write, except where the key was used again since.
            for id, at in times.items():
                used.setdefault(id, at)
        else:
            self._succeeded("written")

    async def _write_logins(self) -> None:
        """Write to the store when browsers sent their last requests. A failure costs a minute of accuracy."""
        store, admin = self._gateway.store, self._gateway.admin
        times = admin.login.take_unsaved() if admin is not None else {}
        if store is None or not times:
            return
        try:
            await self._in_thread(lambda: store.record_logins_seen(times))
        except StoreError as error:
            self._failed("written", error)

    async def _write_repairs(self) -> None:
        """Write to the store what refusals have taught since the last write."""
        store, learned = self._gateway.store, self._gateway.runtime.learned
        if store is None or not learned.unsaved:
            return
        records = learned.records()
        learned.unsaved = False
        try:
            await self._in_thread(lambda: store.save_repairs(records))
        except StoreError as error:
            learned.unsaved = True
            self._failed("written", error)

    async def close(self) -> None:
        """Write what is left and end the thread."""
        await self.write()
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _failed(self, what: str, error: StoreError) -> None:
        """Log once that the store cannot be read or written."""
        if what not in self._reported:
            self._reported.add(what)
            log(f"The store of keys cannot be {what}; the keys in memory stay valid", logging.ERROR, problem=str(error))

    def _succeeded(self, what: str) -> None:
        if what in self._reported:
            self._reported.discard(what)
            log(f"The store of keys can be {what} again")
