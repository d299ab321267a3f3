"""API keys of clients: hash and check. Only hashes are kept, and no answer tells an unknown key from a malformed one."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from byway.problems import Problem


class Caller(Struct, frozen=True):
    """Who asks: the id of a key, "" for anybody in permissive mode."""

    key: str = ""
    scopes: tuple[str, ...] = ("read", "write", "files")


ANYBODY: Final = Caller()
#: One body for every refusal, so that nothing can be learned from it.
REFUSAL: Final = (
    "This Byway needs a key, and the one given is not valid here. Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) to one "
    "of the keys under `api_keys` in byway.yaml."
)


class Configured(Protocol):
    """A key as the config holds it."""

    @property
    def key(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def scopes(self) -> tuple[str, ...]: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def expires_at(self) -> datetime.datetime | None: ...


class Keyring:
    """The keys that open the door. `blocking`: nobody comes in without one; else anybody does, and a key only names them."""

    def __init__(self, keys: Iterable[Configured], blocking: bool) -> None:
        self._keys: list[tuple[bytes, Caller, float | None]] = []
        for at, one in enumerate(keys):
            if one.enabled and one.key:
                caller = Caller(one.id or f"key-{at + 1}", one.scopes)
                ends = one.expires_at
                if ends is not None and ends.tzinfo is None:
                    ends = ends.replace(tzinfo=datetime.UTC)
                self._keys.append((_hash(one.key.encode()), caller, ends.timestamp() if ends else None))
        self.blocking = blocking

    def check(self, headers: Mapping[bytes, bytes], now: float) -> Caller:
        """The caller of a request; `now` is seconds since the epoch. Raises Problem `authentication`.

        `x-api-key` wins over `Authorization: Bearer` as in the official API, but either may be the valid one: Claude Code
        sends both, with different values, when both variables are set (measured, 2.1.329).
        """
        if not self._keys and not self.blocking:
            return ANYBODY
        found = None
        for given in _given(headers):
            digest = _hash(given)
            for stored, caller, ends in self._keys:
                if hmac.compare_digest(digest, stored) and (ends is None or now < ends) and found is None:
                    found = caller
        if found is not None:
            return found
        if self.blocking:
            raise Problem("authentication", REFUSAL)
        return ANYBODY


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _given(headers: Mapping[bytes, bytes]) -> list[bytes]:
    found = []
    if key := headers.get(b"x-api-key"):
        found.append(key)
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        found.append(bearer[7:].strip())
    return found
