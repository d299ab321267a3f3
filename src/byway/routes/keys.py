"""`/byway/keys`: the keys of clients."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import keys
from byway.admin.keys import KeyInfo, KeyList, KeyValue
from byway.routes.admin import change_keys, run, who
from byway.routes.context import RequestContext
from byway.routes.operation import operation
from byway.scopes import DEFAULT_SCOPES, Scope


class NewKey(Struct, forbid_unknown_fields=True):
    """A key to create."""

    name: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    expires: str = ""
    """A duration such as `30d`, a date, or a time. Default: never."""


async def show(context: RequestContext) -> KeyList:
    """List the keys, without their values."""
    stored = await run(lambda: keys.list_keys(context.gateway.services.store))
    configured = keys.configured_keys(context.runtime.config)
    return KeyList(tuple(stored), tuple(configured), context.runtime.keyring.blocking)


async def create(context: RequestContext, body: NewKey) -> KeyValue:
    """Create a key. Its value is in this answer and is not shown again."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: keys.create_key(store, body.name, body.scopes, body.expires, author))


async def rotate(context: RequestContext) -> KeyValue:
    """Give a key a new value. The old value stops working at once."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: keys.rotate_key(store, context.tail, author))


async def revoke(context: RequestContext) -> KeyInfo:
    """Revoke a key for good. Requests in progress are finished."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: keys.revoke_key(store, context.tail, author))


ROUTES = (
    operation("GET", "/byway/keys", show, response=KeyList),
    operation("POST", "/byway/keys", create, request=NewKey, response=KeyValue, status=201),
    operation("POST", "/byway/keys/{id}/rotate", rotate, response=KeyValue),
    operation("DELETE", "/byway/keys/{id}", revoke, response=KeyInfo),
)
