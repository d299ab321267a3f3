"""The card Backends: each backend with its state, latency and models; edit, remove, check."""

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
from byway.admin.repairs import forget_repairs, list_repairs
from byway.backends.vendors import VENDORS
from byway.config.editing import Edit
from byway.display import BACKEND_STATES, count, latency, window
from byway.problems import Problem
from byway.routes.admin import read_current
from byway.routes.context import RequestContext, Route
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import (
    Form,
    Outcome,
    failure,
    query_fields,
    read_form,
    save_edits,
    send_card,
    variable_reference,
    with_scheme,
)
from byway.ui.readiness import VerdictTag, verdict_of

#: Models that a row shows, and rows that the table shows; the others are folded.
_SHOWN: Final = 3
_ROWS: Final = 10
#: Characters of an error that a row shows.
_ERROR: Final = 90
#: The beginning of an error that names the backend, which its row does already.
_SUBJECT: Final = re.compile(r"^(?:The )?[Bb]ackend '[^']*'(?: at \S+)? ")
#: The order of the rows.
_ORDER: Final = {"failed": 0, "loading": 1, "unknown": 1, "ready": 2, "asleep": 2, "off": 3}
_LARGEST: Final = 1 << 30
#: A model name, optionally followed by its window: `65536`, `65,536` or `64k`.
_LINE: Final = re.compile(r"(\S.*?)(?:[\s=]+(?:(\d[\d,_]{2,})|(\d{1,5})[kK]))?")


class ModelRow(NamedTuple):
    """A model in a row of the table."""

    name: str
    window: str
    verdict: VerdictTag


class RepairRow(NamedTuple):
    """A change of calls that Byway has learned from a refusal."""

    model: str
    description: str
    refusal: str


class BackendRow(NamedTuple):
    """A row of the table."""

    name: str
    title: str
    address: str
    path: str
    """The file of a model that Byway runs."""
    state: str
    word: str
    message: str
    """Why it is in this state, on one line."""
    details: tuple[str, ...]
    """The whole message when it is longer than a line, and what to do about it."""
    latency: str
    memory: int | None
    models: tuple[ModelRow, ...]
    more: tuple[ModelRow, ...]
    own: bool
    """Byway runs its model itself."""
    implied: bool
    """It runs because the config names no backend."""
    repairs: tuple[RepairRow, ...]
    where: str
    """`local` or `cloud`."""
    keys: tuple[str, ...] = ()
    """API keys that rest."""
    better_type: str = ""
    """The type that its address is known for, when it has another one."""
    better_title: str = ""


class BackendTable(NamedTuple):
    """The card's table."""

    rows: tuple[BackendRow, ...]
    """Failed backends first, at most ten unless all are shown."""
    total: int
    """How many backends match the filter."""
    failed: int
    query: str
    whole: bool
    """All rows are shown."""
    every: int
    """Seconds until the page loads the table again; 0 when nothing is loading."""
    spare: int | None


class BackendEditor(NamedTuple):
    """The form for one backend, filled from the config file."""

    name: str
    title: str
    url: str
    place: str
    key: str
    literal: bool
    """The config file contains the key in plain text, which is not shown."""
    models: str
    etag: str
    outcome: Outcome | None = None


# ------------------------------------------------------------------------------------------------------------ the table


async def table(context: RequestContext, fields: Form | None = None) -> BackendTable:
    """The table of the backends with their current state. `fields`: the filter `q`, and `all` to show every row."""
    fields = query_fields(context) if fields is None else fields
    query, whole = fields["q"][:100], bool(fields["all"] or fields["q"])
    backends = await services.list_backends(context.runtime)
    moving = any(backend.state in ("loading", "unknown") for backend in backends)
    retried = any(backend.managed and backend.state == "failed" for backend in backends)
    learned: dict[str, list[RepairRow]] = {}
    for repair in list_repairs(context.runtime.learned):
        learned.setdefault(repair.backend, []).append(RepairRow(repair.model, repair.description, repair.refusal))
    matching = sorted(_matching(backends, query), key=lambda backend: _ORDER.get(backend.state, 1))
    shown = matching if whole else matching[:_ROWS]
    return BackendTable(
        tuple(_row(context, backend, tuple(learned.get(backend.name, ()))) for backend in shown),
        len(matching),
        sum(backend.state == "failed" for backend in matching),
        query,
        whole,
        2 if moving else 5 if retried else 0,
        platform.available_memory(),
    )


def one_line(message: str) -> str:
    """The first sentence of an error without the name of its backend, short enough for a row."""
    text = _SUBJECT.sub("", message.partition("\n")[0])
    first = re.split(r"(?<=[.!?]) (?=[A-Z`\"'])", text, maxsplit=1)[0]
    short = first if len(first) <= _ERROR else f"{first[:_ERROR].rstrip()} …"
    return f"{short[:1].upper()}{short[1:]}"


