"""`byway claude` as a process, with a small program in place of Claude Code: exit code, signals, terminal, keys, idle stop."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpointserver import EndpointServer, serving
from gateway import SOURCE, Gateway, config
from scripted import Say, Scripted

from byway import platform
from byway.endpoints.clients import running_clients
from byway.endpoints.registry import Endpoint, Endpoints

#: Instead of Claude Code: writes what it got, sends a message for each line of the file `orders`, and does what it says.
CLIENT = """#!{python}
import json, os, signal, sys, time, urllib.error, urllib.request
from pathlib import Path
home = Path(os.environ["HOME"])
overlay = json.loads(Path(sys.argv[sys.argv.index("--settings") + 1]).read_text())
signals = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: signals.append(number))
size = list(os.get_terminal_size(0)) if os.isatty(0) else []
def note(**more):
    state = dict(pid=os.getpid(), argv=sys.argv, overlay=overlay, size=size, signals=signals, **more)
    (home / "state.new").write_text(json.dumps(state))
    (home / "state.new").replace(home / "state")
def send():
    environ = dict(os.environ) | overlay["env"]
    model = environ.get("ANTHROPIC_MODEL") or "claude-opus-5-5"
    body = dict(model=model, max_tokens=5, messages=[dict(role="user", content="hi")])
    headers = dict([("content-type", "application/json"), ("authorization", "Bearer " + environ["ANTHROPIC_AUTH_TOKEN"])])
    url = environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
words = sys.argv[sys.argv.index("--settings") + 2:]
if words[0] == "send":
    note(answer=send())
    sys.exit(int(words[1]))
if words[0] == "wait":
    note()
    while not signals:
        time.sleep(0.01)
    time.sleep(0.2)
    note()
    sys.exit(42)
if words[0] == "follow":
    while not (home / "end").exists():
        note(answer=send())
        time.sleep(0.05)
    sys.exit(0)
if words[0] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Home:
    """A scratch home with the client, and its data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.processes: list[subprocess.Popen[str]] = []
        (path / "bin").mkdir()
        (path / "work").mkdir()
        program = path / "bin/claude"
        program.write_text(CLIENT.replace("{python}", sys.executable))
        program.chmod(0o755)
        self.environ = {
            "PATH": f"{path}/bin:{os.environ['PATH']}",
            "HOME": str(path),
            "BYWAY_HOME": str(self.data),
            "PYTHONPATH": str(SOURCE),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "byway", "claude", *arguments]

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return self.execute(self.command(*arguments), **environ)

    def execute(self, command: list[str], **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            env={**self.environ, **environ},
            cwd=self.path / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End what a failed test has left."""
        for process in self.processes:
            with process, contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def run(self, *arguments: str, **environ: str) -> tuple[int, str]:
        process = self.start(*arguments, **environ)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def state(self) -> dict[str, Any]:
        """What the client has written."""
        return dict(json.loads((self.path / "state").read_text()))

    def wait(self, met: Callable[[], object], seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, ValueError):
                if met():
                    return
            assert time.monotonic() < ends, "not in time"
            time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    try:
        yield home
    finally:
        home.end()


@pytest.fixture
def server(home: Home) -> Iterator[EndpointServer]:
    """An endpoint `lab`, which is active."""
    with serving() as server:
        endpoints = Endpoints(home.data, {})
        endpoints.add(Endpoint("lab", server.url))
        endpoints.use("lab")
        yield server


def test_the_exit_code_is_passed_on_and_the_endpoint_gets_one_credential(home: Home, server: EndpointServer) -> None:
    code, output = home.run(
        "send", "7", ANTHROPIC_API_KEY="sk-ant-real", HTTP_PROXY="http://127.0.0.1:9", CLAUDECODE="1"
    )
    assert code == 7, output
    state = home.state
    assert "Hello from A" in state["answer"] and not Path(state["argv"][2]).exists()
    assert [request.credentials for request in server.messages] == [{"authorization": "Bearer byway-local"}]
    assert "sk-ant-real" not in json.dumps(state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_reaches_the_client_once(home: Home, server: EndpointServer, number: int) -> None:
    process = home.start("--no-check", "wait")
    home.wait(lambda: home.state["pid"])
    assert [client.endpoint for client in running_clients(home.data).running] == ["lab"]
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 42, output
    assert home.state["signals"] == [number]
    assert not running_clients(home.data).running and not list((home.data / "clients").iterdir())


def test_a_client_that_is_killed_gives_the_code_of_a_shell(home: Home, server: EndpointServer) -> None:
    assert home.run("--no-check", "die")[0] == 128 + signal.SIGKILL


def test_the_client_has_the_terminal_and_ctrl_c_reaches_it_once(home: Home, server: EndpointServer) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home.path / "work")
        os.execve(sys.executable, home.command("--no-check", "wait"), home.environ)  # noqa: S606 - the child of the terminal
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    home.wait(lambda: home.state["pid"])
    os.write(terminal, b"\x03")
    output = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 42, output
    assert home.state["size"] == [101, 33] and home.state["signals"] == [signal.SIGINT]


