"""`POST /v1/chat/completions`: the same line as for Messages, in OpenAI's words."""

from __future__ import annotations

import time

from byway.fronts import chat
from byway.largebodies import off_loop
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import RequestContext, api, client_message
from byway.routes.messages import Stream, Whole, serve


async def create(context: RequestContext) -> None:
    """Answer a chat completion, as a stream when it asks for one."""
    body = await context.body()
    request, asked = await off_loop(len(body), chat.read, body, {}, f"msg_{context.id}")
    reply = _Stream(context, request, counted=asked.counted) if request.stream else _Whole(context)
    await serve(context, request, reply)


class _Whole(Whole):
    async def finish(self) -> None:
        await self._ask.answer(chat.completion(self._parts, int(time.time())), headers=self._headers)


class _Stream(Stream):
    def __init__(self, context: RequestContext, request: Request, *, counted: bool) -> None:
        super().__init__(context, request)
        self._encode = chat.Chunks(request, int(time.time()), counted=counted).encode

    def _failure(self, problem: Problem) -> bytes:
        message = client_message(problem, self._ask.runtime)
        return b"data: %b\n\n" % chat.envelope(problem.row.status, problem.row.type, message)


ROUTES = api("POST", "/v1/chat/completions", create, "write", "chat")
