"""Loading a model on the card Local models: its options, the outcome, and the memory before and after."""

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
from byway.display import BACKEND_STATES
from byway.local import edits
from byway.problems import Problem
from byway.routes.admin import read_current, run
from byway.routes.context import RequestContext
from byway.ui.backends import written_text
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.local import RunningModel, library
from byway.ui.page import Form, Outcome, failure, query_fields, read_form, save_edits

#: Labels of the options that are whole numbers.
_NUMBERS: Final = {"window": "The context size", "threads": "Threads", "gpu_layers": "GPU layers"}


class LoadForm(NamedTuple):
    """The form to load a model, or the outcome of loading it."""

    name: str
    path: str = ""
    """Empty: the built-in weights."""
    facts: str = ""
    trained: str = ""
    values: Mapping[str, str] = MappingProxyType({})
    alias: str = ""
    loaded: bool = False
    """It is in the config already; the form edits its options."""
    gpus: tuple[str, ...] = ()
    implied: bool = False
    keep: bool = False
    spare: int | None = None
    size: int | None = None
    outcome: Outcome | None = None
    run: RunningModel | None = None
    """It is loading: its state, shown instead of the form."""
    before: tuple[int | None, int | None] = (None, None)
    """Before loading: free memory of the machine, and memory of the process."""
    after: tuple[int | None, int | None] = (None, None)
    etag: str = ""

    @property
    def tight(self) -> bool:
        """Is the file larger than the free memory?"""
        return not self.loaded and bool(self.size and self.spare and self.size > self.spare)


async def loader(context: RequestContext, path: str, name: str) -> LoadForm | None:
    """The form for a file, or for a model of the config; None when neither exists."""
    if not path and not name:
        return None
    try:
        return await _loader(context, path, name)
    except Problem as problem:
        return LoadForm(name or Path(path).name, path, outcome=failure(context, problem))


async def _loader(context: RequestContext, path: str, name: str) -> LoadForm | None:
    paper = await read_current(context)
    index = paper.backend_index(name) if name else None
    values: Mapping[str, str] = MappingProxyType({})
    if name and index is None:
        return None
    if index is not None:
        settings = paper.config.backends[index]
        if not settings.managed:
            return None
        path = settings.path or ""
        written = paper.written_backends[index] if not paper.is_builtin_implied else {}
        written = written if isinstance(written, dict) else {}
        values = {option: written_text(written.get(option)) for option in OPTIONS}
    elif path == "builtin":
        path = ""
    shown = await library(context)
    file = next((file for file in shown.files if file.path == path), None)
    if file is None and index is None:
        return None
    gpus = context.gateway.services.gpus
    return LoadForm(
        name if index is not None else edits.backend_name(file.name if file else path),
        path,
        file.facts if file else "",
        file.window if file else "",
        values,
        "",
        index is not None,
        await gpus if gpus is not None else (),
        paper.is_builtin_implied and index is None,
        spare=platform.available_memory(),
        size=file.size if file else None,
        etag=paper.etag,
    )


async def choose(context: RequestContext) -> CardView:
    """Send the form for one model."""
    fields = query_fields(context)
    view = await loader(context, fields["file"], fields["name"])
    return card_view("loading", "loader", "", None, loader=view)


async def load(context: RequestContext) -> CardView:
    """Load a model, or change the options of one."""
    fields = await read_form(context)
    view = await loader(context, fields["file"], fields["old"])
    if view is None or (view.outcome is not None and not view.etag):
        gone = Outcome("bad", "The model file no longer exists.", "Reload the page: the file may have been moved.")
        outcome = view.outcome if view is not None and view.outcome else gone
        return card_view(
            "loading", "loader", "", outcome, loader=LoadForm(fields["name"] or "A model", outcome=outcome)
        )
    name = view.name if view.loaded else fields["name"] or view.name
    live = context.runtime.backends.get(name)
    before = platform.available_memory(), await _memory(live)
    try:
        changes = await _changes(context, view, fields, name)
        base = fields["etag"] if view.loaded else ""
        what = f"model {name} {'changed' if view.loaded else 'loaded'}"
        outcome = await save_edits(context, changes, what, base, f"{name} saved")
    except ValueError as error:
        outcome = Outcome("bad", str(error))
    except Problem as problem:
        outcome = failure(context, problem)
    if outcome.kind == "good":
        context.runtime = context.gateway.runtime
        return await _follow(context, name, fields["alias"], before, "begun")
    typed = {option: fields[option] for option in OPTIONS}
    view = view._replace(name=name, values=typed, alias=fields["alias"], keep=fields["keep"] == "on", outcome=outcome)
    return card_view("loading", "loader", "load", outcome, loader=view)


