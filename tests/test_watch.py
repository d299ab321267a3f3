"""The watch over a request: what ends it, and which error it then has."""

from __future__ import annotations

import asyncio

import pytest
from loops import run_skipping

from byway.pipeline.watch import ClientGone, Exchanges
from byway.problems import Problem


async def connected() -> object:
    """Receive nothing: the client stays."""
    return await asyncio.Event().wait()


async def disconnected() -> object:
    """Receive the end of the connection."""
    return {"type": "http.disconnect"}


def test_a_client_that_disconnects_ends_its_request() -> None:
    async def run() -> None:
        exchanges = Exchanges()
        with pytest.raises(ClientGone), exchanges.watch(disconnected):
            assert len(exchanges) == 1
            await asyncio.Event().wait()
        assert len(exchanges) == 0
        # The task itself goes on: it writes the log line.
        await asyncio.sleep(0)

    run_skipping(run())


def test_a_stop_ends_every_request_with_a_problem() -> None:
    async def run() -> None:
        exchanges = Exchanges()

        async def request() -> None:
            with exchanges.watch(connected):
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(request()) for _ in range(2)]
        await asyncio.sleep(0.01)
        exchanges.abort()
        problems = await asyncio.gather(*tasks, return_exceptions=True)
        assert [problem.kind for problem in problems if isinstance(problem, Problem)] == ["stopping"] * 2
        assert "Send the request again" in str(problems[0]) and len(exchanges) == 0

    run_skipping(run())


def test_the_first_reason_counts() -> None:
    async def run() -> None:
        exchanges = Exchanges()
        with pytest.raises(Problem) as caught, exchanges.watch(disconnected):
            exchanges.abort()
            (exchange,) = exchanges._running
            exchange.end("gone")
            await asyncio.Event().wait()
        assert caught.value.kind == "stopping"

    run_skipping(run())


def test_a_request_that_is_cancelled_from_outside_stays_cancelled() -> None:
    async def run() -> None:
        async def request() -> None:
            with Exchanges().watch(connected):
                await asyncio.Event().wait()

        task = asyncio.create_task(request())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_skipping(run())


def test_the_watch_ticks_only_while_requests_run() -> None:
    async def run() -> None:
        exchanges, ticks, third = Exchanges(), list[float](), asyncio.Event()

        def tick(now: float) -> None:
            ticks.append(now)
            if len(ticks) == 3:
                third.set()

        with exchanges.watch(connected, tick):
            await third.wait()
        await asyncio.sleep(0.12)
        assert len(ticks) == 3 and ticks == sorted(ticks) and not exchanges._ticking

    run_skipping(run())
