"""Maps the model name of a request to the ordered targets that may answer it. Pure: what the backends serve is an argument."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from byway.problems import Problem

SLOTS: Final = ("haiku", "sonnet", "opus", "fable")
#: Claude Code's model discovery keeps only ids that contain "claude", so every other model is listed with this prefix.
CLAUDE_PREFIX: Final = "claude-byway-"
#: Characters of a model name. Every longer name is unknown.
_LONGEST_NAME: Final = 1000
_SHOWN_MODELS: Final = 20
#: Backends with an unknown list of models at which a name that no list contains is tried.
_TRIED_UNLISTED: Final = 3


class TargetName(Struct, frozen=True):
    """A model of a backend, by name."""

    backend: str
    model: str


class ServedModels(Struct, frozen=True):
    """The models that one backend serves. `models` None: its list is not known yet, so it may serve any model."""

    backend: str
    models: tuple[str, ...] | None
    weight: int = 1
    self_hosted: bool = True
    cloud_suffixes: tuple[str, ...] = ()
    """How the names of models end that a self-hosted server runs in a cloud."""
    failed: bool = False
    """The backend does not answer at the moment."""

    def runs_here(self, model: str) -> bool:
        """True when requests for `model` stay with a self-hosted server."""
        return self.self_hosted and not model.endswith(self.cloud_suffixes)


class TargetRoute(Struct, frozen=True):
    """The targets of a name in the order of trying, and the alias that named them ("" for a model's own name)."""

    targets: tuple[TargetName, ...]
    alias: str = ""


def family(name: str) -> str | None:
    """The slot of a Claude name: `claude-haiku-4-5-20251001`, `claude-opus-5-5[1m]`, `anthropic/claude-3-5-sonnet`, `sonnet`."""
    plain = without_suffix(name).lower()
    if plain in SLOTS:
        return plain
    if "claude" not in plain:
        return None
    return next((slot for slot in SLOTS if slot in plain), None)


def implied_aliases(served: Sequence[ServedModels]) -> dict[str, tuple[str, ...]]:
    """The aliases that apply when the config sets none: with exactly one model, it answers every name."""
    models = {model for entry in served for model in entry.models or ()}
    if len(models) != 1 or any(entry.models is None for entry in served):
        return {}
    model = models.pop()
    serving = [entry.backend for entry in served if entry.models]
    return {"default": (f"{serving[0]}/{model}" if len(serving) == 1 else model,)}


class RoutingTable:
    """The models of all backends and the aliases, indexed by name. A lookup does not depend on the number of models."""

    def __init__(self, served: Sequence[ServedModels], aliases: Mapping[str, Sequence[str]]) -> None:
        self._aliases = aliases
        self._globs = sorted((name for name in aliases if any(mark in name for mark in "*?[")), key=len, reverse=True)
        self._backends = {entry.backend: entry for entry in served}
        self._unlisted = sorted((entry for entry in served if entry.models is None), key=lambda entry: entry.failed)
        self._serving: dict[str, list[ServedModels]] = {}
        """The backends that serve a model, by model."""
        for entry in served:
            for model in dict.fromkeys(entry.models or ()):
                self._serving.setdefault(model, []).append(entry)

    def route(self, name: str, turn: int = 0) -> TargetRoute:
        """Return the targets for `name`. Lookup order: a model's own name, exact alias, pattern, family, `default`.

        `turn` rotates backends that serve the same model: the same number keeps a session at one of them. Raises Problem
        `not_found` that names the model, the known models, and the setting to add.
        """
        if len(name) > _LONGEST_NAME:
            raise Problem("not_found", f"The model name has {len(name):,} characters; the limit is {_LONGEST_NAME:,}.")
        names = list(dict.fromkeys((name, without_suffix(name))))
        for candidate in names:
            own = self._targets(candidate.removeprefix(CLAUDE_PREFIX), turn, listed_only=True)
            if own:
                return TargetRoute(tuple(own))
        for alias in self._matching_aliases(names):
            targets = dict.fromkeys(target for entry in self._aliases[alias] for target in self._targets(entry, turn))
            if targets:
                return TargetRoute(tuple(targets), alias)
        # No list contains the name, but a backend whose list is not known yet may serve it.
        if self._unlisted and not self._aliases:
            return TargetRoute(tuple(self._unlisted_targets(names[-1])))
        raise Problem("not_found", self._unknown(name))

    def targets_of(self, entry: str) -> list[TargetName]:
        """The targets of one entry of an alias: a model, or `backend/model`. Empty when no backend serves it."""
        return self._targets(entry, 0)

    def _matching_aliases(self, names: Sequence[str]) -> Iterator[str]:
        """The aliases that match one of `names`, best first: exact, longest pattern, family, default."""
        yield from (name for name in names if name in self._aliases)
        yield from (glob for glob in self._globs if any(fnmatchcase(name, glob) for name in names))
        slot = family(names[0])
        if slot is not None and slot in self._aliases:
            yield slot
        if "default" in self._aliases:
            yield "default"

    def _targets(self, entry: str, turn: int, *, listed_only: bool = False) -> list[TargetName]:
        """The targets of a model name or of `backend/model`."""
        serving = self._serving.get(entry)
        if serving:
            return [TargetName(served.backend, entry) for served in _rotated(_one_side(serving, entry), turn)]
        backend, slash, model = entry.partition("/")
        if slash and backend in self._backends:
            if model.endswith("]") and not any(served.backend == backend for served in self._serving.get(model, ())):
                # Claude Code's local suffix: `backend/model[1m]`.
                model = without_suffix(model) or model
            return [TargetName(backend, model)]
        if listed_only:
            return []
        return self._unlisted_targets(entry)

    def _unlisted_targets(self, model: str) -> list[TargetName]:
        """A model that no list contains, at a few backends whose list is unknown. Those that answer come first."""
        return [TargetName(entry.backend, model) for entry in _one_side(self._unlisted, model)[:_TRIED_UNLISTED]]

    def _unknown(self, name: str) -> str:
        """The message for a name without a target."""
        count = len(self._serving)
        known = ", ".join(heapq.nsmallest(_SHOWN_MODELS, self._serving)) or "none"
        if count > _SHOWN_MODELS:
            known += f" and {count - _SHOWN_MODELS} more"
        unlisted = ", ".join(entry.backend for entry in self._unlisted[:_SHOWN_MODELS])
        if len(self._unlisted) > _SHOWN_MODELS:
            unlisted += f" and {len(self._unlisted) - _SHOWN_MODELS} more"
        pending = f" Backends that have not listed their models yet: {unlisted}." if unlisted else ""
        alias = next(self._matching_aliases([name]), None)
        if alias is not None:
            return (
                f"model: {name} matches `model_aliases.{alias}`, but no backend serves its target "
                f"{', '.join(self._aliases[alias])}. Known models: {known}.{pending} "
                f"Change `model_aliases.{alias}`, or load that model."
            )
        example = min(self._serving, default="<model>")
        return (
            f"model: {name} is not known. Known models: {known}.{pending} "
            f"Use one of them, or add `model_aliases: {{{family(name) or 'default'}: {example}}}` to byway.yaml."
        )


def _one_side(serving: list[ServedModels], model: str) -> list[ServedModels]:
    """The self-hosted backends, or all when there is none.

    Self-hosted and cloud backends are not balanced with each other, and only an alias that names a cloud leads to it after
    a failure.
    """
    return [served for served in serving if served.runs_here(model)] or serving


def _rotated(serving: list[ServedModels], turn: int) -> list[ServedModels]:
    """`serving`, beginning with the backend whose turn it is by weight."""
    if len(serving) == 1:
        return serving
    turn %= sum(served.weight for served in serving)
    for at, served in enumerate(serving):
        turn -= served.weight
        if turn < 0:
            return serving[at:] + serving[:at]
    raise AssertionError("unreachable: turn is below the sum of the weights")


def without_suffix(name: str) -> str:
    """`name` without a last part in brackets, as in `claude-opus-5-5[1m]`."""
    if not name.endswith("]"):
        return name
    # The brackets begin after the previous closing one. A pattern would search from every "[": quadratic.
    start = name.find("[", name.rfind("]", 0, -1) + 1)
    return name if start < 0 else name[:start]
