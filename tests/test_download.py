"""Downloads of models, from servers on loopback that behave well and badly."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from models import gguf, hub, send, serve

from byway import platform
from byway.config import LocalModelSettings
from byway.local import download as module
from byway.local.download import DownloadedFile, DownloadError, DownloadProgress, download
from byway.local.hub import NoSuchModel, RemoteFile, Repository, parse_source, select_files

DATA = gguf(tail=b"\x01" * 300_000)
NAME = "Tiny-Q4_K_M.gguf"
ROOM = 1 << 50


def get(at: Any, folder: Path, text: str = "owner/repo", **more: Any) -> DownloadedFile:
    options: dict[str, Any] = {"environ": {}, "free": lambda _: ROOM, "pause": 0.001, **more}
    return asyncio.run(download(text, folder, LocalModelSettings(hub=at.url), **options))


def refused(at: Any, folder: Path, text: str = "owner/repo", **more: Any) -> str:
    with pytest.raises(DownloadError) as caught:
        get(at, folder, text, **more)
    return str(caught.value)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_a_source_is_a_url_or_a_repository() -> None:
    assert parse_source("https://example.com/a/My%20Model.gguf?download=true") == RemoteFile(
        "https://example.com/a/My%20Model.gguf?download=true", "My Model.gguf"
    )
    assert parse_source("owner/repo") == Repository("owner", "repo")
    assert parse_source(" Qwen/Qwen3-8B-GGUF:Q8_0 ") == Repository("Qwen", "Qwen3-8B-GGUF", "Q8_0")
    for bad in ("", "qwen3", "a/b/c", "../..", "owner/..", "https://", "ftp://x/y.gguf", "https://x.example/model.bin"):
        with pytest.raises(NoSuchModel):
            parse_source(bad)


def listing(*paths: str) -> bytes:
    return json.dumps([{"type": "file", "path": path, "size": 5} for path in paths]).encode()


def chosen(which: str, *paths: str) -> list[str]:
    return [item.name for item in select_files(Repository("o", "r", which), listing(*paths), "https://hub.example")]


def test_the_usual_quantisation_is_the_default() -> None:
    files = ("README.md", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-m-F16.gguf", "m-IQ4_XS.gguf")
    assert chosen("", *files) == ["o/r/m-Q4_K_M.gguf"]
    assert chosen("q8_0", *files) == ["o/r/m-Q8_0.gguf"]
    assert chosen("m-IQ4_XS.gguf", *files) == ["o/r/m-IQ4_XS.gguf"]
    assert chosen("", "only-one-F16.gguf") == ["o/r/only-one-F16.gguf"]
    with pytest.raises(NoSuchModel, match=r"has no 'Q2_K'. Choose one of m-Q8_0.gguf, m-Q4_K_M.gguf, m-IQ4_XS.gguf"):
        chosen("Q2_K", *files)
    with pytest.raises(NoSuchModel, match="has several models"):
        chosen("", "a-F16.gguf", "b-F16.gguf")
    with pytest.raises(NoSuchModel, match="has no GGUF files"):
        chosen("", "model.safetensors", "mmproj-m.gguf")


def test_a_quantisation_matches_whole_words_only() -> None:
    assert chosen("Q4_K", "m-Q4_K_M.gguf", "m-Q4_K.gguf") == ["o/r/m-Q4_K.gguf"]


def test_all_parts_of_a_model_are_selected() -> None:
    paths = [f"Q4_K_M/m-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert chosen("Q4_K_M", *paths) == [f"o/r/{path}" for path in paths]
    assert chosen("", "../../x/..\\y/m-Q4_0.gguf") == ["o/r/_/_/x/_y/m-Q4_0.gguf"]
    with pytest.raises(NoSuchModel, match=r"the hub has no Q4_K_M/m-Q4_K_M-00003-of-00003\.gguf"):
        chosen("", *paths[:2])


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[[]]", b'[{"type":"file","path":5}]', b"[" * 100_000])
def test_an_invalid_listing_is_an_error(body: bytes) -> None:
    with pytest.raises(NoSuchModel):
        select_files(Repository("o", "r"), body, "https://hub.example")


# --- the way there ----------------------------------------------------------------------------------------------------


def test_a_model_is_downloaded_and_its_checksum_verified(tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    with hub({NAME: DATA, "README.md": b"x"}) as at:
        done = get(at, tmp_path, show=seen.append)
        assert done == DownloadedFile(tmp_path / "owner/repo" / NAME, len(DATA), checked=True)
        assert done.path.read_bytes() == DATA
        assert [path.name for path in done.path.parent.iterdir()] == [NAME]
        assert seen[-1].checking and seen[-2].done == seen[-2].total == len(DATA)
        # There already: nothing is asked for but the list.
        before = len(at.received)
        assert get(at, tmp_path) == DownloadedFile(done.path, len(DATA), checked=False, fresh=False)
        assert len(at.received) == before + 1


def test_all_parts_are_downloaded(tmp_path: Path) -> None:
    files = {f"m-Q4_0-0000{number}-of-00002.gguf": DATA + bytes([number]) for number in (1, 2)}
    with hub(files) as at:
        done = get(at, tmp_path)
    assert done.path.name == "m-Q4_0-00001-of-00002.gguf"
    assert {path.name: path.read_bytes() for path in done.path.parent.iterdir()} == files


def test_a_url_has_no_checksum_unless_the_hub_sends_one(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        done = get(at, tmp_path, f"{at.url}/owner/repo/resolve/main/{NAME}")
        assert done == DownloadedFile(tmp_path / NAME, len(DATA), checked=False)

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            if path.startswith("/cdn/"):
                serve(handler, DATA, '"cdn"')
            else:
                linked = f'"{hashlib.sha256(DATA).hexdigest()}"'
                send(handler, 302, location=f"/cdn/{path}", x_linked_etag=linked, x_linked_size=str(len(DATA)))
            return True

        at.answer = answer
        done = get(at, tmp_path / "second", f"{at.url}/owner/repo/resolve/main/{NAME}")
        assert done.checked


def test_an_interrupted_download_resumes(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        cuts = [100_000, 200_000]

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            if not cuts:
                return False
            cut = cuts.pop(0)
            first = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            status = 206 if first else 200
            more = {"content_range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
            send(handler, status, data[first:cut], etag='"one"', **more, content_length=str(len(data) - first))
            handler.close_connection = True
            return True

        at.answer = answer
        assert get(at, tmp_path).path.read_bytes() == DATA
        ranges = [(request.headers.get("range"), request.headers.get("if-range")) for request in at.received[1:]]
    assert ranges == [(None, None), ("bytes=100000-", '"one"'), ("bytes=200000-", '"one"')]


def test_a_cancelled_download_resumes_with_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOW_EVERY", 0)
    part = tmp_path / "owner/repo" / f"{NAME}.part"
    with hub({NAME: DATA}) as at:

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            send(handler, 200, data[:150_000], etag='"one"', content_length=str(len(data)))
            handler.wfile.flush()
            going.wait(60)
            return True

        going = threading.Event()
        at.answer = answer

        async def run() -> None:
            received = asyncio.Event()

            def show(progress: DownloadProgress) -> None:
                if progress.done == 150_000:
                    received.set()

            options: dict[str, Any] = {"environ": {}, "free": lambda _: ROOM, "show": show}
            task = asyncio.create_task(download("owner/repo", tmp_path, LocalModelSettings(hub=at.url), **options))
            async with asyncio.timeout(60):
                await received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())
        going.set()
        assert part.read_bytes() == DATA[:150_000]
        assert not (tmp_path / "owner/repo" / NAME).exists()
        at.answer = None
        assert get(at, tmp_path).checked
        assert at.received[-1].headers["range"] == "bytes=150000-"
    assert not part.exists()


def left(folder: Path, at: Any, data: bytes, etag: str = '"one"') -> Path:
    """What an earlier call would have left."""
    path = folder / "owner/repo"
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{NAME}.part").write_bytes(data)
    url = hashlib.sha256(f"{at.url}/owner/repo/resolve/main/{NAME}".encode()).hexdigest()
    sha256 = hashlib.sha256(DATA).hexdigest() if at.lfs else ""
    (path / f"{NAME}.part.json").write_text(json.dumps({"url": url, "etag": etag, "sha256": sha256}))
    return path / NAME


def test_a_server_without_ranges_sends_the_whole_file_again(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        path = left(tmp_path, at, DATA[:1000])

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            send(handler, 200, data, etag='"one"')
            return True

        at.answer = answer
        assert get(at, tmp_path).checked
    assert path.read_bytes() == DATA


def test_a_file_that_changed_on_the_server_is_downloaded_from_the_start(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        path = left(tmp_path, at, b"x" * 1000, '"old"')
        assert get(at, tmp_path).checked
        assert path.read_bytes() == DATA


@pytest.mark.parametrize("lfs", [True, False])
def test_a_part_of_another_version_is_discarded(tmp_path: Path, lfs: bool) -> None:
    """A server that does not look at If-Range."""
    with hub({NAME: DATA}) as at:
        at.lfs = lfs
        path = left(tmp_path, at, b"x" * 1000, '"old"')

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            if "range" not in handler.headers:
                return False
            span = f"bytes 1000-{len(data) - 1}/{len(data)}"
            send(handler, 206, data[1000:], etag='"new"', content_range=span)
            return True

        at.answer = answer
        get(at, tmp_path)
        assert path.read_bytes() == DATA


def test_a_part_from_another_url_is_discarded(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        path = left(tmp_path, at, DATA[:1000])
        (tmp_path / "owner/repo" / f"{NAME}.part.json").write_text("{")
        get(at, tmp_path)
        assert "range" not in at.received[-1].headers
        assert path.read_bytes() == DATA


def test_a_complete_part_is_not_downloaded_again(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        at.lfs = False
        left(tmp_path, at, DATA)
        assert get(at, tmp_path).path.read_bytes() == DATA
        # The list says the size, so nothing had to be asked.
        assert len(at.received) == 1


def test_a_file_with_a_wrong_checksum_is_removed(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            serve(handler, data[:-1] + b"\x02", '"one"')
            return True

        at.answer = answer
        message = refused(at, tmp_path)
    assert "The checksum of" in message
    assert list((tmp_path / "owner/repo").iterdir()) == []


def test_a_file_that_is_no_model_is_removed(tmp_path: Path) -> None:
    with hub({NAME: b"<html>Log in first</html>"}) as at:
        message = refused(at, tmp_path)
    assert "is not a GGUF file" in message
    assert list((tmp_path / "owner/repo").iterdir()) == []


def test_a_length_that_differs_from_the_hubs_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        at.answer = lambda handler, path, data: send(handler, 200, data + b"more")
        message = refused(at, tmp_path)
    assert f"would send {len(DATA) + 4:,} bytes" in message


def test_a_file_that_ends_early_is_not_complete(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            send(handler, 200, b"GGUF", content_length=str(len(data)))
            handler.close_connection = True
            return True

        at.answer = answer
        message = refused(at, tmp_path)
        assert "was interrupted" in message
        assert not (tmp_path / "owner/repo" / NAME).exists()


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "set HF_TOKEN to a token that may read it"),
        (403, {}, "Accept its terms there"),
        (404, {}, "has no Tiny-Q4_K_M.gguf"),
        (429, {"retry_after": "3600"}, "Try again in 3600 s"),
        (500, {}, "answered HTTP 500"),
        (302, {"location": "http://192.0.2.7/x"}, "does not use https"),
        (302, {"location": "https://192.168.7.7/x"}, "has no public address"),
        (302, {"location": "https://169.254.169.254/x"}, "has no public address"),
        (302, {"location": "javascript:1"}, "redirects to a URL that"),
        (302, {"location": "/owner/repo/resolve/main/again"}, "redirects more than 8 times"),
    ],
)
def test_the_message_of_a_refusal_names_the_next_step(
    tmp_path: Path, status: int, headers: dict[str, str], words: str
) -> None:
    with hub({NAME: DATA}) as at:
        at.answer = lambda handler, path, data: send(handler, status, **headers)
        assert words in refused(at, tmp_path)


def test_a_busy_server_is_tried_again(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        statuses = [429, 503]

        def answer(handler: BaseHTTPRequestHandler, path: str, data: bytes) -> bool:
            if statuses:
                send(handler, statuses.pop(0), retry_after="0")
                return True
            return False

        at.answer = answer
        assert get(at, tmp_path).checked


def test_an_unknown_repository_is_reported(tmp_path: Path) -> None:
    with hub() as at:
        assert "has no nobody/nothing (HTTP 404)" in refused(at, tmp_path, "nobody/nothing")


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    with hub() as at:
        pass
    assert "sent no list of files" in refused(at, tmp_path)


# --- who may be asked, and who hears the token ------------------------------------------------------------------------


def test_the_token_is_sent_to_the_hub_only(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at, hub({NAME: DATA}) as cdn:
        at.answer = lambda handler, path, data: send(handler, 302, location=f"{cdn.url}/owner/repo/resolve/main/{NAME}")
        get(at, tmp_path, environ={"HF_TOKEN": "hf_test"})
    assert {request.headers.get("authorization") for request in at.received} == {"Bearer hf_test"}
    assert [request.headers.get("authorization") for request in cdn.received] == [None]


def test_a_private_host_is_allowed_only_as_the_hub(tmp_path: Path) -> None:
    for url in ("https://10.0.0.7/m.gguf", "https://localhost:1/m.gguf", "https://[fd00::1]/m.gguf"):
        with pytest.raises(DownloadError, match="no public address"):
            asyncio.run(download(url, tmp_path, LocalModelSettings(), environ={}, resolve=_loopback))
    with pytest.raises(DownloadError, match="no public address"):
        asyncio.run(
            download(
                "https://rebound.example.com/m.gguf", tmp_path, LocalModelSettings(), environ={}, resolve=_loopback
            )
        )
    with pytest.raises(DownloadError, match="does not use https"):
        asyncio.run(
            download("http://example.com/m.gguf", tmp_path, LocalModelSettings(), environ={}, resolve=_loopback)
        )


async def _loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def test_a_proxy_does_not_open_a_private_network(tmp_path: Path) -> None:
    environ = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    for host in ("10.0.0.7", "127.0.0.2", "wiki", "printer.local", "169.254.169.254"):
        with pytest.raises(DownloadError, match="no public address"):
            asyncio.run(
                download(f"https://{host}/m.gguf", tmp_path, LocalModelSettings(), environ=environ, resolve=_loopback)
            )
    message = refused_by(tmp_path, environ)
    assert "through the proxy 127.0.0.1:1" in message, "the name is not looked up here"
    assert "HTTPS_PROXY" in refused_by(tmp_path, {"HTTPS_PROXY": "socks5://x"})


def refused_by(folder: Path, environ: dict[str, str]) -> str:
    async def never(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    with pytest.raises(DownloadError) as caught:
        url = "https://example.com/m.gguf"
        asyncio.run(
            download(
                url, folder, LocalModelSettings(), environ=environ, resolve=never, free=lambda _: ROOM, pause=0.001
            )
        )
    return str(caught.value)


def test_the_url_of_a_files_page_is_accepted(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        assert get(at, tmp_path, f"{at.url}/owner/repo/blob/main/{NAME}").path.read_bytes() == DATA
        assert at.received[-1].path == f"/owner/repo/resolve/main/{NAME}"


def test_local_only_downloads_from_a_private_hub_only(tmp_path: Path) -> None:
    hosts: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        hosts.append(host)
        return ["192.0.2.1"]

    for text in ("owner/repo", "https://example.com/m.gguf"):
        with pytest.raises(DownloadError, match="`local_only` is on"):
            asyncio.run(download(text, tmp_path, LocalModelSettings(), local_only=True, environ={}, resolve=resolve))
    assert hosts == []
    with hub({NAME: DATA}) as at:
        assert get(at, tmp_path, local_only=True).checked


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_noticed_before_the_download(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        message = refused(at, tmp_path, free=lambda _: 1000)
    assert "Free some space" in message
    assert (tmp_path / "owner/repo" / f"{NAME}.part").stat().st_size == 0


def test_a_disk_that_fills_up_keeps_the_downloaded_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRITE_SIZE", 1)
    monkeypatch.setattr(module, "_CHECK_EVERY", 1)
    room = [ROOM, 1000]
    with hub({NAME: DATA}) as at:
        assert "Free some space" in refused(at, tmp_path, free=lambda _: room.pop(0))
        assert (tmp_path / "owner/repo" / f"{NAME}.part").stat().st_size > 0
        assert get(at, tmp_path).checked


def test_a_failed_write_reports_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BufferedRandom):
        def writelines(self, lines: Any) -> None:
            if lines:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda number, mode="r", **_: Full(io.FileIO(number, "r+")))
    monkeypatch.setattr(platform, "write_private", lambda path, data: None)
    with hub({NAME: DATA}) as at:
        assert "is full. Free some space" in refused(at, tmp_path)


def test_a_second_download_of_a_file_is_refused(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        path = left(tmp_path, at, b"")
        with path.with_name(f"{NAME}.part").open("r+b") as file:
            assert platform.try_lock(file.fileno())
            assert "is being downloaded already" in refused(at, tmp_path)


def test_a_file_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    with hub({NAME: DATA}) as at:
        path = left(tmp_path, at, b"")
        path.write_bytes(b"mine")
        assert "exists with another size" in refused(at, tmp_path)
        assert path.read_bytes() == b"mine"
