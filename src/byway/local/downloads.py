"""The downloads that the settings page has begun: they go on while nobody looks, stop with Byway, and are offered again after
it. How a file is fetched is `download`'s."""

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
#: So many are remembered, and so many run at once.
_MOST: Final = 20
_AT_ONCE: Final = 3
_ENDS: Final = (".part", ".part.json")


class BackgroundDownload:
    """One download. `text` is what a person asked for: a URL, or `owner/repo[:quantisation]`."""

    def __init__(self, number: int, text: str, state: DownloadState) -> None:
        self.number = number
        self.text = text
        self.state = state
        self.message = ""
        """Why it failed, in words."""
        self.progress: DownloadProgress | None = None
        self.done: DownloadedFile | None = None
        self.began = time.time()
        self.task: asyncio.Task[None] | None = None

    @property
    def shown(self) -> str:
        """`text` as it may be shown and written down: what follows a `?` may be a signature."""
        return _plain(self.text)


class Downloads:
    """All of them, newest first. Those that have not come to their end are remembered in the data folder."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """`folder`: Byway's data folder. `options` go to `download`."""
        self.folder = folder / "models"
        self.jobs: list[BackgroundDownload] = []
        self._memory = folder / "downloads.json"
        self._options = options
        self._last = 0
        self._recall()

    @property
    def running(self) -> int:
        """How many run."""
        return sum(one.state == "running" for one in self.jobs)

    def room(self) -> int | None:
        """Bytes that are free on the disk that they come to; None where nobody can say."""
        place = self.folder if self.folder.is_dir() else self.folder.parent
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
        return None

    def begin(self, text: str, settings: LocalModelSettings, *, local_only: bool = False) -> BackgroundDownload:
        """Start what `text` names, or go on with it. Raises ValueError in words for a person."""
        text = text.strip()
        try:
            hub.parse_source(text)
        except NoSuchModel as unfound:
            raise ValueError(str(unfound)) from None
        job = next((one for one in self.jobs if one.text == text), None)
        if job is not None and job.state == "running":
            raise ValueError(f"{job.shown} is being downloaded already.")
        if self.running >= _AT_ONCE:
            raise ValueError(f"{_AT_ONCE} downloads run already. Wait for one of them, or stop one.")
        if job is not None:
            self.jobs.remove(job)
        fresh = self._add(text, "running")
        fresh.task = asyncio.get_running_loop().create_task(self._run(fresh, settings, local_only))
        self._remember()
        return fresh

    def again(self, number: int, settings: LocalModelSettings, *, local_only: bool = False) -> BackgroundDownload:
        """Go on with a download that was stopped or has failed. Raises ValueError."""
        return self.begin(self.job(number).text, settings, local_only=local_only)

    def job(self, number: int) -> BackgroundDownload:
        """The download of that number; raises ValueError."""
        found = next((one for one in self.jobs if one.number == number), None)
        if found is None:
            raise ValueError("There is no such download any more.")
        return found

    async def cancel(self, number: int) -> BackgroundDownload:
        """Stop it; what has come is kept. Raises ValueError."""
        job = self.job(number)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
            if job.state == "running":
                # The task was cancelled before its first step, so nothing of it has run.
                job.state, job.task = "stopped", None
                self._remember()
        return job

    async def forget(self, number: int) -> None:
        """Stop it, and remove what has come of a file that is not whole. Raises ValueError, or OSError."""
        job = await self.cancel(number)
        # Another one of the same repository may be on its way into the same folder.
        shared = any(one.state == "running" and _source(one.text) == _source(job.text) for one in self.jobs)
        if job.state != "done" and not shared:
            await asyncio.to_thread(self._sweep, job)
        # A second click may have been quicker.
        if job in self.jobs:
            self.jobs.remove(job)
        self._remember()

    async def stop(self) -> None:
        """Stop all that run, since Byway ends."""
        tasks = [one.task for one in self.jobs if one.task is not None]
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
            # It was wished for: by whoever cancels, and nobody waits for more of it.
            job.state = "stopped"
        except Exception as error:
            job.state, job.message = (
                "failed",
                f"Byway itself failed on it ({type(error).__name__}): please report this.",
            )
            raise
        finally:
            job.task = None
            self._remember()

    def _add(self, text: str, state: DownloadState) -> BackgroundDownload:
        self._last += 1
        job = BackgroundDownload(self._last, text, state)
        self.jobs.insert(0, job)
        for old in [one for one in self.jobs if one.state == "done"][_MOST:]:
            self.jobs.remove(old)
        return job

    def _sweep(self, job: BackgroundDownload) -> None:
        """Remove what has come of a download that is given up."""
        for part in self._parts(job):
            part.unlink(missing_ok=True)
            remove_empty_folders(part.parent, self.folder)

    def _parts(self, job: BackgroundDownload) -> list[Path]:
        wanted = hub.parse_source(job.text)
        if not isinstance(wanted, Repository):
            path = self.folder / wanted.name
            return [path.with_name(f"{path.name}{end}") for end in _ENDS]
        begins = job.progress.name if job.progress else ""
        found = (self.folder / wanted.owner / wanted.name).rglob("*.part*")
        return [one for one in found if one.name.startswith(begins) and one.name.endswith(_ENDS)]

    def _recall(self) -> None:
        found: list[str] = []
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = msgspec.json.decode(self._memory.read_bytes(), type=list[str])
        for text in reversed(found[:_MOST]):
            with contextlib.suppress(NoSuchModel):
                hub.parse_source(text)
                self._add(text, "stopped")

    def _remember(self) -> None:
        # A signed address is a secret, and would not open anything for long.
        kept = [one.text for one in self.jobs if one.state != "done" and one.text == one.shown]
        with contextlib.suppress(OSError):
            if kept or self._memory.exists():
                platform.write_private(self._memory, msgspec.json.encode(kept[:_MOST]))


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Remove `folder` and those above it that are empty, up to `root`, which stays."""
    with contextlib.suppress(OSError):
        while folder != root and root in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _plain(text: str) -> str:
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
