"""The card Backends: who answers, in which state, how fast, with which models; edit, remove, check now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from msgspec import UNSET, UnsetType

from byway import platform
from byway.admin import backends as services
from byway.admin.backends import BackendInfo, BackendRemoval, BackendUpdate, ModelSpec
from byway.admin.config import CurrentConfig
from byway.config.editing import Edit
from byway.display import count, latency, window
from byway.problems import Problem
from byway.routes.admin import read_current
from byway.routes.context import RequestContext, Route
from byway.ui.claude import STATES
from byway.ui.page import Form, Said, changed, failed, form, part, query, status, variable, wants_part

#: Models that a row shows before the others are folded away.
_SHOWN: Final = 3
_LARGEST: Final = 1 << 30
#: A name, and behind it `65536`, `65,536` or `64k`.
_LINE: Final = re.compile(r"(\S.*?)(?:[\s=]+(?:(\d[\d,_]{2,})|(\d{1,5})[kK]))?")


class Model(NamedTuple):
    """A model of a row."""

    name: str
    window: str


class Row(NamedTuple):
    """A backend as the table shows it."""

    name: str
    title: str
    address: str
    path: str
    """The file of a model that Byway runs."""
    state: str
    word: str
    message: str
    hint: str
    latency: str
    memory: int | None
    models: tuple[Model, ...]
    more: tuple[Model, ...]
    own: bool
    """Byway runs its model."""
    implied: bool
    """It is there because the config names no backend."""


class Table(NamedTuple):
    """The card's table."""

    rows: tuple[Row, ...]
    every: int
    """Seconds to the next look; 0 when nothing is on its way."""
    spare: int | None


class Editor(NamedTuple):
    """The form for one backend, as the file has it."""

    name: str
    title: str
    url: str
    place: str
    key: str
    literal: bool
    """The file has a key in plain text, which is not shown."""
    models: str
    etag: str
    said: Said | None = None


async def answer(
    context: RequestContext, template: str, block: str, card: str, said: Said | None, **views: Any
) -> None:
    """One block again, with what was said; the whole page for a browser without JavaScript."""
    if wants_part(context):
        await part(context, template, block, status(said), said=said, card=card, **views)
        return
    # Here, since the page is made of the cards.
    from byway.ui.models import page

    await page(context, said, card, **views)


# ------------------------------------------------------------------------------------------------------------ the table


async def table(context: RequestContext) -> Table:
    """Every backend as it is now."""
    backends = await services.list_backends(context.runtime)
    moving = any(backend.state in ("loading", "unknown") for backend in backends)
    retried = any(backend.managed and backend.state == "failed" for backend in backends)
    return Table(tuple(map(_row, backends)), 2 if moving else 5 if retried else 0, platform.available_memory())


def _row(backend: BackendInfo) -> Row:
    state, word = STATES[backend.state]
    models = tuple(Model(model.name, window(model.window) if model.window else "") for model in backend.models)
    shown = _SHOWN if len(models) > _SHOWN + 1 else len(models)
    return Row(
        backend.name,
        backend.title,
        backend.url if not backend.managed else PurePath(backend.path).name or "the built-in weights",
        backend.path,
        state,
        word,
        "" if backend.state in ("ready", "unknown") else backend.message,
        backend.hint if backend.state in ("failed", "off") else "",
        latency(backend.latency_ms) if backend.latency_ms is not None and backend.state == "ready" else "",
        backend.memory,
        models[:shown],
        models[shown:],
        backend.managed,
        backend.implied,
    )


async def rows(context: RequestContext) -> None:
    """The table alone, for a page that looks again."""
    await part(context, "backends", "table", table=await table(context), said=None, card="")


async def _card(context: RequestContext, said: Said | None) -> None:
    context.runtime = context.gateway.runtime
    await answer(context, "backends", "table", "backends", said, table=await table(context))


# ------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> None:
    """Ask one backend now, or all of them."""
    name = (await form(context))["name"]
    runtime = context.runtime
    if not name:
        checked = await services.check_backends(runtime)
        ready = sum(backend.state == "ready" for backend in checked)
        asked = sum(backend.state != "off" for backend in checked)
        await _card(context, Said("good" if ready == asked else "warn", f"{ready} of {asked} answer."))
        return
    if name not in runtime.backends:
        await _card(context, Said("warn", f"{name} is there no more."))
        return
    try:
        backend = await services.check_backend(runtime, name)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    await _card(context, _checked(backend))


def _checked(backend: BackendInfo) -> Said:
    if backend.state == "asleep":
        return Said("good", f"{backend.name} is asleep: the next request wakes it.")
    if backend.state == "ready":
        took = f" in {latency(backend.latency_ms)}" if backend.latency_ms is not None else ""
        return Said("good", f"{backend.name} answers{took}, with {count(len(backend.models), 'model')}.")
    text = f"{backend.name}: {backend.message}" if backend.message else f"{backend.name} does not answer."
    return Said("bad", text, backend.hint)


