"""`POST /v1/chat/completions`: the same exchange as for Messages, in the format of the OpenAI API."""

from __future__ import annotations

import time

from byway.fronts import chat
from byway.largebodies import off_loop
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import RequestContext, api, client_message
from byway.routes.messages import StreamReply, WholeReply, serve


async def create(context: RequestContext) -> None:
    """Answer a chat completion, as a stream if it sets `stream`."""
    body = await context.body()
    request, fields = await off_loop(len(body), chat.read, body, {}, f"msg_{context.id}")
    reply = _ChatStreamReply(context, request, counted=fields.counted) if request.stream else _ChatWholeReply(context)
    await serve(context, request, reply)


class _ChatWholeReply(WholeReply):
    async def finish(self) -> None:
        await self._context.answer(chat.completion(self._parts, int(time.time())), headers=self._headers)


class _ChatStreamReply(StreamReply):
    def __init__(self, context: RequestContext, request: Request, *, counted: bool) -> None:
        super().__init__(context, request)
        self._encode = chat.Chunks(request, int(time.time()), counted=counted).encode

    def _failure(self, problem: Problem) -> bytes:
        message = client_message(problem, self._context.runtime)
        return b"data: %b\n\n" % chat.envelope(problem.row.status, problem.row.type, message)


ROUTES = api("POST", "/v1/chat/completions", create, "write", "chat")
