"""`/byway/logins`: browsers that are logged in to the settings page."""

from __future__ import annotations

from msgspec import Struct

from byway.admin.logins import LoginInfo
from byway.routes.admin import who
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


ROUTES = (
    operation("GET", "/byway/logins", show, response=LoginList, scope="account"),
    operation("DELETE", "/byway/logins", revoke_all, response=RevokedLogins),
    operation("DELETE", "/byway/logins/{id}", revoke, response=LoginInfo, scope="account"),
)
