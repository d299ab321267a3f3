"""Builds and converts answers. Writer makes a valid event stream; fold makes a message of a stream, unfold a stream of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from byway.decoding import DECODE_ERRORS
from byway.messages.events import (
    TOKENS,
    BlockDelta,
    BlockStart,
    BlockStop,
    CitationsDelta,
    Event,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    MessageUsage,
    Part,
    Passthrough,
    ServerBlock,
    SignatureDelta,
    Started,
    Stop,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    ToolStart,
    Usage,
    WholeAnswer,
    message_usage,
)
from byway.messages.reasoning import Reasoning, pack
from byway.messages.signature import Signer
from byway.messages.sse import Decoder
from byway.messages.textanswer import text_answer
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_NO_MESSAGE: Final = "The backend's answer is not a message of the Messages API."
_Delta = TextDelta | InputDelta | CitationsDelta


class Writer:
    """Builds the events of one answer: start first, one open block at a time, indices in order, stop last.

    Every method appends to `events`; `take` returns them. Empty text writes nothing. White space alone opens no text
    block, because the official API rejects such a block in the next request: it is kept until other text follows. A
    block of thinking ends with its signature.
    """

    __slots__ = (
        "_blanks",
        "_id",
        "_index",
        "_model",
        "_open",
        "_reasoning",
        "_signer",
        "_usage",
        "events",
        "key",
        "started",
    )

    def __init__(self, id: str, model: str, usage: MessageUsage, key: bytes = b"") -> None:
        """`usage` is that of `message_start`. `key` signs thinking, for one backend."""
        self.key = key
        self._reasoning: Reasoning | None = None
        """What the next signature carries."""
        self.events: list[Event] = []
        self.started = False
        self._id = id
        self._model = model
        self._usage = usage
        self._index = -1
        self._open = ""
        """The kind of the open block; empty when none is open."""
        self._blanks: list[str] = []
        """White space before a text block that is not open yet."""
        self._signer: Signer | None = None

    def take(self) -> list[Event]:
        """Return the events written since the last call."""
        events, self.events = self.events, []
        return events

    def expect(self, usage: MessageUsage) -> None:
        """Set the usage of `message_start`; no effect after it was written."""
        self._usage = usage

    def start(self) -> None:
        if not self.started:
            self.started = True
            self.events.append(MessageStart(Started(self._id, self._model, self._usage)))

    def _begin(self, kind: str, block: TextStart | ToolStart | ThinkingStart) -> None:
        if not self.started:
            self.start()
        if self._open:
            self.end()
        self._blanks.clear()
        self._index += 1
        self._open = kind
        self.events.append(BlockStart(self._index, block))

    def text(self, text: str) -> None:
        if text:
            if self._open != "text":
                if text.isspace():
                    self._blanks.append(text)
                    return
                if self._blanks:
                    text = "".join([*self._blanks, text])
                self._begin("text", TextStart())
            self.events.append(BlockDelta(self._index, TextDelta(text)))

    def thinking(self, text: str) -> None:
        if text:
            if self._signer is None:
                if text.isspace():
                    return
                self._begin("thinking", ThinkingStart())
                self._signer = Signer(self.key)
            self._signer.add(text)
            self.events.append(BlockDelta(self._index, ThinkingDelta(text)))

    @property
    def reasoning(self) -> Reasoning:
        """What the signature of the next thinking block carries for the backend."""
        if self._reasoning is None:
            self._reasoning = Reasoning()
        return self._reasoning

    @property
    def thinks(self) -> bool:
        """A thinking block is open."""
        return self._signer is not None

    def carried(self) -> Reasoning:
        """What the signature of the open thinking block carries. Without one, a block without text is opened."""
        if self._signer is None:
            self._begin("thinking", ThinkingStart())
            self._signer = Signer(self.key)
        return self.reasoning

    @property
    def has_reasoning(self) -> bool:
        """The backend has sent reasoning beside its text that it wants back."""
        return self._reasoning is not None and bool(self._reasoning.details or self._reasoning.extra is not None)

    def packed_reasoning(self) -> str:
        """What the signature of the next thinking block carries, as text."""
        return "" if self._reasoning is None else pack(self._reasoning)

    def tool(self, id: str, name: str) -> None:
        """Open the block of a tool call; `input` adds its input as pieces of JSON."""
        if self.has_reasoning:
            # Where nothing was written of the thinking, the backend still wants it back with this call.
            self.carried()
            self.end()
        self._begin("tool", ToolStart(id, name))

    def input(self, piece: str) -> None:
        if piece:
            self.events.append(BlockDelta(self._index, InputDelta(piece)))

    def end(self) -> None:
        """Close the open block, if there is one."""
        if self._open:
            if self._signer is not None:
                payload = ""
                if self._reasoning is not None:
                    payload = pack(self._reasoning)
                    # The field stays the same for the whole answer.
                    self._reasoning = Reasoning(self._reasoning.field) if self._reasoning.field else None
                self.events.append(BlockDelta(self._index, SignatureDelta(self._signer.signature(payload))))
                self._signer = None
            self._open = ""
            self.events.append(BlockStop(self._index))

    def finish(self, stop: Stop, usage: Usage) -> None:
        if not self.started:
            self.start()
        if self._open:
            self.end()
        self.events += (MessageDelta(stop, usage), MessageStop())


def fold(parts: Sequence[Part]) -> bytes:
    """Return the answer as one JSON message, equal to what a client builds from the same stream.

    Every field of a passed-through event is kept. Raises Problem `broken` for parts that do not make a message.
    """
    try:
        if (answer := text_answer(parts)) is not None:
            start, text, end = answer
            return _encode(_whole(start, [TextStart(text)], end))
        return _fold(parts)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise Problem("broken", _NO_MESSAGE) from None


_WITHOUT_CONTENT: Final = frozenset((BlockStop, MessageStop))


def _fold(parts: Sequence[Part]) -> bytes:
    start: Started | None = None
    """The beginning of the message, while every event is of Byway's own types."""
    end: MessageDelta | None = None
    message: dict[str, Any] = {}
    content: list[Any] = []
    pieces: dict[int, list[str]] = {}
    decoder: Decoder | None = None
    for part in parts:
        if type(part) is BlockDelta:
            delta = part.delta
            if type(delta) is TextDelta:
                pieces[part.index].append(delta.text)
            elif type(delta) is InputDelta:
                pieces[part.index].append(delta.partial_json)
            elif type(delta) is ThinkingDelta:
                pieces[part.index].append(delta.thinking)
            elif type(delta) is SignatureDelta:
                content[part.index] = ThinkingStart("", delta.signature)
            elif type(delta) is CitationsDelta:
                _cite(content[part.index], delta.citation)
        elif type(part) is BlockStart:
            pieces[part.index] = []
            block = part.content_block
            content.append(_copied(block) if type(block) is dict else block)
        elif type(part) in _WITHOUT_CONTENT:
            continue
        elif type(part) is MessageStart:
            start = part.message
        elif type(part) is MessageDelta:
            end = part
            if start is None:
                message.update(msgspec.structs.asdict(part.delta), usage=message_usage(part.usage))
        elif type(part) is WholeAnswer:
            return part.data
        elif type(part) is Passthrough:
            decoder = decoder or Decoder()
            if start is not None:
                message = {**msgspec.structs.asdict(_whole(start, content, end)), "type": "message"}
                start = None
            for item in fields(part, decoder):
                if item["type"] == "message_start":
                    message = item["message"]
                    content = message["content"]
                else:
                    _fold_item(item, message, content, pieces)
    for index, texts in pieces.items():
        content[index] = _filled(content[index], "".join(texts))
    if start is not None:
        return _encode(_whole(start, content, end))
    if "content" not in message:
        raise Problem("broken", "The backend's answer has no beginning.")
    return _encode({name: value for name, value in message.items() if value is not UNSET})


