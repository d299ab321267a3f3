"""Who may use the settings page: a link that works once, and the cookie that it is exchanged for. Pure: time and chance are
given to it.

The page's login is no client's key: it opens the page and nothing else, and a key without the scope `admin` opens all but it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

#: Seconds that a link waits to be opened, and that a login lasts.
LINK_SECONDS: Final = 900
LOGIN_SECONDS: Final = 7 * 86_400
COOKIE: Final = "byway_login"
#: Bytes of what links and cookies are signed with, and the file in the data folder that holds it.
SECRET_SIZE: Final = 32
KEY_FILE: Final = "login.key"


class Logins:
    """Makes and checks links and cookies. Both are signed, so that a restart logs nobody out; another `secret` does."""

    def __init__(self, secret: bytes, began: float = 0) -> None:
        """`secret`: 32 random bytes that stay in the data folder. Links from before `began` open nothing: which of them were
        opened is known to the process that opened them alone."""
        self._secret = secret
        self._began = int(began)
        self.cookie = f"{COOKIE}_{hashlib.sha256(secret).hexdigest()[:8]}"
        """The cookie's name. Browsers keep cookies by host, not by port: two Byways on one machine must not share one."""
        self._used: dict[str, int] = {}
        """Links that were opened, with the second at which they end anyhow."""

    def link(self, now: float, nonce: bytes) -> str:
        """The token of a link; `nonce` is 16 random bytes."""
        return self._signed("link", int(now) + LINK_SECONDS, nonce)

    def enter(self, token: str, now: float, nonce: bytes) -> str | None:
        """The cookie for a link's token; None when it is none, too old, or was opened before."""
        ends = self._ends("link", token, now)
        if ends is None or ends - LINK_SECONDS < self._began or token in self._used:
            return None
        self._used = {one: end for one, end in self._used.items() if end > now}
        self._used[token] = ends
        return self._signed("login", int(now) + LOGIN_SECONDS, nonce)

    def check(self, cookie: str, now: float) -> bool:
        """Does the cookie open the page now?"""
        return self._ends("login", cookie, now) is not None

    def _signed(self, what: str, ends: int, nonce: bytes) -> str:
        said = f"{ends}.{_text(nonce)}"
        return f"{said}.{self._mark(what, said)}"

    def _mark(self, what: str, said: str) -> str:
        return _text(hmac.digest(self._secret, f"{what}:{said}".encode(), hashlib.sha256))

    def _ends(self, what: str, given: str, now: float) -> int | None:
        said, _, mark = given.rpartition(".")
        if not hmac.compare_digest(self._mark(what, said).encode(), mark.encode("utf-8", "replace")):
            return None
        # Signed by us, so it is as we write it.
        ends = int(said.partition(".")[0])
        return ends if now < ends else None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
