"""The HTTP client against real sockets on loopback: raw bytes, every cut that matters, TLS, proxies, limits, leaving."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import ipaddress
import os
import random
import socket
import ssl
import struct
import sys
import zlib
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from loops import SkippingLoop
from ports import free_port
from waiting import until

from byway import __version__
from byway.call import Call
from byway.config import TimeoutSettings, TlsSettings
from byway.problems import Problem
from byway.upstream.address import ProxyAddress, UpstreamAddress, proxy_for
from byway.upstream.client import Upstream
from byway.upstream.coding import Unpacker

Run = Callable[[Callable[[], Awaitable[None]]], None]

QUICK = TimeoutSettings(connect=30.0, first_byte=30.0, between_chunks=30.0)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SECRET = "canary-secret-8d1f"
ASK = Call("POST", "/v1/x", (("authorization", f"Bearer {SECRET}"),), b'{"canary-body-77e1": 1}')


def loops() -> Iterator[Any]:
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    with suppress(ImportError):
        import uvloop

        yield pytest.param(uvloop.new_event_loop, id="uvloop")


@pytest.fixture(params=loops())
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on each kind of loop; what only the loop's own log would hear of fails the test."""
    return runner_of(request.param)


@pytest.fixture(params=loops())
def run_timed(request: pytest.FixtureRequest) -> Run:
    """As `run`, for tests of timeouts: where the clock of the loop can skip to the next timer, it does."""
    return runner_of(SkippingLoop if request.param is asyncio.new_event_loop else request.param)


def runner_of(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Run:

    def go(body: Callable[[], Awaitable[None]]) -> None:
        loop_errors: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
            async with asyncio.timeout(60):
                await body()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())
        assert not loop_errors

    return go


async def settle() -> None:
    """Let the loop close what was aborted."""
    for _ in range(4):
        await asyncio.sleep(0)


class Server:
    """What a test's server has seen."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.received = asyncio.Event()
        self.gone = asyncio.Event()
        """A client's connection came to its end while the script still wanted to send."""

    async def take(self, reader: Reader) -> bytes:
        """Read one request; gives its head."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(int(length[0].split(b":")[1])) if length else b"")
        self.received.set()
        return head


@asynccontextmanager
async def serving(
    script: bytes | Callable[[Server, Reader, Writer, int], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    unix: str | None = None,
) -> AsyncIterator[Server]:
    """A server on a free port. Bytes are its answer to one request, after which it closes."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def met(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        server.connections += 1
        try:
            if isinstance(script, bytes):
                await server.take(reader)
                writer.write(script)
                await writer.drain()
            else:
                await script(server, reader, writer, server.connections)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            tasks.discard(task)

    if unix:
        start: Any = getattr(asyncio, "start_unix_server", None)
        listener: asyncio.Server = await start(met, unix)
    else:
        listener = await asyncio.start_server(met, "127.0.0.1", 0, ssl=tls)
        server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()


async def keep(server: Server, reader: Reader, writer: Writer, _: int) -> None:
    """Answer every request, on and on."""
    while True:
        await server.take(reader)
        writer.write(OK)


async def until_gone(server: Server, reader: Reader, _writer: object, _count: int) -> None:
    """Take a request and never answer."""
    await server.take(reader)
    with suppress(OSError):
        await reader.read(1)
    server.gone.set()


@asynccontextmanager
async def upstream(url: str | int, **more: Any) -> AsyncIterator[Upstream]:
    arguments: dict[str, Any] = {"timeouts": QUICK, "environ": {}} | more
    made = Upstream(f"http://127.0.0.1:{url}" if isinstance(url, int) else url, **arguments)
    try:
        yield made
    finally:
        await made.close()
        await settle()


async def fetch(upstream: Upstream, call: Call = ASK) -> bytes:
    answer = await upstream.open(call)
    try:
        return await answer.body()
    finally:
        answer.close()


async def problem(upstream: Upstream, kind: str, *words: str, call: Call = ASK) -> Problem:
    """The Problem that the call ends in; it names neither header values nor the body."""
    with pytest.raises(Problem) as caught:
        await fetch(upstream, call)
    raised = caught.value
    assert raised.kind == kind, raised
    for word in words:
        assert word in raised.message, raised.message
    assert "canary" not in f"{raised!r} {raised} {raised.facts}"
    return raised


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
LENGTH = HEAD + b"content-length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n"
TO_END = HEAD + b"connection: close\r\n\r\nhello"


# --- the request -------------------------------------------------------------------------------------------------------


def test_a_request_has_exactly_these_bytes(run: Run) -> None:
    async def body() -> None:
        async with serving(keep) as server, upstream(f"http://localhost:{server.port}/base/") as up:
            assert await fetch(up, Call("POST", "/v1/x", (("x-one", "1"), ("X-Two", "zw\xf6lf")), b"hi")) == b"ok"
            assert await fetch(up, Call("GET", "/v1/models?a=b")) == b"ok"
        where = b"localhost:%d" % server.port
        agent = b"user-agent: byway/%b\r\n" % __version__.encode()
        assert server.heads[0] == (
            b"POST /base/v1/x HTTP/1.1\r\nhost: " + where + b"\r\naccept-encoding: identity\r\n" + agent
            + b"x-one: 1\r\nX-Two: zw\xf6lf\r\ncontent-length: 2\r\n\r\n"
        )  # fmt: skip
        assert server.heads[1] == (
            b"GET /base/v1/models?a=b HTTP/1.1\r\nhost: " + where + b"\r\naccept-encoding: identity\r\n" + agent
            + b"\r\n"
        )  # fmt: skip
        assert server.bodies == [b"hi", b""]
        assert server.connections == 1

    run(body)


def test_a_call_may_set_host_and_user_agent_but_not_the_framing(run: Run) -> None:
    headers = (
        ("Host", "model.example"), ("User-Agent", "mine"), ("Content-Length", "999"), ("Transfer-Encoding", "chunked"),
        ("Connection", "close"), ("Accept-Encoding", "br"), ("Expect", "100-continue"),
    )  # fmt: skip

    async def body() -> None:
        async with serving(keep) as server, upstream(server.port) as up:
            await fetch(up, Call("POST", "/", headers, b"hi"))
        assert server.heads == [
            b"POST / HTTP/1.1\r\naccept-encoding: identity\r\nHost: model.example\r\nUser-Agent: mine\r\n"
            b"content-length: 2\r\n\r\n"
        ]

    run(body)


@pytest.mark.parametrize(
    "call",
    [
        Call("GET", "/", (("x", "canary\r\ny: 1"),)),
        Call("GET", "/", (("x", "canary\ny: 1"),)),
        Call("GET", "/", (("x", "canary\ry: 1"),)),
        Call("GET", "/", (("x", "canary\0"),)),
        Call("GET", "/", (("x", "canary \u2603"),)),
        Call("GET", "/", (("x: canary", "1"),)),
        Call("GET", "/", (("x\r\ny", "canary"),)),
        Call("GET", "/", (("", "canary"),)),
        Call("GET", "/canary HTTP/1.1\r\nx: y", ()),
        Call("GET", "/canary HTTP/1.0", ()),
        Call("GET", "canary", ()),
        Call("GET /canary", "/", ()),
    ],
)
def test_a_header_or_path_cannot_inject_a_request(call: Call) -> None:
    async def body() -> None:
        async with serving(keep) as server, upstream(server.port) as up:
            await problem(up, "invalid_request", call=call)
            assert server.connections == 0

    asyncio.run(body())


