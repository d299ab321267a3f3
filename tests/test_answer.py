"""An answer as bytes arrive: the work is linear in headers, chunks, lines and compressed members, and limits hold in one read."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any, cast

import pytest
from growth import assert_linear

from byway.config import TimeoutSettings
from byway.problems import Problem
from byway.upstream.answer import Answer
from byway.upstream.coding import Unpacker
from byway.upstream.connection import UpstreamConnection

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n"


class FakeTransport:
    """A transport that sends nothing."""

    def __init__(self) -> None:
        self.paused = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True


class FakeServer:
    """A server with one connection."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.shown = "Backend 'box'"
        self.timeouts = TimeoutSettings()
        self._connection = connection

    def ended(self, answer: Answer, idle_seconds: float) -> None:
        self._connection.release()


def receive(data: bytes, piece: int = 256 << 10) -> tuple[Answer, bytes]:
    """The answer to a request whose bytes arrive in pieces, and its body. Raises Problem."""

    async def main() -> tuple[Answer, bytes]:
        connection = UpstreamConnection()
        transport = FakeTransport()
        connection.connection_made(cast(Any, transport))
        answer = Answer(connection, "GET", FakeServer(connection))
        begun = asyncio.create_task(answer.begin(b"GET / HTTP/1.1\r\n\r\n", b""))
        await asyncio.sleep(0)
        body: list[bytes] = []
        reading: asyncio.Task[None] | None = None

        async def read() -> None:
            while part := await answer.read():
                body.append(part)

        try:
            for at in range(0, len(data), piece):
                connection.data_received(data[at : at + piece])
                await asyncio.sleep(0)
                if reading is None and begun.done():
                    await begun
                    reading = asyncio.create_task(read())
            await begun
            await (reading or read())
        finally:
            for task in (begun, reading):
                if task is not None:
                    task.cancel()
            answer.close()
        return answer, b"".join(body)

    return asyncio.run(main())


@pytest.mark.parametrize("piece", [1 << 10, 256 << 10])
@pytest.mark.parametrize(
    "content", [b"1\r\nx\r\n", b"1;extension=a\r\nx\r\n", b"2\r\n\n\n\r\n", b"f\r\ndata: {}\n\nabcde\r\n"]
)
def test_the_work_grows_linearly_with_chunks(content: bytes, piece: int) -> None:
    def make(size: int) -> bytes:
        return CHUNKED + b"\r\n" + content * size + b"0\r\n\r\n"

    assert receive(make(10), piece)[1]
    assert_linear(make, lambda data: receive(data, piece))


def test_the_work_grows_linearly_with_the_length_of_a_body() -> None:
    def make(size: int) -> bytes:
        return HEAD + b"content-length: %d\r\n\r\n" % (size * 1000) + b"x" * 1000 * size

    assert_linear(make, receive)


@pytest.mark.parametrize(
    "headers",
    [
        b"".join(b"a%d: x\r\n" % number for number in range(201)),
        b"a: x\r\n" * 201,
        b"a: %b\r\n" % (b"x" * 66_000),
        b"".join(b"a%d: %b\r\n" % (number, b"x" * 1000) for number in range(70)),
        b"a" * 66_000 + b": x\r\n",
    ],
    ids=["names", "one name", "a value", "values", "a name"],
)
@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_headers_over_a_limit_are_rejected_also_in_one_read_with_the_body(headers: bytes, piece: int) -> None:
    with pytest.raises(Problem, match="limit of 64 KiB") as caught:
        receive(HEAD + headers + b"content-length: 5\r\n\r\nhello", piece)
    assert caught.value.kind == "broken"


def test_trailers_over_a_limit_are_rejected() -> None:
    with pytest.raises(Problem, match="limit of 64 KiB and 200 fields"):
        receive(CHUNKED + b"\r\n1\r\nx\r\n0\r\n" + b"a: x\r\n" * 201 + b"\r\n")


def test_informational_answers_without_end_are_rejected() -> None:
    with pytest.raises(Problem, match="limit of 64 KiB"):
        receive(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, 16 << 10)


@pytest.mark.parametrize("piece", [7, 1000, 256 << 10])
def test_the_work_of_a_header_that_arrives_in_pieces_is_bounded(piece: int) -> None:
    answer, body = receive(HEAD + b"a: %b\r\ncontent-length: 2\r\n\r\nok" % (b"x" * 60_000), piece)
    assert (len(answer.headers["a"]), body) == (60_000, b"ok")


MEMBERS = {
    "empty gzip members": gzip.compress(b""),
    "small gzip members": gzip.compress(b"x"),
    "gzip members of 10 KB": gzip.compress(bytes(range(256)) * 40),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_work_grows_linearly_with_gzip_members(name: str) -> None:
    member = MEMBERS[name]

    def run(data: bytes) -> int:
        unpacker = Unpacker("gzip")
        size = len(unpacker.unpack(data))
        while not unpacker.needs_input:
            size += len(unpacker.unpack(b""))
        assert unpacker.finished
        return size

    assert run(member * 3) == 3 * len(gzip.decompress(member))
    assert_linear(lambda size: member * size, run, size=100)


def test_the_work_grows_linearly_with_decompressed_bytes_and_each_step_is_bounded() -> None:
    def make(size: int) -> bytes:
        return zlib.compress(bytes(size * 100_000))

    def run(data: bytes) -> None:
        unpacker = Unpacker("deflate")
        piece = unpacker.unpack(data)
        while not unpacker.needs_input:
            assert len(piece) <= 1 << 20
            piece = unpacker.unpack(b"")

    assert_linear(make, run, size=10)
