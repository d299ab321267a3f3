"""Login and logout: by the link that `byway up` prints, by a code of an account, or by an identity provider."""

from __future__ import annotations

import html
import logging
from typing import Any, Final
from urllib.parse import urlencode

from byway.access import login
from byway.access.oidc import ATTEMPT_SECONDS, OidcError
from byway.limits.rules import counted_address
from byway.logs import log
from byway.problems import Problem
from byway.routes.authorize import cookie_value, login_caller_of
from byway.routes.context import (
    Header,
    RequestContext,
    Route,
    client_address,
    is_htmx,
    is_https,
    is_loopback_host,
    public_url,
)
from byway.signin.tokens import USER_CODE
from byway.ui.page import (
    Outcome,
    query_fields,
    read_form,
    redirect,
    send_html,
    send_page,
)

_USED: Final = Outcome("bad", "This link was used already, or has expired (15 minutes).")
_WRONG_CODE: Final = Outcome(
    "bad",
    "This code is not valid: it was used already, has expired (15 minutes), or was mistyped.",
    "Get another code.",
)


async def enter(context: RequestContext) -> None:
    """Exchange the link's token for a login; it works once. Without a token, show how to log in."""
    fields = query_fields(context)
    token = fields["token"]
    if not token:
        # A code of a link is used only when the person confirms it: programs that preview links open them too.
        await closed(context, status=200, code=fields["code"][:40])
        return
    cookie = await context.gateway.services.logins.enter(token, context.header(b"user-agent"))
    if cookie is None:
        if login_caller_of(context) is not None:
            await redirect(context, "/")
            return
        if _is_foreign(context):
            # The browser did not send its cookie: the same link again, from this site, shows whether it is logged in.
            await _continue(context, f"/login?{urlencode({'token': token})}")
            return
        await closed(context, _USED)
        return
    await _logged_in(context, cookie)


async def enter_code(context: RequestContext) -> None:
    """Exchange a code for a login; it works once."""
    fields = await read_form(context)
    typed, user_code = fields["code"], USER_CODE.typed(fields["user_code"])
    agent = context.header(b"user-agent")
    try:
        cookie = await context.gateway.services.logins.enter_code(typed, _address(context), agent)
    except Problem as problem:
        context.problem = problem
        await closed(context, Outcome("bad", problem.message), status=problem.status, user_code=user_code)
        return
    if cookie is None:
        await closed(context, _WRONG_CODE, user_code=user_code)
        return
    await _logged_in(context, cookie, path=f"/device?user_code={user_code}" if user_code else "/")


async def _logged_in(context: RequestContext, cookie: str, headers: tuple[Header, ...] = (), path: str = "/") -> None:
    """Give the browser its cookie, and show the page at `path`."""
    fields = [_cookie(context, cookie, login.LOGIN_SECONDS), *headers]
    if _is_foreign(context):
        await _continue(context, path, fields)
    else:
        await redirect(context, path, fields)


def _address(context: RequestContext) -> str:
    """The address by which failed logins are counted."""
    return counted_address(client_address(context))


def _is_foreign(context: RequestContext) -> bool:
    return context.header(b"sec-fetch-site") in ("cross-site", "same-site")


async def _continue(context: RequestContext, path: str, headers: list[Header] | None = None) -> None:
    """Continue at `path` by a page that refreshes itself.

    The link was opened from another site (a chat, a web terminal, an identity provider, the file of `byway page --open`): a
    redirect would still be cross-site and carry no cookie.
    """
    where = html.escape(f"{context.runtime.config.server.root_path}{path}")
    going = f'<meta http-equiv="refresh" content="0; url={where}"><a href="{where}">Continue</a>'
    await send_html(context, f'<!doctype html><html lang="en"><title>Byway</title>{going}</html>', headers=headers)


# ---------------------------------------------------------------------------------------------------- identity provider


async def start_oidc(context: RequestContext) -> None:
    """Send the browser to the identity provider."""
    settings, logins = context.runtime.config.oidc, context.gateway.services.logins
    try:
        started = await logins.oidc.start(settings, _callback(context))
    except OidcError as error:
        await _refused(context, error)
        return
    headers: list[Header] = [
        (b"location", started.url.encode()),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
        _ticket_cookie(context, started.ticket, ATTEMPT_SECONDS),
    ]
    await context.begin(303, headers)
    await context.send({"type": "http.response.body", "body": b""})


