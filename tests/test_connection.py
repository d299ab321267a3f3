"""One client's connection, by raw sockets: limits, other protocols, requests sent ahead, and the bytes of an answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from loops import run_skipping
from waiting import until

from byway import platform
from byway.server import connection as module
from byway.server.connection import HttpServer

HEAD = b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n"


async def echo(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Say what came: method, path, query and the length of the body; `/stream` in two pieces, `/slow` and `/soon` later."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    text = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {size}".encode()
    if scope["path"] in ("/slow", "/soon"):
        await asyncio.sleep(4 if scope["path"] == "/slow" else 0.5)
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (text, b"and on"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/known":
        await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b"x")]})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-length", b"%d" % len(text))]
    if scope["path"] == "/broken":
        headers.append((b"x-name", b"a\r\nset-cookie: b"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


Talk = Callable[..., bytes]


@pytest.fixture
def talk() -> Iterator[Talk]:
    """Send pieces, a moment apart, and read until the text ends with `until`, or the server closes."""

    async def conversation(pieces: tuple[bytes, ...], until: bytes, pause: float) -> bytes:
        loop = asyncio.get_running_loop()
        state = HttpServer(echo)
        server = await loop.create_server(state.connection, "127.0.0.1", 0)
        ticking = asyncio.create_task(state.run_clock())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        text = b""
        try:
            async with asyncio.timeout(60):
                while not until or not text.endswith(until):
                    data = await reader.read(1 << 16)
                    text += data or b"<closed>"
                    if not data:
                        break
        except (ConnectionResetError, BrokenPipeError):
            text += b"<reset>"
        writer.close()
        server.close()
        ticking.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)
        return text

    yield lambda *pieces, until=b"", pause=0.02: run_skipping(conversation(pieces, until, pause))


def test_a_request_and_its_answer(talk: Talk) -> None:
    text = talk(HEAD + b"content-length: 3\r\n\r\n", b"abc", until=b"  3")
    assert text == b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nPOST /v1/messages  3"


def test_a_stream_is_chunked_and_ends(talk: Talk) -> None:
    text = talk(b"GET /stream?a=b HTTP/1.1\r\nhost: x\r\n\r\n", until=b"\r\n0\r\n\r\n")
    head, _, body = text.partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"
    assert body == b"11\r\nGET /stream a=b 0\r\n6\r\nand on\r\n0\r\n\r\n"


def test_an_answer_of_status_304_has_no_body_and_the_connection_goes_on(talk: Talk) -> None:
    get = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
    text = talk(get % b"/known", get % b"/next", until=b" 0")
    assert text.startswith(b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\nHTTP/1.1 200 OK\r\n") and b"GET /next" in text


def test_a_path_with_escapes_and_a_proxys_form(talk: Talk) -> None:
    assert b"GET /a b q=%20 0" in talk(b"GET /a%20b?q=%20 HTTP/1.1\r\nhost: x\r\n\r\n", until=b" 0")
    assert b"GET /path q=1 0" in talk(b"GET http://127.0.0.1/path?q=1 HTTP/1.1\r\nhost: x\r\n\r\n", until=b" 0")


def test_http_1_0_closes(talk: Talk) -> None:
    text = talk(b"GET /a HTTP/1.0\r\nhost: x\r\n\r\n")
    assert b"connection: close\r\n" in text and text.endswith(b"GET /a  0<closed>")


def test_requests_sent_ahead_are_answered_in_order(talk: Talk) -> None:
    text = talk(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % at for at in range(4)), until=b"/3  0")
    at = [text.index(b"GET /%d" % number) for number in range(4)]
    assert at == sorted(at)


def test_100_continue_is_said_when_the_body_is_wanted(talk: Talk) -> None:
    text = talk(HEAD + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n", b"abc", until=b" 3")
    assert text.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200") and text.endswith(b" 3")


def test_a_large_body_comes_whole(talk: Talk) -> None:
    text = talk(HEAD + b"content-length: 3000000\r\n\r\n", *[b"x" * 1_000_000] * 3, until=b" 3000000")
    assert text.endswith(b"POST /v1/messages  3000000")


def test_a_wish_for_another_protocol_is_passed_over_and_the_body_read(talk: Talk) -> None:
    """Java's client sends h2c with every first request."""
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    for cut in (len(HEAD) + 3, len(HEAD + wish) + 20, len(HEAD + wish) + 25):
        whole = HEAD + wish + b"content-length: 5\r\n\r\nhello"
        text = talk(whole[:cut], whole[cut:], until=b"  5")
        assert text.startswith(b"HTTP/1.1 200 OK") and text.endswith(b"POST /v1/messages  5"), cut


