"""Converts one content block to chat form: texts, images and files. `conversation` puts them in order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.protocol import Target
from byway.messages import claudecode
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

#: The types that the Messages API accepts: https://docs.anthropic.com/en/docs/build-with-claude/vision (seen 2026-11-21).
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
    """A block that cannot be sent: the field that is wrong, and why."""

    def __init__(self, block: Block, field: str, reason: str) -> None:
        self.block = block
        self.field = field
        self.reason = reason


def block_parts(block: Block, target: Target) -> Sequence[str | ContentPart]:
    """Return a block as texts and parts. A block without a chat form becomes text.

    Raises BlockRefused for a block that the Messages API refuses too.
    """
    match block:
        case Text():
            return (block.text,) if block.text else ()
        case Image():
            return (_image(block, target),)
        case Document():
            return _document(block, target)
        case SearchResult():
            return (_paragraphs(block.title, block.source, *[text.text for text in block.content]),)
        case ToolReference():
            return (f"Tool {block.tool_name} is loaded.",)
        case Unknown():
            data = raw_bytes(block, "", block.raw)
            text = data.decode() if block.foreign else _server_block(block, data, target)
            return (text,) if text else ()
        case ToolUse():
            return (f"[{block.name}]\n{raw_bytes(block, 'input', block.input).decode()}",)
        case ToolResult():
            content = block.content
            parts = (content,) if isinstance(content, str) else content_parts(content or (), target)
            return (f"Result of the tool call {block.tool_use_id}:", *parts)
        case Thinking() | RedactedThinking():
            return ()


def raw_bytes(block: Block, field: str, raw: Raw) -> bytes:
    """Return the bytes of a part of `block` that is not decoded; raises BlockRefused for bytes that servers cannot parse."""
    try:
        return unopened(raw, "")
    except Problem as problem:
        raise BlockRefused(block, field, problem.message) from None


def content_parts(blocks: Sequence[Block], target: Target) -> list[str | ContentPart]:
    """Return several blocks as texts and parts."""
    return [part for block in blocks for part in block_parts(block, target)]


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


_NO_FILES: Final = "'file' needs the Files API, which is disabled on this Byway. Send the data itself as 'base64'."


def _document(block: Document, target: Target) -> Sequence[str | ContentPart]:
    """A document after its title and context. `citations` is ignored: no chat server has them."""
    title, context = block.title, block.context
    match block.source:
        case TextSource(data):
            return (_paragraphs(title, context, data),)
        case ContentSource(content):
            parts = [content] if isinstance(content, str) else content_parts(content or [], target)
            head = _paragraphs(title, context)
            return [head, *parts] if head else parts
        case UrlSource(url):
            return (_paragraphs(f"[document{_quoted(title)}: {url}]", context),)
        case Base64Source(kind, data) if kind == PDF:
            return _pdf(title, context, data, target)
        case Base64Source(kind, data) if kind.startswith("text/"):
            try:
                return (_paragraphs(title, context, base64.b64decode(data).decode("utf-8", "replace")),)
            except (binascii.Error, ValueError):
                raise BlockRefused(block, "source.data", "Input should be base64") from None
        case Base64Source():
            raise BlockRefused(block, "source.media_type", f"Input should be '{PDF}'")
        case FileSource():
            raise BlockRefused(block, "source.type", _NO_FILES)


def _pdf(title: str | None, context: str | None, data: str, target: Target) -> Sequence[str | ContentPart]:
    """A PDF as a file where the server accepts files and the model sees images, else its text."""
    if target.vendor.files and target.vision is not False:
        name = title or "document"
        name = name if name.lower().endswith(".pdf") else f"{name}.pdf"
        file = ContentPart("file", file={"filename": name, "file_data": f"data:{PDF};base64,{data}"})
        return (context, file) if context else (file,)
    pdf = (target.pdfs or {}).get(data, _NOT_PARSED)
    name = f"PDF{_quoted(title)}"
    if pdf.problem:
        return (_paragraphs(f"[{name}: {pdf.problem}]", context),)
    count = f"{pdf.pages} page{'' if pdf.pages == 1 else 's'}"
    if not pdf.text:
        return (_paragraphs(f"[{name}, {count}, without text: its pages are images]", context),)
    return (_paragraphs(f"[{name}, {count}]", context, pdf.text),)


def _quoted(title: str | None) -> str:
    return f" '{title}'" if title else ""


def _paragraphs(*texts: str | None) -> str:
    return "\n\n".join([text for text in texts if text])


# --- blocks that Anthropic's servers added -------------------------------------------------------------------------------


def _server_block(block: Unknown, data: bytes, target: Target) -> str:
    """A block that Anthropic's servers added, as text: what was called, and its result. Empty when it has no content."""
    try:
        return _server_text(block.kind, msgspec.json.decode(data), target)
    except RecursionError:
        raise BlockRefused(block, "", "Input is nested too deeply") from None
    except msgspec.MsgspecError as error:
        # A number that no Python float holds, for example: the block itself was kept without being decoded.
        raise BlockRefused(block, "", str(error)) from None


