"""`POST /v1/responses`: the same exchange as for Messages, in the format of OpenAI's Responses API, which Codex uses."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from byway.decoding import DECODE_ERRORS
from byway.files.resolve import RESPONSES
from byway.fronts import responseerrors
from byway.fronts.responsebody import ResponsesBody, decode
from byway.fronts.responseevents import NewResponse, ResponseWriter
from byway.fronts.responses import Read, read
from byway.largebodies import LARGE, off_loop
from byway.logs import log
from byway.messages.blocks import FILE_MARK
from byway.messages.events import Part, ends
from byway.messages.request import Request
from byway.problems import Problem
from byway.responseitems import ReasoningSettings, ResponseObject, response_id
from byway.routes.context import RequestContext, api, client_message
from byway.routes.files import with_files
from byway.routes.messages import StreamReply, WholeReply, forwarded, serve
from byway.routes.storedresponses import continued, keep, own_items
from byway.routes.tokens import counted

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
#: The ids of a conversation that Codex sends, for affinity and the records of usage.
_SESSIONS: Final = (b"session-id", b"session_id", b"thread-id")
_ANY_SESSION: Final = frozenset(_SESSIONS)
_SESSION_LIMIT: Final = 128
#: Bytes of tools that a response repeats. Codex sends 20 KB of them, and its answers have the response three times.
_REPEATED_TOOLS: Final = 8 << 10
#: Bytes of `null` or an empty list.
_NO_TOOLS: Final = 4


async def create(context: RequestContext) -> None:
    """Answer a Responses request, as a stream if it sets `stream`."""
    given = await _read(context, await context.body())
    request, new = given.request, _new_response(context, given)
    reply: WholeReply | StreamReply
    if given.own_input:
        reply = _StoredStream(context, request, new, given) if request.stream else _StoredResponse(context, new, given)
    else:
        reply = _ResponseStream(context, request, new) if request.stream else _WholeResponse(context, new)
    # It holds the prompt, which is freed when its answer begins.
    del given
    await serve(context, request, reply)


async def _read(context: RequestContext, body: bytes, *, kept: bool = True) -> Read:
    """Read a body as a Responses request, with the conversation that it continues and the content of its files.

    `kept`: its response may be stored. Raises Problem.
    """
    large = len(body) > LARGE
    decoded = await off_loop(len(body), decode, body) if large else decode(body)
    own, previous = body, ""
    # References are looked for in the decoded body: a search in its bytes takes as long as decoding them.
    if decoded.previous_response_id is not None or decoded.has_references:
        body, previous = await continued(context, body)
        if FILE_MARK in body:
            body = await with_files(context, body, RESPONSES)
        large = len(body) > LARGE
        decoded = await off_loop(len(body), decode, body)
    headers, id = forwarded(None, None, context.headers.get(b"user-agent")), f"msg_{context.id}"
    if large:
        given = await off_loop(len(body), read, body, headers, id, decoded)
    else:
        given = read(body, headers, id, decoded)
    if previous:
        given.previous = previous
    if given.left_out:
        types = " ".join(sorted(set(given.left_out)))[:300]
        log("Items or tools that only servers of OpenAI know are left out for other backends", types=types)
    context.session = _session(context, decoded)
    # The answer to a request of a batch is in its output file.
    kept = kept and decoded.store is not False and "caller" not in context.scope
    if kept and context.gateway.responses is not None and not decoded.compacts:
        given.own_input = await off_loop(len(own), _own_input, own)
    return given


class _InputOnly(msgspec.Struct):
    input: Raw = Raw(b"null")


_input_only: Final = msgspec.json.Decoder(_InputOnly).decode


def _own_input(body: bytes) -> bytes:
    """The items of a request's own input: a list as it came."""
    input = _input_only(body).input
    data = bytes(input)
    return data if data.startswith(b"[") else _encode(own_items(input))


def _session(context: RequestContext, body: ResponsesBody) -> str:
    """The id of the conversation: what the client's headers name, else the key of its prompt cache."""
    if not _ANY_SESSION.isdisjoint(context.headers):
        name = next(name for name in _SESSIONS if name in context.headers)
        return context.header(name)[:_SESSION_LIMIT]
    key = body.prompt_cache_key
    return key[:_SESSION_LIMIT] if isinstance(key, str) else ""


def _new_response(context: RequestContext, given: Read) -> NewResponse:
    body = given.body
    response = ResponseObject(f"resp_{context.id}", body.model or "", int(time.time()))
    if given.own_input:
        response.store = True
    if given.previous:
        response.previous_response_id = given.previous
    # The fields of the request that its response repeats. Most of them are absent in most requests.
    if body.parallel_tool_calls is False:
        response.parallel_tool_calls = False
    if body.max_output_tokens is not None:
        response.max_output_tokens = body.max_output_tokens
    if body.temperature is not None:
        response.temperature = body.temperature
    if body.top_p is not None:
        response.top_p = body.top_p
    if (instructions := body.instructions) is not None and isinstance(instructions, str):
        response.instructions = instructions
    if (metadata := body.metadata) is not None and isinstance(metadata, dict):
        response.metadata = metadata
    if (reasoning := body.reasoning) is not None and isinstance(reasoning, dict):
        response.reasoning = ReasoningSettings(reasoning.get("effort"), reasoning.get("summary"))
    if (text := body.text) is not None and isinstance(text, dict) and "format" in text:
        response.text = text
    if body.tool_choice is not None:
        response.tool_choice = body.tool_choice
    if _NO_TOOLS < len(body.tools) <= _REPEATED_TOOLS:
        # A copy: it must not keep the body of the request in memory.
        response.tools = body.tools.copy()
    new = NewResponse(response, given.names, context.record, body.compacts)
    if (include := body.include) is not None and isinstance(include, list):
        new.sources = "web_search_call.action.sources" in include
    return new


