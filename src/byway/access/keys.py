"""Checks clients' keys. Only hashes are kept, and no answer tells an unknown key from a malformed, revoked or expired one.

Keys come from the config (`byway.config`) and from the store (`byway.store`).
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Final, Protocol

from msgspec import Struct

from byway.problems import Problem
from byway.scopes import DEFAULT_SCOPES
from byway.store import KeyRecord


class Caller(Struct, frozen=True):
    """The client of a request: the id of its key, or "" when it sent no valid key and none is required."""

    key: str = ""
    scopes: tuple[str, ...] = DEFAULT_SCOPES


ANONYMOUS: Final = Caller()
#: The same text for every refusal, so that nothing can be learned from it.
REFUSAL: Final = (
    "Byway requires a valid API key, and this request has none. Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) to a key "
    "from `byway key create`, or to one of `api_keys` in byway.yaml."
)


class ConfiguredKey(Protocol):
    """A key as the config has it."""

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


class KeyPolicy(Protocol):
    """The section `api_keys` of the config."""

    @property
    def mode(self) -> str | None: ...
    @property
    def api_keys(self) -> Sized: ...
    @property
    def closed(self) -> bool: ...


def key_required(policy: KeyPolicy, stored: Collection[KeyRecord]) -> bool:
    """Return whether a client must send a key. Revoked and expired keys count, so the last one to expire opens nothing."""
    return policy.closed or (policy.mode is None and bool(stored))


TURNS_KEYS_OFF: Final = (
    "api_keys: this change would let clients in without a key. Restore the keys, or set api_keys.mode to permissive "
    "if any client may use Byway"
)
REMOVES_LAST_KEY: Final = (
    "api_keys: this change removes the last key while keys are required. Create another key first (byway key create NAME), "
    "or set api_keys.mode to permissive if any client may use Byway"
)
#: They contain nothing of the config, so `/readyz` may show them to clients without a key.
PUBLIC_REASONS: Final = frozenset((TURNS_KEYS_OFF, REMOVES_LAST_KEY))


def weakened_access(before: KeyPolicy, after: KeyPolicy, stored: Collection[KeyRecord]) -> str:
    """Return why a changed config must not replace the running one, or "" when it may.

    A config that was truncated or half written looks like one without keys. So a change that requires no key any more,
    or removes the last key, is accepted only when the new config has `mode: permissive` in words. `stored` are the keys
    of the store.
    """
    if after.mode == "permissive" or not key_required(before, stored):
        return ""
    if not key_required(after, stored):
        return TURNS_KEYS_OFF
    usable = any(not record.revoked for record in stored)
    if len(before.api_keys) and not len(after.api_keys) and not usable:
        return REMOVES_LAST_KEY
    return ""


#: The entry of an unknown key. It has expired, so that unknown and expired keys take the same steps.
_UNKNOWN: Final = (ANONYMOUS, 0.0)


class Keyring:
    """The keys that are accepted now. `blocking`: a request without a valid key is rejected; otherwise a key only names its
    client and adds its scopes.

    A key is looked up by its SHA-256. The time that takes reveals nothing about the accepted keys: nobody can choose the
    first bytes of a hash, and unknown, revoked and expired keys take the same steps.
    """

    def __init__(
        self,
        keys: Iterable[ConfiguredKey],
        blocking: bool,
        stored: Iterable[KeyRecord] = (),
        used: dict[str, float] | None = None,
    ) -> None:
        """`used` receives the time of each key's last use, by id."""
        self.blocking = blocking
        self._keys: dict[bytes, tuple[Caller, float]] = {}
        self._used = {} if used is None else used
        for record in stored:
            if not record.revoked:
                self._add(record.digest, record.id, record.scopes, record.expires)
        for index, configured in enumerate(keys):
            if configured.enabled and configured.key:
                expires = configured.expires_at
                if expires is not None and expires.tzinfo is None:
                    expires = expires.replace(tzinfo=datetime.UTC)
                self._add(
                    hashlib.sha256(configured.key.encode()).digest(),
                    configured.id or f"key-{index + 1}",
                    configured.scopes,
                    expires.timestamp() if expires else None,
                )

    def _add(self, digest: bytes, id: str, scopes: tuple[str, ...], expires: float | None) -> None:
        if not self.blocking:
            # A client without a key has these scopes; a key must not take any of them away.
            scopes = tuple(dict.fromkeys((*ANONYMOUS.scopes, *scopes)))
        expires = math.inf if expires is None else expires
        known = self._keys.get(digest)
        if known is None or known[1] < expires:
            self._keys[digest] = (Caller(id, scopes), expires)

    def check(self, headers: Mapping[bytes, bytes], now: float) -> Caller:
        """Return the caller of a request; `now` is in seconds since the epoch. Raises Problem `authentication`.

        `x-api-key` is tried before `Authorization: Bearer`, and either may be the valid one: Claude Code sends both, with
        different values, when both of its variables are set (measured, 2.1.329).
        """
        if self._keys or self.blocking:
            sent = headers.get(b"x-api-key")
            if sent:
                caller, expires = self._keys.get(hashlib.sha256(sent).digest(), _UNKNOWN)
                if now < expires:
                    self._used[caller.key] = now
                    return caller
            sent = headers.get(b"authorization")
            if sent is not None and sent[:7].lower() == b"bearer ":
                caller, expires = self._keys.get(hashlib.sha256(sent[7:].strip()).digest(), _UNKNOWN)
                if now < expires:
                    self._used[caller.key] = now
                    return caller
            if self.blocking:
                raise Problem("authentication", REFUSAL)
        return ANONYMOUS
