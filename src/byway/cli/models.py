"""`byway models`: which models clients can use, and the model files on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from byway.cli import client, localmodels, modelfiles, readiness
from byway.cli.alias import COLOURS, print_aliases
from byway.cli.configfile import find, read
from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json, print_table
from byway.display import count, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from byway.admin.aliases import AliasInfo
    from byway.admin.backends import BackendInfo, ModelInfo
    from byway.admin.localmodels import LocalModel
    from byway.admin.repairs import RepairInfo
    from byway.runtime import Runtime

#: Where a file comes from, where its path is of less interest.
_ORIGINS: Final = {"byway": "Byway", "lmstudio": "LM Studio", "ollama": "Ollama", "huggingface": "Hugging Face cache"}


@click.group(invoke_without_command=True)
@CONFIG
@DATA_DIR
@JSON
@click.pass_context
def command(ctx: click.Context, file: str | None, folder: str | None, as_json: bool) -> None:
    """List the models that clients can use; download, load and unload local ones; test them. Without a subcommand: list.

    Queries the backends itself, so Byway need not run.
    """
    if ctx.invoked_subcommand is None:
        _list(file, folder, as_json)


@command.command("list")
@CONFIG
@DATA_DIR
@JSON
def list_command(file: str | None, folder: str | None, as_json: bool) -> None:
    """List models, aliases, and the model files on this machine."""
    _list(file, folder, as_json)


@command.command("forget")
@click.argument("name", metavar="BACKEND[/MODEL]")
@DATA_DIR
@JSON
def forget_command(name: str, folder: str | None, as_json: bool) -> None:
    """Forget what Byway has learned from refusals of a backend, or of one of its models."""
    data = data_folder(folder)
    backend, _, model = name.partition("/")
    query = urlencode({"backend": backend, "model": model} if model else {"backend": backend})
    if client.address(data) or client.get(data, "/byway/repairs"):
        answer = client.delete(data, f"/byway/repairs?{query}")
        if answer is None:
            raise Failure(
                "The running Byway does not answer on its socket. Use the settings page, or stop Byway first."
            )
        forgotten = int(answer["forgotten"])
    else:
        forgotten = _forget_stored(data, backend, model)
    if as_json:
        print_json({"forgotten": forgotten})
    elif forgotten:
        click.echo(f"{count(forgotten, 'change')} to the calls of {name} forgotten.")
    else:
        click.echo(f"Nothing was learned of {name}.")


def _forget_stored(data: Path, backend: str, model: str) -> int:
    """Forget repairs in the store, while no Byway uses it."""
    from byway.admin.repairs import forget_repairs
    from byway.learned import LearnedRepairs
    from byway.store import FILE_NAME, Store, StoreError

    if not (data / FILE_NAME).exists():
        return 0
    try:
        with Store(data) as store:
            learned = LearnedRepairs(store.repairs())
            forgotten = forget_repairs(learned, backend, model)
            if forgotten:
                store.save_repairs(learned.records())
    except StoreError as error:
        raise Failure(str(error)) from None
    return forgotten


for _command in (
    *(localmodels.add, localmodels.download, localmodels.load, localmodels.unload),
    *(modelfiles.catalogue, modelfiles.delete, readiness.probe),
):
    command.add_command(_command)


def _list(file: str | None, folder: str | None, as_json: bool) -> None:
    config, data = read(find(file, os.environ, folder)), data_folder(folder)
    from byway.admin import aliases, backends
    from byway.admin.localmodels import list_models
    from byway.cli.snapshot import query_backends

    async def describe(runtime: Runtime) -> tuple[list[BackendInfo], list[AliasInfo]]:
        return await backends.list_backends(runtime), aliases.list_aliases(runtime)

    listed, names = query_backends(config, data, describe)
    listed = _with_memory(listed, data)
    files = [model for model in list_models(data, config) if model.path]
    repairs = _learned_repairs(data)
    if as_json:
        print_json({"backends": listed, "aliases": names, "files": files, "repairs": repairs})
        return
    _print_models(listed)
    for repair in repairs:
        note(f"{repair.backend}/{repair.model}: Byway {repair.description} ({repair.refusal})")
    if any(alias.targets for alias in names):
        click.echo()
        print_aliases([alias for alias in names if alias.targets])
    if files:
        click.echo()
        rows = [_file_row(model) for model in files]
        print_table([("FILE", "SIZE", "QUANTISATION", "CONTEXT", "FROM"), *rows])


def _with_memory(listed: Sequence[BackendInfo], data: Path) -> list[BackendInfo]:
    """The backends with the memory that the running Byway reports for local models."""
    import msgspec

    url = client.address(data)
    report = client.report(url, data) if url else None
    result = []
    for backend in listed:
        known = client.backend(report, backend.name) if report and backend.managed else None
        memory = known.get("memory") if known else None
        result.append(msgspec.structs.replace(backend, memory=memory) if isinstance(memory, int) else backend)
    return result


def _learned_repairs(data: Path) -> list[RepairInfo]:
    """What a running Byway has learned from refusals; nothing without a store."""
    from byway.admin.repairs import list_repairs
    from byway.learned import LearnedRepairs
    from byway.store import FILE_NAME, Store, StoreError

    if not (data / FILE_NAME).exists():
        return []
    try:
        with Store(data) as store:
            return list_repairs(LearnedRepairs(store.repairs()))
    except StoreError as error:
        note(str(error))
        return []


def _print_models(listed: Sequence[BackendInfo]) -> None:
    rows: list[tuple[str, ...]] = [("MODEL", "BACKEND", "CONTEXT", "STATE")]
    for backend in listed:
        names = [(model.name, _window(model)) for model in backend.models] or [("-", "-")]
        rows += [(name, backend.name, window, backend.state) for name, window in names]

    def style(row: int, column: int, cell: str) -> str:
        return click.style(cell, fg=COLOURS.get(cell)) if row and column == 3 else cell

    print_table(rows, style)
    for backend in listed:
        if backend.message:
            note(f"{backend.name}: {backend.message}{f' {backend.hint}' if backend.hint else ''}")
        for key in backend.keys:
            note(f"{backend.name}: {key}")
    if any(model.window is None for backend in listed for model in backend.models):
        note("To set an unknown context window in byway.yaml: models: [{id: NAME, window: TOKENS}]")


def _window(model: ModelInfo) -> str:
    """A context window with its source: `32,768 (backend)`."""
    return "unknown" if model.window is None else f"{model.window:,} ({model.window_source})"


def _file_row(model: LocalModel) -> tuple[str, ...]:
    origin: Any = _ORIGINS.get(model.origin, model.path)
    if model.problem:
        return model.name, size(model.size), "-", "-", f"{origin}: {model.problem}"
    loaded = f" (loaded as {', '.join(model.backends)})" if model.backends else ""
    window = f"{model.window:,}" if model.window else "-"
    return model.name, size(model.size), model.quantisation or "-", window, f"{origin}{loaded}"
