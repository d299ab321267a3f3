"""`byway config`: read, change and check the settings, export and import them, and go back to an earlier version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TextIO

import click

from byway.cli.configfile import ConfigSource, find, glimpse, read, warnings
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json, print_table
from byway.config import Config, ConfigError
from byway.display import count, moment
from byway.secrets.names import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from byway.admin.config import CurrentConfig, SavedConfig
    from byway.config.editing import Edit
    from byway.config.paths import SettingLocation
    from byway.store import KeyRecord

# Values and numbers may begin with a dash.
_VALUES = {"ignore_unknown_options": True}


def _paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from byway.config.paths import completions

    return completions(glimpse(ctx), incomplete)


@click.group()
def command() -> None:
    """Read, change and check the settings. Byway need not run; a running one loads a change within a second."""


@command.command()
@click.argument("path", required=False, default="", shell_complete=_paths)
@click.option("--all", "everything", is_flag=True, help="Include the defaults of settings that are not set.")
@CONFIG
@DATA_DIR
@JSON
def get(path: str, everything: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Print the setting at PATH, or all that are set.

    Secrets are masked; `# ${NAME}` names the variable that a secret comes from.

    PATH has dots: server.bind_address, backends.0.url, backends.work.url, model_aliases.claude-*
    """
    from byway.config import editing, paths

    source = find(file, os.environ, folder)
    config = read(source)
    place = _locate(config, path)
    if path and place.value is None and not isinstance(place.path[-1], int) and _is_entry(place):
        raise Misuse(f"{paths.dotted(place.path)} is not set.")
    tree = editing.meaning(source.path.read_bytes().decode()) if source.there else None
    given = editing.value_at(tree, place.path)
    shown = paths.table(place, given, everything=everything, exact=as_json)
    if path and shown.values == {}:
        shown = paths.table(place, given, everything=True, exact=as_json)
    if as_json:
        print_json(shown.values)
    elif isinstance(shown.values, str):
        click.echo(shown.values)
    elif shown.values == {}:
        note("Nothing is set, so the defaults apply. To print them: byway config get --all")
    else:
        for line in paths.lines(shown, place.path):
            text, mark, remark = line.partition("  # ")
            click.echo(text + click.style(mark + remark, dim=True))


