"""The catalogue of models to download: which of them fit this machine, and which are here already."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from byway.admin.localmodels import default_window
from byway.local import hub, library
from byway.local.catalogue import CATALOGUE, CatalogueEntry, ToolAbility
from byway.local.downloads import BackgroundDownload
from byway.local.memory import MachineMemory, MemoryFit, machine_memory, memory_fit

#: Models that fit come first, each group in the order of the catalogue.
_ORDER: Final = ("fits", "tight", "unknown", "too large")


class CatalogueModel(Struct, frozen=True):
    """A model of the catalogue."""

    name: str
    """`byway models download` accepts it."""
    title: str
    source: str
    """`owner/repo:quantisation` of the hub."""
    size: int
    """Bytes of the file, rounded; the hub reports the exact size when the download starts."""
    is_size_confirmed: bool
    """The size was read in a model card, not estimated."""
    parameters: str
    window: int
    """The context window that it was trained for, in tokens."""
    tools: ToolAbility
    """How well it calls tools."""
    licence: str
    advice: str
    fit: MemoryFit
    state: Literal["available", "downloading", "downloaded"]
    path: str = ""
    """The file, when it is here."""


class Catalogue(Struct, frozen=True):
    """Models to download, those that fit this machine first."""

    models: tuple[CatalogueModel, ...]
    memory: MachineMemory


def list_catalogue(folder: Path, jobs: Sequence[BackgroundDownload] = ()) -> Catalogue:
    """The catalogue for this machine. `folder` is the data folder; `jobs` are the downloads of the running Byway."""
    memory = machine_memory()
    running = {job.text for job in jobs if job.state == "running"}
    models = [_model(entry, folder, entry.source in running, memory) for entry in CATALOGUE]
    return Catalogue(tuple(sorted(models, key=lambda model: _ORDER.index(model.fit.fit))), memory)


def _model(entry: CatalogueEntry, folder: Path, is_running: bool, memory: MachineMemory) -> CatalogueModel:
    path = _downloaded(entry, folder)
    return CatalogueModel(
        entry.name,
        entry.title,
        entry.source,
        entry.size,
        entry.confirmed,
        entry.parameters,
        entry.window,
        entry.tools,
        entry.licence,
        entry.advice,
        memory_fit(entry.size, entry.cache, default_window(entry.window), memory),
        "downloading" if is_running else "downloaded" if path else "available",
        str(path) if path else "",
    )


def _downloaded(entry: CatalogueEntry, folder: Path) -> Path | None:
    """The file of an entry in Byway's own folder, when all its parts are there."""
    wanted = hub.parse_source(entry.source)
    if not isinstance(wanted, hub.Repository):
        return None
    with contextlib.suppress(OSError):
        for file in sorted((folder / "models" / wanted.owner / wanted.name).rglob("*.gguf")):
            is_whole = library.is_model_file(file.name) and all(part.exists() for part in library.part_files(file))
            if is_whole and hub.has_quantisation(str(file.name), wanted.wanted):
                return file
    return None
