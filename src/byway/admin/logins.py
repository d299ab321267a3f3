"""Logins of the settings page: make a link, exchange it for a cookie, list the logins, revoke one or all."""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from byway.access.login import Logins
from byway.access.signingkey import load_signing_key
from byway.logs import log
from byway.problems import Problem
from byway.store import LoginRecord, Store, StoreError


class LoginInfo(Struct, frozen=True):
    """A browser that is logged in to the settings page."""

    id: str
    created_at: datetime.datetime
    expires_at: datetime.datetime
    browser: str
    """As it describes itself."""


class PageLogins:
    """The logins of this process, kept in the store over a restart."""

    def __init__(self, folder: Path, store: Store) -> None:
        """`folder` is the data folder, which contains the key that signs links and cookies."""
        self._store = store
        self.registry = Logins(load_signing_key(folder), time.time(), store.logins())

    @property
    def cookie_name(self) -> str:
        """The name of the cookie of a login."""
        return self.registry.cookie

    def link(self) -> str:
        """Return a token that opens the page once."""
        return self.registry.link(time.time(), secrets.token_bytes(16))

    def is_valid(self, cookie: str) -> bool:
        """True when the cookie belongs to a login that is valid now."""
        return self.registry.check(cookie, time.time()) is not None

    async def enter(self, token: str, agent: str = "") -> str | None:
        """Return the cookie for a link's token, or None when the token is not valid. `agent` describes the browser."""
        now = time.time()
        cookie = self.registry.enter(token, now, secrets.token_bytes(16), agent)
        record = self.registry.check(cookie, now) if cookie else None
        if record is not None:
            await self._save(lambda: self._store.add_login(record))
        return cookie

    def current(self) -> list[LoginInfo]:
        """The logins that are valid now, newest first."""
        return [login_info(record) for record in self.registry.current(time.time())]

    async def revoke(self, id: str, who: str) -> LoginInfo:
        """End one login. Raises Problem when there is none with this id."""
        record = next((record for record in self.registry.current(time.time()) if record.id == id), None)
        if record is None or not self.registry.revoke(id):
            raise Problem("not_found", f"There is no login {id}.")
        await self._save(lambda: self._store.remove_login(id, who))
        return login_info(record)

    async def revoke_all(self, who: str) -> int:
        """End every login; return how many there were."""
        count = self.registry.revoke_all()
        await self._save(lambda: self._store.remove_logins(who))
        return count

    async def logout(self, cookie: str) -> None:
        """End the login of a cookie."""
        record = self.registry.check(cookie, time.time())
        if record is not None:
            await self.revoke(record.id, "the settings page")

    async def _save(self, change: Callable[[], object]) -> None:
        """Write to the store in a thread. A failure is logged: the change applies in this process."""
        try:
            await asyncio.to_thread(change)
        except StoreError as error:
            log(
                "A change of the logins was not stored. It applies until the next restart.",
                logging.WARNING,
                problem=str(error),
            )


def login_info(record: LoginRecord) -> LoginInfo:
    """A login of the store as data."""
    created, expires = (datetime.datetime.fromtimestamp(at, datetime.UTC) for at in (record.created, record.expires))
    return LoginInfo(record.id, created, expires, record.agent)
