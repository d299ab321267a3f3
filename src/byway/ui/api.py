"""The page API: listening addresses, clients' keys, config history and audit log."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from byway.admin import config as configs
from byway.admin import keys
from byway.admin.keys import KeyValue
from byway.config import static_changes, validators
from byway.config.editing import Edit, Set
from byway.problems import Problem
from byway.routes.admin import change_keys, run, who
from byway.routes.context import RequestContext, Route
from byway.scopes import Scope
from byway.ui.page import (
    Outcome,
    apply_change,
    base_config,
    config_etag,
    failure,
    is_htmx,
    parse_number,
    read_form,
    redirect,
    save_edits,
    send_card,
    send_page,
    status_of,
)

_ANYWHERE: Final = ("0.0.0.0", "::", "[::]", "*")
_PORT: Final = re.compile(r"\d{1,5}")
SCOPES: Final[tuple[tuple[Scope, str, bool], ...]] = (
    ("read", "list models, count tokens", True),
    ("write", "send requests to models", True),
    ("files", "upload and read files", True),
    ("admin", "change settings", False),
)


class Bind(NamedTuple):
    """The first TCP address of the config, and the other addresses."""

    host: str
    port: int
    others: tuple[str, ...]

    @property
    def wide(self) -> bool:
        return self.host in _ANYWHERE


def bind(addresses: tuple[str, ...]) -> Bind:
    """Parse `server.bind_address`."""
    for at, address in enumerate(addresses):
        place = validators.listen(address)
        if not isinstance(place, str):
            return Bind(place[0], place[1], addresses[:at] + addresses[at + 1 :])
    return Bind("127.0.0.1", 38080, addresses)


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    data = {
        "plain": "",
        "made": None,
        **await _server(context),
        **await _keys(context),
        **await _history(context),
        **more,
    }
    await send_page(
        context,
        "api",
        "API",
        here="/api",
        lead="Listening addresses, client keys, and the history of the config.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        etag=await config_etag(context),
        **data,
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    context.runtime = context.gateway.runtime
    if not is_htmx(context):
        await _page(context, card, outcome, **more)
        return
    gather = {"server": _server, "keys": _keys, "history": _history}[card]
    data = {"plain": "", "made": None, **await gather(context), **more}
    await send_card(
        context,
        "api",
        card,
        status_of(outcome),
        _NEWS[card],
        card=card,
        outcome=outcome,
        etag=await config_etag(context),
        **data,
    )


#: For each changed card, the events that reload the cards that show the same data.
_NEWS: Final = {"server": "history-news", "keys": "server-news, history-news", "history": "server-news, keys-news"}


async def again(context: RequestContext) -> None:
    """Send one card."""
    if context.tail not in _NEWS:
        raise Problem("not_found", "Unknown card.")
    await _card(context, context.tail, None)


async def _server(context: RequestContext) -> dict[str, Any]:
    config = context.runtime.config
    address = bind(config.server.bind_address)
    return {
        "addresses": context.gateway.services.addresses,
        "socket": context.gateway.services.socket,
        "tcp": config.server.tcp,
        "bind": address,
        "closed": context.runtime.keyring.blocking,
        "restart": static_changes(context.gateway.started_config, config),
    }


async def _keys(context: RequestContext) -> dict[str, Any]:
    stored = await run(lambda: keys.list_keys(context.gateway.services.store))
    return {
        "keys": [key for key in stored if key.is_active],
        "dead": [key for key in stored if not key.is_active][:20],
        "configured": keys.configured_keys(context.runtime.config),
        "scopes": SCOPES,
        "closed": context.runtime.keyring.blocking,
        "mode": context.runtime.config.api_keys.mode,
    }


async def _history(context: RequestContext) -> dict[str, Any]:
    services = context.gateway.services
    return {
        "versions": await run(lambda: configs.list_versions(services.config_file)),
        "audit": await run(lambda: services.store.audit_entries(50)),
    }


# -------------------------------------------------------------------------------------------------------------- actions


async def server(context: RequestContext) -> None:
    """Save where Byway listens."""
    fields = await read_form(context)
    config = await base_config(context, fields["etag"])
    now = bind(config.server.bind_address)
    if not _PORT.fullmatch(fields["port"]) or not 1 <= int(fields["port"]) <= 65535:
        await _card(context, "server", Outcome("bad", "The port is a number from 1 to 65535."))
        return
    wide = fields["external"] == "on"
    if wide and not context.runtime.keyring.blocking:
        hint = (
            "Without a key, anyone on the network could use your models and cloud accounts. Create a key below first."
        )
        await _card(context, "server", Outcome("bad", "External access needs a key.", hint))
        return
    edits: list[Edit] = []
    host = now.host if now.wide == wide else "0.0.0.0" if wide else "127.0.0.1"
    port = int(fields["port"])
    if (host, port) != (now.host, now.port):
        shown = f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"
        edits.append(Set(("server", "bind_address"), [shown, *now.others] if now.others else shown))
    tcp = fields["tcp"] == "on"
    if tcp != config.server.tcp:
        edits.append(Set(("server", "tcp"), tcp))
    await _card(context, "server", await save_edits(context, edits, "API server", fields["etag"]))


async def restart(context: RequestContext) -> None:
    """Restart the process with the current config."""
    services = context.gateway.services
    was, now = (
        bind(config.server.bind_address).port for config in (context.gateway.started_config, context.runtime.config)
    )
    # `--port` overrides the config's port, before and after the restart.
    moved = now if now != was and services.base and f":{was}/" in f"{services.base}/" else None
    await send_page(
        context,
        "restart",
        "Restarting",
        here="/api",
        lead="Byway finishes the active requests, then restarts. This page reloads when Byway is ready.",
        moved=moved,
    )
    services.restart()


async def create(context: RequestContext) -> None:
    """Create a key; its value is shown once."""
    fields = await read_form(context)
    store = context.gateway.services.store
    scopes = [scope for scope, _, _ in SCOPES if fields[f"scope:{scope}"] == "on"]
    if not scopes:
        await _card(context, "keys", Outcome("bad", "A key needs a scope."))
        return
    author = who(context)
    await _hand_over(context, lambda: keys.create_key(store, fields["name"], scopes, fields["ends"], author))


async def rotate(context: RequestContext) -> None:
    """Rotate a key; the new value is shown once."""
    fields = await read_form(context)
    store = context.gateway.services.store
    author = who(context)
    await _hand_over(context, lambda: keys.rotate_key(store, fields["id"], author))


async def _hand_over(context: RequestContext, service: Callable[[], KeyValue]) -> None:
    """Create or rotate a key, and show its value once."""
    try:
        made = await change_keys(context, service)
    except Problem as problem:
        await _card(context, "keys", failure(context, problem))
        return
    await _card(context, "keys", None, plain=made.value, made=made.key)


async def revoke(context: RequestContext) -> None:
    """Revoke a key."""
    fields = await read_form(context)
    store = context.gateway.services.store
    author = who(context)
    try:
        key = await change_keys(context, lambda: keys.revoke_key(store, fields["id"], author))
    except Problem as problem:
        await _card(context, "keys", failure(context, problem))
        return
    await _card(
        context,
        "keys",
        Outcome("good", f"{key.name} is revoked.", "Its next request is rejected; active requests continue."),
    )


async def version(context: RequestContext) -> None:
    """What one version of the config changed."""
    wanted = parse_number(context.tail)
    file, scrub = context.gateway.services.config_file, context.runtime.scrubber.scrub
    version_info = await run(lambda: configs.version_changes(file, wanted, scrub))
    await send_page(
        context,
        "version",
        f"Version {wanted}",
        here="/api",
        version_info=version_info,
        changes=version_info.changes,
        etag=await config_etag(context),
    )


async def rollback(context: RequestContext) -> None:
    """Roll back to a version."""
    fields = await read_form(context)
    wanted = parse_number(fields["version"])
    services, author = context.gateway.services, who(context)
    outcome = await apply_change(
        context,
        lambda: configs.rollback_config(services.config_file, wanted, author, fields["etag"] or None),
        lambda _: Outcome("good", f"Rolled back to version {wanted}."),
    )
    if outcome.kind == "good" and not is_htmx(context):
        await redirect(context, "/api")
        return
    await _card(context, "history", outcome)


ROUTES = (
    Route("GET", "/api", index, "admin", "page"),
    Route("GET", "/api/cards/*", again, "admin", "page"),
    Route("POST", "/api/server", server, "admin", "page"),
    Route("POST", "/api/restart", restart, "admin", "page"),
    Route("POST", "/api/keys/create", create, "admin", "page"),
    Route("POST", "/api/keys/rotate", rotate, "admin", "page"),
    Route("POST", "/api/keys/revoke", revoke, "admin", "page"),
    Route("GET", "/api/versions/*", version, "admin", "page"),
    Route("POST", "/api/rollback", rollback, "admin", "page"),
)
