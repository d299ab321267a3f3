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
from byway.backends.openai.toolids import CARRIER, BackendIds, carried, is_made
from byway.backends.openai.tools import wire_name
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.messages import claudecode, signature
from byway.messages.blocks import Block, Document, Text, Thinking, ToolResult, ToolUse, Wire
from byway.messages.reasoning import Reasoning, unpack
from byway.messages.request import Request, Turn
from byway.messages.systemtext import system_text
from byway.problems import Problem

ReasoningField = Literal["", "reasoning", "reasoning_content"]
Missing = Literal["", "blank", "off", "sentinel", "text"]


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
    name: str | UnsetType = UNSET
    """The tool of a result, for the vendors that require it."""
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: list[Any] | UnsetType = UNSET


#: What follows the result of a call that was only repeated. With it the model answers.
_REMINDER: Final = (
    "Above is the result of {names}, which was called with the same input before. Answer the request with it."
)
#: The last messages among which a repeated call is looked for.
_LOOK_BACK: Final = 8
NO_RESULT: Final = "(no result: the call was interrupted)"
#: Separates the result of a tool from images, where no user message may follow it directly.
_BRIDGE: Final = "I have the result."
#: What Gemini accepts instead of a thought signature: https://ai.google.dev/gemini-api/docs/thought-signatures (seen 2026-11-20).
_SENTINEL: Final = {"google": {"thought_signature": "skip_thought_signature_validator"}}


