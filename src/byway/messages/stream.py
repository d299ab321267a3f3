"""Writer keeps an event stream grammatical whatever a backend sends; fold makes the one answer of a stream. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from byway.messages.blocks import Text
from byway.messages.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Event,
    Frame,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    SignatureDelta,
    Started,
    Stop,
    TextDelta,
    ThinkingDelta,
    ThinkingStart,
    ToolStart,
    Usage,
)
from byway.messages.signature import Signer
from byway.messages.sse import Decoder
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode


class Writer:
    """Builds the events of one answer: start first, one open block at a time, indices in order, stop last.

    Every method appends to `events`; `take` hands them over. Nothing is written for empty text, and no block for white
    space alone (the official API refuses such a block when it comes back): it waits for what it stands before. A block
    of thinking ends with its signature.
    """

    __slots__ = ("_blank", "_index", "_open", "_signer", "_start", "events", "started")

    def __init__(self, id: str, model: str, usage: Usage) -> None:
        self.events: list[Event] = []
        self.started = False
        self._start = MessageStart(Started(id, model, usage))
        self._index = -1
        self._open = self._blank = ""
        """`_blank`: white space that waits for what it stands before."""
        self._signer: Signer | None = None

    def take(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def expect(self, usage: Usage) -> None:
        """What `message_start` is to say of the tokens, unless it has gone out."""
        self._start.message.usage = usage

    def start(self) -> None:
        if not self.started:
            self.started = True
            self.events.append(self._start)

    def _begin(self, kind: str, block: Text | ToolStart | ThinkingStart) -> None:
        if not self.started:
            self.start()
        if self._open:
            self.end()
        self._blank = ""
        self._index += 1
        self._open = kind
        self.events.append(BlockStart(self._index, block))

    def text(self, text: str) -> None:
        if text:
            if self._open != "text":
                text = self._blank + text
                if text.isspace():
                    self._blank = text
                    return
                self._begin("text", Text(""))
            self.events.append(BlockDelta(self._index, TextDelta(text)))

    def thinking(self, text: str) -> None:
        if text:
            if self._signer is None:
                if text.isspace():
                    return
                self._begin("thinking", ThinkingStart())
                self._signer = Signer()
            self._signer.add(text)
            self.events.append(BlockDelta(self._index, ThinkingDelta(text)))

    def tool(self, id: str, name: str) -> None:
        """Open the block of a tool call; its input follows as pieces of JSON."""
        self._begin("tool", ToolStart(id, name))

    def input(self, piece: str) -> None:
        if piece:
            self.events.append(BlockDelta(self._index, InputDelta(piece)))

    def end(self) -> None:
        """Close the open block, if there is one."""
        if self._open:
            if self._signer is not None:
                self.events.append(BlockDelta(self._index, SignatureDelta(self._signer.signature())))
                self._signer = None
            self._open = ""
            self.events.append(BlockStop(self._index))

    def finish(self, stop: Stop, usage: Usage) -> None:
        self.start()
        if self._open:
            self.end()
        self.events += (MessageDelta(stop, usage), MessageStop())


def fold(events: Iterable[Event]) -> bytes:
    """The answer as one JSON message, equal to what the same stream would build in a client.

    A Frame named "message" is that answer already. Raises Problem `broken` for events that do not make a message.
    """
    message: Started | None = None
    content: list[Text | ThinkingStart | ToolStart] = []
    pieces: list[list[str]] = []
    for event in events:
        if type(event) is BlockDelta:
            delta = event.delta
            if type(delta) is TextDelta:
                pieces[event.index].append(delta.text)
            elif type(delta) is InputDelta:
                pieces[event.index].append(delta.partial_json)
            elif type(delta) is ThinkingDelta:
                pieces[event.index].append(delta.thinking)
            elif type(delta) is SignatureDelta:
                content[event.index] = ThinkingStart("", delta.signature)
        elif type(event) is BlockStart:
            content.append(event.content_block)
            pieces.append([])
        elif type(event) is MessageStart:
            start = event.message
            message = Started(start.id, start.model, start.usage)
        elif type(event) is MessageDelta and message is not None:
            message.stop_reason = event.delta.stop_reason
            message.stop_sequence = event.delta.stop_sequence
            message.usage = event.usage
            message.safeguard_results = event.delta.safeguard_results
        elif type(event) is Frame:
            return event.data if event.name == "message" else _whole(_fold_frames, events)
    if message is None:
        raise Problem("broken", "The backend's answer has no beginning.")
    message.content = [_filled(block, "".join(said)) for block, said in zip(content, pieces, strict=True)]
    return _encode(message)


def _filled(block: Text | ThinkingStart | ToolStart, said: str) -> Text | ThinkingStart | ToolStart:
    """The block with all that its deltas said; the one that `block` came in is left as it is."""
    if type(block) is Text:
        return Text(block.text + said)
    if type(block) is ToolStart:
        return ToolStart(block.id, block.name, tool_input(said))
    return ThinkingStart(said, block.signature) if type(block) is ThinkingStart else block


_FIELD: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


T = TypeVar("T")
R = TypeVar("R")


def _whole(make: Callable[[T], R], given: T) -> R:
    """What `make` makes of an answer in another's words; raises Problem `broken` where those are not as they should be."""
    try:
        return make(given)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise Problem("broken", "The backend's answer is not a message of the Messages API.") from None


