"""One HTTP answer as it arrives: limits, framing and decompression between the parser's callbacks and `read`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

from byway.config import TimeoutSettings
from byway.problems import Problem
from byway.upstream.coding import Unpacker

#: Bytes of headers, and bytes of framing (trailers, chunk sizes) between two bytes of content.
_FRAMING_LIMIT: Final = 64 << 10
_HEADER_FIELDS: Final = 200
_HEAD_TOO_LARGE: Final = f"sent headers over the limit of {_FRAMING_LIMIT >> 10} KiB and {_HEADER_FIELDS} fields"
#: Bytes held for a slow reader before the socket is paused.
_HELD_LIMIT: Final = 256 << 10
_BODY_LIMIT: Final = 64 << 20
#: Bytes of an upload that are sent at once.
_UPLOAD_STEP: Final = 256 << 10
#: Seconds that an idle connection is kept.
_KEEP_ALIVE: Final = 60.0
#: Seconds and bytes in which a body must end after the last part that is needed of it. A server that sends more goes on with
#: its answer.
_END_SECONDS: Final = 1.0
_END_LIMIT: Final = 64
#: The headers of an answer that does not end with its connection.
_LENGTHS: Final = frozenset((b"content-length", b"transfer-encoding"))
_CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class StaleConnection(Exception):
    """The connection closed before a byte of the answer had arrived. The message follows the backend's name."""


class _StopParsing(Exception):
    """Raised in a callback: the parser must not read what follows."""


class Channel(Protocol):
    """What an answer needs of the connection that carries it."""

    loop: asyncio.AbstractEventLoop
    parser: Any
    write_paused: bool
    """The server is slow to read: `Answer.writable` is called when it has caught up."""

    def carry(self, answer: Answer, head: bytes, body: bytes) -> None:
        """Send a request, and pass what arrives to `answer`."""

    def write(self, data: memoryview) -> None:
        """Send more of the body."""

    def pause(self) -> None:
        """Stop reading from the socket."""

    def resume(self) -> None:
        """Read from the socket again."""

    def abort(self) -> None:
        """Close the socket at once."""


class Server(Protocol):
    """What an answer needs of the server that sends it."""

    shown: str
    """Names the server in Problems."""
    timeouts: TimeoutSettings

    def ended(self, answer: Answer, idle_seconds: float) -> None:
        """Take the connection back: it may be used again for so many seconds, or not at all when that is 0."""


