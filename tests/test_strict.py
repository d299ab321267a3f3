"""The validator of answers: it rejects what the lenient parsing of the SDK accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from strict import check_count, check_error, check_event, check_message, check_model

from byway.messages.events import MessageUsage, Stop, Usage
from byway.messages.stream import Writer, fold

USAGE = {"input_tokens": 1, "output_tokens": 2}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
MODEL: dict[str, Any] = {
    "type": "model",
    "id": "qwen",
    "display_name": "qwen",
    "created_at": "1970-01-01T00:00:00Z",
    "lifecycle": "active",
    "object": "model",
    "created": 0,
    "owned_by": "box",
    "description": "qwen at box",
}
ERROR: dict[str, Any] = {"type": "error", "error": {"type": "api_error", "message": "no"}, "request_id": "req_1"}


def tool(**fields: Any) -> dict[str, Any]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}, **fields}
    return {"type": "content_block_start", "index": 0, "content_block": block}


GOOD: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    tool(),
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": USAGE},
    {"type": "message_stop"},
    {"type": "ping"},
    ERROR,
]
BAD: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "message_start", "message": {**MESSAGE, "id": "chatcmpl-1", "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": "0", "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "logprobs": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    tool(id="call:1"),
    tool(arguments="{}"),
    tool(input="{}"),
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x", "annotations": []}},
    {"type": "content_block_stop"},
    {"type": "message_delta", "delta": {"stop_reason": "stop", "stop_sequence": None}, "usage": USAGE},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2, "total_tokens": 3}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2.0}},
    {"type": "message_stop", "x": 1},
    {"type": "ping", "cost": 1},
    {"type": "error", "error": {"type": "server_error", "message": "no"}},
    {"type": "error", "error": {"type": "api_error", "message": ""}},
    {"type": "surprise"},
    {},
]


@pytest.mark.parametrize("event", GOOD, ids=str)
def test_an_official_event_is_valid(event: dict[str, Any]) -> None:
    check_event(event)


@pytest.mark.parametrize("event", BAD, ids=str)
def test_any_other_event_is_invalid(event: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_event(event)


@pytest.mark.parametrize(
    "change",
    [
        {"stop_reason": None},
        {"stop_reason": "stop"},
        {"object": "chat.completion"},
        {"content": [{"type": "tool_use", "id": "ü", "name": "Read", "input": {}}]},
        {"content": "hello"},
        {"usage": {"input_tokens": True, "output_tokens": 2}},
        {"usage": {"prompt_tokens": 1, **USAGE}},
    ],
    ids=str,
)
def test_a_whole_answer_is_validated_strictly(change: dict[str, Any]) -> None:
    check_message(MESSAGE)
    with pytest.raises(AssertionError):
        check_message({**MESSAGE, **change})


@pytest.mark.parametrize(
    "change", [{"object": None}, {"created": "0"}, {"created_at": "yesterday"}, {"type": None}, {"extra": 1}], ids=str
)
def test_a_model_is_valid_in_both_list_formats(change: dict[str, Any]) -> None:
    check_model(MODEL)
    with pytest.raises(AssertionError):
        check_model({**MODEL, **change})


def test_errors_and_counts_are_validated_strictly() -> None:
    check_error(ERROR)
    check_count({"input_tokens": 3})
    for body in (dict(ERROR, request_id="1"), dict(ERROR, param=None), {"error": ERROR["error"]}):
        with pytest.raises(AssertionError):
            check_error(body)
    with pytest.raises(AssertionError):
        check_count({"input_tokens": "3"})


def test_a_validation_error_names_the_field() -> None:
    with pytest.raises(AssertionError) as caught:
        check_event(tool(arguments="{}"))
    text = str(caught.value).split(" in {")[0]
    assert "arguments" in text and "WebSearch" not in text


def test_an_answer_has_the_nullable_fields_that_the_official_document_requires() -> None:
    """Clients that are generated from the OpenAPI document fail without them (seen 2026-11-29)."""
    writer = Writer("msg_1", "m", MessageUsage(5))
    writer.text("Hi")
    writer.tool("toolu_1", "Read")
    writer.finish(Stop("tool_use"), Usage(5, output_tokens=2))
    start, text, *_, tool, _, delta, _ = [msgspec.to_builtins(event) for event in writer.events]
    for event in (start, text, tool, delta):
        check_event(event)
    usage = {"cache_creation", "inference_geo", "service_tier", "server_tool_use", "output_tokens_details"}
    whole = json.loads(fold(writer.events))
    check_message(whole)
    for message in (start["message"], whole):
        assert all(message[name] is None for name in ("container", "stop_details"))
        assert all(message["usage"][name] is None for name in usage)
    assert text["content_block"]["citations"] is None and whole["content"][0]["citations"] is None
    assert tool["content_block"]["caller"] == whole["content"][1]["caller"] == {"type": "direct"}
    assert all(delta["delta"][name] is None for name in ("container", "stop_details"))
    assert all(delta["usage"][name] is None for name in ("server_tool_use", "output_tokens_details"))