def _fold_frames(events: Iterable[Event]) -> bytes:
    """The same for the frames of an Anthropic backend, whose fields are more than Byway knows: all of them are kept."""
    message: dict[str, Any] = {}
    pieces: dict[int, list[str]] = {}
    decoder = Decoder()
    for _, data in decoder.feed(b"".join(event.data for event in events if isinstance(event, Frame))) + decoder.close():
        item = msgspec.json.decode(data)
        match item["type"]:
            case "message_start":
                message = item["message"]
            case "content_block_start":
                message["content"].append(item["content_block"])
            case "content_block_delta":
                block, delta = message["content"][item["index"]], item["delta"]
                match delta["type"]:
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "citations_delta":
                        if not block.get("citations"):
                            block["citations"] = []
                        block["citations"].append(delta["citation"])
                    case kind if kind in _FIELD:
                        pieces.setdefault(item["index"], []).append(delta[_FIELD[kind]])
            case "message_delta":
                message.update(item["delta"])
                message["usage"].update({name: count for name, count in item["usage"].items() if count is not None})
    if "content" not in message:
        raise Problem("broken", "The backend's answer has no beginning.")
    for index, said in pieces.items():
        block = message["content"][index]
        match block["type"]:
            case "text" | "thinking" as field:
                block[field] += "".join(said)
            case _:
                block["input"] = tool_input("".join(said))
    return _encode(message)


def tool_input(text: str) -> dict[str, Any]:
    """A tool call's input from its JSON text; what is no object is kept in the form that Claude Code itself gives it."""
    if not text.strip():
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"__unparsedToolInput": {"raw": text, "len": len(text)}}


def unfold(data: bytes) -> list[Event]:
    """The events of a whole Messages answer, for a client that asked for a stream and a backend that did not stream.

    Raises Problem `broken` for what is no such answer.
    """
    return _whole(_unfold, data)


def _unfold(data: bytes) -> list[Event]:
    message = msgspec.json.decode(data)
    content, usage = message.get("content") or [], message.get("usage") or {}
    events: list[Event] = []

    counted = Usage(**{name: usage.get(name) or 0 for name in Usage.__struct_fields__})

    def frame(name: str, **fields: Any) -> None:
        body = _encode({"type": name, **fields})
        ends = name == "message_delta"
        events.append(
            Frame(
                name,
                b"event: %b\ndata: %b\n\n" % (name.encode(), body),
                counted if ends else None,
                message.get("stop_reason") if ends else None,
            )
        )

    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    frame("message_start", message=opening)
    for index, block in enumerate(content):
        events += block_frames(index, block)
    stop = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    ended = msgspec.to_builtins(counted)
    if "server_tool_use" in usage:
        ended["server_tool_use"] = usage["server_tool_use"]
    frame("message_delta", delta=stop, usage=ended)
    frame("message_stop")
    return events


def block_frames(index: int, block: dict[str, Any]) -> list[Event]:
    """The events of a whole content block."""
    deltas: list[dict[str, Any]] = []
    match block.get("type"):
        case "text":
            deltas = [{"type": "text_delta", "text": block.get("text") or ""}]
            cited = block.get("citations") or []
            deltas += [{"type": "citations_delta", "citation": citation} for citation in cited]
            block = {**block, "text": ""}
            if cited:
                block["citations"] = []
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": block.get("thinking") or ""}]
            if block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            block = {**block, "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": _encode(block.get("input") or {}).decode()}]
            block = {**block, "input": {}}
    items = [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]
    return [
        Frame(str(item["type"]), b"event: %b\ndata: %b\n\n" % (str(item["type"]).encode(), _encode(item)))
        for item in items
    ]