def test_the_number_of_remembered_heads_is_bounded() -> None:
    async def body() -> None:
        async with serving(keep) as server, upstream(server.port) as up:
            for count in range(150):
                await fetch(up, Call("GET", "/", (("x-id", str(count)),)))
            assert [b"x-id: %d\r\n" % count in head for count, head in enumerate(server.heads)] == [True] * 150
            assert len(up._heads) <= 64

    asyncio.run(body())


@pytest.mark.parametrize(
    ("url", "authority", "shown", "base"),
    [
        ("http://h.example", "h.example", "h.example:80", ""),
        ("https://h.example/", "h.example", "h.example:443", ""),
        ("https://H.example:8443/a/b/", "h.example:8443", "h.example:8443", "/a/b"),
        ("http://h.example:443", "h.example:443", "h.example:443", ""),
        ("http://[::1]:8080/v", "[::1]:8080", "[::1]:8080", "/v"),
        ("http://[fe80::1%eth0]", "[fe80::1]", "[fe80::1]:80", ""),
        ("unix:/run/a%20b.sock", "localhost", "unix:/run/a%20b.sock", ""),
        ("unix:///run/x.sock", "localhost", "unix:/run/x.sock", ""),
    ],
)
def test_a_url_is_parsed_once_and_shown_without_its_path(url: str, authority: str, shown: str, base: str) -> None:
    address = UpstreamAddress(url)
    assert (address.authority, address.shown, address.base) == (authority, shown, base)


@pytest.mark.parametrize(
    "url",
    [
        "", "h.example", "ftp://h.example", "file:///etc/passwd", "http://", "http://:80", "http://h:0", "http://h:99999",
        "http://h:x", "http://user@h", f"http://user:{SECRET}@h", f"https://{SECRET}@h", "http://h\\@evil", "http://h/a b",
        "http://h\n.evil", "http://h/?q=1", "http://h/#f", "http://[::1", "http://h.ex\u00e4mple",
    ],
)  # fmt: skip
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(Problem) as caught:
        Upstream(url, timeouts=QUICK)
    assert caught.value.kind == "internal"
    assert SECRET not in caught.value.message


# --- the pool ----------------------------------------------------------------------------------------------------------


def test_the_connection_used_last_is_reused_first(run: Run) -> None:
    async def numbered(server: Server, reader: Reader, writer: Writer, count: int) -> None:
        while True:
            await server.take(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % count)

    async def body() -> None:
        async with serving(numbered) as server, upstream(server.port) as up:
            first, second = await up.open(ASK), await up.open(ASK)
            assert (await first.body(), await second.body()) == (b"1", b"2")
            second.close()
            first.close()
            assert [await fetch(up) for _ in range(3)] == [b"1"] * 3
            assert server.connections == 2

    run(body)


