"""The card Backends: who answers, in which state, how fast, with which models; edit, remove, check now."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from byway import platform
from byway.backend import Backend
from byway.config import Config
from byway.config.editing import Edit, Remove, Set, meaning, value_at
from byway.config.settings import BUILTIN
from byway.display import window
from byway.local import edits
from byway.problems import Kind, Problem
from byway.routes.context import RequestContext, Route
from byway.routes.settings import work
from byway.ui.claude import STATES
from byway.ui.page import Form, Said, changed, failed, form, part, query, status, variable, wants_part

#: Models that a row shows before the others are folded away.
_SHOWN: Final = 3
_LARGEST: Final = 1 << 30
#: A name, and behind it `65536`, `65,536` or `64k`.
_LINE: Final = re.compile(r"(\S.*?)(?:[\s=]+(?:(\d[\d,_]{2,})|(\d{1,5})[kK]))?")

#: What to do, by what is wrong, where the words of the Problem do not say it.
HINTS: Final[Mapping[Kind, str]] = {
    "timeout": "It may be busy, or something else listens at that address.",
    "refused": "Its key is missing or wrong: set it under Secrets, or correct the variable that has it.",
    "billing": "The account there has no credit left.",
    "model_not_found": "There is no list of models at that address. Correct it, or name the models yourself.",
    "upstream": "The server itself has failed: its own log says why.",
    "broken": "Is it another type of server?",
    "rate_limit": "It wants fewer requests. Try again in a while.",
}


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


class File(NamedTuple):
    """The config file as it is now: what it means, and its backends as they are written."""

    config: Config
    written: list[Any]
    etag: str

    @property
    def fresh(self) -> bool:
        """It names no backend, so the built-in model answers."""
        return not self.written

    def at(self, name: str) -> int | None:
        """The place of a backend in the file."""
        places = (at for at, one in enumerate(self.config.backends) if one.name == name)
        return None if self.fresh else next(places, None)


async def file(context: RequestContext) -> File:
    """The config file; raises Problem when it is not good."""
    filing = context.gateway.services.config_file

    def read() -> File:
        paper = filing.read()
        written = value_at(meaning(paper.text), ("backends",))
        return File(filing.check(paper.text), written if isinstance(written, list) else [], paper.etag)

    return await work(read)


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
    live = list(context.runtime.backends.values())
    implied = context.runtime.config.backends == (BUILTIN,)
    rows = tuple([await _row(context, one, implied) for one in live])
    moving = any(one.state in ("loading", "unknown") for one in live)
    retried = any(row.own and row.word == "failed" for row in rows)
    return Table(rows, 2 if moving else 5 if retried else 0, platform.available_memory())


async def _row(context: RequestContext, live: Backend, implied: bool) -> Row:
    state, word = STATES[live.state]
    own = live.vendor.managed
    scrub = context.runtime.scrubber.scrub
    message = "" if live.state in ("ready", "unknown") else scrub(live.message)
    hint = HINTS.get(live.problem_kind, "") if live.problem_kind and live.state == "failed" else ""
    if live.settings.missing and live.state == "off":
        hint = "Keep it under Secrets, or set it where Byway starts."
    memory = await asyncio.to_thread(platform.resident_memory, live.pid) if live.pid is not None else None
    models = tuple(Model(name, _window(live, name)) for name in live.models or ())
    latency = f"{live.latency * 1000:,.0f} ms" if live.latency is not None and live.state == "ready" else ""
    path = live.settings.path or ""
    address = live.settings.url or live.vendor.url or ""
    if own:
        address = PurePath(path).name or "the built-in weights"
    shown = _SHOWN if len(models) > _SHOWN + 1 else len(models)
    return Row(
        live.name,
        live.vendor.title,
        address,
        path,
        state,
        word,
        message,
        hint,
        latency,
        memory,
        models[:shown],
        models[shown:],
        own,
        implied,
    )


def _window(live: Backend, model: str) -> str:
    facts = live.registry.get(model)
    return window(facts.window) if facts.window else ""


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
        await runtime.refresh()
        for own in [one.name for one in runtime.backends.values() if one.pid is not None]:
            with contextlib.suppress(Problem):
                await runtime.probe(own)
        ready = sum(one.state == "ready" for one in runtime.backends.values())
        asked = sum(one.state != "off" for one in runtime.backends.values())
        await _card(context, Said("good" if ready == asked else "warn", f"{ready} of {asked} answer."))
        return
    live = runtime.backends.get(name)
    if live is None:
        await _card(context, Said("warn", f"{name} is there no more."))
        return
    if live.state == "asleep":
        await _card(context, Said("good", f"{name} is asleep: the next request wakes it."))
        return
    try:
        await runtime.probe(name)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    await _card(context, _checked(context, live))


def _checked(context: RequestContext, live: Backend) -> Said:
    if live.state == "ready":
        many = len(live.models or ())
        took = f" in {live.latency * 1000:,.0f} ms" if live.latency is not None else ""
        return Said("good", f"{live.name} answers{took}, with {many} model{'s' if many != 1 else ''}.")
    message = context.runtime.scrubber.scrub(live.message)
    hint = HINTS.get(live.problem_kind, "") if live.problem_kind else ""
    return Said("bad", f"{live.name}: {message}" if message else f"{live.name} does not answer.", hint)


async def remove(context: RequestContext) -> None:
    """Take a backend out of the config, with every alias' way to it."""
    name = (await form(context))["name"]
    try:
        paper = await file(context)
    except Problem as problem:
        await _card(context, failed(context, problem))
        return
    at = paper.at(name)
    if at is None:
        why = (
            "It runs because the config names no backend: add one that is to answer instead."
            if paper.fresh
            else "Somebody has taken it out meanwhile."
        )
        await _card(context, Said("warn", f"{name} is not in the config.", why))
        return
    changes = edits.unload_edits(paper.config, at)
    said = await changed(context, changes, f"backend {name} removed", paper.etag, f"{name} is removed")
    if said.kind == "good":
        hint = said.hint
        if len(changes) > 1:
            hint += f" Aliases that led to it: {', '.join(str(one.path[1]) for one in changes[1:])}."
        if len(paper.config.backends) == 1:
            hint += " No backend is left in the config, so the built-in model answers."
        said = said._replace(hint=hint.strip())
    await _card(context, said)


