"""The card Local models: files on this machine and from the net, and running them. All of it is edits of the config, but for
downloads and the removal of files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from byway import platform
from byway.config.editing import Append, Edit, Remove, Set
from byway.config.settings import BUILTIN, MODEL, RUN
from byway.endpoints import Ask, Routes
from byway.endpoints.settings import who, work
from byway.local import builtin, edits, gguf, shelf
from byway.local.downloads import Job, prune
from byway.problems import Problem
from byway.runtime import Live
from byway.ui import Form, Said, changed, failed, form, part, query, size, wants_part
from byway.ui.backends import answer, file, text, tokens
from byway.ui.claude import STATES

ORIGINS: Final = {
    "byway": "Byway's folder",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "huggingface": "Hugging Face cache",
    "added": "named in the config",
}
_OPTIONS: Final = tuple(one for one in RUN if one != "path")


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


class Loader(NamedTuple):
    """The form to load a model, or what became of it."""

    name: str
    path: str = ""
    """Empty: the built-in weights."""
    facts: str = ""
    trained: str = ""
    values: Mapping[str, str] = MappingProxyType({})
    alias: str = ""
    loaded: bool = False
    """It is in the config, and its options are edited."""
    gpus: tuple[str, ...] = ()
    implied: bool = False
    keep: bool = False
    spare: int | None = None
    size: int | None = None
    said: Said | None = None
    run: Run | None = None
    """It was loaded: how it is doing, instead of the form."""
    before: tuple[int | None, int | None] = (None, None)
    """Memory before: the machine's free one, and its own."""
    after: tuple[int | None, int | None] = (None, None)
    etag: str = ""

    @property
    def tight(self) -> bool:
        """Is the file alone larger than what is free?"""
        return not self.loaded and bool(self.size and self.spare and self.size > self.spare)


class Jobs(NamedTuple):
    """The downloads, and the free space that they have."""

    jobs: tuple[Job, ...]
    running: int
    spare: int | None
    ended: bool = False
    """One has ended since the page looked last."""
    begun: bool = False
    """One was begun just now: the field is empty again."""


# ----------------------------------------------------------------------------------------------------------- the files


async def shelved(ask: Ask) -> Shelf:
    """The files of this machine, and which of them run."""
    if ask.app.at_desk.gpus is None:
        ask.app.at_desk.gpus = asyncio.create_task(builtin.devices())
    folder = ask.app.at_desk.folder
    own = [live for live in ask.runtime.backends.values() if live.settings.type == "builtin"]
    paths = (*ask.runtime.config.local_models.paths, *(live.settings.path for live in own if live.settings.path))
    files, missing = await work(lambda: _files(folder, paths, own))
    moving = any(live.state in ("loading", "unknown") for live in own)
    return Shelf(files, missing, 2 if moving else 0, ask.runtime.config.backends == (BUILTIN,))


def _files(folder: Path, paths: tuple[str, ...], own: list[Live]) -> tuple[tuple[File, ...], str]:
    missing, weights = "", ""
    bytes_ = None
    try:
        builtin.engine()
        bytes_ = builtin.weights().stat().st_size
    except (builtin.Missing, OSError) as error:
        weights = str(error)
        missing = weights if "engine" in weights else ""
    small = File(
        MODEL, "", bytes_, "135M Q4_1", tokens(builtin.WINDOW), "comes with Byway", weights, _runs(own, ""), ours=False
    )
    found = [_file(one, own) for one in shelf.find(folder, os.environ, paths=paths)]
    return (small, *(one for one in found if one is not None)), missing


def _runs(own: list[Live], path: str) -> tuple[Run, ...]:
    return tuple(Run(live.name, *STATES[live.state]) for live in own if (live.settings.path or "") == path)


def _file(one: shelf.Found, own: list[Live]) -> File | None:
    """A file as the table shows it; None for what goes with a model and is none."""
    path = str(one.path)
    origin = ORIGINS[one.origin]
    runs = _runs(own, path)
    try:
        facts = one.path.stat()
        model = _described(path, facts.st_size, facts.st_mtime_ns)
    except (gguf.Broken, OSError) as error:
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
        tokens(model.window) if model.window else "",
        origin,
        "" if model.template else "It has no chat template: made to complete text, not to answer.",
        runs,
        one.origin == "byway",
    )


@lru_cache(256)
def _described(path: str, size: int, changed_ns: int) -> gguf.Model:
    """A header's facts, read once for a file of this size and time; raises gguf.Broken or OSError."""
    return shelf.describe(Path(path))


