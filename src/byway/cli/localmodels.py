"""`byway models add`, `download`, `load` and `unload`: edits of the config, and what comes of them in a running Byway."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway import platform
from byway.cli import saving
from byway.cli.client import address, backend, report
from byway.cli.configfile import CONFIG, JSON, ConfigSource, data_dir
from byway.cli.output import Failure, StatusLine, print_json
from byway.display import duration, size

if TYPE_CHECKING:
    from byway.config import Config
    from byway.config.editing import Edit
    from byway.local.download import DownloadProgress
    from byway.local.library import ModelFile

#: Seconds between two looks at a running Byway, until it has noticed an edit for sure, and until it must have loaded.
_LOOK_EVERY: Final = 0.2
_NOTICED: Final = 1.0
_LIMIT: Final = 900.0


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@CONFIG
@data_dir
@JSON
def add(path: Path, file: str | None, folder: str | None, as_json: bool) -> None:
    """Remember a GGUF file, or a folder of them. Nothing is copied or moved: the file stays where it is."""
    from byway.config.editing import Append
    from byway.local import library
    from byway.secrets.names import literal

    source, config = saving.config(file, folder)
    path = path.absolute()
    data = platform.data_folder(folder, os.environ)
    there = {one.path for one in library.find_models(data, os.environ, paths=config.local_models.paths)}
    found = library.find_models(data, {}, home=path, paths=[str(path)]) if path.is_dir() else [_described(path)]
    fresh = [one for one in found if one.path not in there]
    if not found:
        raise Failure(f"There is no model in {path}: no file in it ends in .gguf.")
    if fresh:
        _save(source, data, [Append(("local_models", "paths"), literal(str(path)))], f"{path.name} added")
    if as_json:
        print_json({"path": str(path), "models": [one.name for one in found], "added": bool(fresh)})
        return
    names = ", ".join(one.name for one in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    what = f"{path} is remembered in {source.path}; it stays where it is." if fresh else f"Byway knows {path} already."
    click.echo(
        f"{what}\nTo run it: byway models load {found[0].name}" if len(found) == 1 else f"{what}\nModels: {names}"
    )


def _described(path: Path) -> ModelFile:
    from byway.local import library

    _usable(path)
    return library.ModelFile(library.model_name(path.name), path, path.stat().st_size, "added")


@click.command()
@click.argument("what", metavar="URL|OWNER/REPO[:QUANTISATION]")
@CONFIG
@data_dir
@JSON
def download(what: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Download a model: a GGUF file by its URL, or one of a repository of the hub (`local_models.hub`).

    Broken off, by Ctrl-C too, it goes on where it was when the same is called again. A checksum is verified where the hub
    says one. HF_TOKEN is used for repositories that want it.
    """
    _, config = saving.config(file, folder)
    from byway.local.download import DownloadError
    from byway.local.download import download as fetch

    models = platform.private_folder(platform.data_folder(folder, os.environ)) / "models"
    line = StatusLine()
    try:
        done = asyncio.run(
            fetch(
                what, models, config.local_models, local_only=config.local_only, show=lambda one: line.show(_told(one))
            )
        )
    except DownloadError as failed:
        line.clear()
        raise Failure(str(failed)) from None
    except KeyboardInterrupt:
        line.clear()
        raise Failure("Stopped. What has come is kept: call it again to go on from there.") from None
    line.clear()
    if as_json:
        print_json({"path": str(done.path), "size": done.size, "checked": done.checked, "fresh": done.fresh})
        return
    from byway.local.library import model_name

    checked = "its checksum is right" if done.checked else "nobody has said its checksum, so it was not verified"
    click.echo(f"{done.path}: {size(done.size)}, {checked if done.fresh else 'it was there already'}")
    click.echo(f"To run it: byway models load {model_name(done.path.name)}")


