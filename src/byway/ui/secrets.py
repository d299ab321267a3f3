"""The keys that Byway has for others: search providers and clouds. Kept in the system's keychain; none is ever shown."""

from __future__ import annotations

from typing import Any

from byway.problems import Problem
from byway.routes.context import Ask, Routes
from byway.routes.settings import who, work
from byway.secrets.names import ENTRIES
from byway.secrets.vault import KeychainUnavailable, VaultError
from byway.ui.page import Said, failed, form, paper, part, show, status, wants_part


async def _data(ask: Ask) -> dict[str, Any]:
    vault = ask.app.at_desk.vault
    found = await work(vault.status)
    text = (await paper(ask)).text
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


async def index(ask: Ask) -> None:
    """The page."""
    await _page(ask)


async def _page(ask: Ask, said: Said | None = None, about: str = "", unkept: bool = False) -> None:
    data = {**await _data(ask), "said": said, "about": about, "unkept": unkept}
    if wants_part(ask):
        await part(ask, "secrets", "all", status(said), **data)
        return
    await show(
        ask,
        "secrets",
        "Secrets",
        here="/secrets",
        lead="Keys that Byway shows to others. They lie in this system's keychain; the config holds only their names.",
        status=status(said),
        **data,
    )


async def keep(ask: Ask) -> None:
    """Set one. It takes effect at once, and no stream ends."""
    fields = await form(ask)
    name, value = fields["entry"], fields["value"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "There is no such secret.")
    desk = ask.app.at_desk
    unkept = False

    def put() -> str:
        nonlocal unkept
        try:
            where = desk.patient().set(name, value, file_accepted=fields["accept"] == "on")
        except KeychainUnavailable as error:
            unkept = True
            raise ValueError(str(error)) from None
        except VaultError as error:
            raise ValueError(str(error)) from None
        desk.store.add_audit_entry(who(ask), "secret set", f"{name}: {where}")
        return where

    try:
        where = await work(put)
    except Problem as problem:
        await _page(ask, failed(ask, problem), name, unkept)
        return
    await desk.reload()
    ask.runtime = ask.app.runtime
    await _page(
        ask,
        Said("good", f"{entry.title}: kept in the {where}.", f"The config names it as ${{{entry.variable}}}."),
        name,
    )


async def clear(ask: Ask) -> None:
    """Forget one."""
    fields = await form(ask)
    name = fields["entry"]
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("invalid_request", "There is no such secret.")
    desk = ask.app.at_desk

    def drop() -> bool:
        try:
            gone = desk.patient().clear(name)
        except VaultError as error:
            raise ValueError(str(error)) from None
        desk.store.add_audit_entry(who(ask), "secret cleared", name)
        return gone

    try:
        gone = await work(drop)
    except Problem as problem:
        await _page(ask, failed(ask, problem), name)
        return
    await desk.reload()
    ask.runtime = ask.app.runtime
    said = Said("good", f"{entry.title}: forgotten.") if gone else Said("warn", f"{entry.title}: there was none.")
    await _page(ask, said, name)


ROUTES: Routes = (("GET", "/secrets", index), ("POST", "/secrets/set", keep), ("POST", "/secrets/clear", clear))
