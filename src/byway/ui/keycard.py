"""The card Keys, which the pages API and My keys share: its data, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from byway.admin import keys
from byway.admin.keys import KeyValue
from byway.problems import Problem
from byway.routes.admin import change_keys, run, who
from byway.routes.context import RequestContext
from byway.scopes import Scope
from byway.ui.page import Form, Outcome, failure, read_form

#: Revoked and expired keys that the card lists.
_LISTED_DEAD: Final = 20
#: Each scope, what it allows, and whether a new key has it unless that is changed.
SCOPES: Final[tuple[tuple[Scope, str, bool], ...]] = (
    ("read", "list models, count tokens", True),
    ("write", "send requests to models", True),
    ("files", "upload and read files", True),
    ("admin", "change settings", False),
)


class SendCard(Protocol):
    """Sends a card of a page, or the whole page to a browser without scripts."""

    async def __call__(self, context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None: ...


async def key_rows(context: RequestContext, account: str | None = None) -> dict[str, Any]:
    """The keys that the card lists, without the value of a new one; with `account` only those of that account."""
    store = context.gateway.services.store
    stored = await run(lambda: keys.list_keys(store, account))
    return {
        "keys": [key for key in stored if key.state in ("active", "disabled")],
        "dead": [key for key in stored if key.state in ("revoked", "expired")][:_LISTED_DEAD],
        "configured": keys.configured_keys(context.runtime.config, account),
        "plain": "",
        "made": None,
    }


async def create_key(
    context: RequestContext, send: SendCard, fields: Form, service: Callable[[list[Scope]], KeyValue]
) -> None:
    """Create a key with the scopes of the form, and show its value once."""
    scopes = [scope for scope, _, _ in SCOPES if fields[f"scope:{scope}"] == "on"]
    if scopes:
        await _show_value(context, send, lambda: service(scopes))
    else:
        await send(context, "keys", Outcome("bad", "A key needs a scope."))


async def rotate_key(context: RequestContext, send: SendCard, account: str | None = None) -> None:
    """Rotate a key, and show its new value once; with `account` only a key of that account."""
    id = (await read_form(context))["id"]
    store, author = context.gateway.services.store, who(context)

    def rotated() -> KeyValue:
        keys.require_own(store, id, account)
        return keys.rotate_key(store, id, author)

    await _show_value(context, send, rotated)


async def revoke_key(context: RequestContext, send: SendCard, account: str | None = None) -> None:
    """Revoke a key; with `account` only a key of that account."""
    id = (await read_form(context))["id"]
    store, author = context.gateway.services.store, who(context)

    def revoked() -> str:
        keys.require_own(store, id, account)
        return keys.revoke_key(store, id, author).name

    try:
        name = await change_keys(context, revoked)
    except Problem as problem:
        outcome = failure(context, problem)
    else:
        outcome = Outcome("good", f"{name} is revoked.", "Its next request is rejected; active requests continue.")
    await send(context, "keys", outcome)


async def _show_value(context: RequestContext, send: SendCard, service: Callable[[], KeyValue]) -> None:
    try:
        made = await change_keys(context, service)
    except Problem as problem:
        await send(context, "keys", failure(context, problem))
        return
    await send(context, "keys", None, plain=made.value, made=made.key)
