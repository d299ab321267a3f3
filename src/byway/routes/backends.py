"""`/byway/backends` and `/byway/models`: the upstreams and what they serve."""

from __future__ import annotations

from msgspec import Struct, structs

from byway.admin import backends
from byway.admin.backends import BackendInfo, BackendRemoval, BackendTest, BackendUpdate, ModelInfo, NewBackend
from byway.admin.config import ConfigChange, CurrentConfig
from byway.config.editing import Edit
from byway.routes.admin import change_config, if_match, read_current, run
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class BackendList(Struct, frozen=True):
    """All backends."""

    backends: tuple[BackendInfo, ...]


class BackendType(Struct, frozen=True):
    """A type of backend that can be added."""

    name: str
    title: str
    url: str
    """The usual address; empty when it has to be given."""
    cloud: bool
    secret: str
    """The variable of its API key; empty for a self-hosted server."""
    group: str
    """`cloud`, `inference`, `gateway` or `local`."""
    signup: str
    """Where its API keys are created; for a server, how it is installed."""


class BackendTypes(Struct, frozen=True):
    """The types of backends."""

    types: tuple[BackendType, ...]


class ModelList(Struct, frozen=True):
    """The models of all backends."""

    models: tuple[ModelInfo, ...]


class AddedBackend(Struct, frozen=True):
    """A backend that was added."""

    name: str
    config: ConfigChange


class RemovedBackend(Struct, frozen=True):
    """A backend that was removed."""

    name: str
    aliases: tuple[str, ...]
    """Aliases that used it and were changed."""
    config: ConfigChange


async def show(context: RequestContext) -> BackendList:
    """List the backends with their states and models."""
    return BackendList(tuple(await backends.list_backends(context.runtime)))


async def types(context: RequestContext) -> BackendTypes:
    """List the types of backends that can be added."""
    return BackendTypes(
        tuple(
            BackendType(kind.name, kind.title, kind.url, kind.cloud, kind.secret, kind.group, kind.signup)
            for kind in backends.KINDS.values()
        )
    )


async def models(context: RequestContext) -> ModelList:
    """List the models of all backends."""
    return ModelList(
        tuple(model for backend in context.runtime.backends.values() for model in backends.models(backend))
    )


async def add(context: RequestContext, body: NewBackend) -> AddedBackend:
    """Add a backend."""
    name, _ = backends.add_backend(await read_current(context), body)
    named = structs.replace(body, name=name)
    saved = await change_config(
        context, lambda current: backends.add_backend(current, named)[1], f"backend {name} added", if_match(context)
    )
    return AddedBackend(name, saved.change(context.gateway.started_config))


async def describe(context: RequestContext) -> BackendInfo:
    """Return one backend with its state and models."""
    return await backends.describe_backend(context.runtime, context.tail)


async def update(context: RequestContext, body: BackendUpdate) -> ConfigChange:
    """Change the type, protocol, address, API key or models of a backend. Absent fields stay as they are."""
    name = context.tail
    saved = await change_config(
        context, lambda current: backends.update_backend(current, name, body), f"backend {name}", if_match(context)
    )
    return saved.change(context.gateway.started_config)


async def remove(context: RequestContext) -> RemovedBackend:
    """Remove a backend, and the aliases that have no other target."""
    name = context.tail
    removed: list[BackendRemoval] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        removed[:] = [backends.remove_backend(current, name)]
        return removed[0].edits

    saved = await change_config(context, edits, f"backend {name} removed", if_match(context))
    return RemovedBackend(name, removed[0].aliases, saved.change(context.gateway.started_config))


async def check(context: RequestContext) -> BackendInfo:
    """Check now whether a backend answers."""
    return await backends.check_backend(context.runtime, context.tail)


class ModelToLoad(Struct, frozen=True, forbid_unknown_fields=True):
    """The model to load."""

    model: str


async def load(context: RequestContext, body: ModelToLoad) -> BackendInfo:
    """Load a model in the server of a backend (LM Studio), and return when it is loaded."""
    return await backends.load_model(context.runtime, context.tail, body.model.strip())


async def check_all(context: RequestContext) -> BackendList:
    """Check now whether all backends answer."""
    return BackendList(tuple(await backends.check_backends(context.runtime)))


async def test(context: RequestContext, body: NewBackend) -> BackendTest:
    """Try a backend without saving it: request its list of models."""
    file = context.gateway.services.config_file
    value = backends.backend_value(context.runtime.config, body)
    settings = await run(lambda: backends.new_settings(file, value))
    return await backends.try_backend(settings, context.runtime.config.timeouts, context.runtime.scrubber)


ROUTES = (
    operation("GET", "/byway/backends", show, response=BackendList),
    operation("POST", "/byway/backends", add, request=NewBackend, response=AddedBackend, status=201, if_match=True),
    operation("GET", "/byway/backends/{name}", describe, response=BackendInfo),
    operation("PATCH", "/byway/backends/{name}", update, request=BackendUpdate, response=ConfigChange, if_match=True),
    operation("DELETE", "/byway/backends/{name}", remove, response=RemovedBackend, if_match=True),
    operation("POST", "/byway/backends/{name}/check", check, response=BackendInfo),
    operation("POST", "/byway/backends/{name}/load", load, request=ModelToLoad, response=BackendInfo),
    operation("POST", "/byway/backend-checks", check_all, response=BackendList),
    operation("POST", "/byway/backend-tests", test, request=NewBackend, response=BackendTest),
    operation("GET", "/byway/backend-types", types, response=BackendTypes),
    operation("GET", "/byway/models", models, response=ModelList),
)
