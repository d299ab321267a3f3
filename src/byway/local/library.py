"""Finds GGUF files in the usual folders of this machine, and reads what each of them is.

It changes no folder and loads no model: `supervisor.py` does that."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, Literal, NamedTuple, TypeVar

from byway import platform
from byway.local import gguf

Origin = Literal["byway", "lmstudio", "ollama", "huggingface", "added"]

#: Levels of a folder and entries of a search: the path may be a whole disk.
_DEPTH: Final = 6
_ENTRIES: Final = 50_000
_FIRST_BYTES: Final = 1 << 20
_MANIFEST: Final = 1 << 20
#: `-00001-of-00003`, by the naming convention of GGUF.
_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})$")
#: Files that belong to a model: projectors, draft heads, importance matrices (naming convention, as above).
_BESIDE: Final = re.compile(r"(?i)(^|[-._])(mmproj|imatrix)([-._]|$)|^mtp-")
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-f]{64})")
_WEIGHTS: Final = "application/vnd.ollama.image.model"


class ModelFile(NamedTuple):
    """A model file."""

    name: str
    """The name of the file without its ending; for Ollama `qwen3:8b`."""
    path: Path
    """The file: the first one of several parts."""
    size: int
    """Bytes, of all parts together."""
    origin: Origin
    parts: int = 1


def model_folders(data: Path, environ: Mapping[str, str], home: Path) -> list[tuple[Origin, Path]]:
    """The usual folders of model files. `data` is the data folder of Byway.

    LM Studio: https://lmstudio.ai/docs/basics/import-model (`publisher/model/file`; earlier versions had
    ~/.cache/lm-studio). Ollama: https://docs.ollama.com/faq (OLLAMA_MODELS; on Linux its service has a home of its own).
    Hugging Face: https://huggingface.co/docs/hub/local-cache (HF_HUB_CACHE, else HF_HOME/hub). All seen 2026-11-21.
    """
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = environ.get("HF_HUB_CACHE") or Path(environ.get("HF_HOME") or cache / "huggingface") / "hub"
    if configured := environ.get("OLLAMA_MODELS"):
        ollama = [Path(configured)]
    else:
        ollama = [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    return [
        ("byway", data / "models"),
        ("lmstudio", home / ".lmstudio" / "models"),
        ("lmstudio", cache / "lm-studio" / "models"),
        *(("ollama", folder) for folder in ollama),
        ("huggingface", platform.expand_user(hub)),
    ]


def find_models(
    data: Path, environ: Mapping[str, str], *, home: Path | None = None, paths: Sequence[str] = ()
) -> list[ModelFile]:
    """The models in the usual folders and at `paths` (files or folders), each once, by name. Unreadable ones are omitted.

    A file that is in a usual folder and in `paths` too has the origin of the folder: a loaded model is such a file.
    """
    home = platform.expand_user("~") if home is None else home
    files: list[ModelFile] = []
    for origin, folder in model_folders(data, environ, home):
        files += _ollama(folder) if origin == "ollama" else _walk(folder, origin)
    for given in paths:
        path = platform.expand_user(given)
        files += _file(path, "added") if path.is_file() else _walk(path, "added")
    once: dict[tuple[int, int] | Path, ModelFile] = {}
    for file in files:
        once.setdefault(_identity(file.path), file)
    return sorted(once.values(), key=lambda file: (file.name.lower(), str(file.path)))


def read_model_header(path: Path) -> gguf.ModelHeader:
    """Read the header of a file, and no more of it than needed. Raises gguf.InvalidFile, or OSError."""
    with path.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise gguf.InvalidFile("is not a regular file")
        data = b""
        more = _FIRST_BYTES
        while True:
            piece = file.read(more)
            data += piece
            try:
                return gguf.parse_header(data)
            except gguf.TruncatedFile:
                if len(piece) < more or len(data) >= gguf.HEADER_LIMIT:
                    raise
            more = min(3 * len(data), gguf.HEADER_LIMIT - len(data))


P = TypeVar("P", bound=PurePath)


def part_files(path: P) -> list[P]:
    """All files of a model: itself, or the parts that its name implies, whether they exist or not."""
    stem, count = _whole(path)
    if count == 1:
        return [path]
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}{path.suffix}") for number in range(1, count + 1)]


def model_name(name: str) -> str:
    """The name of a model file without its ending and part number."""
    return _PART.sub("", name.removesuffix(".gguf").removesuffix(".GGUF"))


def is_model_file(name: str) -> bool:
    """Whether the name is that of a model, or of its first part."""
    part = _PART.search(name.removesuffix(".gguf"))
    if not name.lower().endswith(".gguf") or _BESIDE.search(name):
        return False
    return part is None or int(part[1]) == 1


def _whole(path: PurePath) -> tuple[str, int]:
    """The name without its part number, and the number of parts. More than 999 do not count."""
    part = _PART.search(path.stem)
    if part is None or not 1 <= int(part[2]) < 1000:
        return path.stem, 1
    return path.stem[: part.start()], int(part[2])


def _file(path: Path, origin: Origin) -> Iterator[ModelFile]:
    """The model whose first file this is, if any."""
    if not is_model_file(path.name):
        return
    files = part_files(path)
    try:
        size = sum(file.stat().st_size for file in files)
    except OSError:
        return
    yield ModelFile(model_name(path.name), path.absolute(), size, origin, len(files))


def _walk(folder: Path, origin: Origin) -> Iterator[ModelFile]:
    """The models below a folder. Links to files are followed, as in the Hugging Face cache."""
    for entry, _ in _entries(folder, _DEPTH):
        with contextlib.suppress(OSError):
            if is_model_file(entry.name) and entry.is_file():
                yield from _file(Path(entry.path), origin)


def _entries(folder: Path, levels: int) -> Iterator[tuple[os.DirEntry[str], int]]:
    """Everything but folders, down to `levels` folders below `folder`, each with its level. Links to folders are not followed.

    Ends early after `_ENTRIES` entries. Folders and entries that cannot be read are omitted.
    """
    left = _ENTRIES
    waiting = [(folder, 0)]
    while waiting:
        at, level = waiting.pop()
        try:
            entries = sorted(os.scandir(at), key=lambda entry: entry.name)
        except OSError:
            continue
        left -= len(entries)
        if left < 0:
            return
        for entry in entries:
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            if not is_folder:
                yield entry, level
            elif level < levels:
                waiting.append((Path(entry.path), level + 1))


def _ollama(folder: Path) -> Iterator[ModelFile]:
    """Ollama's models: `manifests/HOST/NAMESPACE/MODEL/TAG` names the blob with the weights (seen 2026-11-21:
    https://github.com/ollama/ollama/blob/main/server/internal/manifest/manifest.go)."""
    for path in _manifests(folder / "manifests"):
        host, space, model, tag = path.parts[-4:]
        digest = _weights(path)
        if digest is None:
            continue
        blob = folder / "blobs" / f"sha256-{digest}"
        owner = "" if space == "library" else f"{space}/"
        place = "" if host == "registry.ollama.ai" else f"{host}/"
        try:
            yield ModelFile(f"{place}{owner}{model}:{tag}", blob.absolute(), blob.stat().st_size, "ollama")
        except OSError:
            continue


def _manifests(folder: Path) -> Iterator[Path]:
    """The files at `HOST/NAMESPACE/MODEL/TAG` below `folder`."""
    for entry, level in _entries(folder, 3):
        if level == 3 and entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _weights(manifest: Path) -> str | None:
    """The SHA-256 of the weights that a manifest names."""
    try:
        with manifest.open("rb") as file:
            manifest_data: Any = json.loads(file.read(_MANIFEST))
    except (OSError, ValueError, RecursionError):
        return None
    layers = manifest_data.get("layers") if isinstance(manifest_data, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and layer.get("mediaType") == _WEIGHTS:
            digest = _DIGEST.fullmatch(str(layer.get("digest")))
            return digest[1] if digest else None
    return None


def _identity(path: Path) -> tuple[int, int] | Path:
    """A value that is the same for all names of a file."""
    try:
        status = path.stat()
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else path
