"""Who sends a request, and whether its scopes and role suffice: a client's key, a login of the page, or the owner's socket."""

from __future__ import annotations

import time
from typing import Final

from byway.access.keys import Caller
from byway.access.login import PERSON
from byway.codes import MCP_PREFIX
from byway.problems import Problem
from byway.roles import changes_all, changes_own, sees_all
from byway.routes.context import RequestContext, Scope
from byway.signin.tokens import mcp_sign_in

#: A command of the owner, over the unix socket in the data folder. Distinct from PERSON: its model requests are logged.
OWNER: Final = Caller("", PERSON.scopes)
_SAFE_METHODS: Final = frozenset(("GET", "HEAD"))
LOGIN_REQUIRED: Final = (
    "Login required. Open the link that `byway up` printed (`byway page` prints a new one), enter a login code, or use a key "
    "with the scope `admin`."
)
_VIEWER: Final = "This account is a viewer: it sees everything and changes nothing. An owner can change its role."
_NOT_OWNER: Final = "Only an owner may do this: account {} has the role {}."
_MCP_KEY_REQUIRED: Final = (
    "Web search by MCP requires a key with the scope `write`, or a sign-in. Send the header `Authorization: Bearer KEY`, or run "
    "`byway connect --sign-in`."
)
_MCP_ENDED: Final = (
    "This MCP token is unknown, or its sign-in has ended: it was revoked or has expired, or its account was disabled. Run "
    "`byway connect --sign-in` again."
)
_KEY_CHANGES_NOTHING: Final = (
    "A key cannot create, rotate or revoke keys. Log in to the settings page, or use an owner's key with the scope "
    "`admin`."
)


def require(context: RequestContext, scope: Scope) -> None:
    """Set `context.caller`; raises Problem `authentication` or `permission` when it lacks `scope`."""
    if scope == "admin":
        require_admin(context)
    elif scope == "account":
        require_account(context)
    elif scope == "tools":
        require_tools(context)
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
    """Require an owner: its login, a key with the scope `admin`, or the owner's socket. A viewer may read.

    Sets `context.caller`.
    """
    caller = _admin_caller(context)
    if changes_all(caller.role, caller.scopes):
        return
    if context.scope["method"] in _SAFE_METHODS:
        if sees_all(caller.role, caller.scopes):
            return
    elif caller.role == "viewer":
        raise Problem("permission", _VIEWER)
    if caller.login:
        raise Problem("permission", _NOT_OWNER.format(caller.account, caller.role))
    if caller.key:
        raise _scope_missing(caller, "admin")
    raise Problem("authentication", LOGIN_REQUIRED)


def require_account(context: RequestContext) -> None:
    """Require an account, or an owner as `require_admin` does. Sets `context.caller`.

    What an account may see is limited by `visible_account`. A key cannot change anything: a leaked one would make others.
    """
    caller = _admin_caller(context)
    if changes_all(caller.role, caller.scopes):
        return
    if not caller.account:
        if caller.key:
            raise Problem(
                "permission",
                f"Key {caller.key} belongs to no account. Use a key of an account, or one with the scope `admin`.",
            )
        raise Problem("authentication", LOGIN_REQUIRED)
    if context.scope["method"] in _SAFE_METHODS:
        if "read" not in caller.scopes:
            raise _scope_missing(caller, "read")
    elif not changes_own(caller.role):
        raise Problem("permission", _VIEWER)
    elif not caller.login:
        raise Problem("permission", _KEY_CHANGES_NOTHING)


def require_tools(context: RequestContext) -> None:
    """Require a key with the scope `write`, the MCP token of a sign-in, or the owner's socket. Sets `context.caller`.

    A key is required also where models need none: any program on this machine could search at the owner's expense.
    """
    runtime, now = context.runtime, time.time()
    kind, _, token = context.header(b"authorization").partition(" ")
    if kind.lower() == "bearer" and token.startswith(MCP_PREFIX):
        caller = runtime.keyring.sign_in(mcp_sign_in(runtime.secret, token), now)
        if caller is None:
            raise Problem("authentication", _MCP_ENDED)
        context.caller = caller
        return
    caller = identify(context)
    if caller is not OWNER and not caller.key:
        raise Problem("authentication", _MCP_KEY_REQUIRED)
    if "write" not in caller.scopes:
        raise _scope_missing(caller, "write")


def visible_account(context: RequestContext) -> str | None:
    """The account whose keys, usage and requests the caller may see; None when it may see those of all accounts."""
    caller = context.caller
    return None if sees_all(caller.role, caller.scopes) else caller.account


def _admin_caller(context: RequestContext) -> Caller:
    """The caller of the page or the admin API. Raises Problem when it is unknown, or a change comes from another site."""
    if from_owner(context):
        context.caller = PERSON
        return PERSON
    caller = login_caller_of(context)
    if caller is None:
        caller = context.gateway.runtime.keyring.check(context.headers, time.time())
    elif context.scope["method"] not in _SAFE_METHODS and (context.origin or not context.headers.get(b"origin")):
        # A browser names the page that sent a form, and the Origin check has accepted it.
        raise Problem("permission", "A change must come from the settings page itself: the request has no Origin.")
    context.caller = caller
    return caller


def login_caller_of(context: RequestContext) -> Caller | None:
    """The caller by the cookie of a valid login; None without one."""
    logins = context.gateway.services.logins
    cookie = cookie_value(context.header(b"cookie"), logins.cookie_name)
    return logins.caller(cookie) if cookie else None


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
