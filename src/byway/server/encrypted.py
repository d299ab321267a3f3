"""A listener that serves https: accepts connections, bounds their handshakes, and answers plain http with an error.

It accepts by itself, because only so it can look at the first byte, replace the certificate for new connections, and keep
handshakes bounded. Listeners without TLS do not use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Final

from byway import platform
from byway.logs import log
from byway.server.connection import STALL_SECONDS, Connection, HttpServer

if TYPE_CHECKING:
    from byway.tls.serving import ServedCertificate

#: Seconds from the connection until its handshake is complete.
HANDSHAKE_SECONDS: Final = 10.0
#: Handshakes at once. A further connection ends the oldest of them: a client that works needs milliseconds.
MOST_HANDSHAKES: Final = 256
#: The first byte of a TLS connection (RFC 8446, section 5.1).
_HANDSHAKE_RECORD: Final = b"\x16"
#: Seconds until the next attempt when the system has no file for a connection.
_PAUSE: Final = 1.0
_PLAIN_HTTP: Final = "This port serves https. Use https:// instead of http:// in the URL."


class PlainConnection(Connection):
    """A connection without TLS: whatever it sends, it gets an error that names https."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._refusal is None:
            self._refusal = (400, _PLAIN_HTTP)
            self._send_refusal(*self._refusal)


class TlsListener:
    """Accepts the connections of a listening socket, from the start until `close`."""

    def __init__(self, server: HttpServer, listening: socket.socket, certificate: ServedCertificate) -> None:
        self._server = server
        self._certificate = certificate
        self._socket = listening
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        listening.setblocking(False)
        listening.listen(platform.BACKLOG)
        self._accepting = asyncio.create_task(self._accept(), name="accept")

    def close(self) -> None:
        """Accept no further connections, and end the handshakes that are not complete."""
        self._accepting.cancel()
        for task in self._handshakes:
            task.cancel()

    async def _accept(self) -> None:
        loop = self._server.loop
        while True:
            try:
                client, _ = await loop.sock_accept(self._socket)
            except ConnectionError:
                # The client has disconnected already.
                continue
            except OSError as error:
                log("Cannot accept a connection", logging.WARNING, problem=str(error))
                await asyncio.sleep(_PAUSE)
                continue
            if len(self._handshakes) >= MOST_HANDSHAKES:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._open(client), name="handshake")
            self._handshakes[task] = None
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)

    async def _open(self, client: socket.socket) -> None:
        """Make a connection of an accepted socket. A handshake that fails is no event for the log."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                first = await self._first_byte(client)
                if first:
                    await self._connect(client, is_tls=first == _HANDSHAKE_RECORD)
                else:
                    client.close()
        except (OSError, TimeoutError, asyncio.CancelledError):
            # ssl.SSLError is an OSError. Closing twice does nothing.
            client.close()

    async def _connect(self, client: socket.socket, *, is_tls: bool) -> None:
        loop = self._server.loop
        if not is_tls:
            await loop.connect_accepted_socket(lambda: PlainConnection(self._server), client)
            return
        await loop.connect_accepted_socket(
            self._server.connection,
            client,
            ssl=self._certificate.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            # The rest of a response is sent before the connection closes, and its client may read slowly.
            ssl_shutdown_timeout=STALL_SECONDS,
        )

    async def _first_byte(self, client: socket.socket) -> bytes:
        """The first byte that the client sends, which stays unread; empty when it closes the connection."""
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return client.recv(1, socket.MSG_PEEK)
        loop = self._server.loop
        readable = loop.create_future()
        try:
            loop.add_reader(client.fileno(), _set, readable)
        except NotImplementedError:
            # The loop of Windows cannot wait for it. A plain client then sees a failed handshake.
            return _HANDSHAKE_RECORD
        try:
            await readable
        finally:
            loop.remove_reader(client.fileno())
        with contextlib.suppress(BlockingIOError):
            return client.recv(1, socket.MSG_PEEK)
        return b""


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
