"""Links and cookies of the settings page: a link works once and becomes a login, which can be listed and revoked.

Pure: time and randomness are arguments. A login opens the settings page and its API, and is no client's key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from byway.store import MAX_LOGINS, LoginRecord

#: Seconds for which a link can be opened, and for which a login lasts.
LINK_SECONDS: Final = 900
LOGIN_SECONDS: Final = 7 * 86_400
COOKIE: Final = "byway_login"
#: The file in the data folder with the key that signs links and cookies, and its size in bytes.
KEY_FILE: Final = "login.key"
SECRET_SIZE: Final = 32
#: Links that were opened and have not expired. Beyond this no link is accepted, so that none can be used twice.
MAX_USED_LINKS: Final = 1000


class Logins:
    """Makes and checks links and cookies.

    A cookie is valid when it is signed and its login is in the list. The list is in memory; `byway.store` keeps it over a
    restart.
    """

    def __init__(self, secret: bytes, started: float = 0, records: Iterable[LoginRecord] = ()) -> None:
        """`secret`: the content of KEY_FILE. `records`: the logins from before the process started.

        Links made before `started` are rejected: only the process that made a link knows whether it was opened.
        """
        self._secret = secret
        self._started = int(started)
        self.cookie = f"{COOKIE}_{hashlib.sha256(secret).hexdigest()[:8]}"
        """The cookie's name. Browsers keep cookies by host and not by port, so two Byways on a host need two names."""
        self._used: dict[str, int] = {}
        """Links that were opened, with the second at which each expires."""
        self._logins: dict[bytes, LoginRecord] = {}
        """By the digest of the cookie, the oldest first."""
        for record in sorted(records, key=lambda record: record.created):
            self._logins[record.digest] = record

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
        self._prune(now)
        while len(self._logins) >= MAX_LOGINS:
            del self._logins[next(iter(self._logins))]
        cookie = self._signed("login", int(now) + LOGIN_SECONDS, nonce)
        digest = _digest(cookie)
        self._logins[digest] = LoginRecord(digest.hex()[:12], digest, now, now + LOGIN_SECONDS, agent[:200])
        return cookie

    def check(self, cookie: str, now: float) -> LoginRecord | None:
        """Return the login of a cookie, or None when it is invalid, expired or revoked."""
        if self._expiry("login", cookie, now) is None:
            return None
        return self._logins.get(_digest(cookie))

    def current(self, now: float) -> list[LoginRecord]:
        """The logins that are valid now, the newest first."""
        self._prune(now)
        return list(reversed(self._logins.values()))

    def revoke(self, id: str) -> bool:
        """End the login `id`; False when there is none."""
        digest = next((record.digest for record in self._logins.values() if record.id == id), None)
        return digest is not None and self._logins.pop(digest, None) is not None

    def revoke_all(self) -> int:
        """End every login; return how many there were."""
        count = len(self._logins)
        self._logins.clear()
        return count

    def _prune(self, now: float) -> None:
        for record in [record for record in self._logins.values() if record.expires <= now]:
            del self._logins[record.digest]

    def _signed(self, kind: str, expires: int, nonce: bytes) -> str:
        payload = f"{expires}.{_text(nonce)}"
        return f"{payload}.{self._signature(kind, payload)}"

    def _signature(self, kind: str, payload: str) -> str:
        return _text(hmac.digest(self._secret, f"{kind}:{payload}".encode(), hashlib.sha256))

    def _expiry(self, kind: str, token: str, now: float) -> int | None:
        """When a signed token expires; None when it is not ours or has expired."""
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(kind, payload).encode(), signature.encode("utf-8", "replace")):
            return None
        # Byway signed it, so it has the form that `_signed` writes.
        expires = int(payload.partition(".")[0])
        return expires if now < expires else None


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