async def remove(context: RequestContext) -> None:
    """Take a backend out of the config, with every alias' way to it."""
    name = (await form(context))["name"]
    removed: list[BackendRemoval] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        removed[:] = [services.remove_backend(current, name)]
        return removed[0].edits

    try:
        current = await read_current(context)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    if current.backend_index(name) is None:
        why = (
            "It runs because the config names no backend: add one that is to answer instead."
            if current.is_builtin_implied
            else "Somebody has taken it out meanwhile."
        )
        await _card(context, Said("warn", f"{name} is not in the config.", why))
        return
    said = await changed(context, edits, f"backend {name} removed", "", f"{name} is removed")
    if said.kind == "good":
        hint = said.hint
        if removed[0].aliases:
            hint += f" Aliases that led to it: {', '.join(removed[0].aliases)}."
        if removed[0].is_last:
            hint += " No backend is left in the config, so the built-in model answers."
        said = said._replace(hint=hint.strip())
    await _card(context, said)


# ------------------------------------------------------------------------------------------------------------- the form


async def editor(context: RequestContext, name: str) -> Editor | None:
    """The form for a backend; None for one that is not there or has another form."""
    if not name:
        return None
    try:
        paper = await read_current(context)
    except Problem as problem:
        return Editor(name, "", "", "", "", False, "", "", failed(context, problem))
    at = paper.backend_index(name)
    if at is None or paper.config.backends[at].managed:
        return None
    written = paper.written_backends[at] if isinstance(paper.written_backends[at], dict) else {}
    live = context.runtime.backends.get(name)
    key = text(written.get("api_key"))
    return Editor(
        name,
        live.vendor.title if live else "",
        text(written.get("url")),
        (live.vendor.url if live else "") or "http://127.0.0.1:8080",
        key if "${" in key else "",
        bool(key) and "${" not in key,
        "\n".join(_lines(written.get("models"))),
        paper.etag,
    )


def text(value: Any) -> str:
    """A value of the file as it is written; empty when it is no single word."""
    if isinstance(value, tuple) and len(value) == 1:
        return str(value[0])
    return value if isinstance(value, str) else ""


def _lines(models: Any) -> list[str]:
    """`models` of the file as lines: a name, and its window behind it."""
    lines = []
    for one in models if isinstance(models, list) else [models] if models else []:
        if isinstance(one, dict):
            name, window = text(one.get("id") or one.get("name")), text(one.get("window"))
            lines.append(f"{name} {window}".strip())
        else:
            lines.append(text(one))
    return [line for line in lines if line]


def models(typed: str) -> list[str | ModelSpec]:
    """What was typed, a model in each line, as `models` of the config has it. Raises ValueError."""
    listed: list[str | ModelSpec] = []
    for line in re.split(r"\n|,(?!\d{3}\b)", typed):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        window = int(re.sub(r"[,_]", "", match[2])) if match[2] else 1024 * int(match[3] or 0)
        if window > _LARGEST:
            raise ValueError(f"{line.strip()[:80]!r}: no window is that large.")
        listed.append(ModelSpec(match[1], window) if window else match[1])
    return listed


async def edit(context: RequestContext) -> None:
    """The form for one backend."""
    name = query(context)["name"]
    await answer(context, "backends", "editor", "", None, editor=await editor(context, name))


async def save(context: RequestContext) -> None:
    """Save a backend's address, key and models."""
    fields = await form(context)
    name = fields["name"]
    now = await editor(context, name)
    if now is None:
        said = Said("bad", f"{name} is there no more.")
        await answer(context, "backends", "editor", "", said, editor=Editor(name, "", "", "", "", False, "", "", said))
        return
    try:
        update = _update(fields, now)
        said = await changed(
            context,
            lambda current: services.update_backend(current, name, update),
            f"backend {name}",
            fields["etag"],
            f"{name} is saved",
        )
    except ValueError as error:
        said = Said("bad", str(error))
    except Problem as problem:
        said = failed(context, problem)
    if said.kind == "good":
        context.runtime = context.gateway.runtime
        await answer(context, "backends", "editor", "edited", said, editor=None)
        return
    # A second click saves what is typed over what has changed since it was loaded: its author has seen it by then.
    typed = now._replace(url=fields["url"], key=_shown(fields["key"]), models=fields["models"], said=said)
    await answer(context, "backends", "editor", "", said, editor=typed)


def _shown(key: str) -> str:
    return key if key.startswith("${") or not key else ""


def _update(fields: Form, now: Editor) -> BackendUpdate:
    """What the form changes; raises ValueError."""
    key: str | UnsetType = UNSET
    if fields["key"] != now.key:
        key = variable(fields["key"]) if fields["key"] else ""
    typed = models(fields["models"])
    return BackendUpdate(
        fields["url"] if fields["url"] != now.url else UNSET,
        key,
        tuple(typed) if typed != models(now.models) else UNSET,
    )


ROUTES = (
    Route("GET", "/models/backends", rows, "admin", "page"),
    Route("POST", "/models/check", check, "admin", "page"),
    Route("POST", "/models/remove", remove, "admin", "page"),
    Route("GET", "/models/edit", edit, "admin", "page"),
    Route("POST", "/models/edit", save, "admin", "page"),
)
