"""Writes an answer in the format of the Responses API: as a stream of events, or whole. Pure.

Every event and field of the format is written: Codex reads `output_item.done`, the official SDK `completed.response.output`,
others the deltas (measured with Codex 0.171.0, `openai` 3.57.0 and opencode 1.18.33, 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw, Struct, to_builtins

from byway.fronts.freeinput import FreeInput
from byway.fronts.responsetools import SEARCH, Names, defined_item
from byway.fronts.writtenitem import PREFIXES, JsonObject, WrittenItem, head_of
from byway.messages import carriers
from byway.messages.events import (
    TOKENS,
    BlockDelta,
    BlockStart,
    BlockStop,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Part,
    Passthrough,
    Ping,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    ToolStart,
    Usage,
    WholeAnswer,
)
from byway.messages.sse import Decoder
from byway.messages.stream import EVENT_ERRORS, fields, tool_input, unfold
from byway.messages.textanswer import text_answer
from byway.problems import Problem
from byway.responseitems import (
    OutputMessage,
    OutputText,
    Phase,
    ResponseObject,
    ResponseUsage,
    response_id,
    response_usage,
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_REFUSED: Final = "The model has refused to answer this request."
#: Results of searches of one answer whose addresses are looked for in its text.
_MOST_SOURCES: Final = 100

#: The phase of a last message that does not end the turn, or that was cut; any other last one is the final answer, and a message
#: before others is a comment. Whether a call follows is known at its end only, so `output_item.added` has no phase, which the
#: format permits (`ResponseOutputMessage` of the `openai` SDK 3.52.0, seen 2026-11-30).
_LAST_PHASES: Final[dict[str, Phase]] = {"tool_use": "commentary", "pause_turn": "commentary", "max_tokens": ""}


class ReasoningCount(Protocol):
    """Counts the output tokens of an answer that were reasoning."""

    reasoning: int


class NewResponse(Struct, gc=False):
    """A response before its answer comes, and what of its request the answer needs."""

    object: ResponseObject
    """Its id is `resp_` with hex digits."""
    names: Names
    counts: ReasoningCount | None = None
    """Counts the output tokens that were reasoning."""
    compacts: bool = False
    """The answer is one compaction item."""
    sources: bool = False
    """Searches list their addresses."""

    @property
    def id(self) -> str:
        """The part of the id that the ids of its items repeat."""
        return self.object.id[len("resp_") :]

    def whole(self, parts: Sequence[Part]) -> bytes:
        """The whole answer as JSON. Raises Problem for parts that do not make one."""
        if not self.compacts and (answer := text_answer(parts)) is not None:
            _, text, end = answer
            if end.delta.stop_reason == "end_turn" and text:
                return self._one_text(text, end.usage)
        return ResponseWriter(self).whole(parts)

    def _one_text(self, text: str, usage: Usage) -> bytes:
        """An answer that is one text, as a writer would make it."""
        response = self.object
        id = f"{PREFIXES['message']}_{self.id}_0"
        response.output.append(OutputMessage(id, "completed", [OutputText(text)], "final_answer"))
        response.status, response.usage = "completed", _tokens(usage, self.counts)
        return _encode(response)


def _tokens(usage: Usage, counts: ReasoningCount | None) -> ResponseUsage:
    return response_usage(usage, counts.reasoning if counts is not None else 0)


class ResponseWriter:
    """Writes one answer."""

    # Defaults of the class: few answers change them.
    _raw = b""
    """The response as JSON, where its events passed through."""
    _sequence = 0
    _began = False
    _passed = False
    """The events of a backend pass through."""
    _item: WrittenItem | None = None
    _search: WrittenItem | None = None
    """A search whose result has not come."""
    _query: list[str] | None = None
    """The pieces of the input of a search."""
    _results: Sequence[tuple[str, str]] = ()
    """URL and title of what searches have found."""
    _usage = Usage()
    _decoder: Decoder | None = None
    """Reads events that pass through, or that a server of the Messages API has sent."""
    _stop = ""
    _is_whole = False
    """Only the whole response is wanted: no event is written."""
    ended = False
    """The response is complete, or has failed."""

    def __init__(self, new: NewResponse) -> None:
        self.response = response = new.object
        self.output: list[JsonObject] = response.output
        self._id = new.id
        self._names = new.names
        self._counts = new.counts
        self._compacts = new.compacts
        self._sources = new.sources
        self._written: list[bytes] = []
        """Events that `encode` returns."""
        self._annotations: list[JsonObject] = []
        self._summary: list[str] = []

    # ------------------------------------------------------------------------------------------------------- parts to events

    def encode(self, parts: Iterable[Part]) -> bytes:
        """The events of `parts`. Raises Problem for events that are not those of the Messages API."""
        written, item = self._written, self._item
        try:
            for part in parts:
                # The deltas of a text are the most frequent: they take no call.
                if (
                    type(part) is BlockDelta
                    and item is not None
                    and item.streams_text
                    and type(delta := part.delta) is TextDelta
                ):
                    text = delta.text
                    item.pieces.append(text)
                    written.append(b'%b%d,"delta":%b}\n\n' % (item.head, self._sequence, _encode(text)))
                    self._sequence += 1
                else:
                    _READ[type(part)](self, part)
                    item = self._item
        except EVENT_ERRORS:
            raise _broken() from None
        return self._take()

    def _take(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data

    def _read_start(self, part: MessageStart) -> None:
        self._usage = part.message.usage
        if not self._began:
            self._begin()

    def _read_block(self, part: BlockStart) -> None:
        block = part.content_block
        if self._compacts:
            return
        if type(block) is TextStart:
            if block.text or self._item is not None:
                self._start_text(block.text)
        elif type(block) is ToolStart:
            self._call(block.id, block.name, block.input)
        elif type(block) is ThinkingStart:
            self._open("reasoning", {"id": "", "type": "reasoning", "summary": []})
            self._think(block.thinking)
        else:
            self._start(to_builtins(block))

    def _read_delta(self, part: BlockDelta) -> None:
        delta = part.delta
        if self._compacts:
            if type(delta) is TextDelta:
                self._summary.append(delta.text)
        elif type(delta) is TextDelta:
            self._text(delta.text)
        elif type(delta) is InputDelta:
            self._input(delta.partial_json)
        elif type(delta) is ThinkingDelta:
            self._think(delta.thinking)
        else:
            self._delta(to_builtins(delta))

    def _read_end(self, part: MessageDelta) -> None:
        self._stop, self._usage = part.delta.stop_reason or self._stop, part.usage

    def _read_passed(self, part: Passthrough) -> None:
        if part.responses:
            self._written.append(self._pass(part))
        else:
            self._read_fields(part)

    def _read_fields(self, part: Part) -> None:
        """Events that a server of the Messages API has sent."""
        self._decoder = self._decoder or Decoder()
        for event in fields(part, self._decoder):
            self._event(event)

    def whole(self, parts: Sequence[Part]) -> bytes:
        """The whole answer as JSON. Raises Problem for parts that do not make one."""
        # No event is written.
        self._is_whole = self._began = True
        first = parts[0] if parts else None
        if type(first) is WholeAnswer:
            if first.responses:
                return first.data
            parts = unfold(first.data)
        try:
            for part in parts:
                _READ[type(part)](self, part)
        except EVENT_ERRORS:
            raise _broken() from None
        if not self.ended:
            raise Problem("broken", "The backend's answer has no end.")
        if self.response.error is not None:
            raise Problem("prompt_too_long", self.response.error["message"])
        return _encode(self.response)

    def _event(self, event: JsonObject) -> None:
        match event["type"]:
            case "message_start":
                self._count(event["message"].get("usage") or {})
                self._begin()
            case "content_block_start":
                if not self._compacts:
                    self._start(event["content_block"])
            case "content_block_delta":
                self._delta(event["delta"])
            case "content_block_stop":
                self._end_block()
            case "message_delta":
                self._stop = event["delta"].get("stop_reason") or self._stop
                self._count(event.get("usage") or {})
            case "message_stop":
                self._finish()
            case "ping":
                self._keepalive()

    def _count(self, counts: JsonObject) -> None:
        known = {name: count for name in TOKENS if (count := counts.get(name)) is not None}
        self._usage = msgspec.structs.replace(self._usage, **known)

    def _start(self, block: JsonObject) -> None:
        match block["type"]:
            case "text":
                self._start_text(block.get("text") or "")
            case "thinking":
                self._open("reasoning", {"id": "", "type": "reasoning", "summary": []})
                self._think(block.get("thinking") or "")
            case "redacted_thinking":
                item = self._open("reasoning", {"id": "", "type": "reasoning", "summary": []})
                item.item["encrypted_content"] = carriers.pack_redacted(str(block["data"]))
            case "tool_use":
                self._call(block["id"], block["name"], block.get("input"))
            case "server_tool_use" if block.get("name") == SEARCH:
                given = block.get("input")
                self._close()
                self._query = [_encode(given).decode()] if given else []
            case "web_search_tool_result":
                self._end_search(block.get("content"))

    def _delta(self, delta: JsonObject) -> None:
        if self._compacts:
            if delta["type"] == "text_delta":
                self._summary.append(delta["text"])
            return
        match delta["type"]:
            case "text_delta":
                self._text(delta["text"])
            case "thinking_delta":
                self._think(delta["thinking"])
            case "signature_delta":
                item = self._current("reasoning")
                item.item["encrypted_content"] = carriers.pack_thinking("".join(item.pieces), delta["signature"])
            case "input_json_delta":
                self._input(delta["partial_json"])
            case "citations_delta":
                citation = delta["citation"]
                if isinstance(citation.get("url"), str) and self._item is not None:
                    self._item.citations.append(citation)

    def _end_block(self, _part: Part | None = None) -> None:
        if self._query is not None:
            pieces, self._query = self._query, None
            self._begin_search(str(tool_input("".join(pieces)).get("query") or ""))
        elif (item := self._item) is not None:
            if item.kind == "reasoning":
                self._close()
            elif item.kind != "message":
                # The next block or the end closes it: the end shows whether the call was cut.
                item.ended = True
            elif item.citations:
                self._cite(item)

    # ----------------------------------------------------------------------------------------------------------------- events

    def _write(self, kind: str, **values: Any) -> None:
        if self._is_whole:
            return
        number = self._sequence
        self._sequence += 1
        data = _encode({"type": kind, "sequence_number": number, **values})
        self._written.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    def _keepalive(self, _part: Part | None = None) -> None:
        # An event, because clients do not count comments as life.
        if self._passed:
            event = b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % self._sequence
            self._written.append(event)
        else:
            self._write("keepalive")

    def _begin(self) -> None:
        if not self._began:
            self._began = True
            response = Raw(_encode(self.response))
            self._write("response.created", response=response)
            self._write("response.in_progress", response=response)

    def _open(self, kind: str, item: JsonObject) -> WrittenItem:
        """Open an item, and give it its id. Items come one after the other."""
        if not self._began:
            self._begin()
        if self._item is not None or self._search is not None:
            self._close()
        index = len(self.output)
        id = item["id"] = f"{PREFIXES[kind]}_{self._id}_{index}"
        self._item = opened = WrittenItem(kind, id, index, item)
        self.output.append(item)
        if not self._is_whole:
            self._write("response.output_item.added", output_index=index, item=item)
        return opened

    def _current(self, kind: str) -> WrittenItem:
        """The open item; raises Problem when it is of another kind."""
        item = self._item
        if item is None or item.kind != kind:
            raise Problem("broken", "The backend sent events of the Messages API in a wrong order.")
        return item

    def _close(self, status: str = "completed", phase: Phase = "commentary") -> None:
        """Close the open item. `phase`: of a message."""
        item = self._item
        if item is None:
            if self._search is not None:
                self._end_search(None)
            return
        self._item, fields = None, item.item
        if item.kind == "message":
            self._close_message(item)
            if phase:
                fields["phase"] = phase
        else:
            _CLOSING[item.kind](self, item)
        if "status" in fields:
            fields["status"] = status
        if not self._is_whole:
            self._write("response.output_item.done", output_index=item.index, item=fields)

    # ---------------------------------------------------------------------------------------------------------------- messages

    def _start_text(self, text: str) -> None:
        item = self._item
        if item is not None and item.kind == "message":
            item.start = sum(map(len, item.pieces))
        elif item is not None:
            self._close()
        if text:
            self._text(text)

    def _text(self, text: str) -> None:
        if not text:
            return
        item = self._item
        if item is None or item.kind != "message":
            item = self._open(
                "message", {"id": "", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            )
            if not self._is_whole:
                place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
                self._write("response.content_part.added", **place, part=OutputText(""))
                item.head = head_of("response.output_text.delta", **place, logprobs=[])
                item.streams_text = True
        item.pieces.append(text)
        if not self._is_whole:
            self._write_delta(item, text)

    def _write_delta(self, item: WrittenItem, text: str) -> None:
        if item.head:
            self._written.append(b'%b%d,"delta":%b}\n\n' % (item.head, self._sequence, _encode(text)))
            self._sequence += 1

    def _cite(self, item: WrittenItem) -> None:
        """Write the citations of a block of text that has ended."""
        end = sum(map(len, item.pieces))
        for citation in item.citations:
            self._annotate(item, item.start, end, str(citation["url"]), str(citation.get("title") or ""))
        item.citations = []

    def _annotate(self, item: WrittenItem, start: int, end: int, url: str, title: str) -> None:
        annotation = {"type": "url_citation", "start_index": start, "end_index": end, "url": url, "title": title}
        number = len(self._annotations)
        self._annotations.append(annotation)
        self._write(
            "response.output_text.annotation.added",
            item_id=item.id,
            output_index=item.index,
            content_index=0,
            annotation_index=number,
            annotation=annotation,
        )

    def _close_message(self, item: WrittenItem) -> None:
        if item.citations:
            self._cite(item)
        text = "".join(item.pieces)
        if self._results and not self._annotations:
            # Models of other servers do not cite: an address of a result in their text is a citation.
            for url, title in self._results:
                at = text.find(url)
                if at >= 0:
                    self._annotate(item, at, at + len(url), url, title)
        part = OutputText(text, self._annotations)
        self._annotations = []
        item.item["content"] = [part]
        if not self._is_whole:
            place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
            self._write("response.output_text.done", **place, text=text, logprobs=[])
            self._write("response.content_part.done", **place, part=part)

    # --------------------------------------------------------------------------------------------------------------- reasoning

    def _think(self, text: str) -> None:
        if not text:
            return
        item = self._current("reasoning")
        if not item.shown:
            item.shown = True
            if not self._is_whole:
                place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
                part = {"type": "summary_text", "text": ""}
                self._write("response.reasoning_summary_part.added", **place, part=part)
                item.head = head_of("response.reasoning_summary_text.delta", **place)
        item.pieces.append(text)
        self._write_delta(item, text)

    def _close_reasoning(self, item: WrittenItem) -> None:
        text = "".join(item.pieces)
        if "encrypted_content" not in item.item:
            item.item["encrypted_content"] = carriers.pack_thinking(text, "")
        if not item.shown:
            return
        part = {"type": "summary_text", "text": text}
        item.item["summary"] = [part]
        place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
        self._write("response.reasoning_summary_text.done", **place, text=text)
        self._write("response.reasoning_summary_part.done", **place, part=part)

    # ------------------------------------------------------------------------------------------------------------------- calls

    def _call(self, id: str, name: str, given: Any) -> None:
        origin = self._names.origin(name)
        named: JsonObject = {"call_id": id, "name": origin.name}
        if origin.namespace:
            named["namespace"] = origin.namespace
        if origin.kind == "custom":
            made = {"id": "", "type": "custom_tool_call", **named, "input": "", "status": "in_progress"}
            self._open("custom_tool_call", made).free = FreeInput()
        elif origin.kind == "function":
            made = {"id": "", "type": "function_call", **named, "arguments": "", "status": "in_progress"}
            item = self._open("function_call", made)
            if not self._is_whole:
                place = {"item_id": item.id, "output_index": item.index}
                item.head = head_of("response.function_call_arguments.delta", **place)
        else:
            # Their form is complete only with the whole input.
            self._begin()
            self._close()
            index = len(self.output)
            own = f"{PREFIXES[origin.kind]}_{self._id}_{index}"
            self._item = WrittenItem("defined", own, index, {"id": own, "call_id": id}, defined=origin.kind)
        if given:
            self._input(_encode(given).decode())

    def _input(self, piece: str) -> None:
        if self._query is not None:
            self._query.append(piece)
            return
        item = self._item
        if item is None or item.ended or not piece:
            return
        item.pieces.append(piece)
        if item.kind == "function_call":
            self._write_delta(item, piece)
        elif item.free is not None and (text := item.free.feed(piece)):
            self._free_delta(item, text)

    def _free_delta(self, item: WrittenItem, text: str) -> None:
        self._write("response.custom_tool_call_input.delta", item_id=item.id, output_index=item.index, delta=text)

    def _close_function(self, item: WrittenItem) -> None:
        if not item.pieces and self._stop != "max_tokens":
            item.pieces.append("{}")
            self._write_delta(item, "{}")
        item.item["arguments"] = arguments = "".join(item.pieces)
        if not self._is_whole:
            name, place = item.item["name"], {"item_id": item.id, "output_index": item.index}
            self._write("response.function_call_arguments.done", **place, name=name, arguments=arguments)

    def _close_custom(self, item: WrittenItem) -> None:
        text, rest = item.free.finish() if item.free is not None else ("", "")
        if rest:
            self._free_delta(item, rest)
        item.item["input"] = text
        self._write("response.custom_tool_call_input.done", item_id=item.id, output_index=item.index, input=text)

    def _close_defined(self, item: WrittenItem) -> None:
        """An item that only its whole input can make."""
        given = tool_input("".join(item.pieces))
        item.item.update(defined_item(item.defined, given), status="completed")
        self.output.append(item.item)
        added = {**item.item, "status": "in_progress"}
        self._write("response.output_item.added", output_index=item.index, item=added)

    # ---------------------------------------------------------------------------------------------------------------- searches

    def _begin_search(self, query: str) -> None:
        action = {"type": "search", "query": query, "queries": [query]}
        made = {"id": "", "type": "web_search_call", "status": "in_progress", "action": action}
        self._search = search = self._open("web_search_call", made)
        self._item = None
        place = {"item_id": search.id, "output_index": search.index}
        self._write("response.web_search_call.in_progress", **place)
        self._write("response.web_search_call.searching", **place)

    def _end_search(self, content: Any) -> None:
        item = self._search
        if item is None:
            return
        self._search = None
        results = content if isinstance(content, list) else []
        pairs = [
            (result["url"], str(result.get("title") or ""))
            for result in results
            if isinstance(result, dict) and isinstance(result.get("url"), str) and result["url"]
        ]
        known = {url for url, _ in self._results}
        new = [pair for pair in dict(pairs).items() if pair[0] not in known]
        self._results = [*self._results, *new][:_MOST_SOURCES]
        if self._sources:
            item.item["action"]["sources"] = [{"type": "url", "url": url} for url, _ in pairs]
        item.item["status"] = "completed" if isinstance(content, list) else "failed"
        self._write("response.web_search_call.completed", item_id=item.id, output_index=item.index)
        self._write("response.output_item.done", output_index=item.index, item=item.item)

    # ----------------------------------------------------------------------------------------------------------------- the end

    def _finish(self, _part: Part | None = None) -> None:
        stop, response = self._stop, self.response
        cut = stop == "max_tokens"
        if not self._began:
            self._begin()
        if self._compacts:
            self._compaction()
        else:
            self._close("incomplete" if cut else "completed", _LAST_PHASES.get(stop, "final_answer"))
            if stop == "refusal" and not any(item["type"] == "message" for item in self.output):
                # Clients do not show a part of the type `refusal`.
                self._text(_REFUSED)
                self._close(phase="final_answer")
        if stop == "model_context_window_exceeded":
            message = "The conversation has reached the end of the model's context window."
            self._fail(message, "context_length_exceeded")
            return
        response.status = "completed"
        if cut:
            response.status, response.incomplete_details = "incomplete", {"reason": "max_output_tokens"}
        response.usage = _tokens(self._usage, self._counts)
        self.ended = True
        if not self._is_whole:
            self._write(f"response.{response.status}", response=response)

    def _compaction(self) -> None:
        text = "".join(self._summary).strip()
        if not text:
            raise Problem("broken", "The model has written no summary of the conversation.")
        item = {"id": f"cmp_{self._id}_0", "type": "compaction", "encrypted_content": carriers.pack_summary(text)}
        self.output.append(item)
        self._write("response.output_item.added", output_index=0, item=item)
        self._write("response.output_item.done", output_index=0, item=item)

    def fail(self, message: str, code: str) -> bytes:
        """The end of an answer that has failed."""
        # An item that is not complete must not look complete.
        if self._item is not None and self._item.item in self.output:
            self.output.remove(self._item.item)
        self._item = self._search = None
        self._begin()
        self._fail(message, code)
        return self._take()

    def _fail(self, message: str, code: str) -> None:
        response = self.response
        response.status, response.error = "failed", {"code": code, "message": message}
        response.usage = _tokens(self._usage, self._counts)
        self.ended = True
        self._write("response.failed", response=response)

    # ------------------------------------------------------------------------------------------------------------- passthrough

    def _pass(self, part: Passthrough) -> bytes:
        """Events of a backend of the same protocol. They get another id where this answer has begun before them."""
        self._passed = True
        self._decoder = self._decoder or Decoder()
        if not self._began:
            if part.kind == "end":
                events = self._decoder.feed(part.data)
                self._raw = bytes(_raw_response(events[-1][1]).response) if events else b""
            return part.data
        written = []
        for _, event in self._decoder.feed(part.data):
            values = _decode(event)
            number = self._sequence
            self._sequence += 1
            values["sequence_number"] = number
            if isinstance(values.get("response"), dict):
                values["response"]["id"] = self.response.id
                if part.kind == "end":
                    self._raw = _encode(values["response"])
            written.append(b"event: %b\ndata: %b\n\n" % (str(values.get("type")).encode(), _encode(values)))
        return b"".join(written)

    def final(self) -> bytes:
        """The whole response as JSON, to be stored; empty for one that has failed."""
        if self.ended:
            return b"" if self.response.status == "failed" else _encode(self.response)
        return self._raw

    def final_id(self) -> str:
        """The id of the response: a backend whose answer passes through has its own ones."""
        return response_id(self._raw) if self._raw else self.response.id


def _broken() -> Problem:
    return Problem("broken", "The backend sent an event that is not part of the Messages API.")


class _RawResponse(Struct):
    response: Raw = Raw(b"{}")


_raw_response: Final = msgspec.json.Decoder(_RawResponse).decode


_CLOSING: Final = {
    "reasoning": ResponseWriter._close_reasoning,
    "function_call": ResponseWriter._close_function,
    "custom_tool_call": ResponseWriter._close_custom,
    "defined": ResponseWriter._close_defined,
}
_READ: Final[dict[type, Callable[[ResponseWriter, Any], None]]] = {
    BlockDelta: ResponseWriter._read_delta,
    BlockStart: ResponseWriter._read_block,
    BlockStop: ResponseWriter._end_block,
    MessageStart: ResponseWriter._read_start,
    MessageDelta: ResponseWriter._read_end,
    MessageStop: ResponseWriter._finish,
    Ping: ResponseWriter._keepalive,
    Passthrough: ResponseWriter._read_passed,
    WholeAnswer: ResponseWriter._read_fields,
}
