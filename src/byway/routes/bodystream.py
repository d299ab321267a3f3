"""Reads a request body that is too large for memory, part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from byway.problems import Problem
from byway.routes.context import BODY_LIMIT, RequestContext, only_uncompressed


async def body_parts(context: RequestContext, limit: int, at_least: int = 256 << 10) -> AsyncIterator[bytes]:
    """The parts of the body, of about `at_least` bytes. Raises Problem above `limit` bytes and for a compressed body.

    A client that disconnects before the end raises CancelledError.
    """
    if context.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise only_uncompressed("the body")
    if int(context.headers.get(b"content-length") or 0) > limit:
        raise _too_large(limit)
    total = size = 0
    parts: list[bytes] = []
    is_open = True
    while is_open:
        message = await context.receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        parts.append(message["body"])
        size += len(message["body"])
        total += len(message["body"])
        if total > limit:
            raise _too_large(limit)
        is_open = bool(message.get("more_body"))
        if size >= at_least or not is_open:
            yield b"".join(parts)
            parts.clear()
            size = 0


async def read_upload(context: RequestContext) -> bytearray:
    """The whole body of a form, held once. Raises Problem above `BODY_LIMIT` and for a compressed body."""
    length = int(context.headers.get(b"content-length") or 0)
    if length <= BODY_LIMIT:
        # A chunked body does not declare its length.
        await context.reserve(length or BODY_LIMIT)
    body = bytearray()
    async for part in body_parts(context, BODY_LIMIT, at_least=1):
        body += part
    return body


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"The request body is over {limit >> 20} MiB.")
