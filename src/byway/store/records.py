"""The values that a store takes and returns, and what makes and checks them."""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
import string
import time
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from byway.codes import KEY_PREFIX
from byway.roles import DEFAULT_ORGANIZATION, PERMISSIONS, ROLES, Role
from byway.scopes import SCOPES
from byway.store.bounds import MAX_GRACE, MAX_MODELS, MODEL_LIMIT, NAME_LIMIT

_LETTERS: Final = string.ascii_letters + string.digits
#: Without letters that look alike, because people read ids aloud and type them.
_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
#: The id of an account, a group or an organization: a name or an email address.
_SHORT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")


class ConfigVersion(msgspec.Struct, frozen=True):
    """An earlier text of the config, without its secrets. `etag` is that of the whole text."""

    number: int
    at: datetime.datetime
    who: str
    why: str
    etag: str
    text: str = ""
    """Only given by `Store.version` and `Store.unmasked_versions`."""
    secrets: int = 0
    """How many secrets of the text are not kept."""


class AuditEntry(msgspec.Struct, frozen=True):
    """An entry of the audit log: who did what, and when."""

    at: datetime.datetime
    who: str
    what: str
    detail: str


class KeyRecord(NamedTuple):
    """A client's key as it is checked. `digest`: its SHA-256; `expires`: seconds since the epoch."""

    id: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    expires: float | None
    revoked: bool
    account: str = ""
    """The account that it belongs to; "" for none."""
    organization: str = DEFAULT_ORGANIZATION
    group: str = ""
    role: Role | Literal[""] = ""
    """The role of its account; "" without one."""
    disabled: bool = False
    """Its account is disabled, or does not exist."""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that it may use; empty for every model."""
    old_digest: bytes | None = None
    """The SHA-256 of its value before the last rotation, which is valid until `old_expires`."""
    old_expires: float = 0.0
    sign_in: bool = False
    """It is the access token of a client that is signed in."""
    sign_in_ends: float = 0.0
    """When that sign-in ends unless the client uses it before: seconds since the epoch."""

    @property
    def usable(self) -> bool:
        """Neither the key is revoked nor its account disabled. It may have expired."""
        return not self.revoked and not self.disabled


class StoredReadiness(NamedTuple):
    """The result of the last test of a model."""

    backend: str
    model: str
    at: float
    """When the test ended: seconds since the epoch."""
    facts: str
    """What was known of the model and its backend, as JSON: a result with other facts is old."""
    result: bytes
    """JSON."""


class LoginRecord(NamedTuple):
    """A login of the settings page. `digest`: the SHA-256 of its cookie; times are seconds since the epoch."""

    id: str
    digest: bytes
    created: float
    expires: float
    agent: str
    """The browser, as it describes itself."""
    account: str = ""
    """The account that it belongs to; "" for the owner of the data folder."""
    seen: float = 0.0
    """Its last request, to within a minute; 0 when there was none after the login."""


class SignInTokens(NamedTuple):
    """The hashes of the tokens of a sign-in, and when each expires: seconds since the epoch."""

    access: bytes
    access_expires: float
    refresh: bytes
    refresh_expires: float


class StoredSignIn(msgspec.Struct, frozen=True):
    """A client that is signed in, as it may be shown. Times are in UTC."""

    id: str
    account: str
    """Whose it is; empty for the owner of the data folder."""
    client: str
    """The program, as it describes itself."""
    address: str
    """Where it was when it signed in."""
    created_at: datetime.datetime
    expires_at: datetime.datetime
    """When it ends unless the client uses it before."""
    used_at: datetime.datetime | None = None
    """The last use, accurate to some seconds."""


class StoredKey(msgspec.Struct, frozen=True):
    """A client's key as it may be shown, without its value and hash. Times are in UTC."""

    id: str
    name: str
    hint: str
    """The last four characters of the key."""
    scopes: tuple[str, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    """The last use, accurate to some seconds."""
    account: str = ""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that it may use; empty for every model."""
    old_expires_at: datetime.datetime | None = None
    """When the value from before the last rotation expires; None when it is not valid any more."""
    disabled: bool = False
    """Its account is disabled."""
    created_by: str = ""
    """Who created it; empty when that is not known any more."""

    @property
    def expired(self) -> bool:
        """Is its time over?"""
        return self.expires_at is not None and self.expires_at.timestamp() <= time.time()

    @property
    def live(self) -> bool:
        """Is the key accepted now?"""
        return self.revoked_at is None and not self.disabled and not self.expired


class StoredAccount(msgspec.Struct, frozen=True):
    """A person or a service that has keys and logins."""

    id: str
    name: str
    role: Role
    group: str
    """The group that limits may apply to; "" for none."""
    organization: str
    created_at: datetime.datetime
    disabled_at: datetime.datetime | None = None


def etag(text: str) -> str:
    """Identify a text of the config: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_id(prefix: str) -> str:
    """Return a new id of 39 random bits, such as `key_h4kmzq2p`."""
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))


