"""`/byway/local-models`: model files on this machine, and the models that Byway runs itself."""

from __future__ import annotations

from msgspec import Struct

from byway import platform
from byway.admin import localmodels
from byway.admin.config import ConfigChange, CurrentConfig
from byway.admin.errors import invalid
from byway.admin.localmodels import LoadOptions, LoadPlan, LocalModel
from byway.backend import Backend
from byway.config.editing import Edit
from byway.routes.admin import change_config, if_match, run, who
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class LocalModels(Struct, frozen=True):
    """The model files on this machine."""

    models: tuple[LocalModel, ...]
    free_memory: int | None
    """Bytes of memory that are free."""
    problem: str
    """Why no model can run on this machine; empty when models can."""


class LoadedModel(Struct, frozen=True):
    """A model that Byway runs from now on. It is loading: see `/byway/backends/{name}` for its state."""

    backend: str
    model: str
    """The name that clients use."""
    path: str
    config: ConfigChange


class ModelName(Struct, forbid_unknown_fields=True):
    """A model that Byway runs."""

    model: str
    """The backend's name, or the model's."""


class UnloadedBackend(Struct, frozen=True):
    """A model that Byway does not run any more. Its file is kept."""

    backend: str
    aliases: tuple[str, ...]
    """Aliases that used it and were changed."""
    config: ConfigChange


class ModelPath(Struct, forbid_unknown_fields=True):
    """A file or a folder of this machine."""

    path: str


class AddedPath(Struct, frozen=True):
    """The models at a path that was added."""

    models: tuple[str, ...]
    config: ConfigChange


def running(context: RequestContext) -> list[Backend]:
    """The backends whose models Byway runs."""
    return [backend for backend in context.runtime.backends.values() if backend.vendor.managed]


async def show(context: RequestContext) -> LocalModels:
    """List the model files on this machine, and the backends that run them."""
    folder, backends, config = context.gateway.services.folder, running(context), context.runtime.config
    models = await run(lambda: localmodels.list_models(folder, config, backends))
    return LocalModels(tuple(models), platform.available_memory(), localmodels.missing_engine())


async def load(context: RequestContext, body: LoadOptions) -> LoadedModel:
    """Load a model, or load it again with other options. Returns before it has loaded."""
    folder = context.gateway.services.folder
    plans: list[LoadPlan] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        plans[:] = [localmodels.load_model(folder, current, body)]
        return plans[0].edits

    saved = await change_config(context, edits, f"model {body.name or body.model} loaded", if_match(context))
    plan = plans[0]
    return LoadedModel(plan.backend, plan.model, plan.path, saved.change(context.gateway.started_config))


async def unload(context: RequestContext, body: ModelName) -> UnloadedBackend:
    """Stop a model that Byway runs, and remove its settings and the aliases that have no other target."""
    unloaded: list[tuple[str, list[Edit]]] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        unloaded[:] = [localmodels.unload_model(current, body.model)]
        return unloaded[0][1]

    saved = await change_config(context, edits, f"model {body.model} unloaded", if_match(context))
    name, changes = unloaded[0]
    aliases = tuple(str(change.path[1]) for change in changes[1:])
    return UnloadedBackend(name, aliases, saved.change(context.gateway.started_config))


async def add(context: RequestContext, body: ModelPath) -> AddedPath:
    """Add a model file, or a folder of them. Nothing is copied."""
    folder = context.gateway.services.folder
    path = await run(lambda: platform.expand_user(body.path))
    if not path.is_absolute():
        raise invalid("path", "give an absolute path, such as /data/models or ~/models/qwen3.gguf")
    names: list[str] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        names[:], changes = localmodels.add_path(folder, current, path)
        return changes

    saved = await change_config(context, edits, f"{path.name} added", if_match(context))
    return AddedPath(tuple(names), saved.change(context.gateway.started_config))


async def delete(context: RequestContext, body: ModelPath) -> LocalModel:
    """Delete a model file of Byway's own folder. A model that runs is unloaded first, by a request of its own."""
    services, backends, config, author = (
        context.gateway.services,
        running(context),
        context.runtime.config,
        who(context),
    )
    return await run(
        lambda: localmodels.delete_file(services.folder, config, backends, services.store, body.path, author)
    )


ROUTES = (
    operation("GET", "/byway/local-models", show, response=LocalModels),
    operation("POST", "/byway/local-models/load", load, request=LoadOptions, response=LoadedModel, if_match=True),
    operation("POST", "/byway/local-models/unload", unload, request=ModelName, response=UnloadedBackend, if_match=True),
    operation("POST", "/byway/local-models/paths", add, request=ModelPath, response=AddedPath, if_match=True),
    operation("POST", "/byway/local-models/delete", delete, request=ModelPath, response=LocalModel),
)
