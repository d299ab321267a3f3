"""Model files from the net: asks, follows redirects, writes beside the name it will have, goes on where it stopped, checks.

What is to be asked for is `hub.py`'s. No file has its name before it is whole, and checked where its checksum is known.
"""

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

#: Bytes that are gathered before they are written, and how often the disk is looked at while that goes on.
_GATHERED: Final = 4 << 20
_LOOK_EVERY: Final = 64 << 20
#: What is left free for others.
_MARGIN: Final = 256 << 20
#: Times in a row that a server may fail without a byte, with pauses of 1, 2, 4 ... seconds.
_TRIES: Final = 5
_LONGEST_PAUSE: Final = 30.0
_SHOW_EVERY: Final = 0.2
#: Seconds over which the speed is taken.
_SPAN: Final = 5.0
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_UNKNOWN: Final = re.compile(r"bytes \*/(\d{1,19})")

Free = Callable[[Path], int]


class DownloadProgress(NamedTuple):
    """How far a download is."""

    name: str
    done: int
    """Bytes on the disk."""
    total: int | None
    speed: float = 0.0
    """Bytes per second over the last seconds."""
    left: float | None = None
    """Seconds, where that can be told."""
    checking: bool = False
    """All is there and its checksum is being taken."""


class DownloadedFile(NamedTuple):
    """A model that is on the disk now."""

    path: Path
    """Its file, the first one of several parts."""
    size: int
    checked: bool
    """Its checksum was known and is right."""
    fresh: bool = True
    """It was not there before."""


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
    """Get what `text` names (a URL, or `owner/repo[:quantisation or file]`) into `folder`; raises Failed.

    Cancelled, it leaves a `.part` beside the name, from which the next call goes on. `show` hears of it a few times a
    second. `resolve(host, port)` gives a name's IP addresses, `free(folder)` the bytes that a disk has left.
    """
    web = HubClient(settings.hub, local_only=local_only, environ=environ, resolve=resolve)
    try:
        wanted = hub.parse_source(text)
        if isinstance(wanted, Repository):
            listing = await web.page(wanted.tree, f"{wanted.owner}/{wanted.name}")
            items = hub.select_files(wanted, listing, settings.hub)
        else:
            items = [wanted._replace(url=hub.download_url(wanted.url, settings.hub))]
    except NoSuchModel as unfound:
        raise DownloadError(str(unfound)) from None
    done: list[DownloadedFile] = []
    for item in items:
        one = _FileDownload(web, item, folder / item.name, show, free, pause)
        done.append(await one.run())
    return DownloadedFile(
        done[0].path,
        sum(one.size for one in done),
        all(one.checked for one in done),
        any(one.fresh for one in done),
    )


# -------------------------------------------------------------------------------------------------------------- one file


