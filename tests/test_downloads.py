"""The downloads that the settings page has begun: stopped, gone on with, given up, and known again after a restart."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from models import gguf, hub, send
from waiting import until

from byway.config import LocalModelSettings
from byway.local.downloads import BackgroundDownload, Downloads

DATA = gguf(tail=b"\x01" * 300_000)
NAME = "Tiny-Q4_K_M.gguf"
OPTIONS: dict[str, Any] = {"environ": {}, "free": lambda _: 1 << 50, "pause": 0.01}


def stuck(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
    """Sends the first half, and then nothing more until the client goes."""
    handler.send_response(200)
    handler.send_header("etag", '"one"')
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.rfile.read(1)
    return True


def run(folder: Path, play: Callable[[Downloads, LocalModelSettings, Any], Awaitable[None]], name: str = NAME) -> None:
    async def go() -> None:
        with hub({name: DATA}) as at:
            downloads = Downloads(folder, **OPTIONS)
            try:
                await play(downloads, LocalModelSettings(hub=at.url), at)
            finally:
                await downloads.stop()

    asyncio.run(go())


def files(folder: Path) -> list[Path]:
    return [item for item in (folder / "models").rglob("*") if item.is_file()]


def half(job: BackgroundDownload) -> bool:
    return job.progress is not None and job.progress.done > 0


def test_a_download_resumes_after_a_cancel_and_after_a_restart(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.answer = stuck
        job = downloads.start("owner/repo", settings)
        await until(lambda: half(job))
        with pytest.raises(ValueError, match="already"):
            downloads.start("owner/repo", settings)
        assert (await downloads.cancel(job.number)).state == "stopped" and not downloads.running
        assert downloads.start("owner/repo", settings).state == "running" and len(downloads.jobs) == 1
        await until(lambda: half(downloads.jobs[0]))
        # Byway ends in the middle of it, and begins again.
        await downloads.stop()
        later = Downloads(tmp_path, **OPTIONS)
        (known,) = later.jobs
        assert (known.text, known.state) == ("owner/repo", "stopped")
        at.answer = None
        again = later.resume(known.number, settings)
        await until(lambda: again.state == "done")
        assert at.received[-1].headers["range"].startswith("bytes=") and at.received[-1].headers["range"] != "bytes=0-"
        assert again.done is not None and again.done.checked and again.done.path.read_bytes() == DATA
        assert Downloads(tmp_path).jobs == [], "what is done is not offered again"
        await later.discard(again.number)
        assert later.jobs == [] and again.done.path.exists(), "a whole file stays"

    run(tmp_path, play)


def test_discarding_a_download_removes_its_part(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.answer = stuck
        for text in ("owner/repo", f"{settings.hub}/owner/repo/resolve/main/{NAME}"):
            job = downloads.start(text, settings)
            await until(functools.partial(half, job))
            assert files(tmp_path)
            await downloads.discard(job.number)
            assert not files(tmp_path), text
        assert downloads.jobs == [] and json.loads((tmp_path / "downloads.json").read_text()) == []
        with pytest.raises(ValueError, match="does not exist any more"):
            await downloads.cancel(99)

    run(tmp_path, play)


def test_a_failed_download_has_a_message_and_can_be_resumed(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.files["other.gguf"] = b"no model at all"
        job = downloads.start(f"{settings.hub}/owner/repo/resolve/main/other.gguf", settings)
        await until(lambda: job.state == "failed")
        assert "is not a GGUF file" in job.message
        at.files["other.gguf"] = DATA
        again = downloads.resume(job.number, settings)
        await until(lambda: again.state == "done")
        with pytest.raises(ValueError, match="neither a URL"):
            downloads.start("nothing", settings)

    run(tmp_path, play)


def test_a_signed_url_is_neither_shown_nor_stored(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.answer = lambda handler, path, data: send(handler, 200, DATA[:10])
        job = downloads.start(f"{settings.hub}/owner/repo/resolve/main/{NAME}?sig=secret-of-mine", settings)
        await until(lambda: job.state == "failed")
        assert "secret-of-mine" not in job.shown and job.shown.endswith(NAME)

    run(tmp_path, play)
    written = [item.read_text(errors="replace") for item in tmp_path.rglob("*") if item.is_file()]
    assert not any("secret-of-mine" in item for item in written)


def test_at_most_three_downloads_run_at_once(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.answer = stuck
        for number in range(3):
            downloads.start(f"{settings.hub}/owner/repo/resolve/main/{number}.gguf", settings)
            at.files[f"{number}.gguf"] = DATA
        with pytest.raises(ValueError, match="3 downloads are running"):
            downloads.start("owner/repo", settings)

    run(tmp_path, play)


@pytest.mark.parametrize("text", ["", "{", "5", '["x", 5, null]', '"owner/repo"', "[" * 100_000])
def test_an_invalid_list_of_downloads_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "downloads.json").write_text(text)
    assert all(isinstance(item.text, str) for item in Downloads(tmp_path).jobs)


def test_discarding_a_download_twice_is_no_error(tmp_path: Path) -> None:
    async def play(downloads: Downloads, settings: LocalModelSettings, at: Any) -> None:
        at.answer = stuck
        job = downloads.start("owner/repo", settings)
        await asyncio.gather(downloads.discard(job.number), downloads.discard(job.number))
        assert not downloads.jobs and not files(tmp_path)

    run(tmp_path, play)
