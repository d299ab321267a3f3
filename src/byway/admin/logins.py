"""Logins of the settings page: make a link, exchange it for a cookie, list the logins, revoke one or all."""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from byway.access.keys import Caller
from byway.access.login import CODE_BYTES, LINK_SECONDS, LOGIN_CODE, FailureLimit, Logins, code_digest
from byway.access.signingkey import load_signing_key
from byway.admin.errors import run, too_many
from byway.config import OidcSettings
from byway.logs import log
from byway.problems import Problem
from byway.store import LoginRecord, StoredAccount, StoreError, StoreProtocol

if TYPE_CHECKING:
    from byway.admin.oidc import OidcLogin


class LoginInfo(Struct, frozen=True):
    """A browser that is logged in to the settings page."""

    id: str
    created_at: datetime.datetime
    expires_at: datetime.datetime
    browser: str
    """As it describes itself."""
    account: str = ""
    """Whose login it is; empty for the owner of this Byway, who used a link of `byway page`."""
    seen_at: datetime.datetime | None = None
    """Its last request, to within a minute."""


class LoginCode(Struct, frozen=True):
    """A code with which an account logs in once."""

    account: str
    code: str
    expires_at: datetime.datetime


def create_login_code(store: StoreProtocol, account: str, who: str) -> LoginCode:
    """Create a code with which `account` logs in once, within 15 minutes. The store keeps its hash. Raises LookupError, or
    ValueError when the account is disabled."""
    code, expires = LOGIN_CODE.new(secrets.token_bytes(CODE_BYTES)), time.time() + LINK_SECONDS
    store.add_login_code(account, code_digest(code), expires, who)
    return LoginCode(account, code, datetime.datetime.fromtimestamp(expires, datetime.UTC))


class PageLogins:
    """The logins of this process, kept in the store over a restart."""

    def __init__(self, folder: Path, store: StoreProtocol) -> None:
        """`folder` is the data folder, which contains the key that signs links and cookies."""
        self._store = store
        self.registry = Logins(load_signing_key(folder), time.time(), store.logins(), store.accounts())
        self._failures = FailureLimit()
        self._provider_failures = FailureLimit()

    @cached_property
    def oidc(self) -> OidcLogin:
        """Logins by an identity provider."""
        from byway.admin.oidc import OidcLogin

        return OidcLogin(self.registry)

    @property
    def cookie_name(self) -> str:
        """The name of the cookie of a login."""
        return self.registry.cookie

    def link(self) -> str:
        """Return a token that opens the page once."""
        return self.registry.link(time.time(), secrets.token_bytes(16))

    def caller(self, cookie: str) -> Caller | None:
        """The caller of a request with this cookie; None when it belongs to no login that is valid now."""
        return self.registry.caller(cookie, time.time())

    async def enter(self, token: str, agent: str = "") -> str | None:
        """Return the cookie for a link's token, or None when the token is not valid. `agent` describes the browser."""
        now = time.time()
        cookie = self.registry.enter(token, now, secrets.token_bytes(16), agent)
        if cookie:
            await self._keep(cookie, now)
        return cookie

    async def enter_code(self, typed: str, address: str, agent: str = "") -> str | None:
        """Return the cookie for a code, or None when the code is not valid. Raises Problem after too many wrong codes."""
        _check_failures(self._failures, address)
        digest = code_digest(typed)
        # Counted as wrong until the store has answered: other codes arrive meanwhile.
        self._failures.failed(address, time.time())
        try:
            account = await run(lambda: self._store.take_login_code(digest))
        except Exception:
            self._failures.succeeded(address)
            raise
        if account is None:
            return None
        self._failures.succeeded(address)
        return await self._open(account, agent)

    async def enter_provider(
        self, settings: OidcSettings, redirect: str, ticket: str, query: str, address: str, agent: str = ""
    ) -> str:
        """Return the cookie for a person that an identity provider confirms. The first login makes an account.

        `query` is that with which the provider sent the browser back; `ticket` and `redirect` are those of `OidcLogin.start`.
        Raises OidcError, or Problem when the account is disabled or too many logins from the address have failed.
        """
        from byway.access.oidc import OidcError, suggested_account

        _check_failures(self._provider_failures, address)
        try:
            identity, role = await self.oidc.finish(settings, redirect, ticket, query)
        except OidcError:
            self._provider_failures.failed(address, time.time())
            raise
        account = await run(
            lambda: self._store.identity_account(
                identity.issuer,
                identity.subject,
                suggested=suggested_account(identity),
                name=(identity.name or identity.email)[:100],
                role=role,
                detail=f"with OpenID Connect: {identity.email or identity.username or identity.subject}",
            )
        )
        return await self._open(account, agent)

    async def _open(self, account: StoredAccount, agent: str) -> str:
        now = time.time()
        cookie = self.registry.open(account, now, secrets.token_bytes(16), agent)
        await self._keep(cookie, now)
        return cookie

    async def _keep(self, cookie: str, now: float) -> None:
        """Write a new login to the store."""
        record = self.registry.check(cookie, now)
        if record is not None and await self._save(lambda: self._store.add_login(record)):
            self.registry.mark_stored(record.id)

    def current(self, account: str | None = None) -> list[LoginInfo]:
        """The logins that are valid now, newest first; with `account` only those of that account."""
        records = self.registry.current(time.time())
        return [login_info(record) for record in records if account is None or record.account == account]

    async def revoke(self, id: str, who: str, account: str | None = None) -> LoginInfo:
        """End one login. Raises Problem when there is none with this id, or with `account` when it belongs to another."""
        record = next((record for record in self.registry.current(time.time()) if record.id == id), None)
        if record is not None and account is not None and record.account != account:
            record = None
        if record is None or not self.registry.revoke(id):
            raise Problem("not_found", f"There is no login {id}.")
        await self._save(lambda: self._store.remove_login(id, who))
        return login_info(record)

    def current_id(self, cookie: str) -> str:
        """The id of the login of a cookie; empty when the cookie is not valid."""
        record = self.registry.check(cookie, time.time())
        return record.id if record is not None else ""

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

    async def _save(self, change: Callable[[], object]) -> bool:
        """Write to the store in a thread. A failure is logged: the change applies in this process."""
        try:
            await asyncio.to_thread(change)
        except StoreError as error:
            log(
                "A change of the logins was not stored. It applies until the next restart.",
                logging.WARNING,
                problem=str(error),
            )
            return False
        return True


def _check_failures(failures: FailureLimit, address: str) -> None:
    """Raise Problem when too many logins from an address have failed."""
    if wait := failures.wait(address, time.time()):
        raise too_many("failed logins", wait)


def login_info(record: LoginRecord) -> LoginInfo:
    """A login of the store as data."""
    created, expires = (datetime.datetime.fromtimestamp(at, datetime.UTC) for at in (record.created, record.expires))
    seen = datetime.datetime.fromtimestamp(record.seen, datetime.UTC) if record.seen else None
    return LoginInfo(record.id, created, expires, record.agent, record.account, seen)
