"""The card Local models: the files on this machine, and which of them run. How one is loaded is `loading`'s, what comes from
the net `downloads`'s."""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform
from byway.backend import Backend
from byway.config.editing import Append
from byway.config.settings import BUILTIN, BUILTIN_MODEL
from byway.display import size, window
from byway.local import edits, gguf, library, supervisor
from byway.local.downloads import remove_empty_folders
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routes.settings import who, work
from byway.secrets.names import literal
from byway.ui.backends import answer, file
from byway.ui.claude import STATES
from byway.ui.page import Said, changed, failed, form, part

ORIGINS: Final = {
    "byway": "Byway's folder",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "huggingface": "Hugging Face cache",
    "added": "named in the config",
}


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
    if context.gateway.services.gpus is None:
        context.gateway.services.gpus = asyncio.create_task(supervisor.list_gpus())
    folder = context.gateway.services.folder
    own = [live for live in context.runtime.backends.values() if live.vendor.managed]
    paths = (*context.runtime.config.local_models.paths, *(live.settings.path for live in own if live.settings.path))
    files, missing = await work(lambda: _files(folder, paths, own))
    moving = any(live.state in ("loading", "unknown") for live in own)
    return Shelf(files, missing, 2 if moving else 0, context.runtime.config.backends == (BUILTIN,))


def _files(folder: Path, paths: tuple[str, ...], own: list[Backend]) -> tuple[tuple[File, ...], str]:
    missing, weights = "", ""
    bytes_ = None
    try:
        supervisor.require_engine()
        bytes_ = supervisor.builtin_weights().stat().st_size
    except (supervisor.NotInstalled, OSError) as error:
        weights = str(error)
        missing = weights if "engine" in weights else ""
    small = File(
        BUILTIN_MODEL,
        "",
        bytes_,
        "135M Q4_1",
        window(supervisor.BUILTIN_WINDOW),
        "comes with Byway",
        weights,
        _runs(own, ""),
        ours=False,
    )
    found = [_file(one, own) for one in library.find_models(folder, os.environ, paths=paths)]
    return (small, *(one for one in found if one is not None)), missing


def _runs(own: list[Backend], path: str) -> tuple[Run, ...]:
    return tuple(Run(live.name, *STATES[live.state]) for live in own if (live.settings.path or "") == path)


def _file(one: library.ModelFile, own: list[Backend]) -> File | None:
    """A file as the table shows it; None for what goes with a model and is none."""
    path = str(one.path)
    origin = ORIGINS[one.origin]
    runs = _runs(own, path)
    try:
        facts = one.path.stat()
        model = _described(path, facts.st_size, facts.st_mtime_ns)
    except (gguf.InvalidFile, OSError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        return File(
            one.name, path, one.size, "", "", origin, f"It {problem}" if problem else "", runs, one.origin == "byway"
        )
    if not model.loadable:
        return None
    return File(
        one.name,
        path,
        one.size,
        f"{model.size} {model.quantisation}".strip(),
        window(model.window) if model.window else "",
        origin,
        "" if model.template else "It has no chat template: made to complete text, not to answer.",
        runs,
        one.origin == "byway",
    )


@lru_cache(256)
def _described(path: str, size: int, changed_ns: int) -> gguf.ModelHeader:
    """A header's facts, read once for a file of this size and time; raises gguf.Broken or OSError."""
    return library.read_model_header(Path(path))


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
        paper = await file(context)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    at = paper.at(name)
    if at is None or not paper.config.backends[at].managed:
        why = "It runs because the config names no backend: load or add one that is to answer instead."
        await _card(
            context, Said("warn", f"{name} cannot be unloaded.", why if paper.fresh else "It is there no more.")
        )
        return
    changes = edits.unload_edits(paper.config, at)
    said = await changed(context, changes, f"model {name} unloaded", paper.etag, f"{name} is unloaded")
    if said.kind == "good":
        hints = [said.hint, "Its file stays."]
        if took:
            hints.append(f"Its {size(took)} of memory are given back.")
        if len(changes) > 1:
            hints.append(f"Aliases that led to it: {', '.join(str(one.path[1]) for one in changes[1:])}.")
        said = said._replace(hint=" ".join(filter(None, hints)))
    await _card(context, said)


async def delete(context: RequestContext) -> None:
    """Delete a file of Byway's own folder."""
    path = (await form(context))["path"]
    shown = await shelved(context)
    found = next((one for one in shown.files if one.path == path and one.ours), None)
    if found is None:
        await _card(
            context, Said("bad", "That is no file of Byway's own folder.", "Others are deleted where they belong.")
        )
        return
    if found.runs:
        await _card(context, Said("bad", f"{found.runs[0].name} runs from this file.", "Unload it first."))
        return
    folder, store = context.gateway.services.folder / "models", context.gateway.services.store

    def gone() -> None:
        for one in library.part_files(Path(path)):
            one.unlink(missing_ok=True)
        remove_empty_folders(Path(path).parent, folder)
        store.add_audit_entry(who(context), "model file deleted", found.name)

    try:
        await work(gone)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    await _card(
        context, Said("good", f"{found.name} is deleted.", f"{size(found.size or 0)} of the disk are free again.")
    )


async def add(context: RequestContext) -> None:
    """Remember a file or folder that lies elsewhere."""
    fields = await form(context)
    path = await work(lambda: platform.expand_user(fields["path"]))
    if not path.is_absolute():
        await _card(context, Said("bad", "Type a whole path, such as /data/models or ~/models/qwen3.gguf."))
        return
    known = context.runtime.config.local_models.paths
    found = await work(lambda: library.find_models(path, {}, home=path, paths=[str(path)]) if path.exists() else [])
    if not found:
        hint = "No file in it ends in .gguf." if await work(path.exists) else "There is no such file or folder."
        await _card(context, Said("bad", f"There is no model at {path}.", hint))
        return
    change = Append(("local_models", "paths"), literal(str(path)))
    said = await changed(
        context, [] if str(path) in known else [change], f"{path.name} added", "", f"{path.name} is added"
    )
    await _card(context, said)


ROUTES = (
    Route("GET", "/models/files", files, "admin", "page"),
    Route("POST", "/models/unload", unload, "admin", "page"),
    Route("POST", "/models/delete", delete, "admin", "page"),
    Route("POST", "/models/paths", add, "admin", "page"),
)
