"""The messages between Byway and the process that parses one document: `ParseJob` goes in, `Parsed` comes out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

JobKind = Literal["html", "pdf", "pdf_base64", "pattern"]


class ParseJob(Struct):
    """What to parse. It is the first line on the worker's stdin; the document itself follows."""

    kind: JobKind
    charset: str = ""
    """Of HTML, from the `content-type` header; empty when it has none."""
    url: str = ""
    """Of HTML: the base of its relative links."""
    pattern: str = ""
    """The regular expression; the document is the texts of the tools as a JSON list of lists."""


class Parsed(Struct):
    """The text of a document, or the reason why there is none."""

    text: str = ""
    title: str = ""
    pages: int = 0
    """Of a PDF."""
    matches: list[int] = []
    """Of a pattern: the indices of the tools that it matches."""
    problem: str = ""
    """Why the document cannot be parsed, in words such as "it is encrypted"."""
    missing: str = ""
    """The Python package that is needed and not installed."""
