"""Converts the conversation to the items of a Responses request, in an order that the server accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET

from byway.backends.openai.content import BlockRefused, ContentPart, block_parts, content_parts, raw_bytes
from byway.backends.openai.conversation import NO_RESULT, block_path, texts_of
from byway.backends.openai.toolids import BackendIds
from byway.backends.openai.tools import wire_name
from byway.backends.protocol import Target
from byway.messages import claudecode, signature
from byway.messages.blocks import Block, Document, Text, Thinking, ToolResult, ToolUse, UrlSource
from byway.messages.reasoning import Reasoning, unpack
from byway.messages.request import Request, Turn
from byway.messages.systemtext import system_text
from byway.problems import Problem
from byway.responseitems import (
    PARAGRAPH,
    ContentItem,
    FunctionCallItem,
    FunctionOutputItem,
    InputItem,
    MessageItem,
    ReasoningItem,
    ReasoningText,
)

_ERRORS: Final = ("Error", "<tool_use_error>")


def input_items(request: Request, target: Target) -> tuple[str, list[InputItem]]:
    """Return the instructions and the items; raises Problem with the path of a block that cannot be sent.

    The items of a turn depend on it and on what precedes it, never on later turns.
    """
    system, turns = claudecode.opening(request)
    conversation = _Conversation(target, system)
    try:
        for turn in turns:
            if turn.role == "assistant":
                conversation.end_group()
                conversation.assistant += turn.blocks
            else:
                conversation.end_assistant()
                conversation.group.append(turn)
        conversation.end_group()
        conversation.end_assistant()
    except BlockRefused as refused:
        path = ".".join(filter(None, (block_path(request.turns, refused.block), refused.field)))
        raise Problem("invalid_request", f"{path}: {refused.reason}") from None
    request.content.call_ids = conversation.ids.sent
    return system_text(system), conversation.items


class _Conversation:
    """The items so far, and the turns that are not converted yet."""

    __slots__ = ("_last_call", "_phases", "_system", "_target", "_unanswered", "assistant", "group", "ids", "items")

    def __init__(self, target: Target, system: list[str]) -> None:
        self._target = target
        self._system = system
        self.ids = BackendIds(target)
        self._unanswered: dict[str, None] = {}
        """The calls of the last assistant turn that have no output yet."""
        self._phases = False
        """The backend has sent the phase of a message."""
        self._last_call: int | None = None
        """The place of the last call of the assistant's turn; -1: none; None: not looked for yet."""
        self.items: list[InputItem] = []
        self.group: list[Turn] = []
        """The turns between two assistant turns."""
        self.assistant: list[Block] = []

    def end_group(self) -> None:
        """Add the outputs of the calls, then one user message with everything else. The server refuses a call without output.

        System turns before any other turn belong to the instructions. Later ones are messages of the developer.
        """
        if not self.group:
            return
        target = self._target
        parts: list[ContentItem] = []
        messages: list[InputItem] = []
        for turn in self.group:
            content = turn.content
            if turn.role == "system":
                texts = texts_of(turn.blocks, target)
                if self.items or messages or parts:
                    if parts:
                        messages.append(_message(parts))
                        parts = []
                    messages += [MessageItem("developer", text) for text in texts]
                else:
                    self._system += texts
            elif isinstance(content, str):
                if content:
                    parts.append(ContentItem("input_text", content))
            else:
                for block in content:
                    if type(block) is ToolResult:
                        self._add_output(block, parts)
                    elif type(block) is Text:
                        if block.text:
                            parts.append(ContentItem("input_text", block.text))
                    else:
                        parts += _content(block, target)
        if parts:
            messages.append(_message(parts))
        if self._unanswered:
            self.items += [FunctionOutputItem(id, NO_RESULT) for id in self._unanswered]
            self._unanswered = {}
        self.items += messages
        self.group = []

    def _add_output(self, block: ToolResult, parts: list[ContentItem]) -> None:
        """Add the output of a call; what answers no call of the last turn becomes a part of the user's message."""
        output = _output(block, self._target)
        id = self.ids.result(block.tool_use_id)
        if id in self._unanswered:
            del self._unanswered[id]
            self.items.append(FunctionOutputItem(id, output))
            return
        parts.append(_text(f"Result of the tool call {id}:"))
        parts += [_text(output)] if isinstance(output, str) else output

    def end_assistant(self) -> None:
        """Add the assistant's turn: each reasoning item directly before the item that it has led to."""
        blocks = self.assistant
        if not blocks:
            return
        items: list[InputItem] = []
        pieces: list[str] = []
        phase = ""
        self.ids.in_message.clear()
        self._last_call = None
        for at, block in enumerate(blocks):
            if type(block) is Text:
                # Citations cut one text into several blocks.
                pieces.append(block.text)
                if at + 1 == len(blocks) or type(blocks[at + 1]) is not Text:
                    if text := "".join(pieces):
                        items.append(MessageItem("assistant", text, self._phase(phase, blocks, at) or UNSET))
                    pieces, phase = [], ""
            elif type(block) is ToolUse:
                arguments = raw_bytes(block, "input", block.input).decode() or "{}"
                name = wire_name(block.name)
                id = self.ids.call(block.id, name)
                self._unanswered[id] = None
                items.append(FunctionCallItem(id, name, arguments))
            elif type(block) is Thinking:
                reasoning = returned(block, self._target)
                if reasoning is not None:
                    phase = reasoning.phase
                    self._phases = self._phases or bool(phase)
                    if (item := reasoning_item(reasoning, block.thinking)) is not None:
                        items.append(item)
            else:
                items += [MessageItem("assistant", text) for text in texts_of([block], self._target)]
        while items and type(items[-1]) is ReasoningItem:
            # "Item of type 'reasoning' was provided without its required following item."
            items.pop()
        self.items += items
        self.assistant = []

    def _phase(self, phase: str, blocks: list[Block], at: int) -> str:
        """The phase of a message. Where it was not carried, it follows from what comes after the block at `at`."""
        if phase or not self._phases:
            return phase
        if self._last_call is None:
            calls = [at for at, block in enumerate(blocks) if type(block) is ToolUse]
            self._last_call = calls[-1] if calls else -1
        return "commentary" if at < self._last_call else "final_answer"


