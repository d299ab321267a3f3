"""The Anthropic Messages protocol. Requests and answers pass through; only the name of the model is changed. No I/O."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct, UnsetType

from byway.backends import catalog, errors
from byway.backends.compatible import adapt_request
from byway.backends.openai.usage import token_count
from byway.backends.protocol import FIRST, Attempt, ModelFacts, Target
from byway.call import Call
from byway.decoding import DECODE_ERRORS
from byway.messages import signature
from byway.messages.events import TOKENS, BilledUsage, Part, Passthrough, Usage, WholeAnswer
from byway.messages.request import Request, renamed
from byway.messages.sse import CR, EVENT_LIMIT, Decoder
from byway.messages.stream import unfold
from byway.problems import Problem

NATIVE: Final = True
_JSON: Final = ("content-type", "application/json")


#: The limit for a request of another API without one. Every model of Anthropic since Claude 4 accepts it.
_DEFAULT_MAX_TOKENS: Final = 32_000


def passes(request: Request, target: Target) -> bool:
    return False


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    body = _without_ours(request.patched(target.model))
    if target.vendor.adapts:
        body = adapt_request(body, request, target)
    if request.extra is not None and isinstance(request.params.max_tokens, UnsetType):
        body = b'{"max_tokens":%d,%b' % (target.max_output or _DEFAULT_MAX_TOKENS, body[1:])
    return Call("POST", "/v1/messages", (_JSON, *_versions(request)), body)


def _versions(request: Request) -> tuple[tuple[str, str], ...]:
    """The version and betas of the client, unchanged. A client without a version gets the one that every server knows."""
    forwarded = request.forwarded
    return forwarded if "anthropic-version" in request.headers else (("anthropic-version", "2023-06-01"), *forwarded)


_OURS: Final = f'"{signature.PREFIX}'.encode()


class _TypeOnly(Struct):
    type: str = ""


class _History(Struct):
    messages: Raw
    thinking: _TypeOnly | None = None


class _HistoryTurn(Struct):
    role: str
    content: Raw


class _HistoryBlock(Struct):
    type: str = ""
    signature: str | None = None


def _without_ours(body: bytes) -> bytes:
    """Remove the thinking that Byway signed for another model: Anthropic's servers accept only their own signatures.

    So a session can move from a local model to a cloud model. Every other byte stays. A body that cannot be decoded is
    returned as it is: the backend refuses it.
    """
    if _OURS not in body:
        return body
    try:
        history = msgspec.json.decode(body, type=_History)
        turns = msgspec.json.decode(history.messages, type=list[Raw])
        kept = [_without_our_thinking(turn) for turn in turns]
    except DECODE_ERRORS:
        return body
    remaining = [turn for turn in kept if turn]
    if not remaining:
        return body
    body = body.replace(bytes(history.messages), b"[%b]" % b",".join(remaining), 1)
    answers = [at for at, turn in enumerate(turns) if msgspec.json.decode(turn, type=_HistoryTurn).role == "assistant"]
    changed = answers and kept[answers[-1]] != bytes(turns[answers[-1]])
    thinking = history.thinking
    if changed and thinking is not None and thinking.type == "enabled" and b'"tool_result"' in bytes(turns[-1]):
        # With a thinking budget, the turn that a tool result answers must begin with thinking. This one request goes without.
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        for name in ("thinking", "context_management"):
            fields.pop(name, None)
        body = msgspec.json.encode(fields)
    return body


def _without_our_thinking(turn: Raw) -> bytes:
    """A turn without thinking that Byway signed; b"" when it had no other block."""
    data = bytes(turn)
    content = msgspec.json.decode(turn, type=_HistoryTurn).content
    if _OURS not in data or not bytes(content).startswith(b"["):
        return data
    blocks = msgspec.json.decode(content, type=list[Raw])
    kept = []
    for block in blocks:
        fields = msgspec.json.decode(block, type=_HistoryBlock)
        if fields.type != "thinking" or not signature.ours(fields.signature):
            kept.append(bytes(block))
    if len(kept) == len(blocks):
        return data
    return data.replace(bytes(content), b"[%b]" % b",".join(kept), 1) if kept else b""


class _EventUsage(Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    # https://platform.claude.com/docs/en/api/messages (seen 2026-11-30). Of any type: other vendors may have them too.
    cache_creation: Any = None
    server_tool_use: Any = None
    speed: Any = None
    output_tokens_details: Any = None


class _EventDelta(Struct):
    stop_reason: str | None = None


class _EventMessage(Struct):
    usage: _EventUsage | None = None
    stop_reason: str | None = None


class _AnthropicEvent(Struct):
    """The fields that Byway reads of any event, or of a whole answer."""

    type: str = ""
    message: _EventMessage | None = None
    delta: _EventDelta | None = None
    usage: _EventUsage | None = None
    stop_reason: str | None = None
    error: Any = None


class _AnswerModel(Struct):
    model: str = ""


class _StartedModel(Struct):
    message: _AnswerModel = msgspec.field(default_factory=_AnswerModel)


_decode_name: Final = msgspec.json.Decoder(_AnswerModel).decode
_decode_started: Final = msgspec.json.Decoder(_StartedModel).decode
_decode_event: Final = msgspec.json.Decoder(_AnthropicEvent).decode
#: Bytes of a stream for a token of output, about: an event of 140 bytes has three or four.
_BYTES_PER_TOKEN: Final = 40
#: Bytes of a whole answer for a token, about.
_WHOLE_BYTES: Final = 4
#: The frames that are not decoded: most of a stream.
_PLAIN: Final = (b"event: content_block", b"event: ping")


class AnthropicReader:
    """Passes the bytes of an answer through, whole frames at a time, and reads usage, stop reason and error from them."""

    reasoning = 0

    def __init__(self, request: Request, target: Target, attempt: Attempt) -> None:
        self.finished = False
        self._estimate = attempt.estimate
        self._model = request.model
        self._renamed = request.model != target.model
        self._stream = request.stream
        self._backend = target.backend
        self._window = target.window
        self._rest = b""
        self._pieces: list[bytes] = []
        """The bytes after `_rest`; joined when a frame ends."""
        self._size = 0
        self._tail = b""
        self._first = True
        self._sse = False
        self._stopped = False
        self._usage = BilledUsage()
        self._has_input_count = False
        """The backend has reported the input tokens."""
        self._has_output_count = False
        """The backend has reported the output tokens of the whole answer."""
        self._problem: Problem | None = None

    @property
    def estimated(self) -> bool:
        return not (self._has_input_count and self._has_output_count)

    def feed(self, data: bytes) -> list[Part]:
        if self.finished:
            return []
        self._size += len(data)
        joint = self._tail + data
        self._tail = joint[-3:]
        if not self._first and not (self._sse and _ends(joint)):
            self._pieces.append(data)
            if self._sse and self._size > EVENT_LIMIT:
                raise Problem("broken", f"Backend {self._backend!r} sent an event of over {EVENT_LIMIT >> 20} MiB.")
            return []
        data = self._joined(data)
        if self._first:
            start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
            if not start:
                return []
            self._first = False
            self._sse = start[:1] not in (b"{", b"[", b"<")
            if self._sse:
                data = start
        if not self._sse:
            self._rest = data
            return []
        end = _end(data)
        if not end:
            self._rest = data
            return []
        self._rest = data[end:]
        self._size = len(self._rest)
        return self._frames(data[:end])

    def read_error(self, body: bytes) -> bool:
        """Errors of this API hold no answer."""
        return False

    def _joined(self, data: bytes = b"") -> bytes:
        """All bytes that were not passed on yet."""
        data = b"".join([self._rest, *self._pieces, data])
        self._rest, self._pieces = b"", []
        return data

    def _frames(self, data: bytes) -> list[Part]:
        """The frames of `data`, which ends with a whole one. Neighbours that are not decoded are one part."""
        events: list[Part] = []
        plain: list[bytes] = []
        for frame in _split(data):
            if frame.startswith(_PLAIN):
                plain.append(frame)
                continue
            if plain:
                events.append(_joined_frames(plain))
                plain = []
            event = self._read_frame(frame)
            if event is not None:
                events.append(event)
            if self.finished:
                return events
        if plain:
            events.append(_joined_frames(plain))
        return events

    def _read_frame(self, frame: bytes) -> Part | None:
        decoder = Decoder()
        events = decoder.feed(frame) or decoder.close()
        if not events:
            return Passthrough(frame, "ping")
        _, data = events[0]
        try:
            event = _decode_event(data)
        except DECODE_ERRORS:
            try:
                data = _with_valid_usage(data)
                event = _decode_event(data)
            except DECODE_ERRORS:
                self._fail(Problem("broken", f"Backend {self._backend!r} sent an event that is not JSON."))
                return None
            frame = _event_frame(event.type, data)
        match event.type:
            case "message_start":
                if event.message is not None:
                    if event.message.usage is None:
                        frame, data = _with_start_usage(data)
                    self._count(event.message.usage)
                return Passthrough(self._rename(frame, data), "start", usage=self._usage)
            case "message_delta":
                self._count(event.usage, final=True)
                reason = event.delta.stop_reason if event.delta else None
                self._stopped = self._stopped or reason is not None
                if event.usage is None:
                    frame = self._with_usage(data)
                return Passthrough(frame, "end", usage=self._usage, stop_reason=reason)
            case "message_stop":
                self.finished = True
                return Passthrough(frame, "end")
            case "error":
                self._fail(errors.from_error(event.error, backend=self._backend, window=self._window))
                return None
            case "ping":
                return Passthrough(frame, "ping")
            case _:
                return Passthrough(frame, "content")

    def _with_usage(self, data: bytes) -> bytes:
        """A `message_delta` of a server that leaves `usage` out (MiniMax): the SDKs of Anthropic require it."""
        fields = msgspec.json.decode(data, type=dict[str, Raw])
        fields["usage"] = Raw(b'{"output_tokens":%d}' % self._usage.output_tokens)
        return _event_frame("message_delta", msgspec.json.encode(fields))

    def _rename(self, frame: bytes, data: bytes) -> bytes:
        if not self._renamed:
            return frame
        return frame.replace(data, renamed(data, self._model, lambda data: _decode_started(data).message.model))

    def _count(self, usage: _EventUsage | None, *, final: bool = False) -> None:
        """Later numbers replace earlier ones: they are totals. `final`: those of the whole answer."""
        if usage is not None:
            self._has_input_count = self._has_input_count or usage.input_tokens is not None
            self._has_output_count = final and usage.output_tokens is not None
            for name in TOKENS:
                value = getattr(usage, name)
                if value is not None:
                    setattr(self._usage, name, min(max(0, value), 1 << 53))
            if usage.cache_creation:
                self._usage.cache_write_1h_tokens = _count_in(usage.cache_creation, "ephemeral_1h_input_tokens")
            if usage.server_tool_use:
                self._usage.web_searches = _count_in(usage.server_tool_use, "web_search_requests")
            if usage.speed is not None:
                self._usage.fast = usage.speed == "fast"
            if usage.output_tokens_details:
                self.reasoning = _count_in(usage.output_tokens_details, "thinking_tokens")

    def spent(self, size: int) -> Usage:
        usage = self._usage
        if not self._has_input_count:
            usage.input_tokens = self._estimate
        if not self._has_output_count:
            # The beginning reports one or a few output tokens; the number at the end was not received.
            usage.output_tokens = max(usage.output_tokens, size // (_BYTES_PER_TOKEN if self._sse else _WHOLE_BYTES))
        return usage

    def _fail(self, problem: Problem) -> None:
        self._problem = problem
        self.finished = True

    def close(self) -> list[Part]:
        """Return the end of the answer; raises Problem when it was cut."""
        if self._problem is not None:
            raise self._problem
        if self.finished:
            return []
        self._rest = self._joined()
        if not self._sse and self._rest.strip():
            return self._whole(self._rest)
        events: list[Part] = []
        if self._sse and _is_whole(self._rest):
            events = self._frames(self._rest.rstrip(b"\r\n") + b"\n\n")
            if self._problem is not None:
                raise self._problem
            last = events[-1] if events else None
            if isinstance(last, Passthrough) and last.kind == "end" and last.usage is None:
                # This is `message_stop`.
                return events
        if self._stopped:
            # The stop reason was received: only the last frame is missing.
            return [*events, Passthrough(b'event: message_stop\ndata: {"type":"message_stop"}\n\n', "end")]
        raise Problem(
            "broken", f"The answer of backend {self._backend!r} ended before it was complete: the connection was cut."
        )

    def _whole(self, data: bytes) -> list[Part]:
        name = f"Backend {self._backend!r}"
        if data.lstrip().startswith(b"<"):
            raise Problem(
                "broken", f"{name} answered with a web page instead of JSON. Check that its `url` is that of the API."
            )
        try:
            answer = _decode_event(data)
        except DECODE_ERRORS:
            try:
                data = _with_valid_usage(data)
                answer = _decode_event(data)
            except DECODE_ERRORS:
                raise self._reported(data) or Problem(
                    "broken", f"The answer of backend {self._backend!r} was cut, or is not JSON."
                ) from None
        if answer.error:
            raise errors.from_error(answer.error, backend=self._backend, window=self._window)
        if answer.type != "message":
            raise self._reported(data) or Problem(
                "broken", f"{name} sent something that is not a message. Check that its `type` is the right one."
            )
        if answer.usage is None:
            data = _with_no_tokens(data)
        self._count(answer.usage, final=True)
        if self._renamed:
            data = renamed(data, self._model, lambda data: _decode_name(data).model)
        return unfold(data) if self._stream else [WholeAnswer(data, usage=self._usage, stop_reason=answer.stop_reason)]

    def _reported(self, data: bytes) -> Problem | None:
        """The failure that an answer with status 200 reports in a form of its own."""
        return errors.from_success(data, backend=self._backend, window=self._window)


def _count_in(counts: Any, name: str) -> int:
    """A number in a part of a usage; 0 when it is missing or no number."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return min(value, 1 << 53) if type(value) is int and value > 0 else 0