async def _card(ask: Ask, said: Said | None) -> None:
    ask.runtime = ask.app.runtime
    await answer(ask, "local", "files", "files", said, shelf=await shelved(ask))


async def files(ask: Ask) -> None:
    """The table alone, for a page that looks again."""
    await part(ask, "local", "files", shelf=await shelved(ask), said=None, card="")


async def unload(ask: Ask) -> None:
    """End a model's process, and forget its settings and aliases. Its file stays."""
    name = (await form(ask))["name"]
    live = ask.runtime.backends.get(name)
    took = await asyncio.to_thread(platform.resident, live.pid) if live is not None and live.pid else None
    try:
        paper = await file(ask)
    except Problem as problem:
        await _card(ask, failed(ask, problem))
        return
    at = paper.at(name)
    if at is None or paper.config.backends[at].type != "builtin":
        why = "It runs because the config names no backend: load or add one that is to answer instead."
        await _card(ask, Said("warn", f"{name} cannot be unloaded.", why if paper.fresh else "It is there no more."))
        return
    changes = edits.unload(paper.config, at)
    said = await changed(ask, changes, f"model {name} unloaded", paper.etag, f"{name} is unloaded")
    if said.kind == "good":
        hints = [said.hint, "Its file stays."]
        if took:
            hints.append(f"Its {size(took)} of memory are given back.")
        if len(changes) > 1:
            hints.append(f"Aliases that led to it: {', '.join(str(one.path[1]) for one in changes[1:])}.")
        said = said._replace(hint=" ".join(filter(None, hints)))
    await _card(ask, said)


async def delete(ask: Ask) -> None:
    """Delete a file of Byway's own folder."""
    path = (await form(ask))["path"]
    shown = await shelved(ask)
    found = next((one for one in shown.files if one.path == path and one.ours), None)
    if found is None:
        await _card(ask, Said("bad", "That is no file of Byway's own folder.", "Others are deleted where they belong."))
        return
    if found.runs:
        await _card(ask, Said("bad", f"{found.runs[0].name} runs from this file.", "Unload it first."))
        return
    folder, store = ask.app.at_desk.folder / "models", ask.app.at_desk.store

    def gone() -> None:
        for one in shelf.parts(Path(path)):
            one.unlink(missing_ok=True)
        prune(Path(path).parent, folder)
        store.note(who(ask), "model file deleted", found.name)

    try:
        await work(gone)
    except Problem as problem:
        await _card(ask, failed(ask, problem))
        return
    await _card(ask, Said("good", f"{found.name} is deleted.", f"{size(found.size or 0)} of the disk are free again."))


async def add(ask: Ask) -> None:
    """Remember a file or folder that lies elsewhere."""
    fields = await form(ask)
    path = await work(lambda: Path(fields["path"]).expanduser())
    if not path.is_absolute():
        await _card(ask, Said("bad", "Type a whole path, such as /data/models or ~/models/qwen3.gguf."))
        return
    known = ask.runtime.config.local_models.paths
    found = await work(lambda: shelf.find(path, {}, home=path, paths=[str(path)]) if path.exists() else [])
    if not found:
        hint = "No file in it ends in .gguf." if await work(path.exists) else "There is no such file or folder."
        await _card(ask, Said("bad", f"There is no model at {path}.", hint))
        return
    change = Append(("local_models", "paths"), edits.literal(str(path)))
    said = await changed(ask, [] if str(path) in known else [change], f"{path.name} added", "", f"{path.name} is added")
    await _card(ask, said)


# -------------------------------------------------------------------------------------------------------------- loading


async def loader(ask: Ask, path: str, name: str) -> Loader | None:
    """The form for a file, or for a model that is in the config already; None when neither is known."""
    if not path and not name:
        return None
    try:
        return await _loader(ask, path, name)
    except Problem as problem:
        return Loader(name or Path(path).name, path, said=failed(ask, problem))


async def _loader(ask: Ask, path: str, name: str) -> Loader | None:
    paper = await file(ask)
    at = next((at for at, one in enumerate(paper.config.backends) if one.name == name), None) if name else None
    values: Mapping[str, str] = MappingProxyType({})
    if name and at is None:
        return None
    if at is not None:
        settings = paper.config.backends[at]
        if settings.type != "builtin":
            return None
        path = settings.path or ""
        written = paper.written[at] if not paper.fresh and isinstance(paper.written[at], dict) else {}
        values = {option: text(written.get(option)) for option in _OPTIONS}
    elif path == "builtin":
        path = ""
    shown = await shelved(ask)
    found = next((one for one in shown.files if one.path == path), None)
    if found is None and at is None:
        return None
    gpus = ask.app.at_desk.gpus
    return Loader(
        name if at is not None else edits.plain(found.name if found else path),
        path,
        found.facts if found else "",
        found.window if found else "",
        values,
        "",
        at is not None,
        await gpus if gpus is not None else (),
        paper.fresh and at is None,
        spare=platform.spare(),
        size=found.size if found else None,
        etag=paper.etag,
    )


