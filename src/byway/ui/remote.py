"""The page Remote access: how other machines connect, a link that logs in once as a QR code, and the logins of browsers."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from byway.admin import accounts, remote
from byway.admin.remote import LoginLink, RemoteAccess, browser_name
from byway.display import count
from byway.problems import Problem
from byway.routes.admin import run, who
from byway.routes.authorize import cookie_value
from byway.routes.context import RequestContext, Route
from byway.ui.page import Outcome, failure, read_form, redirect, send_changed, send_page, status_of
from byway.ui.qr import qr_path

#: Accounts that the form offers.
_OFFERED = 200


class LoginRow(NamedTuple):
    """A login as text."""

    id: str
    browser: str
    agent: str
    account: str
    role: str
    since: str
    seen: str
    expires: str
    is_current: bool


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    await send_page(
        context,
        "remote",
        "Remote access",
        here="/remote",
        lead="Use Byway from another machine, and see which browsers are logged in to this page.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        **{**await _connect(context), **await _logins(context), **more},
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    read = {"connect": _connect, "logins": _logins}[card]
    await send_changed(context, _page, "remote", card, outcome, read, **more)


async def _access(context: RequestContext) -> RemoteAccess:
    services, config = context.gateway.services, context.runtime.config
    encrypted = context.gateway.certificate is not None
    return await run(lambda: remote.remote_access(services, config, encrypted=encrypted))


async def _connect(context: RequestContext) -> dict[str, Any]:
    store = context.gateway.services.store
    listed = (await run(lambda: accounts.list_accounts(store))).accounts
    names = [(account.id, f"{account.name} ({account.role})") for account in listed if account.state == "active"]
    return {
        "access": await _access(context),
        "closed": context.runtime.keyring.blocking,
        "people": [("", "me, with all rights"), *names[:_OFFERED]],
        "person": "",
        "made": None,
        "qr": None,
        "chosen_url": "",
    }


async def _logins(context: RequestContext) -> dict[str, Any]:
    services = context.gateway.services
    own = services.logins.current_id(cookie_value(context.header(b"cookie"), services.logins.cookie_name))
    listed = (await run(lambda: accounts.list_accounts(services.store))).accounts
    roles = {account.id: account.role for account in listed}
    rows = [
        LoginRow(
            login.id,
            browser_name(login.browser),
            login.browser,
            login.account,
            roles.get(login.account, "owner") if login.account else "owner",
            f"{login.created_at:%Y-%m-%d %H:%M}",
            f"{login.seen_at or login.created_at:%Y-%m-%d %H:%M}",
            f"{login.expires_at:%Y-%m-%d}",
            login.id == own,
        )
        for login in services.logins.current()
    ]
    rows.sort(key=lambda row: not row.is_current)
    return {"logins": rows}


async def link(context: RequestContext) -> None:
    """Create a link that logs in once, and show it with its QR code."""
    fields = await read_form(context)
    access, services, author = await _access(context), context.gateway.services, who(context)
    base = remote.usable_base(access, fields["url"])
    if not base:
        await _card(context, "connect", Outcome("bad", "Other machines cannot reach this Byway yet."))
        return
    try:
        made: LoginLink = await run(lambda: remote.create_login_link(services, base, fields["account"], author))
    except Problem as problem:
        await _card(context, "connect", failure(context, problem))
        return
    try:
        qr = await asyncio.to_thread(qr_path, made.url)
    except ValueError:
        # The URL of this Byway is very long: the link is shown without a code.
        qr = None
    await _card(context, "connect", None, made=made, qr=qr, person=fields["account"], chosen_url=base)


async def end_login(context: RequestContext) -> None:
    """End one login."""
    fields = await read_form(context)
    try:
        await context.gateway.services.logins.revoke(fields["id"], who(context))
    except Problem as problem:
        await _card(context, "logins", failure(context, problem))
        return
    await _card(context, "logins", Outcome("good", "The login has ended."))


async def end_all(context: RequestContext) -> None:
    """End every login, with `others` all but that of this browser."""
    logins, author = context.gateway.services.logins, who(context)
    others = (await read_form(context))["others"] == "on"
    if not others:
        await logins.revoke_all(author)
        await redirect(context, "/login")
        return
    own = logins.current_id(cookie_value(context.header(b"cookie"), logins.cookie_name))
    ended = 0
    for login in logins.current():
        if login.id != own:
            await logins.revoke(login.id, author)
            ended += 1
    await _card(context, "logins", Outcome("good", f"{count(ended, 'other login')} ended."))


ROUTES = (
    Route("GET", "/remote", index, "admin", "page"),
    Route("POST", "/remote/link", link, "admin", "page"),
    Route("POST", "/remote/logins/end", end_login, "admin", "page"),
    Route("POST", "/remote/logins/end-all", end_all, "admin", "page"),
)
