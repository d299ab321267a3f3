"""A web server on loopback for tests of web fetch, host names for it, and a fetcher that may reach it. No assertions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from byway.config import WebFetchSettings
from byway.web.fetch import Fetcher, FetchError

#: Hosts with addresses that are not public.
PRIVATE: dict[str, Sequence[str]] = {
    "lan.evil.org": ["10.0.0.7"],
    "loop.evil.org": ["127.0.0.1"],
    "loop6.evil.org": ["::1"],
    "mapped.evil.org": ["::ffff:127.0.0.1"],
    "link.evil.org": ["fe80::1%eth0", "169.254.1.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "meta.evil.org": ["169.254.169.254"],
    "ula.evil.org": ["fd12:3456::1"],
    "nat64.evil.org": ["64:ff9b::7f00:1"],
    "sixtofour.evil.org": ["2002:7f00:1::"],
    "cgnat.evil.org": ["100.64.0.1"],
    "zero.evil.org": ["0.0.0.0"],
    "wire.evil.org": ["168.63.129.16"],
    "none.evil.org": [],
}
HOSTS: dict[str, Sequence[str]] = {"site.evil.org": ["127.0.0.1"], **PRIVATE}
#: Raw responses by path. `...` at the end: the connection stays open and silent. `PORT` becomes the server's port.
Responses = dict[str, bytes]


def resolver(table: Mapping[str, Sequence[str]]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in table:
            raise OSError(f"{host} is not known")
        return table[host]

    return resolve


def fetcher(**more: Any) -> Fetcher:
    """A fetcher that may reach 127.0.0.1."""
    settings: dict[str, Any] = {"allow_private": ("127.0.0.1",), "timeout": 30.0} | more
    return Fetcher(WebFetchSettings(**settings), resolve=resolver(HOSTS))


async def fetch_error(fetcher: Fetcher, url: str, **more: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.fetch(url, **more)
    return caught.value


class WebServer:
    """The running server and the heads of its requests."""

    def __init__(self, responses: Responses) -> None:
        self.responses = responses
        self.requests: list[bytes] = []
        self.port = 0
        self.closed = asyncio.Event()

    @property
    def base(self) -> str:
        return f"http://site.evil.org:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        response = self.responses.get(head.split()[1].decode(), b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
        writer.write(response.removesuffix(b"...").replace(b"PORT", str(self.port).encode()))
        await writer.drain()
        if response.endswith(b"..."):
            # Silent until the client leaves.
            await reader.read()
        writer.close()
        self.closed.set()


@asynccontextmanager
async def web_server(responses: Responses) -> AsyncIterator[WebServer]:
    made = WebServer(responses)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
        if made.requests:
            await made.closed.wait()
            await asyncio.sleep(0)
    finally:
        server.close()


def response(body: bytes, media_type: str = "text/plain", *more: str) -> bytes:
    lines = (f"content-type: {media_type}", f"content-length: {len(body)}", *more)
    head = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
