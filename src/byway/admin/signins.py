"""Sign-in of clients: start it, approve or deny it, hand out tokens, replace them, and end it."""

from __future__ import annotations

import asyncio
import datetime
import secrets
import time
from typing import Final, NamedTuple

from msgspec import Struct

from byway.access.keys import Caller
from byway.access.login import FailureLimit
from byway.admin.errors import run, too_many
from byway.bounded import BoundedDict
from byway.codes import base64url, text_digest
from byway.limits.rules import counted_address
from byway.problems import Problem
from byway.signin.device import DeviceCodes, DeviceRequest
from byway.signin.telemetry import TelemetryCounts
from byway.signin.tokens import (
    ACCESS_SECONDS,
    REFRESH_SECONDS,
    TOKEN_BYTES,
    USER_CODE,
    USER_CODE_BYTES,
    TokenPair,
    new_tokens,
)
from byway.store import SignInTokens, StoredSignIn, StoreProtocol
from byway.store.records import new_id
from byway.store.signins import SIGN_IN_ID

#: Seconds for which a used refresh token returns the same tokens again: the answer was lost, or two processes of a client
#: have used it at the same time.
GRACE: Final = 60.0
_REMEMBERED: Final = 1_000
_CANNOT_USE: Final = (
    "A viewer uses no models, so it cannot sign in a client. An owner can change the role of this account."
)


class StartedSignIn(NamedTuple):
    """A sign-in that waits for a person."""

    device_code: str
    request: DeviceRequest


class RefreshedTokens(NamedTuple):
    """What a refresh token gives."""

    pair: TokenPair | None
    """None when the refresh token is not valid."""
    changed: bool
    """The keys of the store have changed: a refresh token that was used twice ends its sign-in."""


class SignInInfo(Struct, frozen=True):
    """A client that is signed in."""

    id: str
    account: str
    """Whose it is; empty for the owner of this Byway."""
    client: str
    """The program, as it describes itself."""
    address: str
    """Where it was when it signed in."""
    created_at: datetime.datetime
    expires_at: datetime.datetime
    """When the sign-in ends unless the client uses it before."""
    used_at: datetime.datetime | None


