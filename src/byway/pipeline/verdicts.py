"""Auto mode's verdicts on the calls of an answer: what waits for whom, and who is asked. What is asked is `safeguards`'s."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from byway.logs import log
from byway.messages import claudecode, safeguards
from byway.messages.events import BlockDelta, BlockStart, Event, Frame, InputDelta, MessageDelta, ToolStart, Usage
from byway.messages.request import Request, parse
from byway.problems import Problem
from byway.runtime import Runtime

if TYPE_CHECKING:
    from byway.pipeline.exchange import Record, Reply

Ask = Callable[[Runtime, Request], Awaitable[tuple[bytes, "Record"]]]
"""`exchange.whole`."""
_AT_ONCE: Final = 4
_ENDS: Final = frozenset(("message_delta", "message_stop"))


class Judged:
    """The reply to a request whose tool calls are judged: all goes on as it comes but the end, which brings the verdicts."""

    # The conversation is still needed when its answer has begun.
    sent = False

    def __init__(self, reply: Reply) -> None:
        self.calls: list[safeguards.Call] = []
        self._reply = reply
        self._end: list[Event] = []
        self._called = -1
        """The index of the block of the last call, where the answer comes in frames."""

    def aim(self, backend: str, model: str) -> None:
        self._reply.aim(backend, model)

    async def send(self, events: list[Event]) -> None:
        now: list[Event] = []
        for event in events:
            if event.name in _ENDS:
                self._end.append(event)
                continue
            now.append(event)
            if isinstance(event, Frame):
                self._look(event)
            elif isinstance(event, BlockStart) and isinstance(event.content_block, ToolStart):
                self.calls.append(safeguards.Call(event.content_block.id, event.content_block.name))
            elif isinstance(event, BlockDelta) and isinstance(event.delta, InputDelta):
                self.calls[-1].pieces.append(event.delta.partial_json)
        if now:
            await self._reply.send(now)

    def _look(self, frame: Frame) -> None:
        """A frame of an answer that Byway put together itself."""
        said = _data(frame)
        block, delta = said.get("content_block") or {}, said.get("delta") or {}
        if block.get("type") == "tool_use":
            self.calls.append(safeguards.Call(block["id"], block["name"]))
            self._called = said["index"]
        elif delta.get("type") == "input_json_delta" and said["index"] == self._called:
            self.calls[-1].pieces.append(delta["partial_json"])

    async def finish(self, results: Raw) -> None:
        """Send the end, with `results`."""
        end: list[Event] = []
        for event in self._end:
            if isinstance(event, MessageDelta):
                event.delta.safeguard_results = results
            elif isinstance(event, Frame) and event.name == "message_delta":
                said = _data(event)
                said["delta"]["safeguard_results"] = results
                data = b"event: message_delta\ndata: %b\n\n" % msgspec.json.encode(said)
                event = Frame(event.name, data, event.usage, event.stop_reason)
            end.append(event)
        await self._reply.send(end)


def _data(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(frame.data.partition(b"data: ")[2])
    return found


async def verdicts(runtime: Runtime, request: Request, calls: list[safeguards.Call], ask: Ask) -> Raw:
    """`safeguard_results` for the calls of an answer to `request`."""
    few = asyncio.Semaphore(_AT_ONCE)

    async def one(call: safeguards.Call) -> dict[str, Any]:
        async with few:
            return await _verdict(runtime, request, call, ask)

    found = await asyncio.gather(*(one(call) for call in calls))
    kinds = safeguards.asked(request.params)
    return safeguards.results(kinds, dict(zip((call.id for call in calls), found, strict=True)))


async def _verdict(runtime: Runtime, request: Request, call: safeguards.Call, ask: Ask) -> dict[str, Any]:
    """Ask the classifier about one call. Whatever goes wrong, the call is not cleared."""
    if call.name in claudecode.HARMLESS:
        return safeguards.SKIPPED
    settings = runtime.config.safeguards
    began = time.monotonic()
    body = safeguards.question(request, call, settings.classifier or "")
    found, problem, usage, who = None, "its input is too long to be judged", Usage(), ""
    if body is not None:
        try:
            async with asyncio.timeout(settings.timeout):
                message, record = await ask(runtime, parse(body, safeguards.HEADERS, request.id))
            usage, who = record.usage or usage, f"{record.backend}/{record.model}"
            found = safeguards.verdict(message)
            problem = "the classifier's answer is no verdict: use a model that keeps to a JSON schema"
        except TimeoutError:
            problem = f"no verdict within {settings.timeout:g} s (`safeguards.timeout`)"
        except Problem as failure:
            problem = runtime.scrubber.scrub(failure.message)[:300]
    log(
        "Judged a tool call",
        logging.INFO if found else logging.WARNING,
        tool=call.name[:64],
        verdict=(found or safeguards.UNAVAILABLE).get("outcome", "unavailable"),
        classifier=who,
        ms=round((time.monotonic() - began) * 1000),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        problem=None if found else problem,
    )
    return found or safeguards.UNAVAILABLE
