"""Finds out which files to download: from a URL, or from `owner/repo[:quantisation or file]` of a hub. No network.

The API of the hub: https://huggingface.co/docs/hub/api and the client `@huggingface/hub` 2.4.1, `ApiIndexTreeEntry` (both seen
2026-11-21): `GET /api/models/OWNER/REPO/tree/main?recursive=true` lists `{type, path, size, lfs: {oid, size}}`, where
`lfs.oid` is the SHA-256 of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from byway import urls
from byway.decoding import DECODE_ERRORS
from byway.local import library

#: The quantisations to use by default, best first: a compromise of size and quality.
_DEFAULTS: Final = ("Q4_K_M", "Q4_K_S", "Q4_0", "MXFP4", "Q5_K_M", "Q8_0")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LONGEST_NAME: Final = 200
_SHOWN: Final = 12


class NoSuchModel(Exception):
    """The source names no model. The message says how to name one."""


class Repository(NamedTuple):
    """A repository of a hub, and the wanted files: the name of a file, a quantisation, or "" for the default."""

    owner: str
    name: str
    wanted: str = ""

    @property
    def tree(self) -> str:
        """The path of the list of its files, below the address of the hub."""
        return f"/api/models/{self.owner}/{self.name}/tree/main?recursive=true"


class RemoteFile(NamedTuple):
    """A file to download."""

    url: str
    name: str
    """The path below the folder of models: a file name, or `owner/repo/` and the path in the repository."""
    size: int | None = None
    sha256: str = ""


def parse_source(text: str) -> Repository | RemoteFile:
    """Parse a source. Raises NoSuchModel."""
    text = text.strip()
    if re.match(r"(?i)[a-z][a-z0-9+.-]*://", text):
        try:
            url = urls.parse(text)
        except ValueError as error:
            raise NoSuchModel(f"The URL {error}.") from None
        return RemoteFile(str(url), _file_name(unquote(url.path.rpartition("/")[2])))
    name, _, file = text.partition(":")
    owner, slash, repo = name.partition("/")
    if not slash or not _WORD.fullmatch(owner) or not _WORD.fullmatch(repo):
        raise NoSuchModel(
            f"{text[:100]!r} is neither a URL nor the name of a repository. "
            "Use https://… or owner/repo, optionally followed by :QUANTISATION or :FILE."
        )
    return Repository(owner, repo, file.strip())


def download_url(url: str, hub: str) -> str:
    """The URL of a file's bytes, also for the URL of the hub's page about it (`/blob/`)."""
    return re.sub(rf"^({re.escape(hub)}/[^/]+/[^/]+)/blob/", r"\1/resolve/", url)


def select_files(repo: Repository, listing: bytes, hub: str) -> list[RemoteFile]:
    """The wanted files of a repository by its listing: all parts of one model. Raises NoSuchModel."""
    try:
        entries: Any = msgspec.json.decode(listing)
    except DECODE_ERRORS:
        raise NoSuchModel("The hub's list of files cannot be read.") from None
    files = {path: entry for path, entry in _files(entries if isinstance(entries, list) else ())}
    models = [path for path in files if library.is_model_file(path.rpartition("/")[2])]
    if not models:
        raise NoSuchModel(
            f"{repo.owner}/{repo.name} has no GGUF files. Find a repository of the same model whose name ends in GGUF."
        )
    first = _chosen(repo, models)
    folder, slash, name = first.rpartition("/")
    paths = [f"{folder}{slash}{part.name}" for part in library.part_files(PurePosixPath(name))]
    missing = [path for path in paths if path not in files]
    if missing:
        raise NoSuchModel(f"{first} is one of several parts, and the hub has no {missing[0]}.")
    return [_item(repo, path, files[path], hub) for path in paths]


def _files(entries: Iterable[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") == "file" and isinstance(entry.get("path"), str):
            yield entry["path"], entry


def _chosen(repo: Repository, models: Sequence[str]) -> str:
    """The path of the wanted model."""
    wanted = repo.wanted.lower()
    if wanted.endswith(".gguf"):
        exact = [path for path in models if wanted in (path.lower(), path.lower().rpartition("/")[2])]
        if exact:
            return exact[0]
    elif wanted:
        fitting = [path for path in models if has_quantisation(path, repo.wanted)]
        if fitting:
            return min(fitting, key=len)
    else:
        for usual in _DEFAULTS:
            fitting = [path for path in models if has_quantisation(path, usual)]
            if fitting:
                return min(fitting, key=len)
        if len(models) == 1:
            return models[0]
    there = ", ".join(path.rpartition("/")[2] for path in models[:_SHOWN])
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    what = f"has no {repo.wanted[:80]!r}" if wanted else "has several models"
    raise NoSuchModel(
        f"{repo.owner}/{repo.name} {what}. Choose one of {there}{more}, as in {repo.owner}/{repo.name}:FILE."
    )


def has_quantisation(path: str, quantisation: str) -> bool:
    """Whether the name of the file or its folder contains the quantisation as a whole word."""
    return re.search(rf"(?i)(^|[-._/]){re.escape(quantisation)}([-._/]|$)", path) is not None


def _item(repo: Repository, path: str, entry: dict[str, Any], hub: str) -> RemoteFile:
    lfs = entry.get("lfs")
    facts = lfs if isinstance(lfs, dict) else {}
    size = facts.get("size", entry.get("size"))
    digest = _SHA256.fullmatch(str(facts.get("oid", facts.get("sha256", ""))))
    *folders, file = path.split("/")
    name = "/".join([*map(_safe, folders), _file_name(file)])
    url = f"{hub}/{repo.owner}/{repo.name}/resolve/main/{quote(path)}"
    known = size if isinstance(size, int) and size >= 0 else None
    return RemoteFile(url, f"{repo.owner}/{repo.name}/{name}", known, digest[1] if digest else "")


def _file_name(text: str) -> str:
    """A safe file name. Raises NoSuchModel."""
    download_url = _safe(text)
    if not download_url.lower().endswith(".gguf") or len(download_url) <= len(".gguf"):
        raise NoSuchModel(f"{text[:100]!r} is not a GGUF file: its name must end in .gguf.")
    return download_url


def _safe(text: str) -> str:
    """A part of a path that stays in its folder and is valid on every system."""
    return re.sub(r"[^A-Za-z0-9._+@() -]", "_", text).strip(" .")[-_LONGEST_NAME:].lstrip("-. ") or "_"
