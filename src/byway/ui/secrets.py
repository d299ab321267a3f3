"""The keys that Byway has for others: search providers and clouds. Kept in the system's keychain; none is ever shown."""

from __future__ import annotations

from typing import Any

from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routes.settings import who, work
from byway.secrets.names import ENTRIES
from byway.secrets.vault import KeychainUnavailable, VaultError
from byway.ui.page import Said, failed, form, paper, part, show, status, wants_part


async def _data(context: RequestContext) -> dict[str, Any]:
    vault = context.gateway.services.vault
    found = await work(vault.status)
    text = (await paper(context)).text
    rows = [
        (one, ENTRIES[one.entry], any(variable in text for variable in ENTRIES[one.entry].variables)) for one in found
    ]
    return {
        "groups": [
            (title, [row for row in rows if row[1].kind == kind])
            for kind, title in (("search", "Search providers"), ("backend", "Cloud providers"))
        ],
        "complaints": vault.problems,
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
    services = context.gateway.services
    unkept = False

    def put() -> str:
        nonlocal unkept
        try:
            where = services.patient().set(name, value, file_accepted=fields["accept"] == "on")
        except KeychainUnavailable as error:
            unkept = True
            raise ValueError(str(error)) from None
        except VaultError as error:
            raise ValueError(str(error)) from None
        services.store.add_audit_entry(who(context), "secret set", f"{name}: {where}")
        return where

    try:
        where = await work(put)
    except Problem as problem:
        await _page(context, failed(context, problem), name, unkept)
        return
    await services.reload()
    context.runtime = context.gateway.runtime
    await _page(
        context,
        Said("good", f"{entry.title}: kept in the {where}.", f"The config names it as ${{{entry.variable}}}."),
        name,
    )


async def clear(context: RequestContext) -> None:
    """Forget one."""
    fields = await form(context)
    name = fields["entry"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "There is no such secret.")
    services = context.gateway.services

    def drop() -> bool:
        try:
            gone = services.patient().clear(name)
        except VaultError as error:
            raise ValueError(str(error)) from None
        services.store.add_audit_entry(who(context), "secret cleared", name)
        return gone

    try:
        gone = await work(drop)
    except Problem as problem:
        await _page(context, failed(context, problem), name)
        return
    await services.reload()
    context.runtime = context.gateway.runtime
    said = Said("good", f"{entry.title}: forgotten.") if gone else Said("warn", f"{entry.title}: there was none.")
    await _page(context, said, name)


ROUTES = (
    Route("GET", "/secrets", index, "admin", "page"),
    Route("POST", "/secrets/set", keep, "admin", "page"),
    Route("POST", "/secrets/clear", clear, "admin", "page"),
)
