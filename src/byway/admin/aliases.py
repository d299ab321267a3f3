"""Model aliases: the targets of each model name, and the one that answers for it now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from byway.admin.errors import invalid
from byway.config import Config
from byway.config.editing import Edit, Remove, Set
from byway.problems import Problem
from byway.routing import route as routing
from byway.runtime import Runtime
from byway.secrets.names import literal

if TYPE_CHECKING:
    # The start screen lists the aliases, and it edits none.
    from byway.admin.config import CurrentConfig

#: Aliases that Claude Code's own model names use, and the one for every other name.
SLOTS: Final = (*routing.SLOTS, "default")
#: The state of a target that its backend does not list.
NOT_SERVED: Final = "not served"
#: Targets, as (backend, model), that have answered a request lately.
Answered = Collection[tuple[str, str]]


class ResolvedTarget(Struct, frozen=True):
    """A target of a name, with its state."""

    backend: str
    model: str
    state: str
    """The state of its backend, or `not served` when the backend does not list the model."""
    message: str = ""

    @property
    def name(self) -> str:
        return f"{self.backend}/{self.model}"


class AliasInfo(Struct, frozen=True):
    """A name and the target that answers for it now."""

    name: str
    targets: tuple[str, ...]
    """As the config has them; empty when this alias is not set."""
    alias: str
    """The alias that applies instead, such as a pattern or `default`; empty when its own targets apply."""
    resolved: tuple[ResolvedTarget, ...]
    """The targets in the order in which they are tried."""
    state: str
    """The state of the first target, `not served` or `no backend` when no backend serves it, or `not set`."""
    unserved: tuple[str, ...] = ()
    """Its own targets that no backend serves."""


class NameResolution(Struct, frozen=True):
    """What a request for a model name would use."""

    name: str
    alias: str
    """The alias that applies; empty for a model's own name."""
    targets: tuple[ResolvedTarget, ...]
    """In the order in which they are tried."""


class TargetChoice(Struct, frozen=True):
    """A model that an alias can have as its target."""

    target: str
    """`backend/model`."""
    model: str
    window: int | None
    """Context window in tokens. Null: unknown."""


class TargetGroup(Struct, frozen=True):
    """The targets of one backend."""

    backend: str
    title: str
    state: str
    self_hosted: bool
    targets: tuple[TargetChoice, ...]


class TargetMatches(Struct, frozen=True):
    """The targets that match a search, by backend; ready backends first."""

    groups: tuple[TargetGroup, ...]
    total: int
    """How many match."""
    shown: int
    """How many of them `groups` has."""


def find_targets(runtime: Runtime, query: str, limit: int) -> TargetMatches:
    """The models of all backends whose backend, type and name contain every word of `query`; at most `limit` of them."""
    words = query.lower().split()[:10]
    groups, total, left = [], 0, limit
    for live in sorted(runtime.backends.values(), key=lambda live: live.state not in ("ready", "asleep")):
        if live.state == "off":
            continue
        prefix, suffix = f"{live.name.lower()}/", f" {live.vendor.title.lower()}"
        models = [
            model
            for model in live.models or ()
            if not words or all(word in f"{prefix}{model.lower()}{suffix}" for word in words)
        ]
        total += len(models)
        if not (shown := models[:left]):
            continue
        left -= len(shown)
        targets = tuple(TargetChoice(f"{live.name}/{model}", model, live.registry.get(model).window) for model in shown)
        groups.append(TargetGroup(live.name, live.vendor.title, live.state, live.self_hosted, targets))
    return TargetMatches(tuple(groups), total, limit - left)


def list_aliases(runtime: Runtime, answered: Answered = ()) -> list[AliasInfo]:
    """Claude Code's slots and `default`, then every other alias."""
    names = [*SLOTS, *(name for name in runtime.aliases if name not in SLOTS)]
    return [describe_alias(runtime, name, answered) for name in names]


def describe_alias(runtime: Runtime, name: str, answered: Answered = ()) -> AliasInfo:
    """An alias and the target that answers for it now."""
    targets = tuple(runtime.aliases.get(name, ()))
    unserved = unserved_targets(runtime, targets, answered)
    requested = f"claude-{name}" if name in routing.SLOTS else name
    try:
        route = runtime.resolve(requested)
    except Problem:
        return AliasInfo(name, targets, "", (), "no backend" if targets else "not set", unserved)
    resolved = _resolved(runtime, route, answered)
    other = route.alias if route.alias not in ("", name) else ""
    state = NOT_SERVED if targets and len(unserved) == len(targets) else resolved[0].state
    return AliasInfo(name, targets, other, resolved, state, unserved)


