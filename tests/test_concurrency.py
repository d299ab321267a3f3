"""The bound on the requests of one backend: slots, the queue, and what happens when both are full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from scripted import Say, Scripted

from byway import config
from byway.backend import Backend
from byway.call import Call
from byway.problems import Problem
from byway.runtime import Runtime
from byway.upstream.concurrency import ConcurrencyLimit, QueueFull


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_requests_beyond_the_slots_wait_and_run_in_the_order_of_arrival() -> None:
    async def main() -> None:
        limit = ConcurrencyLimit(2, 10)
        started: list[int] = []

        async def request(number: int) -> None:
            await limit.acquire()
            started.append(number)

        tasks = [asyncio.create_task(request(number)) for number in range(5)]
        await settle()
        assert (started, limit.waiting) == ([0, 1], 3)
        for expected in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]):
            limit.release()
            await settle()
            assert started == expected
        await asyncio.gather(*tasks)
        for _ in range(2):
            limit.release()
        assert limit.try_acquire() and limit.try_acquire() and not limit.try_acquire()

    run(main)


def test_a_full_queue_rejects_the_next_request() -> None:
    async def main() -> None:
        limit = ConcurrencyLimit(1, 1)
        await limit.acquire()
        waiting = asyncio.create_task(limit.acquire())
        await settle()
        with pytest.raises(QueueFull):
            await limit.acquire()
        limit.release()
        await waiting

    run(main)


def test_a_cancelled_request_leaves_the_queue() -> None:
    async def main() -> None:
        limit = ConcurrencyLimit(1, 10)
        await limit.acquire()
        first, second = (asyncio.create_task(limit.acquire()) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert limit.waiting == 1
        limit.release()
        await second

    run(main)


def test_a_request_that_is_cancelled_as_it_gets_its_slot_passes_it_on() -> None:
    async def main() -> None:
        limit = ConcurrencyLimit(1, 10)
        await limit.acquire()
        first, second = (asyncio.create_task(limit.acquire()) for _ in range(2))
        await settle()
        limit.release()
        first.cancel()
        await asyncio.wait([first], timeout=60)
        assert first.cancelled()
        await asyncio.wait_for(second, 30)

    run(main)


def with_backend(server: Scripted, act: Callable[[Backend], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def main() -> None:
        backend = {"name": "box", "url": server.url, "models": ["m"], **settings}
        runtime = Runtime(config.load(json.dumps({"backends": [backend]}), {}))
        await act(runtime.backends["box"])
        await runtime.close()

    run(main)


CALL = Call("POST", "/v1/chat/completions", (), b'{"messages": []}')


def test_an_answer_holds_its_slot_until_it_is_closed() -> None:
    async def act(backend: Backend) -> None:
        first = await backend.send(CALL)
        second = asyncio.create_task(backend.send(CALL))
        await first.body()
        await settle()
        assert not second.done(), "the answer is read and not closed yet"
        first.close()
        first.close()
        (await second).close()
        assert backend._limit.try_acquire() and not backend._limit.try_acquire(), "each slot is released once"

    with Scripted(lambda _: Say("hi")) as server:
        with_backend(server, act, max_concurrent=1)


def test_a_failed_call_gives_its_slot_back() -> None:
    async def act(backend: Backend) -> None:
        for _ in range(3):
            with pytest.raises(Problem, match="cannot be reached"):
                await backend.send(CALL)
        assert backend._limit.try_acquire()

    with Scripted() as server:
        pass
    with_backend(server, act, max_concurrent=1)


def test_a_request_that_waits_too_long_for_a_slot_gets_a_529() -> None:
    async def main() -> None:
        text = {"backends": [{"name": "box", "url": "http://127.0.0.1:1", "max_concurrent": 1}]}
        runtime = Runtime(config.load(json.dumps({**text, "timeouts": {"first_byte": 0.05}}), {}))
        backend = runtime.backends["box"]
        assert backend._limit.try_acquire()
        with pytest.raises(Problem, match=r"Backend 'box' is busy: no request ended within 0\.05 s") as caught:
            await backend.send(CALL)
        assert (caught.value.kind, caught.value.row.status, caught.value.retry_after) == ("busy", 529, 5)
        assert backend._limit.waiting == 0

    run(main)
