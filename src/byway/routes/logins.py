"""`/byway/logins`: browsers that are logged in to the settings page; `/byway/remote`: how other machines open it."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import remote
from byway.admin.errors import invalid
from byway.admin.logins import LoginInfo
from byway.admin.remote import LoginLink, RemoteAccess
from byway.routes.admin import run, who
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class LoginList(Struct, frozen=True):
    """The logins that are valid now, newest first."""

    logins: tuple[LoginInfo, ...]


class RevokedLogins(Struct, frozen=True):
    """How many logins were revoked."""

    revoked: int


async def show(context: RequestContext) -> LoginList:
    """List the browsers that are logged in to the settings page: those of the caller's account, or all for an owner."""
    return LoginList(tuple(context.gateway.services.logins.current(visible_account(context))))


async def revoke(context: RequestContext) -> LoginInfo:
    """Revoke one login."""
    return await context.gateway.services.logins.revoke(context.tail, who(context), visible_account(context))


async def revoke_all(context: RequestContext) -> RevokedLogins:
    """Revoke every login, that of the caller included. `byway page` prints a link for a new one."""
    return RevokedLogins(await context.gateway.services.logins.revoke_all(who(context)))


class LoginLinkRequest(Struct, forbid_unknown_fields=True):
    """Who a link logs in."""

    account: str = ""
    """Default: the owner of this Byway."""


async def access(context: RequestContext) -> RemoteAccess:
    """Return the URLs by which other machines reach this Byway, and whether they are encrypted."""
    services, config = context.gateway.services, context.runtime.config
    encrypted = context.gateway.certificate is not None
    return await run(lambda: remote.remote_access(services, config, encrypted=encrypted))


async def create_link(context: RequestContext, body: LoginLinkRequest) -> LoginLink:
    """Create a link that logs a browser on another machine in, once, within 15 minutes."""
    urls, services, author = (await access(context)).urls, context.gateway.services, who(context)
    if not urls:
        raise invalid("account", "other machines cannot reach this Byway: it listens on this machine only")
    return await run(lambda: remote.create_login_link(services, urls[0], body.account, author))


ROUTES = (
    operation("GET", "/byway/remote", access, response=RemoteAccess),
    operation("POST", "/byway/remote/links", create_link, request=LoginLinkRequest, response=LoginLink, status=201),
    operation("GET", "/byway/logins", show, response=LoginList, scope="account"),
    operation("DELETE", "/byway/logins", revoke_all, response=RevokedLogins),
    operation("DELETE", "/byway/logins/{id}", revoke, response=LoginInfo, scope="account"),
)
