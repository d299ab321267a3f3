"""Loading a model on the card Local models: its options, what came of it, and the memory before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from byway import platform
from byway.admin import localmodels
from byway.admin.localmodels import LEAST, OPTIONS, LoadOptions
from byway.backend import Backend
from byway.config.editing import Edit
from byway.local import edits
from byway.problems import Problem
from byway.routes.admin import read_current, run
from byway.routes.context import RequestContext, Route
from byway.ui.backends import answer, text
from byway.ui.claude import STATES
from byway.ui.local import Run, shelved
from byway.ui.page import Form, Said, changed, failed, form, query

#: What the whole numbers among the options are called.
_NUMBERS: Final = {"window": "The context size", "threads": "Threads", "gpu_layers": "GPU layers"}


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


async def loader(context: RequestContext, path: str, name: str) -> Loader | None:
    """The form for a file, or for a model that is in the config already; None when neither is known."""
    if not path and not name:
        return None
    try:
        return await _loader(context, path, name)
    except Problem as problem:
        return Loader(name or Path(path).name, path, said=failed(context, problem))


async def _loader(context: RequestContext, path: str, name: str) -> Loader | None:
    paper = await read_current(context)
    at = next((at for at, one in enumerate(paper.config.backends) if one.name == name), None) if name else None
    values: Mapping[str, str] = MappingProxyType({})
    if name and at is None:
        return None
    if at is not None:
        settings = paper.config.backends[at]
        if not settings.managed:
            return None
        path = settings.path or ""
        written = paper.written_backends[at] if not paper.is_builtin_implied else {}
        written = written if isinstance(written, dict) else {}
        values = {option: text(written.get(option)) for option in OPTIONS}
    elif path == "builtin":
        path = ""
    shown = await shelved(context)
    found = next((one for one in shown.files if one.path == path), None)
    if found is None and at is None:
        return None
    gpus = context.gateway.services.gpus
    return Loader(
        name if at is not None else edits.backend_name(found.name if found else path),
        path,
        found.facts if found else "",
        found.window if found else "",
        values,
        "",
        at is not None,
        await gpus if gpus is not None else (),
        paper.is_builtin_implied and at is None,
        spare=platform.available_memory(),
        size=found.size if found else None,
        etag=paper.etag,
    )


async def choose(context: RequestContext) -> None:
    """The form for one model."""
    asked = query(context)
    view = await loader(context, asked["file"], asked["name"])
    await answer(context, "loading", "loader", "", None, loader=view)


async def load(context: RequestContext) -> None:
    """Load a model, or change the options of one."""
    fields = await form(context)
    view = await loader(context, fields["file"], fields["old"])
    if view is None or (view.said is not None and not view.etag):
        gone = Said("bad", "That model is there no more.", "Look again: its file may have been moved.")
        said = view.said if view is not None and view.said else gone
        await answer(context, "loading", "loader", "", said, loader=Loader(fields["name"] or "A model", said=said))
        return
    name = view.name if view.loaded else fields["name"] or view.name
    live = context.runtime.backends.get(name)
    before = platform.available_memory(), await _memory(live)
    try:
        changes = await _changes(context, view, fields, name)
        base = fields["etag"] if view.loaded else ""
        what = f"model {name} {'changed' if view.loaded else 'loaded'}"
        said = await changed(context, changes, what, base, f"{name} is saved")
    except ValueError as error:
        said = Said("bad", str(error))
    except Problem as problem:
        said = failed(context, problem)
    if said.kind == "good":
        context.runtime = context.gateway.runtime
        await _follow(context, name, fields["alias"], before, "begun")
        return
    typed = {option: fields[option] for option in OPTIONS}
    view = view._replace(name=name, values=typed, alias=fields["alias"], keep=fields["keep"] == "on", said=said)
    await answer(context, "loading", "loader", "load", said, loader=view)


async def _changes(context: RequestContext, view: Loader, fields: Form, name: str) -> list[Edit]:
    """What loading it changes in the config. Raises ValueError or Problem."""
    # A value that was not changed here is not checked here.
    asked = [option for option in OPTIONS if not view.loaded or fields[option] != view.values[option]]
    options = {option: _value(fields, option) for option in asked}
    alias = fields["alias"]
    current = await read_current(context)
    if view.loaded:
        return localmodels.change_options(current, name, options, alias)
    if current.backend_index(name) is not None:
        raise ValueError(f"There is a backend called {name} already. Choose another name.")
    folder = context.gateway.services.folder
    chosen: dict[str, Any] = options
    plan = LoadOptions(view.path or "builtin", name, alias=alias, keep_builtin=fields["keep"] == "on", **chosen)
    return list((await run(lambda: localmodels.load_model(folder, current, plan))).edits)


def _value(fields: Form, option: str) -> int | str | None:
    """What was typed for an option; None for nothing. Raises ValueError."""
    typed = fields[option]
    if not typed or option not in _NUMBERS:
        return typed or None
    word, low = _NUMBERS[option], LEAST[option]
    digits = typed.replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9 or int(digits) < low:
        raise ValueError(f"{word}: a whole number of at least {low}.")
    return int(digits)


async def _memory(live: Backend | None) -> int | None:
    """What its process takes; 0 while it has none."""
    if live is None or live.pid is None:
        return 0
    return await asyncio.to_thread(platform.resident_memory, live.pid)


async def loaded(context: RequestContext) -> None:
    """How a model is doing that was just loaded."""
    asked = query(context)
    numbers = [
        int(one) if one.isascii() and one.isdigit() and len(one) < 16 else None
        for one in (asked["spare"], asked["memory"])
    ]
    await _follow(context, asked["name"], asked["alias"], (numbers[0], numbers[1]))


async def _follow(
    context: RequestContext, name: str, alias: str, before: tuple[int | None, int | None], card: str = "loaded"
) -> None:
    live = context.runtime.backends.get(name)
    said: Said | None = None
    run = None
    if live is None:
        said = Said("warn", f"{name} is there no more.")
    elif live.state == "ready":
        served = (live.models or (name,))[0]
        window = live.registry.get(served).window
        wide = f" with a window of {window:,} tokens" if window else ""
        said = Said("good", f"{name} is loaded{wide}.", f"Ask for `{served}`{f' or `{alias}`' if alias else ''}.")
    elif live.state in ("failed", "off"):
        message = context.runtime.scrubber.scrub(live.message)
        said = Said(
            "bad", message or f"{name} could not be loaded.", "Byway tries it again by itself; Unload ends that."
        )
    elif live.state == "asleep":
        said = Said("good", f"{name} is asleep.", "The next request loads it.")
    else:
        run = Run(name, *STATES[live.state])
    after = platform.available_memory(), await _memory(live)
    view = Loader(name, said=said, run=run, before=before, after=after, alias=alias)
    await answer(context, "loading", "loader", card, said, loader=view)


ROUTES = (
    Route("GET", "/models/load", choose, "admin", "page"),
    Route("POST", "/models/load", load, "admin", "page"),
    Route("GET", "/models/loaded", loaded, "admin", "page"),
)
