"""The landing page: connect Claude Code, choose who answers, see where each name leads, and let it search the web."""

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
    Said,
    changed,
    etag,
    failed,
    form,
    number,
    paper,
    part,
    query,
    seen,
    show,
    status,
    tried,
    variable,
    wants_part,
)
from byway.ui.secrets import store_secret

QUICK: Final = "Quick Setup"
_USES: Final = {
    "haiku": "small calls: titles, summaries of pages, searches",
    "sonnet": "the usual main model, many subagents",
    "opus": "the main model of Claude Code's default",
    "fable": "the largest, where a session asks for it",
    "default": "every other name",
}


#: Name and facts of each search provider; those without an API key come first.
_PROVIDER_ROWS: Final = sorted(
    ((name, provider.INFO) for name, provider in PROVIDERS.items()), key=lambda row: row[1].keyed
)


class Choice(NamedTuple):
    """A model that could answer."""

    value: str
    """`backend/model`."""
    word: str


class Row(NamedTuple):
    """An alias and where it leads now."""

    name: str
    use: str
    targets: str
    """As the config has it, with commas."""
    leads: str
    state: str
    word: str


def choices(runtime: Runtime) -> list[Choice]:
    """Every model that a backend really serves now, ready ones first."""
    found = [
        (
            live.state != "ready",
            Choice(f"{live.name}/{model}", f"{model} ({live.vendor.title}{_window(live.registry.get(model))})"),
        )
        for live in runtime.backends.values()
        if live.state != "off"
        for model in live.models or ()
    ]
    return [choice for _, choice in sorted(found, key=lambda one: one[0])]


def _window(facts: Any) -> str:
    return f", {facts.window // 1024:,}k window" if facts is not None and facts.window else ""


async def rows(runtime: Runtime) -> list[Row]:
    """The slots, then every other alias of the config."""
    return [_row(runtime, alias) for alias in aliases.list_aliases(runtime)]


def _row(runtime: Runtime, alias: AliasInfo) -> Row:
    is_pattern = any(mark in alias.name for mark in "*?[")
    use = _USES.get(alias.name, "a pattern" if is_pattern else "this name")
    targets = ", ".join(alias.targets)
    if not alias.resolved:
        state, word = ("bad", "no backend serves it") if targets else ("none", "not set")
        return Row(alias.name, use, targets, "nowhere", state, word)
    state, word = standing(runtime, alias.resolved[0].backend)
    shown = " then ".join(target.name for target in alias.resolved)
    if not targets and alias.alias:
        return Row(alias.name, use, "", shown, state, f"by {alias.alias}")
    return Row(alias.name, use, targets, shown, state, word)


def standing(runtime: Runtime, backend: str) -> tuple[str, str]:
    """A backend's state as a colour and a word."""
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
    """The landing page for people, and the hello that programs get at the root."""
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


async def _page(context: RequestContext, card: str = "", said: Said | None = None, **more: Any) -> None:
    data = {
        **await _endpoint(context),
        **await _quick(context),
        **await _aliases(context),
        **await _search(context),
        **more,
    }
    await show(
        context,
        "claude",
        "Claude Code",
        here="/",
        lead="Point Claude Code at this Byway, choose the model that answers, and check that it works.",
        status=status(said),
        card=card,
        said=said,
        etag=await etag(context),
        **data,
    )


async def _card(context: RequestContext, card: str, said: Said | None, **more: Any) -> None:
    """One card again, with what was said; the whole page for a browser without JavaScript."""
    if not wants_part(context):
        await _page(context, card, said, **more)
        return
    gather = {"endpoint": _endpoint, "quick": _quick, "aliases": _aliases, "search": _search}[card]
    data = {**await gather(context), **more}
    await part(
        context,
        "claude",
        card,
        status(said),
        _NEWS.get(card, ""),
        card=card,
        said=said,
        etag=await etag(context),
        **data,
    )


#: By the card that was changed, those that show it too.
_NEWS: Final = {"quick": "endpoint-news, aliases-news", "aliases": "endpoint-news, quick-news"}


