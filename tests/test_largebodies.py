"""Large bodies: bounded memory, order, and no work on the event loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from growth import assert_linear
from test_targets import Answered, chat_answer

from byway import config, largebodies
from byway.backends.openai import completions
from byway.backends.protocol import FIRST, Target
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.largebodies import LARGE, LargeBodies, off_loop
from byway.messages.request import Request, parse
from byway.messages.tokens import Counter, text_tokens
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime

TARGET = Target("box", "m", VENDORS["generic"], window=1_000_000)


def body(size: int, block: int = 150) -> bytes:
    """A request of about `size` bytes in messages of `block` characters."""
    text = ("hello world, " * (block // 13 + 1))[:block]
    turns = [
        {"role": "user" if index % 2 == 0 else "assistant", "content": [{"type": "text", "text": text}]}
        for index in range(size // (block + 60) + 1)
    ]
    return json.dumps({"model": "m", "max_tokens": 5, "messages": turns}).encode()


def run(work: Callable[[], Any]) -> None:
    asyncio.run(work())


def test_requests_wait_for_the_budget_in_order() -> None:
    async def work() -> None:
        bodies, served = LargeBodies(100), []

        async def request(name: str, size: int) -> None:
            await bodies.reserve(size)
            served.append(name)

        await request("first", 60)
        waiting = [asyncio.create_task(request(name, size)) for name, size in (("second", 60), ("third", 10))]
        await asyncio.sleep(0)
        assert served == ["first"], "the third would fit, but it does not overtake"
        bodies.release(60)
        await asyncio.gather(*waiting)
        assert served == ["first", "second", "third"]
        bodies.release(70)
        await bodies.reserve(100)

    run(work)


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "when it has just been admitted"])
def test_a_client_that_disconnects_leaves_nothing_reserved(granted: bool) -> None:
    async def work() -> None:
        bodies = LargeBodies(100)
        await bodies.reserve(100)
        waiting = asyncio.create_task(bodies.reserve(80))
        behind = asyncio.create_task(bodies.reserve(30))
        await asyncio.sleep(0)
        if granted:
            bodies.release(100)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not granted:
            bodies.release(100)
        await behind
        bodies.release(30)
        await bodies.reserve(100)

    run(work)


def test_a_large_request_that_waits_too_long_is_refused_with_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(largebodies, "WAIT_SECONDS", 0.01)

    async def work() -> None:
        bodies = LargeBodies(100)
        await bodies.reserve(100)
        with pytest.raises(Problem) as refusal:
            await bodies.reserve(1)
        assert refusal.value.kind == "overloaded" and refusal.value.retry_after
        bodies.release(100)
        await bodies.reserve(100)

    run(work)


def translate(data: bytes) -> Request:
    """What a request costs until it is sent."""
    request = parse(data, {}, "msg_1")
    call = completions.request(request, TARGET, FIRST)
    Counter().estimate(request, "m", call.body)
    return request


def test_the_event_loop_does_not_work_on_a_large_body() -> None:
    """CPU time of the loop's own thread, which waiting for the interpreter does not count as."""
    data = body(12 << 20)

    async def work() -> tuple[float, float]:
        start, start_all = time.thread_time(), time.process_time()
        await off_loop(len(data), translate, data)
        return time.thread_time() - start, time.process_time() - start_all

    on_loop, everywhere = asyncio.run(work())
    assert on_loop < everywhere / 10


def blocks(count: int, block: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, *[block] * count]}], **fields}


ADDED = {"type": "tool_addition", "tool": {"name": "a"}}
PROPERTIES = {"type": "object", "properties": {f"p{number}": {} for number in range(50_000)}}
HEAVY: dict[str, Callable[[], dict[str, Any]]] = {
    "unknown blocks": lambda: blocks(40_000, {"type": "zz", "q": 1}),
    "tool changes": lambda: blocks(15_000, ADDED, tools=[{"name": "a", "input_schema": {}, "defer_loading": True}]),
    "properties": lambda: blocks(1, {"type": "text", "text": "x"}, tools=[{"name": "a", "input_schema": PROPERTIES}]),
}


