"""How much the store keeps. Every implementation of `StoreProtocol` has these bounds."""

from __future__ import annotations

from typing import Final

#: Versions kept of each config file, of all config files together, and their characters together. The oldest go first.
MAX_VERSIONS: Final = 100
MAX_ALL_VERSIONS: Final = 1_000
MAX_VERSION_CHARACTERS: Final = 16 << 20
#: Entries kept of the audit log, accounts, keys that are not revoked, and revoked keys.
MAX_AUDIT_ENTRIES: Final = 10_000
MAX_ACCOUNTS: Final = 10_000
MAX_KEYS: Final = 10_000
MAX_REVOKED_KEYS: Final = 1_000
#: Logins of each account, those of all accounts together, and unused login codes of each account. The oldest go first.
MAX_LOGINS: Final = 100
MAX_ALL_LOGINS: Final = 10_000
MAX_LOGIN_CODES: Final = 5
#: Clients that are signed in: of an account, and of all accounts. Sign-ins that were revoked, and used refresh tokens of each.
MAX_ACCOUNT_SIGN_INS: Final = 100
MAX_SIGN_INS: Final = 10_000
MAX_REVOKED_SIGN_INS: Final = 100
MAX_SPENT_TOKENS: Final = 1_000
#: Characters of a name, of the other texts of an entry, and of its detail.
NAME_LIMIT: Final = 100
TEXT_LIMIT: Final = 200
DETAIL_LIMIT: Final = 2_000
#: Names and patterns of models that a key may use, and characters of each.
MAX_MODELS: Final = 100
MODEL_LIMIT: Final = 200
#: Models whose last test is kept. The oldest tests go first.
MAX_READINESS: Final = 500
#: Seconds for which the old value of a rotated key may stay valid.
MAX_GRACE: Final = 30 * 86_400.0


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """The first `limit` characters of `text`, the last one of them an ellipsis when there are more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
