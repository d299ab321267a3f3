"""Checks clients' keys. Only hashes are kept, and no answer tells an unknown key from a malformed, revoked or expired one.

Keys come from the config (`byway.config`) and from the store (`byway.store`).
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sized
from functools import lru_cache
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from byway import codes
from byway.problems import Problem
from byway.roles import DEFAULT_ORGANIZATION, Role, allowed_scopes
from byway.scopes import DEFAULT_SCOPES
from byway.store import KeyRecord

#: The header of Byway's own key where `authorization` and `x-api-key` carry a credential for a backend.
OWN_HEADER: Final = b"x-byway-key"
#: The beginning of every key that Byway creates, as it is in a header.
KEY_PREFIX: Final = codes.KEY_PREFIX.encode()


class Caller(Struct, frozen=True, cache_hash=True):
    """The client of a request: the id of its key, or "" when it sent no valid key and none is required."""

    key: str = ""
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    account: str = ""
    """The account of the key; "" for none."""
    organization: str = DEFAULT_ORGANIZATION
    group: str = ""
    role: Role | Literal[""] = ""
    """The role of the account; "" without one."""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that it may use; empty for every model."""
    login: bool = False
    """It is a browser that is logged in to the settings page, or a command of the owner, and no client of models."""
    sign_in: bool = False
    """It is a Claude Code that is signed in: `key` is the id of its sign-in."""


ANONYMOUS: Final = Caller()
#: The same text for every refusal, so that nothing can be learned from it.
REFUSAL: Final = (
    "Byway requires a valid API key. The key of this request is missing, unknown, expired or revoked, or its account is "
    "disabled. Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) to a key from `byway key create`, or to one of `api_keys` in "
    "byway.yaml."
)


