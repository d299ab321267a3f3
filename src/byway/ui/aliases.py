"""The card Model Aliases of the page Claude Code: its rows, the typed changes, and the search for targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from byway.admin import aliases
from byway.admin.aliases import AliasInfo, TargetGroup
from byway.display import BACKEND_STATES, clock, window
from byway.routes.context import RequestContext
from byway.ui.page import Form, Outcome, query_fields, send_card

#: Fields of a form: targets of an alias, and name and targets of new ones (`name`, `name:1`, ...).
_FIELD: Final = "alias:"
_USES: Final = {
    "haiku": "small calls: titles, page summaries, searches",
    "sonnet": "main model of many setups, subagents",
    "opus": "Claude Code's default main model",
    "fable": "largest model, on request",
    "default": "every other name",
}
#: Targets that the search shows.
_SHOWN: Final = 50


class AliasRow(NamedTuple):
    """A row of the table of aliases."""

    name: str
    use: str
    targets: str
    """As in the config, separated by commas."""
    current: str
    """The targets in effect, or `none`."""
    state: str
    word: str
    unserved: str = ""
    """Those of its targets that no backend serves, separated by commas."""
    used: str = ""
    """When a client used it last."""


class NewAlias(NamedTuple):
    """A row for an alias that is not saved yet."""

    suffix: str
    name: str
    targets: str


class FoundTarget(NamedTuple):
    """A target in the results of a search."""

    value: str
    model: str
    window: str


class FoundGroup(NamedTuple):
    """The targets of one backend."""

    backend: str
    about: str
    state: str
    word: str
    targets: tuple[FoundTarget, ...]


def alias_rows(context: RequestContext) -> list[AliasRow]:
    """The fixed aliases, then the others of the config: what is set, whether it works, and when it was used last."""
    recent = context.gateway.requests
    answered, used = recent.answered(), recent.alias_uses()
    return [
        _row(alias)._replace(used=clock(used[alias.name]) if alias.name in used else "")
        for alias in aliases.list_aliases(context.runtime, answered)
    ]


def _row(alias: AliasInfo) -> AliasRow:
    is_pattern = any(mark in alias.name for mark in "*?[")
    use = _USES.get(alias.name, "a pattern" if is_pattern else "exact name")
    targets, unserved = ", ".join(alias.targets), ", ".join(alias.unserved)
    if not alias.resolved:
        state, word = ("bad", "no backend serves it") if targets else ("none", "not set")
        return AliasRow(alias.name, use, targets, "none", state, word, unserved)
    state, word = BACKEND_STATES[alias.state]
    shown = " then ".join(target.name for target in alias.resolved)
    if not targets and alias.alias:
        return AliasRow(alias.name, use, "", shown, state, f"by {alias.alias}" if state == "good" else word)
    if alias.state == aliases.NOT_SERVED and alias.alias:
        state, word = "warn", f"not served, so {alias.alias} answers"
    elif alias.unserved and state == "good":
        state, word = "warn", f"{unserved} not served"
    return AliasRow(alias.name, use, targets, shown, state, word, unserved)


def typed_aliases(fields: Form) -> dict[str, tuple[str, ...]]:
    """The targets of each alias of a submitted table. Without targets an alias is removed, and a new one is ignored."""
    typed = {field.removeprefix(_FIELD): _targets(value) for field, value in fields.items() if field.startswith(_FIELD)}
    for row in _new_rows(fields):
        if row.name and row.targets:
            typed[row.name] = _targets(row.targets)
    return typed


def _new_rows(fields: Form) -> list[NewAlias]:
    return [
        NewAlias(field.removeprefix("name"), value, fields[f"targets{field.removeprefix('name')}"])
        for field, value in fields.items()
        if field == "name" or field.startswith("name:")
    ]


def typed_rows(context: RequestContext, fields: Form, outcome: Outcome) -> Mapping[str, object]:
    """The table with the typed values, so that a failed save loses nothing. Conflicting rows have the other user's value."""
    theirs = {str(conflict["path"]).removeprefix("model_aliases.") for conflict in outcome.conflicts}
    table = [
        row if row.name in theirs else row._replace(targets=fields.get(f"{_FIELD}{row.name}", row.targets))
        for row in alias_rows(context)
    ]
    return {"rows": table, "new_rows": _new_rows(fields) or [NewAlias("", "", "")]}


def _targets(text: str) -> tuple[str, ...]:
    return tuple(target for part in text.split(",") if (target := part.strip()))


def removed_text(context: RequestContext, name: str) -> str:
    """What a request for a removed alias uses from now on."""
    alias = aliases.describe_alias(context.runtime, name, context.gateway.requests.answered())
    if alias.alias:
        return f"Requests for it use `{alias.alias}` now."
    if alias.resolved:
        return f"Requests for it use {alias.resolved[0].name} now."
    return "Requests for it fail with 404 now."


async def find(context: RequestContext) -> None:
    """Send the targets that match what was typed, by backend."""
    matches = aliases.find_targets(context.runtime, query_fields(context)["q"][:200], _SHOWN)
    groups = tuple(map(_group, matches.groups))
    await send_card(context, "aliases", "targets", groups=groups, more=matches.total - matches.shown)


def _group(group: TargetGroup) -> FoundGroup:
    state, word = BACKEND_STATES[group.state]
    return FoundGroup(
        group.backend,
        f"{group.title}, {'local' if group.self_hosted else 'cloud'}",
        state,
        word,
        tuple(
            FoundTarget(choice.target, choice.model, f"{window(choice.window)} window" if choice.window else "")
            for choice in group.targets
        ),
    )
