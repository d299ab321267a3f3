"""HTML bytes -> title and main text as Markdown, by lxml and trafilatura (extra `web`)."""

from __future__ import annotations

import re
from typing import Any, Final

from byway.parsing.job import Parsed

#: The rest is ignored: trafilatura needs about a second and 200 MB for a megabyte.
_MAX_CHARACTERS: Final = 4 << 20
_CHARSET: Final = re.compile(
    r"utf-?8|utf-?16(?:le|be)?|us-ascii|ascii|iso-?8859-?\d+|latin-?1|windows-125\d|cp125\d|koi8-[ru]|macintosh"
    r"|shift[_-]?jis|sjis|euc-(?:jp|kr)|gb(?:2312|k|18030)|big5|iso-2022-jp"
)
_META: Final = re.compile(rb"<meta[^>]{0,200}charset\s{0,9}=\s{0,9}[\"']?([\w-]{1,40})", re.IGNORECASE)
_BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode_text(data: bytes, charset: str = "", *, html: bool = False) -> str:
    """The text of `data`.

    The charset comes from a byte order mark, from `charset` (the `content-type` header), or from a meta tag of HTML;
    without any of them, or with an unknown one, it is UTF-8. Bytes that do not fit are replaced.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    if not charset and html and (meta := _META.search(data[:2048])):
        charset = meta[1].decode("ascii")
    charset = charset.lower()
    if not _CHARSET.fullmatch(charset):
        charset = "utf-8"
    if charset in ("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"):
        # As browsers do: https://encoding.spec.whatwg.org/#names-and-labels
        charset = "windows-1252"
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return data.decode("utf-8" if charset == "windows-1252" or not _is_codec(charset) else charset, "replace")


def _is_codec(charset: str) -> bool:
    try:
        "".encode(charset)
    except LookupError:
        return False
    return True


def parse_html(html: str, url: str) -> Parsed:
    """The title and main text of a page, with absolute links. Raises ImportError without the extra `web`."""
    import lxml.html
    import trafilatura

    try:
        # lxml's own limits stay on: elements nested more than 256 deep are left out.
        parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
        tree = lxml.html.document_fromstring(html[:_MAX_CHARACTERS].encode("utf-8", "replace"), parser=parser)
    except (ValueError, lxml.etree.ParserError):
        return Parsed()
    title = " ".join((tree.findtext(".//title") or "").split())
    try:
        tree.make_links_absolute(url, handle_failures="ignore")
        text = trafilatura.extract(
            tree,
            output_format="markdown",
            include_links=True,
            include_formatting=True,
            include_tables=True,
            include_comments=False,
            favor_recall=True,
        )
    except Exception:
        # Hostile pages make trafilatura fail in many ways; all of its text is better than no text.
        text = None
    # A page of links or of a few words has no main text.
    return Parsed((text or _all_text(tree))[:_MAX_CHARACTERS], title[:500])


def _all_text(tree: Any) -> str:
    for element in list(tree.iter("head", "script", "style", "noscript", "template")):
        element.clear(keep_tail=True)
    lines = (" ".join(text.split()) for text in tree.itertext())
    return "\n".join(line for line in lines if line)