@command.command("set", context_settings=_VALUES)
@click.argument("path", shell_complete=_paths)
@click.argument("value")
@click.option("--append", is_flag=True, help="Append VALUE to the list at PATH.")
@CONFIG
@DATA_DIR
@JSON
def set_command(path: str, value: str, append: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Set the setting at PATH. Everything else in the file is kept, comments too.

    VALUE is a number, true, false, null, text, or YAML in brackets: '[a, b]', '{id: big, window: 32768}'. Give a secret by
    the name of its variable, in single quotes: '${OPENAI_API_KEY}'.
    """
    from byway.cli import change
    from byway.config import paths
    from byway.config.editing import Append, Set

    try:
        given = paths.parse_value(value)
    except paths.PathError as error:
        raise Misuse(str(error)) from None
    last: list[SettingLocation] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        place = _locate(current.config, path)
        last[:] = [place]
        _reject_secret(current.config, place, given)
        return [Append(place.path, given) if append else Set(place.path, given)]

    source, data = change.writable_source(file, folder), data_folder(folder)
    done = "extended" if append else "set"
    saved = change.save(source, data, edits, "byway config", f"{path} {done}")
    _print_setting(saved, source, data, last[0], as_json, done, given)


@command.command("unset")
@click.argument("path", shell_complete=_paths)
@CONFIG
@DATA_DIR
@JSON
def unset_command(path: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Remove a setting from the file, so that its default applies."""
    from byway.cli import change
    from byway.config.editing import Remove

    last: list[SettingLocation] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        last[:] = [_locate(current.config, path)]
        return [Remove(last[0].path)]

    source, data = change.writable_source(file, folder), data_folder(folder)
    saved = change.save(source, data, edits, "byway config", f"{path} removed")
    _print_setting(saved, source, data, last[0], as_json, "removed")


@command.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@DATA_DIR
@JSON
def check(file: str | None, folder: str | None, as_json: bool) -> None:
    """Check a config file and print every error.

    FILE is read as `byway up` would read it. Default: the file that is in use.
    """
    source = find(file, os.environ, folder)
    if not file and not source.there:
        raise Misuse(f"There is no config file at {source.path}. Name one: byway config check FILE")
    if as_json:
        _check_as_json(source)
        return
    config = read(source)
    for line in warnings(source, config):
        note(line)
    if warning := _unpriced(config, data_folder(folder)):
        note(f"warning: {warning}")
    click.echo(f"{source.path}: valid")
    click.echo()
    for name, value in summary(config, _stored_keys(data_folder(folder))):
        click.echo(f"  {name:<12}{value}")


def _unpriced(config: Config, folder: Path) -> str:
    """The warning about models that budgets count as free; empty without any. Queries no backend."""
    if not any(limit.budget for limit in config.limits):
        return ""
    import asyncio

    from byway.admin.limits import unpriced_targets, unpriced_warning
    from byway.prices.source import PriceSource
    from byway.runtime import Runtime

    async def find_targets() -> list[str]:
        runtime = Runtime(config, price_source=PriceSource(folder))
        try:
            await runtime.prices.load()
            return unpriced_targets(runtime)
        finally:
            await runtime.close()

    return unpriced_warning(asyncio.run(find_targets()))


def _check_as_json(source: ConfigSource) -> None:
    from byway.admin.config import ConfigReport, complaints

    try:
        report = ConfigReport(True, complaints(source.read().warnings))
    except ConfigError as error:
        report = ConfigReport(False, complaints(error.problems))
    except OSError as error:
        raise Failure(f"{source.path} cannot be read: {error.strerror or error}") from None
    print_json({"file": str(source.path), "good": report.good, "complaints": report.complaints})
    if not report.good:
        raise click.exceptions.Exit(Misuse.exit_code)


@command.command()
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The most versions to print.")
@CONFIG
@DATA_DIR
@JSON
def history(limit: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """List the versions of the config file.

    Shows who changed it, when and why, newest first. The last 100 are kept.
    """
    from byway.admin.config import list_versions
    from byway.cli import change

    source, data = change.writable_source(file, folder), data_folder(folder)
    with change.open_config(source, data) as config_file:
        versions = list_versions(config_file, limit)
    if as_json:
        print_json({"versions": versions})
        return
    if not versions:
        note("There are no versions yet. Each change makes one.")
        return
    rows = [("VERSION", "WHEN", "WHO", "WHY")]
    for version in versions:
        rows.append(
            (f"{version.number}{' *' if version.current else ''}", moment(version.at), version.who, version.why)
        )
    print_table(rows)
    if any(version.current for version in versions):
        note("* is the file as it is now. To see what a version changed: byway config show VERSION")


@command.command()
@click.argument("version", type=click.IntRange(1))
@CONFIG
@DATA_DIR
@JSON
def show(version: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show what VERSION changed, line by line. Secrets are hidden."""
    from byway.admin.config import version_changes
    from byway.cli import change

    source, data = change.writable_source(file, folder), data_folder(folder)
    with change.open_config(source, data) as config_file:
        shown = version_changes(config_file, version)
    if as_json:
        print_json(shown)
        return
    click.echo(click.style(f"Version {shown.number}, {moment(shown.at)}, {shown.who}: {shown.why}", bold=True))
    print_diff(shown.changes)


@command.command()
@click.argument("version", type=click.IntRange(1))
@CONFIG
@DATA_DIR
@JSON
def rollback(version: int, file: str | None, folder: str | None, as_json: bool) -> None:
    """Restore the text of VERSION.

    It has to be a valid config still. The result is a new version, so a rollback can be undone.
    """
    from byway.admin.config import list_versions, rollback_config
    from byway.cli import change

    source, data = change.writable_source(file, folder), data_folder(folder)
    with change.open_config(source, data) as config_file:
        before = next((info.number for info in list_versions(config_file) if info.current), None)
        saved = rollback_config(config_file, version, change.author("byway config"), config_file.read().etag)
    if as_json:
        print_json({"version": version, **change.change_report(saved, source, data)})
        return
    change.print_change(saved, source, data, f"{source.path} has the text of version {version}")
    if saved.is_changed and before is not None:
        note(f"To undo this: byway config rollback {before}")


@command.command("export")
@click.argument("output", required=False, type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace OUTPUT when it exists.")
@CONFIG
@DATA_DIR
@JSON
def export_command(output: str | None, force: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Print the config without secrets, or write it to OUTPUT.

    Each secret in the file becomes a `${VARIABLE}`. A comment at the top lists the variables. Other comments are kept.
    """
    from pathlib import Path

    from byway import platform
    from byway.admin.configtext import export_config
    from byway.cli import change

    source, data = change.writable_source(file, folder), data_folder(folder)
    if not source.path.exists():
        raise Misuse(f"There is no config file at {source.path}.")
    with change.open_config(source, data) as config_file:
        export = export_config(config_file)
    if output:
        path = Path(output)
        if path.exists() and not force:
            raise Misuse(f"{path} exists. To replace it, add --force")
        try:
            platform.write_private(path, export.text.encode())
        except OSError as error:
            raise Failure(f"{path} cannot be written: {error.strerror or error}") from None
    if as_json:
        print_json(export)
        return
    if not output:
        click.echo(export.text, nl=False)
        return
    click.echo(f"Exported to {output}. It contains no secrets.")
    if export.variables:
        print_table([("VARIABLE", "USED BY"), *((item.name, ", ".join(item.settings)) for item in export.variables)])


@command.command("import")
@click.argument("text", metavar="FILE", type=click.File("r", encoding="utf-8"))
@click.option("--yes", is_flag=True, help="Import it without a question.")
@click.option("--dry-run", is_flag=True, help="Show the changes only.")
@CONFIG
@DATA_DIR
@JSON
def import_command(text: TextIO, yes: bool, dry_run: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Replace the config by FILE after a check and a look at the changes. `-` reads stdin.

    A secret in the present config stays where FILE has a variable that is not set here. The result is a new version, so an
    import can be undone.
    """
    import secrets

    from byway.admin.config import list_versions
    from byway.admin.configtext import import_config, preview_import
    from byway.cli import change
    from byway.cli.clientchange import confirm

    source, data = change.writable_source(file, folder), data_folder(folder)
    try:
        new = text.read()
    except UnicodeDecodeError:
        raise Misuse(f"{text.name} is not UTF-8 text.") from None
    with change.open_config(source, data) as config_file:
        source.vault.fetch(new)
        preview = preview_import(config_file, new, secrets.token_bytes(32), source.vault)
        if as_json and (dry_run or not preview.good):
            print_json(preview)
        elif not as_json:
            for complaint in preview.complaints:
                place = f"{text.name}:{complaint.line}: " if complaint.line else f"{text.name}: "
                note(
                    f"{place}{complaint.severity}: {f'{complaint.path}: ' if complaint.path else ''}{complaint.message}"
                )
            print_diff(preview.changes)
        if not preview.good:
            raise click.exceptions.Exit(Misuse.exit_code)
        if not as_json:
            if not preview.changes:
                click.echo("Nothing to change.")
                return
            if preview.missing:
                note(f"Not set here: {', '.join(preview.missing)}")
        if dry_run or (not as_json and not confirm("Import this config?", yes=yes)):
            return
        before = next((info.number for info in list_versions(config_file) if info.current), None)
        saved = import_config(config_file, new, change.author("byway config"), source.vault, preview.etag)
    if as_json:
        print_json(change.change_report(saved, source, data))
        return
    change.print_change(saved, source, data, f"{source.path} is replaced by {text.name}")
    if saved.is_changed and before is not None:
        note(f"To undo this: byway config rollback {before}")


def print_diff(lines: Sequence[str]) -> None:
    """Print the lines of a diff in colours."""
    colours = {"+": "green", "-": "red"}
    for line in lines:
        colour = colours.get(line[:1])
        click.echo(click.style(line, fg=colour) if colour else click.style(line, dim=line.startswith("@@")))


# -------------------------------------------------------------------------------------------------------------------------


def _locate(config: Config, path: str) -> SettingLocation:
    from byway.config import paths

    try:
        return paths.find(config, path)
    except paths.PathError as error:
        raise Misuse(str(error)) from None


def _is_entry(place: SettingLocation) -> bool:
    """True for an entry of a mapping, which exists or not; False for a setting without a value."""
    return (
        place.path[0] == "model_aliases"
        or (place.path[0] == "prices" and len(place.path) == 2)
        or "headers" in place.path
    )


def _reject_secret(config: Config, place: SettingLocation, given: Any) -> None:
    """End the command when the value is a secret: the config contains only the name of its variable."""
    from byway.config.paths import dotted, literal_secrets

    at = next(literal_secrets(place, given), None)
    if at is None:
        return
    value = given
    for key in at[len(place.path) :]:
        value = value[key]
    if not str(value).strip():
        raise Misuse(
            f"The value for {dotted(at)} is empty. If you typed ${{NAME}}, the shell has replaced it: use single quotes."
        )
    if at[0] == "api_keys":
        way = "Byway makes client keys itself and stores only their hashes: byway key create NAME"
    else:
        entry = ENTRIES.get(_vendor(config, at, given))
        variable = entry.variable if entry else "NAME"
        store = f"byway secret set {entry.name}" if entry else f"export {variable}=... before Byway starts"
        # In a larger value the user writes it again.
        use = f"byway config set {dotted(at)} '${{{variable}}}'" if at == place.path else f"{at[-1]}: ${{{variable}}}"
        way = f"Store it elsewhere and refer to it by its variable:\n  {store}\n  {use}"
    raise Misuse(
        f"{dotted(at)} is a secret. Other programs and the shell history can read the command line, so nothing was changed. "
        f"If you typed a real one, replace it. {way}"
    )


def _vendor(config: Config, at: tuple[str | int, ...], given: Any) -> str:
    """The vendor or provider of the secret at a path, as far as it is known."""
    if at[0] == "web_search":
        return str(config.web_search.provider or "")
    if isinstance(given, dict) and given.get("type"):
        return str(given["type"])
    index = at[1] if len(at) > 1 else None
    if isinstance(index, int) and index < len(config.backends):
        return config.backends[index].type
    return ""


def _print_setting(
    saved: SavedConfig,
    source: ConfigSource,
    data: Path,
    place: SettingLocation,
    as_json: bool,
    done: str,
    given: Any = None,
) -> None:
    """Print a change of one setting. `done` replaces the value when that does not fit on a line."""
    from byway.cli import change
    from byway.config import paths

    before, after = _value(saved.before.config, place), _value(saved.result.config, place)
    path = paths.dotted(place.path)
    if as_json:
        print_json({"path": path, "value": after, "before": before, **change.change_report(saved, source, data)})
        return
    if place.note.format == "secret" and isinstance(given, str):
        # The variable that was typed is more useful than the masked value.
        after = given
    now, was = paths.short_text(after), paths.short_text(before)
    beside = f" (was {was})" if now and was and now != was else ""
    change.print_change(saved, source, data, f"{path}: {now or done}{beside}")


def _value(config: Config, place: SettingLocation) -> Any:
    """The value of a setting, masked; None when it is not set."""
    from byway.config import paths

    try:
        located = paths.locate(config, place.path)
    except paths.PathError:
        return None
    return paths.table(located, None, everything=False).values


def summary(config: Config, stored: Sequence[KeyRecord] = ()) -> list[tuple[str, str]]:
    """What `byway up` would do with the config, as lines of name and value. `stored` are the keys of `byway key`."""
    from byway.access.keys import key_required

    required = key_required(config.api_keys, stored)
    addresses = [_listens_at(address, required=required) for address in config.server.bind_address]
    lines = [("" if index else "listens at", address) for index, address in enumerate(addresses)]
    for index, backend in enumerate(config.backends):
        names = [_with_window(name, backend.windows.get(name)) for name in backend.names]
        models = ", ".join(names) or "the models that it lists"
        place = f" at {backend.url}" if backend.url else ""
        state = f" (disabled: {backend.off})" if backend.off else ""
        lines.append(("" if index else "backends", f"{backend.name} ({backend.type}{place}): {models}{state}"))
    for index, (alias, targets) in enumerate(config.model_aliases.items()):
        lines.append(("" if index else "aliases", f"{alias} -> {', '.join(targets)}"))
    if not config.model_aliases:
        lines.append(("aliases", "none; a single model answers every name"))
    if any(not backend.windows.get(name) for backend in config.backends for name in backend.names or ("",)):
        lines.append(("windows", "as the backends report them, where none is set: `byway models` shows them"))
    lines.append(("keys", _keys(config, stored, required=required)))
    lines.append(("web search", _web_search(config)))
    lines += [("" if index else "limits", text) for index, text in enumerate(_limits(config))]
    return lines


def _limits(config: Config) -> list[str]:
    """What the limits allow: `each key: $20.00 per month`."""
    from byway.admin.limits import configured_limits

    return [f"{info.subject_text}: {info.allowed_text}" for info in configured_limits(config)]


def _listens_at(address: str, *, required: bool) -> str:
    """The address that is really used: without keys, one that other machines can reach is replaced by loopback."""
    import ipaddress

    from byway.config import listen

    place = listen(address)
    if isinstance(place, str) or required:
        return address
    host, port = place
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost" or host.endswith(".localhost")
    if is_local:
        return address
    return f"127.0.0.1:{port} ({address} requires a key, `byway key create NAME`, or `byway up --insecure`)"


def _with_window(model: str, window: int | None) -> str:
    return f"{model} (window {window:,})" if window else model


def _keys(config: Config, stored: Sequence[KeyRecord], *, required: bool) -> str:
    configured, created = len(config.api_keys.api_keys), sum(record.usable for record in stored)
    parts = [count(configured, "key") + " in the config"] if configured else []
    if created:
        parts.append(f"{created} created by `byway key`")
    listed = ", ".join(parts) or "none"
    if required:
        return f"{listed}; required"
    if config.api_keys.mode == "permissive":
        return f"{listed}; not required (mode: permissive)"
    return f"{listed}; required once `byway key create` has made one"


def _web_search(config: Config) -> str:
    settings = config.web_search
    if settings.missing:
        names = ", ".join(settings.missing)
        others = ", then ".join(provider.provider for provider in settings.providers)
        effect = f"only {others} is used" if others else "searches fail"
        return f"{settings.provider}: {names} is not set, so {effect}"
    if not settings.enabled:
        return "off"
    return f"on: {', then '.join(provider.provider for provider in settings.providers)}"


def _stored_keys(data: Path) -> Sequence[KeyRecord]:
    """The keys that `byway key` has created; none without a store."""
    from byway.store import FILE_NAME, Store, StoreError

    if not (data / FILE_NAME).exists():
        return ()
    try:
        with Store(data) as store:
            return store.key_records()
    except StoreError as error:
        note(str(error))
        return ()
