"""Accounts: add, list, change, disable, enable, remove. Keys and logins belong to them."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Literal

from msgspec import Struct

from byway.admin.keys import KeyInfo, list_keys
from byway.roles import Role
from byway.store import StoredAccount, StoreProtocol

AccountState = Literal["active", "disabled"]


class AccountInfo(Struct, frozen=True):
    """An account."""

    id: str
    name: str
    role: Role
    group: str
    """The group that limits may apply to; empty for none."""
    organization: str
    state: AccountState
    keys: int
    """How many of its keys are neither revoked nor expired."""
    created_at: datetime.datetime
    disabled_at: datetime.datetime | None = None


class AccountDetails(Struct, frozen=True):
    """An account with its keys, newest first."""

    account: AccountInfo
    keys: tuple[KeyInfo, ...]


class AccountList(Struct, frozen=True):
    """Every account, sorted by id."""

    accounts: tuple[AccountInfo, ...]


class RemovedAccount(Struct, frozen=True):
    """An account that was removed."""

    account: AccountInfo
    """As it was before."""
    revoked: int
    """How many keys were revoked with it."""


def list_accounts(store: StoreProtocol) -> AccountList:
    """Every account, sorted by id."""
    counts = Counter(key.account for key in list_keys(store) if _counts(key))
    return AccountList(tuple(_info(account, counts[account.id]) for account in store.accounts()))


def show_account(store: StoreProtocol, id: str) -> AccountDetails:
    """An account and its keys. Raises LookupError."""
    account = store.account(id)
    keys = tuple(key for key in list_keys(store) if key.account == id)
    return AccountDetails(_info(account, sum(map(_counts, keys))), keys)


def add_account(
    store: StoreProtocol,
    id: str,
    who: str,
    *,
    name: str = "",
    role: str = "member",
    group: str = "",
    organization: str = "",
) -> AccountInfo:
    """Create an account. The name defaults to the id, the organization to `default`. Raises ValueError."""
    return _info(store.add_account(id, who, name=name, role=role, group=group, organization=organization), 0)


def change_account(
    store: StoreProtocol,
    id: str,
    who: str,
    *,
    name: str | None = None,
    role: str | None = None,
    group: str | None = None,
    organization: str | None = None,
) -> AccountInfo:
    """Change what is not None. Raises LookupError or ValueError."""
    store.change_account(id, who, name=name, role=role, group=group, organization=organization)
    return show_account(store, id).account


def disable_account(store: StoreProtocol, id: str, who: str) -> AccountInfo:
    """Reject the keys of an account and end its logins, until it is enabled. Raises LookupError."""
    store.disable_account(id, who)
    return show_account(store, id).account


def enable_account(store: StoreProtocol, id: str, who: str) -> AccountInfo:
    """Accept the keys of a disabled account again. Raises LookupError."""
    store.enable_account(id, who)
    return show_account(store, id).account


def remove_account(store: StoreProtocol, id: str, who: str) -> RemovedAccount:
    """Remove an account for good: its keys are revoked, its logins end. Raises LookupError."""
    before = show_account(store, id)
    store.remove_account(id, who)
    return RemovedAccount(before.account, sum(key.state != "revoked" for key in before.keys))


def _counts(key: KeyInfo) -> bool:
    return key.state not in ("revoked", "expired")


def _info(account: StoredAccount, keys: int) -> AccountInfo:
    return AccountInfo(
        account.id,
        account.name,
        account.role,
        account.group,
        account.organization,
        "active" if account.disabled_at is None else "disabled",
        keys,
        account.created_at,
        account.disabled_at,
    )
