"""Downloads model files: writes to a `.part` file, resumes after an interruption, verifies the checksum.

A file gets its name only when it is complete, and verified where its checksum is known."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from io import BufferedRandom
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway import platform, urls
from byway.config import LocalModelSettings
from byway.local import hub, library
from byway.local.gguf import InvalidFile
from byway.local.hub import NoSuchModel, RemoteFile, Repository
from byway.local.transfer import DownloadError, HubClient, Interrupted, Resolve, parse_number
from byway.problems import Problem
from byway.upstream.client import Answer

__all__ = ["DownloadError", "DownloadProgress", "DownloadedFile", "download", "format_bytes"]

#: Bytes that are collected before a write, and bytes between two checks of the free space.
_WRITE_SIZE: Final = 4 << 20
_CHECK_EVERY: Final = 64 << 20
#: Bytes of the disk that stay free.
_MARGIN: Final = 256 << 20
#: Failures in a row without a byte, with pauses of 1, 2, 4 ... seconds.
_TRIES: Final = 5
_LONGEST_PAUSE: Final = 30.0
_SHOW_EVERY: Final = 0.2
#: Seconds over which the speed is averaged.
_SPAN: Final = 5.0
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_UNKNOWN: Final = re.compile(r"bytes \*/(\d{1,19})")

Free = Callable[[Path], int]


class DownloadProgress(NamedTuple):
    """The progress of a download."""

    name: str
    done: int
    """Bytes on the disk."""
    total: int | None
    speed: float = 0.0
    """Bytes per second, averaged over the last seconds."""
    left: float | None = None
    """Seconds until the end; None when unknown."""
    checking: bool = False
    """The file is complete and its checksum is being computed."""


class DownloadedFile(NamedTuple):
    """A model on the disk."""

    path: Path
    """Its file: the first one of several parts."""
    size: int
    checked: bool
    """Its checksum was known and is correct."""
    fresh: bool = True
    """It did not exist before."""


async def download(
    text: str,
    folder: Path,
    settings: LocalModelSettings,
    *,
    local_only: bool = False,
    environ: Mapping[str, str] = os.environ,
    show: Callable[[DownloadProgress], None] = lambda progress: None,
    resolve: Resolve | None = None,
    free: Free = lambda path: shutil.disk_usage(path).free,
    pause: float = 1.0,
) -> DownloadedFile:
    """Download `text` (a URL, or `owner/repo[:quantisation or file]`) to `folder`. Raises DownloadError.

    A cancelled download leaves a `.part` file, and the next call resumes it. `show` is called a few times a second.
    `resolve(host, port)` returns the IP addresses of a name, `free(folder)` the free bytes of a disk.
    """
    hub_client = HubClient(settings.hub, local_only=local_only, environ=environ, resolve=resolve)
    try:
        wanted = hub.parse_source(text)
        if isinstance(wanted, Repository):
            listing = await hub_client.page(wanted.tree, f"{wanted.owner}/{wanted.name}")
            items = hub.select_files(wanted, listing, settings.hub)
        else:
            items = [wanted._replace(url=hub.download_url(wanted.url, settings.hub))]
    except NoSuchModel as unfound:
        raise DownloadError(str(unfound)) from None
    done: list[DownloadedFile] = []
    for item in items:
        done.append(await _FileDownload(hub_client, item, folder / item.name, show, free, pause).run())
    return DownloadedFile(
        done[0].path,
        sum(file.size for file in done),
        all(file.checked for file in done),
        any(file.fresh for file in done),
    )


# -------------------------------------------------------------------------------------------------------------- one file


class _FileDownload:
    """The download of one file."""

    def __init__(
        self,
        hub_client: HubClient,
        item: RemoteFile,
        path: Path,
        show: Callable[[DownloadProgress], None],
        free: Free,
        pause: float,
    ) -> None:
        self._hub_client = hub_client
        self._item = item
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._mark = path.with_name(f"{path.name}.part.json")
        self._show = show
        self._free = free
        self._pause = pause
        self._sha256 = item.sha256
        self._total = item.size
        self._done = 0
        self._etag = ""
        self._shown = 0.0
        self._samples: list[tuple[float, int]] = []

    async def run(self) -> DownloadedFile:
        """Download the file. Raises DownloadError."""
        if self._path.exists():
            size = self._path.stat().st_size
            if self._total is not None and size != self._total:
                raise DownloadError(f"{self._path} exists with another size. Move it away, then download again.")
            return DownloadedFile(self._path, size, checked=False, fresh=False)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(self._part, flags, 0o600), "r+b") as file:
                if not platform.try_lock(file.fileno()):
                    raise DownloadError(f"{self._path.name} is being downloaded already.")
                await self._fill(file)
                await asyncio.to_thread(os.fsync, file.fileno())
                await self._check(file)
            self._part.replace(self._path)
        except OSError as error:
            raise DownloadError(self._disk_error(error)) from None
        self._mark.unlink(missing_ok=True)
        return DownloadedFile(self._path, self._done, checked=bool(self._sha256))

    def _disk_error(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"The disk of {self._path.parent} is full. Free some space, then download again: it resumes."
        return f"{error.filename or self._part} cannot be written: {error.strerror or error}."

    async def _fill(self, file: BufferedRandom) -> None:
        """Request the file until it is complete. After an interruption the rest is requested."""
        self._resume(file)
        tries = 0
        while True:
            before = self._done
            try:
                await self._attempt(file)
                return
            except (Problem, Interrupted) as problem:
                reason = str(problem) if isinstance(problem, Interrupted) else problem.message.rstrip(".")
            tries = 0 if self._done > before else tries + 1
            if tries >= _TRIES:
                kept = f" {self._done:,} bytes are kept. Download again to resume." if self._done else ""
                raise DownloadError(f"The download of {self._path.name} was interrupted: {reason}.{kept}")
            await asyncio.sleep(min(self._pause * 2**tries, _LONGEST_PAUSE))

    def _resume(self, file: BufferedRandom) -> None:
        """Use the part of an earlier call, if its mark has the same URL. Otherwise start from zero."""
        size = os.fstat(file.fileno()).st_size
        mark: Any = None
        with contextlib.suppress(OSError, ValueError):
            mark = json.loads(self._mark.read_bytes())
        if size and isinstance(mark, dict) and mark.get("url") == self._url_mark:
            etag, sha256 = mark.get("etag"), mark.get("sha256")
            self._etag = etag if isinstance(etag, str) else ""
            same = not self._sha256 or sha256 == self._sha256
            if same and (self._etag or self._sha256):
                self._done = size
                return
        self._restart(file)

    @property
    def _url_mark(self) -> str:
        # Only its hash is stored: a signed URL is a secret.
        return hashlib.sha256(self._item.url.encode()).hexdigest()

    def _restart(self, file: BufferedRandom) -> None:
        file.truncate(0)
        self._done, self._etag = 0, ""
        self._samples = []

    async def _attempt(self, file: BufferedRandom) -> None:
        """Request and write the missing bytes. Raises Problem or Interrupted for a retry, DownloadError otherwise."""
        if self._total is not None and self._done == self._total:
            return
        headers = {}
        if self._done:
            headers["range"] = f"bytes={self._done}-"
            if self._etag:
                headers["if-range"] = self._etag
        url = urls.parse(self._item.url)
        upstream, answer, sha256, size = await self._hub_client.open(url, headers)
        try:
            self._learn(sha256, size)
            total = self._expected_size(file, answer)
            if total is None:
                # The part is already complete.
                return
            if total >= 0:
                self._check_space(total - self._done)
            self._write_mark(answer)
            await self._read(file, answer, total if total >= 0 else None)
        finally:
            answer.close()
            await upstream.close()

    def _learn(self, sha256: str, size: int | None) -> None:
        """Store what the hub itself reports of the file."""
        if sha256 and self._sha256 and sha256 != self._sha256:
            raise DownloadError(f"{self._path.name} changed on the hub during the download. Download it again.")
        self._sha256 = sha256 or self._sha256
        self._total = size if self._total is None else self._total

    def _expected_size(self, file: BufferedRandom, answer: Answer) -> int | None:
        """Check the head of the answer. Returns the size that the file will have, -1 when unknown, None when it is complete."""
        status, length = answer.status, parse_number(answer.headers.get("content-length", ""))
        if status == 206:
            content_range = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            etag = answer.headers.get("etag", "")
            changed = bool(self._etag and etag and etag != self._etag)
            if content_range is None or int(content_range[1]) != self._done or changed:
                self._restart(file)
                raise Interrupted("the server sent another range than requested")
            size = int(content_range[3]) if content_range[3] != "*" else -1
        elif status == 200:
            # The file has changed, or the server does not support ranges: all bytes follow.
            self._restart(file)
            size = -1 if length is None else length
        elif status == 416:
            unsatisfied = _UNKNOWN.fullmatch(answer.headers.get("content-range", ""))
            if unsatisfied and int(unsatisfied[1]) == self._done and self._total in (None, self._done):
                return None
            self._restart(file)
            raise Interrupted("the file has changed on the server")
        elif status in (408, 429) or status >= 500:
            wait = parse_number(answer.headers.get("retry-after", ""))
            if status == 429 and (wait is None or wait > _LONGEST_PAUSE):
                raise DownloadError(self._hub_client.refusal(urls.parse(self._item.url), answer, self._path.name))
            raise Interrupted(f"the server answered HTTP {status}")
        else:
            raise DownloadError(self._hub_client.refusal(urls.parse(self._item.url), answer, self._path.name))
        if size >= 0 and self._total is not None and size != self._total:
            raise DownloadError(
                f"The server would send {size:,} bytes of {self._path.name}, but the hub lists {self._total:,}. "
                "Nothing was stored. Try again later."
            )
        return self._total if size < 0 and self._total is not None else size

    def _check_space(self, needed: int) -> None:
        left = self._free(self._path.parent)
        if needed + _MARGIN > left:
            raise DownloadError(
                f"{self._path.name} needs {format_bytes(needed)} more, and the disk of {self._path.parent} has "
                f"{format_bytes(left)} left, of which {format_bytes(_MARGIN)} stay free. Free some space, then download again."
            )

    def _write_mark(self, answer: Answer) -> None:
        """Store which file the bytes belong to, before the first write. A weak ETag does not identify bytes (RFC 9110 8.8.1)."""
        etag = answer.headers.get("etag", "")
        self._etag = "" if etag.startswith("W/") or len(etag) > 500 else etag
        mark = {"url": self._url_mark, "etag": self._etag, "sha256": self._sha256}
        platform.write_private(self._mark, json.dumps(mark).encode())

    async def _read(self, file: BufferedRandom, answer: Answer, total: int | None) -> None:
        gathered: list[bytes] = []
        size = 0
        looked = self._done
        file.seek(self._done)
        try:
            while data := await answer.read():
                if total is not None and self._done + size + len(data) > total:
                    raise DownloadError(
                        f"The server sent more than the {total:,} bytes that it announced for {self._path.name}. Try again later."
                    )
                gathered.append(data)
                size += len(data)
                if size >= _WRITE_SIZE:
                    pieces, gathered, count, size = gathered, [], size, 0
                    await self._write(file, pieces, count)
                    if self._done - looked >= _CHECK_EVERY:
                        looked = self._done
                        self._check_space((total or self._done) - self._done)
                self._report(total, self._done + size)
        finally:
            # Received bytes are kept, also after a cancel.
            file.seek(self._done)
            file.writelines(gathered)
            file.flush()
            self._done += size
        if total is not None and self._done < total:
            raise Interrupted("the server ended before the file was complete")
        self._total = self._done
        self._report(self._total, self._done, last=True)

    async def _write(self, file: BufferedRandom, pieces: list[bytes], count: int) -> None:
        """Write in a thread, so that a slow disk does not block the event loop. A thread cannot be cancelled: wait for it."""
        writing = asyncio.create_task(asyncio.to_thread(file.writelines, pieces))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait([writing])
            if writing.exception() is None:
                self._done += count

    def _report(self, total: int | None, done: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._shown < _SHOW_EVERY and not last:
            return
        self._shown = now
        self._samples = [*(sample for sample in self._samples if now - sample[0] <= _SPAN), (now, done)]
        start, before = self._samples[0]
        speed = (done - before) / (now - start) if now > start else 0.0
        left = (total - done) / speed if total is not None and speed > 0 else None
        self._show(DownloadProgress(self._path.name, done, total, speed, left))

    async def _check(self, file: BufferedRandom) -> None:
        """Verify the checksum, where the hub sent one, and the header. A wrong file is removed."""
        if self._sha256:
            self._show(DownloadProgress(self._path.name, self._done, self._done, checking=True))
            file.seek(0)
            actual = await asyncio.to_thread(lambda: hashlib.file_digest(file, "sha256").hexdigest())
            if actual != self._sha256:
                self._discard()
                raise DownloadError(
                    f"The checksum of {self._path.name} is wrong: SHA-256 {actual}, expected {self._sha256}. It was removed. "
                    "Download it again."
                )
        try:
            library.read_model_header(self._part)
        except InvalidFile as invalid:
            self._discard()
            raise DownloadError(
                f"The downloaded {self._path.name} {invalid}. It was removed. Check the source."
            ) from None

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)


def format_bytes(count: int) -> str:
    """Bytes for people: `4.7 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
