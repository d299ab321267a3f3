"""Requests that Byway makes to its own application, without HTTP: the scope of one, and what takes the place of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from byway.access.keys import Caller
from byway.largebodies import LARGE
from byway.routes.context import Header, Responder

_HOST: Final = (b"host", b"localhost")


def internal_scope(
    path: str, body: bytes, headers: Mapping[bytes, bytes], caller: Caller, **more: Any
) -> dict[str, Any]:
    """The scope of a POST of `caller`. `more` is for the application that answers."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": dict([_HOST, (b"content-length", b"%d" % len(body)), *headers.items()]),
        "server": None,
        "client": None,
        "caller": caller,
        **more,
    }


class InternalExchange(Responder):
    """A request of Byway's own and its response, in place of a connection."""

    __slots__ = ("_body", "_head", "_parts", "body", "headers", "status")

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._head: tuple[int, list[Header]] | None = None
        self._parts: list[bytes] = []
        self.status = 0
        """Of the response; 0 while it is not complete."""
        self.headers: Mapping[bytes, bytes] = {}
        self.body = b""

    def whole_body(self) -> bytes | None:
        if self._body is None or len(self._body) > LARGE:
            # A large body is received, so that it first takes its share of the memory for large bodies.
            return None
        body, self._body = self._body, None
        return body

    async def receive(self) -> dict[str, Any]:
        """The body of the request; after it nothing."""
        if self._body is None:
            # There is no client that could disconnect.
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    def respond(self, status: int, headers: list[Header], body: bytes, lines: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body

    async def __call__(self, message: Mapping[str, Any]) -> None:
        if self._head is None:
            self._head = message["status"], message["headers"]
            return
        self._parts.append(message["body"])
        if not message.get("more_body"):
            self.respond(*self._head, b"".join(self._parts), b"")
