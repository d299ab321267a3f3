"""Bodies of which a small size is enough, and forms. A larger body is refused unread when its length is declared."""

from __future__ import annotations

from urllib.parse import parse_qsl

from byway.problems import Problem
from byway.routes.context import RequestContext


async def read_at_most(context: RequestContext, limit: int, refusal: str) -> bytes:
    """The body. Raises Problem `too_large` with the message `refusal` when it has more than `limit` bytes."""
    # Anyone can send such a request: 32 MiB of a body would be kept for a few fields.
    if int(context.headers.get(b"content-length") or 0) > limit:
        raise Problem("too_large", refusal)
    body = await context.body()
    if len(body) > limit:
        raise Problem("too_large", refusal)
    return body


async def read_fields(context: RequestContext, limit: int, most: int, refusal: str) -> list[tuple[str, str]]:
    """The fields of a form of at most `limit` bytes. Raises Problem.

    `refusal` is the message for a body that is not a form, or has more than `most` fields.
    """
    body = await read_at_most(context, limit, f"The form is too large; the limit is {limit >> 10} KiB.")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=most)
    except ValueError:
        raise Problem("invalid_request", refusal) from None