async def choose(ask: Ask) -> None:
    """The form for one model."""
    asked = query(ask)
    view = await loader(ask, asked["file"], asked["name"])
    await answer(ask, "local", "loader", "", None, loader=view)


async def load(ask: Ask) -> None:
    """Load a model, or change the options of one."""
    fields = await form(ask)
    view = await loader(ask, fields["file"], fields["old"])
    if view is None or (view.said is not None and not view.etag):
        gone = Said("bad", "That model is there no more.", "Look again: its file may have been moved.")
        said = view.said if view is not None and view.said else gone
        await answer(ask, "local", "loader", "", said, loader=Loader(fields["name"] or "A model", said=said))
        return
    name = view.name if view.loaded else fields["name"] or view.name
    live = ask.runtime.backends.get(name)
    before = platform.spare(), await _memory(live)
    try:
        changes = await _changes(ask, view, fields, name)
        base = fields["etag"] if view.loaded else ""
        what = f"model {name} {'changed' if view.loaded else 'loaded'}"
        said = await changed(ask, changes, what, base, f"{name} is saved")
    except (ValueError, edits.Taken) as error:
        said = Said("bad", str(error))
    except Problem as problem:
        said = failed(ask, problem)
    if said.kind == "good":
        ask.runtime = ask.app.runtime
        await _follow(ask, name, fields["alias"], before, "begun")
        return
    typed = {option: fields[option] for option in _OPTIONS}
    view = view._replace(name=name, values=typed, alias=fields["alias"], keep=fields["keep"] == "on", said=said)
    await answer(ask, "local", "loader", "load", said, loader=view)


async def _changes(ask: Ask, view: Loader, fields: Form, name: str) -> list[Edit]:
    """What loading it changes in the config. Raises ValueError, edits.Taken or Problem."""
    options = {
        "window": _number(fields, "window", "The context size", 128),
        "threads": _number(fields, "threads", "Threads", 1),
        "gpu_layers": _number(fields, "gpu_layers", "GPU layers", 0),
        "idle_unload": fields["idle_unload"] or None,
    }
    alias = fields["alias"]
    paper = await file(ask)
    if view.loaded:
        at = paper.at(name)
        changes: list[Edit] = []
        if at is None:
            chosen = {option: value for option, value in options.items() if value is not None}
            changes.append(Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type, **chosen}))
        else:
            changes += [
                _option(at, option, value) for option, value in options.items() if fields[option] != view.values[option]
            ]
        if alias:
            served = next(one for one in paper.config.backends if one.name == name).names[0]
            changes.append(Set(("model_aliases", alias), f"{name}/{served}"))
        return changes
    if any(one.name == name for one in paper.config.backends) and not paper.fresh:
        raise ValueError(f"There is a backend called {name} already. Choose another name.")
    if view.path:
        builtin_beside = [Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type})]
        _, made = edits.load(paper.config, view.path, options, name=name, alias=alias, fresh=paper.fresh)
        return [made[0], *(builtin_beside if paper.fresh and fields["keep"] == "on" else []), *made[1:]]
    value: dict[str, Any] = {"name": name, "type": BUILTIN.type}
    value |= {key: one for key, one in options.items() if one is not None}
    if name != MODEL:
        value["models"] = [name]
    return [Append(("backends",), value), *([Set(("model_aliases", alias), f"{name}/{name}")] if alias else [])]


def _option(at: int, name: str, value: int | str | None) -> Edit:
    path = ("backends", at, name)
    return Remove(path) if value is None else Set(path, value)


def _number(fields: Form, name: str, word: str, low: int) -> int | None:
    typed = fields[name].replace(",", "").replace("_", "")
    if not typed:
        return None
    if not typed.isascii() or not typed.isdigit() or len(typed) > 9 or int(typed) < low:
        raise ValueError(f"{word}: a whole number of at least {low}.")
    return int(typed)


async def _memory(live: Live | None) -> int | None:
    """What its process takes; 0 while it has none."""
    if live is None or live.pid is None:
        return 0
    return await asyncio.to_thread(platform.resident, live.pid)


