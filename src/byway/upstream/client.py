"""Call -> bytes: a lean HTTP/1.1 client with a pool, and the only file that knows one. Its failures become Problems.

No redirects, no cookies, no caching: what a backend says is what the line sees. Why our own: bench/ shows what a chunk
costs with the libraries. Parsing is llhttp's; URL, proxy and TLS are in `address`, compressed answers in `coding`.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httptools

from byway import __version__
from byway.call import Call
from byway.config import TimeoutSettings, TlsSettings
from byway.problems import Problem
from byway.upstream.address import ProxyAddress, UpstreamAddress, proxy_for, tls_context
from byway.upstream.answer import Answer, StaleConnection

__all__ = ["Answer", "Upstream"]

_AGENT: Final = f"byway/{__version__}"
_REMEMBERED: Final = 64
_SMALL: Final = 16 << 10
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH: Final = re.compile(r"/[!-~]*")
#: Headers that say how the message is framed: we alone say that.
_OURS: Final = frozenset(("accept-encoding", "connection", "content-length", "expect", "te", "transfer-encoding"))


class Upstream:
    """One backend's connections."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        timeouts: TimeoutSettings,
        tls: TlsSettings | None = None,
        proxy: str | None = None,
        pool: int = 100,
        environ: Mapping[str, str] = os.environ,
        pinned: tuple[str, ...] = (),
    ) -> None:
        """`proxy` None follows HTTP(S)_PROXY and NO_PROXY of `environ`, but never for this machine; "none" uses none.

        `pinned` are the IP addresses to connect to, tried in order, without a look-up and without a proxy: somebody has
        checked them. `Host` and TLS still go by the URL's name.
        `name` is what Problems call the backend; `pool` is how many idle connections are kept. Raises Problem
        `internal` for a URL that is none.
        """
        self.address = UpstreamAddress(url)
        self.timeouts = timeouts
        self._tls = tls or TlsSettings()
        self._context: ssl.SSLContext | None = None
        self._proxy: ProxyAddress | None = None
        self._misled = ""
        try:
            self._proxy = None if pinned else proxy_for(self.address, proxy, environ)
        except ValueError as error:
            self._misled = str(error)
        self._pinned = pinned
        self._pool = pool
        self.opened = 0
        """How many calls it was asked to send so far."""
        self._idle: list[UpstreamConnection] = []
        self._active: set[Answer] = set()
        self._ticking = False
        # How exact the limits are kept: one timer a backend looks at all its answers, so a chunk costs no timestamp.
        self._tick_every = min(0.5, timeouts.first_byte / 4, timeouts.between_chunks / 4)
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        # Without a tunnel a proxy is asked for the whole address.
        self.by_proxy = self._proxy is not None and not self.address.secure
        self._prefix = f"http://{self.address.authority}{self.address.base}" if self.by_proxy else self.address.base
        at = self.address.shown
        self.shown = f"Backend {name!r} at {at}" if name else f"The server at {at}"
        self._via = f", by way of the proxy {self._proxy.shown}," if self._proxy else ""

    async def open(self, call: Call) -> Answer:
        """Send `call` and wait for status and headers. Raises Problem `unreachable`, `timeout` or `broken`."""
        self.opened += 1
        head = self._head(call)
        connection = self._rested()
        if connection is not None:
            try:
                return await Answer(self, connection, call.method).begin(head, call.body)
            except StaleConnection:
                # The server closed it just as we began; nothing was received. Once only, and on a fresh connection.
                pass
        connection = await self._connect()
        try:
            return await Answer(self, connection, call.method).begin(head, call.body)
        except StaleConnection as stale:
            raise Problem("unreachable", f"{self.shown} {stale}. Look in its log.") from None

    @property
    def busy(self) -> bool:
        """Is an answer of it being read?"""
        return bool(self._active)

    async def close(self) -> None:
        """Close what is idle; answers that run keep their connection until they end."""
        self._pool = 0
        while self._idle:
            self._idle.pop().abort()
        # Sockets are closed by the loop's next turn.
        await asyncio.sleep(0)

    # ----------------------------------------------------------------------------------------------- asked by an Answer

    def begun(self, answer: Answer) -> None:
        """Watch the limits of `answer`."""
        self._active.add(answer)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._tick_every, self._tick)

    def ended(self, answer: Answer, connection: UpstreamConnection, idle_for: float) -> None:
        """Forget `answer`; keep its connection for `idle_for` seconds, or drop it when that is 0."""
        self._active.discard(answer)
        connection.release()
        if idle_for and self._pool and connection.rested:
            connection.until = connection.loop.time() + idle_for
            self._idle.append(connection)
            connection.pool = self._idle
            if len(self._idle) > self._pool:
                self._idle.pop(0).abort()
        else:
            connection.abort()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for answer in list(self._active):
            answer.look(now)
        for connection in [one for one in self._idle if one.until < now]:
            self._idle.remove(connection)
            connection.abort()
        self._ticking = bool(self._active or self._idle)
        if self._ticking:
            loop.call_later(self._tick_every, self._tick)

    # ------------------------------------------------------------------------------------------------------ the request

    def _head(self, call: Call) -> bytes:
        """The request's head, all but the end: what differs from one call to the next is the length."""
        key = (call.method, call.path, call.headers)
        head = self._heads.get(key)
        if head is None:
            head = self._made_head(call)
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            self._heads[key] = head
        if call.body or call.method == "POST":
            return b"%bcontent-length: %d\r\n\r\n" % (head, len(call.body))
        return head + b"\r\n"

    def _made_head(self, call: Call) -> bytes:
        """Values come from config and client: a line end in one would be a second request."""
        if not _NAME.fullmatch(call.method) or not _PATH.fullmatch(call.path):
            raise Problem("invalid_request", "The path or method holds a character that HTTP cannot carry there.")
        lines = [f"{call.method} {self._prefix}{call.path} HTTP/1.1\r\n"]
        names = {name.lower() for name, _ in call.headers}
        if "host" not in names:
            lines.append(f"host: {self.address.authority}\r\n")
        lines.append("accept-encoding: identity\r\n")
        if "user-agent" not in names:
            lines.append(f"user-agent: {_AGENT}\r\n")
        if self.by_proxy and self._proxy is not None:
            lines.append(self._proxy.credential)
        for name, value in call.headers:
            if not _NAME.fullmatch(name):
                raise Problem("invalid_request", "The name of a header holds a character that HTTP cannot carry there.")
            if "\r" in value or "\n" in value or "\0" in value:
                raise Problem("invalid_request", f"The header {name} holds a line end, which HTTP cannot carry.")
            if name.lower() not in _OURS:
                lines.append(f"{name}: {value}\r\n")
        try:
            return "".join(lines).encode("latin-1")
        except UnicodeEncodeError:
            raise Problem("invalid_request", "A header holds characters that HTTP cannot carry.") from None

    # ------------------------------------------------------------------------------------------------------ connections

    def _rested(self) -> UpstreamConnection | None:
        """The idle connection that was used last, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.rested and connection.until > connection.loop.time():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> UpstreamConnection:
        """A fresh connection, with tunnel and TLS where they belong. Raises Problem."""
        if self._misled:
            raise Problem("unreachable", f"{self.shown} cannot be reached: {self._misled}.")
        if self.address.secure and self._context is None:
            self._context = tls_context(self._tls)
        connection = UpstreamConnection()
        try:
            async with asyncio.timeout(self.timeouts.connect):
                await self._dial(connection)
                return connection
        except BaseException as error:
            connection.abort()
            if not isinstance(error, OSError):
                raise
            raise self._unreachable(error) from None

    async def _dial(self, connection: UpstreamConnection) -> None:
        loop = asyncio.get_running_loop()
        address, proxy = self.address, self._proxy
        if address.unix:
            try:
                await loop.create_unix_connection(lambda: connection, address.unix)
            except NotImplementedError:
                raise Problem("unreachable", f"This system has no sockets like {address.shown}: use http://.") from None
            return
        if self._pinned:
            await self._reach(connection)
        else:
            first = proxy or address
            await loop.create_connection(lambda: connection, first.host, first.port)
        if proxy is not None and proxy.secure:
            await connection.secure(ssl.create_default_context(), proxy.host)
        if self._context is not None:
            if proxy is not None:
                await self._tunnel(connection, proxy)
            await connection.secure(self._context, address.host)

    async def _reach(self, connection: UpstreamConnection) -> None:
        """Connect to the first pinned address that answers. One that is silent leaves time for the others."""
        loop = asyncio.get_running_loop()
        for at, host in enumerate(self._pinned, 1):
            try:
                async with asyncio.timeout(self.timeouts.connect / len(self._pinned)):
                    await loop.create_connection(lambda: connection, host, self.address.port)
                return
            except OSError:
                if at == len(self._pinned):
                    raise

    async def _tunnel(self, connection: UpstreamConnection, proxy: ProxyAddress) -> None:
        """Ask the proxy for a way through (CONNECT, RFC 9110 section 9.3.6)."""
        aim = self.address.shown
        head = f"CONNECT {aim} HTTP/1.1\r\nhost: {aim}\r\n{proxy.credential}\r\n".encode()
        try:
            answer = await Answer(self, connection, "CONNECT").begin(head, b"")
        except StaleConnection as stale:
            raise Problem("unreachable", f"The proxy {proxy.shown} {stale}. Is it an HTTP proxy?") from None
        connection.release()
        self._active.discard(answer)
        if not 200 <= answer.status < 300:
            raise self.turned_away(answer.status)

    def turned_away(self, status: int) -> Problem:
        """What to say when the proxy, not the backend, gave the answer."""
        return Problem(
            "unreachable",
            f"{self.shown}{self._via} cannot be reached: the proxy says HTTP {status}. "
            + ("It wants a user name and password. " if status == 407 else "")
            + "Look at `backends[].proxy`, or at HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
            facts={"status": status},
        )

    def _unreachable(self, error: OSError) -> Problem:
        shown = f"{self.shown}{self._via}"
        if isinstance(error, TimeoutError):
            return Problem(
                "timeout",
                f"{shown} did not take the connection within {self.timeouts.connect:g} s "
                "(`timeouts.connect`). Is it running, and is the address right?",
                facts={"phase": "connect"},
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            words = (
                f"{shown} has a certificate that is not trusted: {error.verify_message}. If it comes from your own "
                "authority, name that in `backends[].tls.ca`."
            )
        elif isinstance(error, ssl.SSLError):
            reason = error.reason or "no reason given"
            words = f"{shown} does not do TLS as it should: {reason}. Does it speak https at that port?"
        elif isinstance(error, socket.gaierror):
            words = f"{shown} has a name that cannot be looked up. Is `backends[].url` right, and is there a network?"
        elif self.address.secure and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            words = f"{shown} hung up before TLS was agreed. Does it speak https at that port?"
        else:
            reason = os.strerror(error.errno) if error.errno else "no address of it takes a connection"
            words = f"{shown} does not answer: {reason}. Start the model server, or correct `backends[].url`."
        return Problem("unreachable", words)


class UpstreamConnection(asyncio.Protocol):
    """One socket and the answer that it carries now."""

    __slots__ = ("_transport", "answer", "loop", "parser", "pool", "until")

    def __init__(self) -> None:
        # Kept: to ask for the running loop is a system call (Python 3.11 looks whether it has been forked).
        self.loop = asyncio.get_running_loop()
        self.answer: Answer | None = None
        self.pool: list[UpstreamConnection] | None = None
        """Where it lies while it is idle."""
        self.until = 0.0
        """When it has lain idle long enough, by the loop's clock."""
        self._transport: asyncio.Transport | None = None
        self.parser: Any = None

    @property
    def rested(self) -> bool:
        """It is open, and all of the last request has left."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not transport.get_write_buffer_size()

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Speak TLS from now on, with a peer that proves to be `name`. Raises OSError."""
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
        """Send a request; what comes back is `answer`'s."""
        self.pool = None
        self.answer = answer
        if self._transport is None:
            answer.lost(None)
            return
        # A parser of its own: nothing of one answer can reach into the next.
        self.parser = httptools.HttpResponseParser(answer)
        if len(body) < _SMALL:
            self._transport.write(head + body)
        else:
            # A large body is not copied behind its head.
            self._transport.writelines((head, body))

    def release(self) -> None:
        """The answer is over; what comes now was not asked for."""
        self.answer = self.parser = None

    def abort(self) -> None:
        """Close it at once; nobody hears of it."""
        self.release()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ----------------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            # Nobody asked: the server speaks out of turn, so nothing on this connection can be trusted.
            self.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            answer.misframed("switched protocols")
        except httptools.HttpParserError as error:
            answer.misframed(f"sent what is not HTTP ({error})")
        else:
            answer.arrived(len(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.answer is not None:
            self.answer.lost(error)
        elif self.pool is not None and self in self.pool:
            self.pool.remove(self)
