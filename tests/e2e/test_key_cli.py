"""`byway key` beside a running Byway: created and revoked keys take effect while it runs."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gateway import SOURCE, Gateway, config
from scripted import Gate, Say, Scripted, put

from byway.cli.main import byway
from byway.store import FILE_NAME, Store

ASK: dict[str, Any] = {"model": "any", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(byway, ["key", *arguments, "--data-dir", str(folder)])


def test_the_list_and_the_history_are_tables(tmp_path: Path) -> None:
    assert "byway key create" in run(tmp_path, "list").output
    assert "There are no entries" in run(tmp_path, "history").output
    run(tmp_path, "create", "laptop")
    key = run(tmp_path, "create", "my phone", "--scope", "read", "--expires", "2099-01-01").stdout.strip()
    with Store(tmp_path) as store:
        phone, laptop = store.keys()
    run(tmp_path, "revoke", laptop.id)
    head, first, second = run(tmp_path, "list").stdout.splitlines()
    assert head.split() == ["ID", "NAME", "KEY", "ACCOUNT", "SCOPES", "MODELS", "STATE", "LAST", "USED"]
    assert all(word in first for word in (phone.id, "my phone", f"…{key[-4:]}", "read", "expires 2099-01-01", "never"))
    assert laptop.id in second and "revoked 20" in second
    history = run(tmp_path, "history").stdout.splitlines()
    assert len(history) == 4 and history[0].split() == ["WHEN", "WHO", "WHAT", "DETAIL"]
    assert "key revoked" in history[1] and laptop.id in history[1] and "byway key" in history[1]
    assert key not in run(tmp_path, "list").output + run(tmp_path, "history").output


def key(gateway: Gateway, *arguments: str) -> str:
    """What `byway key`, a process of its own, writes to stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "byway", "key", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "BYWAY_HOME": str(gateway.home / "data")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def until(gateway: Gateway, status: int, key: str) -> None:
    """Wait until a request with `key` gets `status`."""
    gateway.wait(lambda: gateway.post(ASK, headers={"x-api-key": key}).status == status)


class Stream(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        super().__init__(daemon=True)
        self.gateway, self.key = gateway, key
        self.began = threading.Event()
        self.got = b""
        self.start()
        assert self.began.wait(60)

    def run(self) -> None:
        body = json.dumps({**ASK, "stream": True}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        with self.gateway.open("POST", "/v1/messages", body, headers) as answer:
            while data := answer.read1():
                self.got += data
                self.began.set()


def test_keys_apply_at_once_and_revoking_one_ends_no_stream() -> None:
    gate = Gate()

    def answer(request: Any) -> Say:
        return Say(" ".join(["word"] * 60), edit=put(9, gate)) if request.stream else Say("hi")

    with Scripted(answer) as server, Gateway(config(server)) as gateway:
        assert gateway.post(ASK).status == 200, "no key, open door"
        first = key(gateway, "create", "laptop")
        until(gateway, 401, "")  # a key exists: from now on one is required
        until(gateway, 200, first)
        stream = Stream(gateway, first)
        # This process is another one too, and it is quicker than a command.
        with Store(gateway.home / "data") as store:
            id = store.keys()[0].id
            second = store.rotate_key(id, "a test")[1]
            until(gateway, 401, first)
            until(gateway, 200, second)
            store.revoke_key(id, "a test")
            until(gateway, 401, second)
            store.add_account("ada", "a test")
            third = store.add_key("tablet", ["write"], None, "a test", account="ada")[1]
            until(gateway, 200, third)
            store.disable_account("ada", "a test")
            until(gateway, 401, third)
        refused = [
            gateway.post(ASK, headers={"x-api-key": value}) for value in (first, second, third, "sk-byway-nobody", "")
        ]
        assert {response.status for response in refused} == {401}
        assert len({item.json["error"]["message"] for item in refused}) == 1
        assert gateway.post(ASK).status == 401, "the door stays shut"

        assert stream.is_alive(), "it was under way all the time"
        gate.set()
        stream.join(60)
        assert stream.got.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')

        assert any(line["message"] == "Clients need a key from now on" for line in gateway.logs)
        gateway.wait(lambda: any(line.get("key") == id for line in gateway.requests()))
        written = gateway.text.encode() + b"".join(
            path.read_bytes() for path in (gateway.home / "data").iterdir() if path.is_file()
        )
        process = Path(f"/proc/{gateway.process.pid}")
        if process.exists():
            written += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        for entry in (first, second):
            assert entry.removeprefix("sk-byway-").encode() not in written


def test_a_key_is_limited_to_its_scopes() -> None:
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server))
        reads = {"x-api-key": key(gateway, "create", "reads", "--scope", "read")}
        with gateway:
            refused = gateway.post(ASK, headers=reads)
            assert refused.status == 403
            assert "`write`" in refused.json["error"]["message"]
            assert gateway.get("/v1/models", reads).status == 200
            assert gateway.post(ASK, "/v1/messages/count_tokens", reads).status == 200


