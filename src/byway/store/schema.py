"""The schema of `byway.db`: the steps that bring any earlier version of it to the present one."""

from __future__ import annotations

from typing import Final

#: "Bywy".
APPLICATION_ID: Final = 0x42797779
#: Step n turns schema version n into n + 1. A released step never changes.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE versions (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " why TEXT NOT NULL, etag TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL,"
        " what TEXT NOT NULL, detail TEXT NOT NULL)",
        "CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,"
        " scopes TEXT NOT NULL, made REAL NOT NULL, ends REAL, revoked REAL, used REAL)",
    ),
    # Several config files may use one data folder: each has versions of its own.
    (
        "ALTER TABLE versions ADD COLUMN file TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX versions_of_file ON versions (file, number)",
    ),
    # `secrets`: how many secrets of the text are masked; NULL in a version that may still have some.
    (
        "CREATE TABLE logins (id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created REAL NOT NULL,"
        " expires REAL NOT NULL, agent TEXT NOT NULL)",
        "ALTER TABLE versions ADD COLUMN secrets INTEGER",
    ),
    (
        "CREATE TABLE repairs (backend TEXT NOT NULL, url TEXT NOT NULL, model TEXT NOT NULL, repair TEXT NOT NULL,"
        " refusal TEXT NOT NULL, learned_at REAL NOT NULL)",
    ),
    ("CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",),
    # Keys and logins belong to an account, or to none (""). `models`: a JSON list. `old_digest` is valid until `old_ends`.
    (
        "CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, team TEXT NOT NULL,"
        " organization TEXT NOT NULL, made REAL NOT NULL, disabled REAL)",
        "ALTER TABLE keys ADD COLUMN account TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE keys ADD COLUMN models TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE keys ADD COLUMN old_digest BLOB",
        "ALTER TABLE keys ADD COLUMN old_ends REAL",
        "ALTER TABLE logins ADD COLUMN account TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX keys_of_account ON keys (account)",
    ),
    # `login_codes`: codes that log a browser in once. `identities`: which person of an identity provider has which account.
    (
        "CREATE TABLE login_codes (digest BLOB PRIMARY KEY, account TEXT NOT NULL, created REAL NOT NULL,"
        " expires REAL NOT NULL)",
        "CREATE TABLE identities (issuer TEXT NOT NULL, subject TEXT NOT NULL, account TEXT NOT NULL,"
        " PRIMARY KEY (issuer, subject))",
        "CREATE INDEX logins_of_account ON logins (account)",
    ),
    # Clients that are signed in. `digest` and `refresh` are the hashes of the tokens that are valid, `old_digest` that of the
    # access token before, which is valid until `old_ends`. A refresh token that comes again after it was used is stolen.
    (
        "CREATE TABLE sign_ins (id TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT NOT NULL, address TEXT NOT NULL,"
        " made REAL NOT NULL, digest BLOB NOT NULL UNIQUE, ends REAL NOT NULL, refresh BLOB NOT NULL UNIQUE,"
        " refresh_ends REAL NOT NULL, old_digest BLOB, old_ends REAL, revoked REAL, used REAL)",
        "CREATE INDEX sign_ins_of_account ON sign_ins (account)",
        "CREATE TABLE spent_refresh_tokens (digest BLOB PRIMARY KEY, sign_in TEXT NOT NULL, spent REAL NOT NULL)",
        "CREATE INDEX spent_of_sign_in ON spent_refresh_tokens (sign_in, spent)",
    ),
    # What tests of a model have shown: `result` is JSON, `facts` is what was known of the model and its backend at the time.
    (
        "CREATE TABLE readiness (backend TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL,"
        " result BLOB NOT NULL, PRIMARY KEY (backend, model))",
    ),
    # `made_by`: who created a key; that of older keys is in the audit log, as far as it reaches. `seen`: the last request.
    (
        "ALTER TABLE logins ADD COLUMN seen REAL NOT NULL DEFAULT 0",
        "ALTER TABLE keys ADD COLUMN made_by TEXT NOT NULL DEFAULT ''",
        "UPDATE keys SET made_by = ifnull((SELECT who FROM audit WHERE what = 'key created'"
        " AND substr(detail, 1, length(keys.id) + 1) = keys.id || ' ' LIMIT 1), '')",
    ),
)
