"""HTTP/1.1 for clients: HttpServer holds the connections, Connection parses one, HttpExchange is one request and its response."""

# How it works.
#
# connection   Bytes go through the parser (httptools); its callbacks build the request. The application starts as soon as the
#              head is complete and reads the body itself. Pipelined requests wait and are answered in order.
# contract     The application is called as app(scope, receive, send), as in ASGI, with two differences that save work on
#              every request: `scope["headers"]` is a dict, and `send` is an HttpExchange, which also is a `Responder`
#              (routes/context.py): it hands over a whole body, and takes a whole response, in one call without a message.
#              Both ways to start a response take `lines`, headers that are formatted already.
# disconnect   A client that disconnects makes `receive` return `http.disconnect`; reading never stops while a response is
#              in progress, except for flow control. pipeline/watch.py turns that into a cancelled exchange.
# commit       The head of a response leaves with the first bytes of its body: one system call, and until then the status can
#              still change. When a stream commits, and when it pings, is decided in routes/messages.py.
# time         One timer per server ticks every second and counts down every connection's `_left`; a timer per request would
#              cost as much as parsing it. A client that does not read its response is cut when nothing has left its
#              buffer for STALL_SECONDS.

from __future__ import annotations

import asyncio
import http
import os
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httptools
import msgspec

from byway.logs import log, log_exception
from byway.routes.context import Responder

#: Bytes of a request's line and headers together. Claude Code sends about 1 KB.
HEAD_LIMIT: Final = 64 << 10
#: Bytes of a request's URL.
URL_LIMIT: Final = 8 << 10
#: Header fields of a request, repeated ones included.
FIELD_LIMIT: Final = 256
#: Seconds for a whole head, from the start of the connection or the first byte of the head.
HEAD_SECONDS: Final = 10
#: Seconds for the next BODY_STEP bytes of a body, or its end: 2 KiB/s at least.
BODY_SECONDS: Final = 30
BODY_STEP: Final = 64 << 10
#: Seconds that a connection may be idle between two requests.
IDLE_SECONDS: Final = 75
#: Seconds to read a refusal before the connection closes.
LINGER_SECONDS: Final = 2
#: Seconds without progress after which a client that does not read its response is disconnected.
STALL_SECONDS: Final = 120
#: Bytes of a request's body that wait for the application before the socket is paused.
READ_AHEAD: Final = 64 << 10
#: Bytes of a response in Byway's buffer before the application waits. The kernel's send buffer comes on top
#: (platform.SEND_BUFFER): together below 1 MiB for a client that does not read.
WRITE_AHEAD: Final = 256 << 10
_NO_LIMIT: Final = -1
#: Pipelined requests before the socket is paused: a disconnection is noticed only by reading.
_PIPELINED: Final = 16
#: Seconds between two log lines about the limit of connections.
_LOG_EVERY: Final = 60.0
_CLOSE: Final = (b"connection", b"close")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")
#: The fields that ask for another protocol; RFC 9110 section 7.8 lets a server ignore them.
_UPGRADE_FIELDS: Final = frozenset((b"upgrade", b"http2-settings"))
#: Decoding takes longer than a lookup.
_METHODS: Final = {method.encode(): str(method) for method in http.HTTPMethod}
_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus} | {529: "Overloaded"}
STATUS_LINE: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(100, 600)
}

Application = Callable[[dict[str, Any], Callable[[], Awaitable[dict[str, Any]]], "HttpExchange"], Awaitable[None]]


