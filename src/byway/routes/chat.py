"""`POST /v1/chat/completions`: the same exchange as for Messages, in the format of the OpenAI API."""

from __future__ import annotations

import time

from byway.files.resolve import CHAT, MARK
from byway.fronts import chat
from byway.largebodies import off_loop
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import RequestContext, api, client_message
from byway.routes.files import with_files
from byway.routes.messages import StreamReply, WholeReply, forwarded, serve


async def create(context: RequestContext) -> None:
    """Answer a chat completion, as a stream if it sets `stream`."""
    body = await context.body()
    headers = forwarded(None, None, context.headers.get(b"user-agent"))
    request, fields = await off_loop(len(body), chat.read, body, headers, f"msg_{context.id}")
    # The Messages API has no parts with the id of a file: a chat completion with one cannot be translated as it is.
    if request.untranslatable is not None and MARK in body:
        resolved = await with_files(context, body, CHAT)
        if resolved is not body:
            body = resolved
            request, fields = await off_loop(len(body), chat.read, body, headers, f"msg_{context.id}")
        del resolved
    functions = fields.functions is not None
    reply = (
        _ChatStreamReply(context, request, counted=fields.counted, functions=functions)
        if request.stream
        else _ChatWholeReply(context, functions=functions)
    )
    # They hold the prompt, which is freed when its answer begins.
    del body, fields
    await serve(context, request, reply)


class _ChatWholeReply(WholeReply):
    __slots__ = ("_functions",)

    def __init__(self, context: RequestContext, *, functions: bool) -> None:
        super().__init__(context)
        self._functions = functions

    async def finish(self) -> None:
        answer = chat.completion(self._parts, int(time.time()), functions=self._functions)
        await self._context.answer(answer, headers=self._headers)


class _ChatStreamReply(StreamReply):
    def __init__(self, context: RequestContext, request: Request, *, counted: bool, functions: bool) -> None:
        super().__init__(context, request)
        self._encode = chat.Chunks(request, int(time.time()), counted=counted, functions=functions).encode

    def _failure(self, problem: Problem) -> bytes:
        return b"data: %b\n\n" % chat.envelope(problem, client_message(problem, self._context.runtime))


ROUTES = api("POST", "/v1/chat/completions", create, "write", "chat")
