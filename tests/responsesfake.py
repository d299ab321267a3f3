"""A strict Responses server: what it refuses, and the event streams that it sends. Every one is valid for the official SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import ConfigDict, TypeAdapter, with_config

_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)
_RESPONSE: Final[TypeAdapter[Any]] = TypeAdapter(Response)
_STRICT: Final = with_config(ConfigDict(extra="forbid"))
_REQUESTS: Final[dict[bool, TypeAdapter[Any]]] = {
    True: TypeAdapter(_STRICT(response_create_params.ResponseCreateParamsStreaming)),
    False: TypeAdapter(_STRICT(response_create_params.ResponseCreateParamsNonStreaming)),
}
_EFFORTS: Final = {"none", "low", "medium", "high", "xhigh", "max"}
#: Fields that chat completions have and Responses have not.
_FOREIGN: Final = {
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "response_format",
    "reasoning_effort",
    "n",
}
USAGE: Final = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 100},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 10},
    "total_tokens": 1230,
}


class RequestRefused(Exception):
    """What the server answers with status 400."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def check_request(body: bytes) -> dict[str, Any]:
    """Return a request that OpenAI accepts; raises RequestRefused in its words for any other one."""
    sent: dict[str, Any] = json.loads(body)
    for name in _FOREIGN & sent.keys():
        raise RequestRefused(f"Unsupported parameter: '{name}'. In the Responses API, use another one.", name)
    _REQUESTS[bool(sent.get("stream"))].validate_json(body, strict=False)
    if sent.get("store") is not False:
        raise RequestRefused("This organisation stores no responses: store must be false.", "store")
    for name in ("temperature", "top_p"):
        if name in sent and (sent.get("reasoning") or {}).get("effort", "medium") != "none":
            raise RequestRefused(f"Unsupported parameter: '{name}' is not supported with this model.", name)
    effort = (sent.get("reasoning") or {}).get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise RequestRefused(
            f"Unsupported value: '{effort}' is not supported with the 'gpt-5.6' model. Supported values are: 'none', 'low', "
            "'medium', 'high', 'xhigh', and 'max'.",
            "reasoning.effort",
            "unsupported_value",
        )
    if sent.get("max_output_tokens", 16) < 16:
        raise RequestRefused(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.", "max_output_tokens"
        )
    for at, tool in enumerate(sent.get("tools") or ()):
        if "strict" not in tool:
            raise RequestRefused(f"Missing required parameter: 'tools[{at}].strict'.", f"tools[{at}].strict")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]):
            raise RequestRefused(f"Invalid 'tools[{at}].name': string does not match pattern.", f"tools[{at}].name")
    _check_items(sent["input"])
    return sent


def _check_items(items: Any) -> None:
    """Refuse items in an order that the API does not accept."""
    if isinstance(items, str):
        return
    calls: dict[str, bool] = {}
    for at, item in enumerate(items):
        match item.get("type", "message"):
            case "reasoning":
                if not item.get("encrypted_content"):
                    raise RequestRefused(
                        f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false.",
                        "input",
                    )
                if not item["encrypted_content"].startswith("gAAAA"):
                    raise RequestRefused(
                        "The encrypted content could not be verified.", "input", "invalid_encrypted_content"
                    )
                following = items[at + 1] if at + 1 < len(items) else {}
                if following.get("type") not in ("reasoning", "function_call") and following.get("role") != "assistant":
                    raise RequestRefused(
                        f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item.",
                        "input",
                    )
            case "function_call":
                json.loads(item["arguments"])
                calls[item["call_id"]] = False
            case "function_call_output":
                if item["call_id"] not in calls:
                    raise RequestRefused(f"No tool call found for function call output with call_id {item['call_id']}.")
                calls[item["call_id"]] = True
    for call, answered in calls.items():
        if not answered:
            raise RequestRefused(f"No tool output found for function call {call}.", "input")


# ------------------------------------------------------------------------------------------------------------- answers


