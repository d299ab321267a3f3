"""Minutes of mixed load, and a hundred kills: run by `make long`, the soak for BYWAY_TEST_SOAK (120)."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from gateway import Gateway, config
from scripted import Asked, Reply, Say, Scripted, openai_error

from byway.store import Store

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: it reads /proc"),
]
ASK = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
SECONDS = float(os.environ.get("BYWAY_TEST_SOAK", "120"))
KILLS = 100


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def accepted(gateway: Gateway, headers: dict[str, str]) -> bool:
    return gateway.post(ASK, headers=headers).status == 200


def answer(request: Asked) -> Say | Reply:
    body = request.body
    if b"refuse" in body:
        return openai_error(400, "No.", "invalid_request_error")
    return Say(" ".join(["word"] * 40), gap=0.01 if b"slowly" in body else 0.0)


class LoadClient(threading.Thread):
    """One client that sends requests of every kind until `stop` is set."""

    def __init__(self, gateway: Gateway, seed: int, stop: threading.Event, counts: Counter[str]) -> None:
        super().__init__(daemon=True)
        self.gateway, self.stop, self.counts = gateway, stop, counts
        self.random = random.Random(seed)
        self.wrong: list[str] = []
        self.start()

    def run(self) -> None:
        kinds = (self.whole, self.stream, self.leave, self.refused, self.malformed, self.large)
        while not self.stop.is_set():
            kind = self.random.choice(kinds)
            try:
                kind()
                self.counts[kind.__name__] += 1
            except Exception as error:
                self.wrong.append(f"{kind.__name__}: {error!r}")

    def whole(self) -> None:
        assert self.gateway.post(ASK).status == 200

    def stream(self) -> None:
        assert self.gateway.post({**ASK, "stream": True}).body.endswith(b'{"type":"message_stop"}\n\n')

    def leave(self) -> None:
        body = json.dumps({**ASK, "stream": True, "system": "slowly"}).encode()
        with self.gateway.open("POST", "/v1/messages", body, {"content-type": "application/json"}) as response:
            response.read1()

    def refused(self) -> None:
        assert self.gateway.post({**ASK, "system": "refuse"}).status == 400

    def malformed(self) -> None:
        assert self.gateway.post(bytes(self.random.randrange(256) for _ in range(50))).status == 400

    def large(self) -> None:
        messages = [{"role": "user", "content": "x" * self.random.randrange(2_000_000)}]
        assert self.gateway.post({**ASK, "messages": messages}).status == 200


def test_memory_and_open_files_stay_level_under_mixed_load() -> None:
    stop, counts = threading.Event(), Counter[str]()
    with Scripted(answer) as server, Gateway(config(server)) as gateway:
        pid = gateway.process.pid
        clients = [LoadClient(gateway, seed, stop, counts) for seed in range(6)]
        samples: list[int] = []
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            time.sleep(1)
            samples.append(memory(pid))
            # The lists of the test's own servers grow with each request.
            server.requests.clear()
            server.connections[:] = [connection for connection in server.connections if not connection.left.is_set()]
            del gateway.lines[:-2000]
        stop.set()
        for client in clients:
            client.join(60)
        wrong = list(itertools.chain.from_iterable(client.wrong for client in clients))
        assert not wrong, wrong[:5]
        assert all(counts[kind] > 3 for kind in ("whole", "stream", "leave", "refused", "malformed", "large")), counts
        half = len(samples) // 2
        assert max(samples[half:]) < 1.25 * max(samples[:half]), samples
        gateway.wait(lambda: open_files(pid) < 80, what="connections are closed")
        print(f"{sum(counts.values())} requests in {SECONDS:.0f} s, {max(samples) >> 20} MiB at most: {dict(counts)}")


def test_a_hundred_kills_under_load_lose_no_key_and_leave_a_store_that_opens(tmp_path: Path) -> None:
    chance = random.Random(3)
    made: list[str] = []
    with Scripted(lambda _: Say("hi there", gap=0.01)) as server:
        for turn in range(KILLS):
            gateway = Gateway(config(server), environ={"BYWAY_HOME": str(tmp_path)}).start()
            try:
                with Store(tmp_path) as store:
                    assert set(made) <= {record.id for record in store.key_records()}
                    record, key = store.add_key(f"laptop{turn}", ["write"], None, "a test")
                made.append(record.id)
                headers = {"x-api-key": key}
                gateway.wait(partial(accepted, gateway, headers))
                killer = threading.Timer(chance.uniform(0, 0.1), gateway.process.kill)
                killer.start()
                with contextlib.suppress(Exception):
                    while True:
                        gateway.post({**ASK, "stream": True}, headers=headers)
                killer.join()
                gateway.process.wait(60)
            finally:
                gateway.discard()
            server.requests.clear()
    with Store(tmp_path) as store:
        assert store.database.rows("PRAGMA integrity_check") == [("ok",)]
        assert len(store.key_records()) == KILLS