def _matching(backends: Sequence[BackendInfo], query: str) -> list[BackendInfo]:
    """The backends whose name, type, address, state or models contain every word of `query`."""
    words = query.lower().split()[:10]
    if not words:
        return list(backends)
    return [backend for backend in backends if all(word in _text(backend) for word in words)]


def _text(backend: BackendInfo) -> str:
    state = BACKEND_STATES[backend.state][1]
    where = _where(backend)
    models = " ".join(model.name for model in backend.models)
    return f"{backend.name} {backend.title} {backend.url} {backend.path} {state} {where} {models}".lower()


def _where(backend: BackendInfo) -> str:
    return "local" if backend.self_hosted else "cloud"


def _row(context: RequestContext, backend: BackendInfo, repairs: tuple[RepairRow, ...]) -> BackendRow:
    state, word = BACKEND_STATES[backend.state]
    models = tuple(
        ModelRow(
            model.name, window(model.window) if model.window else "", verdict_of(context, backend.name, model.name)
        )
        for model in backend.models
    )
    shown = _SHOWN if len(models) > _SHOWN + 1 else len(models)
    message = "" if backend.state in ("ready", "unknown") else backend.message
    hint = backend.hint if backend.state in ("failed", "off") else ""
    line = one_line(message)
    return BackendRow(
        backend.name,
        backend.title,
        backend.url if not backend.managed else PurePath(backend.path).name or "the built-in weights",
        backend.path,
        state,
        word,
        line,
        tuple(filter(None, (message if line != message else "", hint))),
        latency(backend.latency_ms) if backend.latency_ms is not None and backend.state == "ready" else "",
        backend.memory,
        models[:shown],
        models[shown:],
        backend.managed,
        backend.implied,
        repairs,
        _where(backend),
        backend.keys,
        backend.better_type,
        VENDORS[backend.better_type].title if backend.better_type else "",
    )


async def rows(context: RequestContext) -> None:
    """Send the table alone: the page loads it again while something changes."""
    await send_card(context, "backends", "table", table=await table(context), outcome=None, card="")


async def _card(context: RequestContext, outcome: Outcome | None, fields: Form) -> CardView:
    context.runtime = context.gateway.runtime
    return card_view("backends", "table", "backends", outcome, table=await table(context, fields))


# ------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> CardView:
    """Check one backend now, or all of them."""
    fields = await read_form(context)
    name = fields["name"]
    runtime = context.runtime
    if not name:
        checked = await services.check_backends(runtime)
        ready = sum(backend.state == "ready" for backend in checked)
        enabled = sum(backend.state != "off" for backend in checked)
        summary = Outcome("good" if ready == enabled else "warn", f"{ready} of {enabled} backends are ready.")
        return await _card(context, summary, fields)
    if name not in runtime.backends:
        return await _card(context, Outcome("warn", f"Backend {name} no longer exists."), fields)
    try:
        backend = await services.check_backend(runtime, name)
    except Problem as problem:
        return await _card(context, failure(context, problem), fields)
    return await _card(context, _checked(backend), fields)


def _checked(backend: BackendInfo) -> Outcome:
    if backend.state == "asleep":
        return Outcome("good", f"{backend.name} is unloaded. The next request loads it.")
    if backend.state == "ready":
        took = f" in {latency(backend.latency_ms)}" if backend.latency_ms is not None else ""
        return Outcome(
            "good", f"{backend.name} is ready: it answered{took} and serves {count(len(backend.models), 'model')}."
        )
    text = f"{backend.name}: {backend.message}" if backend.message else f"{backend.name} does not answer."
    return Outcome("bad", text, backend.hint)


async def forget(context: RequestContext) -> CardView:
    """Forget what Byway has learned from refusals of a backend."""
    fields = await read_form(context)
    name = fields["name"]
    forgotten = forget_repairs(context.runtime.learned, name)
    outcome = Outcome("good", f"{count(forgotten, 'change')} to the calls of {name} forgotten.")
    return await _card(context, outcome, fields)


async def set_type(context: RequestContext) -> CardView:
    """Give a backend the type that its address is known for."""
    fields = await read_form(context)
    name = fields["name"]
    outcome = await save_edits(
        context,
        lambda current: services.correct_type(current, name),
        f"type of backend {name}",
        "",
        f"Type of backend {name} saved",
    )
    return await _card(context, outcome, fields)


async def remove(context: RequestContext) -> CardView:
    """Remove a backend from the config, and from every alias."""
    fields = await read_form(context)
    name = fields["name"]
    removed: list[BackendRemoval] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        removed[:] = [services.remove_backend(current, name)]
        return removed[0].edits

    try:
        current = await read_current(context)
    except Problem as problem:
        return await _card(context, failure(context, problem), fields)
    if current.backend_index(name) is None:
        why = (
            "It runs because the config names no backend. Add a backend to replace it."
            if current.is_builtin_implied
            else "It was removed in the meantime."
        )
        return await _card(context, Outcome("warn", f"Backend {name} is not in the config.", why), fields)
    outcome = await save_edits(context, edits, f"backend {name} removed", "", f"Backend {name} removed")
    if outcome.kind == "good":
        hint = outcome.hint
        if removed[0].aliases:
            hint += f" It was removed from the aliases {', '.join(removed[0].aliases)}."
        if removed[0].is_last:
            hint += " The config has no backend any more, so the built-in model is used."
        outcome = outcome._replace(hint=hint.strip())
    return await _card(context, outcome, fields)


