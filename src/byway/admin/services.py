"""What the settings page and its API work with, beside the runtime: the config file, the store, logins, a way to begin anew."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from byway.access.login import Logins
from byway.access.signingkey import load_signing_key
from byway.config.file import ConfigFile
from byway.local.downloads import Downloads
from byway.logs import log
from byway.secrets.vault import Vault
from byway.store import LoginRecord, Store, StoreError


class AdminServices:
    """Everything that is not the line's."""

    def __init__(
        self,
        folder: Path,
        filing: ConfigFile,
        store: Store,
        *,
        reload: Callable[[], Awaitable[None]],
        restart: Callable[[], None],
    ) -> None:
        """`folder`: the data folder. `reload` takes the config file as it is now; `restart` begins the whole process anew."""
        self.folder = folder
        self.config_file = filing
        self.store = store
        self.reload = reload
        self.restart = restart
        self.login = Logins(load_signing_key(folder), time.time(), store.logins())
        self.downloads = Downloads(folder)
        self.vault = Vault(folder, os.environ)
        """The secrets, to be looked at. Its calls block, but for a locked keychain not long: each wait holds one of the few
        threads by which reloads and the keys of clients are read too."""
        self.gpus: asyncio.Task[tuple[str, ...]] | None = None
        """The GPUs of this machine, once somebody has wanted to know."""
        self.base: str | None = None
        """The URL by which a program on this machine reaches it; None without a TCP address."""
        self.addresses: tuple[str, ...] = ()
        """Where this Byway listens, as `host:port` and `unix:path`."""
        self.socket = ""
        """The path of the unix socket in the data folder, whose owner needs no login; empty where there is none."""

    def patient(self) -> Vault:
        """The secrets, for somebody who changes one and may be asked for a password. Its calls block."""
        return Vault(self.folder, os.environ, patience=60)

    def link(self) -> str:
        """A token that opens the page once."""
        return self.login.link(time.time(), secrets.token_bytes(16))

    async def enter(self, token: str, agent: str = "") -> str | None:
        """Return the cookie for a link's token, or None when it opens nothing. `agent`: the browser, for the list of logins."""
        now = time.time()
        cookie = self.login.enter(token, now, secrets.token_bytes(16), agent)
        record = self.login.check(cookie, now) if cookie else None
        if record is not None:
            await self._store(lambda: self.store.add_login(record))
        return cookie

    def logins(self) -> list[LoginRecord]:
        """The logins that are valid now, the newest first."""
        return self.login.current(time.time())

    async def revoke_login(self, id: str, who: str) -> bool:
        """End one login; return False when there is none with this id."""
        known = self.login.revoke(id)
        if known:
            await self._store(lambda: self.store.remove_login(id, who))
        return known

    async def revoke_logins(self, who: str) -> int:
        """End every login; return how many there were."""
        count = self.login.revoke_all()
        await self._store(lambda: self.store.remove_logins(who))
        return count

    async def logout(self, cookie: str) -> None:
        """End the login of a cookie."""
        record = self.login.check(cookie, time.time())
        if record is not None:
            await self.revoke_login(record.id, "the settings page")

    async def _store(self, change: Callable[[], object]) -> None:
        """Write to the store in a thread. A failure is logged: the change counts in this process."""
        try:
            await asyncio.to_thread(change)
        except StoreError as error:
            log(
                "A change of the logins was not stored; it counts until the next restart",
                logging.WARNING,
                problem=str(error),
            )
