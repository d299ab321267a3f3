"""Operations of the admin API: a Route with a typed request and answer, from which the OpenAPI document is generated."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from byway.admin.errors import invalid
from byway.decoding import DECODE_ERRORS
from byway.problems import Problem
from byway.routes.context import Header, RequestContext, Route, Scope

#: Bytes of a request body.
_BODY_LIMIT: Final = 1 << 20
_encode: Final = msgspec.json.Encoder().encode
_PLACE: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:missing required|contains unknown) field `([^`]*)`")


class Parameter(NamedTuple):
    """A parameter in the query of an operation."""

    name: str
    description: str
    type: type = str


class Operation(NamedTuple):
    """What an admin route takes and returns."""

    summary: str
    request: Any
    """The type of the body; None when there is none."""
    response: Any
    status: int
    parameters: tuple[Parameter, ...]
    if_match: bool
    """It takes the header If-Match, because it changes the config file."""
    text: bool
    """The body may be YAML text."""
    content: tuple[str, ...] = ("application/json",)
    """The content types of the answer."""


def operation(
    method: str,
    path: str,
    handler: Callable[..., Awaitable[Any]],
    *,
    response: Any,
    request: Any = None,
    status: int = 200,
    parameters: tuple[Parameter, ...] = (),
    if_match: bool = False,
    text: bool = False,
    scope: Scope = "admin",
) -> Route:
    """A route of the admin API. `handler(context, body)` returns the answer; without a `request` type, `handler(context)`.

    With `text` the handler reads the body itself.
    """
    decoder = None if request is None or text else msgspec.json.Decoder(request)

    async def endpoint(context: RequestContext) -> None:
        if decoder is None:
            result = await handler(context)
        else:
            result = await handler(context, decode(decoder, await read_body(context)))
        headers: list[Header] = [(b"cache-control", b"no-store")]
        etag = getattr(result, "etag", "")
        if etag:
            headers.append((b"etag", f'"{etag}"'.encode()))
        await context.answer(_encode(result), status, headers)

    summary = (handler.__doc__ or "").strip()
    about = Operation(summary, request, response, status, parameters, if_match, text)
    return Route(method, path, endpoint, scope, "admin", about)


async def read_body(context: RequestContext) -> bytes:
    """The body of an admin request. Raises Problem above 1 MiB."""
    body = await context.body()
    if len(body) > _BODY_LIMIT:
        raise Problem("too_large", f"A request to the admin API has at most {_BODY_LIMIT >> 10} KiB.")
    return body


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """The body as its type; an empty one is an object without fields. Raises Problem that names the invalid field."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        text, field = str(error), ""
        if place := _PLACE.fullmatch(text):
            text, field = place[1], place[2]
        if name := _FIELD.match(text):
            field = f"{field}.{name[1]}" if field else name[1]
            text = "is missing" if "missing" in text else "is unknown"
        raise invalid(field or "body", f"{text[:1].lower()}{text[1:]}") from None
    except DECODE_ERRORS as error:
        raise invalid("body", f"not valid JSON: {error}") from None


def query(context: RequestContext) -> dict[str, str]:
    """The fields of the query string; the last one of a name counts."""
    try:
        pairs = parse_qsl(context.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise Problem("invalid_request", "The query has too many fields.") from None
    return dict(pairs)


def number(text: str, field: str, most: int = 999_999_999_999_999, least: int = 0) -> int:
    """A whole number of a query or a path. Raises Problem."""
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not least <= int(text) <= most:
        raise invalid(field, f"a whole number from {least} to {most:,}")
    return int(text)
