"""The page Secrets: API keys of search and cloud providers. They are never shown."""

from __future__ import annotations

from typing import Any

from byway.admin import secrets
from byway.admin.secrets import SecretChange
from byway.problems import Problem
from byway.routes.admin import apply, run, who
from byway.routes.context import RequestContext, Route, is_htmx
from byway.secrets.names import ENTRIES
from byway.ui.page import Outcome, config_text, failure, read_form, send_card, send_page, status_of


async def _data(context: RequestContext) -> dict[str, Any]:
    listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
    text = (await config_text(context)).text
    rows = [
        (secret, ENTRIES[secret.name], any(variable in text for variable in ENTRIES[secret.name].variables))
        for secret in listed.secrets
    ]
    return {
        "groups": [
            (title, [row for row in rows if row[1].kind == kind])
            for kind, title in (("search", "Search providers"), ("backend", "Cloud providers"), ("login", "Logins"))
        ],
        "complaints": listed.problems,
    }


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, outcome: Outcome | None = None, about: str = "", unkept: bool = False) -> None:
    data = {**await _data(context), "outcome": outcome, "about": about, "unkept": unkept}
    if is_htmx(context):
        await send_card(context, "secrets", "all", status_of(outcome), **data)
        return
    await send_page(
        context,
        "secrets",
        "Secrets",
        here="/secrets",
        lead="Vendor API keys, stored in this system's keychain. The config contains only the names of variables.",
        status=status_of(outcome),
        **data,
    )


async def keep(context: RequestContext) -> None:
    """Store an API key. It takes effect at once."""
    fields = await read_form(context)
    name, value = fields["entry"], fields["value"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "Unknown secret.")
    try:
        change = await store_secret(context, name, value, accept_file=fields["accept"] == "on")
    except Problem as problem:
        await _page(context, failure(context, problem), name, problem.facts.get("field") == "accept_file")
        return
    await _page(
        context,
        Outcome(
            "good", f"{entry.title}: stored in the {change.stored}.", f"Use it in the config as ${{{change.variable}}}."
        ),
        name,
    )


async def store_secret(context: RequestContext, name: str, value: str, *, accept_file: bool) -> SecretChange:
    """Store a secret typed on the page, and reload the config. Raises Problem."""
    services, author = context.gateway.services, who(context)
    vault = services.patient()
    return await apply(
        context, lambda: secrets.set_secret(vault, services.store, name, value, author, accept_file=accept_file)
    )


async def clear(context: RequestContext) -> None:
    """Delete an API key."""
    fields = await read_form(context)
    name = fields["entry"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "Unknown secret.")
    services, author = context.gateway.services, who(context)
    vault = services.patient()
    try:
        change = await apply(context, lambda: secrets.clear_secret(vault, services.store, name, author))
    except Problem as problem:
        await _page(context, failure(context, problem), name)
        return
    outcome = (
        Outcome("good", f"{entry.title}: deleted.")
        if change.changed
        else Outcome("warn", f"{entry.title}: no key was stored.")
    )
    await _page(context, outcome, name)


ROUTES = (
    Route("GET", "/secrets", index, "admin", "page"),
    Route("POST", "/secrets/set", keep, "admin", "page"),
    Route("POST", "/secrets/clear", clear, "admin", "page"),
)
