"""Decodes the body of a Responses request. Pure. Shapes: as in `responses`.

Most requests have only texts, images, calls of functions, outputs and reasoning: one pass decodes all of it into types. Others
are decoded leniently, because no item of a newer client may break a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, final

import msgspec
from msgspec import Meta, Raw, Struct

from byway.messages import request as messages
from byway.messages.blocks import Wire


class InputText(Wire, tag_field="type", tag="input_text"):
    text: str


class InputOutputText(Wire, tag_field="type", tag="output_text"):
    """A text of the assistant that the client sends back."""

    text: str


@final
class InputImage(Wire, tag_field="type", tag="input_image"):
    image_url: str
    file_id: None = None


PlainContent = str | list[InputText | InputOutputText | InputImage]


class PlainMessage(Wire, tag_field="type", tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: PlainContent


class PlainCall(Wire, tag_field="type", tag="function_call"):
    type: ClassVar[str] = "function_call"
    call_id: Annotated[str, Meta(min_length=1)]
    name: str
    arguments: str
    namespace: str | None = None


class PlainOutput(Wire, tag_field="type", tag="function_call_output"):
    type: ClassVar[str] = "function_call_output"
    call_id: Annotated[str, Meta(min_length=1)]
    output: PlainContent


class PlainReasoning(Wire, tag_field="type", tag="reasoning"):
    summary: Any = None
    encrypted_content: Any = None


PlainItem = PlainMessage | PlainCall | PlainOutput | PlainReasoning


class Item(Struct, gc=False):
    """An item of the input, leniently decoded: none may break a turn."""

    type: str | None = None
    role: str | None = None
    content: Any = None
    id: Any = None
    call_id: Any = None
    name: Any = None
    namespace: Any = None
    arguments: Any = None
    input: Any = None
    output: Any = None
    summary: Any = None
    encrypted_content: Any = None
    tools: Any = None
    action: Any = None
    operation: Any = None
    status: Any = None


class ResponsesBody(Struct, kw_only=True, gc=False):
    """The fields of `POST /v1/responses` that Byway reads."""

    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    input: str | list[Item] | None = None
    instructions: Any = None
    stream: bool | None = None
    tools: Raw = Raw()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    reasoning: Any = None
    text: Any = None
    include: Any = None
    store: bool | None = None
    metadata: Any = None
    client_metadata: Raw = Raw()
    prompt_cache_key: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None

    @property
    def items(self) -> Sequence[Item]:
        """The items whose types are not known before; none of a PlainBody."""
        return self.input if isinstance(self.input, list) else []

    @property
    def compacts(self) -> bool:
        """The client wants a summary of the conversation as the only item."""
        return bool(self.items) and self.items[-1].type == "compaction_trigger"

    @property
    def has_references(self) -> bool:
        """An item refers to one of a stored response, or to a file of Byway."""
        for item in self.items:
            if item.type == "item_reference":
                return True
            for parts in (item.content, item.output):
                if type(parts) is list:
                    for part in parts:
                        if type(part) is dict and "file_id" in part:
                            return True
        return False


class PlainBody(ResponsesBody, kw_only=True, gc=False):
    """A request whose input is a text, or has only plain items."""

    input: str | list[PlainItem] | None = None  # type: ignore[assignment]
    items: ClassVar[Sequence[Item]] = ()
    compacts: ClassVar[bool] = False
    has_references: ClassVar[bool] = False


#: The parts of a content that are texts.
TEXT_PARTS: Final = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")
_plain: Final = msgspec.json.Decoder(PlainBody)
_any: Final = msgspec.json.Decoder(ResponsesBody)
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(data: bytes) -> ResponsesBody:
    """Decode a Responses request. Raises Problem `invalid_request`."""
    try:
        try:
            return _plain.decode(data)
        except msgspec.ValidationError:
            return _any.decode(data)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None


def raw_fields(data: bytes) -> dict[str, Raw]:
    """The fields of a Responses request. Raises Problem `invalid_request`, for names that are no text too."""
    try:
        return _fields(data)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None


def plain_text(content: PlainContent, between: str) -> str:
    """The text of a content of known types."""
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return "" if type(part := content[0]) is InputImage else part.text
    return between.join([part.text for part in content if type(part) is not InputImage])


def any_text(content: Any, between: str) -> str:
    """The text of a content."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    if len(content) == 1 and type(part := content[0]) is dict and part.get("type") == "output_text":
        return text if isinstance(text := part.get("text"), str) else ""
    texts = []
    for part in content:
        if isinstance(part, dict) and part.get("type") in TEXT_PARTS:
            text = part.get("refusal") if part["type"] == "refusal" else part.get("text")
            if isinstance(text, str):
                texts.append(text)
    return texts[0] if len(texts) == 1 else between.join(texts)