def _whole(start: Started, content: list[Any], end: MessageDelta | None) -> Started:
    """The message with its content, and with what its end has told."""
    if end is None:
        return Started(start.id, start.model, start.usage, start.role, content)
    stop = end.delta
    return Started(
        start.id,
        start.model,
        message_usage(end.usage),
        start.role,
        content,
        stop.stop_reason,
        stop.stop_sequence,
        safeguard_results=stop.safeguard_results,
    )


_FIELD: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def _fold_item(item: dict[str, Any], message: dict[str, Any], content: list[Any], pieces: dict[int, list[str]]) -> None:
    """Fold an event that passed through: it may have more fields than Byway knows, and all of them are kept."""
    match item["type"]:
        case "content_block_start":
            content.append(item["content_block"])
        case "content_block_delta":
            block, delta = content[item["index"]], item["delta"]
            match delta["type"]:
                case "signature_delta":
                    block["signature"] = delta["signature"]
                case "citations_delta":
                    _cite(block, delta["citation"])
                case kind if kind in _FIELD:
                    pieces.setdefault(item["index"], []).append(delta[_FIELD[kind]])
        case "message_delta":
            message.update(item["delta"])
            message["usage"].update({name: count for name, count in item["usage"].items() if count is not None})


def _copied(block: ServerBlock) -> ServerBlock:
    """A block to which citations can be added while its event is still in use."""
    return {**block, "citations": list(block["citations"])} if block.get("citations") is not None else dict(block)