def chat_messages(request: Request, target: Target, missing: Missing = "") -> list[ChatMessage]:
    """Convert the conversation; raises Problem with the path of a block that cannot be sent.

    Everything between two assistant turns is one group: first the results of the tool calls before it, because servers
    refuse a call without a result directly after it; then one user message, because many templates require alternating
    roles. The messages of a group depend on the group and on what precedes it, never on later turns. `missing`: what to do about
    a tool call without its reasoning, as the model's rule has it.
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
                assistant += [Text(turn.content)] if isinstance(turn.content, str) else turn.content
            else:
                if assistant:
                    _add_assistant(messages, assistant, target, ids, missing)
                    assistant = []
                group.append(turn)
        if group:
            _add_group(messages, group, target, system, ids)
        if assistant:
            _add_assistant(messages, assistant, target, ids, missing)
    except BlockRefused as refused:
        path = ".".join(filter(None, (block_path(request.turns, refused.block), refused.field)))
        raise Problem("invalid_request", f"{path}: {refused.reason}") from None
    if missing != "text":
        request.content.call_ids = ids.sent
    text = system_text(system)
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
    vendor = target.vendor
    unanswered: dict[str, str] = {}
    calls = messages[-1].tool_calls if messages else UNSET
    if calls is not UNSET:
        for call in calls:
            unanswered[call.id] = call.function.name
    parts: list[str | ContentPart] = []
    for turn in group:
        if turn.role == "system":
            texts = texts_of(turn.blocks, target)
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
                    name = unanswered.pop(id)
                    messages.append(
                        ChatMessage("tool", text, tool_call_id=id, name=name if vendor.tool_name_back else UNSET)
                    )
                else:
                    parts.append(f"Result of the tool call {id}:\n{text}")
                if media:
                    what = "Files" if any(part.file for part in media) else "Images"
                    parts += [f"{what} in the result of {id}:", *media]
    if unanswered:
        for id, name in unanswered.items():
            missing = ChatMessage("tool", NO_RESULT, tool_call_id=id, name=name if vendor.tool_name_back else UNSET)
            messages.append(missing)
    if not parts and calls is not UNSET and (names := _repeated(messages, calls)):
        parts.append(_REMINDER.format(names=names))
    if parts:
        _add_user(messages, parts, vendor)


def _repeated(messages: Sequence[ChatMessage], calls: Sequence[ChatToolCall]) -> str:
    """The names of `calls` when the model wrote them as text and they are those of its message before; else empty.

    Small models repeat a call with its result in view, and then answer nothing (Qwen2.5-Coder-1.5B, seen 2026-11-29).
    """
    if not is_made(calls[0].id) or not all(is_made(call.id) for call in calls[1:]):
        return ""
    turns = [message for message in messages[-_LOOK_BACK:] if message.role == "assistant"][-2:]
    if len(turns) < 2 or isinstance(turns[0].tool_calls, UnsetType):
        return ""
    before, now = ([call.function for call in turn] for turn in (turns[0].tool_calls, calls))
    return " and ".join(dict.fromkeys(call.name for call in now)) if before == now else ""


def _add_user(messages: list[ChatMessage], parts: list[str | ContentPart], vendor: Vendor) -> None:
    """Add a user message of `parts`. It joins the one before it, and the result of a tool where nothing may follow that."""
    if messages:
        last = messages[-1]
        if last.role == "user":
            # Nothing was left of the turn between the two.
            before = last.content
            parts = [*([before] if isinstance(before, str) else before or []), *parts]
            messages[-1] = _user(parts)
            return
        if last.role == "tool" and not vendor.user_after_tool:
            if isinstance(last.content, str) and all(isinstance(part, str) for part in parts):
                last.content = "\n\n".join([last.content, *[part for part in parts if isinstance(part, str)]])
                return
            messages.append(ChatMessage("assistant", _BRIDGE))
    messages.append(_user(parts))


def add_instruction(messages: list[ChatMessage], instruction: str, vendor: Vendor) -> None:
    """Add `instruction` to the end of the last user message."""
    _add_user(messages, [instruction], vendor)


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


def texts_of(blocks: Sequence[Block], target: Target) -> list[str]:
    """The blocks as texts only."""
    if all([type(block) is Text for block in blocks]):
        return [block.text for block in blocks if type(block) is Text and block.text]
    return [part for part in content_parts(blocks, without_vision(target)) if isinstance(part, str)]


def _add_assistant(
    messages: list[ChatMessage], blocks: list[Block], target: Target, ids: BackendIds, missing: Missing
) -> None:
    """Add one assistant message. Thinking goes back only to a server that wants it.

    A turn without text and calls is left out, because servers refuse an empty message: it was interrupted while it thought.
    """
    paragraphs: list[str] = []
    thoughts: list[str] = []
    calls: list[ChatToolCall] = []
    vendor = target.vendor
    field = vendor.reasoning_field
    details: list[Any] = []
    extra: Any = UNSET
    pieces: list[str] = []
    ids.in_message.clear()
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
            if block.id.startswith(CARRIER) and extra is UNSET and not details:
                reasoning = carried(block.id, target.key)
                if reasoning is not None:
                    # The thinking block that has it too was not kept.
                    details += reasoning.details
                    extra = UNSET if reasoning.extra is None else reasoning.extra
            if missing == "text" and not details:
                paragraphs.append(f"[{name}]\n{arguments}")
                continue
            calls.append(ChatToolCall(ids.call(block.id, name), _CalledFunction(name, arguments), extra_content=extra))
            extra = UNSET
        elif type(block) is not Thinking:
            paragraphs += texts_of([block], target)
        elif _may_return(block, target, missing):
            reasoning = unpack(signature.payload(block.signature))
            if reasoning is not None:
                field = field or _shown_field(reasoning)
                details += reasoning.details
                extra = UNSET if reasoning.extra is None else reasoning.extra
            if field and block.thinking:
                thoughts.append(block.thinking)
    if pieces:
        paragraphs.append("".join(pieces))
    if not paragraphs and not calls:
        return
    message = ChatMessage("assistant", "\n\n".join(paragraphs) or _NO_TEXT[vendor.call_content], calls or UNSET)
    if details:
        message.reasoning_details = details
    elif field and (thoughts or (calls and vendor.reasoning_required)):
        setattr(message, field, "\n\n".join(thoughts))
    elif missing == "blank" and calls and field:
        setattr(message, field, " ")
    if missing == "sentinel" and calls and calls[0].extra_content is UNSET:
        calls[0].extra_content = _SENTINEL
    messages.append(message)


#: The content of a message that only calls tools, by what its vendor accepts.
_NO_TEXT: Final[dict[str, Any]] = {"null": None, "empty": "", "absent": UNSET}


def lacks_reasoning(messages: Sequence[ChatMessage], vendor: Vendor) -> bool:
    """Return whether an assistant message lacks the reasoning without which the vendor refuses to think."""
    field = vendor.reasoning_field
    return any(message.role == "assistant" and not getattr(message, field) for message in messages)


def _shown_field(reasoning: Reasoning) -> ReasoningField:
    """The field in which the backend has sent its thinking."""
    return "reasoning_content" if reasoning.field == "reasoning_content" else "reasoning" if reasoning.field else ""


def _may_return(block: Thinking, target: Target, missing: Missing) -> bool:
    """Return whether the thinking may go back: not when Byway signed it for another backend, or its text was changed.

    A server that compares the text gets only its own.
    """
    if not signature.ours(block.signature):
        return missing != "off" or not block.signature
    return signature.holds(block.thinking, block.signature, target.key)


def block_path(turns: list[Turn], wanted: Block) -> str:
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
