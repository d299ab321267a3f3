"""Clients' keys: list, create, rotate, revoke. A key's value is returned once, when it is made."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from byway.access.keys import has_keys
from byway.admin.errors import invalid
from byway.config import Config, validators
from byway.roles import allowed_scopes
from byway.scopes import DEFAULT_SCOPES
from byway.store import StoredKey, StoreProtocol

#: Keys that an account may create for itself, revoked and expired ones not counted.
MAX_OWN_KEYS: Final = 100
KeyState = Literal["active", "disabled", "expired", "revoked"]


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
    account: str = ""
    """The account that it belongs to; empty for none."""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that it may use; empty for every model."""
    old_expires_at: datetime.datetime | None = None
    """Until when the value from before the last rotation is accepted; null when it is not."""
    created_by: str = ""
    """Who created it, as in the audit log."""

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
    account: str = ""
    """Its `user_id`: a label of the usage of this key."""
    organization: str = ""
    """Its `organization_id`."""


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


def list_keys(store: StoreProtocol, account: str | None = None) -> list[KeyInfo]:
    """The keys of the store, newest first, revoked and expired ones included; with `account` only those of that account."""
    return [_info(key) for key in store.keys() if account is None or key.account == account]


def configured_keys(config: Config, account: str | None = None) -> list[ConfiguredKeyInfo]:
    """The keys that byway.yaml defines, without their values; with `account` only those with this `user_id`."""
    return [
        ConfiguredKeyInfo(
            key.id or f"key-{number}",
            key.name or "",
            key.scopes,
            key.enabled,
            key.expires_at,
            key.user_id or "",
            key.organization_id or "",
        )
        for number, key in enumerate(config.api_keys.api_keys, 1)
        if account is None or key.user_id == account
    ]


def create_key(
    store: StoreProtocol,
    name: str,
    scopes: Sequence[str],
    expires: str,
    who: str,
    *,
    account: str = "",
    models: Sequence[str] = (),
) -> KeyValue:
    """Create a key. `expires` is empty, a duration (`30d`), a date or a time.

    Without `scopes` it gets the default ones that its account's role allows. `models`: names and patterns of the models that
    it may use; empty for every model. Raises Problem, LookupError or ValueError.
    """
    expires_at = parse_expiry(expires) if expires else None
    is_first = not has_keys(store.key_records())
    if not scopes:
        scopes = allowed_scopes(store.account(account).role, DEFAULT_SCOPES) if account else DEFAULT_SCOPES
    key, value = store.add_key(name, scopes, expires_at, who, account=account, models=models)
    return KeyValue(value, _info(key), is_first)


def create_own_key(
    store: StoreProtocol, account: str, name: str, scopes: Sequence[str], expires: str, models: Sequence[str] = ()
) -> KeyValue:
    """Create a key of `account`, for that account itself. Raises Problem, LookupError or ValueError."""
    live = sum(key.live for key in store.keys() if key.account == account)
    if live >= MAX_OWN_KEYS:
        raise ValueError(f"Account {account} has {live} keys already. Revoke keys that are not used any more.")
    return create_key(store, name, scopes, expires, f"account {account}", account=account, models=models)


def require_own(store: StoreProtocol, id: str, account: str | None) -> None:
    """Raise LookupError when the key `id` does not belong to `account`, as if it did not exist. None is every account."""
    if account is not None and not any(key.id == id and key.account == account for key in store.keys()):
        raise LookupError(f"There is no key {id[:100]!r}. `byway key list` lists all keys.")


def rotate_key(store: StoreProtocol, id: str, who: str, grace: str = "") -> KeyValue:
    """Give a key a new value. The old value is accepted for `grace`, such as `1h`; by default it stops working at once.

    Raises Problem, LookupError, or ValueError for a key that is not valid any more.
    """
    key, value = store.rotate_key(id, who, parse_grace(grace))
    return KeyValue(value, _info(key))


def revoke_key(store: StoreProtocol, id: str, who: str) -> KeyInfo:
    """Revoke a key for good. Requests in progress are finished. Raises LookupError."""
    return _info(store.revoke_key(id, who))


def parse_grace(text: str) -> float:
    """The seconds for which the old value of a rotated key stays valid: `1h`, `7d`, or nothing for 0. Raises Problem."""
    try:
        return validators.duration(text) if text.strip() not in ("", "0") else 0.0
    except (ValueError, OverflowError):
        raise invalid("grace", f"{text[:100]!r} is not a duration such as 1h or 7d") from None


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
    state: KeyState = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expired:
        state = "expired"
    elif key.disabled:
        state = "disabled"
    return KeyInfo(
        key.id,
        key.name,
        key.hint,
        key.scopes,
        state,
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.used_at,
        key.account,
        key.models,
        key.old_expires_at,
        key.created_by,
    )
