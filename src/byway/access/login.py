"""Links, codes and cookies of the settings page: a link or a code works once and becomes a login, which can be revoked.

Pure: time and randomness are arguments. A login opens the settings page and its API, and is no client's key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from byway.access.keys import Caller
from byway.codes import CodeForm, base64url, text_digest
from byway.roles import PERMISSIONS
from byway.scopes import SCOPES
from byway.store import MAX_ALL_LOGINS, MAX_LOGINS, LoginRecord, StoredAccount

#: Seconds for which a link can be opened, and for which a login lasts.
LINK_SECONDS: Final = 900
LOGIN_SECONDS: Final = 7 * 86_400
#: The last request of a login is recorded to within so many seconds.
SEEN_SECONDS: Final = 60.0
COOKIE: Final = "byway_login"
#: The file in the data folder with the key that signs links and cookies, and its size in bytes.
KEY_FILE: Final = "login.key"
SECRET_SIZE: Final = 32
#: Links that were used and have not expired. Beyond this none is accepted, so that none can be used twice.
MAX_USED_LINKS: Final = 1000
#: A login code, `7GHK-2MQX-PB4T`: without letters that look alike, 59 random bits. It is made of CODE_BYTES random bytes.
LOGIN_CODE: Final = CodeForm("ABCDEFGHJKMNPQRSTUVWXYZ23456789", 12)
CODE_BYTES: Final = 16
#: Wrong codes of an address, and of all addresses together, in so many seconds. Beyond that codes are refused for a while.
_MAX_FAILURES: Final = 30
_MAX_ALL_FAILURES: Final = 1_000
_FAILURE_SECONDS: Final = 900.0

#: The owner of the data folder: in a browser with a link of `byway page`, or by a command over the unix socket.
PERSON: Final = Caller("", SCOPES, login=True)


def login_caller(account: StoredAccount) -> Caller:
    """The caller of requests with a login of `account`: it has every scope that the role allows."""
    scopes = PERMISSIONS[account.role].scopes
    return Caller("", scopes, account.id, account.organization, account.group, account.role, login=True)


def code_digest(typed: str) -> bytes:
    """The hash by which the store knows a code, as a person types it."""
    return text_digest(LOGIN_CODE.typed(typed))


class FailureLimit:
    """Counts wrong codes by address, in memory.

    When all addresses together have failed too often, every address is refused until the time is over. So the number of
    addresses is bounded, and none is forgotten because of others.
    """

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._total = 0
        self._until = 0.0

    def wait(self, address: str, now: float) -> float:
        """Seconds for which `address` is refused; 0 when it may try."""
        # The system's clock may have been set back.
        if now >= self._until or self._until - now > _FAILURE_SECONDS + 1:
            self._failures.clear()
            self._total = 0
            return 0.0
        is_over = self._total >= _MAX_ALL_FAILURES or self._failures.get(address, 0) >= _MAX_FAILURES
        return self._until - now if is_over else 0.0

    def failed(self, address: str, now: float) -> None:
        """Count a wrong code."""
        if not self._total:
            self._until = now + _FAILURE_SECONDS
        self._total += 1
        self._failures[address] = self._failures.get(address, 0) + 1

    def succeeded(self, address: str) -> None:
        """Take back a code that was counted as wrong before it was checked."""
        if failures := self._failures.get(address):
            self._total -= 1
            self._failures[address] = failures - 1


class Logins:
    """Makes and checks links and cookies.

    A cookie is valid when it is signed and its login is in the list. The list is in memory; `byway.store` keeps it over a
    restart.
    """

    def __init__(
        self,
        secret: bytes,
        started: float = 0,
        records: Iterable[LoginRecord] = (),
        accounts: Iterable[StoredAccount] = (),
    ) -> None:
        """`secret`: the content of KEY_FILE. `records`: the logins from before the process started.

        Links made before `started` are rejected: only the process that made a link knows whether it was opened.
        """
        self._callers: dict[str, Caller] = {}
        self.opened = 0
        """How many logins of accounts this process has opened."""
        self.take_accounts(accounts)
        self._secret = secret
        self._started = int(started)
        self.cookie = f"{COOKIE}_{hashlib.sha256(secret).hexdigest()[:8]}"
        """The cookie's name. Browsers keep cookies by host and not by port, so two Byways on a host need two names."""
        self._used: dict[str, int] = {}
        """Links that were opened, with the second at which each expires."""
        self._taken: dict[str, None] = {}
        """Tickets that were taken, the oldest first."""
        self._logins: dict[bytes, LoginRecord] = {}
        """By the digest of the cookie, the oldest first."""
        self._seen: dict[str, float] = {}
        """The last request of each login, to within SEEN_SECONDS, by its id."""
        self._unsaved: set[str] = set()
        """Logins whose last request the store does not have yet."""
        self._stored: set[str] = set()
        """Ids of the logins that the store has too."""
        for record in sorted(records, key=lambda record: record.created):
            self._logins[record.digest] = record
            self._stored.add(record.id)

    def take_accounts(self, accounts: Iterable[StoredAccount]) -> None:
        """Use the accounts as they are now. Logins of an account that is disabled or missing are not valid."""
        self._callers = {account.id: login_caller(account) for account in accounts if account.disabled_at is None}

    def link(self, now: float, nonce: bytes) -> str:
        """Return the token of a new link; `nonce` is 16 random bytes."""
        return self._signed("link", int(now) + LINK_SECONDS, nonce)

    def enter(self, token: str, now: float, nonce: bytes, agent: str = "") -> str | None:
        """Return the cookie for a link's token, or None when the token is invalid, expired or was used before.

        `agent` describes the browser in the list of logins.
        """
        expires = self._expiry("link", token, now)
        if expires is None or expires - LINK_SECONDS < self._started or token in self._used:
            return None
        self._used = {used: end for used, end in self._used.items() if end > now}
        if len(self._used) >= MAX_USED_LINKS:
            return None
        self._used[token] = expires
        return self._open("", now, nonce, agent)

    def open(self, account: StoredAccount, now: float, nonce: bytes, agent: str = "") -> str:
        """Return the cookie of a new login of `account`, which must be enabled."""
        self._callers[account.id] = login_caller(account)
        self.opened += 1
        return self._open(account.id, now, nonce, agent)

    def _open(self, account: str, now: float, nonce: bytes, agent: str) -> str:
        self._prune(now)
        own = [record for record in self._logins.values() if record.account == account]
        for record in own[: len(own) + 1 - MAX_LOGINS if len(own) >= MAX_LOGINS else 0]:
            self._end(record)
        while len(self._logins) >= MAX_ALL_LOGINS:
            self._end(next(iter(self._logins.values())))
        cookie = self._signed("login", int(now) + LOGIN_SECONDS, nonce)
        digest = text_digest(cookie)
        self._logins[digest] = LoginRecord(digest.hex()[:12], digest, now, now + LOGIN_SECONDS, agent[:200], account)
        return cookie

    def ticket(self, now: float, seconds: int, nonce: bytes) -> str:
        """Return a token for the cookie of a login that an identity provider has to confirm within `seconds`."""
        return self._signed("ticket", int(now) + seconds, nonce)

    def take_ticket(self, ticket: str, now: float) -> bool:
        """Return whether `ticket` is valid and was not taken before. From now on it is taken.

        Anyone can start logins, so the oldest tickets are forgotten beyond a limit: the provider accepts no code twice either.
        """
        if self._expiry("ticket", ticket, now) is None or ticket in self._taken:
            return False
        while len(self._taken) >= MAX_USED_LINKS:
            del self._taken[next(iter(self._taken))]
        self._taken[ticket] = None
        return True

    def derived_key(self, purpose: str) -> bytes:
        """A key for `purpose` that only the owner of the data folder can derive."""
        return hmac.digest(self._secret, f"key:{purpose}".encode(), hashlib.sha256)

    def check(self, cookie: str, now: float) -> LoginRecord | None:
        """Return the login of a cookie, or None when it is invalid, expired or revoked."""
        if self._expiry("login", cookie, now) is None:
            return None
        record = self._logins.get(text_digest(cookie))
        return record if record is None or not record.account or record.account in self._callers else None

    def caller(self, cookie: str, now: float) -> Caller | None:
        """The caller of a request with this cookie; None when the cookie is not valid, or its account is disabled."""
        record = self.check(cookie, now)
        if record is None:
            return None
        if not 0 <= now - self._seen.get(record.id, record.seen) < SEEN_SECONDS:
            self._seen[record.id] = now
            self._unsaved.add(record.id)
        return self._callers[record.account] if record.account else PERSON

    def stored(self) -> frozenset[str]:
        """The ids of the logins that the store has too."""
        return frozenset(self._stored)

    def mark_stored(self, id: str) -> None:
        """The store has the login `id` from now on: the login ends when it is removed there."""
        self._stored.add(id)

    def current(self, now: float) -> list[LoginRecord]:
        """The logins that are valid now, with their last requests, the newest first."""
        self._prune(now)
        seen = self._seen
        return [record._replace(seen=seen.get(record.id, record.seen)) for record in reversed(self._logins.values())]

    def take_unsaved(self) -> dict[str, float]:
        """The last requests that the store does not have yet, by login; from now on it has them."""
        unsaved, self._unsaved = self._unsaved, set()
        return {id: self._seen[id] for id in unsaved if id in self._seen}

    def revoke(self, id: str) -> bool:
        """End the login `id`; False when there is none."""
        record = next((record for record in self._logins.values() if record.id == id), None)
        if record is not None:
            self._end(record)
        return record is not None

    def revoke_all(self) -> int:
        """End every login; return how many there were."""
        count = len(self._logins)
        self._logins.clear()
        self._stored.clear()
        self._seen.clear()
        return count

    def _end(self, record: LoginRecord) -> None:
        del self._logins[record.digest]
        self._stored.discard(record.id)
        self._seen.pop(record.id, None)

    def _prune(self, now: float) -> None:
        for record in [record for record in self._logins.values() if record.expires <= now]:
            self._end(record)

    def _signed(self, kind: str, expires: int, nonce: bytes) -> str:
        payload = f"{expires}.{base64url(nonce)}"
        return f"{payload}.{self._signature(kind, payload)}"

    def _signature(self, kind: str, payload: str) -> str:
        return base64url(hmac.digest(self._secret, f"{kind}:{payload}".encode(), hashlib.sha256))

    def _expiry(self, kind: str, token: str, now: float) -> int | None:
        """When a signed token expires; None when it is not ours or has expired."""
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(kind, payload).encode(), signature.encode("utf-8", "replace")):
            return None
        # Byway signed it, so it has the form that `_signed` writes.
        expires = int(payload.partition(".")[0])
        return expires if now < expires else None
