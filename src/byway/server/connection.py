"""One client's connection: uvicorn's, with limits it lacks, and lean where every request passes. No routes, no meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from byway.logs import log_exception
from byway.messages.sse import CR, LF

#: Bytes of a request's line and headers together. Claude Code sends about 1 KB.
HEAD_LIMIT: Final = 64 << 10
#: Seconds that a head may take, from the connection's beginning or the head's first byte.
HEAD_WITHIN: Final = 30
#: Seconds that a body may take: 32 MiB at 1 Mbit/s.
BODY_WITHIN: Final = 300
#: Seconds that a connection may lie idle between two requests.
IDLE_FOR: Final = 75
#: Seconds that are left to read a refusal.
LINGER: Final = 2
_NO_LIMIT: Final = -1
#: Requests that may be sent ahead before the socket is told to wait: a client that leaves is noticed only by reading.
_AHEAD: Final = 16
_CLOSE: Final = (b"connection", b"close")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")
#: What asks for another protocol, which RFC 9110 section 7.8 lets a server ignore.
_UPGRADING: Final = frozenset((b"upgrade", b"http2-settings"))


def tick(connections: Iterable[object]) -> None:
    """To be called each second: ends the connections whose time is up. One timer for all of them and all their limits,
    since a timer set and taken back for every request costs as much as its parsing."""
    for one in list(connections):
        if isinstance(one, Connection):
            one.tick()


class Cycle:
    """One request and its answer, as ASGI has it. The head leaves with the first bytes of the body: one system call, not two."""

    __slots__ = (
        "_chunked", "_connection", "_continued", "_head", "_waiter", "_woken", "body",
        "disconnected", "held", "keep_alive", "more_body", "response_complete", "scope", "started", "task",
    )  # fmt: skip

    def __init__(self, connection: Connection, scope: dict[str, Any], keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.held = 0
        """Bytes in `body`."""
        self.more_body = True
        self.disconnected = self.response_complete = self.started = False
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self.body: list[bytes] = []
        """What has come of the request's body and waits for the app."""
        self._head = b""
        self._chunked = self._woken = self._continued = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def message_event(self) -> Cycle:
        """uvicorn's name for what it sets when something has come, or the client has left."""
        return self

    def set(self) -> None:
        """Something has come, or the client has left: wake `receive`."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """The client has left, or what it sends cannot be understood any more."""
        self.disconnected = True
        self.set()

    async def run(self) -> None:
        """Have the app answer. An answer that it leaves unfinished ends with the connection."""
        connection = self._connection
        try:
            await connection.app(self.scope, self.receive, self)
        except Exception:
            log_exception("Byway failed on a request: please report this")
        finally:
            connection.tasks.discard(self.task)
            self.task = None
            if not self.response_complete:
                if not self.disconnected:
                    connection.transport.close()
            elif connection.cycle is self:
                # What a request leaves behind goes before the next one comes: memory that is used again at once is fast.
                connection.cycle = None

    async def receive(self) -> dict[str, Any]:
        """The ASGI `receive`: what has come of the body, not copied when it came in one piece."""
        if not (self.disconnected or self.response_complete):
            connection = self._connection
            if connection.flow.read_paused:
                connection.flow.resume_reading()
            if not self._woken:
                if not (self._continued or self.started) and self.scope["headers"].get(b"expect") == b"100-continue":
                    connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._continued = True
                self._waiter = connection.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            self._woken = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self.held = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def taken(self) -> bytes | None:
        """The whole body, where all of it came in one piece that nobody has taken; else None, and it is `receive`'s."""
        if self.more_body or self.disconnected or len(self.body) != 1 or self._connection.flow.read_paused:
            return None
        self._woken = False
        self.held = 0
        return self.body.pop()

    def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer, whose headers say its length and nothing of the connection, at once."""
        if not self.disconnected:
            self.started = self.response_complete = True
            if not self.keep_alive:
                headers = [*headers, _CLOSE]
            self._connection.transport.write(_head(status, headers) + body)
            self._end()

    async def __call__(self, message: Any) -> None:
        """The ASGI `send`, for answers that say their length, and for streams."""
        connection = self._connection
        if connection.flow.write_paused and not self.disconnected:
            await connection.flow.drain()
        if self.disconnected:
            return
        if not self.started:
            self._begin(message["status"], message["headers"])
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
            self.response_complete = True
            self._end()

    def _end(self) -> None:
        """The answer is out."""
        if self._waiter is not None:
            self.set()
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if _CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, _CLOSE]
        if status != 204 and b"content-length" not in dict(headers):
            self._chunked = True
            headers = [*headers, _CHUNKED]
        self._head = _head(status, headers)
        self.started = True


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers; raises ValueError for one that would break out of its line."""
    lines = [*map(b": ".join, headers)]
    said = b"".join(lines)
    if LF in said or CR in said:
        raise ValueError("a header of the answer holds a line end")
    return STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits to a head's size and to all waiting, which answers a request that asks for another
    protocol in this one."""

    # Beside uvicorn's attributes these would be more than the interpreter keeps in its quick form.
    __slots__ = ("_in_head", "_left", "_refusal", "_room", "_running", "cycle", "headers", "url")
    headers: dict[bytes, bytes]  # type: ignore[assignment]
    cycle: Cycle | None  # type: ignore[assignment]

    def __init__(self, *given: Any, **named: Any) -> None:
        self.url = b""
        self._left = HEAD_WITHIN
        """Seconds until the connection is ended; negative: for ever."""
        self._room = HEAD_LIMIT
        """Bytes that a head, or trailers, may still have."""
        self._in_head = True
        self._running: Cycle | None = None
        """The request that is being answered; `cycle` is the one that is being received."""
        self._refusal: tuple[int, str] | None = None
        """What to say to what never became a request, once the requests before it have their answers. Nothing more is read."""
        super().__init__(*given, **named)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            self._running.leave()
        self.pipeline.clear()
        super().connection_lost(exc)

    def tick(self) -> None:
        """A second has passed."""
        self._left -= 1
        if self._left == 0 and not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        in_head = self._in_head
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._stay(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                self._refuse(400, "This is not HTTP/1.1 as it should be.")
                return
        if (in_head and self._in_head) or self.headers:
            # In the middle of a head, or of trailers.
            self._room -= len(data)
            if self._room < 0:
                self._refuse(
                    431, f"The request's headers are over {HEAD_LIMIT >> 10} KiB. Send fewer, or shorter ones."
                )

    def _stay(self, rest: bytes) -> bytes:
        """What to parse instead of a request that wishes for another protocol: the same without the wish. Some clients
        (Java's) send one with every first request, and a parser that heard it leaves the body unread."""
        parser = self.parser
        if parser.get_method() == b"CONNECT":
            self._refuse(400, "Byway is no proxy: set it as the base URL of your client, not as its proxy.")
            return b""
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        for name, value in self.headers.items():
            if name == b"connection":
                value = b", ".join([one for one in value.split(b",") if one.strip().lower() not in _UPGRADING])
            if name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", rest])

    def _refuse(self, status: int, message: str) -> None:
        """Read nothing more, and say why after the answers to the requests that came before."""
        self._refusal = (status, message)
        broken = self.cycle
        if broken is not None and broken.more_body and not broken.response_complete:
            # Its body is what went wrong: it will not come.
            broken.leave()
            if broken is not self._running:
                self.pipeline.popleft()
            elif broken.started:
                self.transport.close()
            else:
                self._running = None
        if self._running is None:
            self._say_refusal(status, message)

    def _say_refusal(self, status: int, message: str) -> None:
        """Answer what never became a request, in the official envelope. What still comes is thrown away for a moment: a
        client that is sending would see its connection reset and never read the refusal."""
        if self.transport.is_closing():
            return
        self._left = LINGER
        error = {"type": "invalid_request_error", "message": message}
        body = msgspec.json.encode({"type": "error", "error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.write_eof()

    # ------------------------------------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = {}
        self._in_head = True
        if self._running is None:
            self._left = HEAD_WITHIN

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headers.setdefault(name.lower(), value) is not value:
            # RFC 9110 section 5.3: fields of one name are a list. Two hosts become a name that is none.
            self.headers[name.lower()] += b", " + value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._room = HEAD_LIMIT
        self._left = BODY_WITHIN
        parser = self.parser
        if parser.should_upgrade():
            return
        raw, _, query = self.url.partition(b"?")
        if not raw.startswith(b"/"):
            # A proxy's form: http://host/path.
            raw = urlsplit(raw).path
        path = raw.decode("ascii")
        # What comes now are trailers: they must not stand for a header that the door has looked at.
        headers, self.headers = self.headers, {}
        # What Byway's own app asks for, which is not all that ASGI has here.
        scope: dict[str, Any] = {
            "type": "http",
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "query_string": query,
            "headers": headers,
            "server": self.server,
            "client": self.client,
        }
        cycle = self.cycle = Cycle(self, scope, parser.should_keep_alive())
        if self._running is None:
            self._start(cycle)
        else:
            # Sent ahead: it waits until the one before it has its answer.
            self.pipeline.appendleft((cycle, self.app))  # type: ignore[arg-type]
            if len(self.pipeline) > _AHEAD:
                self.flow.pause_reading()

    def _start(self, cycle: Cycle) -> None:
        self._running = cycle
        cycle.task = task = asyncio.Task(cycle.run(), loop=self.loop, name="request")
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.body.append(body)
            cycle.held += len(body)
            cycle.set()
            if cycle.held > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is not None and not self.parser.should_upgrade() and not cycle.response_complete:
            self._left = _NO_LIMIT
            cycle.more_body = False
            cycle.set()

    # ------------------------------------------------------------------------------------------------- called by the cycle

    def on_response_complete(self) -> None:
        """An answer is out: begin with the next request if it is here, else wait for it."""
        self._running = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop()[0])  # type: ignore[arg-type]
        elif self._refusal is not None:
            self._say_refusal(*self._refusal)
        else:
            self._left = IDLE_FOR