#: The beginning of every access token of a client that is signed in.
ACCESS_TOKEN_PREFIX: Final = codes.ACCESS_PREFIX.encode()
#: The same text for every token that is not valid.
SIGN_IN_ENDED: Final = (
    "This sign-in has ended: it was revoked or has expired, or its account was disabled. Run /login in Claude Code to sign in "
    "again."
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
    @property
    def user_id(self) -> str | None: ...
    @property
    def organization_id(self) -> str | None: ...


class KeyPolicy(Protocol):
    """The section `api_keys` of the config."""

    @property
    def mode(self) -> str | None: ...
    @property
    def api_keys(self) -> Sized: ...
    @property
    def closed(self) -> bool: ...


def has_keys(stored: Iterable[KeyRecord]) -> bool:
    """Whether the store has keys, revoked and expired ones too, beside the tokens of clients that are signed in."""
    return any(not record.sign_in for record in stored)


def key_required(policy: KeyPolicy, stored: Collection[KeyRecord]) -> bool:
    """Return whether a client must send a key. Revoked and expired keys count, so the last one to expire opens nothing.

    A client that is signed in does not close Byway for the others.
    """
    return policy.closed or (policy.mode is None and has_keys(stored))


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
    usable = any(record.usable and not record.sign_in for record in stored)
    if len(before.api_keys) and not len(after.api_keys) and not usable:
        return REMOVES_LAST_KEY
    return ""


#: The entry of an unknown key. It has expired, so that unknown and expired keys take the same steps.
_UNKNOWN: Final = (ANONYMOUS, 0.0)


@lru_cache(256)
def _effective_scopes(role: Role | Literal[""], scopes: tuple[str, ...], blocking: bool) -> tuple[str, ...]:
    """What a key with `scopes` allows, of an account with `role`. Cached: thousands of keys have the same scopes."""
    if role:
        scopes = allowed_scopes(role, scopes)
    if blocking:
        return scopes
    # A client without a key has these scopes; a key must not take any of them away.
    return tuple(dict.fromkeys((*ANONYMOUS.scopes, *scopes)))


class Keyring:
    """The keys that are accepted now. `blocking`: a request without a valid key is rejected; otherwise a key only names its
    client and adds its scopes.

    A key is looked up by its SHA-256. The time that takes reveals nothing about the accepted keys: nobody can choose the
    first bytes of a hash, and unknown, revoked, disabled and expired keys take the same
    steps.
    """

    def __init__(
        self,
        keys: Iterable[ConfiguredKey],
        blocking: bool,
        stored: Iterable[KeyRecord] = (),
        used: dict[str, float] | None = None,
        *,
        own_header: bool = False,
        behind: float = 0.0,
    ) -> None:
        """`used` receives the time of each key's last use, by id. `own_header`: a key may come in `x-byway-key`.

        `behind`: seconds by which the clock was set back since Byway started. Keys expire that much earlier by it.
        """
        self.blocking = blocking
        self._own_header = own_header
        self._keys: dict[bytes, tuple[Caller, float]] = {}
        stored = tuple(stored)
        self._disabled: set[bytes] = set()
        """The hashes of disabled keys of the config."""
        self._used = {} if used is None else used
        self._behind = behind
        self._sign_ins: dict[str, tuple[Caller, float]] = {}
        """The callers by the MCP tokens of sign-ins, and when these end, by the id of the sign-in."""
        self._rejects_tokens = any(record.sign_in for record in stored)
        """A token of a sign-in that has ended is rejected even where no key is required."""
        for record in stored:
            if record.usable:
                self._add_stored(record)
        for index, configured in enumerate(keys):
            if not configured.key:
                continue
            digest = hashlib.sha256(configured.key.encode()).digest()
            if configured.enabled:
                expires = configured.expires_at
                if expires is not None and expires.tzinfo is None:
                    expires = expires.replace(tzinfo=datetime.UTC)
                caller = Caller(
                    configured.id or f"key-{index + 1}",
                    _effective_scopes("", configured.scopes, blocking),
                    configured.user_id or "",
                    configured.organization_id or DEFAULT_ORGANIZATION,
                )
                self._add(digest, caller, expires.timestamp() if expires else math.inf)
            else:
                self._disabled.add(digest)
        self._checks = bool(self._keys) or blocking or self._rejects_tokens
        self._by_id: dict[str, tuple[Caller, float]] | None = None
        """The keys by their ids; made when a batch needs it."""

    def _add_stored(self, record: KeyRecord) -> None:
        scopes = _effective_scopes(record.role, record.scopes, self.blocking)
        caller = Caller(
            record.id,
            scopes,
            record.account,
            record.organization,
            record.group,
            record.role,
            record.models,
            sign_in=record.sign_in,
        )
        if record.sign_in:
            tools = ("tools",) if "write" in scopes else ()
            self._sign_ins[record.id] = (
                msgspec.structs.replace(caller, scopes=tools),
                record.sign_in_ends - self._behind,
            )
        expires = math.inf if record.expires is None else record.expires
        self._add(record.digest, caller, expires)
        if record.old_digest is not None:
            self._add(record.old_digest, caller, min(expires, record.old_expires))

    def _add(self, digest: bytes, caller: Caller, expires: float) -> None:
        expires -= self._behind
        known = self._keys.get(digest)
        if known is None or known[1] < expires:
            self._keys[digest] = (caller, expires)

    def sign_in(self, id: str, now: float) -> Caller | None:
        """The caller by the MCP token of a sign-in: it may use Byway's tools and nothing else. None when it has ended."""
        caller, ends = self._sign_ins.get(id, _UNKNOWN)
        if now >= ends or not caller.scopes:
            return None
        self._used[id] = now
        return caller

    def contains(self, text: bytes) -> bool:
        """Return whether `text` is a key of Byway, a disabled or expired one too, or has the form of one."""
        digest = hashlib.sha256(text).digest()
        return text.startswith(KEY_PREFIX) or digest in self._keys or digest in self._disabled

    def caller(self, id: str, now: float) -> Caller | None:
        """The caller whose key has this id; None when the key has ended. `now` is in seconds since the epoch."""
        if self._by_id is None:
            self._by_id = {}
            for caller, expires in self._keys.values():
                if expires > self._by_id.get(caller.key, _UNKNOWN)[1]:
                    self._by_id[caller.key] = caller, expires
        caller, expires = self._by_id.get(id, _UNKNOWN)
        return caller if now < expires else None

    def check(self, headers: Mapping[bytes, bytes], now: float) -> Caller:
        """Return the caller of a request; `now` is in seconds since the epoch. Raises Problem `authentication`.

        `x-api-key` is tried before `Authorization: Bearer`, and either may be the valid one: Claude Code sends both, with
        different values, when both of its variables are set (measured, 2.1.329).
        """
        if self._checks:
            if self._own_header and (sent := headers.get(OWN_HEADER)):
                caller, expires = self._keys.get(hashlib.sha256(sent.strip()).digest(), _UNKNOWN)
                if now < expires:
                    self._used[caller.key] = now
                    return caller
            sent = headers.get(b"x-api-key")
            if sent:
                caller, expires = self._keys.get(hashlib.sha256(sent.strip()).digest(), _UNKNOWN)
                if now < expires:
                    self._used[caller.key] = now
                    return caller
            sent = headers.get(b"authorization")
            if sent is not None and sent[:7].lower() == b"bearer ":
                caller, expires = self._keys.get(hashlib.sha256(sent[7:].strip()).digest(), _UNKNOWN)
                if now < expires:
                    self._used[caller.key] = now
                    return caller
                if self._rejects_tokens and sent[7:].strip().startswith(ACCESS_TOKEN_PREFIX):
                    raise Problem("authentication", SIGN_IN_ENDED)
            if self._rejects_tokens and headers.get(b"x-api-key", b"").startswith(ACCESS_TOKEN_PREFIX):
                raise Problem("authentication", SIGN_IN_ENDED)
            if self.blocking:
                raise Problem("authentication", REFUSAL)
        return ANONYMOUS
