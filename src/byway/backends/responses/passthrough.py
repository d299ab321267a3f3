"""Responses requests between a client and a backend that both have that API: bytes pass through, the model's name is changed."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from byway.backends import errors
from byway.backends.openai.framing import cut_short, web_page
from byway.backends.openai.usage import TokenCounts
from byway.backends.protocol import FIRST, Attempt, Target
from byway.backends.responses.answer import add_usage, decode_response, failure, incomplete_reason
from byway.backends.responses.conversation import reasoning_item, returned
from byway.call import Call, json_headers
from byway.decoding import DECODE_ERRORS
from byway.messages import carriers
from byway.messages.blocks import Thinking
from byway.messages.events import Part, Passthrough, Usage, WholeAnswer
from byway.messages.request import Request, renamed
from byway.messages.sse import Decoder
from byway.problems import Problem
from byway.responseitems import ENDS, ERROR, INCOMPLETE, AnyResponse

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_items: Final = msgspec.json.Decoder(list[Raw]).decode
_OURS: Final = f'"{carriers.MARK}'.encode()
_STARTS: Final = frozenset(("response.created", "response.in_progress", "response.queued"))
_PINGS: Final = frozenset(("keepalive", "ping", "response.ping"))


def passes(request: Request, target: Target) -> bool:
    """Return whether the client's own bytes go to `target`.

    Servers other than OpenAI's know messages and functions only. A request with more is translated for them: its tools get flat
    names, and get their own ones back in the answer.
    """
    content = request.content
    if not content.responses:
        return False
    return target.vendor.responses_extras or not content.extended or request.untranslatable is not None


class _ModelOnly(Struct):
    model: str = ""


class _ResponseModel(Struct):
    response: _ModelOnly


_model_only: Final = msgspec.json.Decoder(_ModelOnly).decode
_response_model: Final = msgspec.json.Decoder(_ResponseModel).decode


def _model_of(data: bytes) -> str:
    """The name of the model in a request or a response."""
    return _model_only(data).model


def _model_of_event(data: bytes) -> str:
    return _response_model(data).response.model


class _PassingItem(Struct):
    type: Any = None
    summary: Any = None
    encrypted_content: Any = None


_passing_item: Final = msgspec.json.Decoder(_PassingItem).decode


def request(request: Request, target: Target) -> Call:
    """The call with the client's body. What Byway has put into it for another backend is removed. Raises Problem."""
    try:
        return _request(request, target)
    except DECODE_ERRORS as error:
        # A name that is no text, for example: the parts that Byway reads do not contain it.
        raise Problem("invalid_request", f"The request body is not a Responses request: {error}") from None


def _request(request: Request, target: Target) -> Call:
    content = request.content
    body = renamed(content.responses, target.model, _model_of)
    foreign = content.client_metadata and not target.vendor.responses_extras
    if foreign or (content.carriers and _OURS in body):
        fields = _fields(body)
        if foreign:
            fields.pop("client_metadata", None)
        if content.carriers and _OURS in bytes(fields.get("input", b"")):
            fields["input"] = Raw(_encode(_own_items(fields["input"], target)))
        body = _encode(fields)
    return Call("POST", "/v1/responses", json_headers(request.headers.get("user-agent")), body)


def _own_items(input: Raw, target: Target) -> list[Any]:
    """The input without reasoning of other backends, and with summaries as text."""
    items: list[Any] = []
    for raw in _items(input):
        if _OURS not in bytes(raw):
            items.append(raw)
            continue
        item = _passing_item(raw)
        if not carriers.is_ours(item.encrypted_content):
            items.append(raw)
        elif (summary := carriers.unpack_summary(item.encrypted_content)) is not None:
            content = [{"type": "input_text", "text": summary}]
            items.append({"type": "message", "role": "user", "content": content})
        elif (own := _own_reasoning(item, target)) is not None:
            items.append(own)
    return items


def _own_reasoning(item: _PassingItem, target: Target) -> Any:
    """The item of reasoning that this backend has sent in an answer that did not pass through; None for any other."""
    block = carriers.unpack(item.encrypted_content, item.summary)
    if block is None or block["type"] != "thinking":
        return None
    reasoning = returned(Thinking(block["thinking"], block["signature"]), target)
    return None if reasoning is None else reasoning_item(reasoning, block["thinking"])


class _PassingEvent(Struct):
    """The fields that Byway reads of an event. Its large parts stay undecoded."""

    type: Any = None
    delta: Any = None
    response: Raw = Raw()


_event: Final = msgspec.json.Decoder(_PassingEvent).decode


