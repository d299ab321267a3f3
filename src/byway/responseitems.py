"""Items, parts and events of OpenAI's Responses API, for a backend and a front of that format. Types, and the count of tokens.

https://platform.openai.com/docs/api-reference/responses and the `openai` SDK 3.52.0 (seen 2026-11-29).
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec.json import Decoder

from byway.messages.blocks import Wire
from byway.messages.events import Usage

Phase = Literal["", "commentary", "final_answer"]
"""What an assistant message is in its turn. Newer models want it back."""


class ContentItem(Wire, omit_defaults=True):
    """A part of a message or of a tool's output: `input_text`, `input_image`, `input_file`."""

    type: str
    text: str | None = None
    image_url: str | None = None
    detail: str | None = None
    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None


class MessageItem(Wire, tag_field="type", tag="message"):
    role: str
    content: str | list[ContentItem]
    phase: str | UnsetType = UNSET


class ReasoningText(Wire):
    """A part of `summary` (`summary_text`) or of `content` (`reasoning_text`)."""

    type: str
    text: str


class ReasoningItem(Wire, tag_field="type", tag="reasoning"):
    summary: list[ReasoningText]
    id: str | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET
    content: list[ReasoningText] | UnsetType = UNSET


class FunctionCallItem(Wire, tag_field="type", tag="function_call"):
    call_id: str
    name: str
    arguments: str


class FunctionOutputItem(Wire, tag_field="type", tag="function_call_output"):
    call_id: str
    output: str | list[ContentItem]


InputItem = MessageItem | ReasoningItem | FunctionCallItem | FunctionOutputItem


class AnyItem(Wire):
    """Any item of an answer, leniently decoded: servers leave fields out, or send null."""

    type: Any = None
    id: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    content: Any = None
    summary: Any = None
    encrypted_content: Any = None
    phase: Any = None


class AnyResponse(Wire):
    """The `response` of an event, or a whole answer, leniently decoded."""

    object: Any = None
    status: Any = None
    error: Any = None
    incomplete_details: Any = None
    usage: Any = None
    output: Raw = Raw()


class AnyEvent(Wire):
    """Any event of a stream. Its large parts stay undecoded: the first events repeat the instructions and all tools."""

    type: Any = None
    delta: Any = None
    item_id: Any = None
    output_index: Any = None
    part_index: Any = field(default=None, name="summary_index")
    arguments: Any = None
    text: Any = None
    refusal: Any = None
    item: Raw = Raw()
    response: Raw = Raw()


class OutputText(Wire, tag_field="type", tag="output_text"):
    """The text of a message of a response."""

    text: str
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)


class OutputMessage(Wire, tag_field="type", tag="message"):
    """A message of a response."""

    id: str
    status: str
    content: list[OutputText]
    phase: Phase
    role: Literal["assistant"] = "assistant"


class ReasoningSettings(Struct, frozen=True, gc=False):
    """The field `reasoning` of a response."""

    effort: Any = None
    summary: Any = None


class TextFormat(Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """The format of an answer without a schema."""


class TextSettings(Struct, frozen=True, gc=False):
    """The field `text` of a response."""

    format: TextFormat = TextFormat()


class InputDetails(Wire):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Wire):
    reasoning_tokens: int


class ResponseUsage(Wire):
    """The tokens of a response: all of the prompt, cached or not, are input."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


_NO_CACHE: Final = InputDetails(0, 0)
_NO_REASONING: Final = OutputDetails(0)


def response_usage(usage: Usage, reasoning: int) -> ResponseUsage:
    """The counts of a message as those of a response. `reasoning`: output tokens that were reasoning."""
    cached, stored, output = usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens
    prompt = usage.input_tokens + cached + stored
    read = InputDetails(cached, stored) if cached or stored else _NO_CACHE
    written = OutputDetails(min(reasoning, output)) if reasoning else _NO_REASONING
    return ResponseUsage(prompt, read, output, written, prompt + output)


class ResponseObject(Wire):
    """A response of Byway. Most fields repeat the request."""

    id: str
    model: str
    created_at: int
    object: Literal["response"] = "response"
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    background: bool = False
    error: dict[str, str] | None = None
    incomplete_details: dict[str, str] | None = None
    output: list[Any] = field(default_factory=list)
    """Items as JSON, or OutputMessage."""
    usage: ResponseUsage | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: ReasoningSettings = ReasoningSettings()
    service_tier: str = "default"
    store: bool = False
    temperature: float | None = None
    text: Any = TextSettings()
    tool_choice: Any = "auto"
    tools: Raw = Raw(b"[]")
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None


#: Events that end a stream.
COMPLETED: Final = "response.completed"
INCOMPLETE: Final = "response.incomplete"
FAILED: Final = "response.failed"
CANCELLED: Final = "response.cancelled"
ENDS: Final = frozenset((COMPLETED, INCOMPLETE, FAILED, CANCELLED))
ERROR: Final = "error"
ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"
TEXT_DELTA: Final = "response.output_text.delta"
TEXT_DONE: Final = "response.output_text.done"
REFUSAL_DELTA: Final = "response.refusal.delta"
REFUSAL_DONE: Final = "response.refusal.done"
SUMMARY_PART: Final = "response.reasoning_summary_part.added"
SUMMARY_DELTA: Final = "response.reasoning_summary_text.delta"
REASONING_DELTA: Final = "response.reasoning_text.delta"
ARGUMENTS_DELTA: Final = "response.function_call_arguments.delta"
ARGUMENTS_DONE: Final = "response.function_call_arguments.done"
#: Between the parts of a summary, in the text of one thinking block.
PARAGRAPH: Final = "\n\n"


class _IdOnly(Struct):
    id: str = ""


_id_only: Final = Decoder(_IdOnly).decode


def response_id(response: bytes) -> str:
    """The id of a whole response."""
    return _id_only(response).id
