"""The card Add: servers found on this machine, and a form for each type of backend, tried out before it is saved."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from byway.admin import backends, secrets
from byway.admin.backends import KINDS, BackendKind, BackendTest, NewBackend
from byway.admin.config import is_builtin_implied
from byway.admin.secrets import SecretInfo
from byway.backends.vendors import VENDORS
from byway.config import BackendSettings
from byway.display import count, latency, window
from byway.local import discovery
from byway.problems import Problem
from byway.routes.admin import run
from byway.routes.context import RequestContext, Route
from byway.ui.backends import answer, models
from byway.ui.page import Form, Said, changed, failed, form, query, variable
from byway.ui.secrets import store_secret

#: Models that a test lists.
_LISTED: Final = 12


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

    kind: BackendKind | None
    implied: bool
    held: SecretInfo | None = None
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
    kinds: tuple[BackendKind, ...] = tuple(KINDS.values())


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
    return is_builtin_implied(context.runtime.config)


async def adder(context: RequestContext, name: str, fields: Form | None = None, said: Said | None = None) -> Adder:
    """The form for a kind; without one the choice of them all."""
    kind = KINDS.get(name)
    if kind is None:
        return Adder(None, _implied(context), said=said)
    held = None
    if kind.cloud:
        listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
        held = next((secret for secret in listed.secrets if secret.name == kind.name), None)
    source = "stored" if held and held.stored else "typed"
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
        new = NewBackend(kind.name, url=fields["url"], keep_builtin=fields["keep"] == "on")
        said = await _added(context, new)
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
            new, secret = _new(kind, fields)
            # An invalid backend is refused before its key is stored.
            settings = await _settings(context, new, secret)
            said = await (
                _saved(context, kind, new, secret, fields) if fields["do"] == "save" else _tried(context, settings)
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


def _new(kind: BackendKind, fields: Form) -> tuple[NewBackend, str]:
    """The backend as it was typed, and the API key that was typed for it. Raises ValueError."""
    if kind.needs_url and not fields["url"]:
        raise ValueError("Where is it? Type its address, such as http://127.0.0.1:8080")
    key = secret = ""
    if not kind.cloud:
        key = variable(fields["variable"]) if fields["variable"] else ""
    elif fields["source"] == "variable":
        key = variable(fields["variable"])
    elif fields["source"] == "typed":
        secret = fields["key"]
        if not secret:
            raise ValueError("Type the key, or choose another place for it.")
    listed = tuple(models(fields["models"]))
    return NewBackend(kind.name, fields["name"], fields["url"], key, listed, fields["keep"] == "on"), secret


async def _settings(context: RequestContext, new: NewBackend, secret: str) -> BackendSettings:
    """The settings of the backend as if the config had it. Raises Problem with every error of that config."""
    file = context.gateway.services.config_file
    value = backends.backend_value(context.runtime.config, new)
    return await run(lambda: backends.new_settings(file, value, secret))


async def _tried(context: RequestContext, settings: BackendSettings) -> Said:
    """Request its list of models, as Byway would."""
    test = await backends.try_backend(settings, context.runtime.config.timeouts, context.runtime.scrubber)
    if not test.good:
        return Said("bad", test.message, test.hint)
    took = latency(test.latency_ms or 0)
    if test.missing:
        return Said(
            "warn",
            f"It answers in {took}, and does not list {', '.join(test.missing[:5])}.",
            "Correct the names, or save it all the same: some servers load a model when it is asked for.",
            _listed(test),
        )
    if not test.models:
        return Said("warn", f"It answers in {took}, and serves no model yet.", "Load or pull one there.")
    return Said("good", f"It answers in {took} and serves {count(len(test.models), 'model')}.", "", _listed(test))


def _listed(test: BackendTest) -> tuple[str, ...]:
    lines = tuple(
        f"{model.name}  {window(model.window)}" if model.window else model.name for model in test.models[:_LISTED]
    )
    return (*lines, f"and {len(test.models) - _LISTED} more") if len(test.models) > _LISTED else lines


async def _saved(context: RequestContext, kind: BackendKind, new: NewBackend, secret: str, fields: Form) -> Said:
    stored = ""
    if secret:
        change = await store_secret(context, kind.name, secret, accept_file=fields["accept"] == "on")
        stored = change.stored
    said = await _added(context, new)
    if said.kind == "good" and stored:
        return said._replace(hint=f"Its key is in the {stored}. {said.hint}".strip())
    return said


async def _added(context: RequestContext, new: NewBackend) -> Said:
    """Add a backend to the config."""
    try:
        name = backends.backend_value(context.runtime.config, new)["name"]
    except Problem as problem:
        return failed(context, problem)
    named = msgspec.structs.replace(new, name=name)
    return await changed(
        context,
        lambda current: backends.add_backend(current, named)[1],
        f"backend {name} added",
        "",
        f"{name} is added",
    )


ROUTES = (
    Route("GET", "/models/found", look, "admin", "page"),
    Route("POST", "/models/use", use, "admin", "page"),
    Route("GET", "/models/add", choose, "admin", "page"),
    Route("POST", "/models/add", add, "admin", "page"),
)
