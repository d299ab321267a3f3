"""Call -> bytes: a lean HTTP/1.1 client with a pool, and the only file that knows one. Its failures become Problems.

No redirects, no cookies, no caching: what a backend says is what the line sees. Why our own: bench/ shows what a chunk
costs with the libraries. TLS, proxies and limits are the standard library's; parsing is llhttp's.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
import urllib.request
import zlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import httptools

from byway import __version__
from byway.backends import Call
from byway.config import Timeouts, Tls
from byway.problems import Problem

_AGENT: Final = f"byway/{__version__}"
_IDLE_FOR: Final = 60.0
_HEAD_LIMIT: Final = 64 << 10
_HEADERS: Final = 200
_REMEMBERED: Final = 64
#: Bytes held for a reader that is slow before the socket is told to wait.
_HIGH: Final = 256 << 10
_DECODED_LIMIT: Final = 64 << 20
_NO_BODY: Final = frozenset((204, 304))


class Place:
    """Where a backend is, parsed once: what is checked is what is connected to."""

    def __init__(self, url: str, name: str = "") -> None:
        parts: SplitResult = urlsplit(url)
        self.unix = unquote(url[5:]) if parts.scheme == "unix" else None
        self.secure = parts.scheme == "https"
        if self.unix is None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise Problem("internal", "A backend's url must begin with http://, https:// or unix:/.")
        if parts.username is not None or parts.password is not None:
            raise Problem("internal", "A backend's url must not hold a user name; give it as `api_key` or a header.")
        self.host = parts.hostname or "localhost"
        self.port = parts.port or (443 if self.secure else 80)
        self.base = "" if self.unix else parts.path.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = self.port == (443 if self.secure else 80)
        self.authority = host if standard or self.unix else f"{host}:{self.port}"
        at = f"unix:{self.unix}" if self.unix else f"{host}:{self.port}"
        self.shown = f"Backend {name!r} at {at}" if name else f"The server at {at}"

    @property
    def loopback(self) -> bool:
        if self.unix or self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Upstream:
    """One backend's connections."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        timeouts: Timeouts,
        tls: Tls | None = None,
        proxy: str | None = None,
        pool: int = 100,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`proxy` None follows HTTP(S)_PROXY and NO_PROXY of `environ`, but never for this machine; "none" uses none."""
        self.place = Place(url, name)
        self.timeouts = timeouts
        self._idle: list[_Connection] = []
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        self._active: set[Answer] = set()
        self._ticking = False
        # How exact the limits are kept: one timer a backend looks at all its answers.
        self._tick_every = min(0.5, timeouts.first_byte / 4, timeouts.between_chunks / 4)
        self._most = pool
        self._closed = False
        self._tls = _context(tls or Tls()) if self.place.secure else None
        proxy = _proxy(self.place, environ) if proxy is None else proxy
        self._proxy = None if proxy in (None, "", "none") else urlsplit(str(proxy))
        # Without a tunnel a proxy is asked for the whole address.
        absolute = self._proxy is not None and not self.place.secure and not self.place.unix
        self._prefix = f"http://{self.place.authority}{self.place.base}" if absolute else self.place.base
        self._common = f"host: {self.place.authority}\r\naccept-encoding: identity\r\n"
        if absolute and self._proxy is not None:
            self._common += _proxy_auth(self._proxy)

    async def open(self, call: Call) -> Answer:
        """Send `call` and wait for status and headers. Raises Problem `unreachable`, `timeout` or `broken`."""
        data = self._bytes(call)
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable or connection.until < asyncio.get_running_loop().time():
                connection.abort()
                continue
            answer = Answer(self, connection, call.method)
            try:
                await answer.begin(data)
            except _Stale:
                # The server closed it just as we began; nothing was received, so nothing was done twice.
                continue
            return answer
        connection = await self._connect()
        answer = Answer(self, connection, call.method)
        try:
            await answer.begin(data)
        except _Stale:
            raise Problem(
                "unreachable",
                f"{self.place.shown} closed the connection without an answer. Look in its log.",
            ) from None
        return answer

    def begun(self, answer: Answer) -> None:
        """Watch the limits of `answer`."""
        self._active.add(answer)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._tick_every, self._tick)

    def ended(self, answer: Answer) -> None:
        self._active.discard(answer)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for answer in list(self._active):
            answer.look(now)
        while self._idle and self._idle[0].until < now:
            self._idle.pop(0).abort()
        self._ticking = bool(self._active or self._idle)
        if self._ticking:
            loop.call_later(self._tick_every, self._tick)

    async def close(self) -> None:
        """Close what is idle; answers that run keep their connection until they end."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _bytes(self, call: Call) -> bytes:
        """The request on the wire."""
        key = (call.method, call.path, call.headers)
        head = self._heads.get(key)
        if head is None:
            head = self._head(call)
            if len(self._heads) < _REMEMBERED:
                self._heads[key] = head
        if call.body or call.method == "POST":
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(call.body), call.body)
        return head + b"\r\n"

    def _head(self, call: Call) -> bytes:
        """The head but for its length. Values come from config and client: a line end in one would be a second request."""
        headers = dict(call.headers)
        if not any(name.lower() == "user-agent" for name in headers):
            headers["user-agent"] = _AGENT
        parts = [call.method, call.path, *headers, *headers.values()]
        if any(mark in part for part in parts for mark in "\r\n\0"):
            raise Problem("invalid_request", "A header or path holds a line end, which HTTP cannot carry.")
        lines = [f"{call.method} {self._prefix}{call.path} HTTP/1.1\r\n{self._common}"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        try:
            return "".join(lines).encode("latin-1")
        except UnicodeEncodeError:
            raise Problem("invalid_request", "A header holds characters that HTTP cannot carry.") from None

    # -------------------------------------------------------------------------------------------------------- connections

    async def _connect(self) -> _Connection:
        place = self.place
        try:
            async with asyncio.timeout(self.timeouts.connect):
                return await self._dial()
        except TimeoutError:
            raise Problem(
                "timeout",
                f"{place.shown} did not take the connection within {self.timeouts.connect:g} s "
                "(`timeouts.connect`). Is it running, and is the address right?",
                facts={"phase": "connect"},
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise Problem(
                "unreachable",
                f"{place.shown} has a certificate that is not trusted: {error.verify_message}. If it comes from your own "
                "authority, name that in `tls.ca` of the backend.",
            ) from None
        except ssl.SSLError as error:
            raise Problem(
                "unreachable",
                f"{place.shown} does not do TLS as it should: {error.reason or error}. Does it speak https there?",
            ) from None
        except OSError as error:
            raise Problem(
                "unreachable",
                f"{place.shown} does not answer: {error.strerror or error}. Start the model server, or correct the "
                "backend's `url`.",
            ) from None

    async def _dial(self) -> _Connection:
        loop = asyncio.get_running_loop()
        place, proxy = self.place, self._proxy
        if place.unix:
            _, made = await loop.create_unix_connection(_Connection, place.unix)
            return made
        if proxy is None:
            _, made = await loop.create_connection(
                _Connection, place.host, place.port, ssl=self._tls, server_hostname=place.host if self._tls else None
            )
            return made
        via_tls = ssl.create_default_context() if proxy.scheme == "https" else None
        port = proxy.port or (443 if via_tls else 80)
        if self._tls is None:
            _, made = await loop.create_connection(_Connection, proxy.hostname or "", port, ssl=via_tls)
            return made
        return await self._tunnel(proxy, port, via_tls)

    async def _tunnel(self, proxy: SplitResult, port: int, via_tls: ssl.SSLContext | None) -> _Connection:
        """A TLS connection through an HTTP proxy (CONNECT)."""
        loop = asyncio.get_running_loop()
        host = f"[{self.place.host}]" if ":" in self.place.host else self.place.host
        transport, door = await loop.create_connection(_Door, proxy.hostname or "", port, ssl=via_tls)
        try:
            aim = f"{host}:{self.place.port}"
            transport.write(f"CONNECT {aim} HTTP/1.1\r\nhost: {aim}\r\n{_proxy_auth(proxy)}\r\n".encode())
            status = await door.opened
            if status != 200:
                raise Problem(
                    "unreachable",
                    f"The proxy at {proxy.hostname}:{port} refuses the way to {aim} (HTTP {status}). Check `proxy` of the "
                    "backend, or HTTPS_PROXY and NO_PROXY.",
                )
            made = _Connection()
            assert self._tls is not None
            inner = await loop.start_tls(transport, made, self._tls, server_hostname=self.place.host)
            if inner is None:
                raise OSError("the proxy closed the connection")
            made.connection_made(inner)
            return made
        except BaseException:
            transport.abort()
            raise

    def give_back(self, connection: _Connection, idle_for: float) -> None:
        """Keep a connection whose answer was read to its end."""
        if self._closed or len(self._idle) >= self._most or not connection.usable:
            connection.abort()
            return
        connection.until = asyncio.get_running_loop().time() + min(idle_for, _IDLE_FOR)
        self._idle.append(connection)


class _Stale(Exception):
    """The connection died before a byte of the answer had come."""


class _Door(asyncio.Protocol):
    """Waits for a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _HEAD_LIMIT:
            words = self._head.split(b" ", 2)
            known = len(words) > 1 and words[1].isdigit() and len(words[1]) == 3
            if not self.opened.done():
                self.opened.set_result(int(words[1]) if known else 502)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(OSError("the proxy closed the connection"))


class _Connection(asyncio.Protocol):
    """One socket, its parser, and the answer that it carries now."""

    def __init__(self) -> None:
        self.until = 0.0
        """When it has lain idle long enough, by the loop's clock."""
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._parser: Any = httptools.HttpResponseParser(self)

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, answer: Answer, data: bytes) -> None:
        assert self._transport is not None
        self._answer = answer
        self._transport.write(data)

    def done(self) -> None:
        """The answer is over; what comes now was not asked for."""
        self._answer = None

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Nobody asked: the server speaks out of turn, so nothing on this connection can be trusted.
            self.abort()
            return
        answer.touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            answer.fail("switched protocols")
        except httptools.HttpParserError as error:
            answer.fail(f"sent what is not HTTP: {error}"[:200])
        else:
            answer.arrived(len(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost()

    def abort(self) -> None:
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ---------------------------------------------------------------------------------------------- called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None:
            self._answer.header(name, value)

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.head(self._parser.get_status_code(), self._parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.piece(data)

    def on_message_complete(self) -> None:
        if self._answer is not None:
            self._answer.over()


class Answer:
    """What a backend answers: status and headers, then its bytes as they come."""

    __slots__ = (
        "_chunked", "_chunks", "_closed", "_complete", "_connection", "_ended", "_failure", "_head_size", "_headed", "_held",
        "_inflate", "_keep_alive", "_last", "_late", "_lengths", "_loop", "_method", "_paused", "_upstream", "_waiter",
        "headers", "status", "touched",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, connection: _Connection, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.touched = False
        """Bytes of it have come since the last look."""
        self._upstream = upstream
        self._connection = connection
        self._method = method
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._held = 0
        self._paused = False
        self._headed = False
        self._complete = False
        self._ended = False
        self._closed = False
        self._keep_alive = False
        self._head_size = 0
        self._lengths: list[str] = []
        self._chunked = False
        self._failure: str | None = None
        self._inflate: zlib._Decompress | None = None
        self._late = False
        self._last = self._loop.time()

    # ---------------------------------------------------------------------------------------------------------- the line

    async def begin(self, data: bytes) -> None:
        """Send the request and wait for the head. Raises _Stale when the connection died before a byte of it."""
        self._connection.ask(self, data)
        self._upstream.begun(self)
        try:
            while not self._headed:
                self._check()
                if self._ended:
                    if self._head_size:
                        raise self._broken("closed the connection in the middle of its headers")
                    raise _Stale
                await self._wait()
            self._check_head()
        except BaseException:
            self.close()
            raise

    async def read(self) -> bytes:
        """All bytes that are here now, at least one; b"" at the end. Raises Problem when the answer is cut or stalls."""
        while True:
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._held = 0
                if self._paused:
                    self._paused = False
                    self._connection.resume()
                if self._inflate is not None:
                    data = self._decoded(data)
                    if not data:
                        continue
                return data
            if self._complete:
                return b""
            self._check()
            if self._ended:
                if self._chunked or self._lengths:
                    raise self._broken("closed the connection in the middle of its answer")
                return b""
            await self._wait()

    async def body(self, limit: int = _DECODED_LIMIT) -> bytes:
        """The whole rest, at most `limit` bytes."""
        parts = []
        size = 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise self._broken(f"sent more than {limit} bytes where a short answer was expected")
        return b"".join(parts)

    def close(self) -> None:
        """Done with it: the connection is kept when the answer came to its end, else closed at once."""
        if self._closed:
            return
        self._closed = True
        self._upstream.ended(self)
        self._chunks.clear()
        if self._complete and self._failure is None and self._keep_alive and not self._paused:
            self._connection.done()
            self._upstream.give_back(self._connection, _keep_for(self.headers.get("keep-alive")))
        else:
            self._connection.abort()

    # ------------------------------------------------------------------------------------------------------------ waiting

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def look(self, now: float) -> None:
        """Has it been silent for too long? A reader that is slow itself does not make the backend late."""
        if self.touched or self._paused or self._chunks:
            self.touched = False
            self._last = now
        timeouts = self._upstream.timeouts
        if now - self._last > (timeouts.between_chunks if self._headed else timeouts.first_byte):
            self._late = True
            self._wake()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._broken(self._failure)
        if self._late:
            name = "between_chunks" if self._headed else "first_byte"
            seconds = getattr(self._upstream.timeouts, name)
            what = "went silent in the middle of its answer" if self._headed else "has not begun to answer"
            raise Problem(
                "timeout",
                f"{self._upstream.place.shown} {what} for {seconds:g} s (`timeouts.{name}`). Is the model too "
                "large for its machine, or was it unloaded?",
                facts={"phase": name},
            )

    def _broken(self, what: str) -> Problem:
        return Problem("broken", f"{self._upstream.place.shown} {what}.")

    # ------------------------------------------------------------------------------------------ called by the connection

    def arrived(self, size: int) -> None:
        if self._headed:
            if self._held > _HIGH and not self._paused and not self._complete:
                self._paused = True
                self._connection.pause()
            self._wake()
        else:
            self._head_size += size
            if self._head_size > _HEAD_LIMIT:
                self.fail("sent headers without end")

    def fail(self, what: str) -> None:
        if self._complete:
            # Bytes after the end of the answer: the answer is good, the connection is not.
            self._keep_alive = False
        else:
            self._failure = what
        self._wake()

    def lost(self) -> None:
        self._ended = True
        self._wake()

    def header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        if key == "content-length":
            self._lengths.append(text)
        elif key == "transfer-encoding":
            self._chunked = True
        if len(self.headers) >= _HEADERS:
            self._failure = "sent headers without end"
        self.headers[key] = text

    def head(self, status: int, keep_alive: bool) -> None:
        if 100 <= status < 200:
            self.headers.clear()
            self._lengths.clear()
            self._chunked = False
        else:
            self.status = status
            self._keep_alive = keep_alive
            self._headed = True

    def piece(self, data: bytes) -> None:
        self._chunks.append(data)
        self._held += len(data)

    def over(self) -> None:
        self._complete = self._headed

    def _check_head(self) -> None:
        self._check()
        if len(set(self._lengths)) > 1 or (self._chunked and self._lengths):
            raise self._broken("says the length of its answer twice, and not the same")
        if self._method == "HEAD" or self.status in _NO_BODY:
            self._complete = True
        coding = self.headers.get("content-encoding", "identity").lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif coding not in ("identity", ""):
            raise self._broken(f"packs its answer with {coding[:40]!r}, although it was asked not to")

    def _decoded(self, data: bytes) -> bytes:
        assert self._inflate is not None
        try:
            plain = self._inflate.decompress(data, _DECODED_LIMIT)
        except zlib.error:
            raise self._broken("sent a packed answer that cannot be unpacked") from None
        if self._inflate.unconsumed_tail:
            raise self._broken("sent an answer that unpacks without end")
        return plain


def _keep_for(value: str | None) -> float:
    """Seconds from `Keep-Alive: timeout=5, max=100`, less one, so that the server is never the first to let go."""
    if value is None:
        return _IDLE_FOR
    for part in value.split(","):
        name, _, number = part.strip().partition("=")
        if name.lower() == "timeout" and number.isascii() and number.isdigit():
            return max(0.1, int(number[:6]) - 1)
    return _IDLE_FOR


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(place: Place, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for `place`; this machine is never reached by one."""
    if place.loopback:
        return None
    plain = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
    if urllib.request.proxy_bypass_environment(f"{place.host}:{place.port}", {"no": plain.get("no_proxy", "")}):  # type: ignore[attr-defined]
        return None
    return plain.get("https_proxy" if place.secure else "http_proxy") or plain.get("all_proxy")


def _proxy_auth(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