def message(text: str, *, phase: str | None = None, refusal: bool = False) -> dict[str, Any]:
    part = {"type": "refusal", "refusal": text} if refusal else {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {**item, "phase": phase} if phase else item


def reasoning(*summary: str, encrypted: str | None = "gAAAAenc", content: tuple[str, ...] = ()) -> dict[str, Any]:
    texts = [{"type": "summary_text", "text": text} for text in summary]
    item = {"type": "reasoning", "id": "rs_1", "summary": texts}
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in content]
    return {**item, "encrypted_content": encrypted} if encrypted else item


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name, "arguments": arguments}
    return {**item, "status": "completed"}


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A whole answer."""
    items = [_with_id(item, at) for at, item in enumerate(output)]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1795972730,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-5.6-terra",
        "output": items,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": USAGE if status in ("completed", "incomplete") else None,
        **fields,
    }


def _with_id(item: dict[str, Any], at: int) -> dict[str, Any]:
    return {**item, "id": f"{item['id'].split('_')[0]}_{at}"} if item["type"] != "function_call" else item


def stream(*output: dict[str, Any], pieces: int = 6, end: str = "completed", **fields: Any) -> list[dict[str, Any]]:
    """The events of an answer, in the full grammar. Texts arrive in pieces of so many characters."""
    items = [_with_id(item, at) for at, item in enumerate(output)]
    opening = response(status="in_progress")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
    ]
    for at, item in enumerate(items):
        events += _item_events(item, at, pieces)
    if end:
        events.append({"type": f"response.{end}", "response": response(*output, status=end, **fields)})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _item_events(item: dict[str, Any], at: int, pieces: int) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": at}
    blanks: dict[str, dict[str, Any]] = {
        "message": {"content": [], "status": "in_progress"},
        "reasoning": {"summary": []},
        "function_call": {"arguments": "", "status": "in_progress"},
    }
    yield {"type": "response.output_item.added", "output_index": at, "item": {**item, **blanks[item["type"]]}}
    match item["type"]:
        case "message":
            for index, part in enumerate(item["content"]):
                inner = {**place, "content_index": index}
                kind = "refusal" if part["type"] == "refusal" else "text"
                blank = {**part, kind: ""}
                yield {"type": "response.content_part.added", **inner, "part": blank}
                name = "response.refusal" if kind == "refusal" else "response.output_text"
                extra: dict[str, Any] = {} if kind == "refusal" else {"logprobs": []}
                for piece in _pieces(part[kind], pieces):
                    yield {"type": f"{name}.delta", **inner, "delta": piece, **extra}
                yield {"type": f"{name}.done", **inner, kind: part[kind], **extra}
                yield {"type": "response.content_part.done", **inner, "part": part}
        case "reasoning":
            for index, part in enumerate(item["summary"]):
                inner = {**place, "summary_index": index}
                yield {"type": "response.reasoning_summary_part.added", **inner, "part": {**part, "text": ""}}
                for piece in _pieces(part["text"], pieces):
                    yield {"type": "response.reasoning_summary_text.delta", **inner, "delta": piece}
                yield {"type": "response.reasoning_summary_text.done", **inner, "text": part["text"]}
                yield {"type": "response.reasoning_summary_part.done", **inner, "part": part}
            for index, part in enumerate(item.get("content") or ()):
                inner = {**place, "content_index": index}
                for piece in _pieces(part["text"], pieces):
                    yield {"type": "response.reasoning_text.delta", **inner, "delta": piece}
                yield {"type": "response.reasoning_text.done", **inner, "text": part["text"]}
        case "function_call":
            for piece in _pieces(item["arguments"], pieces):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            yield {
                "type": "response.function_call_arguments.done",
                **place,
                "name": item["name"],
                "arguments": item["arguments"],
            }
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def encode(events: list[dict[str, Any]]) -> bytes:
    """The events as bytes of a stream, once they are valid for the SDK."""
    for event in events:
        _EVENT.validate_json(json.dumps(event), strict=False)
    return joined(events)


def joined(events: list[dict[str, Any]]) -> bytes:
    """The events as bytes of a stream, unchecked."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event, ensure_ascii=False).encode())
        for event in events
    )


def whole(*output: dict[str, Any], **fields: Any) -> bytes:
    """An answer that does not stream, once it is valid for the SDK."""
    answer = response(*output, **fields)
    _RESPONSE.validate_json(json.dumps(answer), strict=False)
    return json.dumps(answer, ensure_ascii=False).encode()
