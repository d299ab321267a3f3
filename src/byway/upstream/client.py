"""The HTTP/1.1 client for one server: a pool of connections, sending a Call, and failures as Problems.

It follows no redirects and keeps no cookies and no cache. It exists because a streamed chunk costs too much with the
libraries (bench/ measures that). Parsing is llhttp's.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Final

from byway import __version__
from byway.call import Call
from byway.config import TimeoutSettings, TlsSettings
from byway.problems import Problem
from byway.upstream.address import ProxyAddress, UpstreamAddress, proxy_for, tls_context
from byway.upstream.answer import Answer, StaleConnection
from byway.upstream.connection import UpstreamConnection

__all__ = ["Answer", "Upstream"]

_USER_AGENT: Final = f"byway/{__version__}"
#: Heads of requests that are kept ready.
_REMEMBERED_HEADS: Final = 64
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH: Final = re.compile(r"/[!-~]*")
#: Headers that frame the request. Only this client sets them.
_FRAMING_HEADERS: Final = frozenset(
    ("accept-encoding", "connection", "content-length", "expect", "te", "transfer-encoding")
)


class Upstream:
    """The connections to one server."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        timeouts: TimeoutSettings,
        tls: TlsSettings | None = None,
        proxy: str | None = None,
        pool: int = 100,
        api_path: str = "/v1",
        environ: Mapping[str, str] = os.environ,
        pinned: tuple[str, ...] = (),
        extra_cas: Sequence[str] = (),
    ) -> None:
        """`proxy` None follows HTTP(S)_PROXY and NO_PROXY of `environ`, but never for this machine; "none" uses none.

        `pinned` are checked IP addresses to connect to, tried in order, without a lookup and without a proxy. `Host` and TLS
        still use the name of the URL. `name` is the backend's name in Problems, `pool` the number of idle connections to
        keep. `api_path` replaces the `/v1` at the start of the paths of calls. `extra_cas` are files of
        certificates that are trusted too. Raises Problem `internal` for an invalid URL.
        """
        self.address = UpstreamAddress(url)
        self.timeouts = timeouts
        self._tls = tls or TlsSettings()
        self._extra_cas = extra_cas
        self._context: ssl.SSLContext | None = None
        self._proxy: ProxyAddress | None = None
        self._proxy_problem = ""
        try:
            self._proxy = None if pinned else proxy_for(self.address, proxy, environ)
        except ValueError as error:
            self._proxy_problem = str(error)
        self._pinned = pinned
        self._api_path = api_path
        self._pool = pool
        self.opened = 0
        """The number of calls so far."""
        self._idle: list[UpstreamConnection] = []
        self._active: dict[Answer, UpstreamConnection] = {}
        self._ticking = False
        # One timer checks the timeouts of all answers, so that a chunk costs no timestamp. This is its interval.
        self._tick_every = min(0.5, timeouts.first_byte / 4, timeouts.between_chunks / 4)
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        # Without a tunnel the request line for a proxy has the whole URL.
        self._by_proxy = self._proxy is not None and not self.address.secure
        self._prefix = f"http://{self.address.authority}{self.address.base}" if self._by_proxy else self.address.base
        at = self.address.shown
        self.shown = f"Backend {name!r} at {at}" if name else f"The server at {at}"
        self._hint = (
            "Start the model server, or correct `backends[].url`." if name else "Check the address and the network."
        )
        self._via = f", through the proxy {self._proxy.shown}," if self._proxy else ""

    async def open(self, call: Call) -> Answer:
        """Send `call` and wait for status and headers. Raises Problem `unreachable`, `timeout` or `broken`."""
        self.opened += 1
        head = self._head(call)
        connection = self._take_idle()
        if connection is not None:
            answer = self._answer_on(connection, call.method)
            try:
                await answer.begin(head, call.body, call.pieces)
            except StaleConnection:
                # The server closed it in the moment of the request and has received nothing: one retry, on a new connection.
                connection = None
        if connection is None:
            began = time.monotonic()
            answer = self._answer_on(await self._connect(), call.method)
            answer.connecting = time.monotonic() - began
            try:
                await answer.begin(head, call.body, call.pieces)
            except StaleConnection as stale:
                raise Problem("unreachable", f"{self.shown} {stale}. Check its log.") from None
        if self._by_proxy and answer.status == 407:
            answer.close()
            raise self._proxy_refusal(407)
        return answer

    @property
    def busy(self) -> bool:
        """Whether an answer is being read."""
        return bool(self._active)

    async def close(self) -> None:
        """Close the idle connections. Running answers keep theirs until they end."""
        self._pool = 0
        while self._idle:
            self._idle.pop().abort()
        # The loop closes sockets in its next iteration.
        await asyncio.sleep(0)

    # ---------------------------------------------------------------------------------------------------------- answers

    def _answer_on(self, connection: UpstreamConnection, method: str) -> Answer:
        """The answer to a request that is about to be sent on `connection`."""
        answer = Answer(connection, method, self)
        self._active[answer] = connection
        if not self._ticking:
            self._ticking = True
            connection.loop.call_later(self._tick_every, self._tick)
        return answer

    def ended(self, answer: Answer, idle_seconds: float) -> None:
        """Keep the connection of `answer` for `idle_seconds`, or close it when that is 0."""
        connection = self._active.pop(answer, None)
        if connection is None:
            return
        connection.release()
        if idle_seconds and self._pool and connection.is_reusable():
            connection.until = connection.loop.time() + idle_seconds
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
            answer.check_timeout(now)
        expired = [connection for connection in self._idle if connection.until < now]
        if expired:
            # The connections that were used last are at the end, and the list itself is shared with them.
            self._idle[:] = [connection for connection in self._idle if connection.until >= now]
            for connection in expired:
                connection.abort()
        self._ticking = bool(self._active or self._idle)
        if self._ticking:
            loop.call_later(self._tick_every, self._tick)

    # ------------------------------------------------------------------------------------------------------ the request

    def _head(self, call: Call) -> bytes:
        """The head of the request. Only its length differs between calls, so the rest is kept ready."""
        key = (call.method, call.path, call.headers)
        head = self._heads.get(key)
        if head is None:
            head = self._build_head(call)
            if len(self._heads) >= _REMEMBERED_HEADS:
                self._heads.clear()
            self._heads[key] = head
        if call.pieces:
            return b"%bcontent-length: %d\r\n\r\n" % (head, call.size)
        if call.body or call.method == "POST":
            return b"%bcontent-length: %d\r\n\r\n" % (head, len(call.body))
        return head + b"\r\n"

    def _build_head(self, call: Call) -> bytes:
        """Build a head. Its values come from config and client: a line end in one would start a second request."""
        if not _HEADER_NAME.fullmatch(call.method) or not _PATH.fullmatch(call.path):
            raise Problem("invalid_request", "The path or method contains a character that HTTP does not allow there.")
        path = call.path
        if path.startswith("/v1/"):
            path = f"{self._api_path}{path.removeprefix('/v1')}"
        if self.address.query:
            path += f"{'&' if '?' in path else '?'}{self.address.query}"
        lines = [f"{call.method} {self._prefix}{path} HTTP/1.1\r\n"]
        names = {name.lower() for name, _ in call.headers}
        if "host" not in names:
            lines.append(f"host: {self.address.authority}\r\n")
        lines.append("accept-encoding: identity\r\n")
        if "user-agent" not in names:
            lines.append(f"user-agent: {_USER_AGENT}\r\n")
        if self._by_proxy and self._proxy is not None:
            lines.append(self._proxy.credential)
        for name, value in call.headers:
            if not _HEADER_NAME.fullmatch(name):
                raise Problem("invalid_request", "The name of a header contains a character that HTTP does not allow.")
            if "\r" in value or "\n" in value or "\0" in value:
                raise Problem("invalid_request", f"The header {name} contains a line end, which HTTP does not allow.")
            if name.lower() not in _FRAMING_HEADERS:
                lines.append(f"{name}: {value}\r\n")
        try:
            return "".join(lines).encode("latin-1")
        except UnicodeEncodeError:
            raise Problem("invalid_request", "A header contains characters that HTTP does not allow.") from None

    # ------------------------------------------------------------------------------------------------------ connections

    def _take_idle(self) -> UpstreamConnection | None:
        """Take the idle connection that was used last, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open() and connection.until > connection.loop.time():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> UpstreamConnection:
        """Open a connection, through the proxy and with TLS where they are configured. Raises Problem."""
        if self._proxy_problem:
            raise Problem("unreachable", f"{self.shown} cannot be reached: {self._proxy_problem}.")
        if self.address.secure and self._context is None:
            self._context = tls_context(self._tls, self._extra_cas)
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
                raise Problem(
                    "unreachable", f"This system does not support {address.shown}. Use an http:// URL."
                ) from None
            return
        if self._pinned:
            await self._connect_pinned(connection)
        else:
            first = proxy or address
            await loop.create_connection(lambda: connection, first.host, first.port)
        if proxy is not None and proxy.secure:
            await connection.start_tls(ssl.create_default_context(), proxy.host)
        if self._context is not None:
            if proxy is not None:
                await self._tunnel(connection, proxy)
            await connection.start_tls(self._context, address.host)

    async def _connect_pinned(self, connection: UpstreamConnection) -> None:
        """Connect to the first pinned address that accepts. Each gets an equal part of the time."""
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
        """Open a tunnel through the proxy (CONNECT, RFC 9110 section 9.3.6)."""
        server = self.address.shown
        head = f"CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n{proxy.credential}\r\n".encode()
        answer = self._answer_on(connection, "CONNECT")
        try:
            await answer.begin(head, b"")
        except StaleConnection as stale:
            message = f"The proxy {proxy.shown} {stale}. Check that it is an HTTP proxy."
            raise Problem("unreachable", message) from None
        # The connection itself goes on: TLS and the request follow on it.
        del self._active[answer]
        connection.release()
        if not 200 <= answer.status < 300:
            raise self._proxy_refusal(answer.status)

    def _proxy_refusal(self, status: int) -> Problem:
        """The Problem when the proxy answered instead of the backend."""
        return Problem(
            "unreachable",
            f"{self.shown}{self._via} cannot be reached: the proxy answered HTTP {status}. "
            + ("It requires a user name and password. " if status == 407 else "")
            + "Check `backends[].proxy`, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
            facts={"status": status},
        )

    def _unreachable(self, error: OSError) -> Problem:
        shown = f"{self.shown}{self._via}"
        if isinstance(error, TimeoutError):
            return Problem(
                "timeout",
                f"{shown} did not accept the connection within {self.timeouts.connect:g} s "
                "(`timeouts.connect`). Check that it is running and that the address is right.",
                facts={"phase": "connect"},
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            message = (
                f"The certificate of {shown} is not trusted: {error.verify_message}. For your own certificate authority "
                "set `backends[].tls.ca`."
            )
        elif isinstance(error, ssl.SSLError):
            reason = error.reason or "no reason given"
            message = f"TLS with {shown} failed: {reason}. Check that it serves https at that port."
        elif isinstance(error, socket.gaierror):
            message = f"The host name of {shown} cannot be resolved. Check `backends[].url` and the network."
        elif self.address.secure and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            message = (
                f"{shown} closed the connection during the TLS handshake. Check that it serves https at that port."
            )
        else:
            reason = os.strerror(error.errno) if error.errno else "none of its addresses accepts a connection"
            message = f"{shown} cannot be reached: {reason}. {self._hint}"
        return Problem("unreachable", message)
