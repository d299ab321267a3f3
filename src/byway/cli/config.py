"""`byway config`: the settings read, changed, checked, and brought back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from byway import platform
from byway.cli.configfile import CONFIG, JSON, ConfigSource, data_dir, find, glimpse, read, warnings
from byway.cli.output import Failure, Misuse, print_json, print_table
from byway.config import Config, ConfigError
from byway.secrets.names import ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

    from byway.cli.saving import Saved
    from byway.config.editing import Edit
    from byway.config.paths import SettingLocation

# Words and numbers may begin with a dash.
_VALUES = {"ignore_unknown_options": True}


def _paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from byway.config.paths import completions

    return completions(glimpse(ctx), incomplete)


@click.group()
def command() -> None:
    """Read, change and check the settings. Byway need not run; one that runs takes a change within a second."""


@command.command()
@click.argument("path", required=False, default="", shell_complete=_paths)
@click.option("--all", "everything", is_flag=True, help="With the defaults of what is not set.")
@CONFIG
@data_dir
@JSON
def get(path: str, everything: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Print the setting at PATH, or all that are set.

    Secrets are masked; `# ${NAME}` says where one comes from.

    PATH has dots: server.bind_address, backends.0.url, backends.work.url, model_aliases.claude-*
    """
    from byway.config import editing, paths

    source = find(file, os.environ, folder)
    config = read(source)
    place = _place(config, path)
    if path and place.value is None and not isinstance(place.path[-1], int) and _optional(place):
        raise Misuse(f"There is no {paths.dotted(place.path)}.")
    tree = editing.meaning(source.path.read_bytes().decode()) if source.there else None
    given = editing.value_at(tree, place.path)
    shown = paths.table(place, given, everything=everything)
    if path and shown.values == {}:
        shown = paths.table(place, given, everything=True)
    if as_json:
        print_json(shown.values)
    elif isinstance(shown.values, str):
        click.echo(shown.values)
    elif shown.values == {}:
        click.echo("Nothing is set, so all is as it comes. To see that: byway config get --all", err=True)
    else:
        for line in paths.lines(shown, place.path):
            text, mark, remark = line.partition("  # ")
            click.echo(text + click.style(mark + remark, dim=True))


