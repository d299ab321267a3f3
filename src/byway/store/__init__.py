"""Byway's stores: accounts, keys, logins, versions of the config and audit log in `byway.db`, usage in `usage.db`."""

from byway.store.bounds import MAX_ALL_LOGINS, MAX_AUDIT_ENTRIES, MAX_LOGINS, MAX_VERSIONS
from byway.store.database import StoreError
from byway.store.protocol import StoreProtocol
from byway.store.records import (
    AuditEntry,
    ConfigVersion,
    KeyRecord,
    LoginRecord,
    SignInTokens,
    StoredAccount,
    StoredKey,
    StoredReadiness,
    StoredSignIn,
    etag,
)
from byway.store.store import FILE_NAME, Store
from byway.store.usage import USAGE_FILE, UsageStore
from byway.store.usagequeries import UsageFilter, UsageSums

__all__ = [
    "FILE_NAME",
    "MAX_ALL_LOGINS",
    "MAX_AUDIT_ENTRIES",
    "MAX_LOGINS",
    "MAX_VERSIONS",
    "USAGE_FILE",
    "AuditEntry",
    "ConfigVersion",
    "KeyRecord",
    "LoginRecord",
    "SignInTokens",
    "Store",
    "StoreError",
    "StoreProtocol",
    "StoredAccount",
    "StoredKey",
    "StoredReadiness",
    "StoredSignIn",
    "UsageFilter",
    "UsageStore",
    "UsageSums",
    "etag",
]
