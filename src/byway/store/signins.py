"""Clients that are signed in: their tokens, of which only hashes are stored, and the rotation of refresh tokens."""

from __future__ import annotations

import time
from typing import Final

from byway.scopes import DEFAULT_SCOPES
from byway.store import bounds
from byway.store.accounts import AccountTable
from byway.store.bounds import shortened
from byway.store.keyrecords import IS_DISABLED, WITH_ACCOUNT, key_record, key_record_query
from byway.store.records import KeyRecord, SignInTokens, StoredSignIn, moment, new_id, optional_moment

#: The beginning of every id of a sign-in.
SIGN_IN_ID: Final = "signin_"
_RECORDS: Final = key_record_query(
    "sign_ins", name="client", scopes=f"'{' '.join(DEFAULT_SCOPES)}'", models="'[]'", sign_in_ends="refresh_ends"
)
_SHOWN: Final = "SELECT id, account, client, address, made, refresh_ends, used FROM sign_ins"


class SignInTable(AccountTable):
    """The sign-ins, of which the oldest go when an account has more than MAX_ACCOUNT_SIGN_INS.

    `StoreProtocol` describes the methods.
    """

    def add_sign_in(self, account: str, client: str, address: str, tokens: SignInTokens, id: str = "") -> StoredSignIn:
        database, now, id = self.database, time.time(), id or new_id(SIGN_IN_ID)
        with database.change():
            if account:
                self._enabled_account(account)
            database.run(
                "INSERT INTO sign_ins (id, account, client, address, made, digest, ends, refresh, refresh_ends)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, account, shortened(client), shortened(address), now, *tokens),
            )
            self._audit(_author(account), "signed in", f"{id} ({client}) from {address}")
            self._prune_sign_ins(account, now)
            self._changes += 1
            return self._sign_in(id)

    def refresh_sign_in(self, refresh: bytes, tokens: SignInTokens, grace: float) -> StoredSignIn | None:
        database, now = self.database, time.time()
        with database.change():
            row = database.row(
                f"SELECT sign_ins.id FROM sign_ins {WITH_ACCOUNT} WHERE refresh = ? AND refresh_ends > ?"  # noqa: S608 - constants
                f" AND revoked IS NULL AND NOT {IS_DISABLED}",
                (refresh, now),
            )
            if row is None:
                self._end_replayed(refresh, now - grace)
                return None
            id = row[0]
            database.run(
                "UPDATE sign_ins SET old_digest = digest, old_ends = ends, digest = ?, ends = ?, refresh = ?,"
                " refresh_ends = ?, used = ? WHERE id = ?",
                (*tokens, now, id),
            )
            database.run("INSERT INTO spent_refresh_tokens VALUES (?, ?, ?)", (refresh, id, now))
            self._keep_newest("spent_refresh_tokens", "spent", bounds.MAX_SPENT_TOKENS, "sign_in = ?", id)
            self._changes += 1
            return self._sign_in(id)

    def sign_ins(self, account: str | None = None) -> list[StoredSignIn]:
        rows = self.database.rows(
            f"{_SHOWN} WHERE revoked IS NULL AND refresh_ends > ? AND (? IS NULL OR account = ?) ORDER BY made DESC",
            (time.time(), account, account),
        )
        return [_stored_sign_in(row) for row in rows]

    def revoke_sign_in(self, id: str, who: str, account: str | None = None) -> StoredSignIn:
        with self.database.change():
            revoked = self.database.run(
                "UPDATE sign_ins SET revoked = ? WHERE id = ? AND revoked IS NULL AND (? IS NULL OR account = ?)",
                (time.time(), id, account, account),
            )
            if not revoked:
                raise LookupError(f"There is no sign-in {id[:100]!r}.")
            self._ended(id, who, "")
            return self._sign_in(id)

    def revoke_token(self, digest: bytes, who: str) -> StoredSignIn | None:
        row = self.database.row(
            "SELECT id FROM sign_ins WHERE (digest = ? OR refresh = ? OR old_digest = ?) AND revoked IS NULL",
            (digest, digest, digest),
        )
        try:
            return None if row is None else self.revoke_sign_in(row[0], who)
        except LookupError:
            # Another process has revoked it.
            return None

    def _end_replayed(self, refresh: bytes, before: float) -> None:
        """End the sign-in of a refresh token that was used before that time, in the transaction of a change."""
        row = self.database.row(
            "SELECT sign_in FROM spent_refresh_tokens JOIN sign_ins ON sign_ins.id = sign_in"
            " WHERE spent_refresh_tokens.digest = ? AND spent < ? AND revoked IS NULL",
            (refresh, before),
        )
        if row is not None:
            self.database.run("UPDATE sign_ins SET revoked = ? WHERE id = ?", (time.time(), row[0]))
            self._ended(row[0], "Byway", ": a refresh token was used twice")

    def _ended(self, id: str, who: str, reason: str) -> None:
        self._audit(who, "sign-in revoked", f"{id}{reason}")
        self._keep_newest("sign_ins", "revoked", bounds.MAX_REVOKED_SIGN_INS, "revoked IS NOT NULL")
        self._prune_spent()
        self._changes += 1

    def _prune_sign_ins(self, account: str, now: float) -> None:
        """Forget expired sign-ins, and the oldest ones beyond the bounds."""
        self.database.run("DELETE FROM sign_ins WHERE refresh_ends <= ?", (now,))
        self._keep_newest("sign_ins", "made", bounds.MAX_ACCOUNT_SIGN_INS, "account = ?", account)
        self._keep_newest("sign_ins", "made", bounds.MAX_SIGN_INS)
        self._prune_spent()

    def _prune_spent(self) -> None:
        self.database.run("DELETE FROM spent_refresh_tokens WHERE sign_in NOT IN (SELECT id FROM sign_ins)")

    def _sign_in(self, id: str) -> StoredSignIn:
        row = self.database.row(f"{_SHOWN} WHERE id = ?", (id,))
        if row is None:
            raise LookupError(f"There is no sign-in {id!r}.")
        return _stored_sign_in(row)

    def _sign_in_records(self) -> list[KeyRecord]:
        """The access tokens as they are checked."""
        return [key_record(row, sign_in=True) for row in self.database.rows(_RECORDS)]


def _stored_sign_in(row: tuple) -> StoredSignIn:  # type: ignore[type-arg]
    id, account, client, address, created, expires, used = row
    return StoredSignIn(id, account, client, address, moment(created), moment(expires), optional_moment(used))


def _author(account: str) -> str:
    return f"account {account}" if account else "the page"