def resolve_name(runtime: Runtime, name: str, answered: Answered = ()) -> NameResolution:
    """The targets of a model name, as a request would find them. Raises Problem `not_found`."""
    route = runtime.resolve(name)
    return NameResolution(name, route.alias, _resolved(runtime, route, answered))


def target_state(runtime: Runtime, backend: str, model: str, answered: Answered = ()) -> str:
    """The state of the backend, or `not served` when its list does not contain `model` and the model has not answered."""
    live = runtime.backends[backend]
    if live.state in ("ready", "asleep") and not live.lists(model) and (backend, model) not in answered:
        return NOT_SERVED
    return live.state


def unserved_targets(runtime: Runtime, targets: Sequence[str], answered: Answered = ()) -> tuple[str, ...]:
    """Those of `targets` that no backend serves, by what is known now."""
    working = {f"{backend}/{model}" for backend, model in answered}
    return tuple(target for target in targets if not runtime.serves(target) and target not in working)


def target_warnings(runtime: Runtime, name: str, targets: Sequence[str]) -> list[str]:
    """What is wrong with the targets of an alias that is about to be set: a sentence for those that no backend serves."""
    unserved = unserved_targets(runtime, targets)
    if not unserved:
        return []
    if len(unserved) < len(targets):
        effect = "only the other targets can answer"
    elif name != "default" and "default" in runtime.aliases and not _is_pinned(runtime, targets):
        effect = "`default` answers instead"
    else:
        effect = f"requests for {name} fail with 404"
    return [f"no backend serves {', '.join(unserved)}, so {effect}."]


def _is_pinned(runtime: Runtime, targets: Sequence[str]) -> bool:
    """Does a target name its backend? Then that backend gets the request, whatever it lists."""
    return any("/" in target and target.partition("/")[0] in runtime.backends for target in targets)


def alias_edits(current: CurrentConfig, runtime: Runtime, name: str, targets: Sequence[str]) -> list[Edit]:
    """The edits that set an alias. The first alias also writes the implied `default`, which would end with it otherwise."""
    edits = [set_alias(name, targets)]
    implied = runtime.aliases.get("default")
    if not current.config.model_aliases and name != "default" and implied:
        edits.append(set_alias("default", implied))
    return edits


def set_alias(name: str, targets: Sequence[str]) -> Edit:
    """The edit that sets an alias. Raises Problem."""
    if not name.strip():
        raise invalid("name", "an alias needs a name")
    if not targets or not all(target.strip() for target in targets):
        raise invalid("targets", "give at least one model or backend/model; none may be empty")
    written = [literal(target) for target in targets]
    return Set(("model_aliases", name), written[0] if len(written) == 1 else written)


def remove_alias(current: CurrentConfig, name: str) -> Edit:
    """The edit that removes an alias. Raises Problem when the config does not set it."""
    aliases = current.config.model_aliases
    if name not in aliases:
        raise Problem("not_found", f"There is no alias {name}. Aliases: {', '.join(aliases) or 'none'}.")
    return Remove(("model_aliases", name))


def changed_aliases(config: Config, aliases: Mapping[str, Sequence[str]]) -> list[Edit]:
    """The edits that make the aliases of `config` those given; an empty list of targets removes an alias."""
    return [
        set_alias(name, targets) if targets else Remove(("model_aliases", name))
        for name, targets in aliases.items()
        if tuple(targets) != tuple(config.model_aliases.get(name, ()))
    ]


def all_slots(target: str) -> list[Edit]:
    """The edits of Quick Setup: one target for every name of Claude Code, and for every other name."""
    return [set_alias(slot, [target]) for slot in SLOTS]


def _resolved(runtime: Runtime, route: routing.TargetRoute, answered: Answered) -> tuple[ResolvedTarget, ...]:
    return tuple(
        ResolvedTarget(
            target.backend,
            target.model,
            target_state(runtime, target.backend, target.model, answered),
            runtime.scrubber.scrub(runtime.backends[target.backend].message),
        )
        for target in route.targets
    )
