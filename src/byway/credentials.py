"""What a call needs beside its content so that the backend lets it in. Static headers are the first kind of credential."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from byway.backends import Call
from byway.vendors import Vendor


class Static:
    """Headers that never change. Its repr shows their names alone."""

    __slots__ = ("headers", "names")

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.headers = headers
        self.names = frozenset(name.lower() for name, _ in headers)

    def __repr__(self) -> str:
        return f"Static({', '.join(name for name, _ in self.headers)})"


def static(vendor: Vendor, secret: str | None, headers: Mapping[str, str]) -> Static:
    """The configured secret in the vendor's way, and the configured headers, which win over it."""
    name, value = ("x-api-key", secret) if vendor.auth == "x-api-key" else ("authorization", f"Bearer {secret}")
    given = {one.lower() for one in headers}
    own = ((name, value),) if secret and value and name not in given else ()
    return Static((*own, *headers.items()))


async def authorize(call: Call, credential: Static) -> Call:
    """`call` with what `credential` adds; a header that the credential names replaces the call's own."""
    if not credential.headers:
        return call
    kept = tuple(header for header in call.headers if header[0].lower() not in credential.names)
    return msgspec.structs.replace(call, headers=(*kept, *credential.headers))
