"""Clients' keys, of which only hashes are stored."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Final

from byway.store import bounds
from byway.store.keyrecords import (
    IS_DISABLED,
    WITH_ACCOUNT,
    decoded_models,
    encoded_models,
    key_record,
    key_record_query,
)
from byway.store.records import (
    KeyRecord,
    StoredKey,
    check_role_scopes,
    checked_expiry,
    checked_grace,
    checked_models,
    checked_name,
    checked_scopes,
    moment,
    new_id,
    new_key,
    optional_moment,
)
from byway.store.signins import SIGN_IN_ID, SignInTable

_KEY: Final = (
    "SELECT keys.id, keys.name, hint, scopes, keys.made, ends, revoked, used, account, models, old_ends, made_by,"  # noqa: S608 - constants
    f" {IS_DISABLED} FROM keys {WITH_ACCOUNT}"
)
_RECORDS: Final = key_record_query("keys", name="keys.name", scopes="scopes", models="models")


class KeyTable(SignInTable):
    """The keys, revoked ones too, up to MAX_REVOKED_KEYS of these. `StoreProtocol` describes the methods."""

    def add_key(
        self,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime.datetime | None,
        who: str,
        *,
        account: str = "",
        models: Sequence[str] = (),
    ) -> tuple[StoredKey, str]:
        name, scopes, expires = checked_name(name), checked_scopes(scopes), checked_expiry(expires_at)
        models = checked_models(models)
        key, digest = new_key()
        id = new_id("key_")
        database = self.database
        with database.change():
            if account:
                check_role_scopes(scopes, self._enabled_account(account))
            if database.count("SELECT count(*) FROM keys WHERE revoked IS NULL") >= bounds.MAX_KEYS:
                raise ValueError(f"There are {bounds.MAX_KEYS} keys already. Revoke keys that are not used any more.")
            database.run(
                "INSERT INTO keys (id, name, hint, digest, scopes, made, ends, account, models, made_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(id, name, key[-4:], digest, " ".join(scopes), time.time(), expires, account),
                    *(encoded_models(models), who[:200]),
                ),
            )
            detail = [", ".join(scopes), _until(expires)]
            if account:
                detail.append(f"account {account}")
            if models:
                detail.append(f"models {', '.join(models)}")
            self._audit(who, "key created", f"{id} ({name}): {'; '.join(detail)}")
            self._changes += 1
            return self._key(id), key

    def keys(self) -> list[StoredKey]:
        return [_stored_key(row) for row in self.database.rows(f"{_KEY} ORDER BY keys.made DESC, keys.rowid DESC")]

    def rotate_key(self, id: str, who: str, grace: float = 0.0) -> tuple[StoredKey, str]:
        grace = checked_grace(grace)
        key, digest = new_key()
        with self.database.change():
            old = self._key(id)
            if not old.live:
                raise ValueError(_not_live(old))
            until = time.time() + grace if grace else None
            self.database.run(
                "UPDATE keys SET old_digest = CASE WHEN ? THEN digest END, old_ends = ?, digest = ?, hint = ? WHERE id = ?",
                (until is not None, until, digest, key[-4:], id),
            )
            detail = f"; the old value {_until(until)}" if until else ""
            self._audit(who, "key rotated", f"{id} ({old.name}){detail}")
            self._changes += 1
            return self._key(id), key

    def revoke_key(self, id: str, who: str) -> StoredKey:
        with self.database.change():
            old = self._key(id)
            if old.revoked_at is None:
                self.database.run("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), id))
                self._prune_revoked()
                self._audit(who, "key revoked", f"{id} ({old.name})")
                self._changes += 1
            return self._key(id)

    def record_key_use(self, times: Mapping[str, float]) -> None:
        with self.database.change():
            for id, at in times.items():
                self.database.run("UPDATE keys SET used = max(ifnull(used, 0), ?) WHERE id = ?", (at, id))
                if id.startswith(SIGN_IN_ID):
                    self.database.run("UPDATE sign_ins SET used = max(ifnull(used, 0), ?) WHERE id = ?", (at, id))

    def key_records(self) -> list[KeyRecord]:
        return [*map(key_record, self.database.rows(_RECORDS)), *self._sign_in_records()]

    def keys_stamp(self) -> tuple[int, int]:
        return self.database.count("PRAGMA data_version"), self._changes

    def _key(self, id: str) -> StoredKey:
        row = self.database.row(f"{_KEY} WHERE keys.id = ?", (id,))
        if row is None:
            raise LookupError(f"There is no key {id!r}. `byway key list` lists all keys.")
        return _stored_key(row)


def _stored_key(row: tuple) -> StoredKey:  # type: ignore[type-arg]
    id, name, hint, scopes, created, expires, revoked, used, account, models, old_expires, made_by, disabled = row
    return StoredKey(
        id,
        name,
        hint,
        tuple(scopes.split()),
        moment(created),
        optional_moment(expires),
        optional_moment(revoked),
        optional_moment(used),
        account,
        decoded_models(models),
        moment(old_expires) if old_expires and old_expires > time.time() else None,
        bool(disabled),
        made_by,
    )


def _not_live(key: StoredKey) -> str:
    """Why a key that is not accepted cannot be rotated, and what to do instead."""
    if key.revoked_at is None and not key.expired:
        return (
            f"Key {key.id} ({key.name}) belongs to account {key.account}, which is disabled. To enable it: byway account "
            f"enable {key.account}"
        )
    why = "is revoked" if key.revoked_at else "has expired"
    return f"Key {key.id} ({key.name}) {why}. Create a new key: byway key create {key.name!r}"


def _until(expires: float | None) -> str:
    return "does not expire" if expires is None else f"expires {moment(expires):%Y-%m-%d %H:%M} UTC"
