"""The card Add: servers found on this machine, and a form for each type of backend, tried out before it is saved."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from byway.backend import Backend
from byway.backends.vendors import VENDORS
from byway.config import BackendSettings
from byway.config.editing import Append, Edit, edit
from byway.config.settings import BUILTIN
from byway.display import window
from byway.local import discovery
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routes.settings import work
from byway.secrets.names import ENTRIES, Scrubber
from byway.secrets.vault import SecretStatus
from byway.ui.backends import HINTS, answer, models
from byway.ui.claude import work_vault
from byway.ui.page import Form, Said, changed, failed, form, query, variable

#: Models that a test lists.
_LISTED: Final = 12


class Kind(NamedTuple):
    """A type of backend as the form knows it."""

    name: str
    title: str
    type: str
    """As in `backends[].type`."""
    url: str
    """Its usual address; empty when there is none."""
    cloud: bool
    needs: bool = False
    """The address has to be typed."""


def _kinds() -> Iterable[Kind]:
    for row in VENDORS.values():
        if row.name != BUILTIN.type:
            yield Kind(row.name, row.title, row.name, row.url or "", not row.self_hosted, needs=row.url is None)
    # https://openrouter.ai/docs/quickstart (seen 2026-11-21): OpenAI's API below /api/v1.
    yield Kind("openrouter", ENTRIES["openrouter"].title, "generic", "https://openrouter.ai/api", True)


KINDS: Final = {kind.name: kind for kind in sorted(_kinds(), key=lambda kind: kind.cloud)}


class Server(NamedTuple):
    """A model server that was found on this machine."""

    vendor: str
    title: str
    url: str
    models: tuple[str, ...]
    version: str


class Servers(NamedTuple):
    """Those that are not configured yet."""

    found: tuple[Server, ...]
    known: int
    """How many more answer, and are backends already."""
    implied: bool
    """The built-in model answers only because nobody else is named."""


class Adder(NamedTuple):
    """The form, with what was typed into it. A key that was typed is not in it."""

    kind: Kind | None
    implied: bool
    held: SecretStatus | None = None
    """What is known of its stored key."""
    name: str = ""
    url: str = ""
    models: str = ""
    source: str = ""
    variable: str = ""
    keep: bool = False
    accept: bool = False
    said: Said | None = None
    added: bool = False
    kinds: tuple[Kind, ...] = tuple(KINDS.values())


async def servers(context: RequestContext) -> Servers:
    """The model servers of this machine; takes 0.3 seconds at most."""
    used = {_plain(live.settings.url or live.vendor.url or "") for live in context.runtime.backends.values()}
    ours = {
        address.rpartition(":")[2] for address in context.gateway.services.addresses if not address.startswith("unix:")
    }
    found = [one for one in await discovery.discover() if one.url.rpartition(":")[2] not in ours]
    fresh = [
        Server(one.vendor, VENDORS[one.vendor].title, one.url, one.models, one.version)
        for one in found
        if _plain(one.url) not in used
    ]
    return Servers(tuple(fresh), len(found) - len(fresh), _implied(context))


def _plain(url: str) -> str:
    return url.lower().replace("//localhost", "//127.0.0.1").rstrip("/").removesuffix("/v1")


def _implied(context: RequestContext) -> bool:
    return context.runtime.config.backends == (BUILTIN,)


async def adder(context: RequestContext, name: str, fields: Form | None = None, said: Said | None = None) -> Adder:
    """The form for a kind; without one the choice of them all."""
    kind = KINDS.get(name)
    if kind is None:
        return Adder(None, _implied(context), said=said)
    held = None
    if kind.cloud:
        vault = context.gateway.services.vault
        held = next((one for one in await work(vault.status) if one.entry == kind.name), None)
    source = "stored" if held and held.where else "typed"
    if fields is None:
        return Adder(kind, _implied(context), held, source=source, said=said)
    typed = fields["variable"]
    return Adder(
        kind,
        _implied(context),
        held,
        fields["name"],
        fields["url"],
        fields["models"],
        fields["source"] or source,
        typed if typed.startswith("${") else "",
        fields["keep"] == "on",
        fields["accept"] == "on",
        said,
    )


# -------------------------------------------------------------------------------------------------------------- actions


async def look(context: RequestContext) -> None:
    """What is found on this machine."""
    await answer(context, "adding", "found", "", None, found=await servers(context))


async def use(context: RequestContext) -> None:
    """Add a server that was found, with one click."""
    fields = await form(context)
    kind = KINDS.get(fields["vendor"])
    if kind is None or kind.cloud:
        said = Said("bad", "That is no server of this machine.")
    else:
        value: dict[str, Any] = {"name": _free(context, kind.name), "type": kind.type}
        if fields["url"] != kind.url:
            value["url"] = fields["url"]
        said = await _added(context, value, keep=fields["keep"] == "on")
    await answer(context, "adding", "found", "found", said, found=await servers(context))


async def choose(context: RequestContext) -> None:
    """The form for a type."""
    await answer(context, "adding", "adder", "", None, adder=await adder(context, query(context)["type"]))


async def add(context: RequestContext) -> None:
    """Try out what is typed, or save it."""
    fields = await form(context)
    kind = KINDS.get(fields["kind"])
    if kind is None:
        said = Said("bad", "Choose a type.")
    else:
        try:
            value, secret = _value(context, kind, fields)
            settings = await _settings(context, value, secret)
            said = await (
                _saved(context, kind, value, secret, fields) if fields["do"] == "save" else _tried(context, settings)
            )
        except ValueError as error:
            said = Said("bad", str(error))
        except Problem as problem:
            said = failed(context, problem)
        if fields["do"] == "save" and said.kind == "good":
            done = Adder(None, _implied(context), said=said, added=True)
            await answer(context, "adding", "adder", "", None, adder=done)
            return
    view = await adder(context, fields["kind"], fields, said)
    await answer(context, "adding", "adder", "add", said, adder=view)


def _value(context: RequestContext, kind: Kind, fields: Form) -> tuple[dict[str, Any], str]:
    """The backend as the config is to have it, and the key that was typed for it. Raises ValueError."""
    value: dict[str, Any] = {"name": fields["name"] or _free(context, kind.name), "type": kind.type}
    if kind.needs and not fields["url"]:
        raise ValueError("Where is it? Type its address, such as http://127.0.0.1:8080")
    usual = VENDORS[kind.type].url
    url = fields["url"] or kind.url
    if url and url != usual:
        value["url"] = url
    secret = ""
    if not kind.cloud:
        if fields["variable"]:
            value["api_key"] = variable(fields["variable"])
    elif fields["source"] == "variable":
        value["api_key"] = variable(fields["variable"])
    else:
        value["api_key"] = f"${{{ENTRIES[kind.name].variable}}}"
        if fields["source"] == "typed":
            secret = fields["key"]
            if not secret:
                raise ValueError("Type the key, or choose another place for it.")
    if listed := models(fields["models"]):
        value["models"] = listed
    return value, secret


def _free(context: RequestContext, name: str) -> str:
    """A name that no backend has yet: `vllm`, else `vllm-2`."""
    taken = {one.name for one in context.runtime.config.backends if not _implied(context)}
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


async def _settings(context: RequestContext, value: dict[str, Any], secret: str) -> BackendSettings:
    """What the backend would be if the config had it; raises Problem with the complaints of that config."""
    filing = context.gateway.services.config_file

    def checked() -> BackendSettings:
        return filing.check(edit(filing.read().text, [Append(("backends",), value)])).backends[-1]

    found = await work(checked)
    return msgspec.structs.replace(found, api_key=secret, off="", missing=()) if secret else found


async def _tried(context: RequestContext, settings: BackendSettings) -> Said:
    """Ask it for its models, as Byway would."""
    if settings.off:
        hint = "Type the key here, keep it under Secrets, or set the variable where Byway starts."
        return Said("bad", f"{settings.off[:1].upper()}{settings.off[1:]}.", hint)
    # Whether the key is right shows only when it is asked for its list.
    live = Backend(msgspec.structs.replace(settings, models=(), windows={}), context.runtime.config.timeouts, 1)
    try:
        await live.refresh(time.monotonic())
    finally:
        if live.upstream is not None:
            await live.upstream.close()
    scrub = Scrubber((settings.api_key or "",)).scrub
    if live.state != "ready":
        hint = HINTS.get(live.problem_kind, "") if live.problem_kind else ""
        return Said("bad", context.runtime.scrubber.scrub(scrub(live.message)), hint)
    served = live.models or ()
    took = f"{(live.latency or 0) * 1000:,.0f} ms"
    absent = [one for one in settings.models if one not in served]
    if absent:
        return Said(
            "warn",
            f"It answers in {took}, and does not list {', '.join(absent[:5])}.",
            "Correct the names, or save it all the same: some servers load a model when it is asked for.",
            _listed(live),
        )
    if not served:
        return Said("warn", f"It answers in {took}, and serves no model yet.", "Load or pull one there.")
    return Said(
        "good",
        f"It answers in {took} and serves {len(served)} model{'s' if len(served) != 1 else ''}.",
        "",
        _listed(live),
    )


def _listed(live: Backend) -> tuple[str, ...]:
    served = live.models or ()
    lines = []
    for model in served[:_LISTED]:
        facts = live.registry.get(model)
        lines.append(f"{model}  {window(facts.window)}" if facts.window else model)
    return (*lines, f"and {len(served) - _LISTED} more") if len(served) > _LISTED else tuple(lines)


async def _saved(context: RequestContext, kind: Kind, value: dict[str, Any], secret: str, fields: Form) -> Said:
    where = ""
    if secret:
        where = await work_vault(context, kind.name, secret, accepted=fields["accept"] == "on")
    said = await _added(context, value, keep=fields["keep"] == "on")
    if said.kind == "good" and where:
        return said._replace(hint=f"Its key is in the {where}. {said.hint}".strip())
    return said


async def _added(context: RequestContext, value: dict[str, Any], *, keep: bool) -> Said:
    """Put a backend into the config; `keep`: with the built-in model, which otherwise goes with the first one."""
    edits: list[Edit] = [Append(("backends",), value)]
    if keep and _implied(context):
        edits.append(Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type}))
    name = value["name"]
    said = await changed(context, edits, f"backend {name} added", "", f"{name} is added")
    context.runtime = context.gateway.runtime
    return said


ROUTES = (
    Route("GET", "/models/found", look, "admin", "page"),
    Route("POST", "/models/use", use, "admin", "page"),
    Route("GET", "/models/add", choose, "admin", "page"),
    Route("POST", "/models/add", add, "admin", "page"),
)