def test_connect_is_refused_with_a_hint_at_the_base_url(talk: Talk) -> None:
    text = talk(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 400") and b"not a proxy" in text and text.endswith(b"<closed>")


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_head_without_end_is_refused_in_the_envelope(talk: Talk, pieces: int) -> None:
    line = b"x-filler: " + b"a" * 4000 + b"\r\n"
    sent = [line * (40 // pieces)] * pieces
    text = talk(HEAD, *sent)
    assert text.startswith(b"HTTP/1.1 431")
    assert json.loads(text.partition(b"\r\n\r\n")[2].removesuffix(b"<closed>"))["error"]["message"].startswith(
        "The request's"
    )


def test_what_is_not_http_is_refused_in_the_envelope(talk: Talk) -> None:
    text = talk(b"\x16\x03\x01\x02\x00\x01\x00")
    assert text.startswith(b"HTTP/1.1 400") and b'"invalid_request_error"' in text and text.endswith(b"<closed>")


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"GET /a HTTP/1.1\r\n",
        b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b",
        b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n\r\n",
    ],
)
def test_a_head_that_never_ends_does_not_hold_its_connection(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 2)
    monkeypatch.setattr(module, "IDLE_SECONDS", 3)
    first, _, second = before.partition(b"\r\n\r\n")
    pieces = (first + b"\r\n\r\n", second) if second else (first,)
    assert talk(*pieces).endswith(b"<closed>")


def test_a_body_that_never_comes_does_not_hold_its_connection(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 3)
    assert talk(HEAD + b"content-length: 3\r\n\r\n", b"a", b"b") == b"<closed>"


def test_a_connection_that_lies_idle_is_closed_and_one_that_works_is_not(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 3)
    monkeypatch.setattr(module, "BODY_SECONDS", 2)
    assert talk(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").endswith(b"GET /a  0<closed>")
    assert talk(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").endswith(b"GET /slow  0<closed>")


def test_what_is_not_http_after_a_request_is_refused_behind_its_answer(talk: Talk) -> None:
    for sent in (b"GET /soon HTTP/1.1\r\nhost: x\r\n\r\n", HEAD + b"content-length: 1\r\n\r\na"):
        text = talk(sent * 3 + b"\x16\x03\x01 what\r\n\r\n")
        assert text.count(b"HTTP/1.1 200 OK") == 3 and text.count(b"HTTP/1.1 400") == 1
        assert text.rindex(b"HTTP/1.1 200") < text.index(b"HTTP/1.1 400") and text.endswith(b"}<closed>")


def test_a_body_that_is_not_framed_as_it_should_be_is_refused_at_once(talk: Talk) -> None:
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    text = talk(chunked + b"2\r\nhi\r\nzz\r\n")
    assert text.startswith(b"HTTP/1.1 400") and text.endswith(b"<closed>")
    text = talk(b"GET /soon HTTP/1.1\r\nhost: x\r\n\r\n" + chunked, b"zz\r\n")
    assert text.startswith(b"HTTP/1.1 200 OK") and b"HTTP/1.1 400" in text and text.endswith(b"<closed>")


def test_many_wishes_for_another_protocol_at_once(talk: Talk) -> None:
    wish = b"GET /%d HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    text = talk(b"".join(wish % at for at in range(1500)), until=b"/1499  0")
    assert text.count(b"HTTP/1.1 200 OK") == 1500 and text.endswith(b"GET /1499  0")


def test_a_wish_for_another_protocol_changes_nothing_else(talk: Talk) -> None:
    wish = b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n"
    text = talk(wish)
    assert b"connection: close" in text and text.endswith(b"<closed>")
    text = talk(wish.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b", close", b""))
    assert b"connection: close" in text and text.endswith(b"<closed>")


@pytest.mark.parametrize("version", [b"HTTP/1.1\r\nconnection: close", b"HTTP/1.0"])
def test_a_client_that_is_still_sending_reads_the_last_response(version: bytes) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        send.respond(401, [(b"content-length", b"2")], b"no", b"")

    async def upload() -> None:
        state = HttpServer(refuse)
        server = await asyncio.get_running_loop().create_server(state.connection, "127.0.0.1", 0)
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"POST /a " + version + b"\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n" + b"x" * 5_000_000)
            assert (await reader.read()).startswith(b"HTTP/1.1 401")
            writer.transport.abort()
        await until(lambda: not state.tasks and not state.connections)
        server.close()

    asyncio.run(upload())


def test_a_client_that_leaves_is_noticed_though_it_has_sent_requests_ahead() -> None:
    left = asyncio.Event()

    async def wait(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        state = HttpServer(wait)
        server = await loop.create_server(state.connection, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), 30)
        await until(lambda: not state.tasks and not state.connections)
        server.close()

    run_skipping(leave())


def test_an_answer_cannot_break_out_of_a_header(talk: Talk) -> None:
    assert b"set-cookie" not in talk(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n")


def test_trailers_are_no_headers_and_come_to_an_end(talk: Talk) -> None:
    body = b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    text = talk(HEAD + body + b"host: evil\r\nexpect: 100-continue\r\n\r\n", until=b" 2")
    assert text.startswith(b"HTTP/1.1 200") and text.endswith(b" 2")
    text = talk(HEAD + body, *[b"a: " + b"b" * 8000 + b"\r\n"] * 12)
    assert text.startswith(b"HTTP/1.1 431") and text.endswith(b"<closed>")


def test_fields_of_one_name_are_a_list() -> None:
    seen: list[Any] = []

    async def keep(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        seen.append(dict(scope["headers"]))
        await echo(scope, receive, send)

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        state = HttpServer(keep)
        server = await loop.create_server(state.connection, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(
            b"GET /a HTTP/1.1\r\nHost: x\r\nAnthropic-Beta: one\r\nanthropic-beta: two\r\nconnection: close\r\n\r\n"
        )
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await asyncio.sleep(0.01)

    run_skipping(ask())
    assert seen == [{b"host": b"x", b"anthropic-beta": b"one, two", b"connection": b"close"}]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * 9000), 414),
        (HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(300)) + b"\r\n", 431),
        (HEAD + b"x: yes\r\n" * 300 + b"\r\n", 431),
        (HEAD + b"x-large: %s\r\n\r\n" % (b"a" * (70 << 10)), 431),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ],
    ids=["long URL", "many fields", "a repeated field", "a large head in one read", "a transfer coding"],
)
def test_a_head_over_the_limits_is_refused_with_a_request_id(talk: Talk, request_bytes: bytes, status: int) -> None:
    received = talk(request_bytes)
    assert received.startswith(b"HTTP/1.1 %d " % status) and b"\r\nrequest-id: req_" in received
    error = json.loads(received.partition(b"\r\n\r\n")[2].removesuffix(b"<closed>"))
    assert error["type"] == "error" and error["request_id"].startswith("req_")


