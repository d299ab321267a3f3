"""The events of an answer: what a backend's reader produces and a client's stream is made of. Types only.

Shapes: https://docs.anthropic.com/en/api/messages-streaming and the `anthropic` SDK 2.11.0 (seen 2026-11-20).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from msgspec import UNSET, Raw, UnsetType, field

from byway.messages.blocks import Text, Wire


class Usage(Wire):
    """Tokens, as the official API counts: `input_tokens` leaves out what the cache gave."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0


class Started(Wire, tag_field="type", tag="message"):
    """The message that `message_start` carries."""

    id: str
    model: str
    usage: Usage
    role: Literal["assistant"] = "assistant"
    content: list[Any] = field(default_factory=list)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    safeguard_results: Raw | UnsetType = UNSET


class MessageStart(Wire, tag_field="type", tag="message_start"):
    name: ClassVar[str] = "message_start"
    message: Started


class ToolStart(Wire, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any] = field(default_factory=dict)


class ThinkingStart(Wire, tag_field="type", tag="thinking"):
    thinking: str = ""
    signature: str = ""


class BlockStart(Wire, tag_field="type", tag="content_block_start"):
    name: ClassVar[str] = "content_block_start"
    index: int
    content_block: Text | ToolStart | ThinkingStart


class TextDelta(Wire, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(Wire, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(Wire, tag_field="type", tag="signature_delta"):
    signature: str


class InputDelta(Wire, tag_field="type", tag="input_json_delta"):
    partial_json: str


class BlockDelta(Wire, tag_field="type", tag="content_block_delta"):
    name: ClassVar[str] = "content_block_delta"
    index: int
    delta: TextDelta | InputDelta | ThinkingDelta | SignatureDelta


class BlockStop(Wire, tag_field="type", tag="content_block_stop"):
    name: ClassVar[str] = "content_block_stop"
    index: int


StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]


class Stop(Wire):
    stop_reason: str | None
    stop_sequence: str | None = None
    safeguard_results: Raw | UnsetType = UNSET


class MessageDelta(Wire, tag_field="type", tag="message_delta"):
    name: ClassVar[str] = "message_delta"
    delta: Stop
    usage: Usage


class MessageStop(Wire, tag_field="type", tag="message_stop"):
    name: ClassVar[str] = "message_stop"


class Ping(Wire, tag_field="type", tag="ping"):
    name: ClassVar[str] = "ping"


class Frame(Wire):
    """Bytes of an Anthropic backend that go on as they came: one event or several, or (`name` "message") a whole answer.

    `usage` and `stop_reason` are what the bytes say of them, for the meter.
    """

    name: str
    data: bytes
    usage: Usage | None = None
    stop_reason: str | None = None


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping | Frame
