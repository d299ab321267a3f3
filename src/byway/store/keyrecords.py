"""How keys and the access tokens of sign-ins become `KeyRecord`: in the same way, with the account that each belongs to."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.roles import DEFAULT_ORGANIZATION
from byway.store.records import KeyRecord

#: Joins `keys` or `sign_ins` with the accounts, and a condition on a row of that: its account is disabled or missing.
WITH_ACCOUNT: Final = "LEFT JOIN accounts ON accounts.id = account"
IS_DISABLED: Final = "(accounts.disabled IS NOT NULL OR (account != '' AND accounts.id IS NULL))"


def key_record_query(table: str, *, name: str, scopes: str, models: str, sign_in_ends: str = "0.0") -> str:
    """The SQL for the rows of `key_record`. The named arguments are SQL for what the tables do not share."""
    return (
        f"SELECT {table}.id, {name}, digest, {scopes}, ends, revoked IS NOT NULL, account,"  # noqa: S608 - constants of the callers
        f" ifnull(organization, '{DEFAULT_ORGANIZATION}'), ifnull(team, ''), ifnull(role, ''), {IS_DISABLED}, {models},"
        f" old_digest, ifnull(old_ends, 0.0), {sign_in_ends} FROM {table} {WITH_ACCOUNT} ORDER BY {table}.made, {table}.rowid"
    )


def key_record(row: tuple, *, sign_in: bool = False) -> KeyRecord:  # type: ignore[type-arg]
    """A row of `key_record_query`."""
    (
        id,
        name,
        digest,
        scopes,
        expires,
        revoked,
        account,
        organization,
        group,
        role,
        disabled,
        models,
        old,
        ends,
        last,
    ) = row
    return KeyRecord(
        id,
        name,
        digest,
        tuple(scopes.split()),
        expires,
        bool(revoked),
        account,
        organization,
        group,
        role,
        bool(disabled),
        decoded_models(models),
        old,
        ends,
        sign_in,
        last,
    )


def encoded_models(models: tuple[str, ...]) -> str:
    """Names and patterns of models as they are stored."""
    return msgspec.json.encode(models).decode()


def decoded_models(text: str) -> tuple[str, ...]:
    """Names and patterns of models that are stored."""
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError:
        # A list that cannot be read must not become "every model".
        return ("",)
