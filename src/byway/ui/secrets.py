"""The keys that Byway has for others: search providers and clouds. Kept in the system's keychain; none is ever shown."""

from __future__ import annotations

from typing import Any

from byway.admin import secrets
from byway.admin.secrets import SecretChange
from byway.problems import Problem
from byway.routes.admin import apply, run, who
from byway.routes.context import RequestContext, Route
from byway.secrets.names import ENTRIES
from byway.ui.page import Said, failed, form, paper, part, show, status, wants_part


async def _data(context: RequestContext) -> dict[str, Any]:
    listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
    text = (await paper(context)).text
    rows = [
        (secret, ENTRIES[secret.name], any(variable in text for variable in ENTRIES[secret.name].variables))
        for secret in listed.secrets
    ]
    return {
        "groups": [
            (title, [row for row in rows if row[1].kind == kind])
            for kind, title in (("search", "Search providers"), ("backend", "Cloud providers"))
        ],
        "complaints": listed.problems,
    }


async def index(context: RequestContext) -> None:
    """The page."""
    await _page(context)


async def _page(context: RequestContext, said: Said | None = None, about: str = "", unkept: bool = False) -> None:
    data = {**await _data(context), "said": said, "about": about, "unkept": unkept}
    if wants_part(context):
        await part(context, "secrets", "all", status(said), **data)
        return
    await show(
        context,
        "secrets",
        "Secrets",
        here="/secrets",
        lead="Keys that Byway shows to others. They lie in this system's keychain; the config holds only their names.",
        status=status(said),
        **data,
    )


async def keep(context: RequestContext) -> None:
    """Set one. It takes effect at once, and no stream ends."""
    fields = await form(context)
    name, value = fields["entry"], fields["value"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "There is no such secret.")
    try:
        change = await store_secret(context, name, value, accept_file=fields["accept"] == "on")
    except Problem as problem:
        await _page(context, failed(context, problem), name, problem.facts.get("field") == "accept_file")
        return
    await _page(
        context,
        Said("good", f"{entry.title}: kept in the {change.stored}.", f"The config names it as ${{{change.variable}}}."),
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
    """Delete one."""
    fields = await form(context)
    name = fields["entry"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "There is no such secret.")
    services, author = context.gateway.services, who(context)
    vault = services.patient()
    try:
        change = await apply(context, lambda: secrets.clear_secret(vault, services.store, name, author))
    except Problem as problem:
        await _page(context, failed(context, problem), name)
        return
    said = (
        Said("good", f"{entry.title}: forgotten.")
        if change.changed
        else Said("warn", f"{entry.title}: there was none.")
    )
    await _page(context, said, name)


ROUTES = (
    Route("GET", "/secrets", index, "admin", "page"),
    Route("POST", "/secrets/set", keep, "admin", "page"),
    Route("POST", "/secrets/clear", clear, "admin", "page"),
)
