"""Verdicts of auto mode on the tool calls of an answer: calls the classifier and adds the verdicts to the answer's end.

The classifier's prompt and the reading of its answer are in `messages.safeguards`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from byway.logs import log
from byway.messages import claudecode, safeguards
from byway.messages.events import (
    BlockDelta,
    BlockStart,
    InputDelta,
    MessageDelta,
    Part,
    Passthrough,
    ToolStart,
    Usage,
    WholeAnswer,
    ends,
)
from byway.messages.request import Request, parse
from byway.messages.stream import fields, written
from byway.pipeline.reply import Record, Reply
from byway.problems import Problem
from byway.runtime import Runtime

Classify = Callable[[Request], Awaitable[tuple[bytes, Record]]]
"""Answers a request of Byway's own as one JSON message."""
#: Classifier calls of one answer that run at the same time.
_PARALLEL: Final = 4


class JudgedReply:
    """The reply to a request whose tool calls are judged: sends everything but the end, which waits for the verdicts."""

    # The conversation is still needed after its answer has started.
    sent = False

    def __init__(self, reply: Reply) -> None:
        self.calls: list[safeguards.ToolCall] = []
        self._reply = reply
        self._end: list[Part] = []
        self._index = -1
        """The index of the last tool call's block, in an answer that passes through."""

    def aim(self, backend: str, model: str) -> None:
        self._reply.aim(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        sendable: list[Part] = []
        for part in parts:
            (self._end if ends(part) else sendable).append(part)
            if isinstance(part, BlockStart) and isinstance(part.content_block, ToolStart):
                self.calls.append(safeguards.ToolCall(part.content_block.id, part.content_block.name))
            elif isinstance(part, BlockDelta) and isinstance(part.delta, InputDelta):
                self.calls[-1].pieces.append(part.delta.partial_json)
            elif isinstance(part, Passthrough | WholeAnswer):
                try:
                    self._read(part)
                except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
                    raise Problem("broken", "The backend's answer is not a message of the Messages API.") from None
        if sendable:
            await self._reply.send(sendable)

    def _read(self, part: Passthrough | WholeAnswer) -> None:
        """Note the tool calls in an answer that passes through."""
        if isinstance(part, WholeAnswer):
            for block in msgspec.json.decode(part.data)["content"]:
                if block["type"] == "tool_use":
                    input = msgspec.json.encode(block["input"]).decode()
                    self.calls.append(safeguards.ToolCall(block["id"], block["name"], [input]))
            return
        for item in fields(part):
            block, delta = item.get("content_block") or {}, item.get("delta") or {}
            if block.get("type") == "tool_use":
                self.calls.append(safeguards.ToolCall(block["id"], block["name"]))
                self._index = item["index"]
            elif delta.get("type") == "input_json_delta" and item["index"] == self._index:
                self.calls[-1].pieces.append(delta["partial_json"])

    async def finish(self, results: list[dict[str, Any]]) -> None:
        """Send the end, with `results`."""
        await self._reply.send([_with_results(part, results) for part in self._end])


def _with_results(part: Part, results: list[dict[str, Any]]) -> Part:
    """The part with `safeguard_results`, if it is the one that carries them."""
    if isinstance(part, MessageDelta):
        part.delta.safeguard_results = results
    elif isinstance(part, WholeAnswer):
        message = msgspec.json.decode(part.data)
        message["safeguard_results"] = results
        return msgspec.structs.replace(part, data=msgspec.json.encode(message))
    elif isinstance(part, Passthrough):
        items = fields(part)
        for item in items:
            if item.get("type") == "message_delta":
                item["delta"]["safeguard_results"] = results
                return msgspec.structs.replace(part, data=b"".join(map(written, items)))
    return part


async def verdicts(
    runtime: Runtime, request: Request, calls: list[safeguards.ToolCall], classify: Classify
) -> list[dict[str, Any]]:
    """`safeguard_results` for the calls of an answer to `request`: `unsupported` without a classifier."""
    if not runtime.config.safeguards.classifier:
        return safeguards.unsupported(request.params)
    slots = asyncio.Semaphore(_PARALLEL)

    async def judge(call: safeguards.ToolCall) -> dict[str, Any]:
        async with slots:
            return await _verdict(runtime, request, call, classify)

    results = await asyncio.gather(*(judge(call) for call in calls))
    kinds = safeguards.kinds(request.params)
    return safeguards.results(kinds, dict(zip((call.id for call in calls), results, strict=True)))


async def _verdict(runtime: Runtime, request: Request, call: safeguards.ToolCall, classify: Classify) -> dict[str, Any]:
    """The classifier's verdict on one call; `unavailable` when anything fails."""
    if call.name in claudecode.HARMLESS:
        return safeguards.SKIPPED
    settings = runtime.config.safeguards
    began = time.monotonic()
    body = safeguards.question(request, call, settings.classifier or "")
    verdict, problem, usage, target = None, "its input is too long to be judged", Usage(), ""
    if body is not None:
        try:
            async with asyncio.timeout(settings.timeout):
                message, record = await classify(parse(body, safeguards.HEADERS, request.id))
            usage, target = record.usage or usage, f"{record.backend}/{record.model}"
            if any(repair.startswith("form ") for repair in record.repairs):
                # Without the schema a text in the prompt could write the verdict.
                problem = "the classifier's server refuses JSON schemas: use another one"
            else:
                verdict = safeguards.verdict(message)
                problem = "the classifier's answer is no verdict: use a model that follows a JSON schema"
        except TimeoutError:
            problem = f"no verdict within {settings.timeout:g} s (`safeguards.timeout`)"
        except Problem as failure:
            problem = runtime.scrubber.scrub(failure.message)[:300]
    log(
        "Judged a tool call",
        logging.INFO if verdict else logging.WARNING,
        tool=call.name[:64],
        verdict=(verdict or safeguards.UNAVAILABLE).get("outcome", "unavailable"),
        classifier=target,
        ms=round((time.monotonic() - began) * 1000),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        problem=None if verdict else problem,
    )
    return verdict or safeguards.UNAVAILABLE
