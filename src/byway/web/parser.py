"""What was fetched -> title and text. HTML and PDF are read by a process of their own, which is ended when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from typing import Final, Literal

import msgspec

from byway import platform
from byway.web.extract import MISSING, UNREADABLE, Read, decoded

Kind = Literal["html", "pdf", "text"]

_HTML: Final = ("text/html", "application/xhtml+xml")
_TEXT: Final = re.compile(
    r"text/[\w.+-]+|application/(?:[\w.-]+\+)?(?:json|xml|yaml)|application/(?:x-yaml|x-ndjson|javascript|toml)"
)
_READERS: Final = 2
_ERRORS: Final = 2000


class Unreadable(Exception):
    """It cannot be read, for a reason that the words give; `code` is the official one."""

    def __init__(
        self, code: Literal["unavailable", "content_too_large", "unsupported_content_type"], words: str
    ) -> None:
        super().__init__(words)
        self.code: Literal["unavailable", "content_too_large", "unsupported_content_type"] = code


def kind_of(content_type: str) -> tuple[str, str, Kind | None]:
    """Media type, charset, and how it is read: None when it is not. An empty type leaves it to `sniffed`."""
    media, _, rest = content_type.partition(";")
    media = media.strip().lower()
    found = re.search(r"charset\s*=\s*[\"']?([\w-]{1,40})", rest, re.IGNORECASE)
    charset = found[1] if found else ""
    if media in _HTML:
        return media, charset, "html"
    if media == "application/pdf":
        return media, charset, "pdf"
    if media in ("application/octet-stream", "binary/octet-stream"):
        # What servers say of a file that they know nothing about.
        media = ""
    if _TEXT.fullmatch(media) or media == "":
        return media, charset, "text"
    return media[:100], charset, None


def sniffed(data: bytes) -> tuple[str, Kind | None]:
    """Media type and kind of bytes that came without a type."""
    start = data[:1024].lstrip()
    if start.startswith(b"%PDF-"):
        return "application/pdf", "pdf"
    if re.match(rb"<(?:!doctype html|html|head|body|!--)", start, re.IGNORECASE):
        return "text/html", "html"
    return ("text/plain", "text") if b"\0" not in start else ("application/octet-stream", None)


class Readers:
    """A few reading processes at a time; each reads one page."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_READERS)

    async def read(self, kind: Kind, data: bytes, charset: str, url: str) -> Read:
        """The title and text of `data`. Raises Unreadable. Cancelling ends the process."""
        if kind == "text" or not data:
            return Read("", decoded(data, charset))
        async with self._free:
            return await self._ask(json.dumps({"kind": kind, "charset": charset, "url": url}).encode(), data)

    async def _ask(self, facts: bytes, data: bytes) -> Read:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.web.extract"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=platform.plain_environment(os.environ),
            **platform.apart(),
        )
        try:
            answer, said = await process.communicate(facts + b"\n" + data)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        # Parsers may have warned before; the reason stands last.
        words = said[-_ERRORS:].decode(errors="replace").strip().rpartition("\n")[2]
        if process.returncode == 0:
            return Read(*msgspec.json.decode(answer, type=tuple[str, str]))
        if process.returncode == MISSING:
            raise Unreadable(
                "unavailable",
                f"Byway cannot read this kind of page here: the package {words} is not installed. "
                "Install it with: pip install 'byway[web]'",
            )
        if process.returncode == UNREADABLE:
            raise Unreadable("unsupported_content_type", f"The document cannot be read: {words}")
        raise Unreadable("content_too_large", "The page is too large or too deeply nested to be read.")
