"""The peers of the benchmark: starting each, waiting until it is ready, and stopping it. Metrics are in `runs`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.bodies import MODEL

HERE = Path(__file__).parent
Protocol = Literal["openai", "anthropic"]

FINAL: dict[tuple[Protocol, bool], str] = {
    ("openai", True): "data: [DONE]",
    ("openai", False): '"finish_reason":"stop"',
    ("anthropic", True): "event: message_stop",
    ("anthropic", False): '"stop_reason":"end_turn"',
}
"""What a whole answer holds at its end, by the protocol it arrives in and whether it was streamed."""


class Unusable(Exception):
    """A peer cannot be measured here; the message has the reason."""


@dataclass
class Programs:
    """The compiled parts, and the folder that everything temporary of this run lives in."""

    folder: Path
    mock: Path = field(init=False)
    load: Path = field(init=False)

    def __post_init__(self) -> None:
        self.mock, self.load = self.folder / "mock", self.folder / "load"
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Unusable("no C compiler: install gcc, the mock and the load generator are compiled from bench/*.c")
        for program in (self.mock, self.load):
            source = HERE / f"{program.name}.c"
            subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)


@dataclass
class Peer:
    """A running peer. `pid` is None for the direct path, which costs nothing of its own."""

    name: str
    port: int
    path: str
    answers: Protocol
    pid: int | None = None


CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
PEERS_CORES, OUR_CORES = CORES[-1:], CORES[:-1] or CORES
"""Each peer gets a core of its own where there are two. Otherwise nginx's figures vary by a third from run to run, depending
on which processes share a core."""


@contextlib.contextmanager
def on(cores: list[int]) -> Iterator[None]:
    """What starts in here runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(
    command: list[str | Path], log: Path, environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose output goes to `log`; stopped with SIGTERM, and with SIGKILL when that has no effect."""
    with log.open("wb") as output, on(PEERS_CORES):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(environ or {})}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> tuple[int, bytes]:
    """Send one GET; OSError when no server listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path, seconds: float = 30) -> None:
    """Until `path` answers 200. Unusable, with the last lines of the log, when the child ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, path)[0] == 200:
                return
        time.sleep(0.002)
    tail = log.read_text(errors="replace").strip().splitlines()[-8:]
    state = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    raise Unusable(f"{Path(str(process.args[0])).name} {state}: " + (" / ".join(tail) or "it tail nothing"))  # type: ignore[index]


@contextlib.contextmanager
def mock(programs: Programs, models: list[str]) -> Iterator[int]:
    """The mock backend's port."""
    with subprocess.Popen([programs.mock, "0", *models], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream mock {{ server 127.0.0.1:{mock}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(programs: Programs, backend: int, protocol: Protocol) -> Iterator[Peer]:
    """The machine's own nginx as a plain pass-through with one worker: what any proxy costs at least."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Unusable("nginx is not installed (Debian: apt-get install nginx-light), so there are no ratios to it")
    port, config, log = free_port(), programs.folder / "nginx.conf", programs.folder / "nginx.log"
    config.write_text(NGINX.format(folder=programs.folder, mock=backend, port=port))
    with running([program, "-c", config, "-p", programs.folder, "-e", log], log) as process:
        wait_ready(process, port, "/seen", log)
        yield Peer("nginx", port, _path(protocol), protocol, process.pid)


def _path(protocol: Protocol) -> str:
    return "/v1/messages" if protocol == "anthropic" else "/v1/chat/completions"


@contextlib.contextmanager
def direct(programs: Programs, backend: int, protocol: Protocol) -> Iterator[Peer]:
    """The load generator calls the mock directly."""
    yield Peer("direct", backend, _path(protocol), protocol)


def byway_config(
    folder: Path, backend: int, models: list[str], protocol: Protocol, sections: Mapping[str, object] | None = None
) -> Path:
    """A config with one backend, whose models are requested through an alias, as Claude Code does, and more sections."""
    config: dict[str, object] = {
        "backends": [
            {
                "name": "mock",
                "type": "generic" if protocol == "openai" else "anthropic",
                "url": f"http://127.0.0.1:{backend}",
                "api_key": "bench",
                "models": models,
            }
        ],
        "model_aliases": {f"claude-{model}": model for model in models},
        "logging": {"level": "info", "format": "json"},
        **(sections or {}),
    }
    path = folder / f"byway-{protocol}.yaml"
    write_config(path, config)
    return path


def write_config(path: Path, config: Mapping[str, object]) -> None:
    """Write the config of a Byway. Without a newline at its end Byway would wait whether the file is complete."""
    path.write_text(json.dumps(config) + "\n")  # JSON is YAML


def byway_environ(folder: Path, tree: Path = HERE.parent) -> dict[str, str]:
    """Byway's data in a folder of this run, and the source of `tree` on the path, installed or not."""
    path = os.pathsep.join(filter(None, [str(tree / "src"), str(HERE.parent), os.environ.get("PYTHONPATH")]))
    # Compiled modules are kept, as for users: otherwise each start would compile them.
    return {"BYWAY_HOME": str(folder / "byway-home"), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}


@contextlib.contextmanager
def byway(
    programs: Programs,
    backend: int,
    protocol: Protocol,
    models: list[str],
    runner: Sequence[str] = ("-m", "byway"),
    tree: Path = HERE.parent,
    sections: Mapping[str, object] | None = None,
) -> Iterator[Peer]:
    """The Byway of `tree` as a user starts it, translating (protocol `openai`) or not (`anthropic`).

    It records no usage, as the peers do not: `bench team` measures what that costs. Older trees had no usage records.
    """
    unrecorded = {"usage": {"enabled": False}} if (tree / "src/byway/usage").exists() else {}
    config = byway_config(programs.folder, backend, models, protocol, {**unrecorded, **(sections or {})})
    port, log = free_port(), programs.folder / f"byway-{protocol}.log"
    command: list[str | Path] = [
        sys.executable,
        *runner,
        "up",
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-model",
    ]
    with running(command, log, byway_environ(programs.folder, tree)) as process:
        wait_ready(process, port, "/livez", log)
        yield Peer("byway", port, "/anthropic/v1/messages?beta=true", "anthropic", process.pid)
        if process.poll() is not None:
            raise Unusable(f"byway ended with {process.returncode} while it was measured: see {log}")
        process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def litellm(programs: Programs, backend: int, models: list[str]) -> Iterator[Peer]:
    """LiteLLM's proxy, translating, when it is installed beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("litellm")
    program = str(beside) if beside.exists() else shutil.which("litellm")
    if program is None:
        raise Unusable("LiteLLM is not installed (pip install 'litellm[proxy]'), so it is not compared")
    parameters: dict[str, Any] = {"api_base": f"http://127.0.0.1:{backend}/v1", "api_key": "bench"}
    # Not `openai/`: that would use the Responses API.
    rows = [
        {"model_name": f"claude-{m}", "litellm_params": {"model": f"hosted_vllm/{m}", **parameters}} for m in models
    ]
    config, port, log = programs.folder / "litellm.yaml", free_port(), programs.folder / "litellm.log"
    config.write_text(json.dumps({"model_list": rows, "litellm_settings": {"drop_params": True, "telemetry": False}}))
    command: list[str | Path] = [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    environ = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # It listens on loopback for the length of this run, before a mock; without this it requires a key to start.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    with running(command, log, environ) as process:
        wait_ready(process, port, "/health/liveliness", log, seconds=120)
        yield Peer("litellm", port, "/v1/messages", "anthropic", process.pid)


def models_of(knobs: list[tuple[int, int]]) -> list[str]:
    """The backend's model names for (tokens, gap) pairs: the requested names without `claude-`."""
    return [MODEL.format(tokens=tokens, gap=gap).removeprefix("claude-") for tokens, gap in knobs]
