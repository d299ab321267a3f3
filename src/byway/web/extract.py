"""The process that reads what was fetched: facts and bytes in on stdin, title and text out on stdout.

Run by `reading.py` as `python -m byway.web.extract`. Parsers of HTML and PDF meet hostile input here, with no secret in the
environment, with little memory, and with a parent that ends them.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final, NamedTuple

from byway import platform
from byway.messages import pdf

#: Exit codes that say more than a crash.
MISSING: Final = 64
UNREADABLE: Final = 65
#: What comes behind is left out: trafilatura takes about a second and 200 MB for a megabyte.
_LONGEST: Final = 4 << 20
_MEMORY: Final = 1 << 30
_SECONDS: Final = 30
_CHARSET: Final = re.compile(
    r"utf-?8|utf-?16(?:le|be)?|us-ascii|ascii|iso-?8859-?\d+|latin-?1|windows-125\d|cp125\d|koi8-[ru]|macintosh"
    r"|shift[_-]?jis|sjis|euc-(?:jp|kr)|gb(?:2312|k|18030)|big5|iso-2022-jp"
)
_META: Final = re.compile(rb"<meta[^>]{0,200}charset\s{0,9}=\s{0,9}[\"']?([\w-]{1,40})", re.IGNORECASE)
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Read(NamedTuple):
    """What a page says."""

    title: str
    text: str


def decoded(data: bytes, charset: str = "", *, html: bool = False) -> str:
    """The text of `data`: by its own mark, by `charset` or a meta tag, else as UTF-8, else as what browsers take."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    if not charset and html and (found := _META.search(data[:2048])):
        charset = found[1].decode("ascii")
    charset = charset.lower()
    if not _CHARSET.fullmatch(charset):
        charset = "utf-8"
    if charset in ("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"):
        # As browsers do: https://encoding.spec.whatwg.org/#names-and-labels
        charset = "windows-1252"
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return data.decode("utf-8" if charset == "windows-1252" else charset if _known(charset) else "utf-8", "replace")


def _known(charset: str) -> bool:
    try:
        "".encode(charset)
    except LookupError:
        return False
    return True


def page(html: str, url: str) -> Read:
    """The main text of a page as Markdown, with its links absolute. Raises ImportError without the extra `web`."""
    import lxml.html
    import trafilatura

    try:
        # Its own limits stand: what is nested more than 256 deep is left out.
        parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
        tree = lxml.html.document_fromstring(html[:_LONGEST].encode("utf-8", "replace"), parser=parser)
    except (ValueError, lxml.etree.ParserError):
        return Read("", "")
    title = " ".join((tree.findtext(".//title") or "").split())
    try:
        tree.make_links_absolute(url, handle_failures="ignore")
        found = trafilatura.extract(
            tree,
            output_format="markdown",
            include_links=True,
            include_formatting=True,
            include_tables=True,
            include_comments=False,
            favor_recall=True,
        )
    except Exception:
        # Hostile pages break it in many ways; none of them is ours to mend.
        found = None
    # A page of links or of a few words has no main text; all that it has is better than nothing.
    return Read(title[:500], found or _all_text(tree))


def _all_text(tree: Any) -> str:
    for element in list(tree.iter("head", "script", "style", "noscript", "template")):
        element.clear(keep_tail=True)
    lines = (" ".join(text.split()) for text in tree.itertext())
    return "\n".join(line for line in lines if line)


def document(data: bytes) -> Read:
    """The text of a PDF, page by page. Raises ValueError with what is wrong with it."""
    found = pdf.read(data)
    if found.flaw:
        raise ValueError(found.flaw)
    return Read("", found.text)


def main() -> None:
    """Read one page and end."""
    platform.belong_to_parent()
    platform.bound(_MEMORY, _SECONDS)
    facts = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    try:
        if facts["kind"] == "pdf":
            title, text = document(data)
        else:
            title, text = page(decoded(data, facts["charset"], html=True), facts["url"])
    except ImportError as missing:
        sys.stderr.write(f"{missing.name}\n")
        platform.end(MISSING)
    except ValueError as flaw:
        sys.stderr.write(f"{flaw}\n")
        platform.end(UNREADABLE)
    sys.stdout.buffer.write(json.dumps((title, text)).encode())
    sys.stdout.buffer.flush()
    # Nothing is cleaned up: a deep tree takes its time to fall.
    platform.end(0)


if __name__ == "__main__":
    main()
