"""The page Add backend: model servers found on this machine, a gallery of every type, and a form for each type with a test."""

from __future__ import annotations

from collections import Counter
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
from byway.routes.context import RequestContext
from byway.ui.backends import parse_models
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import Form, Outcome, failure, query_fields, read_form, save_edits, variable_reference, with_scheme
from byway.ui.secrets import store_secret

#: Models that a test offers for selection. A form has 500 fields at most.
_LISTED: Final = 300
#: The fields of selected models.
_PICK: Final = "pick:"


class DiscoveredRow(NamedTuple):
    """A model server on this machine."""

    vendor: str
    title: str
    url: str
    models: tuple[str, ...]
    version: str


class DiscoveredServers(NamedTuple):
    """The model servers of this machine that are not configured yet."""

    servers: tuple[DiscoveredRow, ...]
    known: int
    """How many more were found that are backends already."""
    implied: bool
    """The built-in model runs because the config names no backend."""


class KindTile(NamedTuple):
    """A type of backend in the gallery."""

    kind: BackendKind
    words: str
    """What the search field looks in."""
    backends: int
    """How many backends of this type are configured."""


class KindGroup(NamedTuple):
    """Types of backends that have something in common."""

    name: str
    title: str
    about: str
    tiles: tuple[KindTile, ...]


class ModelPick(NamedTuple):
    """A model that a tested backend lists."""

    name: str
    window: str
    picked: bool


class BackendForm(NamedTuple):
    """The form with its values, or the gallery of all types. It never contains the key."""

    kind: BackendKind | None
    implied: bool
    held: SecretInfo | None = None
    """The state of its stored API key."""
    name: str = ""
    url: str = ""
    models: str = ""
    source: str = ""
    variable: str = ""
    keep: bool = False
    accept: bool = False
    outcome: Outcome | None = None
    added: bool = False
    offered: tuple[ModelPick, ...] = ()
    """The models that the last test has listed, for selection."""
    more: int = 0
    """Further models, which are not offered for selection."""
    force: bool = False
    """The test failed: offer to add the backend all the same."""
    groups: tuple[KindGroup, ...] = ()
    query: str = ""
    """What the gallery was searched for."""


async def servers(context: RequestContext) -> DiscoveredServers:
    """Find the model servers of this machine. Takes 0.3 seconds at most."""
    used = {discovery.plain_url(backend.address) for backend in context.runtime.backends.values()}
    servers = await discovery.discover(discovery.usual_urls(context.gateway.services.addresses))
    fresh = [
        DiscoveredRow(server.vendor, VENDORS[server.vendor].title, server.url, server.models, server.version)
        for server in servers
        if discovery.plain_url(server.url) not in used
    ]
    return DiscoveredServers(tuple(fresh), len(servers) - len(fresh), _implied(context))


def _implied(context: RequestContext) -> bool:
    return is_builtin_implied(context.runtime.config)


async def add_form(
    context: RequestContext, name: str, fields: Form | None = None, outcome: Outcome | None = None
) -> BackendForm:
    """The form for a type of backend, or the gallery of types when none is chosen."""
    kind = KINDS.get(name)
    if kind is None:
        query = query_fields(context)["q"][:100]
        return BackendForm(None, _implied(context), outcome=outcome, groups=_groups(context, query), query=query)
    held = None
    if kind.cloud:
        listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
        held = next((secret for secret in listed.secrets if secret.name == kind.name), None)
    source = "stored" if held and held.stored else "typed"
    if fields is None:
        return BackendForm(kind, _implied(context), held, source=source, outcome=outcome)
    typed = fields["variable"]
    return BackendForm(
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
        outcome,
    )


def _groups(context: RequestContext, query: str) -> tuple[KindGroup, ...]:
    configured = Counter(backend.vendor.name for backend in context.runtime.backends.values())
    tiles = [
        KindTile(kind, f"{kind.name} {kind.title} {kind.url} {kind.secret}".lower(), configured[kind.name])
        for kind in backends.find_kinds(query)
    ]
    groups = [
        KindGroup(name, title, about, tuple(tile for tile in tiles if tile.kind.group == name))
        for name, title, about in backends.GROUPS
    ]
    return tuple(group for group in groups if group.tiles)


# -------------------------------------------------------------------------------------------------------------- actions


async def look(context: RequestContext) -> CardView:
    """Send the model servers that were found."""
    return card_view("adding", "found", "", None, discovered=await servers(context))


async def use(context: RequestContext) -> CardView:
    """Add a server that was found."""
    fields = await read_form(context)
    kind = KINDS.get(fields["vendor"])
    if kind is None or kind.cloud:
        outcome = Outcome("bad", "Unknown type of server.")
    else:
        new = NewBackend(kind.name, url=fields["url"], keep_builtin=fields["keep"] == "on")
        outcome = await _added(context, new)
    return card_view("adding", "found", "found", outcome, discovered=await servers(context))