class Answer:
    """The answer of a server: status and headers, then its body as it arrives."""

    __slots__ = (
        "_begun",
        "_bodiless",
        "_channel",
        "_chunks",
        "_closed",
        "_complete",
        "_cut",
        "_ending",
        "_failure",
        "_fields",
        "_framing",
        "_head_complete",
        "_headers",
        "_held",
        "_keep_alive",
        "_last_progress",
        "_loop",
        "_paused",
        "_progress",
        "_repeated",
        "_room",
        "_server",
        "_unpacker",
        "_waiter",
        "connecting",
        "is_read",
        "key",
        "on_body",
        "on_close",
        "sent_at",
        "status",
    )  # fmt: skip

    def __init__(self, channel: Channel, method: str, server: Server) -> None:
        self.status = 0
        self._fields: dict[bytes, bytes] = {}
        """The headers as they came, by their names in lower case."""
        self._headers: dict[str, str] | None = None
        self.on_close: Callable[[], None] | None = None
        """Called once when the answer is closed."""
        self.key: int
        """The API key with which the call was made; only for a backend with several."""
        self._channel = channel
        self._server = server
        self._loop = channel.loop
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._unpacker: Unpacker | None = None
        self._bodiless = method in ("HEAD", "CONNECT")
        """It has no body, whatever its headers declare."""
        self._chunks: list[bytes] = []
        # The parser appends each piece directly: no Python function runs for it.
        self.on_body = self._chunks.append
        self._held = self._framing = self._repeated = 0
        self._room = _FRAMING_LIMIT
        self._head_complete = self._begun = self._complete = self._closed = False
        self._paused = self._keep_alive = self._progress = self._cut = False
        self.is_read = False
        """`read` has returned the last bytes: another call would return b""."""
        self._ending = False
        """It is closed, and its connection waits for the end of the body."""
        self.connecting = 0.0
        """Seconds that the connection for it took; 0 when an open one was used."""
        self.sent_at = self._last_progress = self._loop.time()
        """When its request was sent, by the clock of the event loop, which is `time.monotonic()` with uvloop too."""

    # ---------------------------------------------------------------------------------------------- called by the reader

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names in lower case. They are decoded when they are read: few answers need that."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1").strip() for name, value in self._fields.items()
            }
        return self._headers

    async def begin(self, head: bytes, body: bytes, pieces: tuple[memoryview, ...] = ()) -> Answer:
        """Send the request and wait for the head of the answer. Raises StaleConnection, or Problem.

        `pieces` are sent instead of `body` as fast as the server takes them, until it answers.
        """
        try:
            self._channel.carry(self, head, body)
            del head, body
            if pieces:
                await self._upload(pieces)
                del pieces
            while not self._head_complete:
                if self._failure is not None:
                    raise self._failure
                self._waiter = self._loop.create_future()
                await self._waiter
            if b"content-encoding" in self._fields and (self._chunks or not self._complete):
                self._choose_unpacker()
        except BaseException:
            self.close()
            raise
        return self

    async def _upload(self, pieces: tuple[memoryview, ...]) -> None:
        """Send the body piece by piece. A server that answers before its end gets no more of it."""
        for piece in pieces:
            for at in range(0, len(piece), _UPLOAD_STEP):
                while self._channel.write_paused and self._failure is None and not self._head_complete:
                    self._waiter = self._loop.create_future()
                    await self._waiter
                if self._failure is not None or self._head_complete:
                    # The rest of the body is not sent: the connection cannot be used again.
                    self._cut = True
                    return
                self._channel.write(piece[at : at + _UPLOAD_STEP])
                self._last_progress = self._loop.time()

    async def read(self) -> bytes:
        """Return all bytes that have arrived, at least one; b"" at the end. Raises Problem when it is cut off or stalls."""
        while True:
            if self._chunks and (self._unpacker is None or self._unpacker.needs_input):
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._held = 0
                if self._paused:
                    self._paused = False
                    self._progress = True
                    self._channel.resume()
                if self._unpacker is None:
                    self.is_read = self._complete
                    return data
                data = self._unpacked(self._unpacker, data)
            elif self._unpacker is not None and not self._unpacker.needs_input:
                # A compressed megabyte can be a gigabyte: other requests run in between.
                await asyncio.sleep(0)
                data = self._unpacked(self._unpacker, b"")
            elif self._complete:
                if self._unpacker is not None and not self._unpacker.finished:
                    raise self._broken("sent a compressed answer that is cut off")
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
        """Return the rest of the body, decompressed. Raises Problem when it is over `limit` bytes."""
        parts = []
        size = 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise self._broken(f"sent more than {limit} bytes, which is the limit here")
        return b"".join(parts)

    def finish(self) -> None:
        """Close it after the last part that is needed. The connection is kept when the body ends soon.

        Servers send the end of a stream after its last event, and a new connection to a cloud takes three round trips.
        """
        done = self._closed or self._complete or self._failure is not None
        if not (done or self._paused or self._cut or self._ends_with_connection()):
            self._ending = True
            self._framing = 0
            self._last_progress = self._loop.time()
        self.close()

    def close(self) -> None:
        """Release the connection: it is kept when the answer is complete, else closed at once."""
        if self._closed:
            return
        self._closed = True
        self._chunks.clear()
        if not self._ending:
            self._return_connection()
            if not self._complete and self._failure is None:
                self._failure = self._broken("was disconnected before its answer was complete")
                self._wake()
        if self.on_close is not None:
            self.on_close()

    def _ends_with_connection(self) -> bool:
        return self._fields.keys().isdisjoint(_LENGTHS)

    def _return_connection(self) -> None:
        self._ending = False
        keep = self._complete and self._keep_alive and not self._cut
        self._server.ended(self, _keep_alive_seconds(self._fields.get(b"keep-alive")) if keep else 0.0)

    # --------------------------------------------------------------------------------------------- called by the upstream

    def check_timeout(self, now: float) -> None:
        """Fail when the server has been silent for too long. While the reader is slow the server is not late."""
        if self._ending:
            if now - self._last_progress > _END_SECONDS:
                self._return_connection()
            return
        if self._progress or self._paused or self._chunks:
            self._progress = False
            self._begun = True
            self._last_progress = now
            return
        name = "between_chunks" if self._begun else "first_byte"
        seconds: float = getattr(self._server.timeouts, name)
        if now - self._last_progress > seconds:
            what = "stopped sending in the middle of its answer" if self._begun else "has not started to answer"
            problem = Problem(
                "timeout",
                f"{self._server.shown} {what}: no bytes for {seconds:g} s (`timeouts.{name}`). "
                "Check whether the model is too large for its machine, or was unloaded.",
                facts={"phase": name},
            )
            self._fail(problem)

    # ------------------------------------------------------------------------------------------- called by the connection

    def received(self, size: int) -> None:
        """`size` bytes have gone through the parser."""
        if self._ending:
            self._chunks.clear()
            self._framing += size
            if self._complete or self._framing > _END_LIMIT:
                self._return_connection()
        elif self._chunks:
            self._progress = True
            self._framing = 0
            self._held += size
            if self._held > _HELD_LIMIT and not self._paused and not self._complete:
                self._paused = True
                self._channel.pause()
        else:
            self._framing += size
            if self._framing > _FRAMING_LIMIT and not self._complete:
                self._fail(self._broken("sent headers or chunk framing over the limit of 64 KiB"))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def writable(self) -> None:
        """The server has taken most of what was sent."""
        self._wake()

    def misframed(self, what: str) -> None:
        """The parser stopped: bytes after the end make the connection useless, bytes before it break the answer."""
        self._keep_alive = False
        refused, self._failure = self._failure, None
        self._fail(refused or self._broken(what))

    def lost(self, error: Exception | None) -> None:
        """The connection was reset (`error`) or closed."""
        how = "reset the connection" if error is not None else "closed the connection"
        if self._head_complete and error is None and self._ends_with_connection():
            self._complete = True
            self._wake()
        elif isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):
            message = f"{self._server.shown} requires a client certificate: set `backends[].tls.cert`."
            self._fail(Problem("unreachable", message))
        elif self._head_complete:
            self._fail(self._broken(f"{how} in the middle of its answer"))
        elif self._framing:
            self._fail(self._broken(f"{how} in the middle of its headers"))
        else:
            self._fail(StaleConnection(f"{how} without an answer"))

    # ---------------------------------------------------------------------------------------------- called by the parser

    def on_message_begin(self) -> None:
        if self._complete:
            raise _StopParsing

    def on_header(self, name: bytes, value: bytes) -> None:
        room = self._room = self._room - len(name) - len(value)
        if room < 0:
            self._refuse(_HEAD_TOO_LARGE)
        if not self._head_complete:
            fields, name = self._fields, name.lower()
            if name not in fields:
                fields[name] = value
                return
            fields[name] = b"%b, %b" % (fields[name].strip(), value)
        # A field that came before, or a trailer.
        self._repeated += 1
        if self._repeated > _HEADER_FIELDS:
            self._refuse(_HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        # Only the parser has the status line.
        parser = self._channel.parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            self._fields.clear()
            return
        if len(self._fields) + self._repeated > _HEADER_FIELDS:
            self._refuse(_HEAD_TOO_LARGE)
        coding = self._fields.get(b"transfer-encoding")
        if coding is not None and (coding.strip().lower() != b"chunked" or parser.get_http_version() != "1.1"):
            self._refuse("sent an answer with a transfer encoding that HTTP/1.1 does not define")
        self.status = status
        self._head_complete = True
        if self._bodiless:
            self._complete = True
            raise _StopParsing

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._complete = True
            self._keep_alive = self._channel.parser.should_keep_alive()

    # ------------------------------------------------------------------------------------------------------------ failure

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Exception) -> None:
        """Raise `failure` after the bytes that have arrived were read. The connection is closed."""
        if self._failure is None and not self._complete:
            self._failure = failure
            self._channel.abort()
        if self._ending:
            self._return_connection()
        self._wake()

    def _refuse(self, what: str) -> None:
        self._failure = self._broken(what)
        raise _StopParsing

    def _broken(self, what: str) -> Problem:
        return Problem("broken", f"{self._server.shown} {what}.")

    # ------------------------------------------------------------------------------------------------------ decompression

    def _choose_unpacker(self) -> None:
        coding = self.headers["content-encoding"].lower()
        if coding in ("", "identity"):
            return
        if coding not in _CODINGS:
            raise self._broken(f"sent an answer with the content encoding {coding[:40]!r}, which was not requested")
        self._unpacker = Unpacker(_CODINGS[coding])
        # They describe the compressed bytes.
        del self.headers["content-encoding"]
        self.headers.pop("content-length", None)

    def _unpacked(self, unpacker: Unpacker, data: bytes) -> bytes:
        try:
            return unpacker.unpack(data)
        except ValueError:
            raise self._broken("sent a compressed answer that cannot be decompressed") from None


def _keep_alive_seconds(value: bytes | None) -> float:
    """Seconds from `Keep-Alive: timeout=5, max=100`, less one: the server must not be the first to close."""
    if value is not None:
        for part in value.split(b","):
            name, _, number = part.strip().partition(b"=")
            if name.lower() == b"timeout" and number.isdigit():
                return min(_KEEP_ALIVE, max(0.1, int(number[:6]) - 1))
    return _KEEP_ALIVE
