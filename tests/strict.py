"""What Byway says, held against the official SDK's models in strict mode: no coercion, and no field of our own making.

`ping` and `error` stand in no union of the SDK (seen 2026-11-20, anthropic 2.11), so their types are here.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

import anthropic.types as official
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

#: What the Messages API lets a client send back as the id of a tool call.
TOOL_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
#: The fields of OpenAI's list, and `description`, which Claude Code shows.
_OPENAI_MODEL: Final = {"object": "model", "created": int, "owned_by": str, "description": str}


class Ping(BaseModel):
    type: Literal["ping"]


class Fault(BaseModel):
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "timeout_error",
        "api_error",
        "overloaded_error",
    ]
    message: Annotated[str, Field(min_length=1)]


class Error(BaseModel):
    type: Literal["error"]
    error: Fault
    request_id: Annotated[str, Field(pattern="^req_")] | None = None


_EVENTS: Final[dict[str, TypeAdapter[Any]]] = {
    "message_start": TypeAdapter(official.RawMessageStartEvent),
    "content_block_start": TypeAdapter(official.RawContentBlockStartEvent),
    "content_block_delta": TypeAdapter(official.RawContentBlockDeltaEvent),
    "content_block_stop": TypeAdapter(official.RawContentBlockStopEvent),
    "message_delta": TypeAdapter(official.RawMessageDeltaEvent),
    "message_stop": TypeAdapter(official.RawMessageStopEvent),
    "ping": TypeAdapter(Ping),
    "error": TypeAdapter(Error),
}
_MESSAGE: Final[TypeAdapter[Any]] = TypeAdapter(official.Message)
_MODEL: Final[TypeAdapter[Any]] = TypeAdapter(official.ModelInfo)
_COUNT: Final[TypeAdapter[Any]] = TypeAdapter(official.MessageTokensCount)


def check_event(event: dict[str, Any]) -> None:
    """Fail unless `event` is one that the Messages API streams, to the letter."""
    adapter = _EVENTS.get(event.get("type", ""))
    assert adapter is not None, f"no such event: {event}"
    _check(adapter, event)
    if event["type"] == "content_block_start":
        _check_block(event["content_block"])
    if event["type"] == "message_start":
        message = event["message"]
        assert message["id"].startswith("msg_"), message["id"]
        assert message["content"] == [] and message["stop_reason"] is None, message


def check_message(message: dict[str, Any]) -> None:
    """Fail unless `message` is a whole answer of the Messages API, to the letter."""
    _check(_MESSAGE, message)
    assert message["id"].startswith("msg_"), message["id"]
    assert message["stop_reason"] is not None, "a whole answer says why it ended"
    for block in message["content"]:
        _check_block(block)


def check_error(body: dict[str, Any]) -> None:
    """Fail unless `body` is the official error envelope with a type that the documentation lists."""
    _check(_EVENTS["error"], body)


def check_model(model: dict[str, Any]) -> None:
    """Fail unless `model` is an entry of both model lists at once: the official one and OpenAI's."""
    both = dict(model)
    for name, kind in _OPENAI_MODEL.items():
        value = both.pop(name, None)
        assert value == kind or (isinstance(kind, type) and type(value) is kind), f"{name} of {model}"
    _check(_MODEL, both)


def check_count(body: dict[str, Any]) -> None:
    """Fail unless `body` is the answer of `count_tokens`."""
    _check(_COUNT, body)


def _check_block(block: dict[str, Any]) -> None:
    if block["type"] == "tool_use":
        assert TOOL_ID.fullmatch(block["id"]), f"a client cannot send this tool id back: {block['id']!r}"


def _check(adapter: TypeAdapter[Any], value: dict[str, Any]) -> None:
    # As JSON, because strict mode on Python values would want datetimes where the wire has text.
    try:
        adapter.validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as error:
        raise AssertionError(f"{_explain(error)} in {json.dumps(value)[:2000]}") from None


def _explain(error: ValidationError) -> str:
    """The complaints, without those of union members that were never meant: their `type` is another."""
    complaints = error.errors(include_url=False)
    strangers = {
        complaint["loc"][:-1]
        for complaint in complaints
        if complaint["type"] == "literal_error" and complaint["loc"][-1] == "type"
    }
    meant = [value for value in complaints if not any(value["loc"][: len(other)] == other for other in strangers)]
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in meant or complaints)
