"""The page Keys: listening addresses, clients' keys, accounts, limits and audit log."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from byway.admin import accounts, keys, limits
from byway.admin.addresses import busy_address
from byway.admin.logins import create_login_code
from byway.config import static_changes, validators
from byway.config.editing import Edit, Set
from byway.config.limits import Period
from byway.display import count
from byway.problems import Problem
from byway.roles import ROLES
from byway.routes.admin import change_keys, run, who
from byway.routes.context import RequestContext, Route, public_url
from byway.store import StoreProtocol
from byway.ui.keycard import SCOPES, create_key, key_rows, revoke_key, rotate_key
from byway.ui.page import (
    Form,
    Outcome,
    base_config,
    config_etag,
    failure,
    parse_number,
    read_form,
    save_edits,
    send_changed,
    send_page,
    status_of,
)

T = TypeVar("T")
_ANYWHERE: Final = ("0.0.0.0", "::", "[::]", "*")
#: Accounts that the page lists.
_LISTED_ACCOUNTS: Final = 200
#: Rows that the card Limits shows.
_LISTED_LIMITS: Final = 200
_MOST_AMOUNT: Final = 1_000_000_000
#: What a limit may be for, and what it may limit: the words of the form, the setting, and the period of a budget.
SUBJECTS: Final = (
    ("key", "each key"),
    ("account", "each account"),
    ("group", "each group"),
    ("organization", "each organization"),
    ("model", "each model"),
    ("backend", "each backend"),
    ("address", "each address"),
    ("global", "all requests together"),
)
AMOUNTS: Final[dict[str, tuple[str, str, Period]]] = {
    "month": ("dollars per month", "budget", "month"),
    "week": ("dollars per week", "budget", "week"),
    "day": ("dollars per day", "budget", "day"),
    "requests": ("requests per minute", "requests_per_minute", "month"),
    "tokens": ("tokens per minute", "tokens_per_minute", "month"),
    "input": ("input tokens per minute", "input_tokens_per_minute", "month"),
    "output": ("output tokens per minute", "output_tokens_per_minute", "month"),
    "concurrency": ("requests at once", "concurrency", "month"),
}
_PORT: Final = re.compile(r"\d{1,5}")


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
        **await _server(context),
        # Those of the accounts too.
        **await _keys(context),
        **await _limits(context),
        **await _audit(context),
        **more,
    }
    await send_page(
        context,
        "api",
        "Keys",
        here="/api",
        lead="Listening addresses, client keys, accounts, limits, and the audit log.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        **data,
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    read = {"server": _server, "keys": _keys, "accounts": _accounts, "limits": _limits, "audit": _audit}[card]
    await send_changed(context, _page, "api", card, outcome, read, _NEWS[card], **more)


#: For each changed card, the events that reload the cards that show the same data.
_NEWS: Final = {
    "server": "audit-news",
    "keys": "server-news, accounts-news, audit-news",
    "accounts": "keys-news, audit-news",
    "limits": "audit-news",
    "audit": "",
}


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
        "public_url": config.server.public_url,
        "certificate": context.gateway.certificate,
        "bind": address,
        "port": address.port,
        "pinned": context.gateway.services.pinned,
        "closed": context.runtime.keyring.blocking,
        "restart": static_changes(context.gateway.started_config, config),
        "etag": await config_etag(context),
    }


async def _keys(context: RequestContext) -> dict[str, Any]:
    return {
        # Its form offers the accounts.
        **await _accounts(context),
        **await key_rows(context),
        "scopes": SCOPES,
        "closed": context.runtime.keyring.blocking,
        "mode": context.runtime.config.api_keys.mode,
    }


async def _accounts(context: RequestContext) -> dict[str, Any]:
    store = context.gateway.services.store
    listed = (await run(lambda: accounts.list_accounts(store))).accounts
    return {
        "accounts": listed[:_LISTED_ACCOUNTS],
        "more_accounts": max(0, len(listed) - _LISTED_ACCOUNTS),
        "roles": [(role, role) for role in ROLES],
        "account_roles": {account.id: account.role for account in listed},
    }


async def _limits(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    listed = limits.list_limits(runtime.limiter)
    return {
        "limits": listed[:_LISTED_LIMITS],
        "more_limits": max(0, len(listed) - _LISTED_LIMITS),
        "unpriced": limits.unpriced_warning(limits.unpriced_targets(runtime)),
        "subjects": SUBJECTS,
        "amounts": [(name, words) for name, (words, _, _) in AMOUNTS.items()],
        "etag": await config_etag(context),
    }


async def _audit(context: RequestContext) -> dict[str, Any]:
    store = context.gateway.services.store
    return {"audit": await run(lambda: store.audit_entries(50))}


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
        services = context.gateway.services
        busy = await run(lambda: busy_address([shown], services.addresses))
        if busy:
            await _card(context, "server", Outcome("bad", f"Not saved: {busy}", "Choose another port."), port=port)
            return
        edits.append(Set(("server", "bind_address"), [shown, *now.others] if now.others else shown))
    tcp = fields["tcp"] == "on"
    if tcp != config.server.tcp:
        edits.append(Set(("server", "tcp"), tcp))
    await _card(context, "server", await save_edits(context, edits, "API server", fields["etag"]))


async def restart(context: RequestContext) -> None:
    """Restart the process with the current config."""
    services, config = context.gateway.services, context.runtime.config
    busy = await run(lambda: services.restart_problem(config))
    if busy:
        outcome = Outcome("bad", f"Not restarted: {busy}", "Stop that program, or save another port and restart.")
        await _page(context, "server", outcome)
        return
    was, now = (bind(settings.server.bind_address).port for settings in (context.gateway.started_config, config))
    moved = now if now != was and services.base and not services.pinned else None
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
    store, author = context.gateway.services.store, who(context)
    models = [name for name in re.split(r"[\s,]+", fields["models"]) if name]
    await create_key(
        context,
        _card,
        fields,
        lambda scopes: keys.create_key(
            store, fields["name"], scopes, fields["ends"], author, account=fields["account"], models=models
        ),
    )


async def rotate(context: RequestContext) -> None:
    """Rotate a key; the new value is shown once."""
    await rotate_key(context, _card)


async def revoke(context: RequestContext) -> None:
    """Revoke a key."""
    await revoke_key(context, _card)


async def add_account(context: RequestContext) -> None:
    """Add an account."""
    fields = await read_form(context)
    await _change_account(
        context,
        fields,
        partial(
            accounts.add_account,
            name=fields["name"],
            role=fields["role"],
            group=fields["group"],
            organization=fields["organization"],
        ),
        lambda account: Outcome("good", f"{account.id} is added.", "Create a key for it above, or a login code below."),
    )


async def link_account(context: RequestContext) -> None:
    """Create a code with which an account logs in once. It is shown once."""
    url = public_url(context)
    await _change_account(
        context,
        await read_form(context),
        create_login_code,
        lambda made: Outcome(
            "good",
            f"Login code of {made.account}: `{made.code}`",
            f"Or the link `{url}/login?code={made.code}`. Send one of them to that person: it works once, within 15 minutes.",
        ),
    )


async def disable_account(context: RequestContext) -> None:
    """Reject the keys of an account and end its logins."""
    await _change_account(
        context,
        await read_form(context),
        accounts.disable_account,
        lambda account: Outcome("good", f"{account.id} is disabled.", "Its keys are rejected and its logins ended."),
    )


async def enable_account(context: RequestContext) -> None:
    """Accept the keys of an account again."""
    await _change_account(
        context,
        await read_form(context),
        accounts.enable_account,
        lambda account: Outcome("good", f"{account.id} is enabled.", "Its keys are accepted."),
    )


async def remove_account(context: RequestContext) -> None:
    """Remove an account and revoke its keys."""
    await _change_account(
        context,
        await read_form(context),
        accounts.remove_account,
        lambda removed: Outcome(
            "good", f"{removed.account.id} is removed.", f"{count(removed.revoked, 'key')} revoked."
        ),
    )


async def _change_account(
    context: RequestContext, fields: Form, service: Callable[[StoreProtocol, str, str], T], good: Callable[[T], Outcome]
) -> None:
    """Call a service with the store, the account of the form and the author, and show the card with the outcome."""
    store, author = context.gateway.services.store, who(context)
    try:
        outcome = good(await change_keys(context, lambda: service(store, fields["id"], author)))
    except Problem as problem:
        outcome = failure(context, problem)
    await _card(context, "accounts", outcome)


async def add_limit(context: RequestContext) -> None:
    """Add a limit."""
    fields = await read_form(context)
    words, setting, period = AMOUNTS.get(fields["what"], AMOUNTS["month"])
    subject = fields["for"]
    try:
        amount = float(fields["amount"]) if setting == "budget" else int(fields["amount"])
        if not 0 < amount <= _MOST_AMOUNT:
            raise ValueError
    except ValueError:
        outcome = Outcome("bad", f"The amount of {words} is a number above 0, such as 20.")
        await _card(context, "limits", outcome)
        return
    if subject not in dict(SUBJECTS):
        await _card(context, "limits", Outcome("bad", "Choose what the limit is for."))
        return
    values = {"for": subject, "name": fields["name"] or "*", setting: amount, "period": period}
    edits = limits.add_limit(msgspec.convert(values, limits.NewLimit))
    outcome = await save_edits(context, edits, f"limit for {subject} added", fields["etag"], "Limit added")
    await _card(context, "limits", outcome)


async def remove_limit(context: RequestContext) -> None:
    """Remove a limit."""
    fields = await read_form(context)
    place = parse_number(fields["number"])
    outcome = await save_edits(
        context,
        lambda current: limits.remove_limit(current, place),
        f"limit {place} removed",
        fields["etag"],
        "Limit removed",
    )
    await _card(context, "limits", outcome)


ROUTES = (
    Route("GET", "/api", index, "admin", "page"),
    Route("GET", "/api/cards/*", again, "admin", "page"),
    Route("POST", "/api/server", server, "admin", "page"),
    Route("POST", "/api/restart", restart, "admin", "page"),
    Route("POST", "/api/keys/create", create, "admin", "page"),
    Route("POST", "/api/keys/rotate", rotate, "admin", "page"),
    Route("POST", "/api/keys/revoke", revoke, "admin", "page"),
    Route("POST", "/api/accounts/add", add_account, "admin", "page"),
    Route("POST", "/api/accounts/link", link_account, "admin", "page"),
    Route("POST", "/api/accounts/disable", disable_account, "admin", "page"),
    Route("POST", "/api/accounts/enable", enable_account, "admin", "page"),
    Route("POST", "/api/accounts/remove", remove_account, "admin", "page"),
    Route("POST", "/api/limits/add", add_limit, "admin", "page"),
    Route("POST", "/api/limits/remove", remove_limit, "admin", "page"),
)
