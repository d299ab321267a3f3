"""Sends a call whose request is recorded: keeps what the backend gets and what it answers."""

from __future__ import annotations

import time
from typing import Any, cast

from byway.backend import Backend
from byway.backends.protocol import Target
from byway.call import Call
from byway.inspector.recording import RecordedCall, RecordedExchange
from byway.problems import Problem
from byway.upstream.client import Answer


async def send(
    exchange: RecordedExchange, backend: Backend, target: Target, call: Call, repairs: tuple[str, ...]
) -> Answer:
    """Send `call` to `backend` and record it. Raises Problem."""
    made = exchange.call(target.backend, target.model, target.vendor.name, target.vendor.protocol, backend.address)
    made.method, made.path, made.headers, made.repairs = call.method, call.path, call.headers, repairs
    exchange.add(made.body, call.body, time.monotonic())
    try:
        answer = await backend.send(call)
    except Problem as problem:
        made.problem = problem.message
        raise
    made.status, made.answer_headers = answer.status, tuple(answer.headers.items())
    return cast(Answer, _RecordedAnswer(answer, exchange, made))


class _RecordedAnswer:
    """An answer whose bytes are recorded as they are read."""

    def __init__(self, answer: Answer, exchange: RecordedExchange, call: RecordedCall) -> None:
        self._answer = answer
        self._exchange = exchange
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    async def read(self) -> bytes:
        try:
            data = await self._answer.read()
        except Problem as problem:
            self._call.problem = problem.message
            raise
        if data:
            self._exchange.add(self._call.answer, data, time.monotonic())
        return data

    async def body(self, limit: int) -> bytes:
        data = await self._answer.body(limit)
        self._exchange.add(self._call.answer, data, time.monotonic())
        return data
