"""Local models as people use them: `byway models load` and `unload` beside a running Byway, with real llama.cpp processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway import SOURCE, Answer, Gateway
from models import PAIRS, gguf
from strict import check_message
from waiting import wait_until

from byway.local.supervisor import NotInstalled, builtin_weights

pytestmark = pytest.mark.real
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only on Linux: elsewhere nobody says which processes there are"
)


@pytest.fixture(scope="module")
def file() -> Path:
    try:
        return builtin_weights()
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture
def gateway(file: Path) -> Iterator[Gateway]:
    with Gateway(
        f"backends: [{{name: one, type: builtin, path: '{file}', window: 1024, threads: 1}}]", model=True
    ) as it:
        it.wait(lambda: state(it, "one") == "ready", what="the model is loaded")
        yield it


def byway(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command beside the running Byway, with its config and its data folder."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(gateway.home),
        "PYTHONPATH": str(SOURCE),
        "BYWAY_HOME": str(gateway.home / "data"),
        "BYWAY_CONFIG": str(gateway.file),
    }
    command = [sys.executable, "-m", "byway", "models", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, cwd=gateway.home)


def about(gateway: Gateway, name: str) -> dict[str, Any]:
    backends = gateway.get("/readyz").json["backends"]
    return next((backend for backend in backends if backend["name"] == name), {"state": "gone"})


def state(gateway: Gateway, name: str) -> str:
    return str(about(gateway, name)["state"])


def process(gateway: Gateway, model: str) -> int:
    """The process of a model, as the log reported it last."""

    def numbers() -> list[int]:
        ready = (line for line in gateway.logs if line.get("message") == "A local model is ready")
        return [line["process"] for line in ready if line["model"] == model]

    gateway.wait(numbers, what="the log tells the process")
    return numbers()[-1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ask(gateway: Gateway, model: str, tokens: int = 3, **more: Any) -> Any:
    body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "Say hello"}], **more}
    return gateway.post(body)


@LINUX
def test_two_models_run_side_by_side_and_one_is_unloaded(gateway: Gateway, file: Path) -> None:
    done = byway(gateway, "load", str(file), "--name", "two", "--window", "2048", "--threads", "1", "--alias", "haiku")
    assert done.returncode == 0, done.stderr
    assert "two is loaded" in done.stdout and "Model name for clients: two or haiku" in done.stdout
    assert "Memory: 0 B before, " in done.stdout
    first, second = process(gateway, "one"), process(gateway, "two")
    assert first != second and alive(first) and alive(second)
    for name in ("one", "two", "haiku"):
        check_message(ask(gateway, name).json)
    windows = {item["id"]: item.get("max_input_tokens") for item in gateway.get("/v1/models").json["data"]}
    assert (windows["one"], windows["two"]) == (1024, 2048)
    assert about(gateway, "two")["memory"] > 50 << 20

    body = json.loads(byway(gateway, "unload", "two", "--json").stdout)
    assert body["backend"] == "two" and body["memory_before"] > 50 << 20
    assert state(gateway, "two") == "gone"
    gateway.wait(lambda: not alive(second), what="its process has ended")
    assert alive(first) and process(gateway, "one") == first
    assert "haiku" not in gateway.file.read_text()
    # Every name leads to the model that is left.
    assert ask(gateway, "two").headers["x-byway-backend"] == "one"


@LINUX
def test_other_options_are_another_process_and_the_others_stay(gateway: Gateway, file: Path) -> None:
    assert byway(gateway, "load", str(file), "--name", "two", "--threads", "1").returncode == 0
    first, second = process(gateway, "one"), process(gateway, "two")
    done = byway(gateway, "load", "two", "--window", "512", "--json")
    assert json.loads(done.stdout)["state"] == "ready", done.stderr
    gateway.wait(lambda: process(gateway, "two") != second)
    gateway.wait(lambda: not alive(second))
    assert process(gateway, "one") == first
    windows = {item["id"]: item.get("max_input_tokens") for item in gateway.get("/v1/models").json["data"]}
    assert windows["two"] == 512
    # What no process depends on starts none.
    second = process(gateway, "two")
    assert byway(gateway, "load", "two", "--idle-unload", "1h").returncode == 0
    assert process(gateway, "two") == second and alive(second)


@LINUX
def test_a_stream_is_read_to_its_end_from_a_model_that_is_unloaded_meanwhile(gateway: Gateway) -> None:
    pid = process(gateway, "one")
    got: list[Any] = []
    body = {
        "max_tokens": 120,
        "temperature": 0,
        "messages": [{"role": "user", "content": "Count from one to a hundred."}],
    }
    began = threading.Event()

    def read() -> None:
        sent = json.dumps({"model": "one", "stream": True, **body}).encode()
        with gateway.open("POST", "/v1/messages", sent, {"content-type": "application/json"}) as response:
            data = response.read1()
            began.set()
            got.append(Answer(response.status, {}, data + response.read()))

    reading = threading.Thread(target=read)
    reading.start()
    assert began.wait(60)
    gateway.write("backends: [{type: builtin, name: other, threads: 1, window: 512}]")
    gateway.wait(lambda: state(gateway, "one") == "gone")
    reading.join(60)
    assert got[0].events[-1]["type"] == "message_stop"
    gateway.wait(lambda: not alive(pid), what="nobody reads from it any more")


@LINUX
def test_an_idle_model_is_unloaded_and_wakes_for_the_next_request(file: Path) -> None:
    text = f"backends: [{{name: one, type: builtin, path: '{file}', window: 1024, threads: 1, idle_unload: 1s}}]"
    with Gateway(text, model=True) as gateway:
        gateway.wait(lambda: state(gateway, "one") == "asleep", what="it has been idle")
        pid = process(gateway, "one")
        gateway.wait(lambda: not alive(pid))
        assert gateway.get("/readyz").status == 200
        assert "The next request loads it" in about(gateway, "one")["message"]
        assert "memory" not in about(gateway, "one")
        # A count is no reason to load it.
        count = {"model": "one", "messages": [{"role": "user", "content": "hello"}]}
        assert gateway.post(count, "/v1/messages/count_tokens").json["input_tokens"] > 0
        assert state(gateway, "one") == "asleep"
        # Another generation of the config knows how to wake it too.
        gateway.write(text + "\ntimeouts: {connect: 4}")
        gateway.wait(lambda: any(line.get("message") == "Config loaded" for line in gateway.logs))
        answers: list[Any] = []
        asking = [threading.Thread(target=lambda: answers.append(ask(gateway, "one"))) for _ in range(3)]
        for item in asking:
            item.start()
        for item in asking:
            item.join(60)
        assert [answer.status for answer in answers] == [200] * 3
        loads = [line for line in gateway.logs if line.get("message") == "A local model is ready"]
        assert len(loads) == 2, "three requests wake it once"
        assert process(gateway, "one") != pid
        gateway.wait(lambda: state(gateway, "one") == "asleep", what="it has been idle again")


def test_a_model_that_does_not_load_again_reports_the_reason(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(file, copy)
    text = f"backends: [{{name: one, type: builtin, path: '{copy}', window: 512, threads: 1, idle_unload: 1s}}]"
    with Gateway(text, model=True) as gateway:
        gateway.wait(lambda: state(gateway, "one") == "asleep")
        copy.unlink()
        answer = ask(gateway, "one")
        assert answer.status == 502
        assert "copy.gguf cannot be read: No such file" in answer.json["error"]["message"]
        shutil.copy(file, copy)
        gateway.wait(lambda: state(gateway, "one") in ("ready", "asleep"), what="it is tried again")


@LINUX
def test_a_killed_process_starts_again_and_byways_end_is_its_end(file: Path) -> None:
    backends = [
        {"name": name, "type": "builtin", "path": str(file), "window": 512, "threads": 1} for name in ("one", "two")
    ]
    gateway = Gateway({"backends": backends}, model=True).start()
    try:
        gateway.wait(lambda: {state(gateway, "one"), state(gateway, "two")} == {"ready"}, what="both are loaded")
        first, second = process(gateway, "one"), process(gateway, "two")
        os.kill(first, signal.SIGKILL)
        gateway.wait(lambda: process(gateway, "one") != first and state(gateway, "one") == "ready", what="it is back")
        assert process(gateway, "two") == second
        check_message(ask(gateway, "one").json)
        first = process(gateway, "one")
        gateway.process.kill()
        gateway.process.wait()
        wait_until(lambda: not (alive(first) or alive(second)))
    finally:
        gateway.stop()


def test_a_file_that_cannot_be_loaded_reports_the_reason_and_others_run(gateway: Gateway, tmp_path: Path) -> None:
    """A header that is good, and no tensors behind it: only llama.cpp finds that out."""
    hollow = tmp_path / "hollow.gguf"
    hollow.write_bytes(gguf(PAIRS))
    done = byway(gateway, "load", str(hollow))
    assert done.returncode == 1
    assert "hollow is not running and is restarted: exit code 1:" in done.stderr
    # Between two failures it is loading again.
    gateway.wait(lambda: state(gateway, "hollow") == "failed", what="it has failed")
    assert state(gateway, "one") == "ready"
    hollow.write_bytes(b"no model at all")
    done = byway(gateway, "load", str(hollow), "--name", "again")
    assert (done.returncode, "is not a GGUF file" in done.stderr) == (2, True)
    assert "again" not in gateway.file.read_text(), "what cannot be loaded does not get into the config"
    assert byway(gateway, "unload", "hollow").returncode == 0
    done = byway(gateway, "unload", "hollow")
    assert (done.returncode, done.stderr) == (
        2,
        "byway: Byway runs no model called hollow. Models that it runs: one.\n",
    )


def test_the_list_shows_files_with_their_facts(gateway: Gateway, file: Path) -> None:
    folder = gateway.home / ".lmstudio/models/hf/smol"
    folder.mkdir(parents=True)
    shutil.copy(file, folder / "smol-Q4_1.gguf")
    (folder / "broken.gguf").write_bytes(b"nothing")
    table = {path["name"]: path for path in json.loads(byway(gateway, "list", "--json").stdout)["files"]}
    smol = table["smol-Q4_1"]
    assert (smol["quantisation"], smol["window"], smol["origin"], smol["size"]) == ("Q4_1", 8192, "lmstudio", 98362432)
    assert smol["chat_template"] is True and smol["backends"] == []
    assert "is not a GGUF file" in table["broken"]["problem"]
    shown = byway(gateway).stdout
    assert "smol-Q4_1" in shown and "98 MB" in shown and "8,192" in shown and "LM Studio" in shown
    done = byway(gateway, "load", "smol", "--name", "small", "--window", "512", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "(loaded as small)" in byway(gateway, "list").stdout
    mapping = {backend["name"]: backend for backend in json.loads(byway(gateway, "--json").stdout)["backends"]}
    assert mapping["small"]["state"] == "ready" and mapping["small"]["memory"] > 50 << 20
