"""`/byway/sign-ins`: clients that are signed in by `/login`."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import signins
from byway.admin.signins import SignInInfo
from byway.problems import Problem
from byway.routes.admin import change_keys, run, who
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, client_address
from byway.routes.operation import operation
from byway.signin.tokens import mcp_token


class SignInList(Struct, frozen=True):
    """The clients that are signed in, newest first."""

    sign_ins: tuple[SignInInfo, ...]


async def show(context: RequestContext) -> SignInList:
    """List the clients that are signed in: those of the caller's account, or all for an owner."""
    store, account = context.gateway.services.store, visible_account(context)
    return SignInList(tuple(await run(lambda: signins.list_sign_ins(store, account))))


class SignInDecision(Struct, forbid_unknown_fields=True):
    """A decision on a client that waits."""

    user_code: str
    """The code that the client shows."""
    approve: bool = True
    """False denies the sign-in."""


class DecidedSignIn(Struct, frozen=True):
    """A client whose sign-in was approved or denied."""

    approved: bool
    id: str
    """The id of its sign-in, which exists as soon as the client fetches its tokens; empty when it was denied."""
    client: str
    """The program, as it describes itself."""
    address: str
    """Where it is."""


class McpAccess(Struct, frozen=True):
    """What a signed-in client needs to use the MCP server."""

    token: str
    """It opens the tools of the MCP server and nothing else, and is valid as long as the sign-in."""

    def __repr__(self) -> str:
        return "McpAccess()"


async def decide(context: RequestContext, body: SignInDecision) -> DecidedSignIn:
    """Approve or deny a client that waits with a code. It then works as the caller's account."""
    request = context.gateway.services.sign_ins.decide(
        body.user_code[:40], context.caller, client_address(context), approve=body.approve
    )
    if request is None:
        raise Problem(
            "not_found",
            "No client waits with this code: it was approved or denied already, has expired (ten minutes), or was mistyped. "
            "Compare it with the code in Claude Code, or run /login there again.",
        )
    return DecidedSignIn(body.approve, request.sign_in, request.client, request.address)


async def mcp_access(context: RequestContext) -> McpAccess:
    """Return the token with which a signed-in client uses the MCP server."""
    store, account, id = context.gateway.services.store, visible_account(context), context.tail
    if all(sign_in.id != id for sign_in in await run(lambda: signins.list_sign_ins(store, account))):
        raise Problem("not_found", f"There is no sign-in {id[:100]!r}. `GET /byway/sign-ins` lists them.")
    return McpAccess(mcp_token(context.runtime.secret, id))


async def revoke(context: RequestContext) -> SignInInfo:
    """End one sign-in. The next request of the client is rejected."""
    store, account, author = context.gateway.services.store, visible_account(context), who(context)
    return await change_keys(context, lambda: signins.revoke_sign_in(store, context.tail, author, account))


ROUTES = (
    operation("GET", "/byway/sign-ins", show, response=SignInList, scope="account"),
    operation(
        "POST", "/byway/sign-ins", decide, request=SignInDecision, response=DecidedSignIn, status=201, scope="account"
    ),
    operation("POST", "/byway/sign-ins/{id}/mcp-token", mcp_access, response=McpAccess, scope="account"),
    operation("DELETE", "/byway/sign-ins/{id}", revoke, response=SignInInfo, scope="account"),
)
