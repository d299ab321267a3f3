"""What a call needs beside its content so that the backend lets it in. Static headers are the first kind of credential."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from byway.backends import Call
from byway.vendors import Vendor


class Static:
    """Headers that never change. Its repr shows their names alone."""

    __slots__ = ("headers",)

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.headers = headers

    def __repr__(self) -> str:
        return f"Static({', '.join(name for name, _ in self.headers)})"


def static(vendor: Vendor, secret: str | None, headers: Mapping[str, str]) -> Static:
    """The configured secret in the vendor's way, and the configured headers, which win over it."""
    given = {name.lower() for name in headers}
    own: tuple[tuple[str, str], ...] = ()
    if secret:
        name, value = ("x-api-key", secret) if vendor.auth == "x-api-key" else ("authorization", f"Bearer {secret}")
        if name not in given:
            own = ((name, value),)
    return Static((*own, *headers.items()))


async def authorize(call: Call, credential: Static) -> Call:
    """`call` with what `credential` adds; a header that the credential names replaces the call's own."""
    if not credential.headers:
        return call
    named = {name.lower() for name, _ in credential.headers}
    kept = tuple(header for header in call.headers if header[0].lower() not in named)
    return msgspec.structs.replace(call, headers=(*kept, *credential.headers))
