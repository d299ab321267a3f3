"""One answer as it comes: `read` above, the parser's callbacks below, and between them limits, framing, unpacking."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from byway.problems import Problem
from byway.upstream.coding import Unpacker

if TYPE_CHECKING:
    from byway.upstream.client import Upstream, UpstreamConnection

#: Bytes that may come without a byte of content among them: headers, trailers, the framing of chunks.
_FRAMING_LIMIT: Final = 64 << 10
_HEADERS: Final = 200
#: Bytes held for a reader that is slow before the socket is told to wait.
_HIGH: Final = 256 << 10
_BODY_LIMIT: Final = 64 << 20
_IDLE_FOR: Final = 60.0
_PACKED: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class StaleConnection(Exception):
    """The connection died before a byte of the answer had come. Says so in words that follow the backend's name."""


class _Over(Exception):
    """Raised inside the parser when what follows is not ours to read."""


class Answer:
    """What a backend answers: status and headers, then its bytes as they come."""

    __slots__ = (
        "_bare", "_begun", "_chunks", "_closed", "_complete", "_connection", "_failure", "_fields", "_framing",
        "_headed", "_held", "_keep_alive", "_last", "_loop", "_paused", "_to_end", "_touched", "_unpacker",
        "_upstream", "_waiter", "headers", "on_body", "status",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, connection: UpstreamConnection, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._upstream = upstream
        self._connection = connection
        self._loop = connection.loop
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._unpacker: Unpacker | None = None
        self._bare = method in ("HEAD", "CONNECT")
        """Its head is all there is, whatever the head says."""
        self._chunks: list[bytes] = []
        # The parser calls this for each piece, without a step of ours between.
        self.on_body = self._chunks.append
        self._held = self._framing = self._fields = 0
        self._headed = self._begun = self._complete = self._closed = False
        self._paused = self._to_end = self._keep_alive = self._touched = False
        self._last = self._loop.time()

    # --------------------------------------------------------------------------------------------------------- the line

    async def begin(self, head: bytes, body: bytes) -> Answer:
        """Send the request and wait for the head. Raises Stale when the connection died before a byte of it."""
        self._upstream.begun(self)
        try:
            self._connection.carry(self, head, body)
            del head, body
            while not self._headed:
                if self._failure is not None:
                    raise self._failure
                self._waiter = self._loop.create_future()
                await self._waiter
            if "content-encoding" in self.headers and (self._chunks or not self._complete):
                self._choose_unpacker()
            if self.status == 407 and self._upstream.by_proxy:
                raise self._upstream.turned_away(407)
        except BaseException:
            self.close()
            raise
        return self

    async def read(self) -> bytes:
        """All bytes that are here now, at least one; b"" at the end. Raises Problem when it is cut short or stalls."""
        while True:
            if self._chunks and (self._unpacker is None or self._unpacker.hungry):
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._held = 0
                if self._paused:
                    self._paused = False
                    self._touched = True
                    self._connection.resume()
                if self._unpacker is None:
                    return data
                data = self._unpacked(self._unpacker, data)
            elif self._unpacker is not None and not self._unpacker.hungry:
                # A packed megabyte can be a gigabyte: others get their turn in between.
                await asyncio.sleep(0)
                data = self._unpacked(self._unpacker, b"")
            elif self._complete:
                if self._unpacker is not None and not self._unpacker.finished:
                    raise self._broken("sent a packed answer that ends too soon")
                return b""
            elif self._failure is not None:
                raise self._failure
            else:
                self._waiter = self._loop.create_future()
                await self._waiter
                continue
            if data:
                return data

    async def body(self, limit: int = _BODY_LIMIT) -> bytes:
        """The whole rest, at most `limit` bytes (after unpacking)."""
        parts = []
        size = 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise self._broken(f"sent more than {limit} bytes where less was expected")
        return b"".join(parts)

    def close(self) -> None:
        """Done with it: the connection is kept when the answer came to its end, else closed at once."""
        if self._closed:
            return
        self._closed = True
        self._chunks.clear()
        keep = self._complete and self._keep_alive
        self._upstream.ended(self, self._connection, _keep_for(self.headers.get("keep-alive")) if keep else 0.0)
        if not self._complete and self._failure is None:
            self._failure = self._broken("was left before its answer was complete")
            self._wake()

    def look(self, now: float) -> None:
        """Has it been silent for too long? A reader that is slow itself does not make the backend late."""
        if self._touched or self._paused or self._chunks:
            self._touched = False
            self._begun = True
            self._last = now
            return
        name = "between_chunks" if self._begun else "first_byte"
        seconds: float = getattr(self._upstream.timeouts, name)
        if now - self._last > seconds:
            what = "went silent in the middle of its answer" if self._begun else "has not begun to answer"
            problem = Problem(
                "timeout",
                f"{self._upstream.shown} {what}: nothing for {seconds:g} s (`timeouts.{name}`). "
                "Is the model too large for its machine, or was it unloaded?",
                facts={"phase": name},
            )
            self._fail(problem)

    # ---------------------------------------------------------------------------------------------------------- waiting

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Exception) -> None:
        """What came before is still given out, then `failure` is raised. The connection is of no more use."""
        if self._failure is None and not self._complete:
            self._failure = failure
            self._connection.abort()
        self._wake()

    def _broken(self, what: str) -> Problem:
        return Problem("broken", f"{self._upstream.shown} {what}.")

    # ----------------------------------------------------------------------------------------- called by the connection

    def arrived(self, size: int) -> None:
        """Bytes have gone through the parser."""
        if self._chunks:
            self._touched = True
            self._framing = 0
            self._held += size
            if self._held > _HIGH and not self._paused and not self._complete:
                self._paused = True
                self._connection.pause()
        else:
            self._framing += size
            if self._framing > _FRAMING_LIMIT and not self._complete:
                self._fail(self._broken("sends headers without end"))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def misframed(self, what: str) -> None:
        """The parser stopped: bytes after the end spoil the connection, bytes before it the answer."""
        self._keep_alive = False
        refused, self._failure = self._failure, None
        self._fail(refused or self._broken(what))

    def lost(self, error: Exception | None) -> None:
        """The connection is gone: reset (`error`) or closed."""
        how = "reset the connection" if error is not None else "closed the connection"
        if self._headed and self._to_end and error is None:
            self._complete = True
            self._wake()
        elif isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):
            words = f"{self._upstream.shown} wants a client certificate: see `backends[].tls.cert`."
            self._fail(Problem("unreachable", words))
        elif self._headed:
            self._fail(self._broken(f"{how} in the middle of its answer"))
        elif self._framing:
            self._fail(self._broken(f"{how} in the middle of its headers"))
        else:
            self._fail(StaleConnection(f"{how} without an answer"))

    # --------------------------------------------------------------------------------------------- called by the parser

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Over

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > _HEADERS:
            self._refuse("sends headers without end")
        if not self._headed:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            known = self.headers.get(key)
            self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        # The parser's own: only it knows what the status line said.
        parser = self._connection.parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            self.headers.clear()
            return
        coding = self.headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or parser.get_http_version() != "1.1"):
            self._refuse("frames its answer in a way that HTTP/1.1 does not know")
        self.status = status
        self._headed = True
        self._to_end = coding is None and "content-length" not in self.headers
        if self._bare:
            self._complete = True
            raise _Over

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete = True
            self._keep_alive = self._connection.parser.should_keep_alive()

    def _refuse(self, what: str) -> None:
        self._failure = self._broken(what)
        raise _Over

    # -------------------------------------------------------------------------------------------------------- unpacking

    def _choose_unpacker(self) -> None:
        coding = self.headers["content-encoding"].lower()
        if coding in ("", "identity"):
            return
        if coding not in _PACKED:
            raise self._broken(f"packs its answer with {coding[:40]!r}, although it was asked not to")
        self._unpacker = Unpacker(_PACKED[coding])
        # They describe the bytes on the wire, which nobody sees.
        del self.headers["content-encoding"]
        self.headers.pop("content-length", None)

    def _unpacked(self, unpacker: Unpacker, data: bytes) -> bytes:
        try:
            return unpacker.unpack(data)
        except ValueError:
            raise self._broken("sent a packed answer that cannot be unpacked") from None


def _keep_for(value: str | None) -> float:
    """Seconds from `Keep-Alive: timeout=5, max=100`, less one, so that the server is never the first to let go."""
    if value is not None:
        for part in value.split(","):
            name, _, number = part.strip().partition("=")
            if name.lower() == "timeout" and number.isascii() and number.isdigit():
                return min(_IDLE_FOR, max(0.1, int(number[:6]) - 1))
    return _IDLE_FOR
