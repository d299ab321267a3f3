"""`/byway/status`, `audit`, `verify`, `exports` and `restart`: this process, and what happened in it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from byway import __version__
from byway.admin import exports
from byway.admin.addresses import listens_wide
from byway.admin.setups import setup_texts
from byway.admin.verify import Verdict, verify
from byway.config import static_changes
from byway.mcp.calls import ToolCounts
from byway.problems import Problem
from byway.routes.admin import run
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, public_url
from byway.routes.operation import Parameter, number, operation, query
from byway.signin.telemetry import ForwardingCounts, TelemetryCount
from byway.store import MAX_AUDIT_ENTRIES, AuditEntry


class GatewayStatus(Struct, frozen=True):
    """This Byway."""

    version: str
    url: str | None
    """Base URL for programs on this machine; null without a TCP address."""
    addresses: tuple[str, ...]
    config_file: str
    config_problem: str | None
    """Why the config file was rejected; null when it is valid."""
    restart: tuple[str, ...]
    """Changed settings that take effect after a restart."""
    keys_required: bool
    backends: dict[str, str]
    """The state of each backend."""
    telemetry: dict[str, TelemetryCount]
    telemetry_forwarding: ForwardingCounts
    """What signed-in clients have sent of each signal since the start. Byway counts it and keeps nothing of it."""
    mcp: dict[str, ToolCounts]
    """Calls of each tool of the MCP server since the start."""


class AuditPage(Struct, frozen=True):
    """The last changes, newest first."""

    audit: tuple[AuditEntry, ...]


class VerifyRequest(Struct, forbid_unknown_fields=True):
    """A request to verify."""

    model: str = "sonnet"
    key: str = ""
    """The client's key. Default: none."""

    def __repr__(self) -> str:
        return f"VerifyRequest(model={self.model!r})"


class ClaudeCodeExports(Struct, frozen=True):
    """How to point Claude Code at this Byway."""

    variables: dict[str, str]
    launch: str
    """The command that starts Claude Code."""
    permission_mode: str
    """The permission mode that works with the main model; empty: any."""
    official: bool
    """The main model is Anthropic's own."""
    key_required: bool
    client_credential: bool
    """A backend gets the client's own credential, so that a client keeps its login, and sends Byway's key in `x-byway-key`."""
    forms: dict[str, str]
    """The variables in the syntax of each shell, and as settings of editors, Docker and GitHub Actions."""


class Restarting(Struct, frozen=True):
    """Byway is restarting."""

    restarting: bool


async def show(context: RequestContext) -> GatewayStatus:
    """Return the addresses, the state of the config, and the states of the backends."""
    gateway, runtime = context.gateway, context.runtime
    services = gateway.services
    return GatewayStatus(
        __version__,
        services.base,
        services.addresses,
        str(services.config_file.path.absolute()),
        gateway.config_problem,
        tuple(static_changes(gateway.started_config, runtime.config)),
        runtime.keyring.blocking,
        {status.name: status.state for status in runtime.statuses()},
        services.sign_ins.telemetry.snapshot(),
        gateway.forwarding,
        gateway.mcp_calls.counts(),
    )


async def audit(context: RequestContext) -> AuditPage:
    """List who changed what."""
    limit = number(query(context).get("limit", "200"), "limit", MAX_AUDIT_ENTRIES)
    return AuditPage(tuple(await run(lambda: context.gateway.services.store.audit_entries(limit))))


async def check(context: RequestContext, body: VerifyRequest) -> Verdict:
    """Send one real request of one token over the listener, and return which layer failed when it did."""
    services = context.gateway.services
    base = f"{services.base}/anthropic" if services.base else f"unix:{services.socket}"
    return await verify(base, body.key, body.model, extra_cas=services.extra_cas)


async def variables(context: RequestContext) -> ClaudeCodeExports:
    """Return the environment variables for Claude Code, in the syntax of each shell."""
    base: str | None = context.gateway.services.base
    environ: Mapping[str, str] = os.environ
    trust = context.gateway.services.trust
    if visible_account(context) is not None:
        # The person of an account uses another machine than Byway does.
        base, environ, trust = public_url(context), {}, ""
    setup = await exports.client_setup(context.runtime, base, environ, trust=trust)
    pairs = exports.variables(setup)
    wide = listens_wide(context.gateway.services.addresses)
    texts = setup_texts(pairs, listens_wide=wide, key_required=setup.key_required)
    forms = {text.name: text.text for text in texts}
    return ClaudeCodeExports(
        dict(pairs),
        exports.launch(setup),
        exports.permission_mode(setup),
        setup.is_official,
        setup.key_required,
        setup.client_credential,
        forms,
    )


async def restart(context: RequestContext) -> Restarting:
    """Finish active requests, then restart with the config as it is now."""
    services, config = context.gateway.services, context.runtime.config
    busy = await run(lambda: services.restart_problem(config))
    if busy:
        raise Problem("invalid_request", f"Not restarted: {busy} Change `server.bind_address`, or stop that program.")
    services.restart()
    return Restarting(True)


ROUTES = (
    operation("GET", "/byway/status", show, response=GatewayStatus),
    operation(
        "GET",
        "/byway/audit",
        audit,
        response=AuditPage,
        parameters=(Parameter("limit", "The most entries to return. Default: 200.", int),),
    ),
    operation("POST", "/byway/verify", check, request=VerifyRequest, response=Verdict),
    operation("GET", "/byway/exports", variables, response=ClaudeCodeExports, scope="account"),
    operation("POST", "/byway/restart", restart, response=Restarting, status=202),
)