# ------------------------------------------------------------------------------------------------------------- the form


async def editor(context: RequestContext, name: str) -> Editor | None:
    """The form for a backend; None for one that is not there or has another form."""
    if not name:
        return None
    try:
        paper = await file(context)
    except Problem as problem:
        return Editor(name, "", "", "", "", False, "", "", failed(context, problem))
    at = paper.at(name)
    if at is None or paper.config.backends[at].managed:
        return None
    written = paper.written[at] if isinstance(paper.written[at], dict) else {}
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


def models(typed: str) -> list[Any]:
    """What was typed, a model in each line, as `models` of the config has it. Raises ValueError."""
    listed: list[Any] = []
    for line in re.split(r"\n|,(?!\d{3}\b)", typed):
        one = _LINE.fullmatch(line.strip())
        if one is None:
            continue
        window = int(re.sub(r"[,_]", "", one[2])) if one[2] else 1024 * int(one[3] or 0)
        if window > _LARGEST:
            raise ValueError(f"{line.strip()[:80]!r}: no window is that large.")
        listed.append({"id": one[1], "window": window} if window else one[1])
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
        paper = await file(context)
        at = paper.at(name)
        if at is None:
            raise ValueError(f"{name} is there no more.")
        changes = _edits(("backends", at), fields, now)
        said = await changed(context, changes, f"backend {name}", fields["etag"], f"{name} is saved")
    except ValueError as error:
        said = Said("bad", str(error))
    except Problem as problem:
        said = failed(context, problem)
    if said.kind == "good":
        context.runtime = context.gateway.runtime
        await answer(context, "backends", "editor", "edited", said, editor=None)
        return
    # A second click saves what is typed over what has changed meanwhile: its author has seen it by then.
    typed = now._replace(url=fields["url"], key=_shown(fields["key"]), models=fields["models"], said=said)
    await answer(context, "backends", "editor", "", said, editor=typed)


def _shown(key: str) -> str:
    return key if key.startswith("${") or not key else ""


def _edits(path: tuple[str, int], fields: Form, now: Editor) -> Sequence[Edit]:
    """What the form changes; raises ValueError."""
    changes: list[Edit] = []
    if fields["url"] != now.url:
        changes.append(Set((*path, "url"), fields["url"]) if fields["url"] else Remove((*path, "url")))
    if fields["key"] != now.key and fields["key"]:
        changes.append(Set((*path, "api_key"), variable(fields["key"])))
    elif fields["key"] != now.key:
        changes.append(Remove((*path, "api_key")))
    typed = models(fields["models"])
    if typed != models(now.models):
        changes.append(Set((*path, "models"), typed) if typed else Remove((*path, "models")))
    return changes


ROUTES = (
    Route("GET", "/models/backends", rows, "admin", "page"),
    Route("POST", "/models/check", check, "admin", "page"),
    Route("POST", "/models/remove", remove, "admin", "page"),
    Route("GET", "/models/edit", edit, "admin", "page"),
    Route("POST", "/models/edit", save, "admin", "page"),
)