def test_the_pool_is_bounded_and_drops_the_oldest(run: Run) -> None:
    async def body() -> None:
        async with serving(keep) as server, upstream(server.port, pool=2) as up:
            answers = [await up.open(ASK) for _ in range(5)]
            for answer in answers:
                await answer.body()
                answer.close()
            assert len(up._idle) == 2
            again = [await up.open(ASK) for _ in range(3)]
            assert server.connections == 6
            for answer in again:
                answer.close()

    run(body)


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"x",
        OK + OK,
        OK + b"HTTP/1.1 200",
        HEAD + b"keep-alive: timeout=0\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_a_connection_with_unexpected_bytes_is_not_reused(run: Run, raw: bytes) -> None:
    async def once(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(raw)
        await reader.read(1)

    async def body() -> None:
        async with serving(once) as server, upstream(server.port) as up:
            for count in (1, 2):
                answer = await up.open(ASK)
                assert (answer.status, await answer.body()) == (200, b"ok")
                answer.close()
                assert server.connections == count
                # One that has expired stays in the pool until the next use.
                await until(lambda: not up._idle or b"timeout=0" in raw)

    run(body)


STREAM = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("end", "connections"),
    [
        (b"0\r\n\r\n", 1),
        (b"0\r\nx-trailer: 1\r\n\r\n", 1),
        (b"0\r\n\r\nHTTP/1.1 200", 2),
        (chunk(b"data: more" * 9), 2),
        (b"zz\r\n", 2),
        (b"", 2),
    ],
    ids=["end", "trailer", "more after it", "goes on", "bad", "none"],
)
def test_a_finished_answer_keeps_its_connection_if_its_body_ends_soon(
    run_timed: Run, end: bytes, connections: int
) -> None:
    async def late(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        while True:
            await server.take(reader)
            writer.write(STREAM)
            await asyncio.sleep(0.05)
            writer.write(end)

    async def body() -> None:
        async with serving(late) as server, upstream(server.port) as up:
            closed: list[str] = []
            for _ in range(2):
                answer = await up.open(ASK)
                answer.on_close = lambda: closed.append("now")
                assert await answer.read() == b"data: [DONE]\n\n"
                answer.finish()
                assert closed == ["now"] * len(server.heads), "whoever waits for this answer's place waited"
                answer.close()
                await until(lambda: not up.busy)
            assert server.connections == connections

    run_timed(body)


def test_a_finished_answer_that_ends_with_its_connection_is_closed_at_once(run: Run) -> None:
    async def endless(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(TO_END)
        await reader.read(1)
        server.gone.set()

    async def body() -> None:
        async with serving(endless) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert await answer.read() == b"hello"
            answer.finish()
            assert not up.busy
            await server.gone.wait()

    run(body)


def test_a_connection_that_sends_without_a_request_is_closed(run_timed: Run) -> None:
    async def chatty(server: Server, reader: Reader, writer: Writer, count: int) -> None:
        await server.take(reader)
        writer.write(OK)
        await asyncio.sleep(0.05)
        if count == 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await reader.read(1)

    async def body() -> None:
        async with serving(chatty) as server, upstream(server.port) as up:
            assert await fetch(up) == b"ok"
            await until(lambda: not up._idle)
            assert await fetch(up) == b"ok"
            assert server.connections == 2

    run_timed(body)


def test_an_idle_connection_is_closed_after_its_time(run_timed: Run) -> None:
    async def short(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(HEAD + b"keep-alive: timeout=1, max=5\r\ncontent-length: 2\r\n\r\nok")
        await reader.read(1)
        server.gone.set()

    async def body() -> None:
        timeouts = TimeoutSettings(connect=30.0, first_byte=0.2, between_chunks=0.2)
        async with serving(short) as server, upstream(server.port, timeouts=timeouts) as up:
            await fetch(up)
            assert len(up._idle) == 1
            await asyncio.wait_for(server.gone.wait(), 30)
            assert not up._idle

    run_timed(body)


def test_a_connection_that_the_server_closed_leaves_the_pool(run: Run) -> None:
    async def body() -> None:
        async with serving(OK) as server, upstream(server.port) as up:
            assert await fetch(up) == b"ok"
            await until(lambda: not up._idle)
            assert await fetch(up) == b"ok"
            assert server.connections == 2

    run(body)


def test_a_stale_connection_is_replaced_once(run: Run) -> None:
    async def stale(server: Server, reader: Reader, writer: Writer, count: int) -> None:
        await server.take(reader)
        writer.write(OK)
        if count > 2:
            await reader.read(1)
        await server.take(reader)

    async def body() -> None:
        async with serving(stale) as server, upstream(server.port) as up:
            both = [await up.open(ASK), await up.open(ASK)]
            for answer in both:
                await answer.body()
                answer.close()
            # Two stale ones lie there; only one of them is tried.
            assert await fetch(up) == b"ok"
            assert server.connections == 3
            assert server.bodies == [ASK.body] * 4

    run(body)


def test_a_new_connection_that_closes_without_an_answer_is_not_retried(run: Run) -> None:
    async def body() -> None:
        async with serving(b"") as server, upstream(server.port) as up:
            await problem(up, "unreachable", f"127.0.0.1:{server.port}", "without an answer")
            assert server.connections == 1

    run(body)


def test_an_answer_that_has_started_is_never_retried(run: Run) -> None:
    async def half(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(OK)
        await server.take(reader)
        writer.write(b"HTTP/1.1 2")

    async def body() -> None:
        async with serving(half) as server, upstream(server.port) as up:
            assert await fetch(up) == b"ok"
            await problem(up, "broken", "headers")
            assert server.connections == 1

    run(body)


UPLOAD = Call("POST", "/v1/x", pieces=tuple(memoryview(bytes([at]) * (3 << 20)) for at in range(4)))


def test_an_upload_in_pieces_arrives_whole_and_is_not_buffered(run: Run) -> None:
    async def slow(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        server.heads.append(await reader.readuntil(b"\r\n\r\n"))
        server.received.set()
        await server.gone.wait()
        server.bodies.append(await reader.readexactly(12 << 20))
        writer.write(OK)

    async def body() -> None:
        async with serving(slow) as server, upstream(server.port) as up:
            task = asyncio.create_task(up.open(UPLOAD))
            await server.received.wait()
            await settle()
            connection = next(iter(up._active.values()))
            await until(lambda: connection.write_paused)
            assert connection._transport is not None and connection._transport.get_write_buffer_size() < 1 << 20
            server.gone.set()
            answer = await task
            assert await answer.body() == b"ok"
            answer.close()
            assert server.bodies[0] == b"".join(UPLOAD.pieces) and b"content-length: 12582912\r\n" in server.heads[0]

    run(body)


def test_an_upload_ends_when_the_server_answers_or_disconnects(run: Run) -> None:
    async def refuse(server: Server, reader: Reader, writer: Writer, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if number == 1:
            writer.write(OK.replace(b"200 OK", b"413 Too Large"))
            await server.gone.wait()

    async def body() -> None:
        async with serving(refuse) as server, upstream(server.port) as up:
            answer = await up.open(UPLOAD)
            assert answer.status == 413 and await answer.body() == b"ok"
            answer.close()
            assert not up._idle
            server.gone.set()
            with pytest.raises(Problem) as raised:
                await up.open(UPLOAD)
            assert raised.value.kind == "unreachable"

    run(body)


def test_an_early_answer_to_a_request_still_being_sent_closes_the_connection(run: Run) -> None:
    async def early(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.sleep(5)

    async def body() -> None:
        async with serving(early) as server, upstream(server.port) as up:
            answer = await up.open(Call("POST", "/", (), b"x" * (32 << 20)))
            assert (answer.status, await answer.body()) == (413, b"no")
            answer.close()
            assert not up._idle

    run(body)


def test_closing_keeps_running_answers(run: Run) -> None:
    async def slow(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(LENGTH[:-2])
        await server.gone.wait()
        writer.write(LENGTH[-2:])
        await reader.read(1)

    async def body() -> None:
        async with serving(slow) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            await up.close()
            server.gone.set()
            assert await answer.body() == b"hello"
            answer.close()
            assert not up._idle

    run(body)


def test_a_hundred_calls_at_once(run: Run) -> None:
    async def echo(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        while True:
            await server.take(reader)
            data = server.bodies[-1]
            await asyncio.sleep(0.001)
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(data) + b"0\r\n\r\n")

    async def body() -> None:
        async with serving(echo) as server, upstream(server.port, pool=50) as up:

            async def call_once(count: int) -> bool:
                data = b"%d," % count * 50
                return await fetch(up, Call("POST", "/", (), data)) == data

            for _ in range(2):
                assert all(await asyncio.gather(*(call_once(count) for count in range(100))))
            assert 100 <= server.connections <= 150
            assert len(up._idle) <= 50

    run(body)


# --- framing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status", "expected"),
    [
        (LENGTH, 200, b"hello"),
        (CHUNKED, 200, b"hello"),
        (TO_END, 200, b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        (HEAD + b"content-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + LENGTH, 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 301 Moved\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n", 301, b""),
        (CHUNKED[:-2] + b"trailer: x\r\n\r\n", 200, b"hello"),
        (CHUNKED.replace(b"3\r\nhel", b"3;name=value\r\nhel"), 200, b"hello"),
        (LENGTH.replace(b"content-type", b"\r\ncontent-type").replace(b"\r\n\r\ncon", b"\r\ncon"), 200, b"hello"),
    ],
)
def test_an_answer_in_any_pieces_is_read_whole(raw: bytes, status: int, expected: bytes, run: Run) -> None:
    async def body() -> None:
        async def pieces(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await server.take(reader)
            for at in range(len(raw)):
                writer.write(raw[at : at + 1])
                await asyncio.sleep(0)

        for script in (raw, pieces):
            async with serving(script) as server, upstream(server.port) as up:
                answer = await up.open(ASK)
                assert (answer.status, await answer.body(), await answer.read()) == (status, expected, b"")
                assert "link" not in answer.headers
                assert "trailer" not in answer.headers
                answer.close()

    run(body)


@pytest.mark.parametrize("raw", [LENGTH, CHUNKED])
def test_an_answer_is_read_when_its_last_bytes_are_returned(raw: bytes, run: Run) -> None:
    async def body() -> None:
        read = asyncio.Event()

        async def halves(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await server.take(reader)
            half = raw.index(b"hel") + 3
            writer.write(raw[:half])
            await read.wait()
            writer.write(raw[half:])

        async with serving(halves) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert not answer.is_read
            assert (await answer.read(), answer.is_read) == (b"hel", False)
            read.set()
            assert (await answer.read(), answer.is_read) == (b"lo", True)
            assert (await answer.read(), answer.is_read) == (b"", True)
            answer.close()

    run(body)


def test_a_compressed_answer_is_not_read_before_its_end_was_checked(run: Run) -> None:
    async def body() -> None:
        packed = gzip.compress(b"hello")[:-3]
        raw = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
        async with serving(raw + packed) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert (await answer.read(), answer.is_read) == (b"hello", False)
            with pytest.raises(Problem, match="is cut off"):
                await answer.read()
            answer.close()

    run(body)


@pytest.mark.parametrize("raw", [LENGTH, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH])
def test_an_answer_cut_off_anywhere_is_a_problem(raw: bytes, run: Run) -> None:
    async def cut(server: Server, reader: Reader, writer: Writer, count: int) -> None:
        await server.take(reader)
        writer.write(raw[: count - 1])

    async def body() -> None:
        async with serving(cut) as server, upstream(server.port) as up:
            for at in range(len(raw)):
                await problem(up, "broken" if at else "unreachable", f"127.0.0.1:{server.port}")
            assert await fetch(up) == b"hello"

    run(body)


@pytest.mark.parametrize("raw", [LENGTH[:-2], CHUNKED[:-5], TO_END[:-1]])
def test_a_reset_is_a_problem_after_the_received_bytes(raw: bytes, run: Run) -> None:
    async def reset(server: Server, reader: Reader, writer: Writer, _: int) -> None:
        await server.take(reader)
        writer.write(raw)
        await server.gone.wait()
        linger = struct.pack("hh", 1, 0) if sys.platform == "win32" else struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def body() -> None:
        async with serving(reset) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            got = await answer.read()
            assert got
            assert b"hello".startswith(got)
            server.gone.set()
            with pytest.raises(Problem, match="in the middle of its answer") as caught:
                while True:
                    assert await answer.read()
            assert caught.value.kind == "broken"
            answer.close()

    run(body)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/2 200\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b'{"error": "canary"}',
        HEAD + b"x: " + b"y" * (65 << 10) + b"\r\n\r\n",
        HEAD + b"x: y\r\n" * 201 + b"content-length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
        CHUNKED[:-2] + b"trailer: " + b"y" * (2 << 20) + b"\r\n\r\n",
        CHUNKED[:-2] + b"trailer: y\r\n" * 300 + b"\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n2;" + b"y" * (2 << 20) + b"\r\nok\r\n0\r\n\r\n",
    ],
)
def test_bad_framing_is_a_problem(raw: bytes, run: Run) -> None:
    async def body() -> None:
        async with serving(raw) as server, upstream(server.port) as up:
            await problem(up, "broken", f"127.0.0.1:{server.port}")
            assert not up._idle

    run(body)


def test_a_second_answer_cannot_change_the_first(run: Run) -> None:
    async def body() -> None:
        raw = OK + b"HTTP/1.1 500 No\r\ncontent-length: 4\r\nx: y\r\n\r\nevil"
        async with serving(raw) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert (answer.status, answer.headers, await answer.body()) == (200, {"content-length": "2"}, b"ok")
            answer.close()

    run(body)


def test_headers_are_lower_case_and_joined(run: Run) -> None:
    async def body() -> None:
        raw = b"HTTP/1.1 200 OK\r\nX-One:  a \r\nx-one: b\r\nX-Two: zw\xf6lf\r\ncontent-length: 0\r\n\r\n"
        async with serving(raw) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert answer.headers == {"x-one": "a, b", "x-two": "zw\xf6lf", "content-length": "0"}
            answer.close()

    run(body)


def test_an_answer_to_head_has_no_body(run: Run) -> None:
    async def body() -> None:
        async def twice(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            while True:
                head = await server.take(reader)
                writer.write(LENGTH[:-5] if head.startswith(b"HEAD") else LENGTH)

        async with serving(twice) as server, upstream(server.port) as up:
            answer = await up.open(Call("HEAD", "/"))
            assert (answer.status, answer.headers["content-length"], await answer.body()) == (200, "5", b"")
            answer.close()
            assert await fetch(up) == b"hello"

    run(body)


# --- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_a_thousand_chunks_are_read_as_they_arrive(run: Run, secure: bool, authority: Authority) -> None:
    async def body() -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def stepwise(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await server.take(reader)
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for count in range(1000):
                data = b"data: %d\n\n" % count
                writer.write(chunk(data))
                # The next is sent only when this one has been read.
                assert await asyncio.wait_for(seen.get(), 30) == data
            writer.write(b"0\r\n\r\n")
            await reader.read(1)

        scheme = "https" if secure else "http"
        door = authority.server() if secure else None
        url = f"{scheme}://127.0.0.1:"
        async with (
            serving(stepwise, tls=door) as server,
            upstream(f"{url}{server.port}", tls=TlsSettings(ca=authority.ca)) as up,
        ):
            answer = await up.open(ASK)
            while data := await answer.read():
                seen.put_nowait(data)
            answer.close()
            assert len(up._idle) == 1

    run(body)


def test_all_received_bytes_are_read_together(run: Run) -> None:
    async def body() -> None:
        async with serving(CHUNKED) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            await until(lambda: answer._complete)
            assert await answer.read() == b"hello"
            assert await answer.read() == b""
            answer.close()

    run(body)


def test_a_line_of_five_megabytes(run: Run) -> None:
    async def body() -> None:
        line = b"data: " + os.urandom(1 << 10).hex().encode() * 2560 + b"\n\n"
        raw = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(line) + b"0\r\n\r\n"
        async with serving(raw) as server, upstream(server.port) as up:
            assert await fetch(up) == line

    run(body)


def test_a_slow_reader_buffers_little_and_does_not_cause_a_timeout(run_timed: Run) -> None:
    async def body() -> None:
        piece, count = b"x" * 65536, 320
        written = 0

        async def flood(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            nonlocal written
            await server.take(reader)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for _ in range(count):
                writer.write(chunk(piece))
                await writer.drain()
                written += len(piece)
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        timeouts = TimeoutSettings(connect=30.0, first_byte=30.0, between_chunks=0.3)
        async with serving(flood) as server, upstream(server.port, timeouts=timeouts) as up:
            answer = await up.open(ASK)
            size = len(await answer.read())
            before = -1
            while before != written:
                before = written
                await asyncio.sleep(0.2)
            # The server has been made to wait: what it wrote lies in the kernel's buffers and at most 512 KiB here.
            assert written < count * len(piece)
            held = len(await answer.read())
            assert held <= 512 << 10
            assert size + held + len(await answer.body()) == count * len(piece)
            answer.close()

    run_timed(body)


# --- limits of time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", TO_END[:-5]])
def test_a_backend_that_sends_no_first_byte_times_out(run_timed: Run, raw: bytes) -> None:
    async def body() -> None:
        async def dumb(server: Server, reader: Reader, writer: Writer, count: int) -> None:
            writer.write(raw)
            await until_gone(server, reader, writer, count)

        timeouts = TimeoutSettings(connect=30.0, first_byte=0.05, between_chunks=9.0)
        async with serving(dumb) as server, upstream(server.port, timeouts=timeouts) as up:
            raised = await problem(
                up, "timeout", f"127.0.0.1:{server.port} has not started", "0.05 s", "`timeouts.first_byte`"
            )
            assert raised.facts == {"phase": "first_byte"}
            await asyncio.wait_for(server.gone.wait(), 30)

    run_timed(body)


def test_a_backend_that_stops_sending_times_out(run_timed: Run) -> None:
    async def body() -> None:
        async def silent(server: Server, reader: Reader, writer: Writer, count: int) -> None:
            writer.write(CHUNKED[:-8])
            await until_gone(server, reader, writer, count)

        timeouts = TimeoutSettings(connect=30.0, first_byte=9.0, between_chunks=0.1)
        async with serving(silent) as server, upstream(server.port, timeouts=timeouts) as up:
            answer = await up.open(ASK)
            assert await answer.read() in (b"hel", b"hello"[:4])
            assert up.busy
            with pytest.raises(Problem, match=r"stopped sending .*`timeouts\.between_chunks`") as caught:
                while await answer.read():
                    pass
            assert (caught.value.kind, caught.value.facts) == ("timeout", {"phase": "between_chunks"})
            await asyncio.wait_for(server.gone.wait(), 30)
            answer.close()
            assert not up.busy

    run_timed(body)


def test_a_slow_but_steady_stream_does_not_time_out(run_timed: Run) -> None:
    async def body() -> None:
        async def steady(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await server.take(reader)
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for _ in range(7):
                await asyncio.sleep(0.1)
                writer.write(chunk(b"x"))
            writer.write(b"0\r\n\r\n")

        timeouts = TimeoutSettings(connect=30.0, first_byte=0.6, between_chunks=0.6)
        async with serving(steady) as server, upstream(server.port, timeouts=timeouts) as up:
            assert await fetch(up) == b"x" * 7

    run_timed(body)


def test_a_connection_that_is_not_accepted_times_out(run_timed: Run, authority: Authority) -> None:
    """Here TLS hangs; the limit is one for looking up, connecting, tunnelling and TLS."""

    async def body() -> None:
        async def mute(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            while await reader.read(999):
                pass
            server.gone.set()

        timeouts = TimeoutSettings(connect=0.05, first_byte=9.0, between_chunks=9.0)
        async with serving(mute) as server:
            for more in ({}, {"proxy": f"http://127.0.0.1:{server.port}"}):
                url = f"https://127.0.0.1:{server.port}"
                async with upstream(url, timeouts=timeouts, tls=TlsSettings(ca=authority.ca), **more) as up:
                    await problem(up, "timeout", f"127.0.0.1:{server.port}", "0.05 s", "`timeouts.connect`")
                    await asyncio.wait_for(server.gone.wait(), 30)
                    server.gone.clear()

    run_timed(body)


# --- leaving -----------------------------------------------------------------------------------------------------------


async def left(server: Server) -> None:
    """Wait until the upstream's connection has ended."""
    await asyncio.wait_for(server.gone.wait(), 30)


def test_a_call_cancelled_before_the_head_closes_its_connection(run: Run) -> None:
    async def body() -> None:
        async with serving(until_gone) as server, upstream(server.port) as up:
            task = asyncio.create_task(up.open(ASK))
            await server.received.wait()
            task.cancel()
            await left(server)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not up._active

    run(body)


def test_a_call_cancelled_while_connecting_closes_its_connection(run: Run, authority: Authority) -> None:
    async def body() -> None:
        async def mute(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await reader.read(9999)
            server.received.set()
            await reader.read(9999)
            server.gone.set()

        async with serving(mute) as server:
            for more in ({}, {"proxy": f"http://127.0.0.1:{server.port}"}):
                async with upstream(f"https://127.0.0.1:{server.port}", tls=TlsSettings(ca=authority.ca), **more) as up:
                    task = asyncio.create_task(up.open(ASK))
                    await server.received.wait()
                    task.cancel()
                    await left(server)
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    server.gone.clear()
                    server.received.clear()

    run(body)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("reading", [False, True])
def test_an_answer_closed_early_closes_its_connection(
    run: Run, reading: bool, secure: bool, authority: Authority
) -> None:
    async def body() -> None:
        async def endless(server: Server, reader: Reader, writer: Writer, count: int) -> None:
            writer.write(CHUNKED[:-8])
            await until_gone(server, reader, writer, count)

        scheme = "https" if secure else "http"
        door = authority.server() if secure else None
        url = f"{scheme}://127.0.0.1:"
        async with (
            serving(endless, tls=door) as server,
            upstream(f"{url}{server.port}", tls=TlsSettings(ca=authority.ca)) as up,
        ):
            answer = await up.open(ASK)
            if reading:
                await answer.read()
                task = asyncio.create_task(answer.read())
                await asyncio.sleep(0.02)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            answer.close()
            answer.close()
            await left(server)
            assert not up._idle
            assert not up._active
            with pytest.raises(Problem):
                await answer.read()

    run(body)


def test_closing_an_answer_wakes_a_read_in_another_task(run: Run) -> None:
    async def body() -> None:
        async def half(server: Server, reader: Reader, writer: Writer, count: int) -> None:
            writer.write(CHUNKED[: CHUNKED.index(b"3\r\n")])
            await until_gone(server, reader, writer, count)

        async with serving(half) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            task = asyncio.create_task(answer.read())
            await asyncio.sleep(0.02)
            answer.close()
            with pytest.raises(Problem, match="was disconnected"):
                await task

    run(body)


def test_an_answer_closed_while_paused_closes_its_connection(run: Run) -> None:
    async def body() -> None:
        async def flood(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            await server.take(reader)
            writer.write(HEAD + b"content-length: 99999999\r\n\r\n" + b"x" * 9999999)
            try:
                await writer.drain()
                await reader.read(1)
            finally:
                server.gone.set()

        async with serving(flood) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            await until(lambda: answer._paused)
            answer.close()
            await left(server)

    run(body)


def test_the_body_limit(run: Run) -> None:
    async def body() -> None:
        async with serving(LENGTH) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            with pytest.raises(Problem, match="more than 4 bytes") as caught:
                await answer.body(4)
            assert caught.value.kind == "broken"
            answer.close()
            answer = await up.open(ASK)
            assert await answer.body(5) == b"hello"
            answer.close()

    run(body)


# --- packed answers ----------------------------------------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello " * 99)),
        ("X-Gzip", gzip.compress(b"hello " * 99)),
        ("gzip", gzip.compress(b"hello " * 50) + gzip.compress(b"hello " * 49)),
        ("deflate", zlib.compress(b"hello " * 99)),
        ("deflate", raw_deflate(b"hello " * 99)),
        ("identity", b"hello " * 99),
    ],
)
def test_a_compressed_answer_is_decompressed(run: Run, coding: str, packed: bytes) -> None:
    async def body() -> None:
        one_by_one = b"".join(chunk(packed[at : at + 1]) for at in range(len(packed)))
        raw = HEAD + b"content-encoding: %b\r\ntransfer-encoding: chunked\r\n\r\n" % coding.encode()
        async with serving(raw + one_by_one + b"0\r\n\r\n") as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            assert await answer.body() == b"hello " * 99
            assert ("content-encoding" in answer.headers) == (coding == "identity")
            answer.close()

    run(body)


def test_a_compressed_stream_is_decompressed_as_it_arrives(run: Run) -> None:
    async def body() -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def stepwise(server: Server, reader: Reader, writer: Writer, _: int) -> None:
            packer = zlib.compressobj(wbits=31)
            await server.take(reader)
            writer.write(HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n")
            for count in range(20):
                data = b"data: %d\n\n" % count
                writer.write(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))
                assert await asyncio.wait_for(seen.get(), 30) == data
            writer.write(packer.flush())

        async with serving(stepwise) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            while data := await answer.read():
                seen.put_nowait(data)
            answer.close()

    run(body)


@pytest.mark.parametrize(
    ("coding", "packed", "words"),
    [
        ("br", b"x", "'br'"),
        ("gzip, gzip", b"x", "'gzip, gzip'"),
        ("gzip", b"not packed at all", "cannot be decompressed"),
        ("gzip", gzip.compress(b"hello")[:-3], "is cut off"),
        ("gzip", gzip.compress(b"hello") + b"junk", "cannot be decompressed"),
        ("deflate", zlib.compress(b"hello") + b"junk", "cannot be decompressed"),
        ("deflate", zlib.compress(b"hello" * 99)[:-9], "is cut off"),
    ],
)
def test_an_invalid_compressed_answer_is_a_problem(run: Run, coding: str, packed: bytes, words: str) -> None:
    async def body() -> None:
        raw = HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(packed))
        async with serving(raw + packed) as server, upstream(server.port) as up:
            await problem(up, "broken", words)

    run(body)


def test_an_empty_compressed_answer_is_empty(run: Run) -> None:
    async def body() -> None:
        raw = HEAD + b"content-encoding: gzip\r\ncontent-length: 0\r\n\r\n"
        async with serving(raw) as server, upstream(server.port) as up:
            assert await fetch(up) == b""

    run(body)


@cache
def bomb() -> bytes:
    """More than the limit of a body, packed."""
    return gzip.compress(b"\0" * (66 << 20), 1)


def test_a_decompression_bomb_is_read_by_the_megabyte_and_stopped(run: Run) -> None:
    async def body() -> None:
        packed = bomb()
        raw = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed
        async with serving(raw) as server, upstream(server.port) as up:
            answer = await up.open(ASK)
            sizes = [len(await answer.read()) for _ in range(5)]
            assert max(sizes) <= 1 << 20
            answer.close()
            await problem(up, "broken", f"more than {64 << 20} bytes")

    run(body)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_decompression_by_the_megabyte_loses_no_bytes(size: int, pack: Callable[[bytes, int], bytes]) -> None:
    unpacker = Unpacker("gzip" if pack is gzip.compress else "deflate")
    data = random.Random(size).randbytes(size)
    plain = unpacker.unpack(pack(data, 1))
    while not unpacker.needs_input:
        plain += unpacker.unpack(b"")
    assert unpacker.finished
    assert plain == data


# --- places that do not answer -----------------------------------------------------------------------------------------


def test_a_server_that_does_not_listen_is_unreachable(run: Run, tmp_path: Path) -> None:
    free = free_port()

    async def body() -> None:
        async with upstream(free) as up:
            await problem(up, "unreachable", f"127.0.0.1:{free}", "refused", "Check the address and the network")
        async with upstream(f"http://localhost:{free}") as up:
            await problem(up, "unreachable", f"localhost:{free}", "Check the address")
        async with upstream(f"unix:{tmp_path}/none.sock") as up:
            await problem(up, "unreachable", "none.sock")
        async with upstream("http://h.example", proxy=f"http://user:canary@127.0.0.1:{free}") as up:
            await problem(up, "unreachable", "h.example:80", f"proxy 127.0.0.1:{free}")

    run(body)


def test_problems_use_the_name_of_the_backend(run: Run) -> None:
    async def body() -> None:
        async with serving(b"") as server, upstream(server.port, name="box") as up:
            raised = await problem(up, "unreachable")
            assert raised.message.startswith(f"Backend 'box' at 127.0.0.1:{server.port} closed the connection")
        async with upstream("http://127.0.0.1:1", name="box") as up:
            await problem(up, "unreachable", "Backend 'box'", "Start the model server, or correct `backends[].url`")

    run(body)


def test_an_unknown_host_name_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with upstream("http://h.example") as up:

            async def dial(_: object) -> None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

            monkeypatch.setattr(up, "_dial", dial)
            await problem(up, "unreachable", "h.example:80", "cannot be resolved", "`backends[].url`")

    run(body)


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with unix sockets")
def test_a_unix_socket_is_used(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        path, environ = str(tmp_path / "model server.sock"), {"HTTP_PROXY": "http://127.0.0.1:9"}
        async with serving(keep, unix=path) as server, upstream(f"unix:{path}", environ=environ) as up:
            assert [await fetch(up) for _ in range(2)] == [b"ok", b"ok"]
            assert server.connections == 1
            assert b"\r\nhost: localhost\r\n" in server.heads[0]

    run(body)


@pytest.mark.skipif(not socket.has_ipv6, reason="only on systems with IPv6")
def test_an_ipv6_address_is_used(run: Run) -> None:
    async def body() -> None:
        async def answer(reader: Reader, writer: Writer) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            writer.close()

        heads: list[bytes] = []
        listener = await asyncio.start_server(answer, "::1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, upstream(f"http://[::1]:{port}") as up:
            assert await fetch(up) == b"ok"
        assert b"\r\nhost: [::1]:%d\r\n" % port in heads[0]

    run(body)


# --- TLS ---------------------------------------------------------------------------------------------------------------


class Authority(NamedTuple):
    """A private authority and what it signed, as files."""

    ca: str
    cert: str
    key: str
    wrong: str
    locked: str

    def server(self, cert: str | None = None, *, ask: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert or self.cert, self.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if ask:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    own, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Byway's test authority")])

    def certificate(name: str, public: ec.EllipticCurvePublicKey, *names: x509.GeneralName) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(issuer)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if names else issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False)
        )
        if names:
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        else:
            signs = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "encipher_only", "decipher_only"), False,
            )  # fmt: skip
            usage = x509.KeyUsage(key_cert_sign=True, crl_sign=True, **signs)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def private(lock: serialization.KeySerializationEncryption) -> bytes:
        return leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)

    here = (x509.DNSName("localhost"), x509.DNSName("model.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    files = {
        "ca": certificate("ca", own.public_key()),
        "cert": certificate("here", leaf.public_key(), *here),
        "key": private(serialization.NoEncryption()),
        "wrong": certificate("elsewhere", leaf.public_key(), x509.DNSName("elsewhere.example")),
        "locked": private(serialization.BestAvailableEncryption(b"password")),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Authority(**{name: str(folder / name) for name in files})


def test_tls_with_a_private_authority(run: Run, authority: Authority) -> None:
    async def body() -> None:
        chosen: list[tuple[Any, Any]] = []

        async def look(server: Server, reader: Reader, writer: Writer, count: int) -> None:
            inside = writer.get_extra_info("ssl_object")
            chosen.append((inside.selected_alpn_protocol(), inside.version()))
            await keep(server, reader, writer, count)

        async with serving(look, tls=authority.server()) as server:
            for host in ("localhost", "127.0.0.1"):
                async with upstream(f"https://{host}:{server.port}", tls=TlsSettings(ca=authority.ca)) as up:
                    assert [await fetch(up) for _ in range(3)] == [b"ok"] * 3
            assert server.connections == 2
        assert chosen == [("http/1.1", "TLSv1.3")] * 2

    run(body)


def test_an_untrusted_certificate_is_rejected(run: Run, authority: Authority) -> None:
    async def body() -> None:
        async with serving(keep, tls=authority.server()) as server:
            url = f"https://localhost:{server.port}"
            async with upstream(url) as up:
                await problem(up, "unreachable", f"localhost:{server.port}", "not trusted", "`backends[].tls.ca`")
            async with upstream(url, tls=TlsSettings(verify=False)) as up:
                assert await fetch(up) == b"ok"
        async with serving(keep, tls=authority.server(authority.wrong)) as server:
            url = f"https://localhost:{server.port}"
            async with upstream(url, tls=TlsSettings(ca=authority.ca)) as up:
                await problem(up, "unreachable", "not trusted", "localhost")
                assert not server.heads
            async with upstream(url, tls=TlsSettings(ca=authority.ca, verify=False)) as up:
                assert await fetch(up) == b"ok"

    run(body)


def test_only_pinned_addresses_are_used_and_names_are_kept(run: Run, authority: Authority) -> None:
    """No look-up, no proxy, the addresses in their order; `Host` and the certificate go by the name."""
    names: list[str | None] = []
    door = authority.server()
    door.sni_callback = lambda _, name, __: names.append(name)

    async def body() -> None:
        names.clear()
        more = {"tls": TlsSettings(ca=authority.ca), "environ": {"https_proxy": "http://127.0.0.1:9"}}
        async with serving(keep, tls=door) as server:
            pinned = ("127.0.0.9", "127.0.0.1")
            async with upstream(f"https://model.example:{server.port}", pinned=pinned, **more) as up:
                assert await fetch(up) == b"ok"
            assert f"host: model.example:{server.port}\r\n".encode() in server.heads[0].lower()
            async with upstream(f"https://other.example:{server.port}", pinned=("127.0.0.1",), **more) as up:
                await problem(up, "unreachable", "not trusted", "other.example")
            assert len(server.heads) == 1
            async with upstream(f"https://model.example:{server.port}", pinned=("127.0.0.9",), **more) as up:
                await problem(up, "unreachable", "model.example")
        assert names == ["model.example", "other.example"]

    run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: all of 127.0.0.0/8 is loopback")
def test_a_silent_pinned_address_leaves_time_for_the_next(run_timed: Run) -> None:
    async def body() -> None:
        async with serving(keep) as server:
            with socket.socket() as full:
                # Its queue is full: the system does not answer the third.
                full.bind(("127.0.0.8", server.port))
                full.listen(0)
                fill = [socket.socket() for _ in range(3)]
                for connection in fill:
                    connection.setblocking(False)
                    connection.connect_ex(("127.0.0.8", server.port))
                limits = TimeoutSettings(connect=0.5, first_byte=30.0, between_chunks=30.0)
                more = {"pinned": ("127.0.0.8", "127.0.0.1"), "timeouts": limits}
                async with upstream(f"http://model.example:{server.port}", **more) as up:
                    assert await fetch(up) == b"ok"
                for connection in fill:
                    connection.close()

    run_timed(body)


def test_a_client_certificate_is_sent(run: Run, authority: Authority) -> None:
    def serve(listener: socket.socket) -> None:
        # asyncio's server closes before the alert has left; OpenSSL on a plain socket does what others do.
        listener.settimeout(60)
        for _ in range(2):
            taken, _address = listener.accept()
            taken.settimeout(60)
            with taken.dup() as raw:
                inner = authority.server(ask=True).wrap_socket(taken, server_side=True, do_handshake_on_connect=False)
                with inner, suppress(ssl.SSLError):
                    inner.do_handshake()
                    inner.recv(9999)
                    inner.sendall(OK)
                with suppress(OSError):
                    while raw.recv(9999):
                        pass

    async def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            served = asyncio.get_running_loop().run_in_executor(None, serve, listener)
            url, call = f"https://localhost:{listener.getsockname()[1]}", Call("GET", "/")
            async with upstream(url, tls=TlsSettings(ca=authority.ca, cert=authority.cert, key=authority.key)) as up:
                assert await fetch(up, call) == b"ok"
            async with upstream(url, tls=TlsSettings(ca=authority.ca)) as up:
                words = ("client certificate", "`backends[].tls.cert`")
                await problem(up, "unreachable", url[8:], *words, call=call)
            await served

    run(body)


def test_old_tls_is_refused(run: Run, authority: Authority) -> None:
    async def body() -> None:
        old = authority.server()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        trust = TlsSettings(ca=authority.ca)
        async with serving(keep, tls=old) as server, upstream(f"https://localhost:{server.port}", tls=trust) as up:
            await problem(up, "unreachable", f"localhost:{server.port}", "TLS")
            assert not server.heads

    asyncio.run(body())


def test_https_to_an_http_server_and_the_reverse_are_reported(run: Run, authority: Authority) -> None:
    async def plain(_: Server, reader: Reader, writer: Writer, _count: int) -> None:
        await reader.read(99)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    async def hang_up(_: Server, reader: Reader, _writer: object, _count: int) -> None:
        await reader.read(9999)

    async def body() -> None:
        for script in (plain, hang_up):
            async with serving(script) as server, upstream(f"https://localhost:{server.port}") as up:
                await problem(up, "unreachable", f"localhost:{server.port}", "https")
        async with serving(keep, tls=authority.server()) as server, upstream(server.port) as up:
            with pytest.raises(Problem) as caught:
                await fetch(up)
            assert caught.value.kind in ("broken", "unreachable")

    asyncio.run(body())


def test_an_unusable_file_is_named_by_its_setting(authority: Authority, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_text("canary")

    async def body() -> None:
        for field, tls in (
            ("ca", TlsSettings(ca=str(tmp_path / "none"))),
            ("ca", TlsSettings(ca=str(junk))),
            ("cert", TlsSettings(cert=str(tmp_path / "none"))),
            ("cert", TlsSettings(cert=str(junk), key=authority.key)),
            # Nobody is asked for a password at a terminal.
            ("cert", TlsSettings(cert=authority.cert, key=authority.locked)),
        ):
            async with upstream("https://127.0.0.1:9", tls=tls) as up:
                await problem(up, "unreachable", f"`backends[].tls.{field}`")

    asyncio.run(body())


# --- proxies -----------------------------------------------------------------------------------------------------------


async def tunnel(server: Server, reader: Reader, writer: Writer, _: int) -> None:
    """A CONNECT proxy that leads every name to the port it was asked for on this machine."""
    head = await server.take(reader)
    port = int(head.split(b" ")[1].rpartition(b":")[2])
    there, onward = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")

    async def pass_on(source: Reader, sink: Writer) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    await asyncio.gather(pass_on(reader, onward), pass_on(there, writer))


@pytest.mark.parametrize("secure", [False, True])
def test_https_goes_through_a_tunnel(run: Run, authority: Authority, secure: bool, monkeypatch: Any) -> None:
    if secure:
        # The proxy itself is reached by TLS, checked against the system's authorities: here, ours.
        monkeypatch.setenv("SSL_CERT_FILE", authority.ca)
    names: list[str] = []
    backend = authority.server()
    backend.sni_callback = lambda _, name, __: names.append(name)

    async def body() -> None:
        door = authority.server() if secure else None
        async with serving(keep, tls=backend) as server, serving(tunnel, tls=door) as proxy:
            way = f"http{'s' if secure else ''}://us%40er:pass%3Aword@127.0.0.1:{proxy.port}"
            async with upstream(
                f"https://model.example:{server.port}", tls=TlsSettings(ca=authority.ca), proxy=way
            ) as up:
                assert [await fetch(up) for _ in range(2)] == [b"ok", b"ok"]
            aim = b"model.example:%d" % server.port
            pair = base64.b64encode(b"us@er:pass:word")
            expected_request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nproxy-authorization: Basic %b\r\n\r\n" % (
                aim,
                aim,
                pair,
            )
            assert proxy.heads == [expected_request]
            assert (names, server.connections) == (["model.example"], 1)
            assert b"\r\nhost: " + aim + b"\r\n" in server.heads[0]
            assert server.heads[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
            assert b"proxy-authorization" not in b"".join(server.heads)

    run(body)


def test_http_sends_the_whole_url_to_the_proxy(run: Run) -> None:
    async def body() -> None:
        async with serving(keep) as proxy:
            way = f"http://user:{SECRET}@127.0.0.1:{proxy.port}"
            async with upstream("http://model.example:81/base", proxy=way) as up:
                assert [await fetch(up) for _ in range(2)] == [b"ok", b"ok"]
        assert proxy.connections == 1
        head = proxy.heads[0]
        assert head.startswith(b"POST http://model.example:81/base/v1/x HTTP/1.1\r\nhost: model.example:81\r\n")
        assert b"proxy-authorization: Basic " + base64.b64encode(f"user:{SECRET}".encode()) + b"\r\n" in head

    run(body)


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"HTTP/1.1 407 Who\r\ncontent-length: 2\r\n\r\nno", "unreachable", "user name and password"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno", "unreachable", "HTTP 403"),
        (b"", "unreachable", "without an answer"),
        (b"SSH-2.0\r\n", "broken", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "unreachable", "https"),
    ],
)
def test_a_refusal_of_the_proxy_is_reported(run: Run, raw: bytes, kind: str, words: str) -> None:
    async def body() -> None:
        async with serving(raw) as proxy:
            way = f"http://user:{SECRET}@127.0.0.1:{proxy.port}"
            async with upstream("https://model.example", proxy=way) as up:
                await problem(up, kind, words)
                assert proxy.connections == 1
        if b"407" in raw:
            async with serving(raw) as proxy, upstream("http://a.example", proxy=f"127.0.0.1:{proxy.port}") as up:
                await problem(up, kind, words, f"proxy 127.0.0.1:{proxy.port}")

    run(body)


P, Q = "http://p.example:1", "http://q.example:2"


@pytest.mark.parametrize(
    ("url", "setting", "environ", "expected"),
    [
        ("https://a.example", None, {}, None),
        ("https://a.example", None, {"HTTPS_PROXY": P, "HTTP_PROXY": Q}, "p.example:1"),
        ("http://a.example", None, {"HTTPS_PROXY": P, "HTTP_PROXY": Q}, "q.example:2"),
        ("https://a.example", None, {"https_proxy": P, "HTTPS_PROXY": Q}, "p.example:1"),
        ("https://a.example", None, {"ALL_PROXY": P}, "p.example:1"),
        ("https://a.example", None, {"HTTPS_PROXY": "p.example:8"}, "p.example:8"),
        ("https://a.example", None, {"HTTPS_PROXY": " "}, None),
        ("https://a.example", Q, {"HTTPS_PROXY": P}, "q.example:2"),
        ("https://a.example", "none", {"HTTPS_PROXY": P}, None),
        ("https://a.example", "", {"HTTPS_PROXY": P}, None),
        ("https://a.example", Q, {"NO_PROXY": "*"}, "q.example:2"),
        ("http://localhost:1", None, {"HTTP_PROXY": P}, None),
        ("http://x.localhost:1", None, {"HTTP_PROXY": P}, None),
        ("http://127.9.9.9:1", None, {"HTTP_PROXY": P}, None),
        ("http://[::1]:1", None, {"HTTP_PROXY": P}, None),
        ("unix:/run/x", None, {"HTTP_PROXY": P}, None),
        ("unix:/run/x", P, {}, None),
        ("http://127.0.0.1:1", P, {}, "p.example:1"),
        ("https://a.example", None, {"HTTPS_PROXY": P, "NO_PROXY": "*"}, None),
        ("https://a.example", None, {"HTTPS_PROXY": P, "no_proxy": "b.example, a.example"}, None),
        ("https://x.a.example", None, {"HTTPS_PROXY": P, "NO_PROXY": "a.example"}, None),
        ("https://x.a.example", None, {"HTTPS_PROXY": P, "NO_PROXY": ".A.example"}, None),
        ("https://xa.example", None, {"HTTPS_PROXY": P, "NO_PROXY": "a.example"}, "p.example:1"),
        ("https://a.example:8443", None, {"HTTPS_PROXY": P, "NO_PROXY": "a.example:8443"}, None),
        ("https://a.example", None, {"HTTPS_PROXY": P, "NO_PROXY": "a.example:8443"}, "p.example:1"),
        ("https://10.1.2.3", None, {"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3", None, {"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, "p.example:1"),
        ("https://[fd00::7]:9", None, {"HTTPS_PROXY": P, "NO_PROXY": "[fd00::7]:9"}, None),
        ("https://[fd00::7]", None, {"HTTPS_PROXY": P, "NO_PROXY": "fd00::/8"}, None),
    ],
)
def test_the_proxy_for_an_address(url: str, setting: str | None, environ: dict[str, str], expected: str | None) -> None:
    proxy = proxy_for(UpstreamAddress(url), setting, environ)
    assert (proxy and proxy.shown) == expected


def test_an_invalid_proxy_affects_only_addresses_that_use_it(run: Run) -> None:
    async def body() -> None:
        environ = {"HTTPS_PROXY": f"socks5://user:{SECRET}@p.example"}
        async with upstream("https://a.example", environ=environ) as up:
            raised = await problem(up, "unreachable", "a.example:443", "HTTPS_PROXY", "http://proxy.example.org:3128")
            assert SECRET not in raised.message
        async with serving(keep) as server, upstream(server.port, environ=environ) as up:
            assert await fetch(up) == b"ok"

    run(body)
    with pytest.raises(ValueError, match="must begin with"):
        ProxyAddress("ftp://x")