class PassingReader:
    """Passes an answer on as events. Reads from it usage, status, errors, and whether it is complete."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self.finished = False
        self._model = request.model
        self._target = target
        self._streams = request.stream
        self._counts = TokenCounts(attempt.estimate or request.estimate)
        self._whole: list[bytes] | None = None if request.stream else []
        self._begun = False
        """The first bytes have shown whether the answer streams."""
        self._sse = Decoder()
        self._written = 0
        self._stop = ""
        self._answer = b""
        """The response of the last event, for a client that does not stream."""

    @property
    def estimated(self) -> bool:
        return self._counts.estimated

    @property
    def reasoning(self) -> int:
        return self._counts.reasoning

    def spent(self, size: int) -> Usage:
        return self._counts.total(self._written)

    def feed(self, data: bytes) -> list[Part]:
        if not self._begun and (start := data.lstrip()[:1]):
            self._begun = True
            self._whole = [] if start in (b"{", b"<") else None
        if self._whole is not None:
            self._whole.append(data)
            return []
        return self._read(self._sse.feed(data))

    def _read(self, events: list[tuple[str, bytes]]) -> list[Part]:
        parts: list[Part] = []
        for name, data in events:
            if self.finished or data == b"[DONE]":
                break
            if data.strip() and (part := self._part(name, data)) is not None:
                parts.append(part)
        return parts

    def _part(self, name: str, data: bytes) -> Part | None:
        try:
            event = _event(data)
        except DECODE_ERRORS:
            raise self._broken() from None
        kind = event.type if isinstance(event.type, str) and event.type else name
        if not kind:
            raise errors.from_success(data, backend=self._target.backend, window=self._target.window) or self._broken()
        if kind == ERROR:
            raise errors.from_error(_decode(data), backend=self._target.backend, window=self._target.window)
        if isinstance(event.delta, str):
            self._written += len(event.delta)
        if event.response:
            data = self._renamed(data)
        if kind in ENDS:
            self._end(event.response)
            if not self._streams:
                self._answer = bytes(_fields(data)["response"])
                return None
        if not self._streams:
            return None
        data = b"event: %b\ndata: %b\n\n" % (kind.encode(), data.replace(b"\n", b" "))
        if kind in ENDS:
            return Passthrough(data, "end", False, *self._report(), True)
        shown = "start" if kind in _STARTS else "ping" if kind in _PINGS else "content"
        return Passthrough(data, shown, responses=True)  # type: ignore[arg-type]

    def _end(self, raw: Raw) -> None:
        """Read the response that ends the answer. Raises Problem for one that has failed."""
        try:
            response = decode_response(raw) if raw else AnyResponse()
        except DECODE_ERRORS:
            raise self._broken() from None
        self._note(response)
        self.finished = True

    def _note(self, response: AnyResponse) -> None:
        add_usage(self._counts, response)
        if response.status in ("failed", "cancelled") or response.error:
            raise failure(response, response.status, self._target)
        self._stop = "end_turn"
        if response.status == "incomplete":
            self._stop = "refusal" if incomplete_reason(response) == "content_filter" else "max_tokens"
        elif b'"function_call"' in bytes(response.output) or b'"custom_tool_call"' in bytes(response.output):
            self._stop = "tool_use"

    def _renamed(self, data: bytes) -> bytes:
        """The event with the client's name of the model."""
        try:
            if _model_of_event(data) in ("", self._model):
                return data
            changed = renamed(data, self._model, _model_of_event)
            if _model_of_event(changed) == self._model:
                return changed
            values = _decode(data)
            values["response"]["model"] = self._model
            return _encode(values)
        except DECODE_ERRORS:
            return data

    def _report(self) -> tuple[Usage, str]:
        return self._counts.total(self._written), self._stop

    def _broken(self) -> Problem:
        return Problem(
            "broken",
            f"Backend {self._target.backend!r} sent something that is not an event of the Responses API, or only its beginning.",
        )

    def read_error(self, body: bytes) -> bool:
        """Errors of this API hold no answer."""
        return False

    def close(self) -> list[Part]:
        """End the answer. Raises Problem when it was cut short or is no response."""
        if self._whole is None:
            parts = [] if self.finished else self._read(self._sse.close())
            if not self.finished:
                raise cut_short(self._target.backend)
            if not self._streams:
                return [self._complete(self._answer)]
            return parts
        data = b"".join(self._whole)
        if data.lstrip()[:1] == b"<":
            raise web_page(self._target.backend)
        try:
            response = decode_response(data)
        except DECODE_ERRORS:
            raise cut_short(self._target.backend) from None
        if response.object != "response" and not response.output:
            problem = errors.from_success(data, backend=self._target.backend, window=self._target.window)
            raise problem or self._broken()
        self._note(response)
        data = renamed(data, self._model, _model_of)
        self._written = len(data)
        return [*self._streamed(data, response)] if self._streams else [self._complete(data)]

    def _complete(self, data: bytes) -> WholeAnswer:
        return WholeAnswer(data, False, *self._report(), True)

    def _streamed(self, data: bytes, response: AnyResponse) -> list[Part]:
        """A whole answer as events, for a client that wants a stream from a server that did not stream."""
        values = _decode(data)
        output = values.get("output")
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**values, "status": "in_progress", "output": []}}
        ]
        for index, item in enumerate(output if isinstance(output, list) else ()):
            place: dict[str, Any] = {"output_index": index}
            events.append({"type": "response.output_item.added", **place, "item": item})
            parts = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
            for at, part in enumerate(parts if isinstance(parts, list) else ()):
                text = part.get("text") if isinstance(part, dict) else None
                if isinstance(text, str):
                    within = {"item_id": item.get("id"), **place, "content_index": at}
                    events += [
                        {"type": "response.content_part.added", **within, "part": {**part, "text": ""}},
                        {"type": "response.output_text.delta", **within, "delta": text, "logprobs": []},
                        {"type": "response.output_text.done", **within, "text": text, "logprobs": []},
                        {"type": "response.content_part.done", **within, "part": part},
                    ]
            events.append({"type": "response.output_item.done", **place, "item": item})
        status = INCOMPLETE if response.status == "incomplete" else "response.completed"
        events.append({"type": status, "response": values})
        written = [
            b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), _encode({**event, "sequence_number": number}))
            for number, event in enumerate(events)
        ]
        return [
            Passthrough(b"".join(written[:-1]), "content", responses=True),
            Passthrough(written[-1], "end", False, *self._report(), True),
        ]
