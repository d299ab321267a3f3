"""Fetching pages: which addresses are never reached, what is checked again, every limit, and what a page becomes."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from growth import assert_linear
from hypothesis import assume, given
from hypothesis import strategies as st
from webserver import HOSTS, PRIVATE, fetch_error, fetcher, redirect, resolver, response, web_server

from byway import urls
from byway.config import WebFetchSettings
from byway.parsing.html import decode_text, parse_html
from byway.web.fetch import FetchedPage, Fetcher, FetchError, FetchErrorCode, _can_bind, _cut
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


INVALID: FetchErrorCode = "invalid_tool_input"
FORBIDDEN: FetchErrorCode = "url_not_allowed"
HOSTILE: list[tuple[str, FetchErrorCode]] = [
    # Other spellings of addresses.
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
    # IPv4 embedded in IPv6.
    ("http://[::ffff:127.0.0.1]/", FORBIDDEN),
    ("http://[::ffff:7f00:1]/", FORBIDDEN),
    ("http://[::ffff:169.254.169.254]/", FORBIDDEN),
    ("http://[::127.0.0.1]/", FORBIDDEN),
    ("http://[64:ff9b::10.0.0.1]/", FORBIDDEN),
    ("http://[2002:7f00:1::]/", FORBIDDEN),
    ("http://[2001:0:7f00:1::]/", FORBIDDEN),
    ("http://[fe80::1%25eth0]/", INVALID),
    ("http://[::1%lo]/", INVALID),
    # Programs interpret these in different ways.
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


def test_hostile_urls_cause_no_connection(connections: list[str]) -> None:
    assert len(HOSTILE) >= 60
    fetcher = Fetcher(WebFetchSettings(), resolve=resolver(PRIVATE))

    async def codes() -> list[tuple[str, FetchErrorCode]]:
        return [(url, (await fetch_error(fetcher, url)).code) for url, _ in HOSTILE]

    assert asyncio.run(codes()) == HOSTILE
    assert not connections


@given(st.text(max_size=60) | st.from_regex(r"https?://[0-9a-fx.:%@\[\]/?#\\]{0,40}", fullmatch=True))
def test_any_text_is_rejected_with_a_code_or_resolved_once(text: str) -> None:
    with suppress(ValueError):
        assume(not ((number := urls.parse(text).number) and public(number)))
    resolved: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        resolved.append(host)
        return ["10.0.0.1"]

    async def go() -> FetchError:
        return await fetch_error(Fetcher(WebFetchSettings(), resolve=resolve), text)

    error = asyncio.run(go())
    assert error.code in (INVALID, FORBIDDEN)
    assert len(resolved) <= 1


def test_codes_are_the_official_ones_and_in_the_docs() -> None:
    from anthropic.types import WebFetchToolResultErrorCode

    assert set(get_args(FetchErrorCode)) == set(get_args(WebFetchToolResultErrorCode))
    page = (Path(__file__).parent.parent / "docs/web-fetch.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(get_args(FetchErrorCode))


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/"])
def test_forbidden_networks_stay_forbidden_when_listed(url: str, connections: list[str]) -> None:
    fetcher = Fetcher(WebFetchSettings(allow_private=("0.0.0.0/0", "::/0", "meta.evil.org")), resolve=resolver(PRIVATE))

    async def go() -> None:
        assert (await fetch_error(fetcher, url)).code == FORBIDDEN
        assert (await fetch_error(fetcher, "http://meta.evil.org/")).code == FORBIDDEN

    asyncio.run(go())
    assert not connections


def test_local_only_resolves_and_connects_to_listed_hosts_only(connections: list[str]) -> None:
    request: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        request.append(host)
        return ["93.184.216.34"]

    settings = WebFetchSettings(allow_private=("192.168.0.0/16", "wiki.corp.example"))
    fetcher = Fetcher(settings, local_only=True, resolve=resolve)

    async def go() -> None:
        for url in ("https://example.com/", "https://93.184.216.34/", "http://10.0.0.1/", "http://wiki.corp.example/"):
            error = await fetch_error(fetcher, url)
            assert error.code == FORBIDDEN
            assert "local_only" in error.message

    asyncio.run(go())
    assert request == ["wiki.corp.example"]
    assert not connections


def test_public_address_of_this_machine_is_rejected(connections: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go(mine: set[str]) -> FetchError:
        monkeypatch.setattr("byway.web.fetch._can_bind", mine.__contains__)
        return await fetch_error(Fetcher(WebFetchSettings(timeout=0.5)), "http://93.184.216.34/")

    error = asyncio.run(go({"93.184.216.34"}))
    assert (error.code, "an address of this machine" in error.message) == (FORBIDDEN, True)
    assert not connections
    # Listed, it may be.
    url, number = urls.parse("http://93.184.216.34/"), ipaddress.ip_address("93.184.216.34")
    assert AddressPolicy(["93.184.216.0/24"]).lists(url, number)
    assert not AddressPolicy(["10.0.0.0/8"]).lists(url, number)


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_sockets_bind_to_own_addresses_only(address: str, expected: bool) -> None:
    assert _can_bind(address) is expected


@given(st.ip_addresses(v=4))
def test_ipv4_embedded_in_ipv6_is_never_public(number: ipaddress.IPv4Address) -> None:
    whole = int(number)
    for embedded in (0xFFFF << 32 | whole, whole, 0x64FF9B << 96 | whole, 0x2002 << 112 | whole << 80):
        assert never(ipaddress.IPv6Address(embedded)) or embedded == 1
    assert not (public(number) and (number.is_private or number.is_loopback or number.is_link_local))
    assert not (public(number) and (number.is_multicast or number.is_reserved or number.is_unspecified))


@given(st.ip_addresses(v=6))
def test_reserved_ipv6_is_never_public(number: ipaddress.IPv6Address) -> None:
    assert not (public(number) and (number.is_private or number.is_multicast or number.is_site_local))
    assert public(number) <= (number in ipaddress.ip_network("2000::/3"))


@pytest.mark.parametrize("text", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_ordinary_addresses_are_public(text: str) -> None:
    assert public(ipaddress.ip_address(text))


TEXT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


def test_request_goes_to_the_checked_address_without_cookies_or_credentials() -> None:
    async def go() -> None:
        async with web_server({"/a?b=1": response(b"hello", "text/plain", "set-cookie: a=b")}) as server:
            made = fetcher(cache_ttl=0.0)
            for _ in range(2):
                page = await made.fetch(f"http://Site.Evil.org:{server.port}/x/../a?b=1#part")
            assert page.url == f"{server.base}/a?b=1"
            assert (page.text, page.media_type, page.title, page.cut) == ("hello", "text/plain", "", False)
            assert page.retrieved_at.endswith("Z")
            assert len(server.requests) == 2
            names_sent = {line.split(b":")[0] for line in server.requests[1].split(b"\r\n")[1:] if line}
            assert names_sent == {b"host", b"accept-encoding", b"accept", b"user-agent"}
            assert b"host: site.evil.org:%d\r\n" % server.port in server.requests[1]

    asyncio.run(go())


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def go() -> None:
        async with web_server({"/": TEXT}) as server:
            assert (await fetcher().fetch(f"{server.base}")).text == "hello"

    asyncio.run(go())


def test_host_that_resolves_to_another_address_after_a_redirect_is_rejected(connections: list[str]) -> None:
    """Rebinding: the first look-up is good and used, the one after a redirect is not."""
    resolved: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        resolved.append(host)
        return ["127.0.0.1"] if len(resolved) == 1 else ["127.0.0.2"]

    async def go() -> None:
        async with web_server({"/good": TEXT, "/again": redirect("/secret"), "/secret": TEXT}) as server:
            made = Fetcher(WebFetchSettings(allow_private=("127.0.0.1",)), resolve=resolve)
            assert (await made.fetch(f"http://turn.evil.org:{server.port}/good")).text == "hello"
            assert resolved == ["turn.evil.org"]
            resolved.clear()
            error = await fetch_error(made, f"http://turn.evil.org:{server.port}/again")
            assert (error.code, len(resolved), len(server.requests)) == (FORBIDDEN, 2, 2)

    asyncio.run(go())
    assert len(connections) == 2
    assert not any("127.0.0.2" in event or "getaddrinfo" in event for event in connections)


def test_only_permitted_addresses_of_a_host_are_tried_in_order(connections: list[str]) -> None:
    async def go() -> None:
        async with web_server({"/": TEXT}) as server:
            table = {"many.evil.org": ["10.0.0.1", "127.0.0.3", "::1", "127.0.0.1", "127.0.0.1"]}
            made = Fetcher(WebFetchSettings(allow_private=("127.0.0.1", "127.0.0.3")), resolve=resolver(table))
            assert (await made.fetch(f"http://many.evil.org:{server.port}/")).text == "hello"

    asyncio.run(go())
    assert [event.split("'")[1] for event in connections] == ["127.0.0.3", "127.0.0.1"]


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
def test_redirect_is_checked_like_the_first_url(location: str, code: FetchErrorCode, connections: list[str]) -> None:
    async def go() -> None:
        async with web_server({"/": redirect(location)}) as server:
            assert (await fetch_error(fetcher(), f"{server.base}/")).code == code

    asyncio.run(go())
    assert len(connections) == 1


def test_five_redirects_are_followed_and_no_more() -> None:
    async def go() -> None:
        steps = {f"/{at}": redirect(f"{at + 1}", status) for at, status in enumerate((301, 302, 303, 307, 308, 302))}
        async with web_server({**steps, "/5": TEXT, "/loop": redirect("/loop")}) as server:
            page = await fetcher().fetch(f"{server.base}/0")
            assert page.url.endswith("/5")
            assert len(page.trail) == 6
            error = await fetch_error(fetcher(), f"{server.base}/loop")
            assert error.code == "url_not_accessible"
            assert len(server.requests) == 12

    asyncio.run(go())


def test_domain_lists_apply_to_redirects_and_cached_pages() -> None:
    async def go() -> None:
        async with web_server({"/": redirect("http://127.0.0.1:PORT/b"), "/b": TEXT}) as server:
            made = fetcher()
            url = f"{server.base}/"
            assert (await fetch_error(made, url, allowed=["site.evil.org"])).code == FORBIDDEN
            assert (await made.fetch(url)).text == "hello"
            request = len(server.requests)
            assert (await fetch_error(made, url, allowed=["site.evil.org"])).code == FORBIDDEN
            assert (await fetch_error(made, url, blocked=["evil.org"])).code == FORBIDDEN
            assert (await fetch_error(fetcher(blocked_domains=("evil.org",)), url)).code == FORBIDDEN
            assert (await fetch_error(fetcher(allowed_domains=("example.com",)), url)).code == FORBIDDEN
            assert len(server.requests) == request

    asyncio.run(go())


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
FAILING: list[tuple[bytes, FetchErrorCode, str]] = [
    (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "url_not_accessible", "HTTP 404"),
    (b"HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", "url_not_accessible", "HTTP 401"),
    (b"HTTP/1.1 429 No\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n", "too_many_requests", "429"),
    (b"HTTP/1.1 204 No\r\n\r\n", "url_not_accessible", "no text"),
    (response(b"", "text/html"), "url_not_accessible", "no text"),
    (response(b"\x89PNG", "image/png"), "unsupported_content_type", "image/png is not supported"),
    (response(b"\0\1\2", "application/octet-stream"), "unsupported_content_type", "octet-stream"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\0\1\2", "unsupported_content_type", "octet-stream"),
    (response(b"x" * 2001), "content_too_large", "web_fetch.max_bytes"),
    (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9999999\r\n\r\n", "content_too_large", "2000"),
    (CHUNKED + b"7d1\r\n" + b"x" * 2001 + b"\r\n...", "content_too_large", "2000"),
    (response(gzip.compress(b"x" * (8 << 20), 1), "text/plain", "content-encoding: gzip"), "content_too_large", "2000"),
    (response(b"x", "text/plain", "content-encoding: br"), "url_not_accessible", "incomplete or invalid response"),
    (CHUNKED + b"5\r\nhel", "url_not_accessible", "incomplete or invalid response"),
    (b"SSH-2.0-x\r\n", "url_not_accessible", "incomplete or invalid response"),
    (CHUNKED + b"5\r\nhello\r\n...", "url_not_accessible", "web_fetch.timeout"),
    (b"HTTP/1.1 200 ...", "url_not_accessible", "web_fetch.timeout"),
]


@pytest.mark.parametrize(("reply", "code", "words"), FAILING)
def test_each_failure_has_its_code_and_message(reply: bytes, code: FetchErrorCode, words: str) -> None:
    async def go() -> None:
        async with web_server({"/": reply}) as server:
            made = fetcher(max_bytes=2000, timeout=0.15 if reply.endswith(b"...") else 10.0)
            error = await fetch_error(made, f"{server.base}/")
            assert (error.code, words in error.message) == (code, True), error.message

    asyncio.run(go())


def test_closed_port_is_reported_as_unreachable() -> None:
    async def go() -> None:
        async with web_server({}) as server:
            port = server.port
        error = await fetch_error(fetcher(), f"http://site.evil.org:{port}/")
        assert (error.code, "is unreachable" in error.message) == ("url_not_accessible", True)

    asyncio.run(go())


def test_page_is_cached_until_it_expires_or_a_fresh_one_is_requested() -> None:
    now = 100.0

    async def go() -> None:
        nonlocal now
        async with web_server({"/": TEXT}) as server:
            settings = WebFetchSettings(allow_private=("127.0.0.1",), cache_ttl=60.0)
            made = Fetcher(settings, resolve=resolver(HOSTS), clock=lambda: now)
            url = f"{server.base}/"
            first = await made.fetch(url)
            assert await made.fetch(url + "#part") == first
            assert len(server.requests) == 1
            await made.fetch(url, fresh=True)
            assert len(server.requests) == 2
            now = 161.0
            await made.fetch(url)
            assert len(server.requests) == 3

    asyncio.run(go())


def test_cache_is_bounded_in_pages_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.web.fetch._CACHE_PAGES", 2)
    monkeypatch.setattr("byway.web.fetch._CACHE_BYTES", 20_000)

    async def go() -> None:
        async with web_server({"/1": TEXT, "/2": TEXT, "/3": TEXT, "/large": response(b"x" * 6000)}) as server:
            made = fetcher()

            async def fetch_count(*paths: str) -> int:
                before = len(server.requests)
                for path in paths:
                    await made.fetch(f"{server.base}{path}")
                return len(server.requests) - before

            assert await fetch_count("/1", "/2", "/1", "/3") == 3
            assert await fetch_count("/1", "/3") == 0
            assert await fetch_count("/2", "/large", "/large") == 3
            assert await fetch_count("/1") == 1

    asyncio.run(go())


def test_long_text_is_cut_at_the_limit_of_request_or_settings() -> None:
    lines = b"".join(b"This is line number %d of a long page.\n" % at for at in range(2000))

    async def go() -> None:
        async with web_server({"/": response(lines)}) as server:
            made, url = fetcher(max_content_tokens=1000), f"{server.base}/"
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
def test_text_is_decoded_by_byte_order_mark_charset_meta_tag_or_as_utf_8(data: bytes, charset: str, text: str) -> None:
    assert decode_text(data, charset, html=True).lstrip("\ufeff") == text


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "<article>" + "<p>Some words of a text.</p>" * n,
        lambda n: "<div>" * n + "x",
        lambda n: "<article>" + '<p><a href="/x">a link</a> and text</p>' * n,
        lambda n: '<a href="x">' * n,
        lambda n: "<article><table>" + "<tr><td>one</td><td>two</td></tr>" * n,
        lambda n: "<article><ul>" + "<li>an item</li>" * n,
    ],
    ids=["paragraphs", "nesting", "links", "open links", "table rows", "list items"],
)
def test_parsing_html_is_linear(make: Callable[[int], str]) -> None:
    pytest.importorskip("trafilatura", reason="trafilatura is not installed")
    assert_linear(make, lambda html: parse_html(html, "https://example.com/"), 500)


def test_cutting_a_page_is_linear() -> None:
    def make(size: int) -> FetchedPage:
        return FetchedPage("https://example.com/", "", "Some words. " * size, "text/plain", "", ())

    assert_linear(make, lambda page: _cut(page, len(page.text) // 8), 1 << 14)
