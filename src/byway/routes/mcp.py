"""`POST /mcp`: web search and web fetch as an MCP server (streamable HTTP), for Claude Code that is signed in, and others.

Each request is answered by itself. A session id only separates the calls of two clients with the same key.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from byway.mcp import protocol, tools
from byway.mcp.calls import CallName, ToolCallCancelled
from byway.mcp.protocol import McpError, McpMessage
from byway.problems import Problem
from byway.routes.admission import admit_tool
from byway.routes.context import BASE_PREFIXES, RequestContext, Route
from byway.routes.forms import read_at_most

_LIMIT: Final = 64 << 10
_TOO_LARGE: Final = f"A message of MCP has at most {_LIMIT >> 10} KiB."
_SESSION: Final = b"mcp-session-id"
_VERSION: Final = b"mcp-protocol-version"
#: Characters of a session id that count.
_LONGEST_SESSION: Final = 64
_JSON: Final = "application/json"
_SSE: Final = "text/event-stream"


async def receive(context: RequestContext) -> None:
    """Answer the messages of a client."""
    is_stream = _answers_as_stream(context)
    body = await read_at_most(context, _LIMIT, _TOO_LARGE)
    try:
        received = protocol.read(body, protocol.checked_version(context.header(_VERSION)))
    except McpError as error:
        await context.answer(protocol.encode([protocol.error_message(None, error)], is_batch=False), 400)
        return
    with context.gateway.exchanges.watch(context.receive):
        answers = [answer for message in received.messages if (answer := await _answer(context, message)) is not None]
    if not answers:
        await context.begin(202, [(b"content-length", b"0")])
        await context.send({"type": "http.response.body", "body": b""})
        return
    is_first = any(message.method == "initialize" for message in received.messages)
    headers = [(_SESSION, secrets.token_hex(16).encode())] if is_first else []
    encoded = protocol.encode(answers, is_batch=received.is_batch)
    if not is_stream:
        await context.answer(encoded, headers=headers)
        return
    if context.metered:
        context.settle()
    event = b"event: message\ndata: %b\n\n" % encoded
    headers += [
        (b"content-type", _SSE.encode()),
        (b"content-length", b"%d" % len(event)),
        (b"cache-control", b"no-cache"),
    ]
    await context.begin(200, headers)
    await context.send({"type": "http.response.body", "body": event})


def _answers_as_stream(context: RequestContext) -> bool:
    """Whether the client reads only streams. Raises Problem when it sends or reads something else than JSON and streams."""
    if context.header(b"content-type").partition(";")[0].strip().lower() != _JSON:
        raise Problem("coding", "Send the message as content-type application/json.")
    accepted = context.header(b"accept").lower()
    if not accepted or any(kind in accepted for kind in (_JSON, "application/*", "*/*")):
        return False
    if _SSE in accepted:
        return True
    raise Problem("invalid_request", "Accept application/json and text/event-stream.")


async def _answer(context: RequestContext, message: McpMessage) -> dict[str, Any] | None:
    """The answer to one message; None for a notification."""
    if message.invalid is not None:
        return protocol.error_message(message.id, message.invalid)
    if message.kind != "request":
        cancelled = protocol.cancelled_request(message)
        if cancelled is not None:
            context.gateway.mcp_calls.cancel(_name(context, cancelled))
        return None
    try:
        return protocol.result_message(message.id, await _result(context, message))
    except McpError as error:
        return protocol.error_message(message.id, error)


async def _result(context: RequestContext, message: McpMessage) -> Mapping[str, Any]:
    """The result of a request. Raises McpError."""
    if message.method == "initialize":
        return protocol.initialize_result(message.params)
    if message.method == "ping":
        return {}
    if message.method == "tools/list":
        return {"tools": tools.offered(context.runtime)}
    if message.method == "tools/call":
        return await _call(context, message)
    raise protocol.unknown_method(message.method)


async def _call(context: RequestContext, message: McpMessage) -> Mapping[str, Any]:
    tool = message.params.get("name")
    if tool not in (tools.SEARCH, tools.FETCH) or message.id is None:
        raise McpError(
            protocol.INVALID_PARAMS, f"Unknown tool {str(tool)[:100]!r}. Use {tools.SEARCH} or {tools.FETCH}."
        )
    record, limiter = context.record, context.runtime.limiter
    # As a model of no cost: usage records count the calls of each account and key.
    record.requested = record.model = tool
    record.stop_reason = "end_turn"
    context.metered = context.gateway.usage is not None or limiter is not None
    if limiter is not None:
        try:
            admit_tool(context, limiter)
        except Problem as problem:
            return tools.failure(problem.message).result
    call = tools.run(context.runtime, tool, message.params.get("arguments", {}))
    try:
        outcome = await context.gateway.mcp_calls.run(_name(context, message.id), tool, call)
    except ToolCallCancelled:
        raise McpError(protocol.CANCELLED, "The client has cancelled this call.") from None
    record.backend = outcome.provider
    return outcome.result


def _name(context: RequestContext, id: protocol.RequestId) -> CallName:
    return CallName(context.caller.key, context.header(_SESSION)[:_LONGEST_SESSION], id)


ROUTES: Final = tuple(Route("POST", f"{prefix}/mcp", receive, "tools", "mcp") for prefix in BASE_PREFIXES)