async def choose(context: RequestContext) -> CardView:
    """Send the form for a type."""
    return card_view("adding", "adder", "", None, adder=await add_form(context, query_fields(context)["type"]))


async def add(context: RequestContext) -> CardView:
    """Test the typed backend, and add it when that succeeds. `do`: `test` adds nothing, `force` needs no success."""
    fields = await read_form(context)
    kind = KINDS.get(fields["kind"])
    test = None
    if kind is None:
        outcome = Outcome("bad", "Choose a type of backend.")
    else:
        try:
            new, secret = _new(kind, fields)
            # An invalid backend is refused before its key is stored.
            settings = await _settings(context, new, secret)
            test = await backends.try_backend(settings, context.runtime.config.timeouts, context.runtime.scrubber)
            outcome = _tested(test)
            if fields["do"] == "force" or (fields["do"] == "save" and test.good and not test.missing):
                outcome = await _saved(context, kind, new, secret, fields)
                if outcome.kind == "good":
                    done = BackendForm(None, _implied(context), outcome=outcome, added=True)
                    return card_view("adding", "adder", "", None, adder=done)
        except ValueError as error:
            outcome = Outcome("bad", str(error))
        except Problem as problem:
            outcome = failure(context, problem)
    view = await add_form(context, fields["kind"], fields, outcome)
    if test is not None:
        view = view._replace(
            offered=_listed_models(test, fields),
            more=max(0, len(test.models) - _LISTED),
            force=not test.good or bool(test.missing),
        )
    return card_view("adding", "adder", "add", outcome, adder=view)


def _listed_models(test: BackendTest, fields: Form) -> tuple[ModelPick, ...]:
    picked = _picked(fields)
    return tuple(
        ModelPick(model.name, window(model.window) if model.window else "", model.name in picked)
        for model in test.models[:_LISTED]
    )


def _picked(fields: Form) -> list[str]:
    """The selected models, in the order of the list."""
    return [value for field, value in fields.items() if field.startswith(_PICK)]


def _new(kind: BackendKind, fields: Form) -> tuple[NewBackend, str]:
    """The typed backend and its typed API key. Raises ValueError."""
    if kind.needs_url and not fields["url"]:
        raise ValueError("The URL is missing. Example: http://127.0.0.1:8080")
    key = secret = ""
    if not kind.cloud:
        key = variable_reference(fields["variable"]) if fields["variable"] else ""
    elif fields["source"] == "variable":
        key = variable_reference(fields["variable"])
    elif fields["source"] == "typed":
        secret = fields["key"]
        if not secret:
            raise ValueError("The API key is missing. Type it, or choose another source.")
    typed = parse_models(fields["models"])
    named = {model if isinstance(model, str) else model.id for model in typed}
    listed = (*typed, *(model for model in _picked(fields) if model not in named))
    url = with_scheme(fields["url"], "https" if kind.cloud else "http")
    return NewBackend(kind.name, fields["name"], url, key, listed, fields["keep"] == "on"), secret


async def _settings(context: RequestContext, new: NewBackend, secret: str) -> BackendSettings:
    """The settings that the backend would have. Raises Problem with every error of that config."""
    file = context.gateway.services.config_file
    value = backends.backend_value(context.runtime.config, new)
    return await run(lambda: backends.new_settings(file, value, secret))


def _tested(test: BackendTest) -> Outcome:
    """The outcome of a test."""
    if not test.good:
        return Outcome("bad", test.message, test.hint)
    took = latency(test.latency_ms or 0)
    if test.missing:
        return Outcome(
            "warn",
            f"The backend answered in {took}, but does not list {', '.join(test.missing[:5])}.",
            "Correct the names, or add it anyway: some servers load a model on its first request.",
        )
    if not test.models:
        return Outcome(
            "warn", f"The backend answered in {took}, but serves no model yet.", "Load or pull a model there."
        )
    return Outcome("good", f"The backend answered in {took} and serves {count(len(test.models), 'model')}.")


async def _saved(context: RequestContext, kind: BackendKind, new: NewBackend, secret: str, fields: Form) -> Outcome:
    stored = ""
    if secret:
        change = await store_secret(context, kind.name, secret, accept_file=fields["accept"] == "on")
        stored = change.stored
    outcome = await _added(context, new)
    if outcome.kind == "good" and stored:
        return outcome._replace(hint=f"The API key is stored in the {stored}. {outcome.hint}".strip())
    return outcome


async def _added(context: RequestContext, new: NewBackend) -> Outcome:
    """Add a backend to the config."""
    try:
        name = backends.backend_value(context.runtime.config, new)["name"]
    except Problem as problem:
        return failure(context, problem)
    named = msgspec.structs.replace(new, name=name)
    return await save_edits(
        context,
        lambda current: backends.add_backend(current, named)[1],
        f"backend {name} added",
        "",
        f"Backend {name} added",
    )


CARDS = (
    CardRoute("GET", "/models/found", look),
    CardRoute("POST", "/models/use", use),
    CardRoute("GET", "/models/add", choose),
    CardRoute("POST", "/models/add", add),
)
