"""The page Sign-in: a person approves a client that wants to sign in, and ends sign-ins."""

from __future__ import annotations

from typing import Any, Final

from byway.admin import signins
from byway.admin.exports import SMALLEST_SESSION
from byway.admin.managedsettings import too_small_models
from byway.problems import Problem
from byway.routes.admin import change_keys, run, who
from byway.routes.authorize import require_account, visible_account
from byway.routes.context import RequestContext, Route, client_address
from byway.signin.tokens import USER_CODE
from byway.ui.login import closed
from byway.ui.page import Outcome, failure, query_fields, read_form, send_page, status_of

_LOG_IN: Final = Outcome(
    "warn",
    "Log in to approve the sign-in of Claude Code.",
    "After a login with a link of `byway page`, reload this page. The code stays valid for ten minutes.",
)
_UNKNOWN: Final = Outcome(
    "bad",
    "No client waits with this code: it was approved or denied already, has expired (ten minutes), or was mistyped.",
    "Run /login in Claude Code again to get another code.",
)


async def index(context: RequestContext) -> None:
    """Send the page: a form for the code, or the client that waits with the code of the URL."""
    typed = query_fields(context)["user_code"][:40]
    try:
        require_account(context)
    except Problem as problem:
        if problem.kind != "authentication":
            raise
        await closed(context, _LOG_IN, user_code=USER_CODE.typed(typed))
        return
    if not typed:
        await _page(context)
        return
    try:
        request = context.gateway.services.sign_ins.find(typed, client_address(context))
    except Problem as problem:
        await _page(context, failure(context, problem), status=problem.status)
        return
    # The code of a URL is never submitted by itself: the person compares it and presses a button.
    await _page(context, None if request else _UNKNOWN, request=request)


async def decide(context: RequestContext) -> None:
    """Approve or deny a client."""
    _require_login(context)
    fields = await read_form(context)
    approve = fields["action"] == "approve"
    try:
        request = context.gateway.services.sign_ins.decide(
            fields["user_code"], context.caller, client_address(context), approve=approve
        )
    except Problem as problem:
        await _page(context, failure(context, problem), status=problem.status)
        return
    if request is None:
        await _page(context, _UNKNOWN)
    elif approve:
        await _page(
            context, Outcome("good", "Approved.", "Claude Code is signed in within seconds. You can close this page.")
        )
    else:
        await _page(context, Outcome("good", "Denied. Claude Code was not signed in."))


async def end(context: RequestContext) -> None:
    """End a sign-in."""
    _require_login(context)
    fields = await read_form(context)
    store, account, author = context.gateway.services.store, visible_account(context), who(context)
    try:
        await change_keys(context, lambda: signins.revoke_sign_in(store, fields["id"], author, account))
    except Problem as problem:
        await _page(context, failure(context, problem))
        return
    await _page(context, Outcome("good", "The sign-in has ended.", "The next request of this client is rejected."))


def _require_login(context: RequestContext) -> None:
    if not context.caller.login:
        raise Problem("permission", "A key cannot sign in a client. Log in to the settings page.")


async def _page(
    context: RequestContext, outcome: Outcome | None = None, *, status: int = 0, request: Any = None
) -> None:
    store, account = context.gateway.services.store, visible_account(context)
    await send_page(
        context,
        "device",
        "Sign-in",
        here="/device",
        lead="Approve Claude Code when it signs in with /login, and end its sign-ins.",
        status=status or status_of(outcome),
        outcome=outcome,
        request=request,
        shows_accounts=account is None,
        web_search=context.runtime.searcher.ready,
        too_small=too_small_models(context.runtime),
        smallest=SMALLEST_SESSION,
        sign_ins=await run(lambda: signins.list_sign_ins(store, account)),
    )


ROUTES = (
    # It is open because its endpoint checks the login itself: the page that requires one explains why.
    Route("GET", "/device", index, "open", "page"),
    Route("POST", "/device", decide, "account", "page"),
    Route("POST", "/device/end", end, "account", "page"),
)
