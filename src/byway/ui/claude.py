"""The landing page: connect Claude Code, choose its models, edit aliases, configure web search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from byway.admin import aliases, exports, secrets
from byway.admin import config as configs
from byway.admin.aliases import AliasInfo
from byway.admin.verify import Verdict, verify
from byway.config.editing import Edit, Remove, Set
from byway.config.settings import SearchProviderSettings
from byway.problems import Problem
from byway.providers.protocol import SearchError, SearchQuery, WebResult
from byway.providers.registry import PROVIDERS
from byway.routes import health
from byway.routes.admin import run, who
from byway.routes.authorize import require_admin
from byway.routes.context import RequestContext, Route
from byway.runtime import Runtime
from byway.search.chain import Searcher
from byway.secrets.names import ENTRIES
from byway.ui.login import closed
from byway.ui.page import (
    Form,
    Outcome,
    apply_change,
    base_config,
    config_etag,
    config_text,
    failure,
    is_htmx,
    parse_number,
    query_fields,
    read_form,
    save_edits,
    send_card,
    send_page,
    status_of,
    variable_reference,
)
from byway.ui.secrets import store_secret

QUICK: Final = "Quick Setup"
_USES: Final = {
    "haiku": "small calls: titles, page summaries, searches",
    "sonnet": "main model of many setups, subagents",
    "opus": "Claude Code's default main model",
    "fable": "largest model, on request",
    "default": "every other name",
}


#: Name and facts of each search provider; those without an API key come first.
_PROVIDER_ROWS: Final = sorted(
    ((name, provider.INFO) for name, provider in PROVIDERS.items()), key=lambda row: row[1].keyed
)


class ModelChoice(NamedTuple):
    """A model that a backend serves."""

    value: str
    """`backend/model`."""
    word: str


class AliasRow(NamedTuple):
    """A row of the table of aliases."""

    name: str
    use: str
    targets: str
    """As in the config, separated by commas."""
    leads: str
    state: str
    word: str


def choices(runtime: Runtime) -> list[ModelChoice]:
    """Every model that a backend serves now, ready backends first."""
    models = [
        (
            live.state != "ready",
            ModelChoice(f"{live.name}/{model}", f"{model} ({live.vendor.title}{_window(live.registry.get(model))})"),
        )
        for live in runtime.backends.values()
        if live.state != "off"
        for model in live.models or ()
    ]
    return [choice for _, choice in sorted(models, key=lambda entry: entry[0])]


def _window(facts: Any) -> str:
    return f", {facts.window // 1024:,}k window" if facts is not None and facts.window else ""


async def rows(runtime: Runtime) -> list[AliasRow]:
    """The fixed aliases, then the others of the config."""
    return [_row(runtime, alias) for alias in aliases.list_aliases(runtime)]


def _row(runtime: Runtime, alias: AliasInfo) -> AliasRow:
    is_pattern = any(mark in alias.name for mark in "*?[")
    use = _USES.get(alias.name, "a pattern" if is_pattern else "exact name")
    targets = ", ".join(alias.targets)
    if not alias.resolved:
        state, word = ("bad", "no backend serves it") if targets else ("none", "not set")
        return AliasRow(alias.name, use, targets, "none", state, word)
    state, word = backend_state(runtime, alias.resolved[0].backend)
    shown = " then ".join(target.name for target in alias.resolved)
    if not targets and alias.alias:
        return AliasRow(alias.name, use, "", shown, state, f"by {alias.alias}")
    return AliasRow(alias.name, use, targets, shown, state, word)


def backend_state(runtime: Runtime, backend: str) -> tuple[str, str]:
    """A backend's state as a colour and a label."""
    return STATES.get(runtime.backends[backend].state, ("warn", runtime.backends[backend].state))


STATES: Final[Mapping[str, tuple[str, str]]] = {
    "ready": ("good", "ready"),
    "asleep": ("good", "asleep"),
    "loading": ("warn", "loading"),
    "unknown": ("warn", "no answer yet"),
    "failed": ("bad", "failed"),
    "off": ("none", "off"),
}


