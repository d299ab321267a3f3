"""From the model name that a client asks for to the ordered targets that may answer. Pure: what backends serve is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from byway.problems import Problem

SLOTS: Final = ("haiku", "sonnet", "opus", "fable")
#: What Claude Code's model discovery keeps must have "claude" in its id, so every other model is offered with this in front.
CLAUDE_PREFIX: Final = "claude-byway-"
_SUFFIX: Final = re.compile(r"\[[^\]]*\]\Z")


class Place(Struct, frozen=True):
    """A model at a backend, by name."""

    backend: str
    model: str


class Served(Struct, frozen=True):
    """What one backend serves. `models` None: it has not said yet, so it may serve anything."""

    backend: str
    models: tuple[str, ...] | None
    weight: int = 1


class Route(Struct, frozen=True):
    """Where a name leads: places in the order of trying, and the alias that led there ("" when it is a model's own name)."""

    places: tuple[Place, ...]
    alias: str = ""


def family(name: str) -> str | None:
    """The slot of a Claude name: `claude-haiku-4-5-20251001`, `claude-opus-5-5[1m]`, `anthropic/claude-3-5-sonnet`, `sonnet`."""
    plain = _SUFFIX.sub("", name).lower()
    if plain in SLOTS:
        return plain
    if "claude" not in plain:
        return None
    return next((slot for slot in SLOTS if slot in plain), None)


def route(name: str, served: Sequence[Served], aliases: Mapping[str, Sequence[str]], turn: int = 0) -> Route:
    """Find the places for `name`: a model's own name, an exact alias, a glob, the family's slot, `default`.

    `turn` rotates backends that serve the same model: a number that stays the same keeps a session at one of them.
    Raises Problem `not_found` that names the model, the models there are, and the setting to add.
    """
    names = list(dict.fromkeys((name, _SUFFIX.sub("", name))))
    for asked in names:
        own = _model(asked.removeprefix(CLAUDE_PREFIX), served, turn, only_known=True)
        if own:
            return Route(tuple(own))
    for alias in _aliases(names, aliases):
        places = dict.fromkeys(place for entry in aliases[alias] for place in _model(entry, served, turn))
        if places:
            return Route(tuple(places), alias)
    # Nobody knows the name, but a backend that has not said what it serves may.
    maybe = [Place(one.backend, name) for one in served if one.models is None]
    if maybe and not aliases:
        return Route(tuple(maybe))
    raise Problem("not_found", _unknown(name, served, aliases))


def _aliases(names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """The aliases that fit a name (as asked, and without its suffix), best first: exact, longest glob, family, default."""
    yield from (name for name in names if name in aliases)
    globs = [key for key in aliases if any(mark in key for mark in "*?[")]
    fitting = [key for key in globs if any(fnmatchcase(name, key) for name in names)]
    yield from sorted(fitting, key=len, reverse=True)
    slot = family(names[0])
    if slot is not None and slot in aliases:
        yield slot
    if "default" in aliases:
        yield "default"


def _model(entry: str, served: Sequence[Served], turn: int, *, only_known: bool = False) -> list[Place]:
    """The places of a model name, or of a `backend/model` pin."""
    found = [Place(one.backend, entry) for one in served if one.models is not None and entry in one.models]
    if found:
        weights = {one.backend: one.weight for one in served}
        return _rotate(found, [weights[place.backend] for place in found], turn)
    backend, slash, model = entry.partition("/")
    if slash and any(one.backend == backend for one in served):
        return [Place(backend, model)]
    if only_known:
        return []
    return [Place(one.backend, entry) for one in served if one.models is None]


def _rotate(places: list[Place], weights: list[int], turn: int) -> list[Place]:
    """Put the place whose turn it is first; the others follow in order."""
    if len(places) == 1:
        return places
    slots = [at for at, weight in enumerate(weights) for _ in range(weight)]
    first = slots[turn % len(slots)]
    return places[first:] + places[:first]


def _unknown(name: str, served: Sequence[Served], aliases: Mapping[str, Sequence[str]]) -> str:
    models = sorted({model for one in served for model in one.models or ()})
    there = ", ".join(models[:20]) + (f" and {len(models) - 20} more" if len(models) > 20 else "") if models else "none"
    slot = family(name) or "default"
    example = models[0] if models else "<model>"
    silent = [one.backend for one in served if one.models is None]
    asleep = f" No answer yet from: {', '.join(silent)}." if silent else ""
    led = next(iter(_aliases([name], aliases)), None)
    if led is not None:
        return (
            f"model: {name} leads by `model_aliases.{led}` to {', '.join(aliases[led])}, which no backend serves. "
            f"Models there are: {there}.{asleep} Change `model_aliases.{led}`, or load that model."
        )
    return (
        f"model: {name} is not known. Models there are: {there}.{asleep} "
        f"Ask for one of them, or add `model_aliases: {{{slot}: {example}}}` to byway.yaml."
    )
