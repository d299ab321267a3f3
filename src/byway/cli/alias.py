"""`byway alias`: which name leads to which model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway import platform
from byway.cli import client
from byway.cli.configfile import CONFIG, JSON, data_dir, find, glimpse, read
from byway.cli.output import Failure, Misuse, print_json, print_table
from byway.routing import route as routing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from byway.config import Config
    from byway.config.editing import Edit
    from byway.runtime import Runtime

#: The names that Claude Code's own models have, and that of everything else.
SLOTS: Final = (*routing.SLOTS, "default")
_COLOURS: Final = {"ready": "green", "asleep": "green", "failed": "red", "nobody serves it": "red"}


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    names = dict.fromkeys((*SLOTS, *glimpse(ctx).model_aliases))
    return [name for name in names if name.startswith(incomplete)]


def _targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    targets = (f"{one.name}/{model}" for one in glimpse(ctx).backends for model in one.names)
    return [target for target in targets if target.startswith(incomplete)]


@click.group(invoke_without_command=True)
@CONFIG
@data_dir
@JSON
@click.pass_context
def command(ctx: click.Context, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show where each name leads, and who answers for it now. Asks the backends themselves; Byway need not run."""
    if ctx.invoked_subcommand is None:
        _list(file, folder, as_json)


@command.command("list")
@CONFIG
@data_dir
@JSON
def listing(file: str | None, folder: str | None, as_json: bool) -> None:
    """What `byway alias` alone shows too."""
    _list(file, folder, as_json)


@command.command("set")
@click.argument("name", shell_complete=_names)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=_targets)
@CONFIG
@data_dir
@JSON
def lead(name: str, targets: tuple[str, ...], file: str | None, folder: str | None, as_json: bool) -> None:
    """Lead NAME to a model, or to several.

    They are tried in their order. NAME is haiku, sonnet, opus, fable, default, a model's name, or a glob such as 'claude-*'.
    TARGET is a model's name, or backend/model.
    """
    from byway.config.editing import Set
    from byway.secrets.names import literal

    if not name.strip() or not all(one.strip() for one in targets):
        raise Misuse("A name and its targets are not empty.")
    leads = [*map(literal, targets)]
    _change(name, [Set(("model_aliases", name), leads[0] if len(leads) == 1 else leads)], file, folder, as_json)


