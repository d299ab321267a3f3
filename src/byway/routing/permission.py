"""Which models a key may use, by the names and patterns that it was given. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from byway.display import listing
from byway.problems import Problem
from byway.routing.route import CLAUDE_PREFIX, TargetName, TargetRoute, without_suffix

#: Names of permitted models that an error shows.
_SHOWN: Final = 20


def is_permitted(patterns: Sequence[str], *names: str) -> bool:
    """Does one of `patterns` match one of `names`? A pattern also matches itself: `opus[1m]` is a name."""
    return any(pattern and (name == pattern or fnmatchcase(name, pattern)) for pattern in patterns for name in names)


def permitted_targets(patterns: Sequence[str], requested: str, route: TargetRoute) -> tuple[TargetName, ...]:
    """The targets of `route` that a key with these `patterns` may use.

    A pattern that matches the requested name or the alias permits every target. Another one permits the targets that it
    matches, as `model` or `backend/model`. Raises Problem `not_found` when no target is left.
    """
    # Every model has a second name with the prefix, so a pattern such as `claude-*` must not match that.
    names = () if requested.startswith(CLAUDE_PREFIX) else (requested, without_suffix(requested))
    if is_permitted(patterns, *names, *([route.alias] if route.alias else ())):
        return route.targets
    targets = tuple(
        target for target in route.targets if is_permitted(patterns, target.model, f"{target.backend}/{target.model}")
    )
    if not targets:
        raise not_permitted(patterns, requested)
    return targets


def not_permitted(patterns: Sequence[str], requested: str) -> Problem:
    """The Problem for a model that a key may not use. It names the models that the key may use, and no others."""
    permitted = listing(patterns, _SHOWN)
    return Problem(
        "not_found",
        f"model: this key may not use {requested[:200]}. It may use: {permitted}. Choose one of these, or use another key.",
    )
