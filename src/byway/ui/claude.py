"""The page Claude Code: connect Claude Code, choose its models, edit aliases, configure web search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from byway.admin import aliases, backends, exports
from byway.admin import config as configs
from byway.admin.addresses import listens_wide
from byway.admin.setups import setup_texts
from byway.admin.verify import Verdict, verify
from byway.display import BACKEND_STATES, latency
from byway.problems import Problem
from byway.routes.admin import run, who
from byway.routes.context import RequestContext, Route, is_htmx
from byway.runtime import Runtime
from byway.ui import aliases as alias_card
from byway.ui import readiness, websearch
from byway.ui.page import (
    Form,
    Outcome,
    apply_change,
    base_config,
    config_etag,
    failure,
    parse_number,
    query_fields,
    read_form,
    save_edits,
    send_card,
    send_changed,
    send_page,
    status_of,
)

QUICK: Final = "Quick Setup"


class ModelChoice(NamedTuple):
    """A model that a backend serves."""

    value: str
    """`backend/model`."""
    word: str


class Loadable(NamedTuple):
    """A model that its server can be told to load."""

    backend: str
    title: str
    model: str


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


def target_state(context: RequestContext, backend: str, model: str) -> tuple[str, str]:
    """A target's state as a colour and a label: green only when its backend lists the model, or it has answered."""
    return BACKEND_STATES[aliases.target_state(context.runtime, backend, model, context.gateway.requests.answered())]


