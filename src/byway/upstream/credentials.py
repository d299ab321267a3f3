"""What a call needs beside its content so that the backend lets it in. Static headers are the first kind of credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byway.backends.vendors import Vendor
from byway.call import Call

_REMEMBERED: Final = 64


class StaticCredential:
    """Headers that never change. Its repr shows their names alone."""

    __slots__ = ("_joined", "headers", "names")

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.headers = headers
        self.names = frozenset(name.lower() for name, _ in headers)
        self._joined: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}

    def join(self, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """`given` and these; a header that both name is this one's. The few there are in practice are remembered."""
        joined = self._joined.get(given)
        if joined is None:
            joined = (*(header for header in given if header[0].lower() not in self.names), *self.headers)
            if len(self._joined) < _REMEMBERED:
                self._joined[given] = joined
        return joined

    def __repr__(self) -> str:
        return f"Static({', '.join(name for name, _ in self.headers)})"


def static_credential(vendor: Vendor, secret: str | None, headers: Mapping[str, str]) -> StaticCredential:
    """The configured secret in the vendor's way, and the configured headers, which win over it."""
    name, value = ("x-api-key", secret) if vendor.auth == "x-api-key" else ("authorization", f"Bearer {secret}")
    given = {one.lower() for one in headers}
    own = ((name, value),) if secret and value and name not in given else ()
    return StaticCredential((*own, *headers.items()))


async def authorize(call: Call, credential: StaticCredential) -> Call:
    """`call` with what `credential` adds; a header that the credential names replaces the call's own."""
    if not credential.headers:
        return call
    return Call(call.method, call.path, credential.join(call.headers), call.body)
