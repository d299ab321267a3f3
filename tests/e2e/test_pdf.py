"""PDFs of requests parsed in child processes: limits, cancellation, and the work that stays in the gateway's process."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import pytest
from papers import HEAVY, encoded, pdf

from byway.parsing.cache import PdfCache
from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParserPool


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
        async with asyncio.timeout(10):
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
