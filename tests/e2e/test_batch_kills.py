"""Batches of processes that are killed: nothing that was acknowledged is lost, and no request has two results."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from batching import batching, results_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")
ROOT = Path(__file__).parent.parent.parent
#: For each line of input it forks a child, which creates batches and answers them. It prints a line for each batch that was
#: acknowledged, and for each request that it begins to answer.
PARENT = """
import asyncio, os, sys
from pathlib import Path
from batching import ask, batching, body_of

def write(text):
    os.write(1, text.encode() + b"\\n")

async def answers(text):
    write("answering")
    return f"answer to {text}"

async def run(folder, name):
    async with batching(folder, answers) as place:
        for number in range(1000):
            while place.worker.in_progress > 20:
                await asyncio.sleep(0.002)
            requests = [ask(f"{name}-{number}-{place}", f"r{place}") for place in range(10)]
            response = await place.post("/v1/messages/batches", body_of(requests))
            write(f"batch {response.json()['id']} {name}-{number}")

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(run(Path(sys.argv[1]), line.strip()))
        finally:
            os._exit(1)
    os.write(1, b"pid %d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"killed\\n")
"""


def kill_and_check(folder: Path, rounds: int) -> None:
    acknowledged: dict[str, str] = {}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for number in range(rounds):
            parent.stdin.write(b"%d\n" % number)
            parent.stdin.flush()
            pid = lines = 0
            wanted = 3 + number * 7 % 40
            while not pid or lines < wanted:
                words = parent.stdout.readline().decode().split()
                if words[0] == "pid":
                    pid = int(words[1])
                    continue
                lines += 1
                if words[0] == "batch":
                    acknowledged[words[1]] = words[2]
            os.kill(pid, signal.SIGKILL)
            while (words := parent.stdout.readline().decode().split()) != ["killed"]:
                if words[0] == "batch":
                    acknowledged[words[1]] = words[2]
        parent.stdin.close()

    async def answers(text: str) -> str:
        return f"answer to {text}"

    async def check() -> None:
        async with batching(folder, answers) as place:
            store = place.worker.store
            batches, _ = store.page(None, None, 100_000)
            assert set(acknowledged) <= {batch.id for batch in batches}, "an acknowledged batch is lost"
            assert len(batches) - len(acknowledged) <= rounds
            await place.ended(*(batch.id for batch in batches))
            client = place.anthropic()
            for id, name in acknowledged.items():
                wanted = {f"r{number}": f"answer to {name}-{number}" for number in range(10)}
                assert await results_of(client, id) == wanted
                stored = store.get(id, None)
                assert (stored.total, stored.succeeded, stored.errored) == (10, 10, 0)
            known = store._database.count("SELECT count(*) FROM requests")
            assert known == sum(batch.total for batch in batches), "requests of a batch that was not acknowledged stay"

    asyncio.run(check())
    assert len(acknowledged) > rounds // 2


def test_killing_the_process_10_times_loses_no_batch_and_doubles_no_result(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 10)


@pytest.mark.long
def test_killing_the_process_200_times_loses_no_batch_and_doubles_no_result(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 200)
