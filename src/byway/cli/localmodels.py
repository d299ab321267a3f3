"""`byway models add`, `download`, `load` and `unload`: models that Byway runs itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from byway import platform
from byway.cli import change
from byway.cli.client import address, backend, report
from byway.cli.configfile import read
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, StatusLine, print_json
from byway.display import duration, elapsed, listing, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from byway.admin.config import CurrentConfig
    from byway.admin.localmodels import LoadPlan
    from byway.config.editing import Edit
    from byway.local.download import DownloadProgress

#: Seconds between two requests for the state, until a running Byway has certainly seen a change, and until a model must
#: have loaded.
_INTERVAL: Final = 0.2
_NOTICED: Final = 1.0
_LOAD_LIMIT: Final = 900.0


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@CONFIG
@DATA_DIR
@JSON
def add(path: Path, file: str | None, folder: str | None, as_json: bool) -> None:
    """Add a GGUF file, or a folder of them. The files stay where they are."""
    from byway.admin import localmodels

    source, data = change.writable_source(file, folder), data_folder(folder)
    path = path.absolute()
    names: list[str] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        names[:], made = localmodels.add_path(data, current, path)
        return made

    saved = change.save(source, data, edits, "byway models", f"{path.name} added")
    if as_json:
        print_json({"path": str(path), "models": names, **change.change_report(saved, source, data)})
        return
    click.echo(f"{path} added to {source.path}." if saved.is_changed else f"{path} was added before.")
    if len(names) == 1:
        click.echo(f"To run it: byway models load {names[0]}")
    else:
        click.echo(f"Models: {listing(names)}")


@click.command()
@click.argument("source_name", metavar="NAME|URL|OWNER/REPO[:QUANTISATION]")
@CONFIG
@DATA_DIR
@JSON
def download(source_name: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Download a model.

    Give a name of `byway models catalogue`, the URL of a GGUF file, or a repository of the hub (`local_models.hub`).

    Interrupted downloads resume: run the same command again. A checksum is verified when the hub has one. HF_TOKEN is used
    for repositories that require it.
    """
    config, data = read(change.writable_source(file, folder)), data_folder(folder)
    from byway.local.catalogue import source_of
    from byway.local.download import DownloadError
    from byway.local.download import download as fetch
    from byway.local.library import model_name

    models = platform.private_folder(data) / "models"
    line = StatusLine()
    task = fetch(
        source_of(source_name),
        models,
        config.local_models,
        local_only=config.local_only,
        show=lambda progress: line.show(_progress(progress)),
    )
    try:
        done = asyncio.run(task)
    except DownloadError as error:
        line.clear()
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        line.clear()
        raise Failure("Stopped. To resume, run the same command again.") from None
    line.clear()
    if as_json:
        print_json({"path": done.path, "size": done.size, "verified": done.checked, "downloaded": done.fresh})
        return
    checked = "checksum verified" if done.checked else "not verified: the hub has no checksum"
    click.echo(f"{done.path}: {size(done.size)}, {checked if done.fresh else 'downloaded before'}")
    click.echo(f"To run it: byway models load {model_name(done.path.name)}")


def _progress(progress: DownloadProgress) -> str:
    if progress.checking:
        return f"{progress.name}: verifying {size(progress.done)}"
    text = f"{progress.name}: {size(progress.done)}"
    if progress.total is not None:
        text += f" of {size(progress.total)} ({progress.done * 100 // max(1, progress.total)} %)"
    if progress.speed:
        text += f", {size(progress.speed)}/s"
    if progress.left is not None:
        text += f", {duration(progress.left)} left"
    return text


