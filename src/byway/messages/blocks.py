"""The content blocks of Messages requests. Types only.

Shapes: https://docs.anthropic.com/en/api/messages and the `anthropic` SDK 2.11.0 (seen 2026-11-20).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Raw, Struct


class Wire(Struct, gc=False):
    """A type of JSON. It cannot refer to itself, so the garbage collector does not track it."""


class Text(Wire, tag_field="type", tag="text"):
    text: str


class Base64Source(Wire, tag_field="type", tag="base64"):
    media_type: str
    data: str


class UrlSource(Wire, tag_field="type", tag="url"):
    url: str


class TextSource(Wire, tag_field="type", tag="text"):
    data: str


class ContentSource(Wire, tag_field="type", tag="content"):
    content: Content = None


class FileSource(Wire, tag_field="type", tag="file"):
    file_id: str


Source = Base64Source | UrlSource | TextSource | ContentSource | FileSource


class Image(Wire, tag_field="type", tag="image"):
    source: Base64Source | UrlSource | FileSource


class InlineImage(Image, tag_field="type", tag="image"):
    """An image that is no uploaded file."""

    source: Base64Source | UrlSource


class Document(Wire, tag_field="type", tag="document"):
    source: Source
    title: str | None = None
    context: str | None = None


class ToolUse(Wire, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw


class ToolResult(Wire, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | Sequence[FilelessBlock] | None = None
    """The decoder takes no documents and files here in one pass; `request` decodes those block by block."""
    is_error: bool | None = None


class ToolReference(Wire, tag_field="type", tag="tool_reference"):
    tool_name: str


class SearchResult(Wire, tag_field="type", tag="search_result"):
    """A result of the client's own search."""

    source: str
    title: str
    content: list[Text]


class Thinking(Wire, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = ""


class RedactedThinking(Wire, tag_field="type", tag="redacted_thinking"):
    data: str


class Unknown(Wire, tag_field="type", tag="byway unknown block"):
    """A block that is kept as it came: one that Anthropic's servers add to their turns, or one of an unknown type."""

    kind: str
    raw: Raw

    @property
    def foreign(self) -> bool:
        """Return whether this version does not know the type."""
        return self.kind not in SERVER_BLOCKS and not self.kind.endswith("_tool_result")


_Plain = Text | ToolUse | ToolResult | ToolReference | SearchResult | Thinking | RedactedThinking | Unknown
FilelessBlock = _Plain | InlineImage
Block = _Plain | Image | Document
Content = str | list[Block] | None

#: A body without it has no reference to an uploaded file.
FILE_MARK: Final = b'"file_id"'
KNOWN: Final = frozenset(
    "text image document tool_use tool_result tool_reference search_result thinking redacted_thinking".split()
)
#: Blocks of Anthropic's servers, beside the results of their tools (`web_search_tool_result` and so on).
SERVER_BLOCKS: Final = frozenset(
    "server_tool_use mcp_tool_use mcp_tool_listing container_upload tool_addition tool_removal compaction fallback"
    " mid_conv_system".split()
)