# ------------------------------------------------------------------------------------------------------------- the page


async def index(context: RequestContext) -> None:
    """Send the landing page to a browser, and the hello to a program."""
    if b"text/html" not in context.headers.get(b"accept", b""):
        await health.hello(context)
        return
    try:
        require_admin(context)
    except Problem as problem:
        if problem.kind != "authentication":
            raise
        await closed(context)
        return
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    data = {
        **await _endpoint(context),
        **await _quick(context),
        **await _aliases(context),
        **await _search(context),
        **more,
    }
    await send_page(
        context,
        "claude",
        "Claude Code",
        here="/",
        lead="Connect Claude Code, choose its model, and verify the connection.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        etag=await config_etag(context),
        **data,
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    """Send one card with the outcome; the whole page to a browser without JavaScript."""
    if not is_htmx(context):
        await _page(context, card, outcome, **more)
        return
    gather = {"endpoint": _endpoint, "quick": _quick, "aliases": _aliases, "search": _search}[card]
    data = {**await gather(context), **more}
    await send_card(
        context,
        "claude",
        card,
        status_of(outcome),
        _NEWS.get(card, ""),
        card=card,
        outcome=outcome,
        etag=await config_etag(context),
        **data,
    )


#: For each changed card, the events that reload the cards that show the same data.
_NEWS: Final = {"quick": "endpoint-news, aliases-news", "aliases": "endpoint-news, quick-news"}


async def again(context: RequestContext) -> None:
    """Send one card."""
    if context.tail not in ("endpoint", "quick", "aliases"):
        raise Problem("not_found", "Unknown card.")
    await _card(context, context.tail, None)


async def _endpoint(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    setup = await exports.client_setup(runtime, context.gateway.services.base)
    pairs = exports.variables(setup)
    return {
        "answers": backend_state(runtime, setup.backend) if setup.backend else ("bad", "no backend"),
        "setup": setup,
        "pairs": pairs,
        "forms": [(name, word, make(pairs)) for name, word, make in exports.FORMS],
        "launch": exports.launch(setup),
        "verdict": None,
        "model": "sonnet",
    }


async def _quick(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    served = choices(runtime)
    leads = runtime.aliases.get("default", ())
    chosen = leads[0] if leads else ""
    if chosen and not any(choice.value == chosen for choice in served):
        chosen = next((choice.value for choice in served if choice.value.partition("/")[2] == chosen), "")
    try:
        versions = await run(lambda: configs.list_versions(context.gateway.services.config_file, 2))
    except Problem:
        # Without a history there is no undo; Troubleshooting reports the problem.
        versions = []
    undo = versions[1].number if len(versions) > 1 and versions[0].why == QUICK else None
    return {"choices": served, "chosen": chosen, "undo": undo}


async def _aliases(context: RequestContext) -> dict[str, Any]:
    return {
        "rows": await rows(context.runtime),
        "choices": choices(context.runtime),
        "another": ("", ""),
        "name": "",
        "led": None,
    }


async def _search(context: RequestContext) -> dict[str, Any]:
    settings, text = context.runtime.config.web_search, (await config_text(context)).text
    listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
    held = {secret.name: secret for secret in listed.secrets}
    return {
        "web": settings,
        "providers": _PROVIDER_ROWS,
        "held": held,
        "literal": bool(settings.api_key) and not settings.missing and not _from_variable(text, settings.provider),
        "results": None,
        "ready": context.runtime.searcher.ready,
    }


def _from_variable(text: str, provider: str | None) -> bool:
    entry = ENTRIES.get(provider or "")
    return entry is None or any(name in text for name in entry.variables)


# -------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> None:
    """Verify: send one real request for one token through the listener, with the typed key."""
    fields = await read_form(context)
    base = context.gateway.services.base
    model = fields["model"] or "sonnet"
    if base is None:
        verdict = Verdict(
            False, "No TCP address", "address", hint="Byway listens at a unix socket only. Set `server.bind_address`."
        )
    else:
        key = fields["key"] or ("" if context.runtime.keyring.blocking else exports.ANY_KEY)
        verdict = await verify(f"{base}/anthropic", key, model)
    await _card(context, "endpoint", None, verdict=verdict, model=model)


async def apply(context: RequestContext) -> None:
    """Quick Setup: use one model for every alias, and verify it."""
    fields = await read_form(context)
    chosen = fields["model"]
    if not any(choice.value == chosen for choice in choices(context.runtime)):
        await _card(
            context, "quick", Outcome("bad", "No backend serves that model any more.", "Choose a model from the list.")
        )
        return
    outcome = await save_edits(
        context,
        aliases.all_slots(chosen),
        QUICK,
        fields["etag"],
        f"{chosen.partition('/')[2]} is used for every Claude name",
    )
    await _applied(context, outcome)


async def undo(context: RequestContext) -> None:
    """Undo Quick Setup."""
    fields = await read_form(context)
    services, author = context.gateway.services, who(context)
    outcome = await apply_change(
        context,
        lambda: configs.rollback_config(
            services.config_file, parse_number(fields["version"]), author, fields["etag"] or None
        ),
        lambda _: Outcome("good", "Restored the previous aliases."),
    )
    await _applied(context, outcome)


async def _applied(context: RequestContext, outcome: Outcome) -> None:
    # The change has replaced the runtime; this request still holds the old one.
    context.runtime = context.gateway.runtime
    if outcome.kind == "good":
        base = context.gateway.services.base
        key = "" if context.runtime.keyring.blocking else exports.ANY_KEY
        verdict = await verify(f"{base}/anthropic", key) if base and key else None
        if verdict is not None:
            hint = (
                f"Verified: {verdict.model} answered in {verdict.ms:,.0f} ms."
                if verdict.good
                else f"{verdict.summary}. {verdict.hint}"
            )
            outcome = Outcome("good" if verdict.good else "warn", outcome.text, f"{outcome.hint} {hint}".strip())
    await _card(context, "quick", outcome)


async def alias(context: RequestContext) -> None:
    """Save the aliases of the table; an empty field removes the alias."""
    fields = await read_form(context)
    typed = {
        field.removeprefix("alias:"): _targets(value) for field, value in fields.items() if field.startswith("alias:")
    }
    if fields["name"] and fields["targets"]:
        typed[fields["name"]] = _targets(fields["targets"])
    edits = aliases.changed_aliases(await base_config(context, fields["etag"]), typed)
    outcome = await save_edits(context, edits, "model aliases", fields["etag"])
    context.runtime = context.gateway.runtime
    await _card(
        context, "aliases", outcome, **(await _typed(context, fields, outcome) if outcome.kind == "bad" else {})
    )


async def _typed(context: RequestContext, fields: Form, outcome: Outcome) -> dict[str, Any]:
    """The table with the typed values, so that a failed save loses nothing. Conflicting rows have the other user's value."""
    theirs = {str(conflict["path"]).removeprefix("model_aliases.") for conflict in outcome.conflicts}
    table = [
        row if row.name in theirs else row._replace(targets=fields.get(f"alias:{row.name}", row.targets))
        for row in await rows(context.runtime)
    ]
    return {"rows": table, "another": (fields["name"], fields["targets"])}


def _targets(text: str) -> tuple[str, ...]:
    return tuple(target for part in text.split(",") if (target := part.strip()))


async def lead(context: RequestContext) -> None:
    """Resolve a typed model name."""
    name = query_fields(context)["name"].strip()[:200]
    runtime, led = context.runtime, None
    if name:
        try:
            resolution = aliases.resolve_name(runtime, name)
        except Problem as problem:
            led = Outcome("bad", "No target: a request would get 404.", problem.message)
        else:
            to = ", then ".join(target.name for target in resolution.targets)
            by = f"by alias {resolution.alias}" if resolution.alias else "by its model name"
            led = Outcome("good", to, f"{by}; {backend_state(runtime, resolution.targets[0].backend)[1]}")
    if is_htmx(context):
        await send_card(context, "claude", "led", led=led)
    else:
        await _page(context, "aliases", name=name, led=led)


async def search(context: RequestContext) -> None:
    """Save the card Web Search. A typed key is stored in the keychain, never in the config."""
    fields = await read_form(context)
    outcome = await _saved(context, fields)
    context.runtime = context.gateway.runtime
    await _card(context, "search", outcome)


async def _saved(context: RequestContext, fields: Form) -> Outcome:
    settings = (await base_config(context, fields["etag"])).web_search
    provider = fields["provider"]
    if provider not in PROVIDERS:
        return Outcome("bad", "Choose a provider.")
    entry = ENTRIES.get(provider)
    edits: list[Edit] = []
    on = fields["enabled"] == "on"
    if on != settings.enabled:
        edits.append(Set(("web_search", "enabled"), on))
    if provider != settings.provider:
        edits.append(Set(("web_search", "provider"), provider))
    was, base_url = settings.base_url or "", fields["base_url"]
    if entry is not None:
        # The address belongs to a SearXNG; another provider's key must not go there. One of its own was set by hand.
        base_url = was if provider == settings.provider else ""
    if base_url != was:
        path = ("web_search", "base_url")
        edits.append(Set(path, base_url) if base_url else Remove(path))
    kept = ""
    if entry is None:
        if settings.api_key:
            edits.append(Remove(("web_search", "api_key")))
    elif fields["source"] == "variable":
        try:
            edits.append(Set(("web_search", "api_key"), variable_reference(fields["variable"])))
        except ValueError as error:
            return Outcome("bad", str(error))
    else:
        if fields["source"] == "typed":
            if not fields["key"]:
                return Outcome("bad", "Type the key, or choose another source.")
            try:
                change = await store_secret(context, entry.name, fields["key"], accept_file=fields["accept"] == "on")
            except Problem as problem:
                return failure(context, problem)
            kept = f" The key is in the {change.stored}."
        edits.append(Set(("web_search", "api_key"), f"${{{entry.variable}}}"))
    outcome = await save_edits(context, edits, "web search", fields["etag"])
    if outcome.kind == "good" and kept:
        return Outcome("good", "Saved.", f"{kept} {outcome.hint}".strip())
    return outcome


async def test(context: RequestContext) -> None:
    """Search with the saved settings, and show the results or the error."""
    fields = await read_form(context)
    settings = context.runtime.config.web_search
    searched = fields["query"] or "latest Rust release"
    results: list[WebResult] = []
    outcome: Outcome
    searcher = Searcher(msgspec.structs.replace(settings, enabled=True, cache_ttl=0.0))
    try:
        answer = await searcher.search(SearchQuery(searched, settings.max_results))
        results = answer.results
        many = f"{len(results)} results" if results else "No results"
        outcome = Outcome("good" if results else "warn", f"{many}, by {answer.provider}.")
    except SearchError as failure:
        outcome = Outcome("bad", f"{_provider_names(settings.providers)} failed: {failure.code}", failure.message)
    finally:
        await searcher.close()
    await _card(context, "search", outcome, results=results, searched=searched)


def _provider_names(providers: tuple[SearchProviderSettings, ...]) -> str:
    return ", then ".join(provider.provider for provider in providers) or "The search"


#: `/` is open because its endpoint checks the login itself: a program gets the hello, a browser the page.
ROUTES = (
    Route("GET", "/", index, "open", "page"),
    Route("POST", "/claude/verify", check, "admin", "page"),
    Route("POST", "/claude/quick", apply, "admin", "page"),
    Route("POST", "/claude/undo", undo, "admin", "page"),
    Route("POST", "/claude/aliases", alias, "admin", "page"),
    Route("GET", "/claude/lead", lead, "admin", "page"),
    Route("GET", "/claude/cards/*", again, "admin", "page"),
    Route("POST", "/claude/search", search, "admin", "page"),
    Route("POST", "/claude/search/test", test, "admin", "page"),
)
