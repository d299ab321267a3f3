"""What somebody wants to download -> the files to ask for: a URL, or `owner/repo[:quantisation or file]` of a hub. No network.

The hub's API: https://huggingface.co/docs/hub/api and the client `@huggingface/hub` 2.4.1, `ApiIndexTreeEntry` (both seen
2026-11-21): `GET /api/models/OWNER/REPO/tree/main?recursive=true` lists `{type, path, size, lfs: {oid, size}}`, where
`lfs.oid` is the SHA-256 of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from byway import urls
from byway.local import library

#: What is taken when nobody says, best first: a middle between size and quality.
_USUAL: Final = ("Q4_K_M", "Q4_K_S", "Q4_0", "MXFP4", "Q5_K_M", "Q8_0")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LONGEST_NAME: Final = 200
_SHOWN: Final = 12


class NoSuchModel(Exception):
    """There is nothing to download by what was said; the words say what to say instead."""


class Repository(NamedTuple):
    """A repository of a hub, and which of its files are wanted: a file's name, a quantisation, or "" for the usual one."""

    owner: str
    name: str
    wanted: str = ""

    @property
    def tree(self) -> str:
        """The path of the list of its files, below the hub's own address."""
        return f"/api/models/{self.owner}/{self.name}/tree/main?recursive=true"


class RemoteFile(NamedTuple):
    """A file to download."""

    url: str
    name: str
    """Where it is put, below the folder of models: one name, or `owner/repo/` and the file's path there."""
    size: int | None = None
    sha256: str = ""


def parse_source(text: str) -> Repository | RemoteFile:
    """What `text` names. Raises Unfound."""
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
            "Give https://… or owner/repo, with :QUANTISATION or :FILE behind it if you like."
        )
    return Repository(owner, repo, file.strip())


def download_url(url: str, hub: str) -> str:
    """The address of a file's bytes, where somebody has copied that of the hub's page about it (`/blob/`)."""
    return re.sub(rf"^({re.escape(hub)}/[^/]+/[^/]+)/blob/", r"\1/resolve/", url)


def select_files(repo: Repository, listing: bytes, hub: str) -> list[RemoteFile]:
    """The files of a repository that are wanted, by its listing: all parts of one model. Raises Unfound."""
    try:
        entries: Any = msgspec.json.decode(listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NoSuchModel("The hub's list of files cannot be read.") from None
    files = {path: entry for path, entry in _files(entries if isinstance(entries, list) else ())}
    models = [path for path in files if library.is_model_file(path.rpartition("/")[2])]
    if not models:
        raise NoSuchModel(
            f"{repo.owner}/{repo.name} has no GGUF files. Look for a repository of the same model whose name ends in GGUF."
        )
    first = _chosen(repo, models)
    folder, slash, name = first.rpartition("/")
    paths = [f"{folder}{slash}{part.name}" for part in library.part_files(PurePosixPath(name))]
    absent = [path for path in paths if path not in files]
    if absent:
        raise NoSuchModel(f"{first} is one of several parts, and the hub has no {absent[0]}.")
    return [_item(repo, path, files[path], hub) for path in paths]


def _files(entries: Iterable[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") == "file" and isinstance(entry.get("path"), str):
            yield entry["path"], entry


def _chosen(repo: Repository, models: Sequence[str]) -> str:
    """The model that is meant."""
    asked = repo.wanted.lower()
    if asked.endswith(".gguf"):
        exact = [path for path in models if asked in (path.lower(), path.lower().rpartition("/")[2])]
        if exact:
            return exact[0]
    elif asked:
        fitting = [path for path in models if _has(path, repo.wanted)]
        if fitting:
            return min(fitting, key=len)
    else:
        for usual in _USUAL:
            fitting = [path for path in models if _has(path, usual)]
            if fitting:
                return min(fitting, key=len)
        if len(models) == 1:
            return models[0]
    there = ", ".join(path.rpartition("/")[2] for path in models[:_SHOWN])
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    what = f"has no {repo.wanted[:80]!r}" if asked else "has several models"
    raise NoSuchModel(
        f"{repo.owner}/{repo.name} {what}. There are {there}{more}: say which, as in {repo.owner}/{repo.name}:FILE."
    )


def _has(path: str, quantisation: str) -> bool:
    """Does the file's name, or its folder's, carry this quantisation as a word of its own?"""
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
    """A name that is safe as a file's; raises Unfound."""
    download_url = _safe(text)
    if not download_url.lower().endswith(".gguf") or len(download_url) <= len(".gguf"):
        raise NoSuchModel(f"{text[:100]!r} is no GGUF file: the name of one ends in .gguf.")
    return download_url


def _safe(text: str) -> str:
    """A part of a path that leads nowhere else and that every system takes."""
    return re.sub(r"[^A-Za-z0-9._+@() -]", "_", text).strip(" .")[-_LONGEST_NAME:].lstrip("-. ") or "_"