async def finish_oidc(context: RequestContext) -> None:
    """Check what the identity provider confirms, and log the browser in."""
    settings, logins = context.runtime.config.oidc, context.gateway.services.logins
    ticket = cookie_value(context.header(b"cookie"), _ticket_name(context))
    query = context.scope["query_string"].decode("latin-1")
    try:
        cookie = await logins.enter_provider(
            settings, _callback(context), ticket, query, _address(context), context.header(b"user-agent")
        )
    except OidcError as error:
        await _refused(context, error)
        return
    except Problem as problem:
        await closed(context, Outcome("bad", problem.message), status=429 if problem.kind == "rate_limit" else 403)
        return
    await _logged_in(context, cookie, (_ticket_cookie(context, "", 0),))


async def _refused(context: RequestContext, error: OidcError) -> None:
    message = context.runtime.scrubber.scrub(str(error))
    log("Login by OpenID Connect failed", logging.WARNING, reason=message)
    await closed(context, Outcome("bad", message), status=403)


def _callback(context: RequestContext) -> str:
    """The URL to which the provider sends the browser back. Raises OidcError when it would be neither https nor local."""
    settings = context.runtime.config.oidc
    if not settings.enabled:
        raise OidcError("Login by OpenID Connect is not configured. See the section `oidc` of byway.yaml.")
    if not settings.url and not is_loopback_host(context):
        raise OidcError("Login by OpenID Connect needs `oidc.url`: the https URL at which browsers reach this Byway.")
    return f"{public_url(context)}/login/oidc/callback"


def _ticket_name(context: RequestContext) -> str:
    return f"{context.gateway.services.logins.cookie_name}_oidc"


def _ticket_cookie(context: RequestContext, value: str, seconds: int) -> Header:
    # SameSite=Lax: the provider's redirect must send it.
    root = context.runtime.config.server.root_path
    text = f"{_ticket_name(context)}={value}; Path={root}/login/oidc; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return b"set-cookie", (text + _secure(context)).encode()


# --------------------------------------------------------------------------------------------------------------- pages


async def leave(context: RequestContext) -> None:
    """End the login of this browser. Open to every role; the cookie decides which login that is."""
    services = context.gateway.services
    context.caller = login_caller_of(context) or context.caller
    await services.logins.logout(cookie_value(context.header(b"cookie"), services.logins.cookie_name))
    await redirect(context, "/login", [_cookie(context, "", 0)])


async def closed(
    context: RequestContext, outcome: Outcome | None = None, status: int = 401, code: str = "", user_code: str = ""
) -> None:
    """Send the page that requires a login. A login with a code then shows the client that waits with `user_code`."""
    if is_htmx(context):
        # The login expired while the page was open: a card must not be replaced by a whole page.
        await redirect(context, "/login", status=401)
        return
    oidc = context.runtime.config.oidc
    provider = f"{public_url(context)}/login/oidc" if oidc.enabled else ""
    data: dict[str, Any] = {"code": code, "user_code": user_code, "oidc": provider}
    await send_page(
        context, "login", "Log in", here="/login", status=status, outcome=outcome, menu=(), notices=(), **data
    )


def _cookie(context: RequestContext, value: str, seconds: int) -> Header:
    # SameSite=Strict: links from other sites do not send it.
    name = context.gateway.services.logins.cookie_name
    text = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{_secure(context)}"
    return b"set-cookie", text.encode()


def _secure(context: RequestContext) -> str:
    """The attribute Secure where browsers use https. Loopback has no TLS."""
    return "; Secure" if context.header(b"origin").startswith("https:") or is_https(context) else ""


ROUTES = (
    Route("GET", "/login", enter, "open", "page"),
    Route("POST", "/login", enter_code, "open", "page"),
    Route("GET", "/login/oidc", start_oidc, "open", "page"),
    Route("GET", "/login/oidc/callback", finish_oidc, "open", "page"),
    Route("POST", "/logout", leave, "open", "page"),
)
