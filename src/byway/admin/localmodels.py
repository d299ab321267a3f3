"""Local models: the files on this machine, which of them Byway runs, load, unload, add a folder, delete a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from byway import platform
from byway.admin.backends import written_index
from byway.admin.config import CurrentConfig
from byway.admin.errors import invalid
from byway.backend import Backend
from byway.config import BackendSettings, Config
from byway.config.editing import Append, Edit, Remove, Set
from byway.config.settings import BUILTIN, BUILTIN_MODEL, BUILTIN_ONLY
from byway.local import edits, gguf, library, supervisor
from byway.local.downloads import remove_empty_folders
from byway.local.memory import MachineMemory, MemoryFit, machine_memory, memory_fit
from byway.problems import Problem
from byway.secrets.names import literal
from byway.store import StoreProtocol

#: Options of a model that Byway runs, without its file.
OPTIONS: Final = tuple(option for option in BUILTIN_ONLY if option != "path")
#: The smallest value of each number among them.
LEAST: Final = {"window": 128, "threads": 1, "gpu_layers": 0}
#: Where a file was found, for people.
ORIGINS: Final = {
    "byway": "Byway's folder",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "huggingface": "Hugging Face cache",
    "added": "named in the config",
    "builtin": "comes with Byway",
}
_SHOWN: Final = 12
#: Bytes of the built-in model for a token of context: 30 layers with 3 key-value heads of 64 (its header, 2026-11-20).
_BUILTIN_CACHE: Final = 23_040


class LocalModel(Struct, frozen=True):
    """A model file on this machine, or the built-in model, which has no path."""

    name: str
    path: str
    size: int | None
    """Bytes, of all parts together."""
    origin: str
    parts: int = 1
    architecture: str = ""
    parameters: str = ""
    quantisation: str = ""
    window: int | None = None
    """The context window that it was trained for, in tokens."""
    chat_template: bool = True
    problem: str = ""
    """Why it cannot be loaded."""
    backends: tuple[str, ...] = ()
    """The backends that run it."""
    fit: MemoryFit | None = None
    """Whether it fits into the memory of this machine, with the window that it gets by default."""

    @property
    def is_deletable(self) -> bool:
        """True for a file in Byway's own folder."""
        return self.origin == "byway"


class LoadOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is loaded."""

    model: str
    """A name of the list, a loaded model, a path, or `builtin`."""
    name: str = ""
    """The backend's name. Default: made of the model's name."""
    window: int | None = None
    """Tokens of context. Default: the model's own, at most 32768."""
    gpu_layers: int | None = None
    threads: int | None = None
    idle_unload: str | None = None
    """Unload it after so long without a request, such as `10m`. Default: never."""
    alias: str = ""
    """An alias to set to it, such as `default`."""
    keep_builtin: bool = False
    """Keep the built-in model when this is the first backend of the config."""

    def options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in OPTIONS}


class LoadPlan(Struct, frozen=True):
    """What loading a model changes."""

    backend: str
    model: str
    """The name that clients use."""
    path: str
    edits: list[Any]


# -------------------------------------------------------------------------------------------------------------- the files


def list_models(folder: Path, config: Config, running: Sequence[Backend] = ()) -> list[LocalModel]:
    """The built-in model, then every model file on this machine. `running` are the backends whose models Byway runs."""
    loaded = {backend.name: backend.settings.path or "" for backend in running}
    if not running:
        loaded = {backend.name: backend.path or "" for backend in config.backends if backend.managed}
    paths = (*config.local_models.paths, *(path for path in loaded.values() if path))
    files = library.find_models(folder, os.environ, paths=paths)
    memory = machine_memory()
    return [
        _builtin(loaded, memory),
        *(model for file in files if (model := _describe(file, loaded, memory)) is not None),
    ]


def missing_engine() -> str:
    """Why no model can run on this machine; empty when models can."""
    try:
        supervisor.require_engine()
    except supervisor.NotInstalled as error:
        return str(error)
    return ""


def _builtin(loaded: Mapping[str, str], memory: MachineMemory) -> LocalModel:
    size, problem = None, ""
    try:
        supervisor.require_engine()
        size = supervisor.builtin_weights().stat().st_size
    except (supervisor.NotInstalled, OSError) as error:
        problem = str(error)
    return LocalModel(
        BUILTIN_MODEL,
        "",
        size,
        "builtin",
        parameters="135M",
        quantisation="Q4_1",
        window=supervisor.BUILTIN_WINDOW,
        problem=problem,
        backends=_running(loaded, ""),
        fit=memory_fit(size, _BUILTIN_CACHE, supervisor.BUILTIN_WINDOW, memory),
    )