@click.command()
@click.argument("model", metavar="NAME|PATH")
@click.option("--name", default="", help="Its name. [default: the file's name]")
@click.option(
    "--window", type=click.IntRange(128), metavar="N", help="Context in tokens. [default: the model's, at most 32768]"
)
@click.option("--gpu-layers", type=click.IntRange(0), metavar="N", help="Layers on the GPU. [default: as many as fit]")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads. [default: $OMP_NUM_THREADS, else up to 8]",
)
@click.option(
    "--idle-unload", metavar="TIME", help="Unload it after this time without a request, such as 10m. [default: never]"
)
@click.option(
    "--alias", default="", metavar="ALIAS", help="Set this alias to it, such as default, haiku or 'claude-*'."
)
@CONFIG
@DATA_DIR
@JSON
def load(
    model: str,
    name: str,
    window: int | None,
    gpu_layers: int | None,
    threads: int | None,
    idle_unload: str | None,
    alias: str,
    file: str | None,
    folder: str | None,
    as_json: bool,
) -> None:
    """Load a model.

    Give a name that `byway models` lists, or a GGUF file. With other options a loaded model is loaded again.
    """
    from byway.admin import localmodels

    source, data = change.writable_source(file, folder), data_folder(folder)
    options = localmodels.LoadOptions(model, name, window, gpu_layers, threads, idle_unload, alias)
    running = address(data)
    plans: list[LoadPlan] = []
    memory: list[int | None] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        plans[:] = [localmodels.load_model(data, current, options)]
        memory[:] = [_memory(data, running, plans[0].backend)]
        return plans[0].edits

    saved = change.save(source, data, edits, "byway models", f"model {name or model} loaded")
    plan, before = plans[0], memory[0]
    started = time.monotonic()
    state = _wait(data, running, plan.backend, gone=False) if running else None
    after, free = _memory(data, running, plan.backend), platform.available_memory()
    if as_json:
        print_json(
            {
                **{"backend": plan.backend, "model": plan.model, "path": plan.path},
                "state": state["state"] if state else "not running",
                **{"memory_before": before, "memory_after": after, "memory_free": free},
                **change.change_report(saved, source, data),
            }
        )
        return
    if state is None:
        click.echo(f"{plan.model} added to {source.path}. It is loaded when Byway starts: byway up")
        return
    seconds = time.monotonic() - started
    names = f"{plan.model} or {alias}" if alias else plan.model
    click.echo(f"{plan.model} is loaded ({elapsed(seconds)}). Model name for clients: {names}")
    _print_memory(before, after, free)


@click.command()
@click.argument("model", metavar="NAME")
@CONFIG
@DATA_DIR
@JSON
def unload(model: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Unload a model that Byway runs.

    Its settings are removed from the config, and aliases that have no other target. Its file is kept.
    """
    from byway.admin import localmodels

    source, data = change.writable_source(file, folder), data_folder(folder)
    running = address(data)
    names: list[str] = []
    made: list[Edit] = []
    memory: list[int | None] = []

    def edits(current: CurrentConfig) -> Sequence[Edit]:
        name, made[:] = localmodels.unload_model(current, model)
        names[:] = [name]
        memory[:] = [_memory(data, running, name)]
        return made

    saved = change.save(source, data, edits, "byway models", f"model {model} unloaded")
    if running:
        _wait(data, running, names[0], gone=True)
    aliases = [str(edit.path[1]) for edit in made[1:]]
    free = platform.available_memory()
    if as_json:
        report: dict[str, Any] = {"backend": names[0], "aliases": aliases}
        memory_report = {"memory_before": memory[0], "memory_free": free}
        print_json({**report, **memory_report, **change.change_report(saved, source, data)})
        return
    click.echo(f"{model} is unloaded{f'. Changed aliases: {listing(aliases)}' if aliases else ''}.")
    _print_memory(memory[0], 0 if memory[0] else None, free)


# ------------------------------------------------------------------------------------------------------ a running Byway


def _memory(data: Path, running: str | None, name: str) -> int | None:
    """Bytes that a loaded model uses: 0 when it is not loaded, None when that is unknown."""
    status = report(running, data) if running else None
    if status is None:
        return None
    entry = backend(status, name)
    memory = entry.get("memory", 0) if entry else 0
    return memory if isinstance(memory, int) else None


def _wait(data: Path, running: str, name: str, *, gone: bool) -> dict[str, Any] | None:
    """Wait until the running Byway has loaded a model, or with `gone` has unloaded it. Raises Failure when it cannot."""
    started = time.monotonic()
    line = StatusLine()
    try:
        while (seconds := time.monotonic() - started) < _LOAD_LIMIT:
            status = report(running, data)
            entry = backend(status, name) if status else None
            line.show(f"{'Unloading' if gone else 'Loading'} {name} ... {elapsed(seconds)}")
            if status and seconds > _NOTICED:
                if status.get("config") != "good":
                    raise Failure(f"The running Byway rejected the config: {status.get('config')}")
                if gone and entry is None:
                    return None
                if entry and not gone and entry.get("state") in ("ready", "asleep"):
                    return entry
                if entry and not gone and entry.get("state") in ("failed", "off"):
                    raise Failure(str(entry.get("message") or f"{name} could not be loaded. See Byway's log."))
                if entry is None and seconds > 3 * _NOTICED:
                    raise Failure(f"The Byway at {running} uses another config file. Name that file with --config.")
            time.sleep(_INTERVAL)
    finally:
        line.clear()
    raise Failure(
        f"{name} did not load within {duration(_LOAD_LIMIT)}. Byway keeps trying. See its state: byway models"
    )


def _print_memory(before: int | None, after: int | None, free: int | None) -> None:
    if before is not None and after is not None:
        rest = f" ({size(free)} of this machine's memory are free)" if free is not None else ""
        click.echo(f"Memory: {size(before)} before, {size(after)} now{rest}")
