"""Byway's own tests of its endpoint are marked, and the log line of an alias stays for the first request of a client."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from test_targets import Network, chat_answer, runtime

from byway import runtime as runtimes
from byway.admin import requests
from byway.admin.exports import client_setup
from byway.admin.verify import PROBE_HEADER
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.server.app import App

BODY = b'{"model":"sonnet","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that the runtime logs."""
    results: list[str] = []
    monkeypatch.setattr(runtimes, "log", lambda message, *_, **fields: results.append(message))
    return results


async def post(gateway: Gateway, *headers: tuple[str, str]) -> None:
    came = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> Any:
        return came.pop() if came else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        """Nobody reads it."""

    given = (("host", "127.0.0.1"), ("content-length", str(len(BODY))), *headers)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/messages",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 38080),
    }
    await App(gateway)(scope, receive, send)


def connected() -> Runtime:
    at = runtime("one")
    at.backends["one"].upstream = cast(Any, Network((200, chat_answer(None))))
    return at


def test_a_probe_is_marked_and_logs_no_alias(lines: list[str]) -> None:
    gateway = Gateway(connected())

    async def act() -> None:
        await client_setup(gateway.runtime, None)
        await post(gateway, (PROBE_HEADER, "verify"))
        assert not [line for line in lines if line.startswith("Rewrote")]
        await post(gateway)
        await post(gateway)

    asyncio.run(act())
    assert [line for line in lines if line.startswith("Rewrote")] == ["Rewrote request.model via model_aliases"]
    shown = [requests.row(request) for request in reversed(gateway.requests.newest())]
    assert [(row.session, row.status) for row in shown] == [("probe", 200), ("", 200), ("", 200)]
    assert [request.line.probe for request in reversed(gateway.requests.newest())] == [True, False, False]
