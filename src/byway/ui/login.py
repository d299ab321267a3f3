"""Login and logout: the link that `byway up` prints, and the page that requires a login."""

from __future__ import annotations

import html

from byway.access import login
from byway.routes.authorize import cookie_value
from byway.routes.context import Header, RequestContext, Route
from byway.ui.page import Outcome, is_htmx, query_fields, redirect, send_html, send_page


async def enter(context: RequestContext) -> None:
    """Exchange the link's token for a login; it works once."""
    token = query_fields(context)["token"]
    if not token:
        await closed(context, status=200)
        return
    cookie = await context.gateway.services.logins.enter(token, context.header(b"user-agent"))
    if cookie is None:
        await closed(context, Outcome("bad", "This link was used already, or has expired (15 minutes)."))
        return
    headers = [_cookie(context, cookie, login.LOGIN_SECONDS)]
    if context.header(b"sec-fetch-site") in ("cross-site", "same-site"):
        # The link was opened from another site (a chat, a web terminal, the file of `byway page --open`): a redirect would
        # still be cross-site and carry no cookie, so this page refreshes to the landing page.
        where = html.escape(f"{context.runtime.config.server.root_path}/")
        going = f'<meta http-equiv="refresh" content="0; url={where}"><a href="{where}">Continue</a>'
        await send_html(context, f'<!doctype html><html lang="en"><title>Byway</title>{going}</html>', headers=headers)
        return
    await redirect(context, "/", headers)


async def leave(context: RequestContext) -> None:
    """End the login of this browser."""
    services = context.gateway.services
    await services.logins.logout(cookie_value(context.header(b"cookie"), services.logins.cookie_name))
    await redirect(context, "/login", [_cookie(context, "", 0)])


async def closed(context: RequestContext, outcome: Outcome | None = None, status: int = 401) -> None:
    """Send the page that requires a login."""
    if is_htmx(context):
        # The login expired while the page was open: a card must not be replaced by a whole page.
        await redirect(context, "/login", status=401)
        return
    await send_page(context, "login", "Log in", here="/login", status=status, outcome=outcome, pages=(), notices=())


def _cookie(context: RequestContext, value: str, seconds: int) -> Header:
    # SameSite=Strict: links from other sites do not send it. No Secure attribute: loopback has no TLS.
    outcome = (
        f"{context.gateway.services.logins.cookie_name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
    )
    return b"set-cookie", outcome.encode()


ROUTES = (Route("GET", "/login", enter, "open", "page"), Route("POST", "/logout", leave, "admin", "page"))