def test_last_used_is_written_in_the_background_and_at_the_end() -> None:
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server))
        headers = {"x-api-key": key(gateway, "create", "laptop")}
        with gateway:
            began = time.time()
            assert gateway.post(ASK, headers=headers).status == 200

            def used() -> float:
                at = json.loads(key(gateway, "list", "--json"))["keys"][0]["used_at"]
                return datetime.datetime.fromisoformat(at).timestamp() if at else 0.0

            gateway.wait(lambda: used() >= began, what="last used is written")
            before = used()
            time.sleep(0.01)
            assert gateway.post(ASK, headers=headers).status == 200
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(60) == 0
            assert used() > before, "what was not yet written is written at the end"


def test_a_key_of_the_store_allows_a_wide_bind_and_stays_required() -> None:
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server), arguments=["--host", "0.0.0.0"])
        made = key(gateway, "create", "laptop")
        with gateway:
            assert f"http://0.0.0.0:{gateway.port}" in gateway.text, "it listens as wide as it was told to"
            id = json.loads(key(gateway, "list", "--json"))["keys"][0]["id"]
            assert gateway.post(ASK).status == 401
            gateway.write(config(server, logging={"level": "debug"}))
            gateway.wait(lambda: any(line["message"] == "Config loaded" for line in gateway.logs))
            assert gateway.post(ASK).status == 401
            assert gateway.post(ASK, headers={"x-api-key": made}).status == 200
            gateway.write(config(server, api_keys={"mode": "permissive"}))
            gateway.wait(lambda: "keys cannot be given up" in gateway.text)
            key(gateway, "revoke", id)
            until(gateway, 401, made)
            assert gateway.post(ASK).status == 401


def test_a_store_that_fails_is_logged_once_and_the_keys_stay_valid() -> None:
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server))
        headers = {"x-api-key": key(gateway, "create", "laptop")}
        with gateway:
            data = gateway.home / "data" / FILE_NAME
            with Store(data.parent) as other:
                other.database.run("DROP TABLE keys")
            gateway.wait(lambda: any("cannot be read" in line["message"] for line in gateway.logs))
            time.sleep(0.6)
            assert gateway.post(ASK, headers=headers).status == 200
            assert gateway.post(ASK).status == 401
            lines = [line["message"] for line in gateway.logs if line["level"] == "error"]
            assert lines.count("The store of keys cannot be read; the keys in memory stay valid") == 1


def test_byway_does_not_start_with_a_store_that_it_cannot_read() -> None:
    gateway = Gateway("{}")
    (gateway.home / "data").mkdir()
    (gateway.home / "data" / FILE_NAME).write_bytes(b"something else " * 100)
    with pytest.raises(AssertionError, match=r"byway ended with 1[\s\S]*byway\.db is damaged"):
        gateway.start()