def _describe(file: library.ModelFile, loaded: Mapping[str, str], memory: MachineMemory) -> LocalModel | None:
    """A model file; None for a file that only belongs to a model."""
    path = str(file.path)
    backends = _running(loaded, path)
    try:
        facts = file.path.stat()
        model = _header(path, facts.st_size, facts.st_mtime_ns)
    except (gguf.InvalidFile, OSError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        return LocalModel(
            file.name, path, file.size, file.origin, file.parts, problem=problem or "cannot be read", backends=backends
        )
    if not model.loadable:
        return None
    return LocalModel(
        file.name,
        path,
        file.size,
        file.origin,
        file.parts,
        model.architecture,
        model.size,
        model.quantisation,
        model.window,
        bool(model.template),
        backends=backends,
        fit=memory_fit(file.size, model.cache, default_window(model.window), memory),
    )


def default_window(trained: int | None) -> int:
    """The window that a model gets when none is set."""
    return min(trained or supervisor.DEFAULT_WINDOW_LIMIT, supervisor.DEFAULT_WINDOW_LIMIT)


def _running(loaded: Mapping[str, str], path: str) -> tuple[str, ...]:
    return tuple(name for name, file in loaded.items() if file == path)


@lru_cache(256)
def _header(path: str, size: int, changed_ns: int) -> gguf.ModelHeader:
    """The facts of a file's header, read once for each size and time of change. Raises gguf.InvalidFile or OSError."""
    return library.read_model_header(Path(path))


def find_file(folder: Path, config: Config, model: str) -> tuple[str, Path]:
    """The name and path of a loaded model, a path, or a model file on this machine. Raises Problem."""
    for backend in config.backends:
        if backend.path and model in (backend.name, *backend.names):
            return backend.name, Path(backend.path)
    path = platform.expand_user(model)
    if path.is_file():
        return library.model_name(path.name), path.absolute()
    files = library.find_models(folder, os.environ, paths=config.local_models.paths)
    wanted = model.lower()
    matching = [file for file in files if file.name.lower() == wanted] or [
        file for file in files if wanted and wanted in file.name.lower()
    ]
    if len(matching) == 1:
        return matching[0].name, matching[0].path
    if matching:
        names = ", ".join(file.name for file in matching[:_SHOWN])
        raise invalid("model", f"several models match {model!r}: {names}. Give the whole name, or the path")
    names = ", ".join(file.name for file in files[:_SHOWN]) or "none"
    raise invalid(
        "model", f"no model file is called {model!r}. Model files on this machine: {names}. To download one: "
        "byway models download OWNER/REPO"
    )  # fmt: skip


def check_file(path: Path) -> gguf.ModelHeader:
    """The facts of a model file that Byway can run. Raises Problem."""
    try:
        supervisor.require_engine()
        return supervisor.check_model_file(path)
    except (supervisor.NotInstalled, supervisor.UnusableFile) as error:
        raise Problem("invalid_request", str(error)) from None


# ------------------------------------------------------------------------------------------------------------- load


def load_model(folder: Path, current: CurrentConfig, options: LoadOptions) -> LoadPlan:
    """What changes when Byway loads a model, or loads it again with other options. Raises Problem."""
    for option, least in LEAST.items():
        value = getattr(options, option)
        if value is not None and value < least:
            raise invalid(option, f"{value} is too small; the least is {least}")
    if options.model in ("builtin", BUILTIN_MODEL) and not any(
        backend.path and options.model in (backend.name, *backend.names) for backend in current.config.backends
    ):
        return _load_builtin(current, options)
    name, path = find_file(folder, current.config, options.model)
    check_file(path)
    return load_file(current, path, options, options.name or edits.backend_name(name))


def load_file(current: CurrentConfig, path: Path, options: LoadOptions, name: str) -> LoadPlan:
    """What changes when Byway runs the file at `path` as the backend `name`. Raises Problem."""
    try:
        served, changes = edits.load_edits(
            current.config,
            str(path),
            options.options(),
            name=name,
            alias=options.alias,
            fresh=current.is_builtin_implied,
        )
    except edits.NameTaken as error:
        raise invalid("name", f"{error} Choose another name") from None
    if options.keep_builtin and current.is_builtin_implied:
        changes.insert(1, Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type}))
    return LoadPlan(name, served, str(path), changes)


