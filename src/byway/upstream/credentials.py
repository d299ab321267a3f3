"""Adds authentication to an upstream call. Static headers are the first kind of credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byway.backends.vendors import Vendor
from byway.bounded import BoundedDict
from byway.call import Call
from byway.problems import Problem

#: Sets of headers whose union with the credential is kept ready.
_REMEMBERED: Final = 64


class StaticCredential:
    """Headers that never change. Its repr shows only their names."""

    __slots__ = ("_merged", "headers", "names")

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.headers = headers
        self.names = frozenset(name.lower() for name, _ in headers)
        self._merged: BoundedDict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = BoundedDict(_REMEMBERED)

    def merge(self, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """`given` and these headers; where both have a name, this one wins."""
        merged = self._merged.get(given)
        if merged is None:
            merged = (*(header for header in given if header[0].lower() not in self.names), *self.headers)
            self._merged[given] = merged
        return merged

    def __repr__(self) -> str:
        return f"StaticCredential({', '.join(name for name, _ in self.headers)})"


def static_credential(vendor: Vendor, secret: str | None, headers: Mapping[str, str]) -> StaticCredential:
    """The configured secret in the header that the vendor uses, and the configured headers, which win over it."""
    name, value = ("authorization", f"Bearer {secret}") if vendor.auth == "bearer" else (vendor.auth, secret)
    configured = {header.lower() for header in headers}
    own = ((name, value),) if secret and value and name not in configured else ()
    return StaticCredential((*own, *headers.items()))


#: The headers in which a caller sends its credential.
CLIENT_HEADERS: Final = ("authorization", "x-api-key")
#: Goes on with it: the kind of client that has logged in, as Claude Code names it.
CLIENT_KIND: Final = "x-app"


def with_client_credential(call: Call, given: Mapping[str, str], backend: str) -> Call:
    """Return `call` with the caller's own credential, unchanged. Raises Problem `authentication` when it has sent none."""
    own = tuple((name, given[name]) for name in CLIENT_HEADERS if name in given)
    if not own:
        raise Problem(
            "authentication",
            f"Backend {backend!r} gets the credential of the caller, and this request has none. Send it in Authorization or "
            "x-api-key, and Byway's own key in x-byway-key.",
        )
    if CLIENT_KIND in given:
        own = (*own, (CLIENT_KIND, given[CLIENT_KIND]))
    return Call(call.method, call.path, (*call.headers, *own), call.body, call.pieces)


def authorize(call: Call, credential: StaticCredential) -> Call:
    """Return `call` with the headers of `credential`, which replace the call's own."""
    if not credential.headers:
        return call
    return Call(call.method, call.path, credential.merge(call.headers), call.body, call.pieces)