class HttpServer:
    """The connections of all listeners, the tasks that answer them, and their clock."""

    def __init__(self, app: Application, max_connections: int = 1000) -> None:
        """Connections beyond `max_connections` get a 503: the process must not run out of file descriptors."""
        self.app = app
        self.max_connections = max_connections
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._rejected = 0
        self._logged = -_LOG_EVERY

    def connection(self) -> Connection:
        """A new connection: the protocol factory of a listener."""
        return Connection(self)

    async def run_clock(self) -> None:
        """Tick every second until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.tick()

    def tick(self) -> None:
        """Count down the time of every connection by a second."""
        for connection in list(self.connections):
            connection.tick()

    def rejected(self) -> None:
        """Count a connection over the limit; log the count once a minute."""
        self._rejected += 1
        now = self.loop.time()
        if now - self._logged >= _LOG_EVERY:
            log(
                "Too many connections: new ones get a 503. Close idle clients or raise the limit of open files",
                30,
                limit=self.max_connections,
                rejected=self._rejected,
            )
            self._logged, self._rejected = now, 0

    @property
    def busy(self) -> bool:
        """Is any connection open, or any response in progress?"""
        return bool(self.connections or self.tasks)

    def shut_down(self) -> None:
        """Close idle connections, and each other one after its response."""
        for connection in list(self.connections):
            connection.shut_down()

    def abort(self) -> None:
        """Close every connection at once."""
        for connection in list(self.connections):
            connection.transport.abort()


class HttpExchange(Responder):
    """One request and its response: the ASGI `receive`, and as a callable the ASGI `send`."""

    # Defaults of the class: few requests read them before they are set.
    more_body = True
    task: asyncio.Task[None] | None = None
    _head = b""
    _chunked = False
    signalled = False
    """`signal` was called since `receive` has returned."""
    _continued = False

    def __init__(self, connection: Connection, scope: dict[str, Any], keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.disconnected = self.complete = self.started = False
        self._waiter: asyncio.Future[None] | None = None
        self._connection = connection
        self.body: list[bytes] = []
        """The parts of the request's body that wait for the application."""
        self.size = 0
        """Bytes in `body`."""

    def signal(self) -> None:
        """Wake `receive`: a part of the body has arrived, or the client has disconnected."""
        self.signalled = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def disconnect(self) -> None:
        """The client has disconnected, or its bytes cannot be parsed any more."""
        self.disconnected = True
        self.signal()

    async def run(self) -> None:
        """Call the application. A response that it leaves incomplete ends with the connection."""
        connection = self._connection
        try:
            await connection.server.app(self.scope, self.receive, self)
        except Exception:
            log_exception("Internal error on a request. Please report this bug.")
        finally:
            connection.server.tasks.discard(self.task)
            self.task = None
            if not self.complete:
                if not self.disconnected:
                    connection.transport.close()
            elif connection.exchange is self:
                # Free the request's memory before the next one arrives: memory that is reused at once is fast.
                connection.exchange = None

    async def receive(self) -> dict[str, Any]:
        """The ASGI `receive`: the body as far as it has arrived, not copied when it came in one piece."""
        if not (self.disconnected or self.complete):
            connection = self._connection
            connection.resume_reading()
            if not self.signalled:
                if not (self._continued or self.started) and self.scope["headers"].get(b"expect") == b"100-continue":
                    connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._continued = True
                self._waiter = connection.server.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            self.signalled = False
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self.size = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def whole_body(self) -> bytes | None:
        """The whole body when it arrived in one piece and nothing has read it; else None, and `receive` returns it."""
        if self.more_body or self.disconnected or len(self.body) != 1 or self._connection.read_paused:
            return None
        self.signalled = False
        self.size = 0
        return self.body.pop()

    def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, lines: bytes) -> None:
        """Send a whole response at once. `headers` hold its length and nothing about the connection, `lines` are further
        headers, each with its line end."""
        if not self.disconnected:
            self.started = self.complete = True
            if not self.keep_alive:
                headers = [*headers, _CLOSE]
            self._connection.transport.write(_head(status, headers, lines) + body)
            self._end()

    async def __call__(self, message: Any) -> None:
        """The ASGI `send`, for responses of known length and for streams."""
        connection = self._connection
        if connection.write_paused and not self.disconnected:
            await connection.drain()
        if self.disconnected:
            return
        if not self.started:
            self._start(message["status"], message["headers"], message.get("lines", b""))
            return
        body, more = message["body"], message.get("more_body", False)
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = framed if more else framed + b"0\r\n\r\n"
        if self._head:
            body, self._head = self._head + body, b""
        if body:
            connection.transport.write(body)
        if not more:
            self.complete = True
            self._end()

    def _end(self) -> None:
        if self._waiter is not None:
            self.signal()
        if not self.keep_alive:
            self._connection.end(self)
        self._connection.response_complete()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]], lines: bytes) -> None:
        if _CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, _CLOSE]
        if status not in (204, 304) and b"content-length" not in dict(headers):
            self._chunked = True
            headers = [*headers, _CHUNKED]
        self._head = _head(status, headers, lines)
        self.started = True


