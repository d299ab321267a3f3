"""`GET /v1/models` and `/v1/models/{id}`: the models, in a form that clients of Anthropic and of OpenAI can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from byway.backends.protocol import ModelFacts
from byway.problems import Problem
from byway.routes.context import RequestContext, api
from byway.routes.listing import list_page, page_limit
from byway.routing.permission import is_permitted, permitted_targets
from byway.routing.route import CLAUDE_PREFIX
from byway.runtime import Runtime

#: Both forms require a date of creation; no backend reports one.
_CREATED: Final = 1735689600
_CREATED_AT: Final = "2025-01-01T00:00:00Z"
_PAGE_LIMIT: Final = 1000


def listing(runtime: Runtime, permitted: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every model under its own name and under a name that Claude Code's discovery keeps, then the aliases.

    `permitted`: names and patterns of the models that the caller may use; empty for every model.

    Discovery keeps ids with "claude" or "anthropic" anywhere in them (measured, 2.1.329).
    """
    entries: dict[str, dict[str, Any]] = {}
    for backend in runtime.backends.values():
        for model in backend.models or ():
            if permitted and not is_permitted(permitted, model, f"{backend.name}/{model}"):
                continue
            facts = backend.registry.get(model)
            title = f"{model} ({backend.vendor.title})"
            names = [model]
            if not any(word in model.lower() for word in ("claude", "anthropic")):
                names.append(CLAUDE_PREFIX + model)
            for name in names:
                entries.setdefault(name, _entry(name, title, backend.name, facts))
    for alias, targets in runtime.aliases.items():
        if not any(mark in alias for mark in "*?[") and alias != "default":
            name = f"claude-{alias}" if alias in ("haiku", "sonnet", "opus", "fable") else alias
            if permitted and not is_permitted(permitted, name, alias, *targets):
                continue
            entries.setdefault(name, _entry(name, f"{alias} -> {', '.join(targets)}", "byway", ModelFacts()))
    return list(entries.values())


def _entry(name: str, title: str, owner: str, facts: ModelFacts) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": name,
        "type": "model",
        "display_name": title,
        "created_at": _CREATED_AT,
        "lifecycle": "active",
        "object": "model",
        "created": _CREATED,
        "owned_by": owner,
        "max_input_tokens": facts.window,
        "max_tokens": facts.max_output,
        "capabilities": None,
    }
    # Claude Code's picker shows its first 100 characters.
    window = "" if facts.window is None else f", {facts.window:,} tokens of context"
    entry["description"] = facts.description or f"{title}{window}"
    return entry


async def index(context: RequestContext) -> None:
    """Return a page of the list by `limit` (1 to 1000), `after_id` and `before_id`, as the official API does."""
    await context.runtime.refresh(2.0)
    query = parse_qs(context.scope["query_string"].decode("latin-1"))
    models = listing(context.runtime, context.caller.models)
    limit = page_limit(query, _PAGE_LIMIT, _PAGE_LIMIT)
    ids = [model["id"] for model in models]
    page, more = models, False
    if after := query.get("after_id"):
        page = models[_position(ids, after[0], "after_id") + 1 :]
    if before := query.get("before_id"):
        ahead = models[: _position(ids, before[0], "before_id")]
        page, more = ahead[-limit:], len(ahead) > limit
    else:
        page, more = page[:limit], len(page) > limit
    body = list_page(page, [model["id"] for model in page], has_more=more)
    await context.answer(msgspec.json.encode({"object": "list", **body}))


def _position(ids: list[str], id: str, name: str) -> int:
    if id not in ids:
        raise Problem("invalid_request", f"{name}: no such model: {id[:200]}")
    return ids.index(id)


async def show(context: RequestContext) -> None:
    """Return one model. An id may contain slashes."""
    await context.runtime.refresh(2.0)
    name = unquote(context.tail)
    for model in listing(context.runtime, context.caller.models):
        if model["id"] == name:
            await context.answer(msgspec.json.encode(model))
            return
    try:
        route = await context.runtime.route(name, probe=True)
    except Problem:
        raise Problem("not_found", f"model: {name[:200]} is not known. GET /v1/models lists the models.") from None
    # A name that the list lacks and that a request may have: of another Claude model, for example.
    permitted = context.caller.models
    target = (permitted_targets(permitted, name, route) if permitted else route.targets)[0]
    facts = context.runtime.backends[target.backend].registry.get(target.model)
    entry = _entry(name, f"{name} -> {target.backend}/{target.model}", "byway", facts)
    await context.answer(msgspec.json.encode(entry))


ROUTES = (*api("GET", "/v1/models", index, "read"), *api("GET", "/v1/models/*", show, "read"))
