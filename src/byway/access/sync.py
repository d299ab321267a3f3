"""From the store to the door and back, while Byway runs: which keys there are now, and when each was last used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Sequence
from typing import Final, Protocol

from byway.access.keys import Keyring
from byway.logs import log, log_exception
from byway.store import KeyRecord, Store, StoreError


class KeyedRuntime(Protocol):
    """A runtime that checks keys: `byway.runtime.Runtime`."""

    stored: Sequence[KeyRecord]
    keyring: Keyring
    used: dict[str, float]

    def take_keys(self, stored: Sequence[KeyRecord]) -> None: ...


class KeyedGateway(Protocol):
    """The process whose keys are kept in sync: `byway.gateway.Gateway`."""

    @property
    def store(self) -> Store | None: ...
    @property
    def runtime(self) -> KeyedRuntime: ...


#: Seconds between two looks at the store: how soon a revoked key opens nothing any more.
_LOOK_EVERY: Final = 0.25
#: Seconds between two times at which the store is told when keys were last used.
_TELL_EVERY: Final = 3.0


class KeySync:
    """Lets in whom the store lets in: a key that was made, rotated or revoked anywhere counts from the next look on.

    The store is read and written in a thread: a disk that is slow, or another process that writes, holds up no request.
    """

    def __init__(self, gateway: KeyedGateway) -> None:
        self._gateway = gateway
        self._stamp: Hashable = None
        self._failing: set[str] = set()
        """What has failed and was said: it is not said again."""

    async def run(self) -> None:
        """Look after the door until cancelled."""
        clock = asyncio.get_running_loop().time
        told = clock()
        while self._gateway.store is not None:
            try:
                await self.look()
                if clock() - told >= _TELL_EVERY:
                    told = clock()
                    await self.tell()
            except Exception:
                if "" not in self._failing:
                    self._failing.add("")
                    log_exception("Byway failed on the store of keys: please report this")
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Take the store's keys when they have changed since the last look."""
        known = self._gateway.runtime.stored
        try:
            stamp, stored = await asyncio.to_thread(self._read)
        except StoreError as error:
            self._cannot("read", error)
            return
        self._can("read")
        runtime = self._gateway.runtime
        if runtime.stored is not known:
            # The page has brought newer ones meanwhile: what was read may be from before a key was made or revoked there.
            return
        self._stamp = stamp
        if stored is not None and stored != runtime.stored:
            shut = runtime.keyring.blocking
            runtime.take_keys(stored)
            if runtime.keyring.blocking and not shut:
                log("From now on a key is asked for")

    def _read(self) -> tuple[Hashable, list[KeyRecord] | None]:
        store = self._gateway.store
        if store is None:
            return None, None
        stamp = store.keys_stamp()
        return stamp, store.key_records() if stamp != self._stamp else None

    async def tell(self) -> None:
        """Tell the store when keys were last used."""
        store, used = self._gateway.store, self._gateway.runtime.used
        if store is None or not used:
            return
        times = dict(used)
        used.clear()
        try:
            await asyncio.to_thread(store.record_key_use, times)
        except StoreError as error:
            self._cannot("written", error)
            # Kept for the next time; what has come meanwhile is newer.
            for id, at in times.items():
                used.setdefault(id, at)
        else:
            self._can("written")

    def _cannot(self, what: str, error: StoreError) -> None:
        """Say once that the store cannot be read or written."""
        if what not in self._failing:
            self._failing.add(what)
            log(f"The store of keys cannot be {what}; the running keys stay", logging.ERROR, problem=str(error))

    def _can(self, what: str) -> None:
        if what in self._failing:
            self._failing.discard(what)
            log(f"The store of keys can be {what} again")
