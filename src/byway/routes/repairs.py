"""`/byway/repairs`: what Byway has learned from refusals of backends."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import repairs
from byway.admin.errors import invalid
from byway.admin.repairs import RepairInfo
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query


class RepairList(Struct, frozen=True):
    """The repairs of all models."""

    repairs: tuple[RepairInfo, ...]


class ForgottenRepairs(Struct, frozen=True):
    """How many repairs were forgotten."""

    forgotten: int


async def show(context: RequestContext) -> RepairList:
    """List the repairs that Byway has learned from refusals."""
    return RepairList(tuple(repairs.list_repairs(context.runtime.learned)))


async def forget(context: RequestContext) -> ForgottenRepairs:
    """Forget the repairs of a backend, or of one model of it. Byway tries its calls without them again."""
    fields = query(context)
    backend = fields.get("backend", "")
    if not backend:
        raise invalid("backend", "is missing")
    return ForgottenRepairs(repairs.forget_repairs(context.runtime.learned, backend, fields.get("model", "")))


_TARGET = (
    Parameter("backend", "The name of the backend."),
    Parameter("model", "The name of the model at that backend; all models when it is absent."),
)
ROUTES = (
    operation("GET", "/byway/repairs", show, response=RepairList),
    operation("DELETE", "/byway/repairs", forget, response=ForgottenRepairs, parameters=_TARGET),
)
