"""What Byway needs of a store. `Store` is the implementation in SQLite; another one runs the same tests."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Protocol

from byway.learned import LearnedRepair
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
)
from byway.store.usagequeries import EVERYTHING, FirstTokens, NamedCost, UsageFilter, UsageSums
from byway.usage.record import UsageRecord


class UsageProtocol(Protocol):
    """The usage records of a store. Their failure does not concern the rest of it.

    The records come from the files of a journal (`byway.usage.journal`). A position is a number of bytes in such a file.
    """

    def close(self) -> None:
        """Release the connections. The next call opens them again."""

    def position(self, journal: str) -> int:
        """Up to which position the records of a file were added."""

    def add(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> int:
        """Add the records between two positions, exactly once, and return the file's new position.

        Nothing is added when the position of the file is not `start`: the returned one is where to continue.
        """

    def keep_journals(self, journals: Sequence[str]) -> None:
        """Forget the positions of all other files: they do not exist any more."""

    def remove_old(self, before: float, before_sums: float) -> bool:
        """Remove some of the records before a time, and of the sums before another, in a short transaction.

        Returns whether there may be more.
        """

    def sums(
        self,
        by: str | None = None,
        since: float = 0.0,
        until: float | None = None,
        where: UsageFilter = EVERYTHING,
        *,
        every: str | None = None,
        limit: int = 1_000,
        exact: bool = False,
    ) -> list[UsageSums]:
        """Sum up usage from `since` until before `until`, which are rounded to whole hours: down and up.

        Every request that was answered before the call is contained. `by` is one of KINDS, or None for one total. `every`
        (`hour` or `day`) makes a series of sums for each name. Names come by cost, then by tokens, the highest first; hours
        and days by time. ValueError for a `by` or `every` that does not exist.

        `exact` is for short periods: the times are not rounded, `every` may be `minute`, and only the newest 200,000 requests
        count.
        """

    def first_tokens(
        self,
        since: float = 0.0,
        until: float | None = None,
        where: UsageFilter = EVERYTHING,
        *,
        every: str | None = None,
        exact: bool = False,
    ) -> list[FirstTokens]:
        """Count the requests by their time to the first token, in total or `every` minute, hour or day, as `sums` does."""

    def costs(self, since: float) -> list[NamedCost]:
        """The costs of each combination of names since the start of a day in UTC, those of zero left out."""

    def records(
        self, since: float = 0.0, until: float | None = None, where: UsageFilter = EVERYTHING
    ) -> Iterator[UsageRecord]:
        """The records from `since` until before `until`, the oldest first. No lock is held between two of them."""


class StoreProtocol(Protocol):
    """A store that any thread and several processes may use at once.

    A change is durable when its call returns: neither a killed process nor a power failure loses it. A call that fails
    has changed nothing. Every method raises StoreError when the store cannot be used. `who` is the author of a change,
    for the audit log. Ids that do not exist raise LookupError, invalid values ValueError, both with a message for a person.
    """

    @property
    def usage(self) -> UsageProtocol:
        """The usage records."""

    def close(self) -> None:
        """Close the store. Later calls raise StoreError."""

    # Versions of the config. `file` is the path of the config file: each file has versions of its own.

    def add_version(
        self, text: str, who: str, why: str, file: str = "", *, etag: str | None = None, secrets: int = 0
    ) -> int:
        """Keep a version of the config and return its number. A text that the newest version has already gets no new one.

        `text` has no secrets any more: `secrets` of them were taken out, and `etag` is that of the whole text.
        """

    def newest_etag(self, file: str = "") -> str | None:
        """The etag of the newest version; None when there is none."""

    def versions(self, file: str = "") -> list[ConfigVersion]:
        """The versions that are kept, newest first, without their texts."""

    def version(self, number: int, file: str = "") -> ConfigVersion:
        """One version with its text."""

    def unmasked_versions(self, file: str = "") -> list[ConfigVersion]:
        """The versions whose texts may still have secrets: an earlier Byway kept them."""

    def mask_version(self, number: int, text: str, secrets: int) -> None:
        """Replace the text of a version by one without its secrets."""

    # Audit log

    def add_audit_entry(self, who: str, what: str, detail: str = "") -> None:
        """Record that `who` did `what`. The texts must not contain a secret."""

    def audit_entries(self, limit: int = 200) -> list[AuditEntry]:
        """The last `limit` entries of the audit log, newest first."""

    # Accounts

    def add_account(
        self, id: str, who: str, *, name: str = "", role: str = "member", group: str = "", organization: str = ""
    ) -> StoredAccount:
        """Create an account. ValueError when the id is taken."""

    def accounts(self) -> list[StoredAccount]:
        """Every account, sorted by id."""

    def account(self, id: str) -> StoredAccount:
        """One account."""

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
        """Change what is not None. A role also limits the scopes of the keys that the account has already.

        An empty group means none, an empty organization the default one.
        """

    def disable_account(self, id: str, who: str) -> StoredAccount:
        """Reject the keys of an account until it is enabled again, and end its logins."""

    def enable_account(self, id: str, who: str) -> StoredAccount:
        """Accept the keys of a disabled account again."""

    def remove_account(self, id: str, who: str) -> StoredAccount:
        """Remove an account, revoke its keys and end its logins. It cannot be undone. Returns what it was."""

    # Clients' keys

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
        """Create a key. The second value is the key itself, which cannot be read again.

        `account` is its id, or "" for none. `models`: names and patterns of the models that the key may use; none for every
        model. A time without a zone is UTC.
        """

    def keys(self) -> list[StoredKey]:
        """Every key, revoked ones too, the newest first."""

    def rotate_key(self, id: str, who: str, grace: float = 0.0) -> tuple[StoredKey, str]:
        """Give the key `id` a new value. The second value is the new key itself.

        The old value is rejected after `grace` seconds. A value from before that is rejected at once. ValueError when the key
        is not valid any more, or the grace is too long.
        """

    def revoke_key(self, id: str, who: str) -> StoredKey:
        """Reject the key `id` from now on. It cannot be undone."""

    def record_key_use(self, times: Mapping[str, float]) -> None:
        """Record when keys were last used: seconds since the epoch by id. Unknown ids are ignored."""

    def key_records(self) -> list[KeyRecord]:
        """Every key as it is checked, then the access tokens of clients that are signed in."""

    def keys_stamp(self) -> Hashable:
        """A value that changes when accounts, keys or logins may have changed, in this or another process. It is cheap."""

    # Logins of the settings page

    def add_login(self, record: LoginRecord) -> None:
        """Keep a login over restarts."""

    def logins(self) -> list[LoginRecord]:
        """The logins that have not expired, the newest first."""

    def record_logins_seen(self, times: Mapping[str, float]) -> None:
        """Record the last requests of logins: seconds since the epoch by id. Unknown ids are ignored."""

    def remove_login(self, id: str, who: str) -> bool:
        """End a login; False when there is none with this id. A running Byway notices within a second."""

    def remove_logins(self, who: str) -> int:
        """End every login; return how many there were. A running Byway notices within a second."""

    def add_login_code(self, account: str, digest: bytes, expires: float, who: str) -> StoredAccount:
        """Keep the hash of a code that logs in once as `account`. Returns the account.

        Older codes of the account beyond MAX_LOGIN_CODES end.
        """

    def take_login_code(self, digest: bytes) -> StoredAccount | None:
        """The account of a code, which ends with this call; None when it is unknown, expired or was used before."""

    def identity_account(
        self, issuer: str, subject: str, *, suggested: str, name: str, role: str, detail: str
    ) -> StoredAccount:
        """The account of a person of an identity provider, which is made at the first login.

        The id of a new account is `suggested`, with a number when that is taken. An account that exists gets the role that
        the config gives the person now. ValueError when the account is disabled.
        """

    # Clients that are signed in

    def add_sign_in(self, account: str, client: str, address: str, tokens: SignInTokens, id: str = "") -> StoredSignIn:
        """Sign in a client for an account; "" is the owner of the data folder. ValueError when the account is disabled."""

    def refresh_sign_in(self, refresh: bytes, tokens: SignInTokens, grace: float) -> StoredSignIn | None:
        """Replace the tokens of the sign-in with this refresh token; None when the token is not valid.

        A token that was used more than `grace` seconds ago ends its sign-in: two clients have it.
        """

    def sign_ins(self, account: str | None = None) -> list[StoredSignIn]:
        """The clients that are signed in, the newest first; with `account` only those of that account."""

    def revoke_sign_in(self, id: str, who: str, account: str | None = None) -> StoredSignIn:
        """End a sign-in. With `account`, one of another account does not exist."""

    def revoke_token(self, digest: bytes, who: str) -> StoredSignIn | None:
        """End the sign-in of an access or refresh token; None when there is none."""

    # State of a running Byway

    def signing_secret(self) -> bytes:
        """The secret with which Byway signs reasoning that it gives to clients. It is made once."""

    def repairs(self) -> list[LearnedRepair]:
        """The repairs of calls that a running Byway has learned from refusals."""

    def save_repairs(self, records: Sequence[LearnedRepair]) -> None:
        """Replace the stored repairs by `records`."""

    # Tests of models

    def readiness(self) -> list[StoredReadiness]:
        """The last result of each tested model, the newest first."""

    def save_readiness(self, record: StoredReadiness) -> None:
        """Replace the result of a model. Results of other models beyond MAX_READINESS are removed, the oldest first."""

    def remove_readiness(self, backend: str, model: str) -> bool:
        """Remove the result of a model; False when there is none."""
