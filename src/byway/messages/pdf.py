"""The PDFs in a conversation: which ones need their text extracted, and what that text is. Pure.

Backends that take no files get the text of a PDF instead. `pipeline/resolve.py` extracts it before translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from byway.decoding import DECODE_ERRORS
from byway.messages.blocks import Base64Source, Block, ContentSource, Document, Text, ToolResult, ToolUse, Unknown
from byway.messages.request import Turn

PDF: Final = "application/pdf"


class PdfText(NamedTuple):
    """The text of a PDF."""

    pages: int
    """The number of pages in the file."""
    text: str
    """The text of each page, after a marker with its number. Empty: the pages have no text."""
    problem: str = ""
    """Why the file could not be parsed."""


def embedded_pdfs(turns: Iterable[Turn], *, files: bool = False) -> list[str]:
    """The base64 data of the PDFs whose text is needed, each once.

    `files`: the backend takes PDFs themselves in user messages; elsewhere it gets their text all the same.
    """
    blocks: list[tuple[Block, bool]] = []
    for turn in turns:
        if type(turn.content) is list:
            for block in turn.content:
                if type(block) is Text or type(block) is ToolUse:
                    continue
                if type(block) is ToolResult and type(block.content) is str:
                    continue
                blocks.append((block, files and turn.role == "user"))
    data: dict[str, None] = {}
    while blocks:
        block, sent = blocks.pop()
        nested: str | Sequence[Block] | None = None
        if type(block) is Document:
            source = block.source
            if type(source) is Base64Source:
                if source.media_type == PDF and not sent:
                    data[source.data] = None
            elif type(source) is ContentSource:
                nested = source.content
        elif type(block) is ToolResult:
            nested = block.content
        elif type(block) is Unknown:
            data.update(dict.fromkeys(_pdfs_in_json(bytes(block.raw))))
        if isinstance(nested, list):
            blocks += [(inner, sent) for inner in nested]
    return list(data)


def _pdfs_in_json(raw: bytes) -> Iterable[str]:
    """The PDFs in a block of Anthropic's servers, such as the result of a fetch."""
    # "application/pdf" may be written with escapes.
    if b"pdf" not in raw and b"\\u" not in raw:
        return
    try:
        values: list[Any] = [msgspec.json.decode(raw)]
    except DECODE_ERRORS:
        # Translation reports it, with the path of the block.
        return
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if value.get("media_type") == PDF and isinstance(value.get("data"), str):
                yield value["data"]
            values += value.values()
        elif isinstance(value, list):
            values += value
