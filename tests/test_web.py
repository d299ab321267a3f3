"""Fetching pages: which addresses are never reached, what is checked again, every limit, and what a page becomes."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from byway import urls
from byway.config import WebFetchSettings
from byway.parsing.html import decode_text
from byway.web.fetch import Fetcher, FetchError, FetchErrorCode, _bound
from byway.web.guard import AddressPolicy, never, public

_seen: list[str] = []
_counting = False


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if _counting and event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        _seen.append(f"{event} {arguments[1:] if event == 'socket.connect' else arguments}")


sys.addaudithook(_count)


@pytest.fixture
def connections() -> Iterator[list[str]]:
    """Every connection and look-up that the standard library makes from here on, in any thread."""
    global _counting
    _seen.clear()
    _counting = True
    yield _seen
    _counting = False


def names(table: Mapping[str, Sequence[str]]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in table:
            raise OSError(f"{host} is not known")
        return table[host]

    return resolve


async def refused(fetcher: Fetcher, url: str, **more: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.fetch(url, **more)
    return caught.value


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
INVALID: FetchErrorCode = "invalid_tool_input"
FORBIDDEN: FetchErrorCode = "url_not_allowed"
HOSTILE: list[tuple[str, FetchErrorCode]] = [
    # Addresses in disguise.
    ("http://2130706433/", INVALID),
    ("http://017700000001/", INVALID),
    ("http://0x7f000001/", INVALID),
    ("http://0x7f.0.0.1/", INVALID),
    ("http://0177.0.0.1/", INVALID),
    ("http://127.1/", INVALID),
    ("http://127.0.1/", INVALID),
    ("http://0/", INVALID),
    ("http://127.0.0.1.0x0/", INVALID),
    ("http://127.0.0.01/", INVALID),
    ("http://256.256.256.256/", INVALID),
    ("http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", FORBIDDEN),
    ("http://127。0。0。1/", FORBIDDEN),
    ("http://①②⑦.⓪.⓪.①/", FORBIDDEN),
    ("http://127.0.0.1./", FORBIDDEN),
    # Addresses of this machine, this link, this network.
    ("http://127.0.0.1/", FORBIDDEN),
    ("http://127.255.255.254/", FORBIDDEN),
    ("http://0.0.0.0/", FORBIDDEN),
    ("http://[::]/", FORBIDDEN),
    ("http://[::1]/", FORBIDDEN),
    ("http://[0:0:0:0:0:0:0:1]:8080/", FORBIDDEN),
    ("http://10.1.2.3/", FORBIDDEN),
    ("http://172.16.0.1/", FORBIDDEN),
    ("http://192.168.1.1/", FORBIDDEN),
    ("http://100.64.0.1/", FORBIDDEN),
    ("http://169.254.169.254/latest/meta-data/", FORBIDDEN),
    ("http://169.254.170.2/v2/credentials", FORBIDDEN),
    ("http://100.100.100.200/latest/meta-data/", FORBIDDEN),
    ("http://168.63.129.16/machine", FORBIDDEN),
    ("http://192.0.0.192/latest/", FORBIDDEN),
    ("http://[fd00:ec2::254]/latest/meta-data/", FORBIDDEN),
    ("http://224.0.0.1/", FORBIDDEN),
    ("http://255.255.255.255/", FORBIDDEN),
    ("http://[fe80::1]/", FORBIDDEN),
    ("http://[fc00::1]/", FORBIDDEN),
    ("http://[ff02::1]/", FORBIDDEN),
    ("http://[2001:db8::1]/", FORBIDDEN),
    # IPv4 in the dress of IPv6.
    ("http://[::ffff:127.0.0.1]/", FORBIDDEN),
    ("http://[::ffff:7f00:1]/", FORBIDDEN),
    ("http://[::ffff:169.254.169.254]/", FORBIDDEN),
    ("http://[::127.0.0.1]/", FORBIDDEN),
    ("http://[64:ff9b::10.0.0.1]/", FORBIDDEN),
    ("http://[2002:7f00:1::]/", FORBIDDEN),
    ("http://[2001:0:7f00:1::]/", FORBIDDEN),
    ("http://[fe80::1%25eth0]/", INVALID),
    ("http://[::1%lo]/", INVALID),
    # What programs read in different ways.
    ("http://example.com@127.0.0.1/", INVALID),
    ("http://user:secret@example.com/", INVALID),
    ("http://127.0.0.1\\@example.com/", INVALID),
    ("http:\\\\127.0.0.1\\", INVALID),
    ("http://example.com\t.evil.org/", INVALID),
    ("http://example.com\r\nHost: 127.0.0.1/", INVALID),
    ("http://exa\0mple.com/", INVALID),
    ("http://%31%32%37.0.0.1/", INVALID),
    ("http://127%2e0%2e0%2e1/", INVALID),
    ("http://faß.de/", INVALID),
    ("http://exam\u200bple.com/", INVALID),
    ("http://example..com/", INVALID),
    ("http://[::1/", INVALID),
    ("http://127.0.0.1:80:80/", INVALID),
    ("http://example.com:99999/", INVALID),
    ("http://example.com:-1/", INVALID),
    ("http:///etc/passwd", INVALID),
    ("http:example.com", INVALID),
    # Other schemes, other services.
    ("file:///etc/passwd", INVALID),
    ("ftp://example.com/", INVALID),
    ("gopher://127.0.0.1:6379/_FLUSHALL", INVALID),
    ("javascript:alert(1)", INVALID),
    ("data:text/html,hello", INVALID),
    ("unix:/var/run/docker.sock", INVALID),
    ("//127.0.0.1/", INVALID),
    ("http://example.com:22/", FORBIDDEN),
    ("http://example.com:25/", FORBIDDEN),
    # Names.
    ("http://localhost/", FORBIDDEN),
    ("http://LOCALHOST.:8080/", FORBIDDEN),
    ("http://a.localhost/", FORBIDDEN),
    ("http://intranet/", FORBIDDEN),
    ("http://printer.local/", FORBIDDEN),
    *((f"http://{name}/", FORBIDDEN) for name in PRIVATE),
    ("http://unknown.evil.org/", "url_not_accessible"),
    (f"http://example.com/{'a' * 250}", "url_too_long"),
]


def test_no_hostile_address_is_ever_connected_to(connections: list[str]) -> None:
    assert len(HOSTILE) >= 60
    fetcher = Fetcher(WebFetchSettings(), resolve=names(PRIVATE))

    async def codes() -> list[tuple[str, FetchErrorCode]]:
        return [(url, (await refused(fetcher, url)).code) for url, _ in HOSTILE]

    assert asyncio.run(codes()) == HOSTILE
    assert not connections


@given(st.text(max_size=60) | st.from_regex(r"https?://[0-9a-fx.:%@\[\]/?#\\]{0,40}", fullmatch=True))
def test_whatever_is_asked_for_either_fails_with_a_code_or_is_looked_up_once(text: str) -> None:
    with suppress(ValueError):
        assume(not ((number := urls.parse(text).number) and public(number)))
    looked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        looked.append(host)
        return ["10.0.0.1"]

    async def go() -> FetchError:
        return await refused(Fetcher(WebFetchSettings(), resolve=resolve), text)

    found = asyncio.run(go())
    assert found.code in (INVALID, FORBIDDEN)
    assert len(looked) <= 1


def test_the_codes_are_the_official_ones_and_stand_in_the_docs() -> None:
    from anthropic.types import WebFetchToolResultErrorCode

    assert set(get_args(FetchErrorCode)) == set(get_args(WebFetchToolResultErrorCode))
    page = (Path(__file__).parent.parent / "docs/web-fetch.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(get_args(FetchErrorCode))


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/"])
def test_what_is_never_reached_is_not_reached_when_it_is_listed_either(url: str, connections: list[str]) -> None:
    fetcher = Fetcher(WebFetchSettings(allow_private=("0.0.0.0/0", "::/0", "meta.evil.org")), resolve=names(PRIVATE))

    async def go() -> None:
        assert (await refused(fetcher, url)).code == FORBIDDEN
        assert (await refused(fetcher, "http://meta.evil.org/")).code == FORBIDDEN

    asyncio.run(go())
    assert not connections


def test_local_only_makes_no_look_up_and_no_connection_outward(connections: list[str]) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["93.184.216.34"]

    settings = WebFetchSettings(allow_private=("192.168.0.0/16", "wiki.corp.example"))
    fetcher = Fetcher(settings, local_only=True, resolve=resolve)

    async def go() -> None:
        for url in ("https://example.com/", "https://93.184.216.34/", "http://10.0.0.1/", "http://wiki.corp.example/"):
            found = await refused(fetcher, url)
            assert found.code == FORBIDDEN
            assert "local_only" in found.message

    asyncio.run(go())
    assert asked == ["wiki.corp.example"]
    assert not connections


def test_a_public_address_of_this_machine_is_not_reached(
    connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(mine: set[str]) -> FetchError:
        monkeypatch.setattr("byway.web.fetch._bound", mine.__contains__)
        return await refused(Fetcher(WebFetchSettings(timeout=0.5)), "http://93.184.216.34/")

    found = asyncio.run(go({"93.184.216.34"}))
    assert (found.code, "an address of this machine" in found.message) == (FORBIDDEN, True)
    assert not connections
    # Listed, it may be.
    url, number = urls.parse("http://93.184.216.34/"), ipaddress.ip_address("93.184.216.34")
    assert AddressPolicy(["93.184.216.0/24"]).lists(url, number)
    assert not AddressPolicy(["10.0.0.0/8"]).lists(url, number)


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_only_own_addresses_can_be_bound(address: str, expected: bool) -> None:
    assert _bound(address) is expected


@given(st.ip_addresses(v=4))
def test_ipv4_in_the_dress_of_ipv6_is_never_public(number: ipaddress.IPv4Address) -> None:
    whole = int(number)
    for dressed in (0xFFFF << 32 | whole, whole, 0x64FF9B << 96 | whole, 0x2002 << 112 | whole << 80):
        assert never(ipaddress.IPv6Address(dressed)) or dressed == 1
    assert not (public(number) and (number.is_private or number.is_loopback or number.is_link_local))
    assert not (public(number) and (number.is_multicast or number.is_reserved or number.is_unspecified))


@given(st.ip_addresses(v=6))
def test_ipv6_that_is_for_someone_is_never_public(number: ipaddress.IPv6Address) -> None:
    assert not (public(number) and (number.is_private or number.is_multicast or number.is_site_local))
    assert public(number) <= (number in ipaddress.ip_network("2000::/3"))


@pytest.mark.parametrize("text", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_ordinary_addresses_are_public(text: str) -> None:
    assert public(ipaddress.ip_address(text))


TEXT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
Answers = dict[str, bytes]


class Site:
    """A server on loopback that knows its answers by path, and what it was asked."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[bytes] = []
        self.port = 0
        self.ended = asyncio.Event()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        answer = self.answers.get(head.split()[1].decode(), b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
        writer.write(answer.removesuffix(b"...").replace(b"PORT", str(self.port).encode()))
        await writer.drain()
        if answer.endswith(b"..."):
            # Silent until the client leaves.
            await reader.read()
        writer.close()
        self.ended.set()


@asynccontextmanager
async def site(answers: Answers) -> AsyncIterator[Site]:
    made = Site(answers)
    server = await asyncio.start_server(made.meet, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
        if made.asked:
            await made.ended.wait()
            await asyncio.sleep(0)
    finally:
        server.close()


def answer(body: bytes, kind: str = "text/plain", *more: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"content-type: {kind}", f"content-length: {len(body)}", *more))
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


HERE: dict[str, Sequence[str]] = {"site.evil.org": ["127.0.0.1"], **PRIVATE}


def fetcher(**more: Any) -> Fetcher:
    settings: dict[str, Any] = {"allow_private": ("127.0.0.1",), "timeout": 5.0} | more
    return Fetcher(WebFetchSettings(**settings), resolve=names(HERE))


def test_a_page_comes_from_the_checked_address_with_its_own_name_and_nothing_of_ours() -> None:
    async def go() -> None:
        async with site({"/a?b=1": answer(b"hello", "text/plain", "set-cookie: a=b")}) as here:
            made = fetcher(cache_ttl=0.0)
            for _ in range(2):
                page = await made.fetch(f"http://Site.Evil.org:{here.port}/x/../a?b=1#part")
            assert page.url == f"http://site.evil.org:{here.port}/a?b=1"
            assert (page.text, page.media_type, page.title, page.cut) == ("hello", "text/plain", "", False)
            assert page.retrieved_at.endswith("Z")
            assert len(here.asked) == 2
            names_sent = {line.split(b":")[0] for line in here.asked[1].split(b"\r\n")[1:] if line}
            assert names_sent == {b"host", b"accept-encoding", b"accept", b"user-agent"}
            assert b"host: site.evil.org:%d\r\n" % here.port in here.asked[1]

    asyncio.run(go())


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def go() -> None:
        async with site({"/": TEXT}) as here:
            assert (await fetcher().fetch(f"http://site.evil.org:{here.port}")).text == "hello"

    asyncio.run(go())


def test_a_name_that_means_another_address_the_next_time_is_not_followed(connections: list[str]) -> None:
    """Rebinding: the first look-up is good and used, the one after a redirect is not."""
    looked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        looked.append(host)
        return ["127.0.0.1"] if len(looked) == 1 else ["127.0.0.2"]

    async def go() -> None:
        async with site({"/good": TEXT, "/again": moved("/secret"), "/secret": TEXT}) as here:
            made = Fetcher(WebFetchSettings(allow_private=("127.0.0.1",)), resolve=resolve)
            assert (await made.fetch(f"http://turn.evil.org:{here.port}/good")).text == "hello"
            assert looked == ["turn.evil.org"]
            looked.clear()
            found = await refused(made, f"http://turn.evil.org:{here.port}/again")
            assert (found.code, len(looked), len(here.asked)) == (FORBIDDEN, 2, 2)

    asyncio.run(go())
    assert len(connections) == 2
    assert not any("127.0.0.2" in one or "getaddrinfo" in one for one in connections)


def test_of_several_addresses_only_the_good_ones_are_tried_in_their_order(connections: list[str]) -> None:
    async def go() -> None:
        async with site({"/": TEXT}) as here:
            table = {"many.evil.org": ["10.0.0.1", "127.0.0.3", "::1", "127.0.0.1", "127.0.0.1"]}
            made = Fetcher(WebFetchSettings(allow_private=("127.0.0.1", "127.0.0.3")), resolve=names(table))
            assert (await made.fetch(f"http://many.evil.org:{here.port}/")).text == "hello"

    asyncio.run(go())
    assert [one.split("'")[1] for one in connections] == ["127.0.0.3", "127.0.0.1"]


ASTRAY: list[tuple[str, FetchErrorCode]] = [
    ("http://169.254.169.254/latest/meta-data/", FORBIDDEN),
    ("http://metadata.google.internal/", FORBIDDEN),
    ("//meta.evil.org/", FORBIDDEN),
    ("http://[::ffff:169.254.169.254]/", FORBIDDEN),
    ("http://[::1]:PORT/", FORBIDDEN),
    ("http://127.0.0.2:PORT/", FORBIDDEN),
    ("http://2852039166/", "url_not_accessible"),
    ("http://user@127.0.0.1:PORT/", "url_not_accessible"),
    ("file:///etc/passwd", "url_not_accessible"),
    ("http://127.0.0.1\\@example.com/", "url_not_accessible"),
    ("http://site.evil.org:22/", FORBIDDEN),
    ("", "url_not_accessible"),
    (f"/{'a' * 3000}", "url_not_accessible"),
]


@pytest.mark.parametrize(("location", "code"), ASTRAY)
def test_a_redirect_is_checked_like_the_first_address(
    location: str, code: FetchErrorCode, connections: list[str]
) -> None:
    async def go() -> None:
        async with site({"/": moved(location)}) as here:
            assert (await refused(fetcher(), f"http://site.evil.org:{here.port}/")).code == code

    asyncio.run(go())
    assert len(connections) == 1


def test_five_redirects_are_followed_and_no_more() -> None:
    async def go() -> None:
        steps = {f"/{at}": moved(f"{at + 1}", status) for at, status in enumerate((301, 302, 303, 307, 308, 302))}
        async with site({**steps, "/5": TEXT, "/loop": moved("/loop")}) as here:
            page = await fetcher().fetch(f"http://site.evil.org:{here.port}/0")
            assert page.url.endswith("/5")
            assert len(page.trail) == 6
            found = await refused(fetcher(), f"http://site.evil.org:{here.port}/loop")
            assert found.code == "url_not_accessible"
            assert len(here.asked) == 12

    asyncio.run(go())


def test_domain_lists_hold_for_redirects_and_for_what_is_remembered() -> None:
    async def go() -> None:
        async with site({"/": moved("http://127.0.0.1:PORT/b"), "/b": TEXT}) as here:
            made = fetcher()
            url = f"http://site.evil.org:{here.port}/"
            assert (await refused(made, url, allowed=["site.evil.org"])).code == FORBIDDEN
            assert (await made.fetch(url)).text == "hello"
            asked = len(here.asked)
            assert (await refused(made, url, allowed=["site.evil.org"])).code == FORBIDDEN
            assert (await refused(made, url, blocked=["evil.org"])).code == FORBIDDEN
            assert (await refused(fetcher(blocked_domains=("evil.org",)), url)).code == FORBIDDEN
            assert (await refused(fetcher(allowed_domains=("example.com",)), url)).code == FORBIDDEN
            assert len(here.asked) == asked

    asyncio.run(go())


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
FAILING: list[tuple[bytes, FetchErrorCode, str]] = [
    (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "url_not_accessible", "HTTP 404"),
    (b"HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", "url_not_accessible", "HTTP 401"),
    (b"HTTP/1.1 429 No\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n", "too_many_requests", "429"),
    (b"HTTP/1.1 204 No\r\n\r\n", "url_not_accessible", "no text"),
    (answer(b"", "text/html"), "url_not_accessible", "no text"),
    (answer(b"\x89PNG", "image/png"), "unsupported_content_type", "image/png is not read"),
    (answer(b"\0\1\2", "application/octet-stream"), "unsupported_content_type", "octet-stream"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\0\1\2", "unsupported_content_type", "octet-stream"),
    (answer(b"x" * 2001), "content_too_large", "web_fetch.max_bytes"),
    (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9999999\r\n\r\n", "content_too_large", "2000"),
    (CHUNKED + b"7d1\r\n" + b"x" * 2001 + b"\r\n...", "content_too_large", "2000"),
    (answer(gzip.compress(b"x" * (8 << 20)), "text/plain", "content-encoding: gzip"), "content_too_large", "2000"),
    (answer(b"x", "text/plain", "content-encoding: br"), "url_not_accessible", "not a whole answer"),
    (CHUNKED + b"5\r\nhel", "url_not_accessible", "not a whole answer"),
    (b"SSH-2.0-x\r\n", "url_not_accessible", "not a whole answer"),
    (CHUNKED + b"5\r\nhello\r\n...", "url_not_accessible", "web_fetch.timeout"),
    (b"HTTP/1.1 200 ...", "url_not_accessible", "web_fetch.timeout"),
]


@pytest.mark.parametrize(("reply", "code", "words"), FAILING)
def test_every_failure_has_its_code_and_words(reply: bytes, code: FetchErrorCode, words: str) -> None:
    async def go() -> None:
        async with site({"/": reply}) as here:
            made = fetcher(max_bytes=2000, timeout=0.5 if reply.endswith(b"...") else 10.0)
            began = time.monotonic()
            found = await refused(made, f"http://site.evil.org:{here.port}/")
            assert (found.code, words in found.message) == (code, True), found.message
            assert time.monotonic() - began < 5

    asyncio.run(go())


def test_nobody_there_is_said_so() -> None:
    async def go() -> None:
        async with site({}) as here:
            port = here.port
        found = await refused(fetcher(), f"http://site.evil.org:{port}/")
        assert (found.code, "cannot be reached" in found.message) == ("url_not_accessible", True)

    asyncio.run(go())


def test_a_page_is_remembered_for_its_time_and_asked_for_again_when_wanted() -> None:
    now = 100.0

    async def go() -> None:
        nonlocal now
        async with site({"/": TEXT}) as here:
            settings = WebFetchSettings(allow_private=("127.0.0.1",), cache_ttl=60.0)
            made = Fetcher(settings, resolve=names(HERE), clock=lambda: now)
            url = f"http://site.evil.org:{here.port}/"
            first = await made.fetch(url)
            assert await made.fetch(url + "#part") == first
            assert len(here.asked) == 1
            await made.fetch(url, fresh=True)
            assert len(here.asked) == 2
            now = 161.0
            await made.fetch(url)
            assert len(here.asked) == 3

    asyncio.run(go())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.web.fetch._REMEMBERED", 2)
    monkeypatch.setattr("byway.web.fetch._REMEMBERED_BYTES", 20_000)

    async def go() -> None:
        async with site({"/1": TEXT, "/2": TEXT, "/3": TEXT, "/large": answer(b"x" * 6000)}) as here:
            made = fetcher()

            async def asked(*paths: str) -> int:
                before = len(here.asked)
                for path in paths:
                    await made.fetch(f"http://site.evil.org:{here.port}{path}")
                return len(here.asked) - before

            assert await asked("/1", "/2", "/1", "/3") == 3
            assert await asked("/1", "/3") == 0
            assert await asked("/2", "/large", "/large") == 3
            assert await asked("/1") == 1

    asyncio.run(go())


def test_a_long_text_is_cut_where_the_request_or_the_settings_say() -> None:
    lines = b"".join(b"This is line number %d of a long page.\n" % at for at in range(2000))

    async def go() -> None:
        async with site({"/": answer(lines)}) as here:
            made, url = fetcher(max_content_tokens=1000), f"http://site.evil.org:{here.port}/"
            page = await made.fetch(url)
            assert page.cut
            assert 2000 < len(page.text) < 6000
            assert page.text.endswith("page.")
            assert 15_000 < page.tokens < 40_000
            assert len((await made.fetch(url, max_content_tokens=100)).text) < 600
            assert len((await made.fetch(url, max_content_tokens=10**9)).text) == len(page.text)
            assert len((await made.fetch(url, max_content_tokens=-5)).text) < 50

    asyncio.run(go())


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("grün".encode(), "", "grün"),
        ("grün".encode("latin-1"), "iso-8859-1", "grün"),
        ("“grün”".encode("cp1252"), "ISO-8859-1", "“grün”"),
        (b'<meta charset="shift_jis">' + "日本".encode("shift_jis"), "", '<meta charset="shift_jis">日本'),
        ("\ufeffgrün".encode("utf-16"), "utf-8", "grün"),
        ("grün".encode(), "hex", "grün"),
        ("grün".encode(), "unicode_escape", "grün"),
        (b"gr\xff", "utf-8", "gr\ufffd"),
        (b"gr\xff", "euc-kr", "gr\ufffd"),
        (b"gr", "iso-8859-99", "gr"),
    ],
)
def test_letters_are_read_by_mark_charset_meta_tag_or_as_utf_8(data: bytes, charset: str, text: str) -> None:
    assert decode_text(data, charset, html=True).lstrip("\ufeff") == text