def _told(one: DownloadProgress) -> str:
    if one.checking:
        return f"{one.name}: checking {size(one.done)}"
    share = f" of {size(one.total)} ({one.done * 100 // max(1, one.total)} %)" if one.total is not None else ""
    speed = f", {size(int(one.speed))}/s" if one.speed else ""
    left = f", {duration(one.left)} left" if one.left is not None else ""
    return f"{one.name}: {size(one.done)}{share}{speed}{left}"


@click.command()
@click.argument("model", metavar="NAME|PATH")
@click.option("--name", help="What to call it. [default: the file's name]")
@click.option(
    "--window", type=click.IntRange(128), metavar="N", help="Tokens of context. [default: its own, at most 32768]"
)
@click.option("--gpu-layers", type=click.IntRange(0), metavar="N", help="Layers on the GPU. [default: as many as fit]")
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads. [default: processors, 8 at most]")
@click.option(
    "--idle-unload", metavar="TIME", help="Unload it after so long without a request, such as 10m. [default: never]"
)
@click.option("--alias", metavar="ALIAS", help="Lead this name to it, such as default, haiku or claude-*.")
@CONFIG
@data_dir
@JSON
def load(
    model: str,
    name: str | None,
    window: int | None,
    gpu_layers: int | None,
    threads: int | None,
    idle_unload: str | None,
    alias: str | None,
    file: str | None,
    folder: str | None,
    as_json: bool,
) -> None:
    """Have Byway run a model: one that `byway models` lists, or a GGUF file. Changed options of a loaded one load it anew."""
    from byway.local import edits

    source, config = saving.config(file, folder)
    data = platform.data_folder(folder, os.environ)
    found, path = _which(model, config, data)
    _usable(path)
    name = name or edits.backend_name(found)
    options = {"window": window, "gpu_layers": gpu_layers, "threads": threads, "idle_unload": idle_unload}
    try:
        served, changes = edits.load_edits(
            config, str(path), options, name=name, alias=alias or "", fresh=not source.there
        )
    except edits.NameTaken as taken:
        raise Failure(f"{taken} Choose another --name.") from None
    running = address(data)
    before = _memory(running, name)
    _save(source, data, changes, f"model {name} loaded")
    began = time.monotonic()
    state = _await(running, name, gone=False) if running else None
    after, spare = _memory(running, name), platform.available_memory()
    if as_json:
        told = {
            "backend": name,
            "model": served,
            "path": str(path),
            "state": state["state"] if state else "not running",
        }
        print_json({**told, "memory_before": before, "memory_after": after, "memory_free": spare})
        return
    if state is None:
        click.echo(f"{served} is in {source.path}; it loads when Byway starts: byway up")
        return
    click.echo(
        f"{served} is loaded ({time.monotonic() - began:.1f} s). Ask for {served}{f' or {alias}' if alias else ''}."
    )
    _say_memory(before, after, spare)


