"""`byway alias`: the targets of each model name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from byway.cli.configfile import find, glimpse, read
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json, print_table
from byway.routing import route as routing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from byway.admin.aliases import AliasInfo, NameResolution, ResolvedTarget
    from byway.admin.config import CurrentConfig
    from byway.config.editing import Edit
    from byway.runtime import Runtime

#: Colours of states in a table.
COLOURS: Final = {"ready": "green", "asleep": "green", "failed": "red", "no backend": "red", "not served": "red"}


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    names = dict.fromkeys((*routing.SLOTS, "default", *glimpse(ctx).model_aliases))
    return [name for name in names if name.startswith(incomplete)]


def _targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    targets = (f"{backend.name}/{model}" for backend in glimpse(ctx).backends for model in backend.names)
    return [target for target in targets if target.startswith(incomplete)]


@click.group(invoke_without_command=True)
@CONFIG
@DATA_DIR
@JSON
@click.pass_context
def command(ctx: click.Context, file: str | None, folder: str | None, as_json: bool) -> None:
    """List, set and remove model aliases. Without a subcommand: list.

    Queries the backends itself, so Byway need not run.
    """
    if ctx.invoked_subcommand is None:
        _list(file, folder, as_json)


@command.command("list")
@CONFIG
@DATA_DIR
@JSON
def list_command(file: str | None, folder: str | None, as_json: bool) -> None:
    """List the aliases, and the target that answers for each now."""
    _list(file, folder, as_json)


@command.command("set")
@click.argument("name", shell_complete=_names)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=_targets)
@CONFIG
@DATA_DIR
@JSON
def set_command(name: str, targets: tuple[str, ...], file: str | None, folder: str | None, as_json: bool) -> None:
    """Set the alias NAME to one or more targets, tried in this order.

    NAME is haiku, sonnet, opus, fable, default, a model name, or a pattern such as 'claude-*'. TARGET is a model, or
    backend/model.
    """
    from byway.admin import aliases
    from byway.cli.snapshot import SHORT_WAIT, query_backends

    warnings: list[str] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        aliases.set_alias(name, targets)

        async def inspect(runtime: Runtime) -> Sequence[Edit]:
            warnings[:] = aliases.target_warnings(runtime, name, targets)
            return aliases.alias_edits(current, runtime, name, targets)

        return query_backends(current.config, data_folder(folder), inspect, SHORT_WAIT)

    _change(name, edits, "set", file, folder, as_json)
    for warning in warnings:
        note(f"warning: {warning} To list the models: byway models")


@command.command("unset")
@click.argument("name", shell_complete=_names)
@CONFIG
@DATA_DIR
@JSON
def unset_command(name: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Remove the alias NAME.

    Afterwards a matching pattern, the alias of its model family, or `default` applies to the name.
    """
    from byway.admin import aliases

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        return [aliases.remove_alias(current, name)]

    _change(name, edits, "removed", file, folder, as_json)


@command.command("try")
@click.argument("name", shell_complete=_names)
@CONFIG
@DATA_DIR
@JSON
def try_command(name: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show which targets a request for NAME would use, in the order in which they are tried."""
    from byway.admin import aliases
    from byway.cli.snapshot import query_backends
    from byway.problems import Problem

    async def resolve(runtime: Runtime) -> NameResolution:
        return aliases.resolve_name(runtime, name)

    try:
        resolution = query_backends(read(find(file, os.environ, folder)), data_folder(folder), resolve)
    except Problem as problem:
        raise Failure(problem.message) from None
    if as_json:
        print_json(resolution)
        return
    by = f"by the alias {resolution.alias}" if resolution.alias else "a model's own name"
    click.echo(f"{name} ({by}):")
    for number, target in enumerate(resolution.targets, 1):
        click.echo(f"  {number}. {target.name}  {_state(target)}")


# ------------------------------------------------------------------------------------------------------------------------


def _list(file: str | None, folder: str | None, as_json: bool) -> None:
    from byway.admin import aliases
    from byway.cli.snapshot import query_backends

    async def aliases_of(runtime: Runtime) -> list[AliasInfo]:
        return aliases.list_aliases(runtime)

    listed = query_backends(read(find(file, os.environ, folder)), data_folder(folder), aliases_of)
    if as_json:
        print_json({"aliases": listed})
        return
    print_aliases(listed)
    messages = (
        f"{target.backend}: {target.message}" for alias in listed for target in alias.resolved[:1] if target.message
    )
    for message in dict.fromkeys(messages):
        note(message)
    for alias in listed:
        if alias.unserved:
            note(f"{alias.name}: no backend serves {', '.join(alias.unserved)}")


def print_aliases(aliases: Sequence[AliasInfo]) -> None:
    """Print aliases as a table."""
    rows = [("NAME", "TARGETS", "ANSWERS NOW", "STATE")]
    for alias in aliases:
        answers = alias.resolved[0].name if alias.resolved else "-"
        by = f" (by {alias.alias})" if alias.alias else ""
        rows.append((alias.name, ", ".join(alias.targets) or "-", f"{answers}{by}", alias.state))

    def style(row: int, column: int, cell: str) -> str:
        return click.style(cell, fg=COLOURS.get(cell)) if row and column == 3 else cell

    print_table(rows, style)


def _state(target: ResolvedTarget) -> str:
    state = click.style(target.state, fg=COLOURS.get(target.state))
    return f"{state}: {target.message}" if target.message else state


def _change(
    name: str,
    edits: Callable[[CurrentConfig], Sequence[Edit]],
    done: str,
    file: str | None,
    folder: str | None,
    as_json: bool,
) -> None:
    from byway.cli import change

    source, data = change.writable_source(file, folder), data_folder(folder)
    saved = change.save(source, data, edits, "byway alias", f"alias {name} {done}")
    targets = saved.result.config.model_aliases.get(name, ())
    if as_json:
        print_json({"name": name, "targets": targets, **change.change_report(saved, source, data)})
        return
    text = f"Alias {name} set: {', '.join(targets)}" if done == "set" else f"Alias {name} removed"
    if done == "removed" and "default" in saved.result.config.model_aliases and name != "default":
        text += "; another alias, such as `default`, applies"
    change.print_change(saved, source, data, text)
