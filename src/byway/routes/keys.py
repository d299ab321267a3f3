"""`/byway/keys`: the keys of clients."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import keys
from byway.admin.keys import KeyInfo, KeyList, KeyValue
from byway.problems import Problem
from byway.routes.admin import change_keys, run, who
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext
from byway.routes.operation import operation
from byway.scopes import Scope


class NewKey(Struct, forbid_unknown_fields=True):
    """A key to create."""

    name: str
    scopes: tuple[Scope, ...] = ()
    """Default: `read`, `write` and `files`, as far as the role of the account allows."""
    expires: str = ""
    """A duration such as `30d`, a date, or a time. Default: never."""
    account: str = ""
    """The account that it belongs to. Default: none."""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that it may use. Default: every model."""


class KeyRotation(Struct, forbid_unknown_fields=True):
    """How a key is rotated."""

    grace: str = ""
    """For how long the old value is accepted: `1h`. Default: not at all."""


async def show(context: RequestContext) -> KeyList:
    """List the keys, without their values: those of the caller's account, or all for an owner."""
    account = visible_account(context)
    stored = await run(lambda: keys.list_keys(context.gateway.services.store, account))
    configured = keys.configured_keys(context.runtime.config, account)
    return KeyList(tuple(stored), tuple(configured), context.runtime.keyring.blocking)


async def create(context: RequestContext, body: NewKey) -> KeyValue:
    """Create a key. Its value is in this answer and is not shown again. A member creates keys of its own account."""
    store, author, own = context.gateway.services.store, who(context), visible_account(context)
    if own is not None:
        if body.account not in ("", own):
            raise Problem("permission", "Only an owner may create keys of another account.")
        return await change_keys(
            context, lambda: keys.create_own_key(store, own, body.name, body.scopes, body.expires, body.models)
        )
    return await change_keys(
        context,
        lambda: keys.create_key(
            store, body.name, body.scopes, body.expires, author, account=body.account, models=body.models
        ),
    )


async def rotate(context: RequestContext, body: KeyRotation) -> KeyValue:
    """Give a key a new value. The old value stops working at once, or after the grace."""
    store, author, own = context.gateway.services.store, who(context), visible_account(context)

    def rotated() -> KeyValue:
        keys.require_own(store, context.tail, own)
        return keys.rotate_key(store, context.tail, author, body.grace)

    return await change_keys(context, rotated)


async def revoke(context: RequestContext) -> KeyInfo:
    """Revoke a key for good. Requests in progress are finished."""
    store, author, own = context.gateway.services.store, who(context), visible_account(context)

    def revoked() -> KeyInfo:
        keys.require_own(store, context.tail, own)
        return keys.revoke_key(store, context.tail, author)

    return await change_keys(context, revoked)


ROUTES = (
    operation("GET", "/byway/keys", show, response=KeyList, scope="account"),
    operation("POST", "/byway/keys", create, request=NewKey, response=KeyValue, status=201, scope="account"),
    operation("POST", "/byway/keys/{id}/rotate", rotate, request=KeyRotation, response=KeyValue, scope="account"),
    operation("DELETE", "/byway/keys/{id}", revoke, response=KeyInfo, scope="account"),
)