# ------------------------------------------------------------------------------------------------------------- the form


async def editor(context: RequestContext, name: str) -> BackendEditor | None:
    """The form for a backend; None when it does not exist, or when Byway runs its model itself."""
    if not name:
        return None
    try:
        paper = await read_current(context)
    except Problem as problem:
        return BackendEditor(name, "", "", "", "", False, "", "", failure(context, problem))
    at = paper.backend_index(name)
    if at is None or paper.config.backends[at].managed:
        return None
    written = paper.written_backends[at] if isinstance(paper.written_backends[at], dict) else {}
    live = context.runtime.backends.get(name)
    key = written_text(written.get("api_key"))
    return BackendEditor(
        name,
        live.vendor.title if live else "",
        written_text(written.get("url")),
        (live.vendor.url if live else "") or "http://127.0.0.1:8080",
        key if "${" in key else "",
        bool(key) and "${" not in key,
        "\n".join(_lines(written.get("models"))),
        paper.etag,
    )


def written_text(value: Any) -> str:
    """A value as the config file has it; empty when it is not a single text."""
    if isinstance(value, tuple) and len(value) == 1:
        return str(value[0])
    return value if isinstance(value, str) else ""


def _lines(models: Any) -> list[str]:
    """`models` of the config file as lines: each a name and its window."""
    lines = []
    for entry in models if isinstance(models, list) else [models] if models else []:
        if isinstance(entry, dict):
            name, window = written_text(entry.get("id") or entry.get("name")), written_text(entry.get("window"))
            lines.append(f"{name} {window}".strip())
        else:
            lines.append(written_text(entry))
    return [line for line in lines if line]


def parse_models(typed: str) -> list[str | ModelSpec]:
    """Parse the typed models, one per line, to the form of the setting `models`. Raises ValueError."""
    listed: list[str | ModelSpec] = []
    for line in re.split(r"\n|,(?!\d{3}\b)", typed):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        window = int(re.sub(r"[,_]", "", match[2])) if match[2] else 1024 * int(match[3] or 0)
        if window > _LARGEST:
            raise ValueError(f"{line.strip()[:80]!r}: the window is too large. The maximum is {_LARGEST:,} tokens.")
        listed.append(ModelSpec(match[1], window) if window else match[1])
    return listed


async def edit(context: RequestContext) -> CardView:
    """Send the form for one backend."""
    name = query_fields(context)["name"]
    return card_view("backends", "editor", "", None, editor=await editor(context, name))


async def save(context: RequestContext) -> CardView:
    """Save a backend's address, key and models."""
    fields = await read_form(context)
    name = fields["name"]
    now = await editor(context, name)
    if now is None:
        outcome = Outcome("bad", f"Backend {name} no longer exists.")
        return card_view(
            "backends", "editor", "", outcome, editor=BackendEditor(name, "", "", "", "", False, "", "", outcome)
        )
    try:
        update = _update(fields, now)
        outcome = await save_edits(
            context,
            lambda current: services.update_backend(current, name, update),
            f"backend {name}",
            fields["etag"],
            f"Backend {name} saved",
        )
    except ValueError as error:
        outcome = Outcome("bad", str(error))
    except Problem as problem:
        outcome = failure(context, problem)
    if outcome.kind == "good":
        context.runtime = context.gateway.runtime
        return card_view("backends", "editor", "edited", outcome, editor=None)
    # The form keeps the current etag, so a second click overwrites the conflicting change that it shows.
    typed = now._replace(url=fields["url"], key=_shown(fields["key"]), models=fields["models"], outcome=outcome)
    return card_view("backends", "editor", "", outcome, editor=typed)


def _shown(key: str) -> str:
    return key if key.startswith("${") or not key else ""


def _update(fields: Form, now: BackendEditor) -> BackendUpdate:
    """The changes that the form makes. Raises ValueError."""
    key: str | UnsetType = UNSET
    if fields["key"] != now.key:
        key = variable_reference(fields["key"]) if fields["key"] else ""
    typed = parse_models(fields["models"])
    return BackendUpdate(
        url=with_scheme(fields["url"]) if fields["url"] != now.url else UNSET,
        api_key=key,
        models=tuple(typed) if typed != parse_models(now.models) else UNSET,
    )


ROUTES = (Route("GET", "/models/backends", rows, "admin", "page"),)
CARDS = (
    CardRoute("POST", "/models/check", check),
    CardRoute("POST", "/models/forget", forget),
    CardRoute("POST", "/models/type", set_type),
    CardRoute("POST", "/models/remove", remove),
    CardRoute("GET", "/models/edit", edit),
    CardRoute("POST", "/models/edit", save),
)
