"""Device codes (RFC 8628): clients that wait until a person approves their sign-in. They are in memory only."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from byway.codes import text_digest

#: Seconds for which a code can be approved, and between two polls of a client.
CODE_SECONDS: Final = 600
POLL_SECONDS: Final = 1
#: Added to the interval of a client that polls too often (RFC 8628, section 3.5), and the longest interval.
_SLOWER: Final = 5
_SLOWEST: Final = 60
#: Seconds that a poll may come early: clocks and networks are not exact.
_EARLY: Final = 0.5
#: Clients that may wait at once.
MAX_WAITING: Final = 1_000

Refusal = Literal["authorization_pending", "slow_down", "access_denied", "expired_token"]


class DeviceRequest(Struct):
    """A client that wants to sign in."""

    user_code: str
    client: str
    """The program, as it describes itself."""
    address: str
    created: float
    expires: float
    interval: float = POLL_SECONDS
    polled: float = 0.0
    """When the client polled last: seconds since the epoch."""
    state: Literal["waiting", "approved", "denied"] = "waiting"
    account: str = ""
    """The account that approved it; empty for the owner of the data folder."""
    sign_in: str = ""
    """The id of its sign-in, from its approval on."""


class DeviceCodes:
    """The clients that wait. A code can be decided once, and an approved one is taken once."""

    def __init__(self) -> None:
        self._requests: dict[bytes, DeviceRequest] = {}
        """By the hash of the device code, the oldest first."""
        self._by_user_code: dict[str, bytes] = {}

    def has_room(self, now: float) -> bool:
        """Whether another client may wait."""
        self._forget_expired(now)
        return len(self._requests) < MAX_WAITING

    def add(self, device_code: str, user_code: str, client: str, address: str, now: float) -> DeviceRequest | None:
        """Let a client wait; None when the user code is in use."""
        if user_code in self._by_user_code:
            return None
        digest = text_digest(device_code)
        request = DeviceRequest(user_code, client, address, now, now + CODE_SECONDS, polled=now)
        self._requests[digest] = request
        self._by_user_code[user_code] = digest
        return request

    def waiting(self, user_code: str, now: float) -> DeviceRequest | None:
        """The client with this code, when it was neither approved nor denied and has not expired."""
        digest = self._by_user_code.get(user_code)
        request = None if digest is None else self._requests[digest]
        return request if request is not None and request.state == "waiting" and now < request.expires else None

    def decide(self, user_code: str, account: str, *, approve: bool, now: float) -> DeviceRequest | None:
        """Approve or deny a client that waits; None when it does not wait."""
        request = self.waiting(user_code, now)
        if request is not None:
            request.state = "approved" if approve else "denied"
            request.account = account
        return request

    def poll(self, device_code: str, now: float) -> DeviceRequest | Refusal:
        """What a client gets for its device code. An approved one is returned once."""
        digest = text_digest(device_code)
        request = self._requests.get(digest)
        if request is None or now >= request.expires:
            return "expired_token"
        if request.state != "waiting":
            self._forget(digest)
            return request if request.state == "approved" else "access_denied"
        if now < request.polled + request.interval - _EARLY:
            request.interval = min(request.interval + _SLOWER, _SLOWEST)
            request.polled = now
            return "slow_down"
        request.polled = now
        return "authorization_pending"

    def restore(self, device_code: str, request: DeviceRequest) -> None:
        """Let an approved client that was returned be returned again: its tokens could not be stored."""
        digest = text_digest(device_code)
        self._requests[digest] = request
        self._by_user_code[request.user_code] = digest

    def _forget_expired(self, now: float) -> None:
        while self._requests:
            digest, request = next(iter(self._requests.items()))
            if now < request.expires:
                return
            self._forget(digest)

    def _forget(self, digest: bytes) -> None:
        request = self._requests.pop(digest)
        del self._by_user_code[request.user_code]
