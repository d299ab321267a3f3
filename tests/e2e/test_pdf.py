"""PDFs of requests parsed in child processes: limits, cancellation, and the work that stays in the gateway's process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, config
from papers import HEAVY, encoded, pdf
from scripted import Say, Scripted

from byway.parsing.cache import PdfCache
from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParserPool
from byway.store import Store


class Processes(list[asyncio.subprocess.Process]):
    """Every process that was started."""

    def __init__(self) -> None:
        self.started = asyncio.Event()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    started = Processes()
    create = asyncio.create_subprocess_exec

    async def recorded(*arguments: Any, **more: Any) -> asyncio.subprocess.Process:
        started.append(await create(*arguments, **more))
        started.started.set()
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", recorded)
    return started


def test_cancelling_kills_the_process_and_frees_its_slot(processes: Processes) -> None:
    async def go() -> None:
        pool = ParserPool(1)
        job = asyncio.create_task(pool.parse(ParseJob("pdf"), pdf(HEAVY, HEAVY, HEAVY)))
        async with asyncio.timeout(60):
            await processes.started.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert processes[0].returncode == -9
        assert (await pool.parse(ParseJob("pdf"), pdf("next"))).text == "[page 1]\nnext"

    asyncio.run(go())


def test_process_over_its_time_limit_is_killed(processes: Processes) -> None:
    async def go() -> None:
        with pytest.raises(ParseError, match="too much time or memory"):
            await ParserPool(time_limit=0.05).parse(ParseJob("pdf"), pdf("a"))
        assert processes[0].returncode == -9

    asyncio.run(go())


def test_no_more_processes_than_slots_run_at_once(processes: Processes) -> None:
    async def go() -> None:
        pool = ParserPool(2)
        jobs = [asyncio.create_task(pool.parse(ParseJob("pdf"), pdf("a"))) for _ in range(5)]
        most = 0
        while not all(job.done() for job in jobs):
            most = max(most, sum(process.returncode is None for process in processes))
            await asyncio.sleep(0.005)
        assert len(processes) == 5 and most == 2

    asyncio.run(go())


def test_heavy_pdfs_use_the_cpu_of_other_processes() -> None:
    """The event loop, which answers all other requests, does a small part of the work."""
    own = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime

    async def go() -> None:
        cache = PdfCache()
        await asyncio.gather(*(cache.texts([encoded(pdf(HEAVY, f"file {at}"))], 1000) for at in range(4)))

    asyncio.run(go())
    own = time.process_time() - own
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
    assert children > 2 and own < children / 4, (own, children)


class HeavyRequest(threading.Thread):
    """A request with PDFs that take many seconds to parse."""

    def __init__(self, gateway: Gateway, key: str, number: int) -> None:
        super().__init__(daemon=True)
        sources = [
            {"type": "base64", "media_type": "application/pdf", "data": encoded(pdf(HEAVY, f"{number} {at}"))}
            for at in range(20)
        ]
        content = [{"type": "document", "source": source} for source in sources]
        message = {"role": "user", "content": [*content, {"type": "text", "text": "So?"}]}
        self._body = json.dumps({"model": "sonnet", "max_tokens": 9, "messages": [message]}).encode()
        self._headers = {"content-type": "application/json", "x-api-key": key}
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
        self.status = 0

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._connection.request("POST", "/v1/messages", self._body, self._headers)
            self.status = self._connection.getresponse().status

    def leave(self) -> None:
        self._connection.sock.shutdown(socket.SHUT_RDWR)


def test_key_is_revoked_while_requests_wait_for_heavy_pdfs() -> None:
    """Eight requests with twenty heavy PDFs each: everything else works, and their processes end with them."""
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    with Scripted(lambda _: Say("hi")) as server:
        gateway = Gateway(config(server))
        (gateway.home / "data").mkdir(mode=0o700)
        with Store(gateway.home / "data") as store:
            key = store.add_key("laptop", ("write",), None, "a test")[1]
        with gateway:
            headers = {"x-api-key": key}
            children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
            if not children.exists():
                pytest.skip("only on Linux: the list of child processes")
            before = children.read_text()
            heavy = [HeavyRequest(gateway, key, number) for number in range(8)]
            for request in heavy:
                request.start()
            gateway.wait(lambda: len(children.read_text().split()) == len(before.split()) + 2)
            assert gateway.post(body, headers=headers).status == 200
            with Store(gateway.home / "data") as store:
                store.revoke_key(store.keys()[0].id, "a test")
            gateway.wait(lambda: gateway.post(body, headers=headers).status == 401)
            assert [request.status for request in heavy] == [0] * 8, "all of them still wait"
            for request in heavy:
                request.leave()
            gateway.wait(lambda: children.read_text() == before, what="the end of the parsers")