@pytest.mark.parametrize("name", HEAVY)
def test_the_event_loop_does_not_work_on_a_body_whose_parts_take_long(name: str) -> None:
    request = parse(
        json.dumps({"model": "m", "max_tokens": 5, **HEAVY[name]()}, separators=(",", ":")).encode(), {}, "m"
    )
    answer = json.dumps(chat_answer({"prompt_tokens": 5, "completion_tokens": 1})).encode()
    on_loop, everywhere = asyncio.run(times_of(request, answer))
    assert everywhere > 0.05 and on_loop < everywhere / 5


def stream(delta: dict[str, Any]) -> bytes:
    """An answer that is one event with `delta`."""
    choice = {"index": 0, "delta": delta, "finish_reason": "stop"}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n"


def whole(message: dict[str, Any]) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def tool_call(arguments: str) -> dict[str, Any]:
    return {
        "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "a", "arguments": arguments}}]
    }


@pytest.mark.parametrize(
    "answer",
    [
        whole({"content": "<" * 600_000}),
        stream({"content": "<" * 600_000}),
        stream(tool_call('{"x":[' + "[" * 600_000)),
    ],
    ids=["whole text", "text in one event", "arguments"],
)
def test_the_event_loop_does_not_read_a_large_piece_of_an_answer(answer: bytes) -> None:
    fields = blocks(1, {"type": "text", "text": "x"}, tools=[{"name": "a", "input_schema": {"type": "object"}}])
    request = parse(json.dumps({"model": "m", "max_tokens": 5, **fields}).encode(), {}, "m")
    on_loop, everywhere = asyncio.run(times_of(request, answer))
    assert everywhere > 0.05 and on_loop < everywhere / 5


async def times_of(request: Request, answer: bytes) -> tuple[float, float]:
    """The seconds of processor time that a request and its `answer` take: on the event loop, and in all threads."""
    backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["m"]}
    runtime = Runtime(config.load(json.dumps({"backends": [backend]}), {}))
    runtime.backends["box"].upstream = cast(Any, Upstream(answer))
    start, start_all = time.thread_time(), time.process_time()
    await exchange.answer(runtime, request, HeldReply(), Record())
    return time.thread_time() - start, time.process_time() - start_all


class Upstream:
    """A backend that gives every request the same answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def open(self, call: Call) -> Answered:
        return Answered(200, self._answer)


def test_a_small_body_costs_no_thread() -> None:
    async def work() -> None:
        thread = await off_loop(LARGE, time.thread_time)
        assert thread <= time.thread_time()

    run(work)


@pytest.mark.parametrize("block", [20, 100_000], ids=["many messages", "long texts"])
def test_translating_grows_with_the_body(block: int) -> None:
    assert_linear(lambda size: body(size, block), translate, 100_000)


def test_a_very_large_body_gives_the_same_call_as_a_smaller_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 8 MiB blocks are decoded one by one."""
    data = body(300_000)
    whole = completions.request(parse(data, {}, "msg_1"), TARGET, FIRST)
    monkeypatch.setattr("byway.messages.request._WHOLE", 1000)
    assert completions.request(parse(data, {}, "msg_1"), TARGET, FIRST) == whole


def test_long_texts_are_estimated_from_samples() -> None:
    text = b"".join(b"Sentence number %d of a long text, with some words. " % number for number in range(100_000))
    part = text[: 1 << 20]
    assert text_tokens(text) == pytest.approx(text_tokens(part) * len(text) / len(part), rel=0.05)


def test_many_tools_weigh_as_much_as_a_large_body() -> None:
    tools = [{"name": f"t{number}"} for number in range(3000)]
    data = json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "tools": tools})
    request = parse(data.encode(), {}, "msg_1")
    assert request.size < LARGE < request.weight
