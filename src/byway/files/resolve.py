"""Replaces references to uploaded files in the body of a request by the content of the files.

It happens before the body is parsed, so that every backend gets content that it knows: base64, or text. All other bytes of the
conversation stay as they came, and with them the prefix that backends have cached.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from byway.decoding import DECODE_ERRORS
from byway.files.service import FileService, size_text
from byway.files.types import IMAGES, PDF, is_text, text_of
from byway.largebodies import off_loop
from byway.messages.blocks import FILE_MARK
from byway.problems import Problem
from byway.store.files import FileRecord

#: Different files of one request, and references to them.
MOST_FILES_OF_A_REQUEST: Final = 100
MOST_REFERENCES: Final = 500
#: Blocks inside of each other: a document in the result of a tool needs three.
_MOST_NESTED: Final = 16
_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_messages: Final = msgspec.json.Decoder(list[Raw])
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

Block = dict[str, Any]
#: A block that refers to a file: the list that has it, its index there, the id of the file, and the path of that id.
Reference = tuple[list[Any], int, str, str]


class RequestFormat(NamedTuple):
    """How the requests of an API refer to files."""

    field: str
    """The field of the body that has the conversation."""
    lists: tuple[str, ...]
    """The fields of a message that have lists of blocks."""
    references: Callable[[list[Any], str], Iterator[Reference]]
    """Yields the references in a list of blocks."""
    replacement: Callable[[Block, FileRecord, bytes], Block]
    """The block with the content of its file. Raises ValueError with the reason when the file cannot be there."""


class _OpenedBody(NamedTuple):
    """A body that has been taken apart: its fields, messages, those with references (decoded), and the references."""

    fields: dict[str, Raw]
    messages: list[Raw]
    decoded: dict[int, Any]
    references: list[Reference]


async def resolve_files(
    body: bytes, form: RequestFormat, files: FileService, owner: str, limit: int, reserve: Callable[[int], Any]
) -> bytes:
    """`body` with the content of the files that it refers to; `body` itself when there are none.

    `limit`: bytes that the result may have. `reserve(size)` is awaited before as many bytes are read. Raises Problem
    `not_found` for a file that the owner does not have, `invalid_request` for one that cannot be where it is,
    `too_large`.
    """
    conversation = await off_loop(len(body), _take_apart, body, form)
    if conversation is None or not conversation.references:
        return body
    references = conversation.references
    paths: dict[str, str] = {}
    for _, _, id, path in references:
        paths.setdefault(id, path)
    if len(paths) > MOST_FILES_OF_A_REQUEST:
        raise _too_many()
    records: dict[str, FileRecord] = {}
    for id, path in paths.items():
        try:
            records[id] = await files.record(owner, id)
        except Problem as problem:
            problem.message = f"{path}: {problem.message}"
            raise
    # Base64 takes four bytes for three. The content of text is escaped: its exact size is checked at the end.
    size = len(body) + sum(records[id].size * 4 // 3 for _, _, id, _ in references)
    if size > limit:
        raise _too_large(limit)
    await reserve(size)
    contents = {id: await files.read(record) for id, record in records.items()}
    resolved = await off_loop(size, _put_together, conversation, form, records, contents)
    if len(resolved) > limit:
        raise _too_large(limit)
    return resolved


def _too_many() -> Problem:
    return Problem(
        "invalid_request",
        f"The request refers to more than {MOST_FILES_OF_A_REQUEST} files, or {MOST_REFERENCES} times to files.",
    )


def _too_large(limit: int) -> Problem:
    return Problem(
        "too_large",
        f"With the content of its files the request is over {size_text(limit)}. Refer to fewer or smaller files.",
    )


def _take_apart(body: bytes, form: RequestFormat) -> _OpenedBody | None:
    """The parts of a body; None when it is not a request of this form, which its parser will report.

    Raises Problem for too many references, and for blocks that are nested too deeply.
    """
    decoded: dict[int, Any] = {}
    references: list[Reference] = []
    try:
        fields = _fields.decode(body)
        messages = _messages.decode(fields.get(form.field, Raw(b"[]")))
        for index, raw in enumerate(messages):
            if FILE_MARK not in bytes(raw):
                continue
            message = decoded[index] = _any(raw)
            for name in form.lists if isinstance(message, dict) else ():
                if isinstance(blocks := message.get(name), list):
                    for reference in form.references(blocks, f"{form.field}.{index}.{name}"):
                        if len(references) == MOST_REFERENCES:
                            raise _too_many()
                        references.append(reference)
    except DECODE_ERRORS:
        return None
    return _OpenedBody(fields, messages, decoded, references)


def _put_together(
    conversation: _OpenedBody, form: RequestFormat, records: Mapping[str, FileRecord], contents: Mapping[str, bytes]
) -> bytes:
    for blocks, index, id, path in conversation.references:
        try:
            blocks[index] = form.replacement(blocks[index], records[id], contents[id])
        except ValueError as error:
            raise Problem("invalid_request", f"{path}: file {id!r} {error}") from None
    messages = [
        Raw(_encode(conversation.decoded[index])) if index in conversation.decoded else raw
        for index, raw in enumerate(conversation.messages)
    ]
    return _encode({**conversation.fields, form.field: messages})


# ------------------------------------------------------------------------------------------------------------- Messages API


def _messages_references(blocks: list[Any], path: str, depth: int = 1) -> Iterator[Reference]:
    if depth > _MOST_NESTED:
        raise Problem("invalid_request", f"{path}: more than {_MOST_NESTED} blocks are inside of each other.")
    for index, block in enumerate(blocks):
        if not isinstance(block, dict):
            continue
        at = f"{path}.{index}"
        kind, source, content = block.get("type"), block.get("source"), block.get("content")
        if kind == "container_upload" and isinstance(block.get("file_id"), str):
            yield blocks, index, block["file_id"], f"{at}.file_id"
        elif kind == "tool_result" and isinstance(content, list):
            yield from _messages_references(content, f"{at}.content", depth + 1)
        elif kind in ("document", "image") and isinstance(source, dict):
            if source.get("type") == "file" and isinstance(source.get("file_id"), str):
                yield blocks, index, source["file_id"], f"{at}.source.file_id"
            elif source.get("type") == "content" and isinstance(source.get("content"), list):
                yield from _messages_references(source["content"], f"{at}.source.content", depth + 1)


def _messages_replacement(block: Block, record: FileRecord, data: bytes) -> Block:
    match block["type"]:
        case "image":
            if record.media_type not in IMAGES:
                raise ValueError(
                    f"is {record.media_type}, and an image block takes PNG, JPEG, GIF and WebP. "
                    "Use a document block for a PDF or text."
                )
            return {**block, "source": _base64_source(record, data)}
        case "document":
            if record.media_type in IMAGES:
                raise ValueError(f"is {record.media_type}. Use an image block for it.")
            return {**block, "source": _document_source(record, data)}
    # `container_upload`: Byway runs no code. The model gets the content.
    rest = {"cache_control": block["cache_control"]} if block.get("cache_control") else {}
    if record.media_type in IMAGES:
        return {"type": "image", "source": _base64_source(record, data), **rest}
    try:
        return {"type": "document", "source": _document_source(record, data), "title": record.filename, **rest}
    except ValueError:
        size = size_text(record.size)
        return {"type": "text", "text": f"[file {record.filename}: {record.media_type}, {size}, not readable]", **rest}


def _base64_source(record: FileRecord, data: bytes) -> Block:
    return {"type": "base64", "media_type": record.media_type, "data": base64.b64encode(data).decode()}


def _document_source(record: FileRecord, data: bytes) -> Block:
    if record.media_type == PDF:
        return _base64_source(record, data)
    return {"type": "text", "media_type": "text/plain", "data": _text(record, data)}


def _text(record: FileRecord, data: bytes) -> str:
    """The text of a file. Raises ValueError for a file that has none."""
    text = text_of(data) if is_text(record.media_type) else None
    if text is None:
        raise ValueError(
            f"is {record.media_type}, and models read PDF, text in UTF-8, and images. Convert it to PDF or text and "
            "upload that."
        )
    return text


MESSAGES: Final = RequestFormat("messages", ("content",), _messages_references, _messages_replacement)


# --------------------------------------------------------------------------------------------------- OpenAI's chat completions


def _chat_references(parts: list[Any], path: str) -> Iterator[Reference]:
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("file", "image_file") and isinstance(part.get(kind), dict):
            id = part[kind].get("file_id")
            if isinstance(id, str):
                yield parts, index, id, f"{path}.{index}.{kind}.file_id"


def _chat_replacement(part: Block, record: FileRecord, data: bytes) -> Block:
    if record.media_type in IMAGES:
        detail = part[part["type"]].get("detail")
        image = {"url": _data_url(record, data), **({"detail": detail} if isinstance(detail, str) else {})}
        return {"type": "image_url", "image_url": image}
    if part["type"] == "image_file":
        raise ValueError(f"is {record.media_type}, and an image_file takes PNG, JPEG, GIF and WebP.")
    if record.media_type == PDF:
        return {"type": "file", "file": {"filename": _pdf_name(record), "file_data": _data_url(record, data)}}
    return {"type": "text", "text": f"{record.filename}\n\n{_text(record, data)}"}


def _data_url(record: FileRecord, data: bytes) -> str:
    return f"data:{record.media_type};base64,{base64.b64encode(data).decode()}"


def _pdf_name(record: FileRecord) -> str:
    # Servers tell the type by the end of the name.
    return record.filename if record.filename.lower().endswith(".pdf") else f"{record.filename}.pdf"


CHAT: Final = RequestFormat("messages", ("content",), _chat_references, _chat_replacement)


# ------------------------------------------------------------------------------------------------------ OpenAI's Responses API


def _responses_references(parts: list[Any], path: str) -> Iterator[Reference]:
    for index, part in enumerate(parts):
        if isinstance(part, dict) and part.get("type") in ("input_file", "input_image", "computer_screenshot"):
            id = part.get("file_id")
            if isinstance(id, str):
                yield parts, index, id, f"{path}.{index}.file_id"


def _responses_replacement(part: Block, record: FileRecord, data: bytes) -> Block:
    if record.media_type in IMAGES:
        detail = part.get("detail")
        shown = {"detail": detail} if isinstance(detail, str) else {}
        return {"type": "input_image", "image_url": _data_url(record, data), **shown}
    if part["type"] != "input_file":
        raise ValueError(f"is {record.media_type}, and an image takes PNG, JPEG, GIF and WebP.")
    if record.media_type == PDF:
        return {"type": "input_file", "filename": _pdf_name(record), "file_data": _data_url(record, data)}
    return {"type": "input_text", "text": f"{record.filename}\n\n{_text(record, data)}"}


RESPONSES: Final = RequestFormat("input", ("content", "output"), _responses_references, _responses_replacement)
