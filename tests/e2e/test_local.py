"""The process of a local model: it answers with its key, restarts, and ends with Byway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway

from byway.local import supervisor
from byway.local.supervisor import ModelProcess, ProcessAddress

SOURCE = Path(__file__).parents[2] / "src"


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
def test_a_local_model_requires_its_key_and_restarts_after_its_process_died(installed: Path, tmp_path: Path) -> None:
    reports: list[str] = []
    changed = asyncio.Event()

    def on_change(process: ModelProcess) -> None:
        reports.append(process.state)
        changed.set()

    async def run() -> None:
        process = ModelProcess("tiny", tmp_path, on_change)
        running = asyncio.create_task(process.run())

        async def reach(state: str) -> None:
            async with asyncio.timeout(60):
                while process.state != state:
                    changed.clear()
                    await changed.wait()

        try:
            await reach("ready")
            assert process.address is not None
            assert process.pid is not None
            await asyncio.to_thread(closed, process.address)
            await asyncio.to_thread(answers, process.address)
            os.kill(process.pid, signal.SIGKILL)
            await reach("failed")
            assert "its process was killed" in process.message
            assert process.address is None
            await reach("ready")
            pid = process.pid
            assert pid is not None
        finally:
            running.cancel()
            await asyncio.wait([running])
        assert not alive(pid)

    def closed(place: ProcessAddress) -> None:
        assert fetch(f"{place.url}/v1/models")[0] == 401
        assert fetch(f"{place.url}/v1/models", authorization="Bearer guess")[0] == 401
        for path in ("/slots", "/metrics", "/"):
            assert fetch(place.url + path, authorization=f"Bearer {place.secret}")[0] in (404, 501), path
        _, headers, _ = fetch(
            f"{place.url}/v1/models", authorization=f"Bearer {place.secret}", origin="http://evil.example"
        )
        assert headers.get("access-control-allow-origin", "") == ""

    def answers(place: ProcessAddress) -> None:
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
    assert reports == ["loading", "ready", "failed", "loading", "ready"]
    # The verdict on the weights is remembered for the next start.
    assert json.loads((tmp_path / "weights.json").read_text())["sha256"] == supervisor.SHA256


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: elsewhere the end of stdin tells the child")
def test_the_process_of_a_model_ends_with_byway_even_when_byway_is_killed(installed: Path) -> None:
    gateway = Gateway(model=True).start()
    try:
        until(lambda: "process" in gateway.text)
        process = next(line["process"] for line in gateway.logs if "process" in line)
        command = Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()
        assert b"byway.local.worker" in command
        gateway.process.kill()
        gateway.process.wait()
        until(lambda: not alive(process), 5)
    finally:
        gateway.stop()


@pytest.mark.real
def test_the_process_of_a_model_ends_when_its_stdin_closes(installed: Path) -> None:
    """What tells it on systems where the parent's death is no signal; Ctrl-C and SIGTERM are the parent's business."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "byway.local.worker"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        options = {
            "path": str(installed),
            "model": "tiny",
            "use": "answers",
            "window": 512,
            "threads": 1,
            "secret": "s",
        }
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()
        reports = json.loads(process.stdout.readline())
        assert reports["url"].startswith("http://127.0.0.1:")
        assert reports["window"] == 512
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 0
