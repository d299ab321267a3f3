"""Who sends a request, and whether its scopes suffice: a client's key, the page's login, or the owner's socket."""

from __future__ import annotations

import time
from typing import Final

from byway.access.keys import Caller
from byway.problems import Problem
from byway.routes.context import RequestContext, Scope

#: A browser that is logged in to the settings page.
PERSON: Final = Caller("", ("read", "write", "files", "admin"))
#: A command of the owner, over the unix socket in the data folder. Distinct from PERSON: its model requests are logged.
OWNER: Final = Caller("", PERSON.scopes)
_SAFE_METHODS: Final = frozenset(("GET", "HEAD"))
LOGIN_REQUIRED: Final = (
    "Login required. Open the link that `byway up` printed (`byway page` prints a new one), or use a key with the scope "
    "`admin`."
)


def require(context: RequestContext, scope: Scope) -> None:
    """Set `context.caller`; raises Problem `authentication` or `permission` when it lacks `scope`."""
    if scope == "admin":
        require_admin(context)
    elif scope != "open":
        server = context.scope["server"]
        if server is None or server[1] is not None:
            # TCP: only a key identifies the caller.
            caller = context.caller = context.gateway.runtime.keyring.check(context.headers, time.time())
        else:
            caller = identify(context)
        if scope not in caller.scopes:
            raise _scope_missing(caller, scope)


def require_admin(context: RequestContext) -> None:
    """Require a login, a key with the scope `admin`, or the owner's socket. Sets `context.caller`."""
    logins = context.gateway.services.logins
    if from_owner(context):
        context.caller = PERSON
        return
    cookie = cookie_value(context.header(b"cookie"), logins.cookie_name)
    if cookie and logins.is_valid(cookie):
        if context.scope["method"] not in _SAFE_METHODS and (context.origin or not context.headers.get(b"origin")):
            # A browser names the page that sent a form, and the Origin check has accepted it.
            raise Problem("permission", "A change must come from the settings page itself: the request has no Origin.")
        context.caller = PERSON
        return
    context.caller = context.gateway.runtime.keyring.check(context.headers, time.time())
    if "admin" not in context.caller.scopes:
        if context.caller.key:
            raise _scope_missing(context.caller, "admin")
        raise Problem("authentication", LOGIN_REQUIRED)


def identify(context: RequestContext) -> Caller:
    """Set and return `context.caller`; raises Problem `authentication` for an invalid key."""
    if from_owner(context):
        context.caller = OWNER
    else:
        context.caller = context.gateway.runtime.keyring.check(context.headers, time.time())
    return context.caller


def from_owner(context: RequestContext) -> bool:
    """Does the request arrive at the unix socket that only the owner of the data folder can open?"""
    server, admin = context.scope.get("server"), context.gateway.admin
    return bool(server and server[1] is None and admin and server[0] == admin.socket)


def cookie_value(header: str, name: str) -> str:
    """The value of a cookie, or ""."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _scope_missing(caller: Caller, scope: str) -> Problem:
    has = f"has only {', '.join(caller.scopes)}" if caller.scopes else "has no scope"
    return Problem(
        "permission", f"This request needs a key with the scope `{scope}`; key {caller.key} {has}. Use another key."
    )
