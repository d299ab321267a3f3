"""Which kind of content a fetched page has: from its `content-type` header, or from its first bytes. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

ContentKind = Literal["html", "pdf", "text"]

_HTML: Final = ("text/html", "application/xhtml+xml")
_TEXT: Final = re.compile(
    r"text/[\w.+-]+|application/(?:[\w.-]+\+)?(?:json|xml|yaml)|application/(?:x-yaml|x-ndjson|javascript|toml)"
)


def content_kind(content_type: str) -> tuple[str, str, ContentKind | None]:
    """Media type, charset and kind from a `content-type` header. The kind is None for content that is not supported.

    An empty media type means unknown: `sniff` decides.
    """
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    match = re.search(r"charset\s*=\s*[\"']?([\w-]{1,40})", parameters, re.IGNORECASE)
    charset = match[1] if match else ""
    if media in _HTML:
        return media, charset, "html"
    if media == "application/pdf":
        return media, charset, "pdf"
    if media in ("application/octet-stream", "binary/octet-stream"):
        # Servers send these for files of a type that they do not know.
        media = ""
    if _TEXT.fullmatch(media) or media == "":
        return media, charset, "text"
    return media[:100], charset, None


def sniff(data: bytes) -> tuple[str, ContentKind | None]:
    """Media type and kind of content without a media type."""
    start = data[:1024].lstrip()
    if start.startswith(b"%PDF-"):
        return "application/pdf", "pdf"
    if re.match(rb"<(?:!doctype html|html|head|body|!--)", start, re.IGNORECASE):
        return "text/html", "html"
    return ("text/plain", "text") if b"\0" not in start else ("application/octet-stream", None)
