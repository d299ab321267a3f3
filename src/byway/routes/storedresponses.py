"""Stored responses: continued by `previous_response_id`, and `/v1/responses/{id}`, its input items, its removal."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from msgspec import Raw

from byway.decoding import DECODE_ERRORS
from byway.largebodies import off_loop
from byway.logs import log
from byway.problems import Problem
from byway.routes.context import RequestContext, api
from byway.routes.files import owner_of
from byway.routes.listing import list_page
from byway.routes.operation import query
from byway.store.database import StoreError
from byway.store.responses import ResponseStore, StoredResponse

P = ParamSpec("P")
R = TypeVar("R")
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_items: Final = msgspec.json.Decoder(list[Raw]).decode
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_PREVIOUS: Final = b'"previous_response_id"'
_REFERENCE: Final = b'"item_reference"'
#: Items of answers that Byway has written: their ids contain that of the response.
_OWN_ITEM: Final = re.compile(r"[a-z]{2,3}_([0-9a-f]{24})_\d{1,5}\Z")
#: Different responses to which the references of one request belong.
_MOST_REFERENCED: Final = 100
_MOST_LISTED: Final = 100
_DAY: Final = 86_400.0
#: What a client learns of a failure; the log has the rest.
_UNUSABLE: Final = "The stored responses of this Byway cannot be used at the moment; its log has the reason."


class _OutputOnly(msgspec.Struct):
    id: str = ""
    output: Raw = Raw(b"[]")


_output_only: Final = msgspec.json.Decoder(_OutputOnly).decode


async def _call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function(*args)` of the store, in a thread. Raises Problem while the database cannot be used."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except StoreError as error:
        log("The stored responses cannot be used", logging.ERROR, problem=str(error))
        raise Problem("internal", _UNUSABLE) from None


def _not_stored(id: str) -> Problem:
    return Problem(
        "invalid_request",
        f"previous_response_id: there is no response {id[:100]!r}. It was not stored (`store: false`), has been removed, or "
        "belongs to another key. Send the whole conversation as `input` instead.",
        facts={"code": "previous_response_not_found", "param": "previous_response_id"},
    )


async def continued(context: RequestContext, body: bytes) -> tuple[bytes, str]:
    """The body with the conversation that it continues, and the id of the response before it. Raises Problem."""
    if _PREVIOUS not in body and _REFERENCE not in body:
        return body, ""
    try:
        fields = await off_loop(len(body), _fields, body)
        named = _decode(fields.get("previous_response_id", Raw(b"null")))
        given = own_items(fields.get("input"))
    except DECODE_ERRORS:
        # Its parser reports what is wrong.
        return body, ""
    store, owner = context.gateway.responses, owner_of(context.caller)
    items: list[Raw] = []
    previous = named if isinstance(named, str) else ""
    if previous:
        if store is None:
            raise Problem(
                "invalid_request",
                "previous_response_id: this Byway stores no responses (`responses.store`). Send the whole conversation as "
                "`input` instead.",
                facts={"code": "previous_response_not_found", "param": "previous_response_id"},
            )
        records = await _call(store.conversation, owner, previous)
        if records is None:
            raise _not_stored(previous)
        for record in records:
            items += [*_items(record.input), *_items(_output_only(record.response).output)]
    resolved = given
    if store is not None and any([_REFERENCE in bytes(item) for item in given]):
        resolved = await _resolved(store, owner, given)
    if not previous and resolved is given:
        return body, ""
    given = resolved
    if previous:
        del fields["previous_response_id"]
    fields["input"] = Raw(_encode([*items, *given]))
    size = sum(map(len, fields.values()))
    await context.reserve(size)
    return await off_loop(size, _encode, fields), previous


async def _resolved(store: ResponseStore, owner: str, items: list[Raw]) -> list[Raw]:
    """The items with those that references name. A reference to an unknown item stays."""
    outputs: dict[str, dict[str, Raw]] = {}
    resolved: list[Raw] = []
    for raw in items:
        item = _decode(raw) if _REFERENCE in bytes(raw) else None
        id = item.get("id") if isinstance(item, dict) and item.get("type") == "item_reference" else None
        match = _OWN_ITEM.match(id) if isinstance(id, str) else None
        if match is not None:
            response = f"resp_{match[1]}"
            if response not in outputs and len(outputs) < _MOST_REFERENCED:
                record = await _call(store.get, owner, response)
                outputs[response] = {} if record is None else _by_id(record)
            raw = outputs.get(response, {}).get(str(id), raw)
        resolved.append(raw)
    return resolved if outputs else items


def _by_id(record: StoredResponse) -> dict[str, Raw]:
    return {_output_only(item).id: item for item in _items(_output_only(record.response).output)}


def own_items(input: Raw | None) -> list[Raw]:
    """The input of a request as a list of items. Raises MsgspecError."""
    if input is None or bytes(input) == b"null":
        return []
    if bytes(input).lstrip().startswith(b'"'):
        text = _decode(input)
        return [Raw(_encode({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}))]
    return _items(input)


async def keep(context: RequestContext, id: str, previous: str, input: bytes, response: bytes) -> None:
    """Store a response with the items of its own request. A failure is logged: the client has its answer all the same."""
    store, settings = context.gateway.responses, context.runtime.config.responses
    if store is None or not id:
        return
    record = StoredResponse(id, owner_of(context.caller), time.time(), previous, input, response)
    try:
        await asyncio.to_thread(store.add, record, settings.quota, settings.keep_days * _DAY)
    except StoreError as error:
        log("A response cannot be stored", logging.ERROR, problem=str(error))


async def _stored(context: RequestContext, id: str) -> StoredResponse:
    store = context.gateway.responses
    record = None if store is None else await _call(store.get, owner_of(context.caller), id)
    if record is None:
        raise Problem("not_found", f"There is no stored response {id[:100]!r}.")
    return record


async def show(context: RequestContext) -> None:
    """A stored response."""
    record = await _stored(context, context.tail)
    await context.answer(record.response)


async def delete(context: RequestContext) -> None:
    """Remove a stored response. Responses that continue it cannot be continued any more."""
    record = await _stored(context, context.tail)
    store = context.gateway.responses
    if store is not None:
        await _call(store.remove, record.owner, record.id)
    await context.answer(_encode({"id": record.id, "object": "response", "deleted": True}))


async def cancel(context: RequestContext) -> None:
    """Only responses in the background can be cancelled, and Byway has none."""
    await _stored(context, context.tail)
    raise Problem("invalid_request", "Only a response that was created with `background: true` can be cancelled.")


async def list_items(context: RequestContext) -> None:
    """The items that led to a stored response, with those of the responses before it."""
    record = await _stored(context, context.tail)
    store = context.gateway.responses
    records = [record]
    if store is not None and record.previous:
        conversation = await _call(store.conversation, record.owner, record.id)
        records = conversation or records
    items: list[dict[str, Any]] = []
    for number, part in enumerate(records):
        given = [_decode(item) for item in _items(part.input)]
        items += [
            item if item.get("id") else {"id": f"{_prefix(item)}_{part.id[5:]}_i{at}", **item}
            for at, item in enumerate(given)
        ]
        if number + 1 < len(records):
            items += [_decode(item) for item in _items(_output_only(part.response).output)]
    parameters = query(context)
    if parameters.get("order") != "asc":
        items.reverse()
    after = parameters.get("after")
    if after:
        places = [at for at, item in enumerate(items) if item.get("id") == after]
        items = items[places[0] + 1 :] if places else []
    try:
        limit = min(max(1, int(parameters.get("limit") or 20)), _MOST_LISTED)
    except ValueError:
        raise Problem("invalid_request", "limit: Input should be a number from 1 to 100") from None
    page = items[:limit]
    body = list_page(page, [item.get("id") for item in page], has_more=len(items) > limit)
    await context.answer(_encode({"object": "list", **body}))


def _prefix(item: dict[str, Any]) -> str:
    return "msg" if item.get("type") in (None, "message") else "item"


ROUTES = (
    *api("GET", "/v1/responses/{id}", show, "write", "responses"),
    *api("DELETE", "/v1/responses/{id}", delete, "write", "responses"),
    *api("POST", "/v1/responses/{id}/cancel", cancel, "write", "responses"),
    *api("GET", "/v1/responses/{id}/input_items", list_items, "write", "responses"),
)
