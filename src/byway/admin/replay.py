"""Replay: a recorded request sent again to another model, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from byway.access.keys import Caller
from byway.admin.inspection import clouds, replay_body, was_self_hosted
from byway.admin.requests import RecentRequests
from byway.decoding import DECODE_ERRORS
from byway.inspector.recording import RecordedExchange, events_of
from byway.problems import Problem
from byway.runtime import Runtime

#: Characters of the answer that are returned.
_TEXT_LIMIT: Final = 20_000
_MODEL_LIMIT: Final = 200
_HEADERS: Final = ("anthropic-version", "anthropic-beta", "content-type")
_decode: Final = msgspec.json.Decoder().decode


class Replayed(NamedTuple):
    """The answer to a request that was sent again."""

    status: int
    """0: there was no complete answer in time."""
    id: str
    body: bytes


Send = Callable[[str, bytes, dict[bytes, bytes], Caller], Awaitable[Replayed]]


class ReplayResult(Struct, frozen=True):
    """What came of a replay."""

    id: str
    number: int
    """The number of the new request in the list; 0 when it is not there."""
    status: int
    text: str
    """What the model has written, or the error."""


async def replay(
    send: Send | None,
    runtime: Runtime,
    recent: RecentRequests,
    exchange: RecordedExchange,
    model: str,
    caller: Caller,
    accepted: tuple[str, ...],
) -> ReplayResult:
    """Send a recorded request again to `model`.

    Raises Problem `invalid_request` with the fact `clouds` when a prompt that only self-hosted models have had would go to
    clouds that `accepted` does not name.
    """
    model = model.strip()[:_MODEL_LIMIT]
    if not model:
        raise Problem("invalid_request", "model: choose a model", facts={"field": "model"})
    if send is None:
        raise Problem("not_supported", "This Byway cannot send requests again.")
    body = replay_body(exchange, model)
    names = clouds(runtime, runtime.resolve(model, 0).targets) if was_self_hosted(runtime, exchange) else ()
    if missing := [name for name in names if name not in accepted]:
        raise Problem(
            "invalid_request",
            f"Only self-hosted models have had this prompt. The replay would send all of it to a cloud: {', '.join(missing)}.",
            facts={"field": "accept_clouds", "clouds": "\n".join(names)},
        )
    headers = {
        name.encode(): value.encode("latin-1", "replace") for name, value in exchange.headers if name in _HEADERS
    }
    answer = await send(exchange.path, body, headers, caller)
    number = next((request.number for request in recent.newest() if request.line.id == answer.id), 0)
    text = answer_text(answer.body) or ("There was no complete answer in time." if not answer.status else "")
    return ReplayResult(answer.id, number, answer.status, runtime.scrubber.scrub(text)[:_TEXT_LIMIT])


def answer_text(body: bytes) -> str:
    """What a model has written in an answer of any of the APIs, or the message of its error."""
    events = events_of(body)
    values = [value for value in map(_value, (data for _, data in events) if events else (body,)) if value is not None]
    return "".join(map(_written, values)) or next((_message(value) for value in values if _message(value)), "")


def _value(data: bytes) -> dict[str, Any] | None:
    try:
        value = _decode(data)
    except DECODE_ERRORS:
        return None
    return value if isinstance(value, dict) else None


def _written(value: dict[str, Any]) -> str:
    """The text in an event or in a whole answer."""
    delta = value.get("delta")
    if isinstance(delta, str):
        return delta if value.get("type") == "response.output_text.delta" else ""
    if isinstance(delta, dict):
        return _block_text(delta)
    if value.get("type") == "content_block_start" and isinstance(block := value.get("content_block"), dict):
        return f"\n[tool call: {block.get('name')}] " if block.get("type") == "tool_use" else ""
    parts = [
        item.get("delta") or item.get("message") or {} for item in value.get("choices") or () if isinstance(item, dict)
    ]
    if parts:
        return "".join(str(part.get("content") or "") for part in parts if isinstance(part, dict))
    if value.get("type") == "message" and isinstance(value.get("content"), list):
        return "".join(_block_text(block) for block in value["content"] if isinstance(block, dict))
    if value.get("object") == "response":
        blocks = [item.get("content") or () for item in value.get("output") or () if isinstance(item, dict)]
        return "".join(_block_text(block) for group in blocks for block in group if isinstance(block, dict))
    return ""


def _block_text(block: dict[str, Any]) -> str:
    if block.get("type") == "tool_use":
        return f"\n[tool call: {block.get('name')}] {msgspec.json.encode(block.get('input')).decode()}"
    return str(block.get("text") or block.get("partial_json") or "")


def _message(value: dict[str, Any]) -> str:
    error = value.get("error")
    return str(error.get("message") or "") if isinstance(error, dict) else ""
