"""The conversation in chat form: which message says what, in which order. What one block says is `content`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType

from byway.backends.openai.content import (
    BlockRefused,
    ContentPart,
    block_parts,
    content_parts,
    raw_bytes,
    without_vision,
)
from byway.backends.openai.tools import wire_name
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.messages import claudecode, signature
from byway.messages.blocks import Block, Document, Text, Thinking, ToolResult, ToolUse, Wire
from byway.messages.request import Request, Turn
from byway.problems import Problem


class _Function(Wire):
    name: str
    arguments: str


class _CallOut(Wire):
    id: str
    function: _Function
    type: str = "function"


class ChatMessage(Wire):
    """One message."""

    role: str
    content: str | list[ContentPart] | UnsetType | None = UNSET
    tool_calls: list[_CallOut] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


_NO_RESULT: Final = "(no result: the call was interrupted)"


def chat_messages(request: Request, target: Target) -> list[ChatMessage]:
    """The conversation in chat form; raises Problem with the path of a block that cannot be passed on.

    All that stands between two assistant turns is one group: first the results of the calls before it, since servers
    refuse a call without one right behind it; then one user message, since many templates want turns to alternate. A
    group's messages depend on it and what stands before it, never on what comes later.
    """
    out: list[ChatMessage] = []
    system, turns = claudecode.opening(request)
    heard: list[Turn] = []
    spoken: list[Block] = []
    try:
        for turn in turns:
            if turn.role == "assistant":
                if heard:
                    _hear(out, heard, target, system)
                    heard = []
                spoken += turn.blocks
            else:
                if spoken:
                    out.append(_assistant(spoken, target))
                    spoken = []
                heard.append(turn)
        if heard:
            _hear(out, heard, target, system)
        if spoken:
            out.append(_assistant(spoken, target))
    except BlockRefused as refused:
        place = ".".join(filter(None, (_place(request.turns, refused.block), refused.field)))
        raise Problem("invalid_request", f"{place}: {refused.why}") from None
    text = "\n\n".join(filter(None, system))
    return [ChatMessage("system", text), *out] if text else out


def prefill(messages: Sequence[ChatMessage], vendor: Vendor) -> dict[str, Any]:
    """The fields beside the messages that have the server go on with an assistant message at the end; none without one."""
    if vendor.prefill and messages and messages[-1].role == "assistant" and messages[-1].tool_calls is UNSET:
        return {"add_generation_prompt": False, "continue_final_message": True}
    return {}


def _hear(out: list[ChatMessage], group: Sequence[Turn], target: Target, system: list[str]) -> None:
    """Add the messages for the turns after an assistant's, up to the next one. At the very start there is none: what the
    system says before anybody else is added to `system`."""
    waiting: dict[str, None] = {}
    made = out[-1].tool_calls if out else UNSET
    if not isinstance(made, UnsetType):
        for call in made:
            waiting[call.id] = None
    said: list[str | ContentPart] = []
    for turn in group:
        if turn.role == "system":
            texts = _words(turn.blocks, target)
            if out or said:
                said += [claudecode.reminder(text) for text in texts]
            else:
                system += texts
            continue
        if isinstance(turn.content, str):
            if turn.content:
                said.append(turn.content)
            continue
        for block in turn.content:
            if type(block) is Text:
                if block.text:
                    said.append(block.text)
            elif type(block) is not ToolResult:
                said += block_parts(block, target)
            else:
                text, shown = _result(block, target)
                if block.tool_use_id in waiting:
                    del waiting[block.tool_use_id]
                    out.append(ChatMessage("tool", text, tool_call_id=block.tool_use_id))
                else:
                    said.append(f"Result of the tool call {block.tool_use_id}:\n{text}")
                if shown:
                    what = "Files" if any(part.file for part in shown) else "Images"
                    said += [f"{what} in the result of {block.tool_use_id}:", *shown]
    if waiting:
        out += [ChatMessage("tool", _NO_RESULT, tool_call_id=id) for id in waiting]
    if said:
        out.append(_user(said))


def _user(said: list[str | ContentPart]) -> ChatMessage:
    try:
        return ChatMessage("user", "\n\n".join(said))  # type: ignore[arg-type]
    except TypeError:
        # Not all of it is text.
        return ChatMessage("user", [ContentPart("text", one) if isinstance(one, str) else one for one in said])


def _result(block: ToolResult, target: Target) -> tuple[str, list[ContentPart]]:
    """A tool result's text, and its images and files: the `tool` role takes text alone."""
    shown: list[ContentPart] = []
    if isinstance(block.content, str):
        text = block.content
    else:
        said = content_parts(block.content or [], target)
        text = "\n\n".join([one for one in said if isinstance(one, str)])
        shown = [one for one in said if not isinstance(one, str)]
    if block.is_error and not text.startswith(("Error", "<tool_use_error>")):
        text = f"Error: {text}" if text else "Error"
    if not text:
        text = "(see below)" if shown else "(no output)"
    return text, shown


def _words(blocks: Sequence[Block], target: Target) -> list[str]:
    """What blocks say, in words alone."""
    if all([type(block) is Text for block in blocks]):
        return [block.text for block in blocks if type(block) is Text and block.text]
    return [one for one in content_parts(blocks, without_vision(target)) if isinstance(one, str)]


def _assistant(blocks: list[Block], target: Target) -> ChatMessage:
    """One assistant message. Thinking is the model's own and over: it goes back only where the server wants it."""
    paragraphs: list[str] = []
    thoughts: list[str] = []
    calls: list[_CallOut] = []
    field = target.vendor.reasoning_field
    running = False
    for block in blocks:
        if type(block) is Text:
            # Citations cut a text into several blocks.
            if running:
                paragraphs[-1] += block.text
            elif block.text:
                paragraphs.append(block.text)
                running = True
            continue
        running = False
        if type(block) is ToolUse:
            arguments = raw_bytes(block, "input", block.input).decode() or "{}"
            calls.append(_CallOut(block.id, _Function(wire_name(block.name), arguments)))
        elif type(block) is not Thinking:
            paragraphs += _words([block], target)
        elif field and _own(block):
            thoughts.append(block.thinking)
    text = "\n\n".join(paragraphs)
    message = ChatMessage("assistant", text or (None if calls else ""), calls or UNSET)
    if field and (thoughts or (calls and target.vendor.reasoning_required)):
        setattr(message, field, "\n\n".join(thoughts))
    return message


def _own(block: Thinking) -> bool:
    """May this be passed back as the model's own thinking? Not when Byway signed it and its words were changed."""
    return bool(block.thinking) and (
        not signature.ours(block.signature) or signature.holds(block.thinking, block.signature)
    )


def _place(turns: list[Turn], wanted: Block) -> str:
    """The path of a block in the request."""

    def search(blocks: Any, path: str) -> str:
        for at, block in enumerate(blocks if isinstance(blocks, list) else ()):
            here = f"{path}.{at}"
            inner = block.content if isinstance(block, ToolResult) else None
            if isinstance(block, Document):
                inner = getattr(block.source, "content", None)
                inner_path = f"{here}.source.content"
            else:
                inner_path = f"{here}.content"
            found = here if block is wanted else search(inner, inner_path)
            if found:
                return found
        return ""

    paths = (search(turn.content, f"messages.{at}.content") for at, turn in enumerate(turns))
    return next(filter(None, paths), "messages")
