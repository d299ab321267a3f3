"""The reply to a request with `stream`: what leaves when, without a server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from byway.config import TimeoutSettings
from byway.messages import sse
from byway.messages.events import BlockDelta, MessageUsage, Stop, TextDelta, Usage
from byway.messages.request import parse
from byway.messages.stream import Writer
from byway.problems import Problem
from byway.routes.messages import StreamReply

REQUEST = parse(b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}', {}, "msg_1")


class Client:
    """What the reply needs of a request's context; keeps what was sent."""

    metered = False
    id = "1"

    def __init__(self) -> None:
        self.runtime = SimpleNamespace(config=SimpleNamespace(timeouts=TimeoutSettings()))
        self.problem: Problem | None = None
        self.sent: list[tuple[bytes, bool]] = []
        """The bodies, and whether more follows."""

    async def begin(self, status: int, headers: Any) -> None:
        assert status == 200

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append((message["body"], message.get("more_body", False)))

    def release_body(self) -> None:
        """Nothing was reserved."""


def answer() -> tuple[list[Any], list[Any]]:
    """The parts of an answer up to its first text, and the rest."""
    writer = Writer("msg_1", "m", MessageUsage(1))
    writer.text("Hello")
    first = writer.take()
    assert type(first[-1]) is BlockDelta and type(first[-1].delta) is TextDelta
    writer.finish(Stop("end_turn"), Usage(1))
    return first, writer.take()


def run(reply: StreamReply, *sends: list[Any], problem: Problem | None = None) -> None:
    async def main() -> None:
        for parts in sends:
            await reply.send(parts)
        await (reply.fail(problem) if problem else reply.finish())

    asyncio.run(main())


def test_the_last_events_leave_with_the_end_of_the_response() -> None:
    client, (first, last) = Client(), answer()
    run(StreamReply(client, REQUEST), first, last)  # type: ignore[arg-type]
    assert client.sent == [(sse.encode(first), True), (sse.encode(last), False)]


def test_the_first_events_never_wait() -> None:
    client, (first, last) = Client(), answer()
    run(StreamReply(client, REQUEST), [*first, *last])  # type: ignore[arg-type]
    assert client.sent == [(sse.encode([*first, *last]), True), (b"", False)]


def test_a_failure_after_the_last_events_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.routes.messages.error_event", lambda *_: b"event: error\n\n")
    client, (first, last) = Client(), answer()
    run(StreamReply(client, REQUEST), first, last, problem=Problem("broken", "It broke."))  # type: ignore[arg-type]
    assert client.sent == [(sse.encode(first), True), (sse.encode(last) + b"event: error\n\n", False)]