def _head(status: int, headers: list[tuple[bytes, bytes]], more: bytes) -> bytes:
    """Status line and headers, with lines of `more`; raises ValueError for a header that contains a line end."""
    lines = [*map(b": ".join, headers)]
    text = b"".join(lines)
    # Numbers: looking for one byte as `bytes` costs thirty times as much.
    if 10 in text or 13 in text:
        raise ValueError("a response header contains a line end")
    return b"%b%b\r\n%b\r\n" % (STATUS_LINE[status], b"\r\n".join(lines), more)


class _RejectedRequest(Exception):
    """The head that is being parsed is rejected: status and message."""


class Connection(asyncio.Protocol):
    """One client's connection, with limits on sizes and waiting. An upgrade to another protocol is ignored."""

    __slots__ = (
        "_fields", "_in_head", "_large_read", "_left", "_lingers", "_pipeline", "_refusal", "_rejection", "_room", "_running",
        "_stalled", "_step", "_unsent", "_writable", "client", "exchange", "headers", "parser", "read_paused",
        "server", "sockname", "transport", "url", "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.parser: Any = httptools.HttpRequestParser(self)
        # A client may send the next request although this response closes the connection: that is no error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.sockname: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.exchange: HttpExchange | None = None
        """The request that is being received."""
        self._running: HttpExchange | None = None
        """The request that is being answered."""
        self._pipeline: deque[HttpExchange] = deque()
        """Requests that wait for the response before theirs, oldest first."""
        self.read_paused = self.write_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._left = HEAD_SECONDS
        """Seconds until the connection is closed; negative: no limit."""
        self._room = HEAD_LIMIT
        """Bytes that a head, or trailers, may still have."""
        self._step = 0
        """Bytes of the body since its time was last extended."""
        self._in_head = True
        self._large_read = self._lingers = False
        self._fields = 0
        self._unsent = self._stalled = 0
        self._rejection: tuple[int, str] | None = None
        self._refusal: tuple[int, str] | None = None
        """What to answer to bytes that are no request, after the responses to the requests before. Nothing more is read."""

    # ---------------------------------------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self.sockname, self.client = _addresses(self.transport)
        server = self.server
        if len(server.connections) >= server.max_connections:
            server.rejected()
            self._refusal = (503, "Byway has too many open connections. Send the request again in a moment.")
            self._send_refusal(*self._refusal)
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        for exchange in (self._running, self.exchange):
            if exchange is not None:
                exchange.disconnect()
        self._pipeline.clear()
        self.resume_writing()
        self.parser = None

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    async def drain(self) -> None:
        """Wait until the client has read enough of its response."""
        while self.write_paused:
            if self._writable is None:
                self._writable = self.server.loop.create_future()
            await asyncio.shield(self._writable)

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def tick(self) -> None:
        """Count a second: close the connection when its time is up, abort it when its client does not read."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent >= self._unsent > 0:
            self._stalled += 1
            if self._stalled >= STALL_SECONDS:
                self.transport.abort()
                return
        else:
            self._stalled = 0
        self._unsent = unsent
        if self._left > 0 and not self.read_paused:
            self._left -= 1
            if self._left == 0 and not self.transport.is_closing():
                self.transport.close()

    def shut_down(self) -> None:
        """Close the connection now when it is idle, else after its response."""
        if self._running is None:
            self.transport.close()
        else:
            (self._pipeline[-1] if self._pipeline else self._running).keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None or self._lingers:
            return
        in_head = self._in_head
        self._large_read = len(data) > HEAD_LIMIT
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                self._refuse(*(self._rejection or (400, "The request is not valid HTTP/1.1.")))
                return
        if (in_head and self._in_head) or self.headers:
            # In the middle of a head, or of trailers.
            self._room -= len(data)
            if self._room < 0:
                self._refuse(431, _HEAD_TOO_LARGE)

    def _without_upgrade(self, rest: bytes) -> bytes:
        """What to parse in place of a request that asks for another protocol: the same request without the upgrade. Some
        clients (Java's) ask with every first request, and a parser that has seen it leaves the body unread."""
        parser = self.parser
        if parser.get_method() == b"CONNECT":
            self._refuse(400, "Byway is not a proxy. Set it as the base URL of your client, not as its proxy.")
            return b""
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        for name, value in self.headers.items():
            if name == b"connection":
                options = value.split(b",")
                value = b", ".join([option for option in options if option.strip().lower() not in _UPGRADE_FIELDS])
            if name not in _UPGRADE_FIELDS:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", rest])

    def _refuse(self, status: int, message: str) -> None:
        """Stop reading, and answer with the error after the responses to earlier requests."""
        self._refusal = (status, message)
        broken = self.exchange
        if broken is not None and broken.more_body and not broken.complete:
            # Its body is what cannot be parsed: the rest of it will not arrive.
            broken.disconnect()
            if broken is not self._running:
                self._pipeline.pop()
            elif broken.started:
                self.transport.close()
            else:
                self._running = None
        if self._running is None:
            self._send_refusal(status, message)

    def _send_refusal(self, status: int, message: str) -> None:
        """Answer bytes that are no request, in the envelope of the Messages API. What still arrives is discarded for a
        moment: a client that is still sending would see a reset and never read the error."""
        if self.transport.is_closing():
            return
        request_id = "req_" + os.urandom(12).hex()
        kind = "overloaded_error" if status == 503 else "invalid_request_error"
        error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
        body = msgspec.json.encode(error)
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nrequest-id: {request_id}\r\n"
            f"{'retry-after: 1' + chr(13) + chr(10) if status == 503 else ''}connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self._linger()

    def _linger(self) -> None:
        """Read on for a moment, and send nothing more."""
        self._left = LINGER_SECONDS
        self.resume_reading()
        if self.transport.can_write_eof():
            # TLS cannot close one direction only.
            self.transport.write_eof()

    def end(self, exchange: HttpExchange) -> None:
        """Close the connection after its last response. The rest of a body that is still arriving is discarded for a moment."""
        if exchange.more_body and self.transport.can_write_eof():
            self._lingers = True
            self._linger()
        else:
            self.transport.close()

    # ------------------------------------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = {}
        self._fields = 0
        self._in_head = True
        if self._running is None:
            self._left = HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > URL_LIMIT:
            self._reject(414, f"The request's URL is longer than {URL_LIMIT >> 10} KiB.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headers.setdefault(name.lower(), value) is not value:
            # RFC 9110 section 5.3: fields of one name are a list. Two Host fields become a name that is not accepted.
            self.headers[name.lower()] += b", " + value
            self._fields += 1
            if self._fields > FIELD_LIMIT:
                self._reject(431, _TOO_MANY_FIELDS)

    def on_headers_complete(self) -> None:
        parser, headers = self.parser, self.headers
        if len(headers) > FIELD_LIMIT:
            self._reject(431, _TOO_MANY_FIELDS)
        if (self._large_read or self._room < HEAD_LIMIT) and _size(self.url, headers) > HEAD_LIMIT:
            # A smaller read cannot hold a head over the limit, so nothing is added up for it.
            self._reject(431, _HEAD_TOO_LARGE)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            self._reject(501, "Unsupported Transfer-Encoding. Send the body plain or `chunked`.")
        self._in_head = False
        self._room = HEAD_LIMIT
        self._left, self._step = BODY_SECONDS, 0
        if parser.should_upgrade():
            return
        raw, _, query = self.url.partition(b"?")
        method = parser.get_method()
        # Fields that come after the body are trailers: they must not replace a header that was checked.
        self.headers = {}
        scope: dict[str, Any] = {
            "type": "http",
            "method": _METHODS.get(method) or method.decode("ascii"),
            "path": _decoded_path(raw),
            "query_string": query,
            "headers": headers,
            "server": self.sockname,
            "client": self.client,
        }
        exchange = self.exchange = HttpExchange(self, scope, parser.should_keep_alive())
        if self._running is None:
            self._run(exchange)
        else:
            self._pipeline.append(exchange)
            if len(self._pipeline) > _PIPELINED:
                self._pause_reading()

    def _reject(self, status: int, message: str) -> None:
        """Stop the parser: the request it is in gets this error."""
        self._rejection = (status, message)
        raise _RejectedRequest(status)

    def _run(self, exchange: HttpExchange) -> None:
        self._running = exchange
        exchange.task = task = asyncio.Task(exchange.run(), loop=self.server.loop, name="request")
        self.server.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        exchange = self.exchange
        if exchange is not None and not exchange.complete:
            size = len(body)
            exchange.body.append(body)
            exchange.size += size
            exchange.signal()
            self._step += size
            if self._step >= BODY_STEP:
                self._step, self._left = 0, BODY_SECONDS
            if exchange.size > READ_AHEAD:
                self._pause_reading()

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is not None and not self.parser.should_upgrade() and not exchange.complete:
            self._left = _NO_LIMIT
            exchange.more_body = False
            if not exchange.signalled:
                exchange.signal()

    # ---------------------------------------------------------------------------------------------- called by the exchange

    def response_complete(self) -> None:
        """Start the next pipelined request, or wait for one."""
        self._running = None
        if self._lingers or self.transport.is_closing():
            return
        if self.read_paused:
            self.resume_reading()
        if self._pipeline:
            self._run(self._pipeline.popleft())
        elif self._refusal is not None:
            self._send_refusal(*self._refusal)
        else:
            self._left = IDLE_SECONDS


@lru_cache(64)
def _decoded_path(raw: bytes) -> str:
    """The path of a URL without its query, decoded. Cached: clients repeat a few paths."""
    if not raw.startswith(b"/"):
        # The form that proxies get: http://host/path.
        raw = urlsplit(raw).path
    return unquote(raw.decode("ascii"))


_HEAD_TOO_LARGE: Final = f"The request's headers are over {HEAD_LIMIT >> 10} KiB. Send fewer, or shorter ones."
_TOO_MANY_FIELDS: Final = f"The request has over {FIELD_LIMIT} header fields. Send fewer."


def _size(url: bytes, headers: dict[bytes, bytes]) -> int:
    return len(url) + sum(map(len, headers)) + sum(map(len, headers.values()))


def _addresses(transport: asyncio.Transport) -> tuple[tuple[str, int | None] | None, tuple[str, int] | None]:
    """The listener's address (a unix socket's is its path and None) and the client's."""
    sockname, peername = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if isinstance(sockname, (str, bytes)):
        return (sockname if isinstance(sockname, str) else os.fsdecode(sockname), None), None
    server = (str(sockname[0]), int(sockname[1])) if sockname else None
    return server, (str(peername[0]), int(peername[1])) if isinstance(peername, tuple) and peername else None