class _WholeResponse(WholeReply):
    __slots__ = ("_new",)

    def __init__(self, context: RequestContext, new: NewResponse) -> None:
        WholeReply.__init__(self, context)
        self._new = new

    def finish(self) -> Awaitable[None]:
        return self._context.answer(self._new.whole(self._parts), headers=self._headers)


class _StoredResponse(_WholeResponse):
    """A response that is stored before the client has it."""

    __slots__ = ("_input", "_previous")

    def __init__(self, context: RequestContext, new: NewResponse, given: Read) -> None:
        super().__init__(context, new)
        self._previous, self._input = given.previous, given.own_input

    async def finish(self) -> None:
        answer = self._new.whole(self._parts)
        await keep(self._context, response_id(answer), self._previous, self._input, answer)
        await self._context.answer(answer, headers=self._headers)


class _ResponseStream(StreamReply):
    def __init__(self, context: RequestContext, request: Request, new: NewResponse) -> None:
        super().__init__(context, request)
        self._writer = writer = ResponseWriter(new)
        self._encode = writer.encode

    def _failure(self, problem: Problem) -> bytes:
        message, code = responseerrors.failure(problem, client_message(problem, self._context.runtime))
        return self._writer.fail(message, code)


class _StoredStream(_ResponseStream):
    """A stream whose response is stored before the client has its end: the next request may continue it at once."""

    def __init__(self, context: RequestContext, request: Request, new: NewResponse, given: Read) -> None:
        super().__init__(context, request, new)
        self._previous, self._input = given.previous, given.own_input
        self._final_parts: list[Part] = []

    async def send(self, parts: Sequence[Part]) -> None:
        self._final_parts += [part for part in parts if ends(part)]
        parts = [part for part in parts if not ends(part)]
        if parts:
            await super().send(parts)

    async def finish(self) -> None:
        if self._final_parts:
            parts, self._final_parts = self._final_parts, []
            # No ping may come between: the end is numbered now.
            self.close()
            data = self._writer.encode(parts)
            if response := self._writer.final():
                await keep(self._context, self._writer.final_id(), self._previous, self._input, response)
            self._encode = lambda _: data
            await super().send(parts)
        await super().finish()


async def compact(context: RequestContext) -> None:
    """Answer with the user's messages and a summary of the conversation, which a next request sends in place of it."""
    body = await context.body()
    try:
        fields = _fields(body)
        items = own_items(fields.get("input"))
    except DECODE_ERRORS as error:
        raise Problem("invalid_request", f"The request body is not a Responses request: {error}") from None
    fields["input"] = Raw(_encode([*items, _TRIGGER]))
    fields["store"], fields["stream"] = Raw(b"false"), Raw(b"false")
    given = await _read(context, _encode(fields), kept=False)
    new = _new_response(context, given)
    content = given.request.content
    # The answer has another form than that of a response: servers of OpenAI get the translated request too.
    request = msgspec.structs.replace(given.request, content=msgspec.structs.replace(content, responses=b""))
    await serve(context, request, _CompactedResponse(context, new))


_TRIGGER: Final = {"type": "compaction_trigger"}


class _CompactedResponse(_WholeResponse):
    __slots__ = ()

    def finish(self) -> Awaitable[None]:
        response = msgspec.json.decode(self._new.whole(self._parts))
        made = {
            "id": response["id"],
            "object": "response.compaction",
            "created_at": response["created_at"],
            "output": response["output"],
            "usage": response["usage"],
        }
        return self._context.answer(_encode(made), headers=self._headers)


#: Fields of a request that servers refuse when they only count. None has a part in the prompt.
_UNCOUNTED: Final = (b'"stream"', b'"max_output_tokens"', b'"temperature"', b'"top_p"')


def _counted_part(body: bytes) -> bytes:
    """A request without those fields; the body itself when it is no JSON object, which its parser reports."""
    try:
        fields = _fields(body)
    except DECODE_ERRORS:
        return body
    for name in _UNCOUNTED:
        fields.pop(name.decode().strip('"'), None)
    return _encode(fields)


async def count(context: RequestContext) -> None:
    """The tokens of a request's input."""
    body = await context.body()
    if any([name in body for name in _UNCOUNTED]):
        body = await off_loop(len(body), _counted_part, body)
    given = await _read(context, body, kept=False)
    tokens, headers = await counted(context, given.request)
    await context.answer(_encode({"object": "response.input_tokens", "input_tokens": tokens}), headers=headers)


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
    *api("POST", "/v1/responses/compact", compact, "write", "responses"),
    *api("POST", "/v1/responses/input_tokens", count, "read", "responses"),
    *api("POST", "/v1/responses", create, "write", "responses"),
    *api("GET", "/v1/responses", connect, "open", "responses"),
)
