"""What one block says in chat form: texts, images and files. Where they stand in the conversation is `conversation`'s."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.protocol import Target
from byway.messages.blocks import (
    Base64Source,
    Block,
    ContentSource,
    Document,
    FileSource,
    Image,
    RedactedThinking,
    SearchResult,
    Text,
    TextSource,
    Thinking,
    ToolReference,
    ToolResult,
    ToolUse,
    Unknown,
    UrlSource,
    Wire,
)
from byway.messages.pdf import PDF, PdfText
from byway.messages.request import unopened
from byway.problems import Problem

#: What the Messages API takes: https://docs.anthropic.com/en/docs/build-with-claude/vision (seen 2026-11-21).
_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")


#: A PDF where `messages/pdf.py` does not look.
_NOT_PARSED: Final = PdfText(0, "", "its text was not extracted")


class ContentPart(Wire, omit_defaults=True):
    """A part of a message's content: a text, an image or a file."""

    type: str
    text: str | None = None
    image_url: dict[str, str] | None = None
    file: dict[str, str] | None = None


class BlockRefused(Exception):
    """A block that cannot be passed on: the field of it that is wrong, and why."""

    def __init__(self, block: Block, field: str, why: str) -> None:
        self.block = block
        self.field = field
        self.why = why


def block_parts(block: Block, target: Target) -> Sequence[str | ContentPart]:
    """What a block says. What chat has no form for is told in words; raises Refused for what the Messages API refuses too."""
    match block:
        case Text():
            return (block.text,) if block.text else ()
        case Image():
            return (_image(block, target),)
        case Document():
            return _document(block, target)
        case SearchResult():
            return (_joined(block.title, block.source, *[text.text for text in block.content]),)
        case ToolReference():
            return (f"Tool {block.tool_name} is loaded.",)
        case Unknown():
            data = raw_bytes(block, "", block.raw)
            text = data.decode() if block.foreign else _served(block, data, target)
            return (text,) if text else ()
        case ToolUse():
            return (f"[{block.name}]\n{raw_bytes(block, 'input', block.input).decode()}",)
        case ToolResult():
            content = block.content
            said = (content,) if isinstance(content, str) else content_parts(content or (), target)
            return (f"Result of the tool call {block.tool_use_id}:", *said)
        case Thinking() | RedactedThinking():
            return ()


def raw_bytes(block: Block, field: str, raw: Raw) -> bytes:
    """The bytes of a part of `block` that is passed on unopened; raises Refused for what servers choke on."""
    try:
        return unopened(raw, "")
    except Problem as problem:
        raise BlockRefused(block, field, problem.message) from None


def content_parts(blocks: Sequence[Block], target: Target) -> list[str | ContentPart]:
    """What several blocks say."""
    return [said for block in blocks for said in block_parts(block, target)]


def _image(block: Image, target: Target) -> str | ContentPart:
    match block.source:
        case FileSource():
            raise BlockRefused(block, "source.type", _NO_FILES)
        case Base64Source(kind, data):
            if kind not in _IMAGES:
                raise BlockRefused(block, "source.media_type", f"Input should be one of {', '.join(_IMAGES)}")
            if target.vision is False:
                return f"[image: {kind}, {max(1, len(data) * 3 // 4096)} KB, which this model cannot see]"
            return ContentPart("image_url", image_url={"url": f"data:{kind};base64,{data}"})
        case UrlSource(url):
            if target.vision is False:
                return f"[image: {url}, which this model cannot see]"
            return ContentPart("image_url", image_url={"url": url})


_NO_FILES: Final = "'file' comes with the Files API, which Byway does not have yet. Send the data itself, as 'base64'."


def _document(block: Document, target: Target) -> Sequence[str | ContentPart]:
    """A document, with its title and context before it. Its setting `citations` asks for what no chat server can give."""
    title, context = block.title, block.context
    match block.source:
        case TextSource(data):
            return (_joined(title, context, data),)
        case ContentSource(content):
            said = [content] if isinstance(content, str) else content_parts(content or [], target)
            head = _joined(title, context)
            return [head, *said] if head else said
        case UrlSource(url):
            return (_joined(f"[document{_named(title)}: {url}]", context),)
        case Base64Source(kind, data) if kind == PDF:
            return _pdf(title, context, data, target)
        case Base64Source(kind, data) if kind.startswith("text/"):
            try:
                return (_joined(title, context, base64.b64decode(data).decode("utf-8", "replace")),)
            except (binascii.Error, ValueError):
                raise BlockRefused(block, "source.data", "Input should be base64") from None
        case Base64Source():
            raise BlockRefused(block, "source.media_type", f"Input should be '{PDF}'")
        case FileSource():
            raise BlockRefused(block, "source.type", _NO_FILES)