def _event_frame(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _with_no_tokens(message: bytes) -> bytes:
    """A message of a server that leaves `usage` out (MiniMax), with a usage of zero: the SDKs of Anthropic require it."""
    fields = msgspec.json.decode(message, type=dict[str, Raw])
    return msgspec.json.encode({**fields, "usage": Raw(b'{"input_tokens":0,"output_tokens":0}')})


def _with_start_usage(data: bytes) -> tuple[bytes, bytes]:
    """Return a `message_start` without `usage` as a frame and as its data, with a usage of zero."""
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    data = msgspec.json.encode({**fields, "message": Raw(_with_no_tokens(fields["message"]))})
    return _event_frame("message_start", data), data


def _with_valid_usage(data: bytes) -> bytes:
    """An event or a message in whose usage null replaces what is no whole number of tokens. Raises MsgspecError."""
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    if bytes(fields.get("message", b"")).startswith(b"{"):
        fields["message"] = Raw(_with_valid_usage(bytes(fields["message"])))
    if "usage" in fields:
        usage = msgspec.json.decode(fields["usage"])
        if isinstance(usage, dict):
            for name in TOKENS:
                if type(usage.get(name)) is not int and name in usage:
                    usage[name] = token_count(usage[name]) or None
        else:
            usage = None
        fields["usage"] = Raw(msgspec.json.encode(usage))
    return msgspec.json.encode(fields)


def _joined_frames(frames: list[bytes]) -> Passthrough:
    """Frames that are not decoded, as one part."""
    pings = all(frame.startswith(b"event: ping") for frame in frames)
    return Passthrough(b"".join(frames), "ping" if pings else "content")


def _is_whole(rest: bytes) -> bool:
    """Return whether `rest` is an event that lacks only its blank line."""
    decoder = Decoder()
    events = decoder.feed(rest) or decoder.close()
    try:
        return bool(events) and isinstance(msgspec.json.decode(events[0][1]), dict)
    except DECODE_ERRORS:
        return False


def _ends(data: bytes) -> bool:
    """Return whether a frame may end in `data`."""
    return b"\n\n" in data or (CR in data and (b"\r\n\r\n" in data or b"\r\r" in data))


def _end(data: bytes) -> int:
    """Return where the last whole frame of `data` ends; 0 without one."""
    marks = (b"\n\n", b"\r\n\r\n", b"\r\r") if CR in data else (b"\n\n",)
    ends = [at + len(mark) for mark in marks if (at := data.rfind(mark)) >= 0]
    return max(ends, default=0)


def _split(data: bytes) -> list[bytes]:
    """Return the frames of `data`, each with its blank line."""
    mark = (
        b"\n\n" if CR not in data else b"\r\n\r\n" if b"\r\n\r\n" in data else b"\r\r" if b"\r\r" in data else b"\n\n"
    )
    return [frame + mark for frame in data.split(mark) if frame]


def reader(request: Request, target: Target, attempt: Attempt = FIRST) -> AnthropicReader:
    return AnthropicReader(request, target, attempt)


problem: Final = errors.problem


def count(request: Request, target: Target) -> Call | None:
    if not target.vendor.counts_tokens:
        return None
    return Call(
        "POST", "/v1/messages/count_tokens", (_JSON, *_versions(request)), _without_ours(request.patched(target.model))
    )


class _TokenCount(Struct):
    input_tokens: Annotated[int, Meta(ge=0)]


def read_count(body: bytes) -> int:
    """Return the `input_tokens` of `count_tokens`; raises Problem `broken` for another body."""
    try:
        return msgspec.json.decode(body, type=_TokenCount).input_tokens
    except DECODE_ERRORS:
        raise Problem("broken", "The backend's token count cannot be read.") from None


def models() -> Call:
    return Call("GET", "/v1/models?limit=1000", (("anthropic-version", "2023-06-01"),))


read_models: Final = catalog.read_models


def next_models(body: bytes) -> Call | None:
    return catalog.next_page(models(), body)


def describe(target: Target) -> tuple[Call, ...]:
    return ()


def read_description(body: bytes, target: Target) -> ModelFacts:
    return ModelFacts()