def _server_text(kind: str, fields: dict[str, Any], target: Target) -> str:
    match kind:
        case "server_tool_use" | "mcp_tool_use":
            name = ".".join([str(fields[key]) for key in ("server_name", "name") if key in fields])
            return f"[{name}]\n{_as_text(fields.get('input'), target)}".rstrip()
        case "compaction":
            return _as_text(fields.get("content"), target)
        case "mid_conv_system":
            text = _as_text(fields.get("content"), target)
            return claudecode.reminder(text) if text else ""
        case "container_upload":
            return f"[file {fields.get('file_id')}, for code that Anthropic's servers run]"
        case "tool_addition" | "tool_removal":
            return f"[{kind.replace('_', ' ')}]\n{_as_text(fields.get('tool'), target)}".rstrip()
        case "fallback" | "mcp_tool_listing":
            # Marks for Anthropic's servers. They do not reach a model there either.
            return ""
        case _:
            return f"[{kind.removesuffix('_tool_result')} result]\n{_as_text(fields.get('content'), target)}".rstrip()


#: Fields without meaning for a model. Fields that begin with `encrypted` are for Anthropic's servers only.
_IGNORED: Final = frozenset("type id tool_use_id cache_control caller citations signature".split())


def _as_text(value: Any, target: Target) -> str:
    """JSON as lines for a model: texts as they are, other fields with their names."""
    lines: list[str] = []
    _add_lines(value, target, lines)
    return "\n".join(lines)


def _add_lines(value: Any, target: Target, lines: list[str]) -> None:
    if isinstance(value, str):
        if value:
            lines.append(value)
    elif isinstance(value, list):
        for item in value:
            _add_lines(item, target, lines)
    elif not isinstance(value, dict):
        if value is not None:
            lines.append(msgspec.json.encode(value).decode())
    elif value.get("type") == "text":
        _add_lines(value.get("text"), target, lines)
    elif value.get("type") in ("document", "image"):
        text = _media_text(value, target)
        if text:
            lines.append(text)
    else:
        for key, inner in value.items():
            if key not in _IGNORED and not key.startswith("encrypted"):
                _add_field(key, inner, target, lines)


def _media_text(fields: dict[str, Any], target: Target) -> str:
    try:
        block = msgspec.convert(fields, Document | Image)
        return "\n\n".join([part for part in block_parts(block, without_vision(target)) if isinstance(part, str)])
    except (msgspec.ValidationError, BlockRefused):
        return f"[{fields['type']}]"


def _add_field(key: str, value: Any, target: Target, lines: list[str]) -> None:
    """Add a field with its name: on one line if its text is one line, else above its lines. A field without text is left out."""
    if isinstance(value, dict | list) or (isinstance(value, str) and "\n" in value):
        at = len(lines)
        lines.append(f"{key}:")
        _add_lines(value, target, lines)
        if len(lines) == at + 1:
            lines.pop()
    elif value is not None and value != "":
        lines.append(f"{key}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")


def without_vision(target: Target) -> Target:
    """Return the target with `vision` False: for the places of a conversation where chat accepts only text."""
    return target if target.vision is False else msgspec.structs.replace(target, vision=False)
