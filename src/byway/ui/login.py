"""In and out of the settings page: the link that `byway up` prints, and what those see who have no login."""

from __future__ import annotations

import html

from byway.access import login
from byway.routes.authorize import cookie_value
from byway.routes.context import Header, RequestContext, Route
from byway.ui.page import Said, go, query, send, show, wants_part


async def enter(context: RequestContext) -> None:
    """Exchange the link's token for a login; it works once."""
    token = query(context)["token"]
    if not token:
        await closed(context, status=200)
        return
    cookie = await context.gateway.services.logins.enter(token, context.header(b"user-agent"))
    if cookie is None:
        await closed(context, Said("bad", "This link was used before, or is older than a quarter of an hour."))
        return
    headers = [_cookie(context, cookie, login.LOGIN_SECONDS)]
    if context.header(b"sec-fetch-site") in ("cross-site", "same-site"):
        # The link was on a page of elsewhere (a chat, a web terminal, the file that `byway page --open` leads by): a redirect
        # would still count as theirs and carry no cookie, so this page goes on by itself.
        where = html.escape(f"{context.runtime.config.server.root_path}/")
        going = f'<meta http-equiv="refresh" content="0; url={where}"><a href="{where}">Go on</a>'
        await send(context, f'<!doctype html><html lang="en"><title>Byway</title>{going}</html>', headers=headers)
        return
    await go(context, "/", headers)


async def leave(context: RequestContext) -> None:
    """End the login of this browser."""
    services = context.gateway.services
    await services.logins.logout(cookie_value(context.header(b"cookie"), services.logins.cookie_name))
    await go(context, "/login", [_cookie(context, "", 0)])


async def closed(context: RequestContext, said: Said | None = None, status: int = 401) -> None:
    """What those see who are not logged in."""
    if wants_part(context):
        # Their login has ended while the page was open: what they see of it is not to be replaced by a whole page.
        await go(context, "/login", status=401)
        return
    await show(context, "login", "Log in", here="/login", status=status, said=said, pages=(), notices=())


def _cookie(context: RequestContext, value: str, seconds: int) -> Header:
    # Strict: a link from another site does not carry it. No Secure: on loopback there is no TLS to want.
    said = (
        f"{context.gateway.services.logins.cookie_name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
    )
    return b"set-cookie", said.encode()


ROUTES = (Route("GET", "/login", enter, "open", "page"), Route("POST", "/logout", leave, "admin", "page"))
