"""Local models: worker arguments, ports, keys, and discovery of model servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpservers
import pytest

from byway.local import discovery, supervisor
from byway.local.discovery import DiscoveredServer
from byway.local.supervisor import ModelProcess, NotInstalled


def test_a_missing_package_is_reported_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[tuple[str, str]] = []
    for absent, word in (("xllamacpp", "engine"), (supervisor.PACKAGE, "weights")):
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name, absent=absent: None if name == absent else _Empty(tmp_path)
        )
        process = ModelProcess("tiny", tmp_path, lambda process: reports.append((process.state, process.message)))
        asyncio.run(process.run())
        assert reports[-1][0] == "failed"
        assert word in reports[-1][1]
        assert "make up" in reports[-1][1]
        assert "requirements/local.txt" in reports[-1][1]


class _Empty:
    def __init__(self, folder: Path) -> None:
        self.submodule_search_locations = [str(folder)]


def test_unknown_weights_are_refused_and_known_ones_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    good = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(NotInstalled, match="unknown checksum"):
        supervisor.verify_weights(file, tmp_path)
    assert not (tmp_path / "weights.json").exists()
    supervisor.verify_weights(file, tmp_path, good)
    facts = file.stat()
    file.write_bytes(b"forgery")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    # Same size and time: only a reading could tell, and there is none.
    supervisor.verify_weights(file, tmp_path, good)
    os.utime(file)
    with pytest.raises(NotInstalled, match="unknown checksum"):
        supervisor.verify_weights(file, tmp_path, good)


Pages = dict[str, tuple[int, dict[str, str], Any]]
OLLAMA: Pages = {
    "/api/version": (200, {}, {"version": "0.13.1"}),
    "/api/tags": (200, {}, {"models": [{"name": "qwen3-coder:30b", "size": 1}, {"name": "llama3.2:latest"}]}),
}
LMSTUDIO: Pages = {
    "/api/v0/models": (
        200,
        {},
        {
            "object": "list",
            "data": [
                {"id": "asleep", "type": "llm", "state": "not-loaded", "max_context_length": 4096},
                {"id": "embed", "type": "embeddings", "state": "loaded", "max_context_length": 512},
                {"id": "awake", "type": "vlm", "state": "loaded", "max_context_length": 32768},
            ],
        },
    )
}
LLAMACPP: Pages = {
    "/health": (200, {"Server": "llama.cpp"}, {"status": "ok"}),
    "/v1/models": (200, {"Server": "llama.cpp"}, {"object": "list", "data": [{"id": "qwen3.gguf"}]}),
    "/props": (200, {"Server": "llama.cpp"}, {"build_info": "b7000-abc"}),
}
LLAMACPP_CLOSED: Pages = {
    "/health": (200, {"Server": "llama.cpp"}, {"status": "ok"}),
    "/v1/models": (401, {"Server": "llama.cpp"}, {"error": {"code": 401, "message": "Invalid API Key"}}),
}
VLLM: Pages = {
    "/version": (200, {}, {"version": "0.33.0"}),
    "/v1/models": (200, {}, {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm"}]}),
}
OTHER: Pages = {
    "/health": (200, {}, {"status": "ok"}),
    "/version": (200, {}, {"version": "1.0"}),
    "/api/version": (200, {}, {"version": "1.0"}),
    "/v1/models": (200, {}, {"object": "list", "data": [{"id": "gpt", "owned_by": "somebody"}]}),
    "/api/v0/models": (200, {}, {"error": "Unexpected endpoint"}),
    "/api/tags": (200, {}, ["not", "ollama"]),
}


@contextlib.contextmanager
def server(pages: Pages, is_silent: bool = False) -> Iterator[str]:
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def version_string(self) -> str:
            return "elsewhere/1"

        def do_GET(self) -> None:
            if is_silent:
                stopped.wait(60)
            status, headers, body = pages.get(self.path, (404, {}, {"error": "not found"}))
            data = json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            stopped.set()
            httpservers.stop(httpd)
            thread.join()


def discovered(**places: str) -> list[DiscoveredServer]:
    return asyncio.run(discovery.discover(places, limit=2.0))


@pytest.mark.parametrize(
    ("vendor", "pages", "models", "version"),
    [
        ("ollama", OLLAMA, ("qwen3-coder:30b", "llama3.2:latest"), "0.13.1"),
        ("lmstudio", LMSTUDIO, ("awake", "asleep"), ""),
        ("llamacpp", LLAMACPP, ("qwen3.gguf",), "b7000-abc"),
        ("llamacpp", LLAMACPP_CLOSED, (), ""),
        ("vllm", VLLM, ("Qwen/Qwen3-8B",), "0.33.0"),
    ],
)
def test_a_server_is_recognised_by_its_own_api(
    vendor: str, pages: Pages, models: tuple[str, ...], version: str
) -> None:
    with server(pages) as url:
        assert discovered(**{vendor: url}) == [DiscoveredServer(vendor, url, models, version)]


@pytest.mark.parametrize("vendor", ["ollama", "lmstudio", "llamacpp", "vllm"])
def test_another_server_at_the_usual_port_is_not_recognised(vendor: str) -> None:
    for pages in (OTHER, {}, *(p for v, p in _ALL.items() if v != vendor)):
        with server(pages) as url:
            assert discovered(**{vendor: url}) == []


_ALL = {"ollama": OLLAMA, "lmstudio": LMSTUDIO, "llamacpp": LLAMACPP, "vllm": VLLM}


def test_a_slow_server_is_left_out_and_does_not_hide_the_others() -> None:
    with contextlib.ExitStack() as stack:
        places = {vendor: stack.enter_context(server(pages)) for vendor, pages in _ALL.items()}
        places["ollama"] = stack.enter_context(server(OLLAMA, is_silent=True))
        names = [server.vendor for server in asyncio.run(discovery.discover(places, limit=0.8))]
    assert names == ["lmstudio", "llamacpp", "vllm"]


def test_nothing_is_discovered_where_no_server_listens() -> None:
    with server({}) as url:
        pass
    assert discovered(**dict.fromkeys(_ALL, url)) == []
