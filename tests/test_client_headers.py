"""The client's `User-Agent` reaches the backend: some providers serve only the coding agents that they know."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from test_targets import Answered, chat_answer

from byway import config
from byway.call import Call
from byway.fronts import chat
from byway.messages import request as messages
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.routes.messages import forwarded
from byway.runtime import Runtime

AGENT = "claude-cli/2.1.329 (external, cli)"
MESSAGE: dict[str, Any] = {
    "id": "msg_x", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn",
    "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


class Recording:
    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = json.dumps(answer).encode()
        self.headers: dict[str, str] = {}

    async def open(self, call: Call) -> Answered:
        self.headers = dict(call.headers)
        return Answered(200, self._answer)

    async def close(self) -> None:
        """Nothing is open."""


def sent(
    vendor: str, agent: bytes | None, *, front: str = "messages", headers: dict[str, str] | None = None
) -> str | None:
    """The `user-agent` of the call to a backend; None: the client of the backend sets its own."""
    backend = {"name": "box", "type": vendor, "url": "http://127.0.0.1:9", "models": ["m"], "headers": headers or {}}
    runtime = Runtime(config.load(json.dumps({"backends": [backend]}), {}))
    server = Recording(MESSAGE if vendor == "anthropic" else chat_answer({"prompt_tokens": 1, "completion_tokens": 1}))
    runtime.backends["box"].upstream = cast(Any, server)
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    given = forwarded(None, None, agent)
    request = messages.parse(body, given, "msg_1") if front == "messages" else chat.read(body, given, "msg_1")[0]
    asyncio.run(exchange.answer(runtime, request, HeldReply(), Record()))
    names = {name.lower(): value for name, value in server.headers.items()}
    return names.get("user-agent")


@pytest.mark.parametrize("vendor", ["generic", "anthropic"])
@pytest.mark.parametrize("front", ["messages", "chat"])
def test_the_clients_name_is_sent_and_none_is_made_up(vendor: str, front: str) -> None:
    assert sent(vendor, AGENT.encode(), front=front) == AGENT
    assert sent(vendor, None, front=front) is None


def test_a_configured_name_wins() -> None:
    assert sent("generic", AGENT.encode(), headers={"User-Agent": "mine/1"}) == "mine/1"