async def _changes(context: RequestContext, view: LoadForm, fields: Form, name: str) -> list[Edit]:
    """The config edits that load the model. Raises ValueError or Problem."""
    # Only changed values are validated here.
    changed = [option for option in OPTIONS if not view.loaded or fields[option] != view.values[option]]
    options = {option: _value(fields, option) for option in changed}
    alias = fields["alias"]
    current = await read_current(context)
    if view.loaded:
        return localmodels.change_options(current, name, options, alias)
    if current.backend_index(name) is not None:
        raise ValueError(f"A backend named {name} exists already. Choose another name.")
    folder = context.gateway.services.folder
    chosen: dict[str, Any] = options
    plan = LoadOptions(view.path or "builtin", name, alias=alias, keep_builtin=fields["keep"] == "on", **chosen)
    return list((await run(lambda: localmodels.load_model(folder, current, plan))).edits)


def _value(fields: Form, option: str) -> int | str | None:
    """The typed value of an option; None when it is empty. Raises ValueError."""
    typed = fields[option]
    if not typed or option not in _NUMBERS:
        return typed or None
    word, low = _NUMBERS[option], LEAST[option]
    digits = typed.replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9 or int(digits) < low:
        raise ValueError(f"{word} must be a whole number of at least {low}.")
    return int(digits)


async def _memory(live: Backend | None) -> int | None:
    """Memory of a model's process; 0 when it has none."""
    if live is None or live.pid is None:
        return 0
    return await asyncio.to_thread(platform.resident_memory, live.pid)


async def loaded(context: RequestContext) -> CardView:
    """Send the state of a model that was just loaded."""
    fields = query_fields(context)
    numbers = [
        int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
        for value in (fields["spare"], fields["memory"])
    ]
    return await _follow(context, fields["name"], fields["alias"], (numbers[0], numbers[1]))


async def _follow(
    context: RequestContext, name: str, alias: str, before: tuple[int | None, int | None], card: str = "loaded"
) -> CardView:
    live = context.runtime.backends.get(name)
    outcome: Outcome | None = None
    run = None
    if live is None:
        outcome = Outcome("warn", f"{name} is no longer configured.")
    elif live.state == "ready":
        served = (live.models or (name,))[0]
        window = live.registry.get(served).window
        wide = f" with a window of {window:,} tokens" if window else ""
        outcome = Outcome(
            "good", f"{name} is loaded{wide}.", f"Clients request it as `{served}`{f' or `{alias}`' if alias else ''}."
        )
    elif live.state in ("failed", "off"):
        message = context.runtime.scrubber.scrub(live.message)
        outcome = Outcome(
            "bad", message or f"{name} could not be loaded.", "Byway retries automatically. Unload it to stop."
        )
    elif live.state == "asleep":
        outcome = Outcome("good", f"{name} is unloaded.", "The next request loads it.")
    else:
        run = RunningModel(name, *BACKEND_STATES[live.state])
    after = platform.available_memory(), await _memory(live)
    view = LoadForm(name, outcome=outcome, run=run, before=before, after=after, alias=alias)
    return card_view("loading", "loader", card, outcome, loader=view)


CARDS = (
    CardRoute("GET", "/models/load", choose),
    CardRoute("POST", "/models/load", load),
    CardRoute("GET", "/models/loaded", loaded),
)
