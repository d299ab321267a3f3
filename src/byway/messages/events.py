"""The parts of an answer: what a backend's reader returns and a client's stream is made of. Types only.

Shapes: https://docs.anthropic.com/en/api/messages-streaming and the `anthropic` SDK 2.11.0 (seen 2026-11-20).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from byway.messages.blocks import Wire

# Fields that are always null are those that the official OpenAPI document requires, for clients that are generated from it.


class Usage(Wire):
    """Tokens, as the official API counts them: `input_tokens` excludes tokens that were read from the cache."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    server_tool_use: dict[str, int] | None = None
    """How often server tools were used; only in answers for which Byway ran some."""
    output_tokens_details: None = None


class BilledUsage(Usage):
    """A usage with the counts that Anthropic's Messages API bills differently. It is never sent to a client."""

    cache_write_1h_tokens: int = 0
    """The part of `cache_creation_input_tokens` that is stored for an hour."""
    web_searches: int = 0
    """Searches that the backend ran."""
    fast: bool = False
    """The answer was made in fast mode."""


class MessageUsage(Usage):
    """The usage in a message. That of `message_delta` has fewer fields."""

    cache_creation: None = None
    inference_geo: None = None
    service_tier: None = None


def message_usage(usage: Usage) -> MessageUsage:
    """The same counts in the form that a message has."""
    return MessageUsage(
        usage.input_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        usage.output_tokens,
        usage.server_tool_use,
    )


#: The counts of tokens in a Usage.
TOKENS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


class Started(Wire, tag_field="type", tag="message"):
    """The message that `message_start` carries."""

    id: str
    model: str
    usage: MessageUsage
    role: Literal["assistant"] = "assistant"
    content: list[Any] = field(default_factory=list)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    safeguard_results: list[dict[str, Any]] | UnsetType = UNSET


class MessageStart(Wire, tag_field="type", tag="message_start"):
    name: ClassVar[str] = "message_start"
    message: Started


class TextStart(Wire, tag_field="type", tag="text"):
    text: str = ""
    citations: None = None


class DirectCaller(Struct, frozen=True, gc=False, tag_field="type", tag="direct"):
    """The model itself has called the tool."""


_MODEL: Final = DirectCaller()


class ToolStart(Wire, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any] = field(default_factory=dict)
    caller: DirectCaller = _MODEL


class ThinkingStart(Wire, tag_field="type", tag="thinking"):
    thinking: str = ""
    signature: str = ""


ServerBlock = dict[str, Any]
"""A block that only Byway's server tools produce: `server_tool_use`, `web_search_tool_result`, a text with citations."""


class BlockStart(Wire, tag_field="type", tag="content_block_start"):
    name: ClassVar[str] = "content_block_start"
    index: int
    content_block: TextStart | ToolStart | ThinkingStart | ServerBlock


class TextDelta(Wire, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(Wire, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(Wire, tag_field="type", tag="signature_delta"):
    signature: str


class InputDelta(Wire, tag_field="type", tag="input_json_delta"):
    partial_json: str


class CitationsDelta(Wire, tag_field="type", tag="citations_delta"):
    citation: dict[str, Any]


class BlockDelta(Wire, tag_field="type", tag="content_block_delta"):
    name: ClassVar[str] = "content_block_delta"
    index: int
    delta: TextDelta | InputDelta | ThinkingDelta | SignatureDelta | CitationsDelta


class BlockStop(Wire, tag_field="type", tag="content_block_stop"):
    name: ClassVar[str] = "content_block_stop"
    index: int


StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]


class Stop(Wire):
    stop_reason: str | None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    safeguard_results: list[dict[str, Any]] | UnsetType = UNSET


class MessageDelta(Wire, tag_field="type", tag="message_delta"):
    name: ClassVar[str] = "message_delta"
    delta: Stop
    usage: Usage


class MessageStop(Wire, tag_field="type", tag="message_stop"):
    name: ClassVar[str] = "message_stop"


class Ping(Wire, tag_field="type", tag="ping"):
    name: ClassVar[str] = "ping"


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping
"""An event in Byway's own types, translated from what a backend sent."""


class Passthrough(Wire):
    """Bytes of a streamed answer that go to the client as they came: one server-sent event or several."""

    data: bytes
    kind: Literal["start", "content", "ping", "end"]
    """What the bytes hold: the beginning before any content, content, only pings, or the end after all content."""
    chat: bool = False
    """The events are chunks of a chat completion, not events of the Messages API."""
    usage: Usage | None = None
    """The usage in these bytes, for the record of the request."""
    stop_reason: str | None = None
    responses: bool = False
    """The events are those of the Responses API."""


class WholeAnswer(Wire):
    """An answer that was not streamed, as JSON that goes to the client as it came."""

    data: bytes
    chat: bool = False
    """It is a chat completion, not a message of the Messages API."""
    usage: Usage | None = None
    stop_reason: str | None = None
    responses: bool = False
    """It is a response of the Responses API."""


Part = Event | Passthrough | WholeAnswer
"""What a backend's reader returns."""
_BEFORE_CONTENT: Final = frozenset(("message_start", "ping"))


def has_content(parts: Iterable[Part]) -> bool:
    """Return whether `parts` holds more than a beginning and pings."""
    return any(map(_is_content, parts))


def _is_content(part: Part) -> bool:
    if isinstance(part, Passthrough):
        return part.kind in ("content", "end")
    return isinstance(part, WholeAnswer) or part.name not in _BEFORE_CONTENT


def starts(part: Part) -> bool:
    """Return whether `part` is the beginning of a streamed answer."""
    return part.kind == "start" if type(part) is Passthrough else type(part) is MessageStart


def ends(part: Part) -> bool:
    """Return whether `part` belongs to the end of an answer, after all content."""
    if type(part) is Passthrough:
        return part.kind == "end"
    return type(part) is MessageDelta or type(part) is MessageStop or type(part) is WholeAnswer
