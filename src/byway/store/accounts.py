"""Accounts: the people and services that keys and logins belong to."""

from __future__ import annotations

import time
from typing import Final

from byway.roles import DEFAULT_ORGANIZATION
from byway.store import bounds
from byway.store.audit import AuditTable
from byway.store.database import Database
from byway.store.records import StoredAccount, checked_id, checked_name, checked_role, moment, optional_moment

_ACCOUNT: Final = "SELECT id, name, role, team, organization, made, disabled FROM accounts"


class AccountTable(AuditTable):
    """The accounts. A key or a login may also belong to none. `StoreProtocol` describes the methods."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._changes = 0
        """How many changes of accounts and keys this process has made."""

    def add_account(
        self, id: str, who: str, *, name: str = "", role: str = "member", group: str = "", organization: str = ""
    ) -> StoredAccount:
        id, role = checked_id(id, "account"), checked_role(role)
        name = checked_name(name or id, "account", "Ada Lovelace")
        group = checked_id(group, "group") if group else ""
        organization = checked_id(organization or DEFAULT_ORGANIZATION, "organization")
        database = self.database
        with database.change():
            if database.row("SELECT 1 FROM accounts WHERE id = ?", (id,)):
                raise ValueError(f"There is an account {id} already. `byway account show {id}` shows it.")
            if database.count("SELECT count(*) FROM accounts") >= bounds.MAX_ACCOUNTS:
                raise ValueError(
                    f"There are {bounds.MAX_ACCOUNTS} accounts already. Remove accounts that are not used."
                )
            database.run(
                "INSERT INTO accounts (id, name, role, team, organization, made) VALUES (?, ?, ?, ?, ?, ?)",
                (id, name, role, group, organization, time.time()),
            )
            self._audit(who, "account added", f"{id} ({name}): {_described(role, group, organization)}")
            self._changes += 1
            return self.account(id)

    def accounts(self) -> list[StoredAccount]:
        return [_stored_account(row) for row in self.database.rows(f"{_ACCOUNT} ORDER BY id")]

    def account(self, id: str) -> StoredAccount:
        row = self.database.row(f"{_ACCOUNT} WHERE id = ?", (id,))
        if row is None:
            raise LookupError(f"There is no account {id[:100]!r}. `byway account list` lists all accounts.")
        return _stored_account(row)

    def change_account(
        self,
        id: str,
        who: str,
        *,
        name: str | None = None,
        role: str | None = None,
        group: str | None = None,
        organization: str | None = None,
    ) -> StoredAccount:
        with self.database.change():
            old = self.account(id)
            new_name = old.name if name is None else checked_name(name, "account", "Ada Lovelace")
            new_role = old.role if role is None else checked_role(role)
            new_group = old.group if group is None else checked_id(group, "group") if group else ""
            new_organization = (
                old.organization
                if organization is None
                else checked_id(organization or DEFAULT_ORGANIZATION, "organization")
            )
            after = (new_name, new_role, new_group, new_organization)
            if after != (old.name, old.role, old.group, old.organization):
                self.database.run(
                    "UPDATE accounts SET name = ?, role = ?, team = ?, organization = ? WHERE id = ?", (*after, id)
                )
                self._audit(
                    who, "account changed", f"{id} ({new_name}): {_described(new_role, new_group, new_organization)}"
                )
                self._changes += 1
            return self.account(id)

    def disable_account(self, id: str, who: str) -> StoredAccount:
        with self.database.change():
            old = self.account(id)
            if old.disabled_at is None:
                self.database.run("UPDATE accounts SET disabled = ? WHERE id = ?", (time.time(), id))
                self._end_logins(id)
                self._audit(who, "account disabled", f"{id} ({old.name})")
                self._changes += 1
            return self.account(id)

    def enable_account(self, id: str, who: str) -> StoredAccount:
        with self.database.change():
            old = self.account(id)
            if old.disabled_at is not None:
                self.database.run("UPDATE accounts SET disabled = NULL WHERE id = ?", (id,))
                self._audit(who, "account enabled", f"{id} ({old.name})")
                self._changes += 1
            return self.account(id)

    def remove_account(self, id: str, who: str) -> StoredAccount:
        with self.database.change():
            old = self.account(id)
            revoked = self.database.run(
                "UPDATE keys SET revoked = ? WHERE account = ? AND revoked IS NULL", (time.time(), id)
            )
            self._end_logins(id)
            # Otherwise a later account with this id would belong to the same person of an identity provider.
            self.database.run("DELETE FROM identities WHERE account = ?", (id,))
            self.database.run("DELETE FROM accounts WHERE id = ?", (id,))
            self._prune_revoked()
            self._audit(who, "account removed", f"{id} ({old.name}), keys revoked: {revoked}")
            self._changes += 1
            return old

    def _enabled_account(self, id: str) -> StoredAccount:
        """One account. Raises LookupError when there is none with this id, ValueError when it is disabled."""
        account = self.account(id)
        if account.disabled_at is not None:
            raise ValueError(f"Account {id} is disabled. To enable it: byway account enable {id}")
        return account

    def _end_logins(self, id: str) -> None:
        """End the logins, the login codes and the sign-ins of an account, in the transaction of a change."""
        self.database.run("DELETE FROM logins WHERE account = ?", (id,))
        self.database.run("DELETE FROM login_codes WHERE account = ?", (id,))
        self.database.run("UPDATE sign_ins SET revoked = ? WHERE account = ? AND revoked IS NULL", (time.time(), id))

    def _prune_revoked(self) -> None:
        """Forget the revoked keys beyond MAX_REVOKED_KEYS, the oldest first, in the transaction of a change."""
        self._keep_newest("keys", "revoked", bounds.MAX_REVOKED_KEYS, "revoked IS NOT NULL")


def _stored_account(row: tuple) -> StoredAccount:  # type: ignore[type-arg]
    id, name, role, group, organization, created, disabled = row
    return StoredAccount(id, name, role, group, organization, moment(created), optional_moment(disabled))


def _described(role: str, group: str, organization: str) -> str:
    return ", ".join([role, *([f"group {group}"] if group else []), f"organization {organization}"])
