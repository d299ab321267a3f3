"""One client's connection: uvicorn's, with limits it lacks, and lean where every request passes. No routes, no meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

#: Bytes of a request's line and headers together. Claude Code sends about 1 KB.
HEAD_LIMIT: Final = 64 << 10
#: Seconds that a head may take, from the connection's beginning or the head's first byte.
HEAD_WITHIN: Final = 30.0
_LINGER: Final = 1.0
_SPOKEN: Final = {"asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "root_path": ""}
#: What asks for another protocol, which RFC 9110 section 7.8 lets a server ignore.
_UPGRADING: Final = frozenset((b"upgrade", b"connection", b"http2-settings"))


class Later:
    """A call that may come; see Clock."""

    __slots__ = ("_among", "call", "when")

    def __init__(self, when: float, call: Callable[[], object], among: set[Later]) -> None:
        self.when = when
        self.call = call
        self._among = among

    def cancel(self) -> None:
        self._among.discard(self)


class Clock:
    """The loop as a connection needs it. The limits of all connections share one timer, exact to a second: a timer set
    and taken back for every request costs as much as its parsing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.create_task = loop.create_task
        self._loop = loop
        self._waiting: set[Later] = set()
        self._ticking = False

    def call_later(self, delay: float, call: Callable[[], object]) -> Later:
        later = Later(self._loop.time() + delay, call, self._waiting)
        self._waiting.add(later)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(1.0, self._tick)
        return later

    def _tick(self) -> None:
        now = self._loop.time()
        for later in [one for one in self._waiting if one.when <= now]:
            self._waiting.discard(later)
            later.call()
        self._ticking = bool(self._waiting)
        if self._ticking:
            self._loop.call_later(1.0, self._tick)


class Cycle(RequestResponseCycle):
    """One request and its answer. The head leaves with the first bytes of the body: one system call, not two."""

    _head = b""
    held = 0

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.pieces: list[bytes] = []

    async def receive(self) -> Any:
        """The ASGI `receive`: what has come of the body, not copied when it came in one piece."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        self.held = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Any) -> None:
        """The ASGI `send`, for answers that say their length, and for streams."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._head = self._lines(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
            return
        body, more = message["body"], message.get("more_body", False)
        if self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = framed if more else framed + b"0\r\n\r\n"
        if self._head:
            body, self._head = self._head + body, b""
        if body:
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _lines(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Status line and headers; raises ValueError for one that would break out of its line."""
        lines = [STATUS_LINE[status]]
        sized = status == 204
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                sized = True
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if not sized:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive and (b"connection", b"close") not in headers:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise ValueError("a header of the answer holds a line end")
        return head


class Connection(HttpToolsProtocol):
    """uvicorn's connection with a limit to a head's size and time, which answers a request that asks for another protocol
    in this one."""

    url: bytes
    cycle: Cycle | None  # type: ignore[assignment]
    _room = HEAD_LIMIT
    _late: Later | None = None
    _in_head = True
    _deaf = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_WITHIN, self._too_late)  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "This is not HTTP/1.1 as it should be.")
        else:
            if self._in_head:
                self._room -= len(data)
                if self._room < 0:
                    self._refuse(
                        431, f"The request's headers are over {HEAD_LIMIT >> 10} KiB. Send fewer, or shorter ones."
                    )
                    return
            if self._late is None and (self.cycle is None or self.cycle.response_complete):
                self._late = self.loop.call_later(HEAD_WITHIN, self._too_late)  # type: ignore[assignment]

    def _stay(self, rest: bytes) -> None:
        """Parse the request again without its wish for another protocol: some clients (Java's) send one with every first
        request, and a parser that heard it leaves the body unread."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "Byway is no proxy: set it as the base URL of your client, not as its proxy.")
            return
        head = b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        head += b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] not in _UPGRADING)
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + b"\r\n" + rest)

    def _refuse(self, status: int, message: str) -> None:
        """Answer what never became a request, in the official envelope. What still comes is thrown away for a moment: a
        client that is sending would see its connection reset and never read the refusal."""
        error = {"type": "invalid_request_error", "message": message}
        body = msgspec.json.encode({"type": "error", "error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._on_time()
        self._deaf = True
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + head + body)
            self.transport.write_eof()
            self._late = self.loop.call_later(_LINGER, self._too_late)  # type: ignore[assignment]

    def _too_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    # ------------------------------------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self.headers.append((name.lower(), value))
            return
        # A trailer: it must not stand for a header that the door has looked at, nor come without end.
        self._room -= len(name) + len(value)
        if self._room < 0:
            raise ValueError("trailers without end")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._room = HEAD_LIMIT
        if self._late is not None:
            self._on_time()
        parser = self.parser
        if parser.should_upgrade():
            return
        raw, _, query = self.url.partition(b"?")
        if not raw.startswith(b"/"):
            # A proxy's form: http://host/path.
            raw = urlsplit(raw).path
        path = raw.decode("ascii")
        before = self.cycle
        # Keys of the request's own first, then those that never differ.
        scope: dict[str, Any] = {
            "type": "http",
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            **_SPOKEN,
        }
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=(b"expect", b"100-continue") in self.headers,
            keep_alive=parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            # Sent ahead: it waits until the one before it has its answer.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.pieces.append(body)
            cycle.held += len(body)
            if cycle.held > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is not None and not self.parser.should_upgrade() and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
