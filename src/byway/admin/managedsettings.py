"""The settings that Claude Code gets when it is signed in: models, window and prices, by what Byway knows now.

Only settings that the client applies without asking the person. The default model has a row of its own in the picker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from byway.access.keys import Caller
from byway.admin.exports import ASSUMED_WINDOW, MAIN_MODEL, SMALL_MODEL, SMALLEST_SESSION, client_window, qualified
from byway.backend import Backend
from byway.prices.price import NANO, Price
from byway.problems import Problem
from byway.routing.permission import is_permitted
from byway.routing.route import CLAUDE_PREFIX, TargetName
from byway.runtime import Runtime
from byway.signin.settings import merged, read_settings

#: Models in the picker.
MOST_MODELS: Final = 100


class OfferedModel(NamedTuple):
    """A model that a session can use."""

    name: str
    """By which only this model answers."""
    target: TargetName
    title: str
    window: int | None


def client_settings(runtime: Runtime, caller: Caller, web_search: Mapping[str, Any]) -> dict[str, Any]:
    """The whole document for a caller: what Byway knows, its web search, and what the config has for this caller."""
    return merged((managed_settings(runtime, caller.models), web_search, *_pushed(runtime, caller)))


def _pushed(runtime: Runtime, caller: Caller) -> Iterator[Mapping[str, Any]]:
    """The settings of the config for a caller, in their order."""
    names = {"everyone": "", "account": caller.account, "group": caller.group}
    for entry in runtime.config.sign_in.settings:
        if entry.subject == "everyone" or (entry.name and entry.name == names[entry.subject]):
            if entry.json:
                yield read_settings(entry.json)
            if entry.env:
                yield {"env": entry.env}


def managed_settings(runtime: Runtime, permitted: Sequence[str] = ()) -> dict[str, Any]:
    """The settings for a caller. `permitted`: names and patterns of its models; empty for every model.

    Nothing is queried, so that a client can start while the backends are not ready. Empty settings leave the client's own.
    """
    offered = list(offered_models(runtime, permitted))
    main, has_claude_names = _main_model(runtime, offered)
    if main is None or runtime.backends[main.target.backend].protocol.NATIVE:
        return {}
    environment = {
        "ANTHROPIC_DEFAULT_MODEL": main.name,
        "ANTHROPIC_SMALL_FAST_MODEL": SMALL_MODEL if has_claude_names else main.name,
    }
    windows = [model.window for model in (main, *offered) if model.window is not None]
    if windows and min(windows) < ASSUMED_WINDOW:
        # The client has one window for all models.
        context, output = client_window(min(windows))
        environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(context)
        environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(output)
    settings: dict[str, Any] = {"env": environment, "skipWebFetchPreflight": True}
    if offered:
        options = [_option(model, runtime.backends[model.target.backend]) for model in offered]
        settings["modelPicker"] = {"options": options, "replaceBuiltInOptions": True}
    if prices := _prices(runtime, [main, *offered]):
        settings["modelPricing"] = {"overrides": prices}
    return settings


def offered_models(runtime: Runtime, permitted: Sequence[str] = ()) -> Iterator[OfferedModel]:
    """The models that backends serve, without those whose window cannot hold a session."""
    count = 0
    for backend in runtime.backends.values():
        if backend.state == "off":
            continue
        for model in backend.models or ():
            target = TargetName(backend.name, model)
            if permitted and not is_permitted(permitted, model, f"{backend.name}/{model}"):
                continue
            offered = _offered(runtime, qualified(runtime, target), target)
            if _is_too_small(offered):
                continue
            yield offered
            count += 1
            if count == MOST_MODELS:
                return


def too_small_models(runtime: Runtime) -> list[OfferedModel]:
    """The models that are left out because their window cannot hold a session."""
    models = (
        _offered(runtime, model, TargetName(backend.name, model))
        for backend in runtime.backends.values()
        if backend.state != "off"
        for model in backend.models or ()
    )
    return list(islice(filter(_is_too_small, models), MOST_MODELS))


def _is_too_small(model: OfferedModel) -> bool:
    return model.window is not None and model.window < SMALLEST_SESSION


def _offered(runtime: Runtime, name: str, target: TargetName) -> OfferedModel:
    facts = runtime.backends[target.backend].registry.get(target.model)
    return OfferedModel(name, target, target.model, facts.window)


def _main_model(runtime: Runtime, offered: Sequence[OfferedModel]) -> tuple[OfferedModel | None, bool]:
    """The model of Claude Code's main turns, and whether the client's own model names have a target."""
    try:
        route = runtime.resolve(MAIN_MODEL)
    except Problem:
        return (offered[0] if offered else None), False
    # An alias with several targets keeps their order only when it is requested by its own name.
    target = route.targets[0]
    name = f"{CLAUDE_PREFIX}{route.alias}" if len(route.targets) > 1 else qualified(runtime, target)
    return _offered(runtime, name, target), True


def _option(model: OfferedModel, backend: Backend) -> dict[str, str]:
    window = "" if model.window is None else f", {model.window // 1024:,}k window"
    return {"model": model.name, "label": model.title, "description": f"{backend.vendor.title}{window}"}


def _prices(runtime: Runtime, models: Sequence[OfferedModel]) -> dict[str, dict[str, float]]:
    """US dollars for a million tokens of the models whose price is known."""
    prices: dict[str, dict[str, float]] = {}
    for model in models:
        price = runtime.prices.find(model.target.backend, model.target.model).price
        if price is not None:
            prices[model.name] = _rates(price)
    return prices


def _rates(price: Price) -> dict[str, float]:
    rates = price.rates
    return {
        "input": _dollars(rates.input),
        "output": _dollars(rates.output),
        "cacheRead": _dollars(rates.cached),
        "cacheWrite": _dollars(rates.cache_write),
    }


def _dollars(nano: int) -> float:
    """As JavaScript writes it, because the client hashes the document: no fraction where it is a whole number."""
    dollars = round(nano / NANO, 4)
    return int(dollars) if dollars == int(dollars) else dollars
