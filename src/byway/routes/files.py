"""`/v1/files`: the Files API of Anthropic and that of OpenAI, with one storage behind both.

The headers tell which one a client uses (`is_anthropic`). Shapes: the `anthropic` SDK 2.11.0, with and without the beta header
`files-api-2025-04-14`, and the `openai` SDK 3.52.0 (both seen 2026-11-30).
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qs, quote

import msgspec

from byway.access.keys import Caller
from byway.files.multipart import FormField, FormFile, FormParser, incomplete
from byway.files.resolve import RequestFormat, resolve_files
from byway.files.service import FileService, Upload
from byway.problems import Problem
from byway.routes.context import (
    BODY_LIMIT,
    Header,
    RequestContext,
    api,
    is_anthropic,
    is_surely_anthropic,
    only_uncompressed,
)
from byway.routes.listing import list_page, page_limit
from byway.store.files import FileRecord

#: Bytes of a form besides its file.
_FORM_LIMIT: Final = 64 << 10
_DAY: Final = 86_400
#: Seconds that a client may set until a file expires, by the documentation of each API.
_ANTHROPIC_SPAN: Final = (3_600, 90 * _DAY)
_OPENAI_SPAN: Final = (3_600, 30 * _DAY)
#: OpenAI's files for batches expire after 30 days unless the client sets something else.
_BATCH_SPAN: Final = 30.0 * _DAY
_PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_IDS: Final = 100
#: A browser that opens the address of a file downloads it, and runs nothing in it.
_DOWNLOAD: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cache-control", b"private, no-store"),
)
_encode: Final = msgspec.json.Encoder().encode


def owner_of(caller: Caller) -> str:
    """The owner of what a caller uploads: its account, else its key; "" for clients without a key, who share their files."""
    if caller.account or caller.sign_in:
        return f"account:{caller.account}"
    return f"key:{caller.key}" if caller.key else ""


def file_service(context: RequestContext) -> FileService:
    """The files of this Byway. Raises Problem `not_found` where they are disabled."""
    files = context.gateway.files
    if files is None:
        raise Problem(
            "not_found",
            "Files are disabled on this Byway. The operator can enable them by `files.enabled` in byway.yaml.",
        )
    return files


async def with_files(context: RequestContext, body: bytes, form: RequestFormat) -> bytes:
    """The body of a request with the content of the files that it refers to. Raises Problem.

    Where files are disabled it stays as it is: a backend may know the ids.
    """
    files = context.gateway.files
    if files is None:
        return body
    return await resolve_files(body, form, files, owner_of(context.caller), BODY_LIMIT, context.reserve)


# ------------------------------------------------------------------------------------------------------------------- upload


async def upload(context: RequestContext) -> None:
    """Store the file of a form. It goes to the storage as it arrives."""
    files = file_service(context)
    anthropic = is_anthropic(context)
    if b"content-encoding" in context.headers:
        raise only_uncompressed("the form of a file")
    parser = FormParser(context.header(b"content-type"))
    async with aclosing(await files.begin(owner_of(context.caller), "file_" if anthropic else "file-")) as stored:
        stored.check(max(0, int(context.headers.get(b"content-length") or 0) - _FORM_LIMIT))
        fields = await _receive(context, parser, stored)
        purpose = ""
        if fields.get("purpose") in _PURPOSES and not is_surely_anthropic(context):
            # curl with the field of OpenAI's API, and `x-api-key`.
            anthropic = False
        if anthropic:
            expires_in = _span(fields, "expires_in_seconds", _ANTHROPIC_SPAN)
        else:
            purpose = fields.get("purpose", "")
            if purpose not in _PURPOSES:
                raise Problem("invalid_request", f"purpose: Input should be one of {', '.join(_PURPOSES)}")
            expires_in = _span(fields, "expires_after[seconds]", _OPENAI_SPAN)
            if fields.get("expires_after[anchor]", "created_at") != "created_at":
                raise Problem("invalid_request", "expires_after[anchor]: Input should be 'created_at'")
            if expires_in is None and purpose == "batch":
                expires_in = _BATCH_SPAN
        record = await stored.finish(expires_in=expires_in, purpose=purpose)
    await context.answer(_encode(_shown(record, anthropic)))


async def _receive(context: RequestContext, parser: FormParser, stored: Upload) -> Mapping[str, str]:
    """Read the form: its file goes to the storage, its fields are returned."""
    fields: dict[str, str] = {}
    files = total = 0
    context.unread = more = True
    while more:
        message = await context.receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        context.unread = more = message.get("more_body", False)
        total += len(message["body"])
        if total - stored.size > _FORM_LIMIT + len(message["body"]):
            raise Problem(
                "too_large", f"The form is over {_FORM_LIMIT >> 10} KiB besides its file. Send only the file."
            )
        for part in parser.feed(message["body"]):
            match part:
                case FormField(name, value):
                    fields[name] = value
                case FormFile(name, filename, content_type):
                    files += 1
                    if name != "file" or files > 1:
                        raise Problem("invalid_request", "Send one file, in the field `file` of the form.")
                    stored.name(filename, content_type)
                case bytes():
                    await stored.write(part)
    if not parser.complete:
        raise incomplete()
    if not files:
        raise Problem("invalid_request", "file: Field required. Send the file as multipart/form-data.")
    return fields


def _span(fields: Mapping[str, str], name: str, limits: tuple[int, int]) -> float | None:
    """The seconds until a file expires; None when the form has no such field."""
    text = fields.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not limits[0] <= int(text) <= limits[1]:
        raise Problem("invalid_request", f"{name}: Input should be a number of seconds from {limits[0]} to {limits[1]}")
    return float(text)


# --------------------------------------------------------------------------------------------------------------------- read


async def show(context: RequestContext) -> None:
    """Return what is known about a file."""
    record = await file_service(context).record(owner_of(context.caller), context.tail)
    await context.answer(_encode(_shown(record, is_anthropic(context))))


async def download(context: RequestContext) -> None:
    """Send the bytes of a file."""
    files = file_service(context)
    record = await files.record(owner_of(context.caller), context.tail)
    reader = await files.open(record)
    try:
        await context.begin(
            200,
            [
                (b"content-type", record.media_type.encode("latin-1", "replace")),
                (b"content-length", b"%d" % record.size),
                (b"content-disposition", b"attachment; filename*=UTF-8''" + quote(record.filename, safe="").encode()),
                *_DOWNLOAD,
            ],
        )
        while piece := await files.call(reader.read):
            await context.send({"type": "http.response.body", "body": piece, "more_body": True})
        await context.send({"type": "http.response.body", "body": b""})
    finally:
        reader.close()


async def delete(context: RequestContext) -> None:
    """Remove a file and its bytes."""
    record = await file_service(context).delete(owner_of(context.caller), context.tail)
    if is_anthropic(context):
        await context.answer(_encode({"id": record.id, "type": "file_deleted"}))
    else:
        await context.answer(_encode({"id": record.id, "object": "file", "deleted": True}))


async def index(context: RequestContext) -> None:
    """Return a page of the caller's files, the newest first, with the parameters of either API."""
    try:
        query = parse_qs(context.scope["query_string"].decode("latin-1"), max_num_fields=2 * _MOST_IDS)
    except ValueError:
        raise Problem("invalid_request", "The query has too many fields.") from None
    files, owner = file_service(context), owner_of(context.caller)
    anthropic = is_anthropic(context)
    page = await (_anthropic_page if anthropic else _openai_page)(files, owner, query)
    # Ten thousand files take longer than the event loop may be blocked.
    await context.answer(await files.call(_encode_page, page, anthropic))