def _pdf(title: str | None, context: str | None, data: str, target: Target) -> Sequence[str | ContentPart]:
    """A PDF: itself where the server takes files and its model sees, else its text."""
    if target.vendor.files and target.vision is not False:
        name = title or "document"
        name = name if name.lower().endswith(".pdf") else f"{name}.pdf"
        file = ContentPart("file", file={"filename": name, "file_data": f"data:{PDF};base64,{data}"})
        return (context, file) if context else (file,)
    pdf = (target.pdfs or {}).get(data, _NOT_PARSED)
    name = f"PDF{_named(title)}"
    if pdf.problem:
        return (_joined(f"[{name}: {pdf.problem}]", context),)
    count = f"{pdf.pages} page{'' if pdf.pages == 1 else 's'}"
    if not pdf.text:
        return (_joined(f"[{name}, {count}, without text: its pages are images]", context),)
    return (_joined(f"[{name}, {count}]", context, pdf.text),)


def _named(title: str | None) -> str:
    return f" '{title}'" if title else ""


def _joined(*texts: str | None) -> str:
    return "\n\n".join([text for text in texts if text])


# ------------------------------------------------------------------------------- what Anthropic's servers did themselves


def _served(block: Unknown, data: bytes, target: Target) -> str:
    """A block that Anthropic's servers made, in words: what was asked for, and what came of it. Empty when it says nothing."""
    try:
        return _words(block.kind, msgspec.json.decode(data), target)
    except RecursionError:
        raise BlockRefused(block, "", "Input is nested too deeply") from None


def _words(kind: str, fields: dict[str, Any], target: Target) -> str:
    match kind:
        case "server_tool_use" | "mcp_tool_use":
            name = ".".join([str(fields[key]) for key in ("server_name", "name") if key in fields])
            return f"[{name}]\n{_told(fields.get('input'), target)}".rstrip()
        case "compaction":
            return _told(fields.get("content"), target)
        case "container_upload":
            return f"[file {fields.get('file_id')}, for code that Anthropic's servers run]"
        case "tool_addition" | "tool_removal":
            return f"[{kind.replace('_', ' ')}]\n{_told(fields.get('tool'), target)}".rstrip()
        case "fallback" | "mcp_tool_listing":
            # Marks for Anthropic's servers, which show them to no model either.
            return ""
        case _:
            return f"[{kind.removesuffix('_tool_result')} result]\n{_told(fields.get('content'), target)}".rstrip()


#: What says nothing to a model. What begins with `encrypted` is for Anthropic's servers alone.
_SILENT: Final = frozenset("type id tool_use_id cache_control caller citations signature".split())


def _told(value: Any, target: Target) -> str:
    """JSON as lines for a model: texts as they are, fields with their names."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join([text for one in value if (text := _told(one, target))])
    if not isinstance(value, dict):
        return "" if value is None else msgspec.json.encode(value).decode()
    if value.get("type") == "text":
        return _told(value.get("text"), target)
    if value.get("type") in ("document", "image"):
        try:
            block = msgspec.convert(value, Document | Image)
            return "\n\n".join([said for said in block_parts(block, without_vision(target)) if isinstance(said, str)])
        except (msgspec.ValidationError, BlockRefused):
            return f"[{value['type']}]"
    lines = []
    for key, inner in value.items():
        if key in _SILENT or key.startswith("encrypted"):
            continue
        text = _told(inner, target)
        if text:
            lines.append(f"{key}:\n{text}" if isinstance(inner, dict | list) or "\n" in text else f"{key}: {text}")
    return "\n".join(lines)


def without_vision(target: Target) -> Target:
    """The same target, told only texts: for the places of a conversation where chat has no images and files."""
    return target if target.vision is False else msgspec.structs.replace(target, vision=False)
