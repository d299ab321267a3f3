"""The built-in model's process, and finding the model servers of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway

from byway.local import discovery, supervisor
from byway.local.discovery import Found
from byway.local.supervisor import Child, Missing, Place

SOURCE = Path(__file__).parent.parent / "src"


# --- the built-in model -----------------------------------------------------------------------------------------------


@pytest.fixture
def installed() -> Path:
    try:
        return supervisor.weights()
    except Missing as missing:
        pytest.skip(str(missing))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that has ended and that nobody has asked about yet still has its number.
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def until(met: Any, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.02)


def fetch(url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


@pytest.mark.real
def test_the_model_answers_those_who_have_its_key_and_starts_again_when_it_dies(
    installed: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    changed = asyncio.Event()

    def tell(child: Child) -> None:
        told.append(child.state)
        changed.set()

    async def run() -> None:
        child = Child("tiny", tmp_path, tell)
        running = asyncio.create_task(child.run())

        async def reach(state: str) -> None:
            async with asyncio.timeout(60):
                while child.state != state:
                    changed.clear()
                    await changed.wait()

        try:
            await reach("ready")
            assert child.place is not None
            assert child.pid is not None
            await asyncio.to_thread(closed, child.place)
            await asyncio.to_thread(answers, child.place)
            os.kill(child.pid, signal.SIGKILL)
            await reach("failed")
            assert "its process was killed" in child.message
            assert child.place is None
            await reach("ready")
            pid = child.pid
            assert pid is not None
        finally:
            running.cancel()
            await asyncio.wait([running])
        assert not alive(pid)

    def closed(place: Place) -> None:
        assert fetch(f"{place.url}/v1/models")[0] == 401
        assert fetch(f"{place.url}/v1/models", authorization="Bearer guess")[0] == 401
        for path in ("/slots", "/metrics", "/"):
            assert fetch(place.url + path, authorization=f"Bearer {place.secret}")[0] in (404, 501), path
        _, headers, _ = fetch(
            f"{place.url}/v1/models", authorization=f"Bearer {place.secret}", origin="http://evil.example"
        )
        assert headers.get("access-control-allow-origin", "") == ""

    def answers(place: Place) -> None:
        body = {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": "Say hello"}]}
        status, _, data = fetch(
            f"{place.url}/v1/chat/completions",
            body,
            authorization=f"Bearer {place.secret}",
            **{"content-type": "application/json"},
        )
        answer = json.loads(data)
        assert status == 200
        assert answer["model"] == "tiny"
        assert answer["usage"]["completion_tokens"] > 0

    asyncio.run(run())
    assert told == ["loading", "ready", "failed", "loading", "ready"]
    # The verdict on the weights is remembered for the next start.
    assert json.loads((tmp_path / "weights.json").read_text())["sha256"] == supervisor.SHA256


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: elsewhere the end of stdin tells the child")
def test_the_model_ends_with_byway_however_that_ends(installed: Path) -> None:
    gateway = Gateway(model=True).start()
    try:
        until(lambda: "process" in gateway.text)
        child = next(line["process"] for line in gateway.logs if "process" in line)
        command = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
        assert b"byway.local.worker" in command
        gateway.process.kill()
        gateway.process.wait()
        until(lambda: not alive(child), 5)
    finally:
        gateway.stop()


@pytest.mark.real
def test_the_child_ends_when_its_input_does(installed: Path) -> None:
    """What tells it on systems where the parent's death is no signal; Ctrl-C and SIGTERM are the parent's business."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "byway.local.worker"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        options = {"path": str(installed), "model": "tiny", "window": 512, "threads": 1, "secret": "s"}
        child.stdin.write(json.dumps(options).encode() + b"\n")
        child.stdin.flush()
        told = json.loads(child.stdout.readline())
        assert told["url"].startswith("http://127.0.0.1:")
        assert told["window"] == 512
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(5) == 0


def test_without_its_packages_it_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    for absent, word in (("xllamacpp", "engine"), (supervisor.PACKAGE, "weights")):
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name, absent=absent: None if name == absent else _Empty(tmp_path)
        )
        child = Child("tiny", tmp_path, lambda child: told.append((child.state, child.message)))
        asyncio.run(child.run())
        assert told[-1][0] == "failed"
        assert word in told[-1][1]
        assert "make up" in told[-1][1]
        assert "requirements/local.txt" in told[-1][1]


class _Empty:
    def __init__(self, folder: Path) -> None:
        self.submodule_search_locations = [str(folder)]


def test_weights_that_are_not_the_known_ones_are_refused_and_good_ones_read_once(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    good = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(Missing, match="not the known ones"):
        supervisor.check(file, tmp_path)
    assert not (tmp_path / "weights.json").exists()
    supervisor.check(file, tmp_path, good)
    facts = file.stat()
    file.write_bytes(b"forgery")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    # Same size and time: only a reading could tell, and there is none.
    supervisor.check(file, tmp_path, good)
    os.utime(file)
    with pytest.raises(Missing, match="not the known ones"):
        supervisor.check(file, tmp_path, good)


# --- model servers of this machine ------------------------------------------------------------------------------------

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
def server(pages: Pages, delay: float = 0.0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def version_string(self) -> str:
            return "elsewhere/1"

        def do_GET(self) -> None:
            time.sleep(delay)
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
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def found(**places: str) -> list[Found]:
    return asyncio.run(discovery.find(places, limit=2.0))


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
def test_a_server_is_known_by_its_own_api(vendor: str, pages: Pages, models: tuple[str, ...], version: str) -> None:
    with server(pages) as url:
        assert found(**{vendor: url}) == [Found(vendor, url, models, version)]


@pytest.mark.parametrize("vendor", ["ollama", "lmstudio", "llamacpp", "vllm"])
def test_another_server_at_its_port_is_not_mistaken_for_it(vendor: str) -> None:
    for pages in (OTHER, {}, *(p for v, p in _ALL.items() if v != vendor)):
        with server(pages) as url:
            assert found(**{vendor: url}) == []


_ALL = {"ollama": OLLAMA, "lmstudio": LMSTUDIO, "llamacpp": LLAMACPP, "vllm": VLLM}


def test_all_are_asked_at_once_and_a_slow_one_is_left_out() -> None:
    with contextlib.ExitStack() as stack:
        places = {vendor: stack.enter_context(server(pages)) for vendor, pages in _ALL.items()}
        places["ollama"] = stack.enter_context(server(OLLAMA, delay=1.0))
        began = time.monotonic()
        names = [one.vendor for one in asyncio.run(discovery.find(places, limit=0.8))]
        assert time.monotonic() - began < 1.6
    assert names == ["lmstudio", "llamacpp", "vllm"]


def test_where_nobody_listens_nothing_is_found() -> None:
    with server({}) as url:
        pass
    assert found(**dict.fromkeys(_ALL, url)) == []