def _encode_page(page: dict[str, Any], anthropic: bool) -> bytes:
    return _encode({**page, "data": [_shown(record, anthropic) for record in page["data"]]})


async def _anthropic_page(files: FileService, owner: str, query: Mapping[str, list[str]]) -> dict[str, Any]:
    """The list in both of its forms: with `page` and `next_page`, and with `after_id` and `before_id` as before 2026."""
    limit = page_limit(query, 20, 1_000)
    ids = query.get("ids[]") or query.get("ids")
    if ids:
        if len(set(ids)) > _MOST_IDS or "page" in query:
            raise Problem("invalid_request", f"ids: at most {_MOST_IDS} ids, and without page")
        records, more = await _known(files, owner, ids), False
    elif "scope_id" in query:
        # Byway has no files of sessions.
        records, more = [], False
    elif before := query.get("before_id"):
        first = (await files.record(owner, before[0])).number
        records, more = await files.page(owner, limit, after=first, ascending=True)
        records.reverse()
    else:
        after = None
        if cursor := query.get("page"):
            after = _cursor(cursor[0])
        elif after_id := query.get("after_id"):
            after = (await files.record(owner, after_id[0])).number
        records, more = await files.page(owner, limit, after=after)
    return {
        **list_page(records, [record.id for record in records], has_more=more),
        "next_page": f"page_{records[-1].number}" if more and "before_id" not in query else None,
    }


async def _known(files: FileService, owner: str, ids: list[str]) -> list[FileRecord]:
    """The caller's files among `ids`; others are left out."""
    records = []
    for id in dict.fromkeys(ids):
        try:
            records.append(await files.record(owner, id))
        except Problem as problem:
            if problem.kind != "not_found":
                raise
    return records


async def _openai_page(files: FileService, owner: str, query: Mapping[str, list[str]]) -> dict[str, Any]:
    limit = page_limit(query, 10_000, 10_000)
    order = query.get("order", ["desc"])[0]
    if order not in ("asc", "desc"):
        raise Problem("invalid_request", "order: Input should be 'asc' or 'desc'")
    after = None
    if after_id := query.get("after"):
        after = (await files.record(owner, after_id[0])).number
    purpose = query.get("purpose", [None])[0]
    records, more = await files.page(owner, limit, after=after, ascending=order == "asc", purpose=purpose)
    return {"object": "list", **list_page(records, [record.id for record in records], has_more=more)}


def _cursor(text: str) -> int:
    match = re.fullmatch(r"page_(\d{1,18})", text, re.ASCII)
    if match is None:
        raise Problem("invalid_request", "page: send `next_page` of the response before")
    return int(match[1])


def _shown(record: FileRecord, anthropic: bool) -> dict[str, Any]:
    """What a client gets of a file, in the form of its API."""
    if anthropic:
        return {
            "id": record.id,
            "type": "file",
            "filename": record.filename,
            "mime_type": record.media_type,
            "size_bytes": record.size,
            "created_at": _moment(record.created),
            "downloadable": True,
            "expires_at": None if record.expires is None else _moment(record.expires),
        }
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size,
        "created_at": int(record.created),
        "filename": record.filename,
        "purpose": record.purpose or "user_data",
        "status": "processed",
        "expires_at": None if record.expires is None else int(record.expires),
        "status_details": None,
    }


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ROUTES = (
    *api("POST", "/v1/files", upload, "files", "files"),
    *api("GET", "/v1/files", index, "files", "files"),
    *api("GET", "/v1/files/{id}", show, "files", "files"),
    *api("DELETE", "/v1/files/{id}", delete, "files", "files"),
    *api("GET", "/v1/files/{id}/content", download, "files", "files"),
)
