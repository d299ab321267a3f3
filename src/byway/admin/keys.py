"""Clients' keys: list, create, rotate, revoke. A key's value is returned once, when it is made."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from byway.admin.errors import invalid
from byway.config import Config, validators
from byway.scopes import DEFAULT_SCOPES
from byway.store import Store, StoredKey

KeyState = Literal["active", "expired", "revoked"]


class KeyInfo(Struct, frozen=True):
    """A key of the store, without its value."""

    id: str
    name: str
    hint: str
    """The last four characters of its value."""
    scopes: tuple[str, ...]
    state: KeyState
    created_at: datetime.datetime
    expires_at: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    """When it was used last, to within a few seconds."""

    @property
    def is_active(self) -> bool:
        return self.state == "active"


class ConfiguredKeyInfo(Struct, frozen=True):
    """A key that byway.yaml defines. It is changed there."""

    id: str
    name: str
    scopes: tuple[str, ...]
    enabled: bool
    expires_at: datetime.datetime | None = None


class KeyValue(Struct, frozen=True):
    """A key that was created or rotated, with its value. Byway itself keeps only a hash."""

    value: str
    key: KeyInfo
    is_first: bool = False
    """It is the first key of the store: from now on clients need one, unless `api_keys.mode` is permissive."""


class KeyList(Struct, frozen=True):
    """All keys."""

    keys: tuple[KeyInfo, ...]
    configured: tuple[ConfiguredKeyInfo, ...]
    required: bool
    """Clients need a key."""


def list_keys(store: Store) -> list[KeyInfo]:
    """The keys of the store, newest first, revoked and expired ones included."""
    return [_info(key) for key in store.keys()]


def configured_keys(config: Config) -> list[ConfiguredKeyInfo]:
    """The keys that byway.yaml defines, without their values."""
    return [
        ConfiguredKeyInfo(key.id or f"key-{number}", key.name or "", key.scopes, key.enabled, key.expires_at)
        for number, key in enumerate(config.api_keys.api_keys, 1)
    ]


def create_key(store: Store, name: str, scopes: Sequence[str], expires: str, who: str) -> KeyValue:
    """Create a key. `expires` is empty, a duration (`30d`), a date or a time. Raises Problem or ValueError."""
    expires_at = parse_expiry(expires) if expires else None
    is_first = not store.key_records()
    key, value = store.add_key(name, scopes or DEFAULT_SCOPES, expires_at, who)
    return KeyValue(value, _info(key), is_first)


def rotate_key(store: Store, id: str, who: str) -> KeyValue:
    """Give a key a new value; the old one stops working. Raises LookupError, or ValueError for a revoked key."""
    key, value = store.rotate_key(id, who)
    return KeyValue(value, _info(key))


def revoke_key(store: Store, id: str, who: str) -> KeyInfo:
    """Revoke a key for good. Requests in progress are finished. Raises LookupError."""
    return _info(store.revoke_key(id, who))


def parse_expiry(text: str) -> datetime.datetime:
    """The time at which a key expires: `30d` and `12h` from now, `2027-01-01`, or `2027-01-01T12:00Z`. Raises Problem."""
    with contextlib.suppress(ValueError, OverflowError):
        if not text.strip().isdigit():
            return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=validators.duration(text))
    try:
        return validators.moment(text)
    except ValueError:
        raise invalid("expires", f"{text!r} is not 30d, 12h, a date such as 2027-01-01, or a time") from None


def _info(key: StoredKey) -> KeyInfo:
    state: KeyState = "revoked" if key.revoked_at else "active" if key.live else "expired"
    return KeyInfo(
        key.id, key.name, key.hint, key.scopes, state, key.created_at, key.expires_at, key.revoked_at, key.used_at
    )
