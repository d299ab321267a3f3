"""`POST /v1/responses`: the same exchange as for Messages, in the format of OpenAI's Responses API, which Codex uses."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.files.resolve import MARK, RESPONSES
from byway.fronts import responseerrors
from byway.fronts.responseevents import ResponseWriter
from byway.fronts.responses import Read, ResponsesBody, read
from byway.largebodies import off_loop
from byway.logs import log
from byway.messages.events import Part
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.context import RequestContext, api, client_message
from byway.routes.files import with_files
from byway.routes.messages import StreamReply, WholeReply, forwarded, serve

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
#: The ids of a conversation that Codex sends, for affinity and the records of usage.
_SESSIONS: Final = (b"session-id", b"session_id", b"thread-id")
_SESSION_LIMIT: Final = 128
#: Bytes of tools that a response repeats. Codex sends 20 KB of them, and its answers have the response three times.
_REPEATED_TOOLS: Final = 8 << 10


async def create(context: RequestContext) -> None:
    """Answer a Responses request, as a stream if it sets `stream`."""
    given = await read_request(context, await context.body())
    writer = _writer(context, given)
    reply = _ResponseStream(context, given.request, writer) if given.request.stream else _WholeResponse(context, writer)
    request = given.request
    # It holds the prompt, which is freed when its answer begins.
    del given
    await serve(context, request, reply)


async def read_request(context: RequestContext, body: bytes) -> Read:
    """Read a body as a Responses request, with the content of the files that it refers to. Raises Problem."""
    headers = forwarded(None, None, context.headers.get(b"user-agent"))
    if MARK in body:
        body = await with_files(context, body, RESPONSES)
    given = await off_loop(len(body), read, body, headers, f"msg_{context.id}")
    if given.left_out:
        types = " ".join(sorted(set(given.left_out)))[:300]
        log("Items or tools that only servers of OpenAI know are left out for other backends", types=types)
    context.session = _session(context, given.body)
    return given


def _session(context: RequestContext, body: ResponsesBody) -> str:
    """The id of the conversation: what the client's headers name, else the key of its prompt cache."""
    for name in _SESSIONS:
        if name in context.headers:
            return context.header(name)[:_SESSION_LIMIT]
    key = body.prompt_cache_key
    return key[:_SESSION_LIMIT] if isinstance(key, str) else ""


def _writer(context: RequestContext, given: Read) -> ResponseWriter:
    body = given.body
    include = body.include if isinstance(body.include, list) else []
    return ResponseWriter(
        context.id,
        body.model,
        int(time.time()),
        given.names,
        _echo(body),
        compacts=body.compacts,
        sources="web_search_call.action.sources" in include,
    )


def _echo(body: ResponsesBody) -> Mapping[str, Any]:
    """The fields of a request that its response repeats."""
    tools = body.tools or []
    reasoning = body.reasoning if isinstance(body.reasoning, dict) else {}
    repeated = sum(map(len, tools)) <= _REPEATED_TOOLS
    return {
        "instructions": body.instructions if isinstance(body.instructions, str) else None,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata if isinstance(body.metadata, dict) else {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": body.text if isinstance(body.text, dict) and "format" in body.text else {"format": {"type": "text"}},
        "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
        # Copies: they must not keep the body of the request in memory.
        "tools": [tool.copy() for tool in tools] if repeated else [],
        "top_p": body.top_p,
        "truncation": "disabled",
        "user": None,
    }


class _WholeResponse(WholeReply):
    __slots__ = ("_writer",)

    def __init__(self, context: RequestContext, writer: ResponseWriter) -> None:
        super().__init__(context)
        self._writer = writer

    async def finish(self) -> None:
        self._writer.reasoning = self._context.record.reasoning
        answer = self._writer.whole(self._parts)
        await self._context.answer(answer, headers=self._headers)


class _ResponseStream(StreamReply):
    def __init__(self, context: RequestContext, request: Request, writer: ResponseWriter) -> None:
        super().__init__(context, request)
        self._writer = writer
        self._encode = writer.encode

    async def send(self, parts: Sequence[Part]) -> None:
        self._writer.reasoning = self._context.record.reasoning
        await super().send(parts)

    def _failure(self, problem: Problem) -> bytes:
        message, code = responseerrors.failure(problem, client_message(problem, self._context.runtime))
        return self._writer.fail(message, code)


async def connect(context: RequestContext) -> None:
    """Refuse the WebSocket of Codex: after this status it uses plain requests at once, without a message."""
    if b"sec-websocket-key" not in context.headers:
        raise Problem("method", f"{context.path} does not support GET. Use POST.")
    await context.answer(
        b'{"error":{"message":"Byway serves the Responses API over HTTP only: send POST requests.",'
        b'"type":"invalid_request_error","param":null,"code":"upgrade_required"}}',
        426,
        [(b"upgrade", b"HTTP/1.1")],
    )


ROUTES = (
    *api("POST", "/v1/responses", create, "write", "responses"),
    *api("GET", "/v1/responses", connect, "open", "responses"),
)