@command.command()
@click.argument("name", shell_complete=_names)
@CONFIG
@data_dir
@JSON
def unset(name: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Take the alias NAME out.

    A glob that fits it, the family's name, or `default` counts for it then.
    """
    from byway.config.editing import Remove

    _change(name, [Remove(("model_aliases", name))], file, folder, as_json)


@command.command("try")
@click.argument("name", shell_complete=_names)
@CONFIG
@data_dir
@JSON
def attempt(name: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Say what a request for NAME would do now.

    By which alias it goes, to which model, and to which one when that fails.
    """
    from byway.problems import Problem

    config = read(find(file, os.environ, folder))
    data = platform.data_folder(folder, os.environ)

    async def ask(runtime: Runtime) -> dict[str, Any]:
        route = runtime.resolve(name)
        states = _states(runtime, data)
        places = [{"backend": one.backend, "model": one.model, **states[one.backend]} for one in route.targets]
        return {"name": name, "alias": route.alias or None, "places": places}

    try:
        found = _asked(config, ask)
    except Problem as problem:
        raise Failure(problem.message) from None
    if as_json:
        print_json(found)
        return
    by = f"by model_aliases.{found['alias']}" if found["alias"] else "which is a model's own name"
    click.echo(f"{name}, {by}:")
    for at, one in enumerate(found["places"], 1):
        state = click.style(one["state"], fg=_COLOURS.get(one["state"]))
        click.echo(f"  {at}. {one['backend']}/{one['model']}  {state}{_why(one)}")


# -------------------------------------------------------------------------------------------------------------------------


def _list(file: str | None, folder: str | None, as_json: bool) -> None:

    config = read(find(file, os.environ, folder))
    data = platform.data_folder(folder, os.environ)

    async def ask(runtime: Runtime) -> list[dict[str, Any]]:
        states = _states(runtime, data)
        names = [*SLOTS, *(name for name in runtime.aliases if name not in SLOTS)]
        return [_row(runtime, name, states) for name in names]

    found = _asked(config, ask)
    if as_json:
        print_json(found)
        return
    rows = [("NAME", "LEADS TO", "ANSWERS NOW", "STATE")]
    for one in found:
        answers = f"{one['answers']}, by {one['by']}" if one["by"] else one["answers"] or "-"
        rows.append((one["name"], ", then ".join(one["targets"]) or "-", answers, one["state"]))

    def looks(row: int, column: int, cell: str) -> str:
        return click.style(cell, fg=_COLOURS.get(cell)) if row and column == 3 else cell

    print_table(rows, looks)
    for message in dict.fromkeys(f"{one['backend']}: {one['message']}" for one in found if one["message"]):
        click.echo(message, err=True)


def _row(runtime: Runtime, name: str, states: dict[str, dict[str, str]]) -> dict[str, Any]:
    """One name: its own targets, and who would answer: perhaps by another alias, such as a glob that fits Claude's names."""
    from byway.problems import Problem

    targets = list(runtime.aliases.get(name, ()))
    row: dict[str, Any] = {"name": name, "targets": targets, "by": None, "answers": None, "backend": None}
    asked = f"claude-{name}" if name in routing.SLOTS else name
    try:
        route = runtime.resolve(asked)
    except Problem:
        return {**row, "state": "nobody serves it" if targets else "not set", "message": ""}
    first = route.targets[0]
    by = route.alias if route.alias not in ("", name) else None
    return {
        **row,
        "by": by,
        "answers": f"{first.backend}/{first.model}",
        "backend": first.backend,
        **states[first.backend],
    }


def _states(runtime: Runtime, data: Path) -> dict[str, dict[str, str]]:
    """How each backend is doing, by name: `state`, and `message` where there is one. A running Byway knows its own models."""
    url = client.address(data)
    told = client.report(url) if url else None
    states = {}
    for live in runtime.backends.values():
        state: dict[str, str] = {"state": live.state, "message": live.message}
        if live.vendor.managed:
            own = client.backend(told, live.name) if told else None
            state = {"state": "starts with byway up", "message": ""}
            if own is not None:
                state = {"state": str(own.get("state")), "message": str(own.get("message", ""))}
        elif state["state"] == "unknown":
            state["state"] = "no answer yet"
        states[live.name] = state
    return states


def _asked(config: Config, ask: Any) -> Any:
    """What `ask` makes of a runtime that has asked its backends."""
    from byway.runtime import Runtime

    async def run() -> Any:
        runtime = Runtime(config)
        try:
            await runtime.refresh()
            return await ask(runtime)
        finally:
            await runtime.close()

    return asyncio.run(run())


def _why(one: dict[str, str]) -> str:
    return f": {one['message']}" if one["message"] else ""


def _change(name: str, edits: Sequence[Edit], file: str | None, folder: str | None, as_json: bool) -> None:
    from byway.cli import saving
    from byway.config.editing import Set

    kept = isinstance(edits[0], Set)

    def checked(config: Config) -> Sequence[Edit]:
        if not kept and name not in config.model_aliases:
            there = ", ".join(config.model_aliases) or "none"
            raise Misuse(f"There is no alias {name}. There are: {there}.")
        return edits

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing:
        saved = saving.save(filing, checked, "byway alias", f"alias {name} {'set' if kept else 'taken out'}")
    targets = saved.outcome.config.model_aliases.get(name, ())
    if as_json:
        print_json({"name": name, "targets": list(targets), **saving.told(saved, source, data)})
        return
    saving.say(
        saved,
        source,
        data,
        f"{name} leads to {', then '.join(targets)}" if kept else f"{name} leads nowhere of its own",
    )
