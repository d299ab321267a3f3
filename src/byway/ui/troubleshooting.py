"""The page Troubleshooting: live checks, each with its state and the next action."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec

from byway.admin.aliases import SLOTS
from byway.admin.verify import verify
from byway.config import static_changes
from byway.display import count
from byway.messages import request as messages
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routing import route as routing
from byway.ui.claude import backend_state
from byway.ui.page import is_htmx, send_card, send_page


class Check(NamedTuple):
    """The result of a check: `state` is good, warn, bad or none; `fix` is the next action, `where` its page."""

    state: str
    word: str
    title: str
    finding: str
    fix: str = ""
    where: str = ""


#: A server tool has no `input_schema`; some gateways answer 422 to it.
_TOOLS = {
    "model": "m",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
}


async def checks(context: RequestContext) -> list[Check]:
    """Run all checks; those that send requests run at the same time."""
    answered = asyncio.create_task(_answers(context))
    return [
        _config(context),
        _reached(context),
        await answered,
        *_names(context),
        *_backends(context),
        _search(context),
        _tools(),
        _keys(context),
    ]


def _config(context: RequestContext) -> Check:
    title = "Config file"
    problem = context.gateway.config_problem
    if problem:
        return Check(
            "bad",
            "error",
            title,
            problem,
            "Correct these lines. The last valid config stays in force.",
            "/api#history",
        )
    restart = static_changes(context.gateway.started_config, context.runtime.config)
    if restart:
        return Check(
            "warn",
            "restart",
            title,
            f"Changed settings that need a restart: {', '.join(restart)}.",
            "Restart Byway.",
            "/api#server",
        )
    warnings = context.runtime.config.warnings
    if warnings:
        return Check(
            "warn",
            "warnings",
            title,
            " ".join(f"{warning.path or 'The file'}: {warning.message}." for warning in warnings[:4]),
            "`byway config check` shows them with their lines.",
        )
    return Check("good", "good", title, str(context.gateway.services.config_file.path))


def _reached(context: RequestContext) -> Check:
    title = "Clients"
    recent = context.gateway.requests
    if not recent.count:
        return Check(
            "none",
            "no requests",
            title,
            "No request since Byway started.",
            "Start Claude Code in a new shell with the variables of the Endpoint card.",
            "/#endpoint",
        )
    last = recent.newest(1)[0]
    if last.error:
        return Check(
            "warn",
            "error",
            title,
            f"{count(recent.count, 'request')} since Byway started; the last one failed: {last.error}",
            "Open the request.",
            f"/requests/{last.number}",
        )
    return Check(
        "good",
        "ok",
        title,
        f"{count(recent.count, 'request')} since Byway started; the last one succeeded.",
        "",
        "/requests",
    )


async def _answers(context: RequestContext) -> Check:
    title = "Test request"
    services = context.gateway.services
    base = f"unix:{services.socket}" if services.socket else f"{services.base}/anthropic"
    verdict = await verify(base, "")
    if verdict.good:
        return Check("good", "connected", title, f"{verdict.model} at {verdict.backend}, in {verdict.ms:,.0f} ms.")
    if verdict.layer == "credential":
        return Check(
            "none",
            "key required",
            title,
            "Byway requires a key, and this page has none.",
            "Verify with your key on the first page.",
            "/#endpoint",
        )
    return Check(
        "bad",
        verdict.summary,
        title,
        verdict.message,
        verdict.hint,
        "/#endpoint" if verdict.layer != "model" else "/#quick",
    )


def _names(context: RequestContext) -> list[Check]:
    """The names that Claude Code requests, small calls first: their failures are silent."""
    runtime = context.runtime
    rows = []
    for name, title in (
        ("claude-haiku-4-5-20251001", "Model for small calls (titles, page summaries, searches)"),
        ("claude-opus-5-5", "Model for main turns"),
    ):
        try:
            route = runtime.resolve(name)
        except Problem as problem:
            slot = routing.family(name)
            rows.append(
                Check(
                    "bad",
                    "404",
                    title,
                    problem.message,
                    f"Set the {slot} alias or the default alias under Model Aliases.",
                    "/#aliases",
                )
            )
            continue
        place = route.targets[0]
        state, word = backend_state(runtime, place.backend)
        fix = "" if state == "good" else "Start the server, load the model, or choose another target."
        rows.append(
            Check(
                state,
                word,
                title,
                f"{name} uses {place.backend}/{place.model}.",
                fix,
                "" if state == "good" else "/models",
            )
        )
    missing = [slot for slot in SLOTS if slot not in runtime.aliases]
    if len(missing) == len(SLOTS):
        rows.append(
            Check(
                "warn",
                "not set",
                "Model aliases",
                "No alias is set.",
                "Quick Setup sets them all.",
                "/#quick",
            )
        )
    return rows


def _backends(context: RequestContext) -> list[Check]:
    rows = []
    for live in context.runtime.backends.values():
        state, word = backend_state(context.runtime, live.name)
        models = live.models or ()
        outcome = live.message or (
            f"Serves {', '.join(models[:4])}{' and more' if len(models) > 4 else ''}." if models else "Serves no model."
        )
        fix = {
            "failed": "Start the server, or correct its URL and API key.",
            "off": "Complete its settings, or remove it from the config.",
        }.get(live.state, "")
        if live.state == "ready" and not models:
            state, word, fix = "warn", "no model", "Load a model on that server."
        rows.append(
            Check(state, word, f"Backend {live.name} ({live.vendor.title})", outcome, fix, "/models" if fix else "")
        )
    return rows


def _search(context: RequestContext) -> Check:
    title = "Web search"
    settings = context.runtime.config.web_search
    if not settings.enabled and not settings.missing:
        return Check(
            "none",
            "off",
            title,
            "Claude Code's WebSearch fails until web search is enabled.",
            "Choose a provider and enable it.",
            "/#search",
        )
    if not context.runtime.searcher.ready:
        lacking = ", ".join(settings.missing) or "a provider"
        return Check(
            "bad",
            "not ready",
            title,
            f"Missing: {lacking}.",
            "Store its API key under Secrets, or choose a provider.",
            "/secrets",
        )
    names = ", then ".join(provider.provider for provider in settings.providers)
    return Check(
        "good",
        "on",
        title,
        f"Providers: {names}.",
        "No results? Run the test: the usual cause is HTTP 429 of a free plan. Log line: `web_search loop round complete`.",
        "/#search",
    )


def _tools() -> Check:
    title = "Anthropic's server tools"
    try:
        messages.parse(msgspec.json.encode(_TOOLS), {}, "msg_check")
    except Problem as problem:
        return Check("bad", "refused", title, problem.message, "This is a bug: please report it.")
    return Check(
        "good",
        "accepted",
        title,
        "`web_search_20250305` without `input_schema` is accepted; other gateways answer 422.",
    )


def _keys(context: RequestContext) -> Check:
    title = "Keys"
    keys = context.runtime.config.api_keys
    if keys.mode == "permissive" and (keys.api_keys or context.runtime.stored):
        return Check(
            "warn",
            "not required",
            title,
            "Keys exist, but api_keys.mode is permissive.",
            "Remove `mode` from the config.",
            "/api#keys",
        )
    if context.runtime.keyring.blocking:
        return Check(
            "good",
            "required",
            title,
            "Clients without a valid key get a 401.",
            "On `Authentication failed`, create a key and set it in the client.",
            "/api#keys",
        )
    return Check(
        "good", "not required", title, "Programs on this machine need no key. Claude Code needs any non-empty text."
    )


async def _data(context: RequestContext) -> dict[str, Any]:
    results = await checks(context)
    return {"checks": results, "bad": sum(check.state == "bad" for check in results)}


async def index(context: RequestContext) -> None:
    """Send the page."""
    if is_htmx(context):
        await send_card(context, "troubleshooting", "all", **await _data(context))
        return
    await send_page(
        context,
        "troubleshooting",
        "Troubleshooting",
        here="/trouble",
        lead="Live checks of everything that commonly fails.",
        **await _data(context),
    )


ROUTES = (Route("GET", "/trouble", index, "admin", "page"),)
