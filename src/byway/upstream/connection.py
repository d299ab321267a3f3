"""One socket to a server. It carries one answer at a time and is idle in between."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

import httptools

from byway.upstream.answer import Answer

#: A body below this many bytes is sent together with its head.
_SMALL_BODY: Final = 16 << 10


class UpstreamConnection(asyncio.Protocol):
    """The connection: passes what arrives to the parser of the current answer."""

    __slots__ = ("_transport", "answer", "loop", "parser", "pool", "until", "write_paused")

    def __init__(self) -> None:
        # Stored, because getting the running loop is a system call (Python 3.11 checks for a fork).
        self.loop = asyncio.get_running_loop()
        self.answer: Answer | None = None
        self.pool: list[UpstreamConnection] | None = None
        """The list of idle connections that contains it."""
        self.until = 0.0
        """When it has been idle for too long, by the loop's clock."""
        self._transport: asyncio.Transport | None = None
        self.write_paused = False
        """The server is slow to read what is sent."""
        self.parser: Any = None

    def is_open(self) -> bool:
        """True until it is closed by either side."""
        transport = self._transport
        return transport is not None and not transport.is_closing()

    def is_reusable(self) -> bool:
        """True when it is open and all bytes of the last request were sent."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not transport.get_write_buffer_size()

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Use TLS from now on. The certificate must be valid for `name`. Raises OSError."""
        if self._transport is None:
            raise ConnectionResetError
        raw, loop = self._transport, asyncio.get_running_loop()
        try:
            inner = await loop.start_tls(raw, self, context, server_hostname=name.partition("%")[0])
        except BaseException:
            raw.abort()
            raise
        if inner is None:
            raise ConnectionResetError
        self._transport = inner

    def carry(self, answer: Answer, head: bytes, body: bytes) -> None:
        """Send a request, and pass what arrives to `answer`."""
        self.pool = None
        self.answer = answer
        if self._transport is None:
            answer.lost(None)
            return
        # Each answer has a parser of its own: nothing of one can reach the next.
        self.parser = httptools.HttpResponseParser(answer)
        if len(body) < _SMALL_BODY:
            self._transport.write(head + body)
        else:
            # A large body is not copied.
            self._transport.writelines((head, body))

    def write(self, data: memoryview) -> None:
        """Send more of the body."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def release(self) -> None:
        """The answer has ended. Bytes that arrive now are unexpected."""
        self.answer = self.parser = None

    def abort(self) -> None:
        """Close the socket at once, without a call back."""
        self.release()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ----------------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            # Bytes without a request: the connection cannot be trusted.
            self.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            answer.misframed("switched protocols")
        except httptools.HttpParserError as error:
            answer.misframed(f"sent an answer that is not valid HTTP ({error})")
        else:
            answer.received(len(data))

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.answer is not None:
            self.answer.writable()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.answer is not None:
            self.answer.lost(error)
        elif self.pool is not None and self in self.pool:
            self.pool.remove(self)
