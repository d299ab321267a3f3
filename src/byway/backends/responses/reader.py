"""Reads a Responses answer, streamed or whole: from bytes to events. Servers differ, so it is lenient.

The first byte decides whether an answer streams. Items are read from their pieces; an item that came without pieces is read
whole, from the event that ends it or from the response that ends the answer.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UnsetType

from byway.backends import errors
from byway.backends.openai.chunks import joined_halves, text_of
from byway.backends.openai.framing import FramedReader, broken, cut_short
from byway.backends.openai.stops import StoppingWriter, split_stops
from byway.backends.openai.toolcalls import FunctionDelta, ToolCallDelta, ToolCalls, callable_tools
from byway.backends.openai.usage import TokenCounts
from byway.backends.protocol import FIRST, Attempt, Target
from byway.backends.responses.answer import add_usage, decode_response, failure, incomplete_reason
from byway.decoding import DECODE_ERRORS
from byway.messages.events import Event, MessageUsage, Stop, Usage
from byway.messages.request import Request
from byway.messages.stream import Writer
from byway.problems import Problem
from byway.responseitems import (
    ARGUMENTS_DELTA,
    ARGUMENTS_DONE,
    CANCELLED,
    COMPLETED,
    ENDS,
    ERROR,
    FAILED,
    INCOMPLETE,
    ITEM_ADDED,
    ITEM_DONE,
    PARAGRAPH,
    REASONING_DELTA,
    REFUSAL_DELTA,
    REFUSAL_DONE,
    SUMMARY_DELTA,
    SUMMARY_PART,
    TEXT_DELTA,
    TEXT_DONE,
    AnyEvent,
    AnyItem,
    AnyResponse,
)

#: No answer has so many items.
_ITEMS_MOST: Final = 10_000
_event: Final = msgspec.json.Decoder(AnyEvent).decode
_item: Final = msgspec.json.Decoder(AnyItem).decode
_items: Final = msgspec.json.Decoder(list[AnyItem]).decode
#: The event that a whole answer, which has only a status, stands for.
_END_OF: Final = {"completed": COMPLETED, "incomplete": INCOMPLETE, "failed": FAILED, "cancelled": CANCELLED}
_REASONS: Final = {"max_output_tokens": "max_tokens", "max_tokens": "max_tokens", "content_filter": "refusal"}
#: The longest `phase` that is kept.
_PHASE: Final = 32


class OpenItem:
    """One item of the answer while it arrives."""

    __slots__ = ("content", "done", "kind", "length", "summary")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.length = 0
        """Characters of its text, or of its arguments, that have come in pieces."""
        self.done = False
        self.summary: list[list[str]] = []
        """Of a reasoning item: the pieces of each part of its summary."""
        self.content: list[list[str]] = []
        """The same of its readable content."""


class ResponsesReader(FramedReader):
    """Reads one answer of a Responses server."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self._target = target
        self._backend = target.backend
        self._id = request.id
        params = request.params
        estimate = attempt.estimate or request.estimate
        self._counts = TokenCounts(estimate)
        usage = MessageUsage(estimate)
        self._writer = Writer(request.id, request.model, usage, target.key)
        self._stopping: StoppingWriter | None = None
        """The writer, when the answer ends at stop sequences."""
        if params.stop_sequences and (stops := split_stops(request, target, attempt)[1]):
            self._writer = self._stopping = StoppingWriter(request.id, request.model, usage, target.key, stops)
        self._max_tokens = None if isinstance(params.max_tokens, UnsetType) else params.max_tokens
        self._tools = callable_tools(request)
        self._calls: ToolCalls | None = None
        self._refused = False
        self._half = b""
        self._items: dict[int, OpenItem] = {}
        """By their places in the answer."""
        self._places: dict[str, int] = {}
        """The places of items by id, for events without a place."""
        self._current: OpenItem | None = None
        """The item whose text was written last."""
        self._length = 0
        """Characters of the answer."""
        self._reason = ""

    # -------------------------------------------------------------------------------------------------- bytes to events

    def _end_stream(self) -> None:
        self._finish()

    def close(self) -> list[Event]:
        """End the answer. Raises Problem when it was cut short or is no answer."""
        if not self.finished:
            if self._whole is not None:
                self._read_whole(b"".join(self._whole))
            elif self._sse is not None:
                self._read_rest(self._sse)
        if self._problem is not None:
            raise self._problem
        if not self.finished:
            raise cut_short(self._backend)
        return self._writer.take()

    def read_error(self, body: bytes) -> bool:
        """Errors of this API hold no answer."""
        return False

    def _broken(self, what: str) -> Problem:
        return broken(self._backend, what)

    def _read_whole(self, whole: bytes) -> None:
        if not self._is_complete(whole):
            return
        try:
            response = decode_response(whole)
        except DECODE_ERRORS:
            raise self._reported(whole) or self._broken("is not JSON, or only its beginning") from None
        event = _END_OF.get(response.status) if isinstance(response.status, str) else None
        if event is None and not response.output:
            raise self._reported(whole) or Problem(
                "broken",
                f"Backend {self._backend!r} sent something that is not a response. Check that its server has the Responses "
                "API (`/v1/responses`), or set `protocol: chat`.",
            )
        self._end_with(event or COMPLETED, response)

    def _reported(self, data: bytes) -> Problem | None:
        """The failure that data of another form reports."""
        return errors.from_success(data, backend=self._backend, window=self._target.window)

    # ------------------------------------------------------------------------------------------------- events to writer

    def _read(self, data: bytes, name: str) -> bool:
        """Read one event. Returns whether it has finished the answer."""
        try:
            event = _event(data)
        except DECODE_ERRORS:
            event = self._repaired(data, name)
        kind = event.type if isinstance(event.type, str) and event.type else name
        if kind == TEXT_DELTA:
            self._add_text(event, event.delta)
        elif kind == ARGUMENTS_DELTA:
            self._add_arguments(event, event.delta)
        elif kind in (SUMMARY_DELTA, REASONING_DELTA):
            self._add_thinking(event, kind)
        elif kind == ITEM_ADDED:
            self._open(event)
        elif kind == ITEM_DONE:
            self._close_item(event)
        elif kind == SUMMARY_PART:
            self._begin_summary(self._item_of(event, "reasoning"))
        elif kind == REFUSAL_DELTA:
            self._refused = True
            self._add_text(event, event.delta)
        elif kind in (TEXT_DONE, REFUSAL_DONE):
            if not self._item_of(event, "message").length:
                self._refused = self._refused or kind == REFUSAL_DONE
                self._add_text(event, event.text or event.refusal)
        elif kind == ARGUMENTS_DONE:
            if not self._item_of(event, "function_call").length:
                self._add_arguments(event, event.arguments)
        elif kind in ENDS:
            return self._end_with(kind, self._decoded_response(event.response))
        elif kind == ERROR:
            raise self._error_of(data)
        elif not kind:
            return self._read_untyped(data)
        # Any other event is progress, or of a kind that this version does not know.
        if self._stopping is not None and self._stopping.stop is not None:
            self._finish()
            return True
        return False

    def _repaired(self, data: bytes, name: str) -> AnyEvent:
        """An event that is not valid JSON: an error in plain text, or text that was cut within a character."""
        if name == ERROR and not data.lstrip().startswith(b"{"):
            raise errors.from_error(data.decode(errors="replace"), backend=self._backend, window=self._target.window)
        joined, self._half = joined_halves(data, self._half)
        try:
            return _event(joined)
        except DECODE_ERRORS:
            raise self._reported(data) or self._broken(
                "contains something that is not an event of the Responses API, or only its beginning"
            ) from None

    def _error_of(self, data: bytes) -> Problem:
        """The failure that an event reports. Its text may have bytes that are not UTF-8, or half characters."""
        joined, _ = joined_halves(data, b"")
        try:
            error = msgspec.json.decode(joined.decode(errors="replace"))
        except msgspec.MsgspecError:
            return self._broken("contains an error that cannot be read")
        return errors.from_error(error, backend=self._backend, window=self._target.window)

    def _read_untyped(self, data: bytes) -> bool:
        """Read an event without a type: a failure, or an answer of another protocol."""
        problem = self._reported(data)
        if problem is not None:
            raise problem
        return False

    def _decoded_response(self, data: msgspec.Raw) -> AnyResponse:
        try:
            return decode_response(data) if data else AnyResponse()
        except DECODE_ERRORS:
            raise self._broken("ends with a response that cannot be read") from None

    def _item_of(self, event: AnyEvent, kind: str) -> OpenItem:
        """The item that an event belongs to: by its place, by its id, or the last one."""
        return self._items.get(self._place_of(event)) or self._new(event, kind)

    def _place_of(self, event: AnyEvent) -> int:
        place = event.output_index
        if type(place) is int:
            return place
        if isinstance(event.item_id, str) and (known := self._places.get(event.item_id)) is not None:
            return known
        return len(self._items) - 1

    def _new(self, event: AnyEvent, kind: str) -> OpenItem:
        if len(self._items) >= _ITEMS_MOST:
            raise self._broken(f"has more than {_ITEMS_MOST} items")
        place = event.output_index if type(event.output_index) is int else len(self._items)
        item = self._items[place] = OpenItem(kind)
        if isinstance(event.item_id, str) and len(self._places) < _ITEMS_MOST:
            self._places[event.item_id] = place
        return item

    # -------------------------------------------------------------------------------------------------------------- items

    def _decoded_item(self, event: AnyEvent) -> AnyItem:
        try:
            return _item(event.item) if event.item else AnyItem()
        except DECODE_ERRORS:
            raise self._broken("contains an item that cannot be read") from None

    def _open(self, event: AnyEvent) -> None:
        item = self._decoded_item(event)
        if isinstance(item.id, str) and event.item_id is None:
            event.item_id = item.id
        self._begin(item, event)

    def _begin(self, item: AnyItem, event: AnyEvent) -> OpenItem:
        kind = item.type if isinstance(item.type, str) else ""
        opened = self._new(event, kind)
        if kind == "function_call":
            self._begin_call(self._place_of(event), item)
        elif kind == "message":
            self._note_phase(item)
        elif kind == "reasoning":
            self._end_thinking()
        self._current = opened
        return opened

    def _close_item(self, event: AnyEvent) -> None:
        item = self._decoded_item(event)
        if isinstance(item.id, str) and event.item_id is None:
            event.item_id = item.id
        opened = self._items.get(self._place_of(event))
        named = type(event.output_index) is int or (isinstance(event.item_id, str) and event.item_id in self._places)
        if opened is not None and not named and (opened.done or opened.kind != item.type):
            # The last item is another one.
            opened = None
        self._read_item(item, opened, event)

    def _read_item(self, item: AnyItem, opened: OpenItem | None, event: AnyEvent) -> None:
        """Read a whole item: what came in pieces counts once."""
        kind = item.type if isinstance(item.type, str) else ""
        if opened is None:
            opened = self._begin(item, event)
        if opened.done:
            return
        opened.done = True
        if kind == "message":
            if not opened.length:
                for part in item.content if isinstance(item.content, list) else (item.content,):
                    if isinstance(part, dict) and part.get("type") == "refusal":
                        self._refused = True
                        self._write_text(opened, text_of(part.get("refusal")))
                    else:
                        self._write_text(opened, text_of(part))
        elif kind == "function_call":
            if not opened.length and isinstance(item.arguments, str | dict):
                self._add_arguments(event, item.arguments)
        elif kind == "reasoning":
            self._end_reasoning(item, opened)

    def _begin_call(self, place: int, item: AnyItem) -> None:
        name = item.name if isinstance(item.name, str) else None
        self._tool_calls().add_chunk([ToolCallDelta(place, item.call_id or item.id, FunctionDelta(name))])

    def _tool_calls(self) -> ToolCalls:
        if self._calls is None:
            self._calls = self._tools.calls(self._id, self._backend, self._writer)
        return self._calls

    def _add_arguments(self, event: AnyEvent, arguments: Any) -> None:
        place = event.output_index
        if type(place) is not int:
            place = self._place_of(event)
        item = self._items.get(place)
        if item is None or not arguments:
            return
        length = self._tool_calls().add_chunk([ToolCallDelta(place, None, FunctionDelta(None, arguments))])
        item.length += length
        self._length += length

    # ---------------------------------------------------------------------------------------------------- text, thinking

    def _add_text(self, event: AnyEvent, delta: Any) -> None:
        item = self._items.get(event.output_index) if type(event.output_index) is int else None
        if item is None:
            item = self._item_of(event, "message")
        self._write_text(item, delta if type(delta) is str else text_of(delta))

    def _write_text(self, item: OpenItem, text: str) -> None:
        if not text:
            return
        self._current = item
        item.length += len(text)
        self._length += len(text)
        self._write(text)

    def _note_phase(self, item: AnyItem) -> None:
        """Keep the phase of a message in the thinking block before it, if there is one."""
        if isinstance(item.phase, str) and self._writer.thinks:
            self._writer.carried().phase = item.phase[:_PHASE]
        elif self._current is not None and self._current.kind == "message" and self._current.length:
            # Two messages in a row are one text.
            self._write(PARAGRAPH)

    def _write(self, text: str) -> None:
        if self._calls is None:
            self._writer.text(text)
        else:
            self._calls.write("text", text)

    def _add_thinking(self, event: AnyEvent, kind: str) -> None:
        text = event.delta if type(event.delta) is str else text_of(event.delta)
        item = self._item_of(event, "reasoning")
        parts = item.summary if kind == SUMMARY_DELTA else item.content
        if not text:
            return
        at = event.part_index if type(event.part_index) is int else 0
        if not parts or at >= len(parts):
            parts.append([])
        if not parts[-1] and item.length:
            self._think(PARAGRAPH)
        parts[-1].append(text)
        item.length += len(text)
        self._think(text)

    def _begin_summary(self, item: OpenItem) -> None:
        if not item.summary or item.summary[-1]:
            item.summary.append([])

    def _think(self, text: str) -> None:
        self._length += len(text)
        if self._calls is None:
            self._writer.thinking(text)
        else:
            self._calls.write("thinking", text)

    def _end_thinking(self) -> None:
        """Close the block of an earlier reasoning item: each one goes back as an item of its own."""
        if self._writer.thinks:
            self._writer.end()

    def _end_reasoning(self, item: AnyItem, opened: OpenItem) -> None:
        """Let the signature of the thinking block carry what the backend wants back."""
        summary, content = _part_texts(item.summary), _part_texts(item.content)
        if not opened.length:
            # The same thinking in two forms counts once.
            self._think(PARAGRAPH.join(summary or content))
        if self._calls is not None:
            # A call before it is complete; with a call that is not, its place in the answer is unknown.
            self._calls.write("thinking", "")
            if self._calls.busy:
                return
        encrypted = item.encrypted_content
        carried: dict[str, Any] = {}
        if isinstance(encrypted, str) and encrypted:
            carried["encrypted_content"] = encrypted
            if isinstance(item.id, str):
                carried["id"] = item.id
        elif not content:
            return
        pieces = ["".join(part) for part in (opened.summary or opened.content)]
        written = PARAGRAPH.join([text for text in pieces if text])
        own = not opened.length or written == PARAGRAPH.join(summary or content)
        carried["summary"] = [len(part) for part in summary] if own else summary
        if content:
            carried["content"] = [len(part) for part in content] if own and not summary else content
        self._writer.carried().item = carried

    # --------------------------------------------------------------------------------------------------------- the end

    def _end_with(self, kind: str, response: AnyResponse) -> bool:
        """Read the event that ends the answer. Returns True."""
        add_usage(self._counts, response)
        if kind in (FAILED, CANCELLED):
            raise failure(response, kind.partition(".")[2], self._target)
        if not self._items and response.output:
            self._read_output(response.output)
        if kind == INCOMPLETE:
            self._reason = incomplete_reason(response)
        self._finish()
        return True

    def _read_output(self, output: msgspec.Raw) -> None:
        """Read the items of a response that came without their own events."""
        try:
            items = _items(output)
        except DECODE_ERRORS:
            raise self._broken("has an output that cannot be read") from None
        for place, item in enumerate(items):
            self._read_item(item, None, AnyEvent(output_index=place))

    def spent(self, size: int) -> Usage:
        return self._counts.total(self._length)

    def _finish(self) -> None:
        """Write the end of the answer."""
        self.finished = True
        reason = _REASONS.get(self._reason, "end_turn")
        if self._calls is not None and (self._stopping is None or self._stopping.stop is None):
            self._calls.finish(cut=reason == "max_tokens")
        self._writer.finish(self._stop_of(reason), self._counts.total(self._length))

    def _stop_of(self, reason: str) -> Stop:
        if self._stopping is not None and self._stopping.stop is not None:
            return Stop("stop_sequence", self._stopping.stop)
        if reason == "end_turn":
            if self._refused:
                return Stop("refusal")
            return Stop("tool_use" if self._calls is not None and self._calls.called else "end_turn")
        counts = self._counts
        if reason == "max_tokens" and self._target.window and not counts.estimated:
            # Some servers leave the last token of the window empty.
            full = counts.prompt + counts.output >= self._target.window - 1
            if full and (self._max_tokens is None or counts.output < self._max_tokens):
                return Stop("model_context_window_exceeded")
        return Stop(reason)


def _part_texts(parts: Any) -> list[str]:
    """The texts of `summary` or `content`."""
    return [text for part in parts if (text := text_of(part))] if isinstance(parts, list) else []