async def again(context: RequestContext) -> None:
    """One card as it is now."""
    if context.tail not in ("endpoint", "quick", "aliases"):
        raise Problem("not_found", "There is no such card.")
    await _card(context, context.tail, None)


async def _endpoint(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    setup = await exports.client_setup(runtime, context.gateway.services.base)
    pairs = exports.variables(setup)
    return {
        "answers": standing(runtime, setup.backend) if setup.backend else ("bad", "nobody answers"),
        "setup": setup,
        "pairs": pairs,
        "forms": [(name, word, make(pairs)) for name, word, make in exports.FORMS],
        "launch": exports.launch(setup),
        "verdict": None,
        "model": "sonnet",
    }


async def _quick(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    found = choices(runtime)
    leads = runtime.aliases.get("default", ())
    chosen = leads[0] if leads else ""
    if chosen and not any(one.value == chosen for one in found):
        chosen = next((one.value for one in found if one.value.partition("/")[2] == chosen), "")
    try:
        versions = await run(lambda: configs.list_versions(context.gateway.services.config_file, 2))
    except Problem:
        # Without a history there is nothing to go back to; that is for Troubleshooting to say.
        versions = []
    undo = versions[1].number if len(versions) > 1 and versions[0].why == QUICK else None
    return {"choices": found, "chosen": chosen, "undo": undo}


async def _aliases(context: RequestContext) -> dict[str, Any]:
    return {
        "rows": await rows(context.runtime),
        "choices": choices(context.runtime),
        "another": ("", ""),
        "name": "",
        "led": None,
    }


async def _search(context: RequestContext) -> dict[str, Any]:
    settings, text = context.runtime.config.web_search, (await paper(context)).text
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
    return entry is None or any(variable in text for variable in entry.variables)


# -------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> None:
    """Verify: one real request of one token over the real listener, with the key that is typed in the card."""
    fields = await form(context)
    base = context.gateway.services.base
    model = fields["model"] or "sonnet"
    if base is None:
        verdict = Verdict(
            False, "No TCP address", "address", hint="Byway listens at a unix socket only: set `server.bind_address`."
        )
    else:
        key = fields["key"] or ("" if context.runtime.keyring.blocking else exports.ANY_KEY)
        verdict = await verify(f"{base}/anthropic", key, model)
    await _card(context, "endpoint", None, verdict=verdict, model=model)


async def apply(context: RequestContext) -> None:
    """Quick Setup: one model for every slot, in force at once, and verified."""
    fields = await form(context)
    chosen = fields["model"]
    if not any(one.value == chosen for one in choices(context.runtime)):
        await _card(context, "quick", Said("bad", "That model is not served any more.", "Choose one of the list."))
        return
    said = await changed(
        context,
        aliases.all_slots(chosen),
        QUICK,
        fields["etag"],
        f"{chosen.partition('/')[2]} answers to every name of Claude's",
    )
    await _applied(context, said)


async def undo(context: RequestContext) -> None:
    """Take Quick Setup back."""
    fields = await form(context)
    services, author = context.gateway.services, who(context)
    said = await tried(
        context,
        lambda: configs.rollback_config(
            services.config_file, number(fields["version"]), author, fields["etag"] or None
        ),
        lambda _: Said("good", "As it was before."),
    )
    await _applied(context, said)


async def _applied(context: RequestContext, said: Said) -> None:
    # The running Byway has a new runtime by now; this request still holds the one that it began with.
    context.runtime = context.gateway.runtime
    if said.kind == "good":
        base = context.gateway.services.base
        key = "" if context.runtime.keyring.blocking else exports.ANY_KEY
        verdict = await verify(f"{base}/anthropic", key) if base and key else None
        if verdict is not None:
            hint = (
                f"Verified: {verdict.model} answered in {verdict.ms:,.0f} ms."
                if verdict.good
                else f"{verdict.summary}. {verdict.hint}"
            )
            said = Said("good" if verdict.good else "warn", said.text, f"{said.hint} {hint}".strip())
    await _card(context, "quick", said)


async def alias(context: RequestContext) -> None:
    """Save the aliases of the table; one that is left empty goes."""
    fields = await form(context)
    typed = {
        field.removeprefix("alias:"): _targets(value) for field, value in fields.items() if field.startswith("alias:")
    }
    if fields["name"] and fields["targets"]:
        typed[fields["name"]] = _targets(fields["targets"])
    edits = aliases.changed_aliases(await seen(context, fields["etag"]), typed)
    said = await changed(context, edits, "model aliases", fields["etag"])
    context.runtime = context.gateway.runtime
    await _card(context, "aliases", said, **(await _typed(context, fields, said) if said.kind == "bad" else {}))


async def _typed(context: RequestContext, fields: Form, said: Said) -> dict[str, Any]:
    """The table as it was typed: what could not be saved is not lost. Where somebody else was first, it has their value."""
    theirs = {str(one["path"]).removeprefix("model_aliases.") for one in said.conflicts}
    found = [
        row if row.name in theirs else row._replace(targets=fields.get(f"alias:{row.name}", row.targets))
        for row in await rows(context.runtime)
    ]
    return {"rows": found, "another": (fields["name"], fields["targets"])}


def _targets(text: str) -> tuple[str, ...]:
    return tuple(one for part in text.split(",") if (one := part.strip()))


async def lead(context: RequestContext) -> None:
    """What a typed name would do."""
    name = query(context)["name"].strip()[:200]
    runtime, led = context.runtime, None
    if name:
        try:
            resolution = aliases.resolve_name(runtime, name)
        except Problem as problem:
            led = Said("bad", "It leads nowhere: 404.", problem.message)
        else:
            to = ", then ".join(target.name for target in resolution.targets)
            by = f"by the alias {resolution.alias}" if resolution.alias else "it is a model's own name"
            led = Said("good", to, f"{by}; {standing(runtime, resolution.targets[0].backend)[1]}")
    if wants_part(context):
        await part(context, "claude", "led", led=led)
    else:
        await _page(context, "aliases", name=name, led=led)


async def search(context: RequestContext) -> None:
    """Save the card Web Search. A typed key goes into the keychain, never into the config."""
    fields = await form(context)
    said = await _saved(context, fields)
    context.runtime = context.gateway.runtime
    await _card(context, "search", said)


async def _saved(context: RequestContext, fields: Form) -> Said:
    settings = (await seen(context, fields["etag"])).web_search
    provider = fields["provider"]
    if provider not in PROVIDERS:
        return Said("bad", "Choose a provider.")
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
            edits.append(Set(("web_search", "api_key"), variable(fields["variable"])))
        except ValueError as error:
            return Said("bad", str(error))
    else:
        if fields["source"] == "typed":
            if not fields["key"]:
                return Said("bad", "Type the key, or choose another place for it.")
            try:
                change = await store_secret(context, entry.name, fields["key"], accept_file=fields["accept"] == "on")
            except Problem as problem:
                return failed(context, problem)
            kept = f" The key is in the {change.stored}."
        edits.append(Set(("web_search", "api_key"), f"${{{entry.variable}}}"))
    said = await changed(context, edits, "web search", fields["etag"])
    if said.kind == "good" and kept:
        return Said("good", "Saved.", f"{kept} {said.hint}".strip())
    return said


async def test(context: RequestContext) -> None:
    """Search with the saved settings, and show what came or why nothing did."""
    fields = await form(context)
    settings = context.runtime.config.web_search
    asked = fields["query"] or "latest Rust release"
    results: list[WebResult] = []
    said: Said
    searcher = Searcher(msgspec.structs.replace(settings, enabled=True, cache_ttl=0.0))
    try:
        found = await searcher.search(SearchQuery(asked, settings.max_results))
        results = found.results
        many = f"{len(results)} results" if results else "It answered, and found nothing"
        said = Said("good" if results else "warn", f"{many}, by {found.provider}.")
    except SearchError as failure:
        said = Said("bad", f"{_whose(settings.providers)} failed: {failure.code}", failure.message)
    finally:
        await searcher.close()
    await _card(context, "search", said, results=results, asked=asked)


def _whose(providers: tuple[SearchProviderSettings, ...]) -> str:
    return ", then ".join(one.provider for one in providers) or "The search"


#: Its own door stands inside: a program gets the hello, a person the page.
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
