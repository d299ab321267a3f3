"""A running Byway: signals, draining, reloading, wide addresses and child processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, config
from scripted import Asked, Say, Scripted

from byway.local.supervisor import NotInstalled, builtin_weights

ASK = {"model": "any", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**ASK, "stream": True}
KEYS: dict[str, Any] = {"api_keys": {"api_keys": [{"key": "byway-test-key-0123456789"}]}}


def slow(events: int = 40, gap: float = 0.05) -> Say:
    return Say(" ".join(["word"] * events), gap=gap)


class Streaming(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self.gateway = gateway
        self.began = threading.Event()
        self.got = b""
        self.cut = False
        self.start()
        assert self.began.wait(60)

    def run(self) -> None:
        with self.gateway.open(
            "POST", "/v1/messages", json.dumps(STREAM).encode(), {"content-type": "application/json"}
        ) as answer:
            try:
                while data := answer.read1():
                    self.got += data
                    self.began.set()
            except (http.client.IncompleteRead, ConnectionError):
                self.cut = True

    def whole(self) -> bytes:
        self.join(60)
        assert not self.is_alive()
        assert not self.cut
        return self.got


def test_a_stop_finishes_active_requests_and_accepts_no_new_ones() -> None:
    with Scripted([slow()]) as server, Gateway(config(server)) as gateway:
        idle = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        idle.request("GET", "/livez")
        idle.getresponse().read()
        client = Streaming(gateway)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait(lambda: any(line["message"] == "Stopping" for line in gateway.logs))
        gateway.wait(lambda: not gateway._lives(), what="it accepts no connections")
        assert idle.sock.recv(1) == b""
        idle.close()
        assert client.whole().endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        assert gateway.process.wait(60) == 0


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event() -> None:
    with Scripted([slow(400)]) as server, Gateway(config(server, timeouts={"drain": "300ms"})) as gateway:
        client = Streaming(gateway)
        gateway.process.send_signal(signal.SIGTERM)
        last = client.whole().split(b"event: ")[-1]
        assert last.startswith(b"error\n")
        assert b"overloaded_error" in last
        assert gateway.process.wait(60) == 0
        server.last.left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_it_at_once(number: signal.Signals) -> None:
    with Scripted([slow(400)]) as server:
        gateway = Gateway(config(server)).start()
        client = Streaming(gateway)
        gateway.process.send_signal(number)
        gateway.wait(lambda: any(line["message"] == "Stopping" for line in gateway.logs))
        gateway.process.send_signal(number)
        # The stream takes longer than that, and the drain would wait for it.
        assert gateway.process.wait(60) == 128 + number
        client.join(60)
        assert client.cut
        gateway.stop()


def test_a_wide_address_without_keys_serves_loopback_only_and_is_logged() -> None:
    with Scripted() as server, Gateway(config(server), arguments=["--host", "0.0.0.0"]) as gateway:
        gateway.wait(lambda: "--insecure" in gateway.text)
        listens = Path(f"/proc/{gateway.process.pid}/net/tcp")
        if listens.exists():
            wide = f"00000000:{gateway.port:04X}"
            assert not any(line.split()[1] == wide for line in listens.read_text().splitlines()[1:])


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with unix sockets")
def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with Scripted([Say("hi")]) as server:
        addresses = {"bind_address": ["127.0.0.1:0", f"unix:{path}"], "socket_mode": "0660"}
        gateway = Gateway(config(server, server=addresses))
        gateway._arguments = [word for word in gateway._arguments if word not in ("--port", "0")]
        with gateway:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(path)
                client.sendall(b"GET /livez HTTP/1.1\r\nhost: anything\r\nconnection: close\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert not os.path.exists(path)


def ready(gateway: Gateway) -> str:
    return str(gateway.get("/readyz").json["config"])


def test_a_valid_edit_takes_effect_without_interrupting_a_stream() -> None:
    def reply(request: Asked) -> Say:
        return slow() if request.stream else Say(request.json["model"])

    with Scripted(reply, models=("local", "other")) as server, Gateway(config(server)) as gateway:
        client = Streaming(gateway)
        new = config(server, model_aliases={"default": "one/other"})
        new["backends"][0]["models"] = ["local", "other"]
        gateway.write(new)
        gateway.wait(lambda: gateway.post(ASK).headers.get("x-byway-model") == "one/other")
        assert client.whole().endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        assert ready(gateway) == "good"


def test_an_invalid_edit_keeps_the_running_config_and_logs_the_line() -> None:
    with Scripted(lambda _: Say("hi")) as server, Gateway(config(server)) as gateway:
        gateway.write("backends: [{type: nonsense}]\n")
        gateway.wait(lambda: ready(gateway) != "good")
        assert "byway.yaml:1: backends.0.type" in ready(gateway)
        gateway.wait(lambda: any("running one stays" in line["message"] for line in gateway.logs))
        assert gateway.post(ASK).status == 200
        gateway.file.unlink()
        gateway.wait(lambda: "No such file" in ready(gateway))
        assert gateway.post(ASK).status == 200
        gateway.write(config(server))
        gateway.wait(lambda: ready(gateway) == "good")
        assert gateway.post(ASK).status == 200


def test_a_setting_that_needs_a_restart_is_named() -> None:
    with Scripted(lambda _: Say("hi")) as server, Gateway(config(server)) as gateway:
        gateway.write(config(server, server={"bind_address": "127.0.0.1:1"}))
        gateway.wait(lambda: any(line.get("setting") == "server.bind_address" for line in gateway.logs))
        assert gateway.post(ASK).status == 200


def test_keys_cannot_be_turned_off_by_an_edit_while_other_machines_can_connect() -> None:
    with (
        Scripted(lambda _: Say("hi")) as server,
        Gateway(config(server, **KEYS), arguments=["--host", "0.0.0.0"]) as gateway,
    ):
        gateway.write(config(server))
        gateway.wait(lambda: "would let clients in without a key" in ready(gateway))
        gateway.write(config(server, api_keys={"mode": "permissive"}))
        gateway.wait(lambda: "the log has the reason" in ready(gateway))
        gateway.wait(lambda: "keys cannot be given up" in gateway.text)
        assert gateway.post(ASK).status == 401
        assert gateway.post(ASK, headers={"x-api-key": "byway-test-key-0123456789"}).status == 200


def test_keys_can_be_in_a_separate_file() -> None:
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server, api_keys={"api_keys_file": "keys.yaml"}))
        keys = gateway.home / "keys.yaml"
        keys.write_text("- {key: first-key-0123456789}\n")
        with gateway:
            assert gateway.post(ASK).status == 401
            assert gateway.post(ASK, headers={"x-api-key": "first-key-0123456789"}).status == 200
            keys.write_text("- {key: second-key-0123456789}\n")
            gateway.wait(lambda: gateway.post(ASK, headers={"x-api-key": "second-key-0123456789"}).status == 200)
            assert gateway.post(ASK, headers={"x-api-key": "first-key-0123456789"}).status == 401


@pytest.mark.real
def test_the_built_in_model_starts_and_stops_with_the_config() -> None:
    try:
        builtin_weights()
    except NotInstalled as missing:
        pytest.skip(str(missing))

    def backends() -> dict[str, str]:
        return {backend["name"]: backend["state"] for backend in gateway.get("/readyz").json["backends"]}

    with Scripted(lambda _: Say("hi")) as server, Gateway(config(server), model=True) as gateway:
        assert list(backends()) == ["one"]
        both = config(server)
        both["backends"].append({"name": "tiny", "type": "builtin"})
        gateway.write(both)
        gateway.wait(lambda: backends().get("tiny") == "ready")
        gateway.wait(lambda: any("process" in line for line in gateway.logs))
        process = next(line["process"] for line in gateway.logs if "process" in line)
        # A new generation of the same backend finds the same process.
        gateway.write({**both, "timeouts": {"connect": 4}})
        gateway.wait(lambda: len([line for line in gateway.logs if line["message"] == "Config loaded"]) == 2)
        gateway.wait(lambda: backends()["tiny"] == "ready")
        assert gateway.post({**ASK, "model": "tiny/smollm2-135m-instruct", "max_tokens": 3}).status == 200
        os.kill(process, 0)
        gateway.write(config(server))
        gateway.wait(lambda: not Path(f"/proc/{process}").exists() if sys.platform == "linux" else True)
        assert list(backends()) == ["one"]


#: Code that answers rare requests, or that a config with one server has no use for.
RARE = (
    *("byway.ui", "byway.routes.openapi", "byway.routes.responses", "byway.clients", "byway.launch", "byway.host"),
    *("byway.admin.readiness", "byway.admin.replay", "byway.admin.telemetry", "byway.mcp"),
    *(
        "byway.batches.store",
        "byway.admin.signins",
        "byway.local.supervisor",
        "byway.local.downloads",
        "byway.files.resolve",
        "byway.access.oidc",
    ),
    *("byway.backends.responses.responses", "byway.backends.anthropic", "byway.fronts.responses"),
    *("difflib", "email", "html", "http.client", "importlib.metadata", "statistics", "stringprep"),
)


def test_an_idle_byway_has_not_loaded_the_code_of_rare_requests() -> None:
    with (
        Scripted([Say("hello")]) as server,
        Gateway(config(server), environ={"PYTHONPROFILEIMPORTTIME": "1"}) as gateway,
    ):

        def loaded() -> set[str]:
            return set(re.findall(r"\| +([\w.]+)$", gateway.text, re.MULTILINE))

        gateway.wait(lambda: "Ready." in gateway.lines)
        assert gateway.post(ASK).status == 200
        assert "byway.routes.messages" in loaded()
        assert not [name for name in loaded() if name.startswith(RARE)]
        batches = gateway.home / "data" / "batches.db"
        assert json.loads(gateway.get("/readyz").body)["batches"] == "good"
        assert not batches.exists()
        assert gateway.get("/login").status == 200
        assert batches.exists()
        gateway.wait(lambda: {"byway.ui.page", "byway.routes.openapi"} <= loaded())