class _FileDownload:
    """One file on its way."""

    def __init__(
        self,
        web: HubClient,
        item: RemoteFile,
        path: Path,
        show: Callable[[DownloadProgress], None],
        free: Free,
        pause: float,
    ) -> None:
        self._web = web
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
        self._seen: list[tuple[float, int]] = []

    async def run(self) -> DownloadedFile:
        """Get it; raises Failed."""
        if self._path.exists():
            size = self._path.stat().st_size
            if self._total is not None and size != self._total:
                raise DownloadError(f"{self._path} is there with another size. Move it away, then download again.")
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
            raise DownloadError(self._words(error)) from None
        self._mark.unlink(missing_ok=True)
        return DownloadedFile(self._path, self._done, checked=bool(self._sha256))

    def _words(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"The disk of {self._path.parent} is full. Free some space, then download again: it resumes."
        return f"{error.filename or self._part} cannot be written: {error.strerror or error}."

    async def _fill(self, file: BufferedRandom) -> None:
        """Ask until all is there. A server that breaks off is asked for the rest."""
        self._begin(file)
        tries = 0
        while True:
            before = self._done
            try:
                await self._attempt(file)
                return
            except (Problem, Interrupted) as problem:
                why = str(problem) if isinstance(problem, Interrupted) else problem.message
            tries = 0 if self._done > before else tries + 1
            if tries >= _TRIES:
                kept = f" {self._done:,} bytes are kept: call it again to go on from there." if self._done else ""
                raise DownloadError(f"The download of {self._path.name} broke off: {why}.{kept}")
            await asyncio.sleep(min(self._pause * 2**tries, _LONGEST_PAUSE))

    def _begin(self, file: BufferedRandom) -> None:
        """See what an earlier call has left. Without a mark of the same URL nothing of it is believed."""
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
        # Only its hash is kept: a signed address is a secret.
        return hashlib.sha256(self._item.url.encode()).hexdigest()

    def _restart(self, file: BufferedRandom) -> None:
        file.truncate(0)
        self._done, self._etag = 0, ""
        self._seen = []

    async def _attempt(self, file: BufferedRandom) -> None:
        """Ask for what is missing and write it. Raises Problem or Again when it breaks off, Failed when it is of no use."""
        if self._total is not None and self._done == self._total:
            return
        headers = {}
        if self._done:
            headers["range"] = f"bytes={self._done}-"
            if self._etag:
                headers["if-range"] = self._etag
        url = urls.parse(self._item.url)
        upstream, answer, sha256, size = await self._web.open(url, headers)
        try:
            self._learn(sha256, size)
            total = self._begun(file, answer)
            if total is None:
                # It was all there.
                return
            if total >= 0:
                self._room(total - self._done)
            self._note(answer)
            await self._read(file, answer, total if total >= 0 else None)
        finally:
            answer.close()
            await upstream.close()

    def _learn(self, sha256: str, size: int | None) -> None:
        """What the hub itself says of the file."""
        if sha256 and self._sha256 and sha256 != self._sha256:
            raise DownloadError(
                f"{self._path.name} has changed on the hub while it was being downloaded. Call it again."
            )
        self._sha256 = sha256 or self._sha256
        self._total = size if self._total is None else self._total

    def _begun(self, file: BufferedRandom, answer: Answer) -> int | None:
        """What the head of an answer means for the file: how many bytes it will have, -1 when nobody says; None when it has
        them all."""
        status, length = answer.status, parse_number(answer.headers.get("content-length", ""))
        if status == 206:
            found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            etag = answer.headers.get("etag", "")
            changed = bool(self._etag and etag and etag != self._etag)
            if found is None or int(found[1]) != self._done or changed:
                self._restart(file)
                raise Interrupted("the server gave another part than it was asked for")
            told = int(found[3]) if found[3] != "*" else -1
        elif status == 200:
            # It is another file by now, or the server knows no parts: all of it comes.
            self._restart(file)
            told = -1 if length is None else length
        elif status == 416:
            gone = _UNKNOWN.fullmatch(answer.headers.get("content-range", ""))
            if gone and int(gone[1]) == self._done and self._total in (None, self._done):
                return None
            self._restart(file)
            raise Interrupted("the file has changed on the server")
        elif status in (408, 429) or status >= 500:
            wait = parse_number(answer.headers.get("retry-after", ""))
            if status == 429 and (wait is None or wait > _LONGEST_PAUSE):
                raise DownloadError(self._web.refusal(urls.parse(self._item.url), answer, self._path.name))
            raise Interrupted(f"the server answers with HTTP {status}")
        else:
            raise DownloadError(self._web.refusal(urls.parse(self._item.url), answer, self._path.name))
        if told >= 0 and self._total is not None and told != self._total:
            raise DownloadError(
                f"The server would send {told:,} bytes of {self._path.name}, and the hub says that it has {self._total:,}. "
                "Nothing was kept; try again later."
            )
        return self._total if told < 0 and self._total is not None else told

    def _room(self, needed: int) -> None:
        left = self._free(self._path.parent)
        if needed + _MARGIN > left:
            raise DownloadError(
                f"{self._path.name} needs {format_bytes(needed)} more, and the disk of {self._path.parent} has "
                f"{format_bytes(left)} left, of which {format_bytes(_MARGIN)} stay free. Free some space, then download again."
            )

    def _note(self, answer: Answer) -> None:
        """Remember to what the bytes belong, before the first one is written. A weak ETag names no bytes (RFC 9110 8.8.1)."""
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
                        f"The server sends more than the {total:,} bytes that it has told of {self._path.name}."
                    )
                gathered.append(data)
                size += len(data)
                if size >= _GATHERED:
                    pieces, gathered, count, size = gathered, [], size, 0
                    await self._write(file, pieces, count)
                    if self._done - looked >= _LOOK_EVERY:
                        looked = self._done
                        self._room((total or self._done) - self._done)
                self._tell(total, self._done + size)
        finally:
            # What has come is kept, also when it is cancelled in between.
            file.seek(self._done)
            file.writelines(gathered)
            file.flush()
            self._done += size
        if total is not None and self._done < total:
            raise Interrupted("the server ended before all was there")
        self._total = self._done
        self._tell(self._total, self._done, last=True)

    async def _write(self, file: BufferedRandom, pieces: list[bytes], count: int) -> None:
        """Write in a thread: a slow disk must not hold up everybody else. A thread cannot be stopped, so it is waited for."""
        writing = asyncio.create_task(asyncio.to_thread(file.writelines, pieces))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait([writing])
            if writing.exception() is None:
                self._done += count

    def _tell(self, total: int | None, done: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._shown < _SHOW_EVERY and not last:
            return
        self._shown = now
        self._seen = [*(one for one in self._seen if now - one[0] <= _SPAN), (now, done)]
        began, before = self._seen[0]
        speed = (done - before) / (now - began) if now > began else 0.0
        left = (total - done) / speed if total is not None and speed > 0 else None
        self._show(DownloadProgress(self._path.name, done, total, speed, left))

    async def _check(self, file: BufferedRandom) -> None:
        """Is it what the hub says, and a model at all? What is not goes."""
        if self._sha256:
            self._show(DownloadProgress(self._path.name, self._done, self._done, checking=True))
            file.seek(0)
            found = await asyncio.to_thread(lambda: hashlib.file_digest(file, "sha256").hexdigest())
            if found != self._sha256:
                self._discard()
                raise DownloadError(
                    f"{self._path.name} came with another checksum than the hub says (SHA-256 {found}, should be "
                    f"{self._sha256}). It was removed; download it again."
                )
        try:
            library.read_model_header(self._part)
        except InvalidFile as broken:
            self._discard()
            raise DownloadError(f"What came as {self._path.name} {broken}. It was removed.") from None

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)


def format_bytes(count: int) -> str:
    """Bytes for people: `4.7 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