def _load_builtin(current: CurrentConfig, options: LoadOptions) -> LoadPlan:
    name = options.name or BUILTIN.name
    chosen = {key: value for key, value in options.options().items() if value is not None}
    index = current.backend_index(name)
    changes: list[Edit]
    if index is not None:
        settings = current.config.backends[index]
        if not settings.managed or settings.path:
            raise invalid("name", f"there is a backend {name!r} already; choose another name")
        served = settings.names[0]
        changes = [Set(("backends", index, key), value) for key, value in chosen.items()]
    else:
        served = BUILTIN_MODEL
        value: dict[str, Any] = {"name": name, "type": BUILTIN.type, **chosen}
        if name not in (BUILTIN.name, BUILTIN_MODEL):
            served = name
            value["models"] = [name]
        changes = [Append(("backends",), value)]
    if options.alias:
        changes.append(Set(("model_aliases", options.alias), literal(f"{name}/{served}")))
    return LoadPlan(name, served, "", changes)


def change_options(current: CurrentConfig, name: str, options: Mapping[str, Any], alias: str = "") -> list[Edit]:
    """The edits that change the options of a loaded model; None removes an option. Raises Problem."""
    index = current.backend_index(name)
    if index is None:
        chosen = {key: value for key, value in options.items() if value is not None}
        changes: list[Edit] = [Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type, **chosen})]
    else:
        changes = [
            Remove(("backends", index, key)) if value is None else Set(("backends", index, key), value)
            for key, value in options.items()
        ]
    if alias:
        settings = next(backend for backend in current.config.backends if backend.name == name)
        changes.append(Set(("model_aliases", alias), literal(f"{name}/{settings.names[0]}")))
    return changes


def find_loaded(config: Config, model: str) -> BackendSettings:
    """The backend that runs `model`, by its own name or by the model's. Raises Problem."""
    managed = [backend for backend in config.backends if backend.managed]
    for matches in (
        [backend for backend in managed if backend.name == model],
        [backend for backend in managed if model in backend.names],
    ):
        if matches:
            return matches[0]
    names = ", ".join(backend.name for backend in managed) or "none"
    raise Problem("not_found", f"Byway runs no model called {model}. Models that it runs: {names}.")


def unload_model(current: CurrentConfig, model: str) -> tuple[str, list[Edit]]:
    """The backend that runs a model, and the edits that remove it with the alias targets that use it. Raises Problem."""
    name = find_loaded(current.config, model).name
    return name, edits.unload_edits(current.config, written_index(current, name))


# ------------------------------------------------------------------------------------------------------ add and delete


def add_path(folder: Path, current: CurrentConfig, path: Path) -> tuple[list[str], list[Edit]]:
    """The models at `path` (a file or a folder), and the edits that add it; no edit when all are known. Raises Problem."""
    if not path.exists():
        raise invalid("path", f"{path} does not exist")
    if path.is_dir():
        files = library.find_models(path, {}, home=path, paths=[str(path)])
    else:
        check_file(path)
        files = [library.ModelFile(library.model_name(path.name), path, path.stat().st_size, "added")]
    if not files:
        raise invalid("path", f"there is no model in {path}: no file in it ends in .gguf")
    known = {file.path for file in library.find_models(folder, os.environ, paths=current.config.local_models.paths)}
    changes: list[Edit] = []
    if any(file.path not in known for file in files):
        changes.append(Append(("local_models", "paths"), literal(str(path))))
    return [file.name for file in files], changes


def find_deletable(folder: Path, config: Config, running: Sequence[Backend], model: str) -> LocalModel:
    """The model file with that path or name, which may be deleted. Raises Problem with the reason when it may not."""
    models = [file for file in list_models(folder, config, running) if model and model in (file.path, file.name)]
    file = next((file for file in models if file.path == model), models[0] if len(models) == 1 else None)
    if file is None:
        several = f"several model files are called {model}; give the path" if models else "there is no such model file"
        raise invalid("path", several)
    if not file.is_deletable or not _is_inside(Path(file.path), folder / "models"):
        place = ORIGINS[file.origin]
        raise invalid("path", f"{file.name} is not in Byway's own folder ({place}); delete it where it belongs")
    if file.backends:
        raise invalid("path", f"{file.backends[0]} runs this file; unload it first")
    return file


def delete_file(
    folder: Path, config: Config, running: Sequence[Backend], store: StoreProtocol, path: str, who: str
) -> LocalModel:
    """Delete a file of Byway's own folder. `path` may be the name of the model. Raises Problem, or OSError."""
    model = find_deletable(folder, config, running, path)
    for part in library.part_files(Path(model.path)):
        part.unlink(missing_ok=True)
    remove_empty_folders(Path(model.path).parent, folder / "models")
    store.add_audit_entry(who, "model file deleted", model.name)
    return model


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether the folder of a file is within `folder`, links followed. A link itself may be deleted: its target stays."""
    try:
        return path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False
