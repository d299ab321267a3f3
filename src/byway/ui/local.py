"""The card Local models: the model files on this machine, and which of them run. Loading is in `loading`, downloads in
`downloads`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from byway import platform
from byway.admin import localmodels
from byway.admin.config import CurrentConfig, is_builtin_implied
from byway.admin.localmodels import LocalModel
from byway.backend import Backend
from byway.config.editing import Edit
from byway.display import BACKEND_STATES, machine_memory_text, size, window
from byway.local import supervisor
from byway.local.memory import MemoryFit, machine_memory
from byway.problems import Problem
from byway.routes.admin import read_current, run, who
from byway.routes.context import RequestContext, Route
from byway.routes.localmodels import running
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import Outcome, failure, read_form, save_edits, send_card


class RunningModel(NamedTuple):
    """A model that runs from a file."""

    name: str
    state: str
    word: str
    memory: int | None = None
    """Bytes that its process uses."""


class ModelFileRow(NamedTuple):
    """A model file. The built-in weights have no path."""

    name: str
    path: str
    size: int | None
    facts: str
    """Parameters and quantisation."""
    window: str
    origin: str
    problem: str
    runs: tuple[RunningModel, ...]
    ours: bool
    """It is in Byway's own folder, so Byway may delete it."""
    fit: MemoryFit | None
    """Whether it fits into memory."""


class ModelLibrary(NamedTuple):
    """The model files of this machine."""

    files: tuple[ModelFileRow, ...]
    missing: str
    """Why no model can run on this machine; empty when models can."""
    every: int
    """Seconds until the page loads the list again; 0 when nothing is loading."""
    implied: bool
    """The built-in model runs because the config names no backend, so it cannot be unloaded."""
    memory: str
    """The memory of this machine as a sentence."""


# ----------------------------------------------------------------------------------------------------------- the files


async def library(context: RequestContext) -> ModelLibrary:
    """List the model files of this machine, and which of them run."""
    services = context.gateway.services
    if services.gpus is None:
        services.gpus = asyncio.create_task(supervisor.list_gpus())
    own, config = running(context), context.runtime.config
    models = await run(lambda: localmodels.list_models(services.folder, config, own))
    runs = {live.name: await _run(live) for live in own}
    files = tuple(_file(model, runs) for model in models)
    moving = any(live.state in ("loading", "unknown") for live in own)
    memory = machine_memory()
    return ModelLibrary(
        files,
        localmodels.missing_engine(),
        2 if moving else 0,
        is_builtin_implied(config),
        machine_memory_text(memory.total, memory.free),
    )


async def _run(live: Backend) -> RunningModel:
    memory = await asyncio.to_thread(platform.resident_memory, live.pid) if live.pid is not None else None
    return RunningModel(live.name, *BACKEND_STATES[live.state], memory)


def _file(model: LocalModel, runs: Mapping[str, RunningModel]) -> ModelFileRow:
    problem = model.problem
    if problem and model.path:
        problem = f"It {problem}"
    elif not model.chat_template:
        problem = "It has no chat template: it completes text and cannot chat."
    return ModelFileRow(
        model.name,
        model.path,
        model.size,
        f"{model.parameters} {model.quantisation}".strip(),
        window(model.window) if model.window else "",
        localmodels.ORIGINS[model.origin],
        problem,
        tuple(runs[name] for name in model.backends),
        model.is_deletable,
        model.fit if not model.problem else None,
    )


async def _card(context: RequestContext, outcome: Outcome | None) -> CardView:
    context.runtime = context.gateway.runtime
    return card_view("local", "files", "files", outcome, shelf=await library(context))


async def files(context: RequestContext) -> None:
    """Send the list alone: the page loads it again while something changes."""
    await send_card(context, "local", "files", shelf=await library(context), outcome=None, card="")


async def unload(context: RequestContext) -> CardView:
    """End a model's process, and remove its settings and aliases. Its file stays."""
    name = (await read_form(context))["name"]
    live = context.runtime.backends.get(name)
    took = await asyncio.to_thread(platform.resident_memory, live.pid) if live is not None and live.pid else None
    try:
        current = await read_current(context)
    except Problem as problem:
        return await _card(context, failure(context, problem))
    at = current.backend_index(name)
    if at is None or not current.config.backends[at].managed:
        why = "It runs because the config names no backend. Load a model or add a backend to replace it."
        return await _card(
            context,
            Outcome(
                "warn", f"{name} cannot be unloaded.", why if current.is_builtin_implied else "It is no longer loaded."
            ),
        )
    changes: list[Edit] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        changes[:] = localmodels.unload_model(current, name)[1]
        return changes

    outcome = await save_edits(context, edits, f"model {name} unloaded", "", f"{name} unloaded")
    if outcome.kind == "good":
        hints = [outcome.hint, "The file stays."]
        if took:
            hints.append(f"{size(took)} of memory freed.")
        if len(changes) > 1:
            hints.append(f"It was removed from the aliases {', '.join(str(change.path[1]) for change in changes[1:])}.")
        outcome = outcome._replace(hint=" ".join(filter(None, hints)))
    return await _card(context, outcome)


async def delete(context: RequestContext) -> CardView:
    """Delete a model file of Byway's own folder."""
    path = (await read_form(context))["path"]
    services, own, config, author = context.gateway.services, running(context), context.runtime.config, who(context)
    try:
        model = await run(lambda: localmodels.delete_file(services.folder, config, own, services.store, path, author))
    except Problem as problem:
        return await _card(context, failure(context, problem))
    return await _card(context, Outcome("good", f"{model.name} deleted.", f"{size(model.size)} of disk space freed."))


async def add(context: RequestContext) -> CardView:
    """Add a model file or a folder to the config."""
    fields = await read_form(context)
    path = await run(lambda: platform.expand_user(fields["path"]))
    if not path.is_absolute():
        return await _card(
            context, Outcome("bad", "The path must be absolute, such as /data/models or ~/models/qwen3.gguf.")
        )
    folder = context.gateway.services.folder
    outcome = await save_edits(
        context,
        lambda current: localmodels.add_path(folder, current, path)[1],
        f"{path.name} added",
        "",
        f"{path.name} added",
    )
    return await _card(context, outcome)


ROUTES = (Route("GET", "/models/files", files, "admin", "page"),)
CARDS = (
    CardRoute("POST", "/models/unload", unload),
    CardRoute("POST", "/models/delete", delete),
    CardRoute("POST", "/models/paths", add),
)
