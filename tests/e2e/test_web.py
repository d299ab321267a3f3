"""Pages and PDFs parsed in a child process: main text, limits in memory and time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from webserver import fetch_error, fetcher, response, web_server

ARTICLE = """<!doctype html><html><head><title> A page
 of tests </title><script>alert("no")</script></head><body>
<nav><a href="/menu">Menu that is no text</a></nav><main><article><h1>The heading</h1>
<p>The first paragraph has <b>bold words</b>, <code>code()</code>, and <a href="../more?x=1">a link</a> that leads on.</p>
<h2>Below it</h2><ul><li>first of them</li><li>second of them</li></ul>
<pre><code>x = 1
y = 2
</code></pre><p>The last paragraph is grün, and long enough to be taken for the text of a page by anybody.</p>
</article></main><footer>Footer that is no text</footer></body></html>"""


def test_html_page_is_returned_as_its_main_text_in_markdown() -> None:
    pytest.importorskip("trafilatura", reason="trafilatura is not installed")

    async def go() -> None:
        pages = {
            "/a/b/": response(ARTICLE.encode("latin-1"), "text/html; charset=latin-1"),
            "/short": response(b"<p>Only a few</p><p>words</p><script>no()</script>", "application/xhtml+xml"),
            "/untyped": b"HTTP/1.1 200 OK\r\n\r\n" + ARTICLE.encode(),
        }
        async with web_server(pages) as server:
            base = server.base
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


def test_fetched_pdf_is_returned_as_text() -> None:
    async def go() -> None:
        pages = {
            "/a.pdf": response(PDF, "application/pdf"),
            "/untyped": response(PDF, "application/octet-stream"),
            "/broken": response(b"%PDF-1.4 nothing", "application/pdf"),
        }
        async with web_server(pages) as server:
            base = server.base
            for path in ("/a.pdf", "/untyped"):
                page = await fetcher(timeout=20.0).fetch(base + path)
                assert (page.text, page.media_type) == ("[page 1]\nA fetched PDF.", "application/pdf")
            error = await fetch_error(fetcher(timeout=20.0), f"{base}/broken")
            assert (error.code, "cannot be read" in error.message) == ("unsupported_content_type", True)

    asyncio.run(go())


HOSTILE_PAGES = {
    "deep": b"<html><body>" + b"<div>" * 100_000 + b"x",
    "attributes": b"<p " + b" ".join(b"a%d=1" % at for at in range(300_000)) + b">x",
    "many": b"<a href=x>" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_page_fails_while_other_pages_are_fetched(name: str) -> None:
    pytest.importorskip("trafilatura", reason="trafilatura is not installed")
    pages = {"/": response(HOSTILE_PAGES[name], "text/html"), "/plain": response(b"Plain.")}

    async def go() -> None:
        async with web_server(pages) as server:
            base = server.base
            hostile = asyncio.create_task(fetch_error(fetcher(timeout=2.5), f"{base}/"))
            assert (await fetcher(timeout=20.0).fetch(f"{base}/plain")).text == "Plain."
            assert (await hostile).code in ("url_not_accessible", "content_too_large")

    asyncio.run(go())


def test_missing_parser_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child process finds Byway, but not the packages of the extra `web`."""
    create = asyncio.create_subprocess_exec

    async def bare(program: str, *arguments: str, **more: Any) -> Any:
        code = (
            "import sys; sys.modules['trafilatura'] = sys.modules['lxml'] = None; "
            "from byway.parsing import worker; worker.main()"
        )
        return await create(program, "-P", "-c", code, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", bare)

    async def go() -> None:
        async with web_server({"/": response(b"<p>x</p>", "text/html")}) as server:
            error = await fetch_error(fetcher(timeout=20.0), f"{server.base}/")
            assert (error.code, "requirements/web.txt" in error.message) == ("unavailable", True)

    asyncio.run(go())
