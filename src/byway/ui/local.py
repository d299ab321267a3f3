"""The card Local models: the files on this machine, and which of them run. How one is loaded is `loading`'s, what comes from
the net `downloads`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from byway import platform
from byway.admin import localmodels
from byway.admin.config import CurrentConfig, is_builtin_implied
from byway.admin.localmodels import LocalModel
from byway.config.editing import Edit
from byway.display import size, window
from byway.local import supervisor
from byway.problems import Problem
from byway.routes.admin import read_current, run, who
from byway.routes.context import RequestContext, Route
from byway.routes.localmodels import running
from byway.ui.backends import answer
from byway.ui.claude import STATES
from byway.ui.page import Said, changed, failed, form, part


class Run(NamedTuple):
    """A model that runs from a file."""

    name: str
    state: str
    word: str


class File(NamedTuple):
    """A model's file. The built-in weights have no path."""

    name: str
    path: str
    size: int | None
    facts: str
    """Parameters and quantisation."""
    window: str
    origin: str
    problem: str
    runs: tuple[Run, ...]
    ours: bool
    """It lies in Byway's own folder, so that Byway may delete it."""


class Shelf(NamedTuple):
    """The files of this machine."""

    files: tuple[File, ...]
    missing: str
    """Why no model can run here at all."""
    every: int
    """Seconds to the next look; 0 when nothing is on its way."""
    implied: bool
    """The built-in model runs because the config names no backend, so that there is nothing to take out."""


# ----------------------------------------------------------------------------------------------------------- the files


async def shelved(context: RequestContext) -> Shelf:
    """The files of this machine, and which of them run."""
    services = context.gateway.services
    if services.gpus is None:
        services.gpus = asyncio.create_task(supervisor.list_gpus())
    own, config = running(context), context.runtime.config
    found = await run(lambda: localmodels.list_models(services.folder, config, own))
    states = {live.name: live.state for live in own}
    files = tuple(_file(model, states) for model in found)
    moving = any(state in ("loading", "unknown") for state in states.values())
    return Shelf(files, localmodels.missing_engine(), 2 if moving else 0, is_builtin_implied(config))


def _file(model: LocalModel, states: Mapping[str, str]) -> File:
    problem = model.problem
    if problem and model.path:
        problem = f"It {problem}"
    elif not model.chat_template:
        problem = "It has no chat template: made to complete text, not to answer."
    return File(
        model.name,
        model.path,
        model.size,
        f"{model.parameters} {model.quantisation}".strip(),
        window(model.window) if model.window else "",
        localmodels.ORIGINS[model.origin],
        problem,
        tuple(Run(name, *STATES[states[name]]) for name in model.backends),
        model.is_deletable,
    )


async def _card(context: RequestContext, said: Said | None) -> None:
    context.runtime = context.gateway.runtime
    await answer(context, "local", "files", "files", said, shelf=await shelved(context))


async def files(context: RequestContext) -> None:
    """The table alone, for a page that looks again."""
    await part(context, "local", "files", shelf=await shelved(context), said=None, card="")


async def unload(context: RequestContext) -> None:
    """End a model's process, and forget its settings and aliases. Its file stays."""
    name = (await form(context))["name"]
    live = context.runtime.backends.get(name)
    took = await asyncio.to_thread(platform.resident_memory, live.pid) if live is not None and live.pid else None
    try:
        current = await read_current(context)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    at = current.backend_index(name)
    if at is None or not current.config.backends[at].managed:
        why = "It runs because the config names no backend: load or add one that is to answer instead."
        await _card(
            context,
            Said("warn", f"{name} cannot be unloaded.", why if current.is_builtin_implied else "It is there no more."),
        )
        return
    changes: list[Edit] = []

    def edits(current: CurrentConfig) -> list[Edit]:
        changes[:] = localmodels.unload_model(current, name)[1]
        return changes

    said = await changed(context, edits, f"model {name} unloaded", "", f"{name} is unloaded")
    if said.kind == "good":
        hints = [said.hint, "Its file stays."]
        if took:
            hints.append(f"Its {size(took)} of memory are given back.")
        if len(changes) > 1:
            hints.append(f"Aliases that led to it: {', '.join(str(change.path[1]) for change in changes[1:])}.")
        said = said._replace(hint=" ".join(filter(None, hints)))
    await _card(context, said)


async def delete(context: RequestContext) -> None:
    """Delete a file of Byway's own folder."""
    path = (await form(context))["path"]
    services, own, config, author = context.gateway.services, running(context), context.runtime.config, who(context)
    try:
        model = await run(lambda: localmodels.delete_file(services.folder, config, own, services.store, path, author))
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    await _card(context, Said("good", f"{model.name} is deleted.", f"{size(model.size)} of the disk are free again."))


async def add(context: RequestContext) -> None:
    """Remember a file or folder that lies elsewhere."""
    fields = await form(context)
    path = await run(lambda: platform.expand_user(fields["path"]))
    if not path.is_absolute():
        await _card(context, Said("bad", "Type a whole path, such as /data/models or ~/models/qwen3.gguf."))
        return
    folder = context.gateway.services.folder
    said = await changed(
        context,
        lambda current: localmodels.add_path(folder, current, path)[1],
        f"{path.name} added",
        "",
        f"{path.name} is added",
    )
    await _card(context, said)


ROUTES = (
    Route("GET", "/models/files", files, "admin", "page"),
    Route("POST", "/models/unload", unload, "admin", "page"),
    Route("POST", "/models/delete", delete, "admin", "page"),
    Route("POST", "/models/paths", add, "admin", "page"),
)
