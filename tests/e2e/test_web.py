"""Pages and PDFs parsed in a child process: main text, limits in memory and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from byway.config import WebFetchSettings
from byway.web.fetch import Fetcher, FetchError


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


HERE: dict[str, Sequence[str]] = {"site.evil.org": ["127.0.0.1"], **PRIVATE}


def fetcher(**more: Any) -> Fetcher:
    settings: dict[str, Any] = {"allow_private": ("127.0.0.1",), "timeout": 5.0} | more
    return Fetcher(WebFetchSettings(**settings), resolve=names(HERE))


ARTICLE = """<!doctype html><html><head><title> A page
 of tests </title><script>alert("no")</script></head><body>
<nav><a href="/menu">Menu that is no text</a></nav><main><article><h1>The heading</h1>
<p>The first paragraph has <b>bold words</b>, <code>code()</code>, and <a href="../more?x=1">a link</a> that leads on.</p>
<h2>Below it</h2><ul><li>first of them</li><li>second of them</li></ul>
<pre><code>x = 1
y = 2
</code></pre><p>The last paragraph is grün, and long enough to be taken for the text of a page by anybody.</p>
</article></main><footer>Footer that is no text</footer></body></html>"""


def test_a_page_becomes_its_main_text_as_markdown() -> None:
    pytest.importorskip("trafilatura", reason="trafilatura is not installed")

    async def go() -> None:
        pages = {
            "/a/b/": answer(ARTICLE.encode("latin-1"), "text/html; charset=latin-1"),
            "/short": answer(b"<p>Only a few</p><p>words</p><script>no()</script>", "application/xhtml+xml"),
            "/untyped": b"HTTP/1.1 200 OK\r\n\r\n" + ARTICLE.encode(),
        }
        async with site(pages) as here:
            base = f"http://site.evil.org:{here.port}"
            page = await fetcher(timeout=20.0).fetch(f"{base}/a/b/")
            assert page.title == "A page of tests"
            assert "# The heading" in page.text
            assert "## Below it" in page.text
            assert f"**bold words**, `code()`, and [a link]({base}/a/more?x=1)" in page.text
            assert "- first of them\n- second of them" in page.text
            assert "x = 1\ny = 2" in page.text
            assert "grün" in page.text
            assert not any(word in page.text for word in ("Menu", "Footer", "alert"))
            assert (await fetcher(timeout=20.0).fetch(f"{base}/short")).text == "Only a few\n\nwords"
            untyped = await fetcher(timeout=20.0).fetch(f"{base}/untyped")
            assert (untyped.media_type, untyped.title) == ("text/html", "A page of tests")

    asyncio.run(go())


PDF = b"""%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 300 100] /Contents 4 0 R
  /Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >> endobj
4 0 obj << /Length 40 >> stream
BT /F 12 Tf 10 50 Td (A fetched PDF.) Tj ET
endstream endobj
trailer << /Root 1 0 R /Size 5 >>
startxref
0
%%EOF
"""


def test_a_pdf_becomes_its_text() -> None:
    async def go() -> None:
        pages = {
            "/a.pdf": answer(PDF, "application/pdf"),
            "/untyped": answer(PDF, "application/octet-stream"),
            "/broken": answer(b"%PDF-1.4 nothing", "application/pdf"),
        }
        async with site(pages) as here:
            base = f"http://site.evil.org:{here.port}"
            for path in ("/a.pdf", "/untyped"):
                page = await fetcher(timeout=20.0).fetch(base + path)
                assert (page.text, page.media_type) == ("[page 1]\nA fetched PDF.", "application/pdf")
            found = await refused(fetcher(timeout=20.0), f"{base}/broken")
            assert (found.code, "cannot be read" in found.message) == ("unsupported_content_type", True)

    asyncio.run(go())


HOSTILE_PAGES = {
    "deep": b"<html><body>" + b"<div>" * 100_000 + b"x",
    "attributes": b"<p " + b" ".join(b"a%d=1" % at for at in range(300_000)) + b">x",
    "many": b"<a href=x>" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_a_hostile_page_is_given_up_while_other_pages_are_fetched(name: str) -> None:
    pytest.importorskip("trafilatura", reason="trafilatura is not installed")
    pages = {"/": answer(HOSTILE_PAGES[name], "text/html"), "/plain": answer(b"Plain.")}

    async def go() -> None:
        async with site(pages) as here:
            base = f"http://site.evil.org:{here.port}"
            hostile = asyncio.create_task(refused(fetcher(timeout=2.5), f"{base}/"))
            assert (await fetcher(timeout=20.0).fetch(f"{base}/plain")).text == "Plain."
            assert (await hostile).code in ("url_not_accessible", "content_too_large")

    asyncio.run(go())


def test_without_the_reader_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is given a Python that finds Byway and none of its packages."""
    asked = asyncio.create_subprocess_exec

    async def bare(program: str, *arguments: str, **more: Any) -> Any:
        code = (
            "import sys; sys.modules['trafilatura'] = sys.modules['lxml'] = None; "
            "from byway.parsing import worker; worker.main()"
        )
        return await asked(program, "-P", "-c", code, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", bare)

    async def go() -> None:
        async with site({"/": answer(b"<p>x</p>", "text/html")}) as here:
            found = await refused(fetcher(timeout=20.0), f"http://site.evil.org:{here.port}/")
            assert (found.code, "pip install 'byway[web]'" in found.message) == ("unavailable", True)

    asyncio.run(go())
