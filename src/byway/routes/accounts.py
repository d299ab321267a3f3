"""`/byway/accounts`: the people and services that keys and logins belong to."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import accounts
from byway.admin.accounts import AccountDetails, AccountInfo, AccountList, RemovedAccount
from byway.admin.logins import LoginCode, create_login_code
from byway.roles import DEFAULT_ORGANIZATION, Role
from byway.routes.admin import change_keys, run, who
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class NewAccount(Struct, forbid_unknown_fields=True):
    """An account to create."""

    id: str
    """Lower-case letters, digits and `. _ @ + -`: `ada`, `ada@example.com`."""
    name: str = ""
    """For people. Default: the id."""
    role: Role = "member"
    group: str = ""
    organization: str = DEFAULT_ORGANIZATION


class AccountEdit(Struct, forbid_unknown_fields=True):
    """What to change of an account. Fields that are missing or null stay; an empty group is none."""

    name: str | None = None
    role: Role | None = None
    group: str | None = None
    organization: str | None = None


async def index(context: RequestContext) -> AccountList:
    """List the accounts."""
    return await run(lambda: accounts.list_accounts(context.gateway.services.store))


async def show(context: RequestContext) -> AccountDetails:
    """Return one account and its keys, without their values."""
    return await run(lambda: accounts.show_account(context.gateway.services.store, context.tail))


async def add(context: RequestContext, body: NewAccount) -> AccountInfo:
    """Create an account. It has no key and no login yet."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(
        context,
        lambda: accounts.add_account(
            store, body.id, author, name=body.name, role=body.role, group=body.group, organization=body.organization
        ),
    )


async def change(context: RequestContext, body: AccountEdit) -> AccountInfo:
    """Change the name, role, group or organization of an account. They apply to the next request of its keys."""
    store, author, id = context.gateway.services.store, who(context), context.tail
    return await change_keys(
        context,
        lambda: accounts.change_account(
            store, id, author, name=body.name, role=body.role, group=body.group, organization=body.organization
        ),
    )


async def disable(context: RequestContext) -> AccountInfo:
    """Reject the keys of an account and end its logins. Requests in progress are finished."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: accounts.disable_account(store, context.tail, author))


async def enable(context: RequestContext) -> AccountInfo:
    """Accept the keys of a disabled account again."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: accounts.enable_account(store, context.tail, author))


async def create_code(context: RequestContext) -> LoginCode:
    """Create a code with which the account logs in to the settings page, once, within 15 minutes."""
    store, author = context.gateway.services.store, who(context)
    return await run(lambda: create_login_code(store, context.tail, author))


async def remove(context: RequestContext) -> RemovedAccount:
    """Remove an account for good. Its keys are revoked and its logins end."""
    store, author = context.gateway.services.store, who(context)
    return await change_keys(context, lambda: accounts.remove_account(store, context.tail, author))


ROUTES = (
    operation("GET", "/byway/accounts", index, response=AccountList),
    operation("POST", "/byway/accounts", add, request=NewAccount, response=AccountInfo, status=201),
    operation("GET", "/byway/accounts/{id}", show, response=AccountDetails),
    operation("PATCH", "/byway/accounts/{id}", change, request=AccountEdit, response=AccountInfo),
    operation("POST", "/byway/accounts/{id}/disable", disable, response=AccountInfo),
    operation("POST", "/byway/accounts/{id}/enable", enable, response=AccountInfo),
    operation("POST", "/byway/accounts/{id}/login-codes", create_code, response=LoginCode, status=201),
    operation("DELETE", "/byway/accounts/{id}", remove, response=RemovedAccount),
)
