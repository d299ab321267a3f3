"""In and out of the settings page: the link that `byway up` prints, and what those see who have no login."""

from __future__ import annotations

import html

from byway.access import login
from byway.routes.context import Ask, Header, Routes
from byway.ui.page import Said, go, query, send, show, wants_part


async def enter(ask: Ask) -> None:
    """Exchange the link's token for a login; it works once."""
    token = query(ask)["token"]
    if not token:
        await closed(ask, status=200)
        return
    cookie = ask.app.at_desk.enter(token)
    if cookie is None:
        await closed(ask, Said("bad", "This link was used before, or is older than a quarter of an hour."))
        return
    headers = [_cookie(ask, cookie, login.LOGIN_SECONDS)]
    if ask.header(b"sec-fetch-site") in ("cross-site", "same-site"):
        # The link was on a page of elsewhere (a chat, a web terminal, the file that `byway page --open` leads by): a redirect
        # would still count as theirs and carry no cookie, so this page goes on by itself.
        where = html.escape(f"{ask.runtime.config.server.root_path}/")
        going = f'<meta http-equiv="refresh" content="0; url={where}"><a href="{where}">Go on</a>'
        await send(ask, f'<!doctype html><html lang="en"><title>Byway</title>{going}</html>', headers=headers)
        return
    await go(ask, "/", headers)


async def leave(ask: Ask) -> None:
    """Forget the login in this browser."""
    await go(ask, "/login", [_cookie(ask, "", 0)])


async def closed(ask: Ask, said: Said | None = None, status: int = 401) -> None:
    """What those see who are not logged in."""
    if wants_part(ask):
        # Their login has ended while the page was open: what they see of it is not to be replaced by a whole page.
        await go(ask, "/login", status=401)
        return
    await show(ask, "login", "Log in", here="/login", status=status, said=said, pages=(), notices=())


def _cookie(ask: Ask, value: str, seconds: int) -> Header:
    # Strict: a link from another site does not carry it. No Secure: on loopback there is no TLS to want.
    said = f"{ask.app.at_desk.login.cookie}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
    return b"set-cookie", said.encode()


OPEN: Routes = (("GET", "/login", enter),)
ROUTES: Routes = (("POST", "/logout", leave),)
