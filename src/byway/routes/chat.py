"""`POST /v1/chat/completions`: the same exchange as for Messages, in the format of the OpenAI API."""

from __future__ import annotations

import time

from byway.fronts import chat
from byway.largebodies import off_loop
from byway.messages.blocks import FILE_MARK
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import RequestContext, api, client_message
from byway.routes.messages import StreamReply, WholeReply, forwarded, serve


async def create(context: RequestContext) -> None:
    """Answer a chat completion, as a stream if it sets `stream`."""
    body = await context.body()
    headers = forwarded(None, None, context.headers.get(b"user-agent"))
    request, outline = await off_loop(len(body), chat.outline, body, headers, f"msg_{context.id}")
    # The Messages API has no parts with the id of a file: a chat completion with one cannot be translated as it is.
    if FILE_MARK in body and (await _translated(request)).untranslatable is not None:
        from byway.files.resolve import CHAT
        from byway.routes.files import with_files

        resolved = await with_files(context, body, CHAT)
        if resolved is not body:
            body = resolved
            request, outline = await off_loop(len(body), chat.outline, body, headers, f"msg_{context.id}")
        del resolved
    search = context.runtime.config.web_search
    if search.inject != "off" or search.always or context.runtime.prompts is not None:
        # Byway itself takes part in the conversation.
        request = await _translated(request)
    reply = (
        _ChatStreamReply(context, request, counted=outline.counted, functions=outline.functions)
        if request.stream
        else _ChatWholeReply(context, functions=outline.functions)
    )
    # It holds the prompt, which is freed when its answer begins.
    del body
    await serve(context, request, reply)


async def _translated(request: Request) -> Request:
    """The request with its Messages request."""
    translation = request.content.translation
    return request if translation is None else await off_loop(request.size, translation)


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