def new_key() -> tuple[str, bytes]:
    """Return a new key of 190 random bits, and its SHA-256."""
    key = KEY_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(32))
    return key, hashlib.sha256(key.encode()).digest()


def checked_name(name: str, what: str = "key", example: str = "laptop or ada") -> str:
    """Return the name of `what` without the spaces around it. Raises ValueError when it is empty, too long or unprintable."""
    name = name.strip()
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise ValueError(
            f"{_a(what).capitalize()} needs a name of 1 to {NAME_LIMIT} printable characters, such as {example}."
        )
    return name


def checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Return scopes in their usual order. Raises ValueError when there is none, or an unknown one."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        what = f"{unknown[0]!r} is not a scope" if unknown else "A key needs a scope"
        raise ValueError(f"{what}. The scopes are {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in scopes)


def checked_id(id: str, what: str) -> str:
    """Return the id of an account, a group or an organization (`what`). Raises ValueError when its form is not valid."""
    if not _SHORT_NAME.fullmatch(id):
        raise ValueError(
            f"{id[:100]!r} is not a valid id of {_a(what)}. Use at most 100 lower-case letters, digits and . _ @ + -, "
            "beginning with a letter or a digit: ada, ada@example.com."
        )
    return id


def checked_role(role: str) -> Role:
    """Return a role. Raises ValueError when it is unknown."""
    for known in ROLES:
        if role == known:
            return known
    raise ValueError(f"{role[:100]!r} is not a role. The roles are {', '.join(ROLES)}.")


def check_role_scopes(scopes: Sequence[str], account: StoredAccount) -> None:
    """Raise ValueError when a key of `account` may not have all of `scopes`."""
    allowed = PERMISSIONS[account.role].scopes
    for scope in scopes:
        if scope not in allowed:
            raise ValueError(
                f"Account {account.id} has the role {account.role}: its keys may have {', '.join(allowed)}, and not {scope}."
            )


def checked_models(models: Sequence[str]) -> tuple[str, ...]:
    """Return the names and patterns of models without repetitions. Raises ValueError when one is not valid."""
    models = tuple(dict.fromkeys(name.strip() for name in models))
    if len(models) > MAX_MODELS:
        raise ValueError(f"A key may name at most {MAX_MODELS} models. Use a pattern, such as local/*.")
    for name in models:
        if not name or len(name) > MODEL_LIMIT or not name.isprintable():
            raise ValueError(
                f"{name[:100]!r} is not a model name of 1 to {MODEL_LIMIT} printable characters, such as haiku or local/*."
            )
    return models


def checked_grace(seconds: float) -> float:
    """Return for how long the old value of a rotated key stays valid. Raises ValueError when that is too long."""
    if not 0 <= seconds <= MAX_GRACE:
        raise ValueError(f"The grace of a rotated key is at most {MAX_GRACE / 86_400:.0f} days.")
    return seconds


def checked_expiry(expires_at: datetime.datetime | None) -> float | None:
    """Return an expiry time in seconds since the epoch. A time without a zone is UTC. Raises ValueError when it is over."""
    if expires_at is None:
        return None
    expires = (expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=datetime.UTC)).timestamp()
    if expires <= time.time():
        raise ValueError("A key must expire in the future; this time is over.")
    return expires


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def moment(at: float) -> datetime.datetime:
    """The time in UTC of seconds since the epoch."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def optional_moment(at: float | None) -> datetime.datetime | None:
    """`moment`, or None for None."""
    return None if at is None else moment(at)
