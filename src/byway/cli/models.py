"""`byway models`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from byway import platform
from byway.backends.vendors import VENDORS
from byway.cli import client, localmodels
from byway.cli.configfile import CONFIG, JSON, data_dir, find, read
from byway.cli.output import print_table
from byway.display import size

if TYPE_CHECKING:
    from byway.config import BackendSettings, Config
    from byway.runtime import Runtime


@click.group(invoke_without_command=True)
@CONFIG
@data_dir
@JSON
@click.pass_context
def command(ctx: click.Context, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show what can be asked for, and who answers. Asks the backends themselves; Byway need not run."""
    if ctx.invoked_subcommand is None:
        _show(file, folder, as_json)


@command.command("list")
@CONFIG
@data_dir
@JSON
def listing(file: str | None, folder: str | None, as_json: bool) -> None:
    """The same, which `byway models` alone shows too: models, aliases, and the model files on this machine."""
    _show(file, folder, as_json)


for _one in (localmodels.add, localmodels.download, localmodels.load, localmodels.unload):
    command.add_command(_one)


def _show(file: str | None, folder: str | None, as_json: bool) -> None:
    config = read(find(file, os.environ, folder))
    from byway.runtime import Runtime

    async def ask() -> dict[str, Any]:
        runtime = Runtime(config)
        try:
            await runtime.refresh()
            return await answers(runtime)
        finally:
            await runtime.close()

    found = asyncio.run(ask())
    data = platform.data_folder(folder, os.environ)
    _told_by_it(found, data)
    found["files"] = files(config, data)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    rows: list[tuple[str, ...]] = [("MODEL", "BACKEND", "WINDOW", "STATE")]
    rows += [(one["model"] or "-", one["backend"], _window(one), one["state"]) for one in found["targets"]]
    print_table(rows)
    for one in found["backends"]:
        if one["message"]:
            click.echo(f"{one['name']}: {one['message']}", err=True)
    if any(one["model"] and not one["window"] for one in found["targets"]):
        click.echo("Tell an unknown window in the config: models: [{id: NAME, window: TOKENS}]", err=True)
    if found["aliases"]:
        click.echo()
        print_table(
            [("ALIAS", "TARGETS"), *((one["alias"], ", then ".join(one["targets"])) for one in found["aliases"])]
        )
    if found["files"]:
        click.echo()
        head = ("FILE", "SIZE", "QUANTISATION", "CONTEXT", "FROM")
        print_table([head, *(_file_row(one) for one in found["files"])])


def _told_by_it(found: dict[str, Any], data: Path) -> None:
    """How the models are that Byway runs itself: a running one knows better than what can be seen from here."""
    url = client.address(data)
    told = client.report(url) if url else None
    for one in found["backends"] if told else ():
        live = client.backend(told, one["name"]) if told and VENDORS[one["type"]].managed else None
        if live is not None:
            one |= {"state": live.get("state"), "message": live.get("message", ""), "memory": live.get("memory")}
            for target in found["targets"]:
                if target["backend"] == one["name"]:
                    target["state"] = one["state"]


def files(config: Config, folder: Path) -> list[dict[str, Any]]:
    """The model files on this machine, ready for JSON; `problem` says why one cannot be loaded."""
    from byway.local import gguf, library

    told = []
    loaded = {one.path: one.name for one in config.backends if one.path}
    for one in library.find_models(folder, os.environ, paths=config.local_models.paths):
        about: dict[str, Any] = {
            "name": one.name,
            "path": str(one.path),
            "size": one.size,
            "parts": one.parts,
            "origin": one.origin,
            "backend": loaded.get(str(one.path)),
        }
        try:
            model = library.read_model_header(one.path)
        except (gguf.InvalidFile, OSError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            told.append({**about, "problem": words or "cannot be read"})
            continue
        if model.loadable:
            told.append(
                {
                    **about,
                    "title": model.name,
                    "architecture": model.architecture,
                    "parameters": model.size,
                    "quantisation": model.quantisation,
                    "window": model.window,
                    "template": model.template,
                }
            )
    return told


def _file_row(one: dict[str, Any]) -> tuple[str, ...]:
    origin = {"byway": "Byway", "lmstudio": "LM Studio", "ollama": "Ollama", "huggingface": "Hugging Face cache"}
    where = origin.get(one["origin"], one["path"])
    if "problem" in one:
        return one["name"], size(one["size"]), "-", "-", f"{where}: {one['problem']}"
    window = f"{one['window']:,}" if one["window"] else "-"
    loaded = f" (loaded as {one['backend']})" if one["backend"] else ""
    return one["name"], size(one["size"]), one["quantisation"] or "-", window, f"{where}{loaded}"


def _window(target: dict[str, Any]) -> str:
    """A window with its source: 32,768 (backend)."""
    if target["window"]:
        return f"{target['window']:,} ({target['window_source']})"
    return "unknown" if target["model"] else "-"


async def answers(runtime: Runtime) -> dict[str, Any]:
    """Backends, targets and aliases of a runtime that has asked its backends, ready for JSON."""
    from byway.problems import Problem

    targets = []
    backends = []
    for live in runtime.backends.values():
        models, window = live.models, None
        state: str = live.state
        message = live.message
        if live.vendor.managed and state != "off":
            # Its process belongs to `byway up`; all that can be said here is whether it could run.
            state, message, window = _own(live.settings)
        backends.append({"name": live.name, "type": live.vendor.name, "state": state, "message": message})
        for model in models or (None,):
            facts = live.registry.get(model) if model else None
            known = facts is not None and facts.window is not None
            targets.append(
                {
                    "backend": live.name,
                    "model": model,
                    "window": facts.window if facts and known else window,
                    "window_source": facts.source if facts and known else "backend" if window else None,
                    "tools": facts.tools if facts else None,
                    "vision": facts.vision if facts else None,
                    "state": state,
                }
            )
    aliases = []
    for alias, leads in runtime.aliases.items():
        try:
            places = (await runtime.route(alias, probe=True)).targets
        except Problem:
            places = ()
        shown = [f"{place.backend}/{place.model}" for place in places]
        aliases.append({"alias": alias, "targets": shown or list(leads)})
    return {"backends": backends, "targets": targets, "aliases": aliases}


def _own(settings: BackendSettings) -> tuple[str, str, int | None]:
    """State, message and window of a model that Byway would run itself."""
    from byway.local.supervisor import (
        BUILTIN_WINDOW,
        DEFAULT_WINDOW_LIMIT,
        NotInstalled,
        UnusableFile,
        builtin_weights,
        check_model_file,
        require_engine,
    )

    try:
        if settings.path:
            require_engine()
            own = min(check_model_file(Path(settings.path)).window or DEFAULT_WINDOW_LIMIT, DEFAULT_WINDOW_LIMIT)
        else:
            builtin_weights()
            own = BUILTIN_WINDOW
    except (NotInstalled, UnusableFile) as error:
        return "failed", str(error), None
    return "ready", "starts with `byway up`", settings.window or own