async def loaded(ask: Ask) -> None:
    """How a model is doing that was just loaded."""
    asked = query(ask)
    numbers = [
        int(one) if one.isascii() and one.isdigit() and len(one) < 16 else None
        for one in (asked["spare"], asked["memory"])
    ]
    await _follow(ask, asked["name"], asked["alias"], (numbers[0], numbers[1]))


async def _follow(ask: Ask, name: str, alias: str, before: tuple[int | None, int | None], card: str = "loaded") -> None:
    live = ask.runtime.backends.get(name)
    said: Said | None = None
    run = None
    if live is None:
        said = Said("warn", f"{name} is there no more.")
    elif live.state == "ready":
        served = (live.models or (name,))[0]
        window = live.facts[served].window if served in live.facts else None
        wide = f" with a window of {window:,} tokens" if window else ""
        said = Said("good", f"{name} is loaded{wide}.", f"Ask for `{served}`{f' or `{alias}`' if alias else ''}.")
    elif live.state in ("failed", "off"):
        message = ask.runtime.scrubber.scrub(live.message)
        said = Said(
            "bad", message or f"{name} could not be loaded.", "Byway tries it again by itself; Unload ends that."
        )
    elif live.state == "asleep":
        said = Said("good", f"{name} is asleep.", "The next request loads it.")
    else:
        run = Run(name, *STATES[live.state])
    after = platform.spare(), await _memory(live)
    view = Loader(name, said=said, run=run, before=before, after=after, alias=alias)
    await answer(ask, "local", "loader", card, said, loader=view)


# ------------------------------------------------------------------------------------------------------------ downloads


def jobs(ask: Ask, before: int = 0) -> Jobs:
    """The downloads; `before`: so many ran when the page looked last."""
    downloads = ask.app.at_desk.downloads
    return Jobs(tuple(downloads.jobs), downloads.running, downloads.room(), downloads.running < before)


async def progress(ask: Ask) -> None:
    """The downloads alone, for a page that looks again."""
    running = query(ask)["running"]
    before = int(running) if running.isascii() and running.isdigit() and len(running) < 4 else 0
    await part(ask, "local", "downloads", jobs=jobs(ask, before), said=None, card="")


async def download(ask: Ask) -> None:
    """Begin a download."""
    what = (await form(ask))["what"]
    config = ask.runtime.config
    said = None
    if not what:
        said = Said("bad", "What is it called?", "`owner/repo` of the hub, or the URL of a .gguf file.")
    else:
        said = _begun(lambda: ask.app.at_desk.downloads.begin(what, config.local_models, local_only=config.local_only))
    view = jobs(ask)._replace(begun=said is None and wants_part(ask))
    await answer(ask, "local", "downloads", "downloads", said, jobs=view)


async def again(ask: Ask) -> None:
    """Go on with a download."""
    number = _job(await form(ask))
    config = ask.runtime.config
    said = _begun(lambda: ask.app.at_desk.downloads.again(number, config.local_models, local_only=config.local_only))
    await answer(ask, "local", "downloads", "downloads", said, jobs=jobs(ask))


def _begun(begin: Callable[[], Job]) -> Said | None:
    try:
        begin()
    except ValueError as error:
        return Said("bad", str(error))
    return None


async def stop(ask: Ask) -> None:
    """Stop a download; what has come is kept."""
    await _ended(ask, ask.app.at_desk.downloads.cancel)


async def forget(ask: Ask) -> None:
    """Take a download off the list, with what has come of a file that is not whole."""
    await _ended(ask, ask.app.at_desk.downloads.forget)


async def _ended(ask: Ask, end: Callable[[int], Any]) -> None:
    said = None
    try:
        await end(_job(await form(ask)))
    except ValueError as error:
        said = Said("warn", str(error))
    except OSError as error:
        said = Said("bad", f"{error.filename} cannot be removed: {error.strerror or error}.")
    await answer(ask, "local", "downloads", "downloads", said, jobs=jobs(ask))


def _job(fields: Form) -> int:
    number = fields["job"]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0


ROUTES: Routes = (
    ("GET", "/models/files", files),
    ("POST", "/models/unload", unload),
    ("POST", "/models/delete", delete),
    ("POST", "/models/paths", add),
    ("GET", "/models/load", choose),
    ("POST", "/models/load", load),
    ("GET", "/models/loaded", loaded),
    ("GET", "/models/downloads", progress),
    ("POST", "/models/download", download),
    ("POST", "/models/downloads/again", again),
    ("POST", "/models/downloads/stop", stop),
    ("POST", "/models/downloads/forget", forget),
)
