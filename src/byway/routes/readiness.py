"""`/byway/models/probe`: tests whether a model is ready for Claude Code. The tests themselves are `admin.readiness`."""

from __future__ import annotations

from msgspec import Struct

from byway.admin.errors import invalid
from byway.admin.readiness import Readiness
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query


class ProbedModel(Struct, frozen=True, forbid_unknown_fields=True):
    """The model to test."""

    name: str
    """The name that a client would request, or `backend/model`. Its first target is tested."""


class ReadinessList(Struct, frozen=True):
    """The last result of each tested model."""

    models: tuple[Readiness, ...]


class ForgottenReadiness(Struct, frozen=True):
    """Whether there was a result."""

    forgotten: bool


async def start(context: RequestContext, body: ProbedModel) -> Readiness:
    """Start to test a model by real requests. The result is read with GET. A test that runs already continues."""
    if not body.name.strip():
        raise invalid("name", "is empty")
    return await context.gateway.readiness_tests.start(body.name.strip())


async def show(context: RequestContext) -> Readiness:
    """Return the test of a model that runs, else its last result, else the state `not tested`."""
    tests = context.gateway.readiness_tests
    target = await tests.target(_name(context))
    return tests.state(target)


async def forget(context: RequestContext) -> ForgottenReadiness:
    """Remove the result of a model."""
    tests = context.gateway.readiness_tests
    target = await tests.target(_name(context))
    return ForgottenReadiness(await tests.forget(target.backend, target.model))


async def show_all(context: RequestContext) -> ReadinessList:
    """List the tests that run, and the last result of each model."""
    return ReadinessList(tuple(context.gateway.readiness_tests.results()))


def _name(context: RequestContext) -> str:
    name = query(context).get("name", "").strip()
    if not name:
        raise invalid("name", "is missing")
    return name


_NAME = (Parameter("name", "The name that a client would request, or `backend/model`."),)
ROUTES = (
    operation("POST", "/byway/models/probe", start, request=ProbedModel, response=Readiness, status=202),
    operation("GET", "/byway/models/probe", show, response=Readiness, parameters=_NAME),
    operation("DELETE", "/byway/models/probe", forget, response=ForgottenReadiness, parameters=_NAME),
    operation("GET", "/byway/readiness", show_all, response=ReadinessList),
)