def returned(block: Thinking, target: Target) -> Reasoning | None:
    """What a thinking block carries for this backend. Thinking of any other origin is never sent as reasoning."""
    payload = signature.payload(block.signature)
    if not payload or not signature.holds(block.thinking, block.signature, target.key):
        return None
    return unpack(payload)


def reasoning_item(reasoning: Reasoning, thinking: str) -> ReasoningItem | None:
    """The item as the backend has sent it; None when it cannot go back.

    A server that stores nothing knows no id without encrypted content: "Item with id 'rs_...' not found." Servers of open
    models send their reasoning as readable `content` instead.
    """
    item = reasoning.item
    if not isinstance(item, dict):
        return None
    encrypted, id = item.get("encrypted_content"), item.get("id")
    summary = _texts(item.get("summary"), thinking, "summary_text")
    content = _texts(item.get("content"), thinking, "reasoning_text")
    if isinstance(encrypted, str) and encrypted:
        return ReasoningItem(summary, id if isinstance(id, str) else UNSET, encrypted, content or UNSET)
    return ReasoningItem(summary, content=content) if content else None


def _texts(carried: Any, thinking: str, kind: str) -> list[ReasoningText]:
    """The texts of `summary` or `content`: carried as they are, or as the lengths of the parts of the block's text."""
    if not isinstance(carried, list):
        return []
    texts: list[ReasoningText] = []
    start = 0
    for part in carried:
        if isinstance(part, str):
            texts.append(ReasoningText(kind, part))
        elif isinstance(part, int):
            texts.append(ReasoningText(kind, thinking[start : start + part]))
            start += part + len(PARAGRAPH)
    return texts


def _output(block: ToolResult, target: Target) -> str | list[ContentItem]:
    """The output of a call: a text, or a list when it has images or files."""
    if isinstance(block.content, str):
        text = block.content
    else:
        parts = content_parts(block.content or [], target)
        if not all([isinstance(part, str) for part in parts]):
            items = [_item(part) for part in parts]
            return [_text("Error:"), *items] if block.is_error else items
        text = PARAGRAPH.join([part for part in parts if isinstance(part, str)])
    if block.is_error and not text.startswith(_ERRORS):
        text = f"Error: {text}" if text else "Error"
    return text or "(no output)"


def _content(block: Block, target: Target) -> Sequence[ContentItem]:
    """The parts of a block that is neither text nor a result."""
    if type(block) is Document and type(block.source) is UrlSource and target.vendor.responses_extras:
        file = ContentItem("input_file", file_url=block.source.url)
        return (_text(block.context), file) if block.context else (file,)
    return [_item(part) for part in block_parts(block, target)]


def _text(text: str) -> ContentItem:
    return ContentItem("input_text", text)


def _item(part: str | ContentPart) -> ContentItem:
    """A part of a chat message as a part of an item."""
    if isinstance(part, str):
        return _text(part)
    if part.image_url is not None:
        return ContentItem("input_image", image_url=part.image_url["url"], detail="auto")
    if part.file is not None:
        return ContentItem("input_file", filename=part.file["filename"], file_data=part.file["file_data"])
    return _text(part.text or "")


def _message(parts: list[ContentItem]) -> MessageItem:
    """A user message: a plain text where it has nothing else."""
    if len(parts) == 1 and parts[0].type == "input_text":
        return MessageItem("user", parts[0].text or "")
    if all([part.type == "input_text" for part in parts]):
        return MessageItem("user", PARAGRAPH.join([part.text or "" for part in parts]))
    return MessageItem("user", parts)
