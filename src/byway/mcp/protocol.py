"""Messages of the Model Context Protocol: reads requests and makes their answers. Pure.

https://modelcontextprotocol.io/specification/2025-11-25 and its earlier revisions (seen 2026-11-30).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from byway import __version__
from byway.decoding import DECODE_ERRORS

#: Revisions that begin with `initialize`, the oldest first.
VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
#: Revision 2025-03-26 has no header for the revision yet: it is assumed where the header is missing.
ASSUMED_VERSION: Final = "2025-03-26"
#: The last revision with batches.
_LAST_BATCHES: Final = "2025-03-26"
#: Messages of one batch.
MOST_MESSAGES: Final = 10
#: Characters of an id, and of a name or a method that an error repeats.
_LONGEST_ID: Final = 128
_SHOWN: Final = 100

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
CANCELLED: Final = -32800
#: Of revision 2026-07-28, whose clients then begin with `initialize`.
UNSUPPORTED_VERSION: Final = -32022

_INSTRUCTIONS: Final = (
    "web_search searches the web; web_fetch returns the text of one page. Use them for what may have changed, and for what "
    "you do not know."
)
_encode: Final = msgspec.json.Encoder().encode

RequestId = str | int


class McpError(Exception):
    """A message that is answered with an error. `data` has details for programs."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class McpMessage(NamedTuple):
    """A message of a client."""

    kind: Literal["request", "notification", "response"]
    method: str = ""
    params: Mapping[str, Any] = {}
    id: RequestId | None = None
    """Of a request."""
    invalid: McpError | None = None
    """Why the request is not valid; None when it is."""


class McpBody(NamedTuple):
    """The messages of one HTTP request."""

    messages: tuple[McpMessage, ...]
    is_batch: bool


def checked_version(header: str) -> str:
    """The revision of a request, by its header `MCP-Protocol-Version`. Raises McpError for an unknown one."""
    if not header:
        return ASSUMED_VERSION
    if header not in VERSIONS:
        raise McpError(
            UNSUPPORTED_VERSION,
            f"MCP-Protocol-Version {header[:_SHOWN]!r} is not supported. Use one of: {', '.join(VERSIONS)}.",
            {"supported": list(VERSIONS), "requested": header[:_SHOWN]},
        )
    return header


def read(body: bytes, version: str) -> McpBody:
    """The messages in a body. Raises McpError for a body that cannot be answered message by message."""
    try:
        content = msgspec.json.decode(body)
    except DECODE_ERRORS:
        raise McpError(PARSE_ERROR, "The body is not valid JSON.") from None
    if not isinstance(content, list):
        message = _message(content)
        if message.invalid is not None and message.id is None:
            raise message.invalid
        return McpBody((message,), False)
    if version > _LAST_BATCHES:
        raise McpError(
            INVALID_REQUEST, f"Revision {version} has no batches. Send each message in a request of its own."
        )
    if not 0 < len(content) <= MOST_MESSAGES:
        raise McpError(INVALID_REQUEST, f"A batch has 1 to {MOST_MESSAGES} messages; this one has {len(content):,}.")
    messages = tuple(map(_message, content))
    methods = [message.method for message in messages]
    if "initialize" in methods:
        raise McpError(INVALID_REQUEST, "`initialize` must not be part of a batch.")
    if methods.count("tools/call") > 1:
        raise McpError(INVALID_REQUEST, "A batch can have one `tools/call`. Send each call in a request of its own.")
    return McpBody(messages, True)


def _message(content: Any) -> McpMessage:
    if not isinstance(content, dict) or content.get("jsonrpc") != "2.0":
        return _invalid(None, INVALID_REQUEST, 'A message is an object with "jsonrpc": "2.0".')
    id, method, params = content.get("id"), content.get("method"), content.get("params", {})
    if method is None and ("result" in content or "error" in content):
        return McpMessage("response")
    if "id" in content and not _is_id(id):
        return _invalid(None, INVALID_REQUEST, f"id: must be a number or a string of at most {_LONGEST_ID} characters.")
    if not isinstance(method, str):
        return _invalid(id, INVALID_REQUEST, "method: must be a string.")
    if not isinstance(params, dict):
        return _invalid(id, INVALID_PARAMS, "params: must be an object.")
    return McpMessage("notification" if id is None else "request", method, params, id)


def _is_id(id: Any) -> bool:
    return isinstance(id, str | int) and not isinstance(id, bool) and len(str(id)) <= _LONGEST_ID


def _invalid(id: RequestId | None, code: int, message: str) -> McpMessage:
    return McpMessage("request", id=id, invalid=McpError(code, message))


def cancelled_request(message: McpMessage) -> RequestId | None:
    """The id of the request that a notification cancels; None for another message."""
    id = message.params.get("requestId") if message.method == "notifications/cancelled" else None
    return id if _is_id(id) else None


def initialize_result(params: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `initialize`: the requested revision where Byway has it, else its newest one."""
    requested = params.get("protocolVersion")
    return {
        "protocolVersion": requested if requested in VERSIONS else VERSIONS[-1],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "byway", "title": "Byway", "version": __version__},
        "instructions": _INSTRUCTIONS,
    }


def tool_result(text: str, *, is_error: bool = False) -> dict[str, Any]:
    """The result of a tool call. A failed call is a result too, so that the model reads it."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if is_error:
        result["isError"] = True
    return result


def result_message(id: RequestId | None, result: Any) -> dict[str, Any]:
    """The answer to a request."""
    return {"jsonrpc": "2.0", "id": id, "result": result}


def error_message(id: RequestId | None, error: McpError) -> dict[str, Any]:
    """The answer to a request that failed."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return {"jsonrpc": "2.0", "id": id, "error": body}


def unknown_method(method: str) -> McpError:
    """The error for a method that Byway does not have."""
    return McpError(METHOD_NOT_FOUND, f"Unknown method {method[:_SHOWN]!r}.")


def encode(answers: Sequence[Mapping[str, Any]], *, is_batch: bool) -> bytes:
    """The answers as the body of a response."""
    return _encode(answers if is_batch else answers[0])