def _cite(block: ServerBlock, citation: Any) -> None:
    if not block.get("citations"):
        block["citations"] = []
    block["citations"].append(citation)


def _filled(
    block: TextStart | ToolStart | ThinkingStart | ServerBlock, text: str
) -> TextStart | ToolStart | ThinkingStart | ServerBlock:
    """The block with the text of its deltas. A typed block is copied: its event may still be in use."""
    if isinstance(block, TextStart):
        return TextStart(block.text + text)
    if isinstance(block, ToolStart):
        return ToolStart(block.id, block.name, tool_input(text))
    if isinstance(block, ThinkingStart):
        return ThinkingStart(text, block.signature)
    if block["type"] in ("text", "thinking"):
        block[block["type"]] += text
    elif text:
        block["input"] = tool_input(text)
    return block


#: What code that reads these fields raises for an event that is not part of the Messages API.
EVENT_ERRORS: Final = (LookupError, TypeError, AttributeError, *DECODE_ERRORS)


def fields(part: Part, decoder: Decoder | None = None) -> list[dict[str, Any]]:
    """The JSON objects of the events in a part of a stream. A `decoder` keeps an event that ends in a later part."""
    if type(part) is Passthrough:
        decoder = decoder or Decoder()
        return [msgspec.json.decode(data) for _, data in decoder.feed(part.data)]
    item: dict[str, Any] = msgspec.to_builtins(part)
    return [item]


def tool_input(text: str) -> dict[str, Any]:
    """The input of a tool call from its JSON text; text that is no JSON object gets the form that Claude Code gives it."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except DECODE_ERRORS:
        value = None
    return value if isinstance(value, dict) else {"__unparsedToolInput": {"raw": text, "len": len(text)}}


def input_text(value: Any) -> str:
    """The JSON text of a tool's input, which is cut where the answer was cut: the opposite of `tool_input`.

    Clients of other APIs get the text of the model. In the form of Claude Code it would be an input that no model has written.
    """
    if isinstance(value, dict) and len(value) == 1 and isinstance(cut := value.get("__unparsedToolInput"), dict):
        raw = cut.get("raw")
        if isinstance(raw, str) and cut.get("len") == len(raw):
            return raw
    return _encode(value).decode()


def unfold(data: bytes) -> list[Part]:
    """The stream of a whole Messages answer, for a client that wants a stream and a backend that did not stream.

    Raises Problem `broken` for JSON that is no Messages answer.
    """
    try:
        return _unfold(data)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise Problem("broken", _NO_MESSAGE) from None


def _unfold(data: bytes) -> list[Part]:
    message = msgspec.json.decode(data)
    content, usage = message.get("content") or [], message.get("usage") or {}
    counted = msgspec.convert({name: usage.get(name) or 0 for name in TOKENS}, Usage)
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    blocks = [item for index, block in enumerate(content) for item in _block_items(index, block)]
    stop = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    ended = msgspec.to_builtins(counted)
    if "server_tool_use" in usage:
        ended["server_tool_use"] = usage["server_tool_use"]
    return [
        Passthrough(written({"type": "message_start", "message": opening}), "start"),
        Passthrough(b"".join(map(written, blocks)), "content"),
        Passthrough(
            written({"type": "message_delta", "delta": stop, "usage": ended}),
            "end",
            usage=counted,
            stop_reason=message.get("stop_reason"),
        ),
        Passthrough(written({"type": "message_stop"}), "end"),
    ]


def written(item: dict[str, Any]) -> bytes:
    """One event as the bytes of a stream, from its JSON object."""
    return b"event: %b\ndata: %b\n\n" % (str(item["type"]).encode(), _encode(item))


def block_events(index: int, block: ServerBlock) -> list[Event]:
    """The events of a whole content block of Byway's server tools."""
    first, *deltas, _ = _block_items(index, block)
    made = [BlockDelta(index, msgspec.convert(item["delta"], _Delta)) for item in deltas]
    return [BlockStart(index, first["content_block"]), *made, BlockStop(index)]


def _block_items(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON objects of the events of a whole content block."""
    deltas: list[dict[str, Any]] = []
    match block.get("type"):
        case "text":
            deltas = [{"type": "text_delta", "text": block.get("text") or ""}]
            citations = block.get("citations") or []
            deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
            block = {**block, "text": ""}
            if citations:
                block["citations"] = []
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": block.get("thinking") or ""}]
            if block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            block = {**block, "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": _encode(block.get("input") or {}).decode()}]
            block = {**block, "input": {}}
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]