class SignIns:
    """The sign-ins of this process, kept in the store. Codes that wait are lost with the process."""

    def __init__(self, store: StoreProtocol) -> None:
        self._store = store
        self._codes = DeviceCodes()
        self._starts, self._wrong_codes = FailureLimit(), FailureLimit()
        self._refreshing = asyncio.Lock()
        self._replaced: BoundedDict[bytes, tuple[float, TokenPair]] = BoundedDict(_REMEMBERED)
        """The tokens that a used refresh token was replaced by, and when."""
        self.telemetry = TelemetryCounts()

    def start(self, client: str, address: str) -> StartedSignIn:
        """Start a sign-in. Raises Problem after too many of one address."""
        now, counted = time.time(), counted_address(address)
        if (wait := self._starts.wait(counted, now)) or not self._codes.has_room(now):
            raise too_many("sign-ins from this address", wait or 60.0)
        self._starts.failed(counted, now)
        device_code = base64url(secrets.token_bytes(TOKEN_BYTES))
        while True:
            user_code = USER_CODE.new(secrets.token_bytes(USER_CODE_BYTES))
            request = self._codes.add(device_code, user_code, _printable(client), address, now)
            if request is not None:
                return StartedSignIn(device_code, request)

    def find(self, typed: str, address: str) -> DeviceRequest | None:
        """The client that waits with a code. Raises Problem after too many wrong codes of one address."""
        now, counted = time.time(), counted_address(address)
        if wait := self._wrong_codes.wait(counted, now):
            raise too_many("wrong codes from this address", wait)
        request = self._codes.waiting(USER_CODE.typed(typed), now)
        if request is None:
            self._wrong_codes.failed(counted, now)
        return request

    def decide(self, typed: str, caller: Caller, address: str, *, approve: bool) -> DeviceRequest | None:
        """Approve or deny a client for the account of `caller`; None when no client waits with this code."""
        if approve and "write" not in caller.scopes:
            raise Problem("permission", _CANNOT_USE)
        if self.find(typed, address) is None:
            return None
        request = self._codes.decide(USER_CODE.typed(typed), caller.account, approve=approve, now=time.time())
        if request is not None and approve:
            request.sign_in = new_id(SIGN_IN_ID)
        return request

    async def exchange(self, device_code: str) -> TokenPair | str:
        """The tokens for an approved device code, or the error of RFC 8628."""
        request = self._codes.poll(device_code, time.time())
        if not isinstance(request, DeviceRequest):
            return request
        pair = _new_pair()
        tokens = _stored(pair)
        try:
            await run(
                lambda: self._store.add_sign_in(
                    request.account, request.client, request.address, tokens, request.sign_in
                )
            )
        except Problem as problem:
            if problem.row.blame == "client":
                # The account was disabled or removed since.
                return "access_denied"
            self._codes.restore(device_code, request)
            raise
        return pair

    async def refresh(self, refresh_token: str) -> RefreshedTokens:
        """New tokens for a refresh token; none when it is not valid."""
        digest = text_digest(refresh_token)
        async with self._refreshing:
            self._forget_replaced(time.time())
            replaced = self._replaced.get(digest)
            if replaced is not None and await self._is_valid(replaced[1]):
                return RefreshedTokens(replaced[1], changed=False)
            pair = _new_pair()
            tokens = _stored(pair)

            def replace() -> tuple[StoredSignIn | None, bool]:
                before = self._store.keys_stamp()
                sign_in = self._store.refresh_sign_in(digest, tokens, GRACE)
                return sign_in, self._store.keys_stamp() != before

            sign_in, changed = await run(replace)
            if sign_in is None:
                return RefreshedTokens(None, changed)
            self._replaced[digest] = time.time(), pair
            return RefreshedTokens(pair, changed)

    def _forget_replaced(self, now: float) -> None:
        """Tokens stay in memory for the grace only, also when the clock was set back."""
        while self._replaced and abs(now - next(iter(self._replaced.values()))[0]) >= GRACE:
            self._replaced.popitem(last=False)

    async def _is_valid(self, pair: TokenPair) -> bool:
        digest = text_digest(pair.access)
        records = await run(self._store.key_records)
        return any(record.usable and digest in (record.digest, record.old_digest) for record in records)

    async def revoke_token(self, token: str) -> bool:
        """End the sign-in of an access or refresh token; False when there is none."""
        digest = text_digest(token)
        return await run(lambda: self._store.revoke_token(digest, "the client")) is not None


def list_sign_ins(store: StoreProtocol, account: str | None = None) -> list[SignInInfo]:
    """The clients that are signed in, the newest first; with `account` only those of that account."""
    return [sign_in_info(sign_in) for sign_in in store.sign_ins(account)]


def sign_in_of(store: StoreProtocol, digest: str) -> str:
    """The id of the valid sign-in whose access token has this SHA-256, in hexadecimal digits; empty when there is none."""
    valid = {sign_in.id for sign_in in store.sign_ins()}
    for record in store.key_records():
        known = (record.digest, record.old_digest)
        if record.id in valid and any(value is not None and value.hex() == digest for value in known):
            return record.id
    return ""


def revoke_sign_in(store: StoreProtocol, id: str, who: str, account: str | None = None) -> SignInInfo:
    """End a sign-in. Raises LookupError when there is none with this id, or with `account` when it belongs to another."""
    return sign_in_info(store.revoke_sign_in(id, who, account))


def sign_in_info(stored: StoredSignIn) -> SignInInfo:
    """A sign-in of the store as data."""
    return SignInInfo(
        stored.id, stored.account, stored.client, stored.address, stored.created_at, stored.expires_at, stored.used_at
    )


def _new_pair() -> TokenPair:
    return new_tokens(secrets.token_bytes(TOKEN_BYTES), secrets.token_bytes(TOKEN_BYTES))


def _stored(pair: TokenPair) -> SignInTokens:
    now = time.time()
    access, refresh = text_digest(pair.access), text_digest(pair.refresh)
    return SignInTokens(access, now + ACCESS_SECONDS, refresh, now + REFRESH_SECONDS)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:200])
