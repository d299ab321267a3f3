"""The page My keys: how an account connects Claude Code, its keys and its logins."""

from __future__ import annotations

from typing import Any, Final

from byway.admin import exports, keys, limits
from byway.admin.setups import setup_texts
from byway.problems import Problem
from byway.roles import PERMISSIONS
from byway.routes.admin import who
from byway.routes.context import RequestContext, Route, public_url
from byway.ui.keycard import SCOPES, create_key, key_rows, revoke_key, rotate_key
from byway.ui.page import (
    Outcome,
    failure,
    read_form,
    send_changed,
    send_page,
    status_of,
)

#: Limits that the page lists.
_LISTED_LIMITS: Final = 100


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    rows = await _keys(context)
    await send_page(
        context,
        "account",
        "My keys",
        here="/account",
        lead="Connect Claude Code with a key of your own.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        **{
            **await _connect(context),
            **rows,
            **_limits(context, rows),
            **await _logins(context),
            **more,
        },
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    await send_changed(context, _page, "account", card, outcome, {"keys": _keys, "logins": _logins}[card], **more)


def _own_account(context: RequestContext) -> str:
    """The account of the caller. Raises Problem when it has none: the owner of this Byway uses the page Keys."""
    if not context.caller.account:
        raise Problem("not_found", "You are logged in without an account. The page Keys has all keys.")
    return context.caller.account


async def _connect(context: RequestContext) -> dict[str, Any]:
    # The environment of Byway's own process is not that of the person's machine.
    setup = await exports.client_setup(context.runtime, public_url(context), {})
    pairs = exports.variables(setup)
    return {
        "setup": setup,
        "setups": setup_texts(pairs, listens_wide=True, key_required=setup.key_required),
        "launch": exports.launch(setup),
    }


async def _keys(context: RequestContext) -> dict[str, Any]:
    allowed = PERMISSIONS[context.caller.role].scopes if context.caller.role else ()
    return {
        **await key_rows(context, _own_account(context)),
        "scopes": [scope for scope in SCOPES if scope[0] in allowed],
    }


def _limits(context: RequestContext, rows: dict[str, Any]) -> dict[str, Any]:
    caller = context.caller
    keys = [key.id for key in (*rows["keys"], *rows["configured"])]
    listed = limits.own_limits(context.runtime.limiter, caller, keys)
    return {"limits": listed[:_LISTED_LIMITS], "more_limits": max(0, len(listed) - _LISTED_LIMITS)}


async def _logins(context: RequestContext) -> dict[str, Any]:
    return {"logins": context.gateway.services.logins.current(_own_account(context))}


async def create(context: RequestContext) -> None:
    """Create a key of the account; its value is shown once."""
    fields = await read_form(context)
    store, account = context.gateway.services.store, _own_account(context)
    await create_key(
        context,
        _card,
        fields,
        lambda scopes: keys.create_own_key(store, account, fields["name"], scopes, fields["ends"]),
    )


async def rotate(context: RequestContext) -> None:
    """Rotate a key of the account; the new value is shown once."""
    await rotate_key(context, _card, _own_account(context))


async def revoke(context: RequestContext) -> None:
    """Revoke a key of the account."""
    await revoke_key(context, _card, _own_account(context))


async def end_login(context: RequestContext) -> None:
    """End a login of the account."""
    fields = await read_form(context)
    try:
        await context.gateway.services.logins.revoke(fields["id"], who(context), _own_account(context))
    except Problem as problem:
        await _card(context, "logins", failure(context, problem))
        return
    await _card(context, "logins", Outcome("good", "The login has ended."))


ROUTES = (
    Route("GET", "/account", index, "account", "page"),
    Route("POST", "/account/keys/create", create, "account", "page"),
    Route("POST", "/account/keys/rotate", rotate, "account", "page"),
    Route("POST", "/account/keys/revoke", revoke, "account", "page"),
    Route("POST", "/account/logins/revoke", end_login, "account", "page"),
)