def test_the_time_of_a_body_is_extended_only_by_progress(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 3)
    monkeypatch.setattr(module, "BODY_STEP", 1000)
    head = HEAD + b"content-length: 40000\r\n\r\n"
    steady = talk(head, *[b"a" * 1000] * 40, until=b" 40000", pause=0.2)
    assert steady.endswith(b" 40000"), "8 s of steady progress"
    assert talk(head, *[b"a" * 10] * 40, pause=0.2) in (b"<closed>", b"<reset>"), "bytes that only drip"


@dataclasses.dataclass
class Silent:
    """A client that sends one request and does not read."""

    server: HttpServer
    ended: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    sent: int = 0


async def with_silent_client(check: Callable[[Silent], Awaitable[None]]) -> None:
    async def flood(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        watch = asyncio.create_task(receive_disconnect(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not watch.done():
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            client.sent += 16384
            await asyncio.sleep(0)
        client.ended.set()

    async def receive_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    client = Silent(HttpServer(flood))
    listener = platform.listen_tcp(socket.AF_INET, "127.0.0.1", 0)
    listening = await client.server.loop.create_server(client.server.connection, sock=listener)
    with socket.create_connection(listener.getsockname()[:2]) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        before = -1
        while before != client.sent or not client.sent:
            # The buffers are full when nothing more is sent for a while.
            before = client.sent
            await asyncio.sleep(0.2)
        await check(client)
    listening.close()
    client.server.abort()
    await asyncio.sleep(0.01)


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 3)

    async def check(client: Silent) -> None:
        for _ in range(3):
            client.server.tick()
            await asyncio.sleep(0.01)
            assert not client.ended.is_set()
        client.server.tick()
        await asyncio.wait_for(client.ended.wait(), 30)

    run_skipping(with_silent_client(check))


def test_a_client_that_does_not_read_costs_less_than_a_mebibyte_and_a_half() -> None:
    async def check(client: Silent) -> None:
        """What the application could send is what Byway, the kernel's send buffer and the client's hold together."""
        assert client.sent < 1536 << 10

    run_skipping(with_silent_client(check))


def test_a_client_that_reads_slowly_is_not_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 3)

    async def check(client: Silent) -> None:
        unsent = iter(range(1_000_000, 0, -10))
        (connection,) = client.server.connections
        real = connection.transport

        class Draining:
            def get_write_buffer_size(self) -> int:
                return next(unsent)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        connection.transport = Draining()  # type: ignore[assignment]
        for _ in range(50):
            client.server.tick()
        assert connection in client.server.connections and not real.is_closing()
        connection.transport = real

    run_skipping(with_silent_client(check))


def test_connections_over_the_limit_get_a_503_and_are_logged_once() -> None:
    logged: list[dict[str, Any]] = []

    async def connect() -> list[bytes]:
        server = HttpServer(echo, max_connections=2)
        listening = await server.loop.create_server(server.connection, "127.0.0.1", 0)
        address = listening.sockets[0].getsockname()[:2]
        held = [await asyncio.open_connection(*address) for _ in range(2)]
        answers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address)
            answers.append(await asyncio.wait_for(reader.read(), 30))
            writer.close()
            await asyncio.sleep(0.02)
        held[0][1].close()
        await until(lambda: len(server.connections) < 2)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /again HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers.append(await asyncio.wait_for(reader.read(), 30))
        listening.close()
        for _, open_writer in (*held, (reader, writer)):
            open_writer.close()
        server.abort()
        await asyncio.sleep(0.05)
        return answers

    def log(message: str, level: int, **fields: Any) -> None:
        logged.append({"message": message, **fields})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "log", log)
        *refused, served = run_skipping(connect())
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer and b"overloaded_error" in answer
    assert served.startswith(b"HTTP/1.1 200 OK")
    assert len(logged) == 1 and logged[0]["limit"] == 2