@click.command()
@click.argument("model", metavar="NAME")
@CONFIG
@data_dir
@JSON
def unload(model: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """End a model that Byway runs, and forget its settings and aliases. Its file stays."""
    from byway.local import edits

    source, config = saving.config(file, folder)
    data = platform.data_folder(folder, os.environ)
    own = [(at, one) for at, one in enumerate(config.backends) if one.managed]
    fitting = [(at, one) for at, one in own if model == one.name] or [
        (at, one) for at, one in own if model in one.names
    ]
    if not fitting:
        names = ", ".join(one.name for _, one in own) or "none"
        raise Failure(f"No model that Byway runs is called {model}. There are: {names}.")
    at, settings = fitting[0]
    changes = edits.unload_edits(config, at)
    running = address(data)
    before = _memory(running, settings.name)
    if not _save(source, data, changes, f"model {settings.name} unloaded"):
        raise Failure(
            f"{model} runs because the config names no backend. Name one that is to answer instead, or start Byway with "
            "--no-model."
        )
    if running:
        _await(running, settings.name, gone=True)
    if as_json:
        print_json({"backend": settings.name, "memory_before": before, "memory_free": platform.available_memory()})
        return
    aliases = ", ".join(str(one.path[1]) for one in changes[1:])
    changed = f"; changed aliases: {aliases}" if aliases else ""
    click.echo(f"{model} is unloaded{changed}.")
    _say_memory(before, 0 if before else None, platform.available_memory())


# ---------------------------------------------------------------------------------------------------------- the settings


def _save(source: ConfigSource, data: Path, edits: Sequence[Edit], why: str) -> bool:
    """Edit the config file; False when there was nothing to change. What would not be a good config is not written."""
    with saving.opened(source, data) as filing:
        before = filing.read().etag
        return filing.change(edits, f"{platform.user_name()}, byway models", why).etag != before


def _which(model: str, config: Config, data: Path) -> tuple[str, Path]:
    """The name and file of what is to be loaded: a loaded model, a path, or one of the files of this machine."""
    from byway.local import library

    for one in config.backends:
        if one.path and model in (one.name, *one.names):
            return one.name, Path(one.path)
    path = platform.expand_user(model)
    if path.is_file():
        return library.model_name(path.name), path.absolute()
    found = library.find_models(data, os.environ, paths=config.local_models.paths)
    asked = model.lower()
    fitting = [one for one in found if one.name.lower() == asked] or [one for one in found if asked in one.name.lower()]
    if len(fitting) == 1:
        return fitting[0].name, fitting[0].path
    if fitting:
        raise Failure(
            f"Several models fit {model}: {', '.join(one.name for one in fitting[:12])}. Say which, or give the path."
        )
    there = f"There are: {', '.join(one.name for one in found[:12])}." if found else "None is found on this machine."
    raise Failure(f"No model file is called {model}. {there} To get one: byway models download OWNER/REPO")


def _usable(path: Path) -> None:
    from byway.local.supervisor import NotInstalled, UnusableFile, check_model_file, require_engine

    try:
        require_engine()
        check_model_file(path)
    except (NotInstalled, UnusableFile) as error:
        raise Failure(str(error)) from None


# -------------------------------------------------------------------------------------------------------- what is running


def _memory(running: str | None, name: str) -> int | None:
    """Bytes that a loaded model takes; 0 when it is not loaded, None when nobody knows."""
    told = report(running) if running else None
    if told is None:
        return None
    found = backend(told, name)
    memory = found.get("memory", 0) if found else 0
    return memory if isinstance(memory, int) else None


def _await(running: str, name: str, *, gone: bool) -> dict[str, Any] | None:
    """Wait until the running Byway has loaded a model (or has it no more); raises Failure when it cannot."""
    began = time.monotonic()
    line = StatusLine()
    try:
        while (spent := time.monotonic() - began) < _LIMIT:
            told = report(running)
            found = backend(told, name) if told else None
            line.show(f"{'Unloading' if gone else 'Loading'} {name} ... {spent:.1f} s")
            if told and spent > _NOTICED:
                if told.get("config") != "good":
                    raise Failure(f"The running Byway does not take the config: {told.get('config')}")
                if gone and found is None:
                    return None
                if found and not gone and found.get("state") in ("ready", "asleep"):
                    return found
                if found and not gone and found.get("state") in ("failed", "off"):
                    raise Failure(str(found.get("message") or f"{name} could not be loaded: Byway's log says why."))
                if found is None and spent > 3 * _NOTICED:
                    raise Failure(
                        f"The Byway at {running} does not use this config file; it will need a --config of the same."
                    )
            time.sleep(_LOOK_EVERY)
    finally:
        line.clear()
    raise Failure(f"{name} did not load within {_LIMIT:.0f} s. Byway goes on trying; see `byway models` or its log.")


def _say_memory(before: int | None, after: int | None, spare: int | None) -> None:
    if before is not None and after is not None:
        free = f"; {size(spare)} of this machine's memory are free" if spare is not None else ""
        click.echo(f"Memory: {size(before)} before, {size(after)} now{free}.")
