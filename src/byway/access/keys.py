"""Clients' keys: hash and check. Only hashes are kept, and no answer tells an unknown key from a malformed, revoked or
ended one. Where keys come from is not known here: from the config, and from the store."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from byway.problems import Problem


class Caller(Struct, frozen=True):
    """Who asks: the id of a key, "" for anybody in permissive mode."""

    key: str = ""
    scopes: tuple[str, ...] = ("read", "write", "files")


ANONYMOUS: Final = Caller()
#: One body for every refusal, so that nothing can be learned from it.
REFUSAL: Final = (
    "This Byway needs a key, and the one given is not valid here. Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) to one "
    "that `byway key create` has made, or that stands under `api_keys` in byway.yaml."
)


class ConfiguredKey(Protocol):
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


class KeyRecord(NamedTuple):
    """A key as the store holds it. `digest`: its SHA-256; `ends`: seconds since the epoch."""

    id: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    ends: float | None
    revoked: bool


class KeyPolicy(Protocol):
    """What the config says of keys."""

    @property
    def mode(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...


def key_required(config: KeyPolicy, stored: Collection[KeyRecord]) -> bool:
    """Must a client show a key? One that was revoked or has ended still counts: the door stays shut."""
    return config.closed or (config.mode is None and bool(stored))


#: What is found for a key that nobody has: like one that has ended, so that both take the same way.
_NOTHING: Final = (ANONYMOUS, 0.0)


class Keyring:
    """The keys that open the door. `blocking`: nobody comes in without one; else anybody does, and a key only names them
    and adds its scopes.

    A key is looked up by its hash. How long that takes tells nothing of the keys that there are: who could choose a hash's
    first bytes would have broken SHA-256, and unknown, revoked and ended keys take the same steps.
    """

    def __init__(
        self,
        keys: Iterable[ConfiguredKey],
        blocking: bool,
        stored: Iterable[KeyRecord] = (),
        used: dict[str, float] | None = None,
    ) -> None:
        """In `used` it writes when each key last opened the door, by its id."""
        self.blocking = blocking
        self._keys: dict[bytes, tuple[Caller, float]] = {}
        self._used = {} if used is None else used
        for one in stored:
            if not one.revoked:
                self._add(one.digest, one.id, one.scopes, one.ends)
        for at, configured in enumerate(keys):
            if configured.enabled and configured.key:
                ends = configured.expires_at
                if ends is not None and ends.tzinfo is None:
                    ends = ends.replace(tzinfo=datetime.UTC)
                digest = hashlib.sha256(configured.key.encode()).digest()
                self._add(
                    digest, configured.id or f"key-{at + 1}", configured.scopes, ends.timestamp() if ends else None
                )

    def _add(self, digest: bytes, id: str, scopes: tuple[str, ...], ends: float | None) -> None:
        if not self.blocking:
            # Who shows no key may do this much; a key must not make it less.
            scopes = tuple(dict.fromkeys((*ANONYMOUS.scopes, *scopes)))
        ends = math.inf if ends is None else ends
        known = self._keys.get(digest)
        if known is None or known[1] < ends:
            self._keys[digest] = (Caller(id, scopes), ends)

    def check(self, headers: Mapping[bytes, bytes], now: float) -> Caller:
        """The caller of a request; `now` is seconds since the epoch. Raises Problem `authentication`.

        `x-api-key` wins over `Authorization: Bearer` as in the official API, but either may be the valid one: Claude Code
        sends both, with different values, when both variables are set (measured, 2.1.329).
        """
        if self._keys or self.blocking:
            given = headers.get(b"x-api-key")
            if given:
                caller, ends = self._keys.get(hashlib.sha256(given).digest(), _NOTHING)
                if now < ends:
                    self._used[caller.key] = now
                    return caller
            given = headers.get(b"authorization")
            if given is not None and given[:7].lower() == b"bearer ":
                caller, ends = self._keys.get(hashlib.sha256(given[7:].strip()).digest(), _NOTHING)
                if now < ends:
                    self._used[caller.key] = now
                    return caller
            if self.blocking:
                raise Problem("authentication", REFUSAL)
        return ANONYMOUS
