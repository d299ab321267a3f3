"""`/byway/aliases`: the targets of each model name."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from byway.admin import aliases
from byway.admin.aliases import AliasInfo, NameResolution, TargetMatches
from byway.admin.config import ConfigChange
from byway.admin.errors import invalid
from byway.routes.admin import change_config, if_match
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, number, operation, query

#: Targets of one answer.
_MOST_TARGETS: Final = 500


class AliasList(Struct, frozen=True):
    """Claude Code's slots, `default`, and every other alias."""

    aliases: tuple[AliasInfo, ...]


class AliasTargets(Struct, forbid_unknown_fields=True):
    """The targets of an alias."""

    targets: list[str]
    """Models or `backend/model`, in the order in which they are tried."""


async def show(context: RequestContext) -> AliasList:
    """List the aliases and the targets that answer for them now."""
    return AliasList(tuple(aliases.list_aliases(context.runtime, context.gateway.requests.answered())))


async def change(context: RequestContext, body: AliasTargets) -> ConfigChange:
    """Set an alias."""
    name, runtime = context.tail, context.runtime
    saved = await change_config(
        context,
        lambda current: aliases.alias_edits(current, runtime, name, body.targets),
        f"alias {name} set",
        if_match(context),
    )
    return saved.change(context.gateway.started_config)


async def remove(context: RequestContext) -> ConfigChange:
    """Remove an alias. A pattern, the model family, or `default` applies to the name then."""
    name = context.tail
    saved = await change_config(
        context,
        lambda current: [aliases.remove_alias(current, name)],
        f"alias {name} removed",
        if_match(context),
    )
    return saved.change(context.gateway.started_config)


async def resolve(context: RequestContext) -> NameResolution:
    """Return the targets that a request for a model name would use."""
    name = query(context).get("name", "").strip()[:200]
    if not name:
        raise invalid("name", "give a model name: /byway/resolve?name=sonnet")
    return aliases.resolve_name(context.runtime, name, context.gateway.requests.answered())


async def targets(context: RequestContext) -> TargetMatches:
    """Search the targets that an alias can have."""
    parameters = query(context)
    limit = number(parameters.get("limit", "50"), "limit", _MOST_TARGETS, 1)
    return aliases.find_targets(context.runtime, parameters.get("q", "")[:200], limit)


ROUTES = (
    operation("GET", "/byway/aliases", show, response=AliasList),
    operation("PUT", "/byway/aliases/{name}", change, request=AliasTargets, response=ConfigChange, if_match=True),
    operation("DELETE", "/byway/aliases/{name}", remove, response=ConfigChange, if_match=True),
    operation(
        "GET",
        "/byway/resolve",
        resolve,
        response=NameResolution,
        parameters=(Parameter("name", "The model name that a client would send."),),
    ),
    operation(
        "GET",
        "/byway/targets",
        targets,
        response=TargetMatches,
        parameters=(
            Parameter("q", "Words that the backend, its type or the model contains."),
            Parameter("limit", f"At most so many targets: 50 by default, {_MOST_TARGETS} at most.", int),
        ),
    ),
)
