"""Converts the conversation to chat messages and their order. `content` converts one block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from byway.backends.openai.content import (
    BlockRefused,
    ContentPart,
    block_parts,
    content_parts,
    raw_bytes,
    without_vision,
)
from byway.backends.openai.toolids import BackendIds
from byway.backends.openai.tools import wire_name
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.messages import claudecode, signature
from byway.messages.blocks import Block, Document, Text, Thinking, ToolResult, ToolUse, Wire
from byway.messages.reasoning import Reasoning, unpack
from byway.messages.request import Request, Turn
from byway.problems import Problem

ReasoningField = Literal["", "reasoning", "reasoning_content"]


class _CalledFunction(Wire):
    name: str
    arguments: str


class ChatToolCall(Wire):
    """One tool call of an assistant message."""

    id: str
    function: _CalledFunction
    type: str = "function"
    extra_content: Any = UNSET


class ChatMessage(Wire):
    """One message of a chat request."""

    role: str
    content: str | list[ContentPart] | UnsetType | None = UNSET
    tool_calls: list[ChatToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: list[Any] | UnsetType = UNSET


_NO_RESULT: Final = "(no result: the call was interrupted)"


def chat_messages(request: Request, target: Target) -> list[ChatMessage]:
    """Convert the conversation; raises Problem with the path of a block that cannot be sent.

    Everything between two assistant turns is one group: first the results of the tool calls before it, because servers
    refuse a call without a result directly after it; then one user message, because many templates require alternating
    roles. The messages of a group depend on the group and on what precedes it, never on later turns.
    """
    messages: list[ChatMessage] = []
    system, turns = claudecode.opening(request)
    group: list[Turn] = []
    assistant: list[Block] = []
    ids = BackendIds(target)
    try:
        for turn in turns:
            if turn.role == "assistant":
                if group:
                    _add_group(messages, group, target, system, ids)
                    group = []
                assistant += turn.blocks
            else:
                if assistant:
                    messages.append(_assistant(assistant, target, ids))
                    assistant = []
                group.append(turn)
        if group:
            _add_group(messages, group, target, system, ids)
        if assistant:
            messages.append(_assistant(assistant, target, ids))
    except BlockRefused as refused:
        path = ".".join(filter(None, (_path(request.turns, refused.block), refused.field)))
        raise Problem("invalid_request", f"{path}: {refused.reason}") from None
    text = "\n\n".join(filter(None, system))
    return [ChatMessage("system", text), *messages] if text else messages


def prefill(messages: Sequence[ChatMessage], vendor: Vendor) -> dict[str, Any]:
    """Return the fields that make the server continue an assistant message at the end; none without such a message."""
    if vendor.prefill and messages and messages[-1].role == "assistant" and messages[-1].tool_calls is UNSET:
        return {"add_generation_prompt": False, "continue_final_message": True}
    return {}


def _add_group(
    messages: list[ChatMessage], group: Sequence[Turn], target: Target, system: list[str], ids: BackendIds
) -> None:
    """Add the messages for the turns between two assistant turns. System turns before any other turn go to `system`."""
    unanswered: dict[str, None] = {}
    calls = messages[-1].tool_calls if messages else UNSET
    if not isinstance(calls, UnsetType):
        for call in calls:
            unanswered[call.id] = None
    parts: list[str | ContentPart] = []
    for turn in group:
        if turn.role == "system":
            texts = _texts(turn.blocks, target)
            if messages or parts:
                parts += [claudecode.reminder(text) for text in texts]
            else:
                system += texts
            continue
        if isinstance(turn.content, str):
            if turn.content:
                parts.append(turn.content)
            continue
        for block in turn.content:
            if type(block) is Text:
                if block.text:
                    parts.append(block.text)
            elif type(block) is not ToolResult:
                parts += block_parts(block, target)
            else:
                text, media = _tool_result(block, target)
                id = ids.result(block.tool_use_id)
                if id in unanswered:
                    del unanswered[id]
                    messages.append(ChatMessage("tool", text, tool_call_id=id))
                else:
                    parts.append(f"Result of the tool call {id}:\n{text}")
                if media:
                    what = "Files" if any(part.file for part in media) else "Images"
                    parts += [f"{what} in the result of {id}:", *media]
    if unanswered:
        messages += [ChatMessage("tool", _NO_RESULT, tool_call_id=id) for id in unanswered]
    if parts:
        messages.append(_user(parts))


def _user(parts: list[str | ContentPart]) -> ChatMessage:
    try:
        return ChatMessage("user", "\n\n".join(parts))  # type: ignore[arg-type]
    except TypeError:
        # There are images or files too.
        return ChatMessage("user", [ContentPart("text", part) if isinstance(part, str) else part for part in parts])


def _tool_result(block: ToolResult, target: Target) -> tuple[str, list[ContentPart]]:
    """The text of a tool result, and its images and files: the role `tool` accepts only text."""
    media: list[ContentPart] = []
    if isinstance(block.content, str):
        text = block.content
    else:
        parts = content_parts(block.content or [], target)
        text = "\n\n".join([part for part in parts if isinstance(part, str)])
        media = [part for part in parts if not isinstance(part, str)]
    if block.is_error and not text.startswith(("Error", "<tool_use_error>")):
        text = f"Error: {text}" if text else "Error"
    if not text:
        text = "(see below)" if media else "(no output)"
    return text, media


def _texts(blocks: Sequence[Block], target: Target) -> list[str]:
    """The blocks as texts only."""
    if all([type(block) is Text for block in blocks]):
        return [block.text for block in blocks if type(block) is Text and block.text]
    return [part for part in content_parts(blocks, without_vision(target)) if isinstance(part, str)]


def _assistant(blocks: list[Block], target: Target, ids: BackendIds) -> ChatMessage:
    """One assistant message. Thinking goes back only to a server that wants it."""
    paragraphs: list[str] = []
    thoughts: list[str] = []
    calls: list[ChatToolCall] = []
    field = target.vendor.reasoning_field
    details: list[Any] = []
    extra: Any = UNSET
    pieces: list[str] = []
    ids.begin_message()
    for block in blocks:
        if type(block) is Text:
            # Citations cut one text into several blocks.
            if block.text:
                pieces.append(block.text)
            continue
        if pieces:
            paragraphs.append("".join(pieces))
            pieces = []
        if type(block) is ToolUse:
            arguments = raw_bytes(block, "input", block.input).decode() or "{}"
            name = wire_name(block.name)
            calls.append(ChatToolCall(ids.call(block.id, name), _CalledFunction(name, arguments), extra_content=extra))
            extra = UNSET
        elif type(block) is not Thinking:
            paragraphs += _texts([block], target)
        elif _may_return(block, target):
            reasoning = unpack(signature.payload(block.signature))
            if reasoning is not None:
                field = field or _shown_field(reasoning)
                details += reasoning.details
                extra = UNSET if reasoning.extra is None else reasoning.extra
            if field and block.thinking:
                thoughts.append(block.thinking)
    if pieces:
        paragraphs.append("".join(pieces))
    text = "\n\n".join(paragraphs)
    message = ChatMessage("assistant", text or (None if calls else ""), calls or UNSET)
    if details:
        message.reasoning_details = details
    elif field and (thoughts or (calls and target.vendor.reasoning_required)):
        setattr(message, field, "\n\n".join(thoughts))
    return message


def _shown_field(reasoning: Reasoning) -> ReasoningField:
    """The field in which the backend has sent its thinking."""
    return "reasoning_content" if reasoning.field == "reasoning_content" else "reasoning" if reasoning.field else ""


def _may_return(block: Thinking, target: Target) -> bool:
    """Return whether the thinking may go back: not when Byway signed it for another backend, or its text was changed."""
    return not signature.ours(block.signature) or signature.holds(block.thinking, block.signature, target.key)


def _path(turns: list[Turn], wanted: Block) -> str:
    """The path of a block in the request, for an error."""

    def search(blocks: Any, path: str) -> str:
        for at, block in enumerate(blocks if isinstance(blocks, list) else ()):
            here = f"{path}.{at}"
            inner = block.content if isinstance(block, ToolResult) else None
            inner_path = f"{here}.content"
            if isinstance(block, Document):
                inner = getattr(block.source, "content", None)
                inner_path = f"{here}.source.content"
            result = here if block is wanted else search(inner, inner_path)
            if result:
                return result
        return ""

    paths = (search(turn.content, f"messages.{at}.content") for at, turn in enumerate(turns))
    return next(filter(None, paths), "messages")
