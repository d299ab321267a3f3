"""`POST /v1/chat/completions`: the same line as for Messages, in OpenAI's words."""

from __future__ import annotations

import time

from byway.fronts import chat
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import Ask, Routes, cleared
from byway.routes.messages import Stream, Whole, serve


async def create(ask: Ask) -> None:
    """Answer a chat completion, as a stream when it asks for one."""
    request, asked = chat.read(await ask.body(), {}, f"msg_{ask.id}")
    reply = _Stream(ask, request, counted=asked.counted) if request.stream else _Whole(ask)
    await serve(ask, request, reply)


class _Whole(Whole):
    async def finish(self) -> None:
        await self._ask.answer(chat.completion(self._events, int(time.time())), headers=self._headers)


class _Stream(Stream):
    def __init__(self, ask: Ask, request: Request, *, counted: bool) -> None:
        super().__init__(ask, request)
        self._encode = chat.Chunks(request, int(time.time()), counted=counted).encode

    def _failure(self, problem: Problem) -> bytes:
        said = cleared(problem, self._ask.runtime)
        return b"data: %b\n\n" % chat.envelope(problem.row.status, problem.row.type, said)


ROUTES: Routes = (("POST", "/v1/chat/completions", create),)
