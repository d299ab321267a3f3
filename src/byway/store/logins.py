"""Logins of the settings page, kept over a restart, and what makes one: codes, and identities of a provider."""

from __future__ import annotations

import time
from collections.abc import Mapping

from byway.store import bounds
from byway.store.accounts import AccountTable
from byway.store.records import LoginRecord, StoredAccount


class LoginTable(AccountTable):
    """The logins that have not expired. The oldest go when an account has more than MAX_LOGINS.

    `StoreProtocol` describes the methods.
    """

    def add_login(self, record: LoginRecord) -> None:
        database = self.database
        with database.change():
            database.run(
                "INSERT OR REPLACE INTO logins (id, digest, created, expires, agent, account, seen)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                record,
            )
            database.run("DELETE FROM logins WHERE expires <= ?", (time.time(),))
            self._keep_newest("logins", "created", bounds.MAX_LOGINS, "account = ?", record.account)
            self._keep_newest("logins", "created", bounds.MAX_ALL_LOGINS)

    def logins(self) -> list[LoginRecord]:
        rows = self.database.rows(
            "SELECT id, digest, created, expires, agent, account, seen FROM logins WHERE expires > ?"
            " ORDER BY created DESC",
            (time.time(),),
        )
        return [LoginRecord(*row) for row in rows]

    def record_logins_seen(self, times: Mapping[str, float]) -> None:
        with self.database.change():
            for id, at in times.items():
                self.database.run("UPDATE logins SET seen = max(seen, ?) WHERE id = ?", (at, id))

    def remove_login(self, id: str, who: str) -> bool:
        with self.database.change():
            if not self.database.run("DELETE FROM logins WHERE id = ?", (id,)):
                return False
            self._audit(who, "login revoked", id)
            return True

    def remove_logins(self, who: str) -> int:
        with self.database.change():
            count = self.database.run("DELETE FROM logins")
            if count:
                self._audit(who, "logins revoked", f"all {count}")
            return count

    # -------------------------------------------------------------------------------------------------------- login codes

    def add_login_code(self, account: str, digest: bytes, expires: float, who: str) -> StoredAccount:
        now = time.time()
        with self.database.change():
            owner = self._enabled_account(account)
            self.database.run("DELETE FROM login_codes WHERE expires <= ?", (now,))
            self.database.run("INSERT INTO login_codes VALUES (?, ?, ?, ?)", (digest, account, now, expires))
            self._keep_newest("login_codes", "created", bounds.MAX_LOGIN_CODES, "account = ?", account)
            self._audit(who, "login code created", account)
            return owner

    def take_login_code(self, digest: bytes) -> StoredAccount | None:
        with self.database.change():
            row = self.database.row("SELECT account, expires FROM login_codes WHERE digest = ?", (digest,))
            if row is None:
                return None
            self.database.run("DELETE FROM login_codes WHERE digest = ?", (digest,))
            if row[1] <= time.time():
                return None
            try:
                owner = self._enabled_account(row[0])
            except (LookupError, ValueError):
                return None
            self._audit(f"account {owner.id}", "logged in", "with a code")
            return owner

    # --------------------------------------------------------------------------------------------------------- identities

    def identity_account(
        self, issuer: str, subject: str, *, suggested: str, name: str, role: str, detail: str
    ) -> StoredAccount:
        with self.database.change():
            row = self.database.row(
                "SELECT account FROM identities WHERE issuer = ? AND subject = ?", (issuer, subject)
            )
            if row is None:
                id = self._free_id(suggested)
                self.add_account(id, "OpenID Connect", name=name or id, role=role)
                self.database.run("INSERT INTO identities VALUES (?, ?, ?)", (issuer, subject, id))
            else:
                id = row[0]
                self._enabled_account(id)
                self.change_account(id, "OpenID Connect", role=role)
            self._audit(f"account {id}", "logged in", detail)
            return self.account(id)

    def _free_id(self, suggested: str) -> str:
        """`suggested`, or the first of `suggested-2`, `suggested-3`, ... that no account has."""
        taken = {
            id
            for (id,) in self.database.rows(
                "SELECT id FROM accounts WHERE id = ? OR id GLOB ?", (suggested, f"{suggested}-[0-9]*")
            )
        }
        number, id = 1, suggested
        while id in taken:
            number += 1
            id = f"{suggested}-{number}"
        return id
