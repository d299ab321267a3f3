"""What is checked when something does not work: each row live, green or red, with what to do."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec

from byway.admin.aliases import SLOTS
from byway.admin.verify import verify
from byway.config import static_changes
from byway.messages import request as messages
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routing import route as routing
from byway.ui.claude import standing
from byway.ui.page import part, show, wants_part


class Check(NamedTuple):
    """A row: `state` is good, warn, bad or none; `fix` says what to do, `where` leads there."""

    state: str
    word: str
    title: str
    found: str
    fix: str = ""
    where: str = ""


#: A tool of Anthropic's servers has no `input_schema`; older gateways answer 422 to it.
_TOOLS = {
    "model": "m",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
}


async def checks(context: RequestContext) -> list[Check]:
    """All of them, those that ask somebody at once."""
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
    title = "The config file is good"
    problem = context.gateway.config_problem
    if problem:
        return Check(
            "bad",
            "not good",
            title,
            problem,
            "Correct the lines named here; the last good config stays in force.",
            "/api#history",
        )
    restart = static_changes(context.gateway.started_config, context.runtime.config)
    if restart:
        return Check(
            "warn",
            "restart",
            title,
            f"Changed, and not in force yet: {', '.join(restart)}.",
            "Restart Byway.",
            "/api#server",
        )
    warnings = context.runtime.config.warnings
    if warnings:
        return Check(
            "warn",
            "warnings",
            title,
            " ".join(f"{one.path or 'The file'}: {one.message}." for one in warnings[:4]),
            "`byway config check` shows them with their lines.",
        )
    return Check("good", "good", title, str(context.gateway.services.config_file.path))


def _reached(context: RequestContext) -> Check:
    title = "Clients reach this Byway"
    recent = context.gateway.requests
    if not recent.count:
        return Check(
            "none",
            "nobody yet",
            title,
            "No request has come since it started.",
            "Start Claude Code in a shell that has the variables of the Endpoint card; a shell that was open before does not.",
            "/#endpoint",
        )
    last = recent.newest(1)[0]
    if last.error:
        return Check(
            "warn",
            "an error",
            title,
            f"The last of {recent.count:,} requests failed: {last.error}",
            "Look at it.",
            f"/requests/{last.number}",
        )
    return Check(
        "good", "yes", title, f"{recent.count:,} requests since it started; the last one was answered.", "", "/requests"
    )


async def _answers(context: RequestContext) -> Check:
    title = "A model answers"
    services = context.gateway.services
    base = f"unix:{services.socket}" if services.socket else f"{services.base}/anthropic"
    verdict = await verify(base, "")
    if verdict.good:
        return Check("good", "Connected", title, f"{verdict.model} at {verdict.backend}, in {verdict.ms:,.0f} ms.")
    if verdict.layer == "credential":
        return Check(
            "none",
            "needs a key",
            title,
            "Keys are asked for, and this page has none.",
            "Verify with yours on the first page.",
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
    """Claude Code's own names, those of its small calls first: they fail quietly."""
    runtime = context.runtime
    found = []
    for name, title in (
        ("claude-haiku-4-5-20251001", "Small calls (titles, page summaries, searches) have a model"),
        ("claude-opus-5-5", "Main turns have a model"),
    ):
        try:
            route = runtime.resolve(name)
        except Problem as problem:
            slot = routing.family(name)
            found.append(
                Check(
                    "bad",
                    "404",
                    title,
                    problem.message,
                    f"Set the {slot} slot or the default slot under Model Aliases.",
                    "/#aliases",
                )
            )
            continue
        place = route.targets[0]
        state, word = standing(runtime, place.backend)
        fix = "" if state == "good" else "Start that server, load that model, or choose another one."
        found.append(
            Check(
                state,
                word,
                title,
                f"{name} leads to {place.backend}/{place.model}.",
                fix,
                "" if state == "good" else "/models",
            )
        )
    missing = [slot for slot in SLOTS if slot not in runtime.aliases]
    if len(missing) == len(SLOTS):
        found.append(
            Check(
                "warn",
                "not set",
                "Aliases are set",
                "None of the slots is.",
                "Quick Setup sets all of them.",
                "/#quick",
            )
        )
    return found


def _backends(context: RequestContext) -> list[Check]:
    found = []
    for live in context.runtime.backends.values():
        state, word = standing(context.runtime, live.name)
        models = live.models or ()
        said = live.message or (
            f"It serves {', '.join(models[:4])}{' and more' if len(models) > 4 else ''}."
            if models
            else "It serves no model."
        )
        fix = {
            "failed": "Start that server, or correct its address and key.",
            "off": "Give it what it needs, or take it out of the config.",
        }.get(live.state, "")
        if live.state == "ready" and not models:
            state, word, fix = "warn", "no model", "Load a model there."
        found.append(
            Check(state, word, f"Backend {live.name} ({live.vendor.title})", said, fix, "/models" if fix else "")
        )
    return found


def _search(context: RequestContext) -> Check:
    title = "Web search"
    settings = context.runtime.config.web_search
    if not settings.enabled and not settings.missing:
        return Check(
            "none",
            "off",
            title,
            "WebSearch of Claude Code gets a 400 that says so.",
            "Switch it on, with a provider.",
            "/#search",
        )
    if not context.runtime.searcher.ready:
        lacking = ", ".join(settings.missing) or "a provider"
        return Check(
            "bad",
            "not ready",
            title,
            f"Missing: {lacking}.",
            "Store its key under Secrets, or name a provider.",
            "/secrets",
        )
    names = ", then ".join(one.provider for one in settings.providers)
    return Check(
        "good",
        "on",
        title,
        f"Asked: {names}.",
        "No results? Test it: most often it is HTTP 429 of a free plan. In the log: `web_search loop round complete`.",
        "/#search",
    )


def _tools() -> Check:
    title = "Tools of Anthropic's servers are understood"
    try:
        messages.parse(msgspec.json.encode(_TOOLS), {}, "msg_check")
    except Problem as problem:
        return Check("bad", "refused", title, problem.message, "This is a bug: please report it.")
    return Check(
        "good",
        "yes",
        title,
        "`web_search_20250305` comes without an `input_schema`; other gateways answer 422 to that.",
    )


def _keys(context: RequestContext) -> Check:
    title = "Keys"
    keys = context.runtime.config.api_keys
    if keys.mode == "permissive" and (keys.api_keys or context.runtime.stored):
        return Check(
            "warn",
            "not asked for",
            title,
            "There are keys, but api_keys.mode is permissive.",
            "Take `mode` out of the config.",
            "/api#keys",
        )
    if context.runtime.keyring.blocking:
        return Check(
            "good",
            "asked for",
            title,
            "A client without a valid key gets a 401.",
            "`Authentication failed`: create one, and set it there.",
            "/api#keys",
        )
    return Check(
        "good", "not asked for", title, "Programs on this machine need none; any text will do, but not an empty one."
    )


async def _data(context: RequestContext) -> dict[str, Any]:
    found = await checks(context)
    return {"checks": found, "bad": sum(one.state == "bad" for one in found)}


async def index(context: RequestContext) -> None:
    """The page."""
    if wants_part(context):
        await part(context, "trouble", "all", **await _data(context))
        return
    await show(
        context,
        "trouble",
        "Troubleshooting",
        here="/trouble",
        lead="Everything that usually goes wrong, looked at just now.",
        **await _data(context),
    )


ROUTES = (Route("GET", "/trouble", index, "admin", "page"),)
