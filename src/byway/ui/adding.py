"""The card Add: model servers found on this machine, and a form for each type of backend with a test before saving."""

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
from byway.routes.context import RequestContext
from byway.ui.backends import parse_models
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import Form, Outcome, failure, query_fields, read_form, save_edits, variable_reference, with_scheme
from byway.ui.secrets import store_secret

#: Models that a test lists.
_LISTED: Final = 12


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


class BackendForm(NamedTuple):
    """The form with its values. It never contains the key."""

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
    kinds: tuple[BackendKind, ...] = tuple(KINDS.values())


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
    """The form for a type of backend, or the list of types when none is chosen."""
    kind = KINDS.get(name)
    if kind is None:
        return BackendForm(None, _implied(context), outcome=outcome)
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
    """Test the typed backend, or save it."""
    fields = await read_form(context)
    kind = KINDS.get(fields["kind"])
    if kind is None:
        outcome = Outcome("bad", "Choose a type of backend.")
    else:
        try:
            new, secret = _new(kind, fields)
            # An invalid backend is refused before its key is stored.
            settings = await _settings(context, new, secret)
            outcome = await (
                _saved(context, kind, new, secret, fields) if fields["do"] == "save" else _tested(context, settings)
            )
        except ValueError as error:
            outcome = Outcome("bad", str(error))
        except Problem as problem:
            outcome = failure(context, problem)
        if fields["do"] == "save" and outcome.kind == "good":
            done = BackendForm(None, _implied(context), outcome=outcome, added=True)
            return card_view("adding", "adder", "", None, adder=done)
    view = await add_form(context, fields["kind"], fields, outcome)
    return card_view("adding", "adder", "add", outcome, adder=view)


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
    listed = tuple(parse_models(fields["models"]))
    url = with_scheme(fields["url"], "https" if kind.cloud else "http")
    return NewBackend(kind.name, fields["name"], url, key, listed, fields["keep"] == "on"), secret


async def _settings(context: RequestContext, new: NewBackend, secret: str) -> BackendSettings:
    """The settings that the backend would have. Raises Problem with every error of that config."""
    file = context.gateway.services.config_file
    value = backends.backend_value(context.runtime.config, new)
    return await run(lambda: backends.new_settings(file, value, secret))


async def _tested(context: RequestContext, settings: BackendSettings) -> Outcome:
    """Request the list of models from the backend."""
    test = await backends.try_backend(settings, context.runtime.config.timeouts, context.runtime.scrubber)
    if not test.good:
        return Outcome("bad", test.message, test.hint)
    took = latency(test.latency_ms or 0)
    if test.missing:
        return Outcome(
            "warn",
            f"The backend answered in {took}, but does not list {', '.join(test.missing[:5])}.",
            "Correct the names, or save anyway: some servers load a model on its first request.",
            _listed(test),
        )
    if not test.models:
        return Outcome(
            "warn", f"The backend answered in {took}, but serves no model yet.", "Load or pull a model there."
        )
    return Outcome(
        "good", f"The backend answered in {took} and serves {count(len(test.models), 'model')}.", "", _listed(test)
    )


def _listed(test: BackendTest) -> tuple[str, ...]:
    lines = tuple(
        f"{model.name}  {window(model.window)}" if model.window else model.name for model in test.models[:_LISTED]
    )
    return (*lines, f"and {len(test.models) - _LISTED} more") if len(test.models) > _LISTED else lines


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
