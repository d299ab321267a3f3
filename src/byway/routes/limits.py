"""`/byway/limits`: the limits of the config and how much of them is used."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import limits
from byway.admin.config import ConfigChange
from byway.admin.limits import LimitInfo, NewLimit
from byway.routes.admin import change_config, if_match
from byway.routes.context import RequestContext
from byway.routes.operation import number, operation


class LimitList(Struct, frozen=True):
    """The limits with their use."""

    limits: tuple[LimitInfo, ...]
    warning: str = ""
    """About models that budgets count as free, because their price is unknown."""


async def show(context: RequestContext) -> LimitList:
    """List the limits and how much of them is used."""
    runtime = context.runtime
    return LimitList(
        tuple(limits.list_limits(runtime.limiter)), limits.unpriced_warning(limits.unpriced_targets(runtime))
    )


async def add(context: RequestContext, body: NewLimit) -> ConfigChange:
    """Add a limit."""
    edits = limits.add_limit(body)
    saved = await change_config(context, lambda current: edits, f"limit for {body.subject} added", if_match(context))
    return saved.change(context.gateway.started_config)


async def remove(context: RequestContext) -> ConfigChange:
    """Remove a limit by its place in the list `limits`, which counts from 0."""
    place = number(context.tail, "number")
    saved = await change_config(
        context,
        lambda current: limits.remove_limit(current, place),
        f"limit {place} removed",
        if_match(context),
    )
    return saved.change(context.gateway.started_config)


ROUTES = (
    operation("GET", "/byway/limits", show, response=LimitList),
    operation("POST", "/byway/limits", add, request=NewLimit, response=ConfigChange, if_match=True),
    operation("DELETE", "/byway/limits/{number}", remove, response=ConfigChange, if_match=True),
)