@command.command("set", context_settings=_VALUES)
@click.argument("path", shell_complete=_paths)
@click.argument("value")
@click.option("--append", is_flag=True, help="Put VALUE at the end of the list at PATH.")
@CONFIG
@data_dir
@JSON
def change(path: str, value: str, append: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Give the setting at PATH a value. What else is in the file stays as it is, comments too.

    VALUE is a number, true, false, null, a text, or what stands in brackets: '[a, b]', '{id: big, window: 32768}'. A secret
    is given by its name, in single quotes: '${OPENAI_API_KEY}'.
    """
    from byway.cli import saving
    from byway.config import paths
    from byway.config.editing import Append, Set

    try:
        given = paths.parse_value(value)
    except paths.PathError as error:
        raise Misuse(str(error)) from None
    last: list[SettingLocation] = []

    def edits(config: Config) -> Sequence[Edit]:
        place = _place(config, path)
        last[:] = [place]
        _keep_secrets_out(config, place, given)
        return [Append(place.path, given) if append else Set(place.path, given)]

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing:
        done = "extended" if append else "set"
        saved = saving.save(filing, edits, "byway config", f"{path} {done}")
    _say_changed(saved, source, data, last[0], as_json, done, given)


@command.command()
@click.argument("path", shell_complete=_paths)
@CONFIG
@data_dir
@JSON
def unset(path: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Take a setting out of the file, so that its default counts."""
    from byway.cli import saving
    from byway.config.editing import Remove

    last: list[SettingLocation] = []

    def edits(config: Config) -> Sequence[Edit]:
        last[:] = [_place(config, path)]
        return [Remove(last[0].path)]

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing:
        saved = saving.save(filing, edits, "byway config", f"{path} taken out")
    _say_changed(saved, source, data, last[0], as_json, "taken out")


@command.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@data_dir
@JSON
def check(file: str | None, folder: str | None, as_json: bool) -> None:
    """Say everything that is wrong with a config file.

    FILE is read as `byway up` would. Without FILE: the one that is used.
    """
    source = find(file, os.environ, folder)
    if not file and not source.there:
        raise Misuse(f"There is no config file at {source.path}. Name one: byway config check FILE")
    if as_json:
        _check_for_programs(source)
        return
    config = read(source)
    for line in warnings(source, config):
        click.echo(line, err=True)
    click.echo(f"{source.path}: ok")
    click.echo()
    for name, value in summary(config):
        click.echo(f"  {name:<12}{value}")


def _check_for_programs(source: ConfigSource) -> None:

    try:
        found, good = source.read().warnings, True
    except ConfigError as error:
        found, good = error.problems, False
    except OSError as error:
        raise Failure(f"{source.path} cannot be read: {error.strerror or error}") from None
    told = [{"path": one.path, "line": one.line, "message": one.message, "severity": one.severity} for one in found]
    print_json({"file": str(source.path), "good": good, "complaints": told})
    if not good:
        raise click.exceptions.Exit(Misuse.exit_code)


@command.command()
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="So many versions at most.")
@CONFIG
@data_dir
@JSON
def history(limit: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show who changed the config, when, and what for.

    The newest version comes first; the last 100 are kept.
    """
    import msgspec

    from byway.cli import saving

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing:
        now, found = filing.read().etag, filing.versions()[:limit]
    if as_json:
        plain = [{**msgspec.to_builtins(one), "current": one.etag == now} for one in found]
        print_json([{key: value for key, value in one.items() if key != "text"} for one in plain])
        return
    if not found:
        click.echo("There is no version yet: each change makes one.", err=True)
        return
    current = next((one.number for one in found if one.etag == now), None)
    rows = [("VERSION", "WHEN", "WHO", "WHAT FOR")]
    for one in found:
        rows.append(
            (f"{one.number}{' *' if one.number == current else ''}", f"{one.at:%Y-%m-%d %H:%M} UTC", one.who, one.why)
        )
    print_table(rows)
    if current is not None:
        click.echo("* is what the file says now. What one changed: byway config show VERSION", err=True)


@command.command()
@click.argument("version", type=click.IntRange(1))
@CONFIG
@data_dir
@JSON
def show(version: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show what VERSION changed, line by line. Secrets are hidden."""
    import msgspec

    from byway.cli import saving

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing, _numbered():
        filing.read()
        one, changes = filing.version(version), filing.changes(version)
    if as_json:
        plain = {key: value for key, value in msgspec.to_builtins(one).items() if key != "text"}
        print_json({**plain, "changes": changes})
        return
    click.echo(click.style(f"Version {one.number}, {one.at:%Y-%m-%d %H:%M} UTC, {one.who}: {one.why}", bold=True))
    colours = {"+": "green", "-": "red"}
    for line in changes:
        colour = colours.get(line[:1])
        click.echo(click.style(line, fg=colour) if colour else click.style(line, dim=line.startswith("@@")))


@command.command()
@click.argument("version", type=click.IntRange(1))
@CONFIG
@data_dir
@JSON
def rollback(version: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """Make the file what it was in VERSION.

    If that is still a good config. What comes of it is a version too, so this can be undone.
    """
    from byway.cli import saving

    source, data = saving.sourced(file, folder), platform.data_folder(folder, os.environ)
    with saving.opened(source, data) as filing:
        before = filing.read()
        was = saving.config_of(filing, before.text)
        kept = next((one.number for one in filing.versions() if one.etag == before.etag), None)
        with _numbered():
            outcome = filing.rollback(version, saving.who("byway config"), before.etag)
    saved = saving.Saved(before, outcome, was)
    if as_json:
        print_json({"version": version, **saving.told(saved, source, data)})
        return
    saving.say(saved, source, data, f"{source.path} is what it was in version {version}")
    if saved.changed and kept is not None:
        click.echo(f"To undo that: byway config rollback {kept}", err=True)


# -------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _numbered() -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        raise Misuse(f"{error.args[0]} See: byway config history") from None


def _place(config: Config, path: str) -> SettingLocation:
    from byway.config import paths

    try:
        place = paths.find(config, path)
    except paths.PathError as error:
        raise Misuse(str(error)) from None
    return place


def _optional(place: SettingLocation) -> bool:
    """Is it an entry of a mapping, which is there or not, rather than a setting without a value?"""
    return place.path[0] == "model_aliases" or "headers" in place.path


def _keep_secrets_out(config: Config, place: SettingLocation, given: Any) -> None:
    """End the command where a secret itself was typed: what it is called belongs into the file."""
    from byway.config.paths import dotted, literal_secrets

    at = next(literal_secrets(place, given), None)
    if at is None:
        return
    value = given
    for key in at[len(place.path) :]:
        value = value[key]
    if not str(value).strip():
        raise Misuse(
            f"There is nothing to put at {dotted(at)}. If ${{NAME}} was meant, the shell has replaced it: write it in single "
            "quotes."
        )
    if at[0] == "api_keys":
        way = "Byway makes keys for its clients itself, and keeps only their hashes: byway key create NAME"
    else:
        entry = ENTRIES.get(_whose(config, at, given))
        variable = entry.variable if entry else "NAME"
        keep = f"byway secret set {entry.name}" if entry else f"export {variable}=... where Byway starts"
        # Within something larger it is that which is written anew.
        use = f"byway config set {dotted(at)} '${{{variable}}}'" if at == place.path else f"{at[-1]}: ${{{variable}}}"
        way = f"Keep it elsewhere, and name it here:\n  {keep}\n  {use}"
    raise Misuse(
        f"{dotted(at)} is a secret, and the command line is seen by other programs and kept by the shell, so nothing was "
        f"changed. If this was a real one, have a new one made. {way}"
    )


def _whose(config: Config, at: tuple[str | int, ...], given: Any) -> str:
    """The vendor or provider that wants the secret at a path, as far as can be known."""
    if at[0] == "web_search":
        return str(config.web_search.provider or "")
    if isinstance(given, dict) and given.get("type"):
        return str(given["type"])
    index = at[1] if len(at) > 1 else None
    there = isinstance(index, int) and index < len(config.backends)
    return config.backends[index].type if there and isinstance(index, int) else ""


def _say_changed(
    saved: Saved, source: ConfigSource, data: Path, place: SettingLocation, as_json: bool, done: str, given: Any = None
) -> None:
    """Tell of a change at a place; `done` is what was done, where its values are too much for a line."""
    from byway.cli import saving
    from byway.config import paths

    before, after = _value(saved.was, place), _value(saved.outcome.config, place)
    path = paths.dotted(place.path)
    if as_json:
        print_json({"path": path, "value": after, "before": before, **saving.told(saved, source, data)})
        return
    if place.note.format == "secret" and isinstance(given, str):
        # The name that was typed says more than the mask of what stands behind it.
        after = given
    now, was = paths.short_text(after), paths.short_text(before)
    beside = f" (was {was})" if now and was and now != was else ""
    saving.say(saved, source, data, f"{path}: {now or done}{beside}")


def _value(config: Config, place: SettingLocation) -> Any:
    """What a config says at a place, masked; None where it says nothing."""
    from byway.config import paths

    try:
        found = paths.locate(config, place.path)
    except paths.PathError:
        return None
    return paths.table(found, None, everything=False).values


def summary(config: Config) -> list[tuple[str, str]]:
    """What the config comes to, as lines of name and value."""
    lines = [("listens at", ", ".join(config.server.bind_address))]
    for at, one in enumerate(config.backends):
        models = ", ".join(one.models) if one.models else "asked of it"
        place = f" at {one.url}" if one.url else ""
        state = f" (off: {one.off})" if one.off else ""
        lines.append(("" if at else "backends", f"{one.name} ({one.type}{place}): {models}{state}"))
    for at, (alias, leads) in enumerate(config.model_aliases.items()):
        lines.append(("" if at else "aliases", f"{alias} -> {', then '.join(leads)}"))
    keys = len(config.api_keys.api_keys)
    open_door = "not asked for" if config.api_keys.mode == "permissive" else "asked for once `byway key` has made one"
    asked = "asked for" if config.api_keys.closed else open_door
    lines.append(("keys", f"{keys or 'none'}, {asked}"))
    return lines
