"""Downloads of model files: list, start, cancel, resume, forget. They run in the background."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from byway.admin.errors import invalid
from byway.config import Config
from byway.local.catalogue import source_of
from byway.local.downloads import BackgroundDownload, Downloads
from byway.problems import Problem


class DownloadInfo(Struct, frozen=True):
    """A download."""

    number: int
    source: str
    """The URL without its query, or `owner/repo[:quantisation]`."""
    state: Literal["running", "stopped", "failed", "done"]
    message: str
    """Why it failed."""
    started_at: float
    """Seconds since the epoch."""
    file: str = ""
    """The file that is being downloaded, or its path when it is complete."""
    done: int = 0
    """Bytes on the disk."""
    total: int | None = None
    speed: float = 0.0
    """Bytes per second."""
    seconds_left: float | None = None
    verifying: bool = False
    """All bytes have arrived and the checksum is being computed."""
    verified: bool | None = None
    """The checksum was known and matches; null before the end."""


class DownloadList(Struct, frozen=True):
    """All downloads, newest first."""

    downloads: tuple[DownloadInfo, ...]
    free_space: int | None
    """Bytes that are free on the disk."""


def list_downloads(downloads: Downloads) -> DownloadList:
    """All downloads and the free space of their disk."""
    return DownloadList(tuple(map(_info, downloads.jobs)), downloads.free_space())


def start_download(downloads: Downloads, source: str, config: Config) -> DownloadInfo:
    """Start a download, or resume the one of the same source. `source` may be a name of the catalogue. Raises Problem."""
    if not source.strip():
        raise invalid("source", "give `owner/repo` of the hub, or the URL of a .gguf file")
    try:
        return _info(downloads.start(source_of(source), config.local_models, local_only=config.local_only))
    except ValueError as error:
        raise invalid("source", str(error)) from None


def resume_download(downloads: Downloads, number: int, config: Config) -> DownloadInfo:
    """Resume a download that was stopped or has failed. Raises Problem."""
    find_download(downloads, number)
    try:
        return _info(downloads.resume(number, config.local_models, local_only=config.local_only))
    except ValueError as error:
        raise Problem("invalid_request", str(error)) from None


async def cancel_download(downloads: Downloads, number: int) -> DownloadInfo:
    """Stop a download; the bytes that have arrived are kept. Raises Problem."""
    find_download(downloads, number)
    return _info(await downloads.cancel(number))


async def forget_download(downloads: Downloads, number: int) -> DownloadInfo:
    """Stop a download, remove its incomplete file, and take it off the list. Raises Problem, or OSError."""
    job = find_download(downloads, number)
    await downloads.discard(number)
    return _info(job)


def find_download(downloads: Downloads, number: int) -> BackgroundDownload:
    """The download of that number. Raises Problem."""
    try:
        return downloads.get(number)
    except ValueError:
        raise Problem("not_found", f"There is no download {number}.") from None


def _info(job: BackgroundDownload) -> DownloadInfo:
    progress, done = job.progress, job.done
    return DownloadInfo(
        job.number,
        job.shown,
        job.state,
        job.message,
        job.began,
        str(done.path) if done else progress.name if progress else "",
        done.size if done else progress.done if progress else 0,
        done.size if done else progress.total if progress else None,
        progress.speed if progress and job.state == "running" else 0.0,
        progress.left if progress and job.state == "running" else None,
        bool(progress and progress.checking and job.state == "running"),
        done.checked if done else None,
    )
