"""Usage records of real processes: read by another process at once, and neither lost nor added twice after kill -9."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from gateway import Gateway, config
from scripted import Say, Scripted
from waiting import PATIENCE

from byway.store import StoreError, UsageStore
from byway.usage.journal import UsageJournal
from byway.usage.writer import Retention, UsageWriter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")
#: For each line of input it forks a child. The child appends records, and prints each id when its line is written, as an
#: answer follows its record.
PARENT = """
import itertools, os, sys, time
from pathlib import Path
from byway.store import StoreError, UsageStore
from byway.usage import journal, writer
from byway.usage.record import UsageRecord
journal.FILE_BYTES = 5_000
writer.INTERVAL = 0.002

def run(folder, name):
    records = journal.UsageJournal(folder)
    writer.UsageWriter(records, UsageStore(folder), StoreError, lambda: writer.Retention(90, 700)).start()
    for number in itertools.count():
        id = f"req_{name}-{number}"
        records.append(UsageRecord(id, time.time(), key="key_a", input_tokens=1))
        os.write(1, id.encode() + b"\\n")
        if number % 50 == 49:
            time.sleep(0.001)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run(Path(sys.argv[1]), line.strip())
    os.write(1, b"%d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"killed\\n")
"""


def kill_and_check(folder: Path, rounds: int) -> None:
    acknowledged: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for number in range(rounds):
            parent.stdin.write(b"%d\n" % number)
            parent.stdin.flush()
            pid, ids = 0, 0
            while not pid or ids <= number * 37 % 300:
                line = parent.stdout.readline().decode().strip()
                if line.isdigit():
                    pid = int(line)
                else:
                    acknowledged.append(line)
                    ids += 1
            os.kill(pid, signal.SIGKILL)
            while (line := parent.stdout.readline().decode().strip()) != "killed":
                acknowledged.append(line)
        parent.stdin.close()
    store = UsageStore(folder)
    after = UsageWriter(UsageJournal(folder), store, StoreError, lambda: Retention(90, 700))
    after.flush()
    ids_kept = [record.id for record in store.records()]
    after.stop()
    assert len(ids_kept) == len(set(ids_kept)), "a record was added twice"
    assert set(acknowledged) <= set(ids_kept), "a record of an answered request is lost"
    assert len(acknowledged) > rounds
    assert len(ids_kept) - len(acknowledged) <= rounds


def _client(port: int, answered: list[str], start: int) -> None:
    """Send requests, streamed and not, until the gateway is gone. Keeps the ids of those whose answer is complete."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.suppress(OSError, http.client.HTTPException):
        for number in itertools.count(start):
            body = {"model": "m", "max_tokens": 9, "stream": bool(number % 2)}
            body["messages"] = [{"role": "user", "content": "Hi"}]
            connection.request("POST", "/v1/messages", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            answered.append(answer.headers["request-id"])
    connection.close()


def _answer_and_kill(gateway: Gateway, answered: list[str], most: int) -> None:
    """Let several clients send requests until there are `most` answers, and kill the gateway."""
    clients = [threading.Thread(target=_client, args=(gateway.port, answered, start)) for start in range(4)]
    for client in clients:
        client.start()
    while len(answered) < most and any(client.is_alive() for client in clients):
        time.sleep(0.001)
    gateway.kill()
    for client in clients:
        client.join()
    assert len(answered) >= most


def kill_gateways(rounds: int) -> None:
    """Kill a gateway that answers several clients, again and again on the same data folder."""
    answered: list[str] = []
    with Scripted(lambda _: Say("Hello.")) as model:
        gateway = Gateway(config(model))
        try:
            for number in range(rounds):
                gateway.lines.clear()
                gateway.start()
                _answer_and_kill(gateway, answered, len(answered) + 60 + 7 * number)
            store = UsageStore(gateway.home / "data")
            ids = [record.id for record in store.records()]
            total = store.sums()[0]
            store.close()
        finally:
            gateway.stop()
    assert len(ids) == len(set(ids)) == total.requests
    assert set(answered) <= set(ids), "a record of an answered request is lost"
    assert len(ids) - len(answered) <= 4 * rounds


def test_another_process_reads_the_usage_of_a_running_gateway_at_once() -> None:
    with Scripted(lambda _: Say("Hello.")) as model:
        gateway = Gateway(config(model))
        try:
            gateway.start()
            store = UsageStore(gateway.home / "data")
            body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            for number in range(1, 21):
                assert gateway.post(body).status == 200
                assert store.sums()[0].requests == number
            gateway.process.terminate()
            gateway.process.wait(PATIENCE)
            assert len({record.id for record in store.records()}) == store.sums()[0].requests == 20
            store.close()
            assert not list((gateway.home / "data" / "usage-journal").iterdir())
        finally:
            gateway.stop()


def test_killing_a_gateway_loses_no_record_of_an_answered_request() -> None:
    kill_gateways(1)


@pytest.mark.long
def test_killing_a_gateway_30_times_loses_no_record_of_an_answered_request() -> None:
    kill_gateways(30)


def test_killing_the_process_loses_no_record_and_adds_none_twice(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 20)


@pytest.mark.long
def test_killing_the_process_500_times_loses_no_record_and_adds_none_twice(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 500)
