"""Texts of PDFs that clients send with every turn: each file is parsed once and its text kept for the next turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from byway.messages.pdf import PdfText
from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParserPool

_MAX_CHARACTERS: Final = 8_000_000
_MAX_FILES: Final = 500
#: Base64 characters of a file; the Messages API accepts no larger request.
_MAX_ENCODED: Final = (32 << 20) * 4 // 3
#: Characters that are hashed before other tasks get their turn.
_SLICE: Final = 4 << 20


class PdfCache:
    """Extracts the text of PDFs in the parser pool and remembers it.

    The same file gives the same text in each turn, so that the beginning of a prompt stays the same. What was not used for
    longest is forgotten first.
    """

    def __init__(
        self, pool: ParserPool | None = None, *, max_files: int = _MAX_FILES, max_characters: int = _MAX_CHARACTERS
    ) -> None:
        self._pool = pool or ParserPool()
        self._max_files = max_files
        self._max_characters = max_characters
        self._texts: OrderedDict[bytes, PdfText] = OrderedDict()
        self._characters = 0

    async def texts(self, files: Iterable[str], max_characters: int) -> dict[str, PdfText] | None:
        """The texts of PDFs in base64. None when they have more than `max_characters` together."""
        texts: dict[str, PdfText] = {}
        total = 0
        for encoded in files:
            texts[encoded] = await self._text(encoded)
            total += len(texts[encoded].text)
            if total > max_characters:
                return None
        return texts

    async def _text(self, encoded: str) -> PdfText:
        if len(encoded) > _MAX_ENCODED:
            return PdfText(0, "", "it is too large to parse")
        digest = await _digest(encoded)
        text = self._remembered(digest)
        if text is not None:
            return text
        async with self._pool.slot:
            # Another request may have parsed the same file while this one waited.
            text = self._remembered(digest)
            if text is None:
                text = await self._parse(encoded)
                self._remember(digest, text)
        return text

    async def _parse(self, encoded: str) -> PdfText:
        try:
            parsed = await self._pool.run(ParseJob("pdf_base64"), encoded.encode("utf-8", "replace"))
        except ParseError as error:
            return PdfText(0, "", error.message)
        return PdfText(parsed.pages, parsed.text)

    def _remembered(self, digest: bytes) -> PdfText | None:
        text = self._texts.get(digest)
        if text is not None:
            self._texts.move_to_end(digest)
        return text

    def _remember(self, digest: bytes, text: PdfText) -> None:
        replaced = self._texts.pop(digest, None)
        self._characters += len(text.text) - (len(replaced.text) if replaced else 0)
        self._texts[digest] = text
        while self._characters > self._max_characters or len(self._texts) > self._max_files:
            self._characters -= len(self._texts.popitem(last=False)[1].text)


async def _digest(text: str) -> bytes:
    """A hash of a text, computed in slices: 30 MB take 40 ms."""
    state = blake2b(digest_size=16)
    for start in range(0, len(text), _SLICE):
        if start:
            await asyncio.sleep(0)
        state.update(text[start : start + _SLICE].encode("utf-8", "replace"))
    return state.digest()
