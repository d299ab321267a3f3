"""The downloads of the settings page: they run in the background, stop with Byway, and can be resumed after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from byway import platform
from byway.config import LocalModelSettings
from byway.local import hub
from byway.local.download import DownloadedFile, DownloadError, DownloadProgress, download
from byway.local.hub import NoSuchModel, Repository

DownloadState = Literal["running", "stopped", "failed", "done"]
#: Finished downloads that are listed, and downloads that run at once.
_LISTED: Final = 20
_AT_ONCE: Final = 3
_PART_ENDINGS: Final = (".part", ".part.json")


class BackgroundDownload:
    """One download. `text` is its source: a URL, or `owner/repo[:quantisation]`."""

    def __init__(self, number: int, text: str, state: DownloadState) -> None:
        self.number = number
        self.text = text
        self.state = state
        self.message = ""
        """Why it failed."""
        self.progress: DownloadProgress | None = None
        self.done: DownloadedFile | None = None
        self.began = time.time()
        self.task: asyncio.Task[None] | None = None

    @property
    def shown(self) -> str:
        """`text` without its query, which may be a signature: safe to show and to store."""
        return _without_query(self.text)


class Downloads:
    """All downloads, newest first. A file in the data folder lists the unfinished ones."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """`folder` is the data folder. `options` are passed to `download`."""
        self.folder = folder / "models"
        self.jobs: list[BackgroundDownload] = []
        self._list_file = folder / "downloads.json"
        self._options = options
        self._last = 0
        self._restore()

    @property
    def running(self) -> int:
        """The number of running downloads."""
        return sum(download.state == "running" for download in self.jobs)

    def free_space(self) -> int | None:
        """Free bytes of the disk with the downloads; None when unknown."""
        folder = self.folder if self.folder.is_dir() else self.folder.parent
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
        return None

    def start(self, text: str, settings: LocalModelSettings, *, local_only: bool = False) -> BackgroundDownload:
        """Start or resume the download of `text`. Raises ValueError with a message for the user."""
        text = text.strip()
        try:
            hub.parse_source(text)
        except NoSuchModel as unfound:
            raise ValueError(str(unfound)) from None
        job = next((job for job in self.jobs if job.text == text), None)
        if job is not None and job.state == "running":
            raise ValueError(f"{job.shown} is already being downloaded.")
        if self.running >= _AT_ONCE:
            raise ValueError(
                f"{_AT_ONCE} downloads are running, which is the limit. Wait for one to finish, or cancel one."
            )
        if job is not None:
            self.jobs.remove(job)
        fresh = self._add(text, "running")
        fresh.task = asyncio.get_running_loop().create_task(self._run(fresh, settings, local_only))
        self._save()
        return fresh

    def resume(self, number: int, settings: LocalModelSettings, *, local_only: bool = False) -> BackgroundDownload:
        """Resume a download that was stopped or has failed. Raises ValueError."""
        return self.start(self.get(number).text, settings, local_only=local_only)

    def get(self, number: int) -> BackgroundDownload:
        """The download with that number. Raises ValueError."""
        job = next((job for job in self.jobs if job.number == number), None)
        if job is None:
            raise ValueError("This download does not exist any more. Reload the page.")
        return job

    async def cancel(self, number: int) -> BackgroundDownload:
        """Stop a download and keep its part. Raises ValueError."""
        job = self.get(number)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
            if job.state == "running":
                # The task was cancelled before its first step, so nothing of it has run.
                job.state, job.task = "stopped", None
                self._save()
        return job

    async def discard(self, number: int) -> None:
        """Stop a download and remove its part. Raises ValueError, or OSError."""
        job = await self.cancel(number)
        # Another download of the same repository may be writing to the same folder.
        shared = any(other.state == "running" and _source(other.text) == _source(job.text) for other in self.jobs)
        if job.state != "done" and not shared:
            await asyncio.to_thread(self._remove_parts, job)
        # A second click may have removed it already.
        if job in self.jobs:
            self.jobs.remove(job)
        self._save()

    async def stop(self) -> None:
        """Stop all downloads, because Byway ends."""
        tasks = [job.task for job in self.jobs if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: BackgroundDownload, settings: LocalModelSettings, local_only: bool) -> None:
        def show(progress: DownloadProgress) -> None:
            job.progress = progress

        try:
            job.done = await download(
                job.text, self.folder, settings, local_only=local_only, show=show, **self._options
            )
            job.state = "done"
        except DownloadError as failed:
            job.state, job.message = "failed", str(failed)
        except asyncio.CancelledError:
            # `cancel` or `stop` ended it, and no caller waits for its result.
            job.state = "stopped"
        except Exception as error:
            job.state, job.message = (
                "failed",
                f"Internal error in Byway ({type(error).__name__}). This is a bug: please report it.",
            )
            raise
        finally:
            job.task = None
            self._save()

    def _add(self, text: str, state: DownloadState) -> BackgroundDownload:
        self._last += 1
        job = BackgroundDownload(self._last, text, state)
        self.jobs.insert(0, job)
        for old in [job for job in self.jobs if job.state == "done"][_LISTED:]:
            self.jobs.remove(old)
        return job

    def _remove_parts(self, job: BackgroundDownload) -> None:
        """Remove the part of a discarded download."""
        for part in self._parts(job):
            part.unlink(missing_ok=True)
            remove_empty_folders(part.parent, self.folder)

    def _parts(self, job: BackgroundDownload) -> list[Path]:
        wanted = hub.parse_source(job.text)
        if not isinstance(wanted, Repository):
            path = self.folder / wanted.name
            return [path.with_name(f"{path.name}{end}") for end in _PART_ENDINGS]
        prefix = job.progress.name if job.progress else ""
        files = (self.folder / wanted.owner / wanted.name).rglob("*.part*")
        return [file for file in files if file.name.startswith(prefix) and file.name.endswith(_PART_ENDINGS)]

    def _restore(self) -> None:
        texts: list[str] = []
        with contextlib.suppress(OSError, ValueError, RecursionError):
            texts = msgspec.json.decode(self._list_file.read_bytes(), type=list[str])
        for text in reversed(texts[:_LISTED]):
            with contextlib.suppress(NoSuchModel):
                hub.parse_source(text)
                self._add(text, "stopped")

    def _save(self) -> None:
        # A signed URL is a secret and expires soon.
        kept = [job.text for job in self.jobs if job.state != "done" and job.text == job.shown]
        with contextlib.suppress(OSError):
            if kept or self._list_file.exists():
                platform.write_private(self._list_file, msgspec.json.encode(kept[:_LISTED]))


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Remove `folder` and its parents as far as they are empty. `root` stays."""
    with contextlib.suppress(OSError):
        while folder != root and root in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _without_query(text: str) -> str:
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "a URL"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _source(text: str) -> str:
    """The repository, or the URL."""
    return text if "://" in text else text.partition(":")[0]
