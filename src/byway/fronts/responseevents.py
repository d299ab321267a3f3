"""Writes an answer in the format of the Responses API: as a stream of events, or whole. Pure.

Every event and field of the format is written: Codex reads `output_item.done`, the official SDK `completed.response.output`,
others the deltas (measured with Codex 0.171.0, `openai` 3.57.0 and opencode 1.18.33, 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from byway.fronts.freeinput import FreeInput
from byway.fronts.responsetools import SEARCH, Names, defined_item
from byway.messages import carriers
from byway.messages.events import (
    BlockDelta,
    BlockStop,
    InputDelta,
    MessageStop,
    Part,
    Passthrough,
    Ping,
    TextDelta,
    WholeAnswer,
)
from byway.messages.sse import Decoder
from byway.messages.stream import EVENT_ERRORS, fields, tool_input, unfold
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_REFUSED: Final = "The model has refused to answer this request."
#: Results of searches of one answer whose addresses are looked for in its text.
_MOST_SOURCES: Final = 100

JsonObject = dict[str, Any]


class _OpenItem:
    """The item that is being written."""

    __slots__ = ("citations", "defined", "free", "head", "id", "index", "item", "kind", "pieces", "shown", "start")

    def __init__(self, kind: str, id: str, index: int, item: JsonObject) -> None:
        self.kind = kind
        self.id = id
        self.index = index
        self.item = item
        self.pieces: list[str] = []
        self.head = b""
        """The event of a delta up to its sequence number, and after that."""
        self.defined = ""
        """The kind of a tool whose form the client knows."""
        self.free: FreeInput | None = None
        self.citations: list[JsonObject] = []
        """Of a message: the citations of the current block."""
        self.start = 0
        """Of a message: where the current block begins in its text."""
        self.shown = False
        """Of reasoning: it has a summary."""


class ResponseWriter:
    """Writes one answer."""

    def __init__(
        self,
        id: str,
        model: str,
        created: int,
        names: Names,
        echo: Mapping[str, Any],
        *,
        compacts: bool = False,
        sources: bool = False,
    ) -> None:
        """`id`: hex digits. `echo`: fields of the request that a response repeats. `compacts`: the answer is one compaction
        item. `sources`: searches list their addresses."""
        self.id = f"resp_{id}"
        self.count_reasoning: Callable[[], int] = int
        """Returns the output tokens that were reasoning."""
        self.response: JsonObject | None = None
        """The whole response, when it is complete."""
        self._raw = b""
        """The same as JSON, where it passed through."""
        self.output: list[JsonObject] = []
        self._id = id
        self._model = model
        self._created = created
        self._names = names
        self._echo = echo
        self._compacts = compacts
        self._sources = sources
        self._sequence = 0
        self._began = False
        self._passed = False
        """The events of a backend pass through."""
        self._item: _OpenItem | None = None
        self._search: _OpenItem | None = None
        """A search whose result has not come."""
        self._query: list[str] | None = None
        """The pieces of the input of a search."""
        self._results: list[tuple[str, str]] = []
        """URL and title of what searches have found."""
        self._annotations: list[JsonObject] = []
        self._usage: JsonObject = {}
        self._stop = ""
        self._summary: list[str] = []
        self._decoder = Decoder()
        self._is_whole = False
        """Only the whole response is wanted: no event is written."""

    # ------------------------------------------------------------------------------------------------------- parts to events

    def encode(self, parts: Iterable[Part]) -> bytes:
        """The events of `parts`. Raises Problem for events that are not those of the Messages API."""
        try:
            return b"".join([self._convert(part) for part in parts])
        except EVENT_ERRORS:
            raise Problem("broken", "The backend sent an event that is not part of the Messages API.") from None

    def _convert(self, part: Part) -> bytes:
        kind = type(part)
        # The most frequent ones first, and without a dict for each.
        if kind is BlockDelta and not self._compacts:
            delta = part.delta  # type: ignore[union-attr]
            if type(delta) is TextDelta:
                return self._text(delta.text)
            if type(delta) is InputDelta:
                return self._input(delta.partial_json)
        if kind is BlockStop:
            return self._end_block()
        if kind is MessageStop:
            return self._finish()
        if kind is Ping:
            return self._keepalive()
        if kind is Passthrough and part.responses:  # type: ignore[union-attr]
            return self._pass(part)  # type: ignore[arg-type]
        return b"".join([self._event(event) for event in fields(part, self._decoder)])

    def whole(self, parts: Iterable[Part]) -> bytes:
        """The whole answer as JSON. Raises Problem for parts that do not make one."""
        self._is_whole = True
        parts = list(parts)
        if len(parts) == 1 and type(parts[0]) is WholeAnswer:
            if parts[0].responses:
                self._raw = parts[0].data
                return parts[0].data
            parts = unfold(parts[0].data)
        self.encode(parts)
        if self.response is None:
            raise Problem("broken", "The backend's answer has no end.")
        if self.response["status"] == "failed":
            raise Problem("prompt_too_long", str(self.response["error"]["message"]))
        return _encode(self.response)

    def _event(self, event: JsonObject) -> bytes:
        match event["type"]:
            case "message_start":
                self._usage = dict(event["message"].get("usage") or {})
                return self._begin()
            case "content_block_start":
                return self._start(event["content_block"])
            case "content_block_delta":
                return self._delta(event["delta"])
            case "content_block_stop":
                return self._end_block()
            case "message_delta":
                self._stop = event["delta"].get("stop_reason") or self._stop
                counts = event.get("usage") or {}
                self._usage.update({name: count for name, count in counts.items() if count is not None})
            case "message_stop":
                return self._finish()
            case "ping":
                return self._keepalive()
        return b""

    def _start(self, block: JsonObject) -> bytes:
        if self._compacts:
            return b""
        match block["type"]:
            case "text":
                written = b"" if self._item is None or self._item.kind == "message" else self._close()
                if self._item is not None:
                    self._item.start = sum(map(len, self._item.pieces))
                return written + self._text(block.get("text") or "")
            case "thinking":
                return self._open("reasoning", {"type": "reasoning", "summary": []}) + self._think(
                    block.get("thinking") or ""
                )
            case "redacted_thinking":
                opened = self._open("reasoning", {"type": "reasoning", "summary": []})
                self._current("reasoning").item["encrypted_content"] = carriers.pack_redacted(str(block["data"]))
                return opened
            case "tool_use":
                return self._call(block)
            case "server_tool_use" if block.get("name") == SEARCH:
                given = block.get("input")
                self._query = [_encode(given).decode()] if given else []
                return self._close()
            case "web_search_tool_result":
                return self._end_search(block.get("content"))
        return b""

    def _delta(self, delta: JsonObject) -> bytes:
        if self._compacts:
            if delta["type"] == "text_delta":
                self._summary.append(delta["text"])
            return b""
        match delta["type"]:
            case "text_delta":
                return self._text(delta["text"])
            case "thinking_delta":
                return self._think(delta["thinking"])
            case "signature_delta":
                item = self._current("reasoning")
                item.item["encrypted_content"] = carriers.pack_thinking("".join(item.pieces), delta["signature"])
            case "input_json_delta":
                return self._input(delta["partial_json"])
            case "citations_delta":
                citation = delta["citation"]
                if isinstance(citation.get("url"), str) and self._item is not None:
                    self._item.citations.append(citation)
        return b""

    def _end_block(self) -> bytes:
        if self._query is not None:
            pieces, self._query = self._query, None
            return self._begin_search(str(tool_input("".join(pieces)).get("query") or ""))
        item = self._item
        if item is None:
            return b""
        if item.kind != "message":
            return self._close()
        return self._cite(item)

    # ----------------------------------------------------------------------------------------------------------------- events

    def _write(self, kind: str, **values: Any) -> bytes:
        if self._is_whole:
            return b""
        number = self._sequence
        self._sequence += 1
        data = _encode({"type": kind, "sequence_number": number, **values})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _keepalive(self) -> bytes:
        # An event, because clients do not count comments as life.
        if self._passed:
            return b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % self._sequence
        return self._write("keepalive")

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        response = self._response("in_progress")
        return self._write("response.created", response=response) + self._write(
            "response.in_progress", response=response
        )

    def _response(
        self, status: str, error: JsonObject | None = None, incomplete: JsonObject | None = None, usage: Any = None
    ) -> JsonObject:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": incomplete,
            "model": self._model,
            "output": self.output,
            **self._echo,
            "usage": usage,
        }

    def _open(self, kind: str, item: JsonObject) -> bytes:
        """Open an item. Items come one after the other."""
        written = self._begin() + self._close()
        prefix = _PREFIXES[kind]
        index = len(self.output)
        id = f"{prefix}_{self._id}_{index}"
        self._item = _OpenItem(kind, id, index, {"id": id, **item})
        if kind in ("message", "function_call", "custom_tool_call"):
            self._item.item["status"] = "in_progress"
        self.output.append(self._item.item)
        return written + self._write("response.output_item.added", output_index=index, item=self._item.item)

    def _current(self, kind: str) -> _OpenItem:
        """The open item; raises Problem when it is of another kind."""
        item = self._item
        if item is None or item.kind != kind:
            raise Problem("broken", "The backend sent events of the Messages API in a wrong order.")
        return item

    def _close(self, status: str = "completed") -> bytes:
        """Close the open item."""
        item = self._item
        if item is None:
            return self._end_search(None) if self._search is not None else b""
        self._item = None
        written = _CLOSING[item.kind](self, item)
        if "status" in item.item:
            item.item["status"] = status
        return written + self._write("response.output_item.done", output_index=item.index, item=item.item)

    # ---------------------------------------------------------------------------------------------------------------- messages

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        item = self._item
        written = b""
        if item is None or item.kind != "message":
            written = self._open("message", {"type": "message", "role": "assistant", "content": []})
            item = self._current("message")
            if self._is_whole:
                item.pieces.append(text)
                return b""
            place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            written += self._write("response.content_part.added", **place, part=part)
            data = _encode({"type": "response.output_text.delta", **place, "logprobs": []})[:-1]
            item.head = b'event: response.output_text.delta\ndata: %b,"sequence_number":' % data
        item.pieces.append(text)
        if self._is_whole:
            return b""
        number = self._sequence
        self._sequence += 1
        return b'%b%b%d,"delta":%b}\n\n' % (written, item.head, number, _encode(text))

    def _cite(self, item: _OpenItem) -> bytes:
        """Write the citations of a block of text that has ended."""
        if not item.citations:
            return b""
        end = sum(map(len, item.pieces))
        written = b"".join(
            [
                self._annotate(item, item.start, end, str(citation["url"]), str(citation.get("title") or ""))
                for citation in item.citations
            ]
        )
        item.citations = []
        return written

    def _annotate(self, item: _OpenItem, start: int, end: int, url: str, title: str) -> bytes:
        annotation = {"type": "url_citation", "start_index": start, "end_index": end, "url": url, "title": title}
        number = len(self._annotations)
        self._annotations.append(annotation)
        return self._write(
            "response.output_text.annotation.added",
            item_id=item.id,
            output_index=item.index,
            content_index=0,
            annotation_index=number,
            annotation=annotation,
        )

    def _close_message(self, item: _OpenItem) -> bytes:
        written = self._cite(item)
        text = "".join(item.pieces)
        if self._results and not self._annotations:
            # Models of other servers do not cite: an address of a result in their text is a citation.
            for url, title in self._results:
                at = text.find(url)
                if at >= 0:
                    written += self._annotate(item, at, at + len(url), url, title)
        part = {"type": "output_text", "text": text, "annotations": self._annotations, "logprobs": []}
        self._annotations = []
        item.item["content"] = [part]
        place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        return (
            written
            + self._write("response.output_text.done", **place, text=text, logprobs=[])
            + self._write("response.content_part.done", **place, part=part)
        )

    # --------------------------------------------------------------------------------------------------------------- reasoning

    def _think(self, text: str) -> bytes:
        if not text:
            return b""
        item = self._current("reasoning")
        written = b""
        place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
        if not item.shown:
            item.shown = True
            part = {"type": "summary_text", "text": ""}
            written = self._write("response.reasoning_summary_part.added", **place, part=part)
            data = _encode({"type": "response.reasoning_summary_text.delta", **place})[:-1]
            item.head = b'event: response.reasoning_summary_text.delta\ndata: %b,"sequence_number":' % data
        item.pieces.append(text)
        if self._is_whole:
            return b""
        number = self._sequence
        self._sequence += 1
        return b'%b%b%d,"delta":%b}\n\n' % (written, item.head, number, _encode(text))

    def _close_reasoning(self, item: _OpenItem) -> bytes:
        text = "".join(item.pieces)
        if "encrypted_content" not in item.item:
            item.item["encrypted_content"] = carriers.pack_thinking(text, "")
        if not item.shown:
            return b""
        part = {"type": "summary_text", "text": text}
        item.item["summary"] = [part]
        place = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
        return self._write("response.reasoning_summary_text.done", **place, text=text) + self._write(
            "response.reasoning_summary_part.done", **place, part=part
        )

    # ------------------------------------------------------------------------------------------------------------------- calls

    def _call(self, block: JsonObject) -> bytes:
        origin = self._names.origin(block["name"])
        named: JsonObject = {"call_id": block["id"], "name": origin.name}
        if origin.namespace:
            named["namespace"] = origin.namespace
        if origin.kind == "custom":
            written = self._open("custom_tool_call", {"type": "custom_tool_call", **named, "input": ""})
            self._current("custom_tool_call").free = FreeInput()
        elif origin.kind == "function":
            written = self._open("function_call", {"type": "function_call", **named, "arguments": ""})
            item = self._current("function_call")
            place = {"item_id": item.id, "output_index": item.index}
            data = _encode({"type": "response.function_call_arguments.delta", **place})[:-1]
            item.head = b'event: response.function_call_arguments.delta\ndata: %b,"sequence_number":' % data
        else:
            # Their form is complete only with the whole input.
            written = self._begin() + self._close()
            index = len(self.output)
            id = f"{_PREFIXES[origin.kind]}_{self._id}_{index}"
            self._item = _OpenItem("defined", id, index, {"id": id, "call_id": block["id"]})
            self._item.defined = origin.kind
        given = block.get("input")
        return written + (self._input(_encode(given).decode()) if given else b"")

    def _input(self, piece: str) -> bytes:
        if self._query is not None:
            self._query.append(piece)
            return b""
        item = self._item
        if item is None or not piece:
            return b""
        item.pieces.append(piece)
        if item.kind == "function_call":
            return self._arguments(item, piece)
        if item.free is not None and (text := item.free.feed(piece)):
            return self._free_delta(item, text)
        return b""

    def _free_delta(self, item: _OpenItem, text: str) -> bytes:
        return self._write(
            "response.custom_tool_call_input.delta", item_id=item.id, output_index=item.index, delta=text
        )

    def _close_function(self, item: _OpenItem) -> bytes:
        written = b""
        if not item.pieces:
            item.pieces.append("{}")
            written = self._arguments(item, "{}")
        arguments = "".join(item.pieces)
        item.item["arguments"] = arguments
        return written + self._write(
            "response.function_call_arguments.done",
            item_id=item.id,
            output_index=item.index,
            name=item.item["name"],
            arguments=arguments,
        )

    def _arguments(self, item: _OpenItem, piece: str) -> bytes:
        number = self._sequence
        self._sequence += 1
        return b'%b%d,"delta":%b}\n\n' % (item.head, number, _encode(piece))

    def _close_custom(self, item: _OpenItem) -> bytes:
        text, rest = item.free.finish() if item.free is not None else ("", "")
        written = self._free_delta(item, rest) if rest else b""
        item.item["input"] = text
        return written + self._write(
            "response.custom_tool_call_input.done", item_id=item.id, output_index=item.index, input=text
        )

    def _close_defined(self, item: _OpenItem) -> bytes:
        """An item that only its whole input can make."""
        given = tool_input("".join(item.pieces))
        item.item.update(defined_item(item.defined, given), status="completed")
        self.output.append(item.item)
        added = {**item.item, "status": "in_progress"}
        return self._write("response.output_item.added", output_index=item.index, item=added)

    # ---------------------------------------------------------------------------------------------------------------- searches

    def _begin_search(self, query: str) -> bytes:
        action = {"type": "search", "query": query, "queries": [query]}
        written = self._open("web_search_call", {"type": "web_search_call", "status": "in_progress", "action": action})
        self._search = search = self._current("web_search_call")
        self._item = None
        place = {"item_id": search.id, "output_index": search.index}
        return (
            written
            + self._write("response.web_search_call.in_progress", **place)
            + self._write("response.web_search_call.searching", **place)
        )

    def _end_search(self, content: Any) -> bytes:
        item = self._search
        if item is None:
            return b""
        self._search = None
        results = content if isinstance(content, list) else []
        pairs = [
            (result["url"], str(result.get("title") or ""))
            for result in results
            if isinstance(result, dict) and isinstance(result.get("url"), str) and result["url"]
        ]
        known = {url for url, _ in self._results}
        self._results += [pair for pair in dict(pairs).items() if pair[0] not in known]
        del self._results[_MOST_SOURCES:]
        if self._sources:
            item.item["action"]["sources"] = [{"type": "url", "url": url} for url, _ in pairs]
        item.item["status"] = "completed" if isinstance(content, list) else "failed"
        return self._write(
            "response.web_search_call.completed", item_id=item.id, output_index=item.index
        ) + self._write("response.output_item.done", output_index=item.index, item=item.item)

    # ----------------------------------------------------------------------------------------------------------------- the end

    def usage(self) -> JsonObject:
        """The tokens: all of the prompt, cached or not, are input."""
        cached = self._usage.get("cache_read_input_tokens") or 0
        stored = self._usage.get("cache_creation_input_tokens") or 0
        prompt = (self._usage.get("input_tokens") or 0) + cached + stored
        output = self._usage.get("output_tokens") or 0
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": stored},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": min(self.count_reasoning(), output)},
            "total_tokens": prompt + output,
        }

    def _finish(self) -> bytes:
        stop = self._stop
        cut = stop == "max_tokens"
        written = self._begin()
        if self._compacts:
            written += self._compaction()
        else:
            written += self._close("incomplete" if cut else "completed")
            if stop == "refusal" and not any(item["type"] == "message" for item in self.output):
                # Clients do not show a part of the type `refusal`.
                written += self._text(_REFUSED) + self._close()
        if stop == "model_context_window_exceeded":
            message = "The conversation has reached the end of the model's context window."
            return written + self._fail(message, "context_length_exceeded")
        status, incomplete = ("incomplete", {"reason": "max_output_tokens"}) if cut else ("completed", None)
        self.response = self._response(status, incomplete=incomplete, usage=self.usage())
        return written + self._write(f"response.{status}", response=self.response)

    def _compaction(self) -> bytes:
        text = "".join(self._summary).strip()
        if not text:
            raise Problem("broken", "The model has written no summary of the conversation.")
        item = {"id": f"cmp_{self._id}_0", "type": "compaction", "encrypted_content": carriers.pack_summary(text)}
        self.output.append(item)
        return self._write("response.output_item.added", output_index=0, item=item) + self._write(
            "response.output_item.done", output_index=0, item=item
        )

    def fail(self, message: str, code: str) -> bytes:
        """The end of an answer that has failed."""
        # An item that is not complete must not look complete.
        if self._item is not None and self._item.item in self.output:
            self.output.remove(self._item.item)
        self._item = self._search = None
        return self._begin() + self._fail(message, code)

    def _fail(self, message: str, code: str) -> bytes:
        self.response = self._response("failed", error={"code": code, "message": message}, usage=self.usage())
        return self._write("response.failed", response=self.response)

    # ------------------------------------------------------------------------------------------------------------- passthrough

    def _pass(self, part: Passthrough) -> bytes:
        """Events of a backend of the same protocol. They get another id where this answer has begun before them."""
        self._passed = True
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
                values["response"]["id"] = self.id
                if part.kind == "end":
                    self._raw = _encode(values["response"])
            written.append(b"event: %b\ndata: %b\n\n" % (str(values.get("type")).encode(), _encode(values)))
        return b"".join(written)

    def final(self) -> bytes:
        """The whole response as JSON, to be stored; empty for one that has failed."""
        if self.response is not None:
            return b"" if self.response["status"] == "failed" else _encode(self.response)
        return self._raw

    def final_id(self) -> str:
        """The id of the response: a backend whose answer passes through has its own ones."""
        return _id_only(self._raw).id if self._raw else self.id


class _RawResponse(Struct):
    response: Raw = Raw(b"{}")


class _IdOnly(Struct):
    id: str = ""


_raw_response: Final = msgspec.json.Decoder(_RawResponse).decode
_id_only: Final = msgspec.json.Decoder(_IdOnly).decode
_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
    "tool_search": "tsc",
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
}
_CLOSING: Final = {
    "message": ResponseWriter._close_message,
    "reasoning": ResponseWriter._close_reasoning,
    "function_call": ResponseWriter._close_function,
    "custom_tool_call": ResponseWriter._close_custom,
    "defined": ResponseWriter._close_defined,
}