def test_a_stopped_client_stops_the_launcher_and_is_resumed_with_it(home: Home, server: EndpointServer) -> None:
    process = home.start("--no-check", "wait")
    home.wait(lambda: home.state["pid"])
    os.kill(home.state["pid"], signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(process.pid, signal.SIGCONT)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 42


def test_a_running_client_follows_the_active_endpoint(home: Home, server: EndpointServer) -> None:
    endpoints = Endpoints(home.data, {})
    with serving(name="B") as second:
        endpoints.add(Endpoint("other", second.url))
        process = home.start("--no-check", "follow")
        home.wait(lambda: "Hello from A" in home.state["answer"])
        # One that does not work is not followed.
        endpoints.add(Endpoint("broken", "http://127.0.0.1:1"))
        endpoints.use("broken")
        home.wait(lambda: not running_clients(home.data).running[0].switchable)
        assert "Hello from A" in home.state["answer"]
        endpoints.use("lab")
        home.wait(lambda: running_clients(home.data).running[0].switchable)
        endpoints.use("other")
        home.wait(lambda: "Hello from B" in home.state["answer"])
        record = running_clients(home.data).running[0]
        assert (record.endpoint, record.base_url, record.switchable) == ("other", second.url, True)
        # A changed URL of the active endpoint is followed too.
        endpoints.add(Endpoint("other", server.url), replace=True)
        home.wait(lambda: "Hello from A" in home.state["answer"])
        (home.path / "end").touch()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in output


def test_a_key_is_created_for_the_client_and_revoked_when_it_ends(home: Home) -> None:
    with Scripted() as backend:
        backend.play(lambda request: Say("Hello from the model"))
        keys = {"mode": "blocking", "api_keys": [{"key": "byway-key-of-the-owner-0123456789", "id": "owner"}]}
        with Gateway(config(backend, api_keys=keys), environ={"BYWAY_HOME": str(home.data)}):
            code, output = home.run("send", "3")
    assert code == 3, output
    assert '"type":"message"' in home.state["answer"].replace(" ", ""), home.state["answer"]
    from byway.store import Store

    with Store(home.data) as store:
        created = store.keys()
    assert [key.name.startswith("byway claude") and bool(key.revoked_at) for key in created] == [True]
    assert created[0].scopes == ("read", "write") and created[0].expires_at is not None


def test_a_running_client_goes_on_when_the_first_key_is_created(home: Home) -> None:
    with Scripted() as backend:
        backend.play(lambda request: Say("Hello from the model"))
        with Gateway(config(backend), environ={"BYWAY_HOME": str(home.data)}):
            process = home.start("follow")
            home.wait(lambda: "Hello from the model" in home.state["answer"])
            owner = [sys.executable, "-m", "byway", "key", "create", "laptop"]
            subprocess.run(owner, env=home.environ, capture_output=True, check=True, timeout=60)
            from byway.store import Store

            def created() -> bool:
                with Store(home.data) as store:
                    return any(key.name.startswith("byway claude") for key in store.keys())

            home.wait(created)
            assert "Hello from the model" in home.state["answer"]
            (home.path / "end").touch()
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output


def test_byway_is_started_for_a_client_and_stops_after_the_last_one(home: Home) -> None:
    with Scripted() as backend:
        backend.play(lambda request: Say("Hello from the model"))
        file = home.path / "byway.yaml"
        file.write_text(json.dumps(config(backend, server={"bind_address": "127.0.0.1:0"})))
        code, output = home.run("--config", str(file), "send", "0", BYWAY_IDLE_SECONDS="3")
        assert code == 0 and "Starting Byway" in output, output

        def has_stopped() -> bool:
            try:
                with platform.lock_folder(home.data):
                    return True
            except platform.FolderLocked:
                return False

        assert not has_stopped()
        home.wait(has_stopped)
        # The log is written by a thread, until the process has ended.
        home.wait(lambda: "no client has used this Byway" in (home.data / "launch.log").read_text())


def test_a_byway_that_cannot_start_shows_its_error(home: Home) -> None:
    file = home.path / "byway.yaml"
    file.write_text("backends: 5\n")
    code, output = home.run("--config", str(file), "send", "0")
    assert code == 1 and "Byway did not start" in output and "backends" in output


#: A launcher whose other thread, not the main one, receives SIGTERM: the system may choose any thread.
THREADED = """
import os, signal, sys, threading, time
from pathlib import Path
from byway import programs
def end():
    while not Path("started").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
sys.exit(programs.run_in_terminal(["sh", "-c", "trap 'exit 42' TERM; touch started; while :; do sleep 0.05; done"], os.environ))
"""


def test_a_signal_that_reaches_another_thread_of_the_launcher_reaches_the_client(home: Home) -> None:
    process = home.execute([sys.executable, "-c", THREADED])
    process.communicate(timeout=60)
    assert process.returncode == 42