# ------------------------------------------------------------------------------------------------------------- the page


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    data = {
        "etag": await config_etag(context),
        **await _endpoint(context),
        **await _quick(context),
        **await _aliases(context),
        **await websearch.card_data(context),
        **more,
    }
    await send_page(
        context,
        "claude",
        "Claude Code",
        here="/claude",
        lead="Connect Claude Code, choose its model, and verify the connection.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        **data,
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    read = {"endpoint": _endpoint, "quick": _quick, "aliases": _aliases, "search": websearch.card_data}[card]
    more = {"etag": await config_etag(context), **more}
    await send_changed(context, _page, "claude", card, outcome, read, _NEWS.get(card, ""), **more)


#: For each changed card, the events that reload the cards that show the same data.
_NEWS: Final = {"quick": "endpoint-news, aliases-news", "aliases": "endpoint-news, quick-news"}


async def again(context: RequestContext) -> None:
    """Send one card."""
    if context.tail not in ("endpoint", "quick", "aliases"):
        raise Problem("not_found", "Unknown card.")
    await _card(context, context.tail, None)


async def _endpoint(context: RequestContext) -> dict[str, Any]:
    runtime, services = context.runtime, context.gateway.services
    setup = await exports.client_setup(runtime, services.base, trust=services.trust)
    pairs = exports.variables(setup)
    return {
        "answers": target_state(context, setup.backend, setup.model) if setup.backend else ("bad", "no backend"),
        "repair": next(iter(choices(runtime)), None),
        "setup": setup,
        "pairs": pairs,
        "setups": setup_texts(pairs, listens_wide=listens_wide(services.addresses), key_required=setup.key_required),
        "launch": exports.launch(setup),
        "verdict": None,
        "loadable": None,
        "model": "sonnet",
    }


async def _quick(context: RequestContext) -> dict[str, Any]:
    runtime = context.runtime
    served = choices(runtime)
    targets = runtime.aliases.get("default", ())
    chosen = targets[0] if targets else ""
    if chosen and not any(choice.value == chosen for choice in served):
        chosen = next((choice.value for choice in served if choice.value.partition("/")[2] == chosen), "")
    try:
        versions = await run(lambda: configs.list_versions(context.gateway.services.config_file, 2))
    except Problem:
        # Without a history there is no undo; Troubleshooting reports the problem.
        versions = []
    undo = versions[1].number if len(versions) > 1 and versions[0].why == QUICK else None
    verdict = _verdict(context, chosen or (served[0].value if served else ""))
    return {"choices": served, "chosen": chosen, "undo": undo, **verdict}


def _verdict(context: RequestContext, name: str) -> dict[str, Any]:
    """The verdict of the readiness test on a target."""
    backend, _, model = name.partition("/")
    return {"judged": name, "verdict_tag": readiness.verdict_of(context, backend, model)}


async def quick_verdict(context: RequestContext) -> None:
    """Send the verdict on the model that is selected in Quick Setup."""
    await send_card(context, "claude", "readiness", **_verdict(context, query_fields(context)["model"][:600]))


async def _aliases(context: RequestContext) -> dict[str, Any]:
    return {
        "rows": alias_card.alias_rows(context),
        "choices": choices(context.runtime),
        "new_rows": [alias_card.NewAlias("", "", "")],
        "name": "",
        "resolved": None,
    }


# -------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> None:
    """Verify: send one real request for one token through the listener, with the typed key."""
    await _verified(context, await read_form(context))


async def load_model(context: RequestContext) -> None:
    """Load a model in the server of its backend, and verify again."""
    fields = await read_form(context)
    outcome = None
    try:
        await backends.load_model(context.runtime, fields["backend"], fields["target"])
    except Problem as problem:
        outcome = failure(context, problem)
    await _verified(context, fields, outcome)


async def _verified(context: RequestContext, fields: Form, outcome: Outcome | None = None) -> None:
    """Send the card Endpoint with the result of a verification."""
    base = context.gateway.services.base
    model = fields["model"] or "sonnet"
    if base is None:
        verdict = Verdict(
            False, "No TCP address", "address", hint="Byway listens at a unix socket only. Set `server.bind_address`."
        )
    else:
        key = fields["key"] or ("" if context.runtime.keyring.blocking else exports.ANY_KEY)
        verdict = await verify(f"{base}/anthropic", key, model, extra_cas=context.gateway.services.extra_cas)
    failed = {} if verdict.good else {"answers": ("bad", verdict.summary), **_repairs(context.runtime, verdict, model)}
    await _card(context, "endpoint", outcome, verdict=verdict, model=model, **failed)


def _repairs(runtime: Runtime, verdict: Verdict, name: str) -> dict[str, Any]:
    """What the card offers after a failed verification: another model, and a model to load."""
    served = choices(runtime)
    others = [choice for choice in served if not verdict.backend or choice.value.partition("/")[0] != verdict.backend]
    loadable = None
    live = runtime.backends.get(verdict.backend)
    if verdict.fix == "load the model" and live is not None and live.vendor.load_path:
        try:
            targets = runtime.resolve(name).targets
        except Problem:
            targets = ()
        model = next((target.model for target in targets if target.backend == live.name), "")
        loadable = Loadable(live.name, live.vendor.title, model) if model else None
    if verdict.layer == "model" and verdict.fix != "load the model":
        others = served
    return {"repair": next(iter(others), None), "loadable": loadable}


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
        verdict = (
            await verify(f"{base}/anthropic", key, extra_cas=context.gateway.services.extra_cas)
            if base and key
            else None
        )
        if verdict is not None:
            hint = (
                f"Verified: {verdict.model} answered in {latency(verdict.ms)}."
                if verdict.good
                else f"{verdict.summary}. {verdict.hint}"
            )
            outcome = Outcome("good" if verdict.good else "warn", outcome.text, f"{outcome.hint} {hint}".strip())
    await _card(context, "quick", outcome)


async def alias(context: RequestContext) -> None:
    """Save the aliases of the table; an empty field removes the alias."""
    fields = await read_form(context)
    await _save_aliases(context, fields, alias_card.typed_aliases(fields))


async def remove_alias(context: RequestContext) -> None:
    """Remove one alias, and save what else was changed in the table."""
    fields = await read_form(context)
    name = fields["remove"]
    await _save_aliases(context, fields, alias_card.typed_aliases(fields) | {name: ()}, name)


async def _save_aliases(
    context: RequestContext, fields: Form, typed: Mapping[str, tuple[str, ...]], removed: str = ""
) -> None:
    edits = aliases.changed_aliases(await base_config(context, fields["etag"]), typed)
    why, good = (f"alias {removed} removed", f"Alias `{removed}` removed") if removed else ("model aliases", "Saved")
    outcome = await save_edits(context, edits, why, fields["etag"], good)
    context.runtime = context.gateway.runtime
    if outcome.kind == "bad":
        await _card(context, "aliases", outcome, **alias_card.typed_rows(context, fields, outcome))
        return
    if removed:
        outcome = outcome._replace(hint=f"{alias_card.removed_text(context, removed)} {outcome.hint}".strip())
    await _card(context, "aliases", outcome)


async def resolve(context: RequestContext) -> None:
    """Resolve a typed model name."""
    name = query_fields(context)["name"].strip()[:200]
    runtime, resolved = context.runtime, None
    if name:
        try:
            resolution = aliases.resolve_name(runtime, name, context.gateway.requests.answered())
        except Problem as problem:
            resolved = Outcome("bad", "No target: a request would get 404.", problem.message)
        else:
            to = ", then ".join(target.name for target in resolution.targets)
            by = f"by alias {resolution.alias}" if resolution.alias else "by its model name"
            state, word = BACKEND_STATES[resolution.targets[0].state]
            resolved = Outcome("warn" if state == "none" else state, to, f"{by}; {word}")
    if is_htmx(context):
        await send_card(context, "claude", "resolved", resolved=resolved)
    else:
        await _page(context, "aliases", name=name, resolved=resolved)


async def search(context: RequestContext) -> None:
    """Save the card Web Search. A typed key is stored in the keychain, never in the config."""
    fields = await read_form(context)
    outcome = await websearch.save(context, fields)
    context.runtime = context.gateway.runtime
    await _card(context, "search", outcome, typed=fields if outcome.kind == "bad" else None)


async def test(context: RequestContext) -> None:
    """Search with the saved settings, and show the results or the error."""
    fields = await read_form(context)
    tried = await websearch.try_search(context.runtime, fields["query"])
    await _card(context, "search", tried.outcome, results=tried.results, searched=tried.query)


ROUTES = (
    Route("GET", "/claude", index, "admin", "page"),
    Route("POST", "/claude/verify", check, "admin", "page"),
    Route("POST", "/claude/load", load_model, "admin", "page"),
    Route("POST", "/claude/quick", apply, "admin", "page"),
    Route("GET", "/claude/verdict", quick_verdict, "admin", "page"),
    Route("POST", "/claude/undo", undo, "admin", "page"),
    Route("POST", "/claude/aliases", alias, "admin", "page"),
    Route("POST", "/claude/aliases/remove", remove_alias, "admin", "page"),
    Route("GET", "/claude/targets", alias_card.find, "admin", "page"),
    Route("GET", "/claude/resolve", resolve, "admin", "page"),
    Route("GET", "/claude/cards/*", again, "admin", "page"),
    Route("POST", "/claude/search", search, "admin", "page"),
    Route("POST", "/claude/search/test", test, "admin", "page"),
)
