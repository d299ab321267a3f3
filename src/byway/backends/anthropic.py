"""The Anthropic Messages protocol as a backend: the identity. Bytes go through; only the model's name is changed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct, UnsetType

from byway.backends import errors
from byway.backends.protocol import FIRST, Attempt, ModelFacts, Target
from byway.call import Call
from byway.messages import signature
from byway.messages.events import TOKENS, Part, Passthrough, Usage, WholeAnswer
from byway.messages.request import Request, renamed
from byway.messages.sse import CR, EVENT_LIMIT, Decoder
from byway.messages.stream import unfold
from byway.problems import Problem

NATIVE: Final = True
_JSON: Final = ("content-type", "application/json")


#: What a chat completion that says no limit may answer. Every model of Anthropic's since Claude 4 takes as much.
_MOST: Final = 32_000


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    body = _without_ours(request.patched(target.model))
    if request.chat and isinstance(request.params.max_tokens, UnsetType):
        body = b'{"max_tokens":%d,%b' % (_MOST, body[1:])
    return Call("POST", "/v1/messages", (_JSON, *_versions(request)), body)


def _versions(request: Request) -> tuple[tuple[str, str], ...]:
    """The client's version and betas, unchanged; a client that names no version gets the one that everybody knows."""
    if any(name == "anthropic-version" for name, _ in request.forwarded):
        return request.forwarded
    return (("anthropic-version", "2023-06-01"), *request.forwarded)


_OURS: Final = f'"{signature.PREFIX}'.encode()


class _Kind(Struct):
    type: str = ""


class _Body(Struct):
    messages: Raw
    thinking: _Kind | None = None


class _Turn(Struct):
    role: str
    content: Raw


class _Block(Struct):
    type: str = ""
    signature: str | None = None


def _without_ours(body: bytes) -> bytes:
    """The body without thinking that Byway signed for another model: Anthropic's servers take no signature but their own.

    A session may so move from a local model to a cloud one. Everything else stays as it came. Raises nothing: what cannot
    be read is for the backend to refuse.
    """
    if _OURS not in body:
        return body
    try:
        seen = msgspec.json.decode(body, type=_Body)
        turns = msgspec.json.decode(seen.messages, type=list[Raw])
        kept = [_thoughtless(turn) for turn in turns]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    left = [turn for turn in kept if turn]
    if not left:
        return body
    body = body.replace(bytes(seen.messages), b"[%b]" % b",".join(left), 1)
    answers = [at for at, turn in enumerate(turns) if msgspec.json.decode(turn, type=_Turn).role == "assistant"]
    bare = answers and kept[answers[-1]] != bytes(turns[answers[-1]])
    if bare and seen.thinking is not None and seen.thinking.type == "enabled" and b'"tool_result"' in bytes(turns[-1]):
        # With a budget the turn that a tool's result answers must begin with thinking. The answer to this one request goes
        # without.
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        for name in ("thinking", "context_management"):
            fields.pop(name, None)
        body = msgspec.json.encode(fields)
    return body


def _thoughtless(turn: Raw) -> bytes:
    """A turn without thinking of ours; b"" when nothing else was in it."""
    data = bytes(turn)
    content = msgspec.json.decode(turn, type=_Turn).content
    if _OURS not in data or not bytes(content).startswith(b"["):
        return data
    blocks = msgspec.json.decode(content, type=list[Raw])
    seen = [msgspec.json.decode(block, type=_Block) for block in blocks]
    kept = [
        bytes(block)
        for block, one in zip(blocks, seen, strict=True)
        if one.type != "thinking" or not signature.ours(one.signature)
    ]
    if len(kept) == len(blocks):
        return data
    return data.replace(bytes(content), b"[%b]" % b",".join(kept), 1) if kept else b""


class _Usage(Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Stop(Struct):
    stop_reason: str | None = None


class _Message(Struct):
    usage: _Usage | None = None
    stop_reason: str | None = None


class _Seen(Struct):
    """The fields of any event, or of a whole answer, that Byway looks at."""

    type: str = ""
    message: _Message | None = None
    delta: _Stop | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    error: Any = None


class _Named(Struct):
    model: str = ""


class _Started(Struct):
    message: _Named = msgspec.field(default_factory=_Named)


_named: Final = msgspec.json.Decoder(_Named)
_started: Final = msgspec.json.Decoder(_Started)
_seen: Final = msgspec.json.Decoder(_Seen)
#: What needs no look: most frames by far.
_PLAIN: Final = (b"event: content_block", b"event: ping")


class AnthropicReader:
    """Passes the bytes of an answer on, whole frames at a time, and reads usage, stop and error from them."""

    estimated = False

    def __init__(self, request: Request, target: Target) -> None:
        self.finished = False
        self._model = request.model
        self._renamed = request.model != target.model
        self._stream = request.stream
        self._backend = target.backend
        self._window = target.window
        self._rest = b""
        self._pieces: list[bytes] = []
        """What follows `_rest`; joined when a frame ends."""
        self._size = 0
        self._tail = b""
        self._first = True
        self._sse = False
        self._stopped = False
        self._usage = Usage()
        self._problem: Problem | None = None

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
        """All that has come and was not given out yet."""
        data = b"".join([self._rest, *self._pieces, data])
        self._rest, self._pieces = b"", []
        return data

    def _frames(self, data: bytes) -> list[Part]:
        """Frames of `data`, which ends with one. What needs no look goes on in one piece."""
        events: list[Part] = []
        plain: list[bytes] = []
        for frame in _split(data):
            if frame.startswith(_PLAIN):
                plain.append(frame)
                continue
            if plain:
                events.append(_passed(plain))
                plain = []
            event = self._look(frame)
            if event is not None:
                events.append(event)
            if self.finished:
                return events
        if plain:
            events.append(_passed(plain))
        return events

    def _look(self, frame: bytes) -> Part | None:
        decoder = Decoder()
        found = decoder.feed(frame) or decoder.close()
        if not found:
            return Passthrough(frame, "ping")
        _, data = found[0]
        try:
            seen = _seen.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._fail(Problem("broken", f"Backend {self._backend!r} sent an event that is not JSON."))
            return None
        match seen.type:
            case "message_start":
                if seen.message is not None:
                    self._count(seen.message.usage)
                return Passthrough(self._rename(frame, data), "start", usage=self._usage)
            case "message_delta":
                self._count(seen.usage)
                reason = seen.delta.stop_reason if seen.delta else None
                self._stopped = self._stopped or reason is not None
                return Passthrough(frame, "end", usage=self._usage, stop_reason=reason)
            case "message_stop":
                self.finished = True
                return Passthrough(frame, "end")
            case "error":
                self._fail(errors.from_error(seen.error, backend=self._backend, window=self._window))
                return None
            case "ping":
                return Passthrough(frame, "ping")
            case _:
                return Passthrough(frame, "content")

    def _rename(self, frame: bytes, data: bytes) -> bytes:
        if not self._renamed:
            return frame
        return frame.replace(data, renamed(data, self._model, lambda data: _started.decode(data).message.model))

    def _count(self, usage: _Usage | None) -> None:
        """Later figures replace earlier ones: they are running totals."""
        if usage is not None:
            for name in TOKENS:
                value = getattr(usage, name)
                if value is not None:
                    setattr(self._usage, name, min(max(0, value), 1 << 53))

    def _fail(self, problem: Problem) -> None:
        self._problem = problem
        self.finished = True

    def close(self) -> list[Part]:
        """The end of the answer; raises Problem when it was cut short."""
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
                # That was `message_stop`.
                return events
        if self._stopped:
            # A stop reason has come: only the last frame is missing.
            return [*events, Passthrough(b'event: message_stop\ndata: {"type":"message_stop"}\n\n', "end")]
        raise Problem(
            "broken", f"The answer of backend {self._backend!r} ended before it was finished. The connection was cut."
        )

    def _whole(self, data: bytes) -> list[Part]:
        if data.lstrip().startswith(b"<"):
            raise Problem(
                "broken", f"Backend {self._backend!r} answered with a web page. Is its `url` that of the API?"
            )
        try:
            seen = _seen.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Problem("broken", f"The answer of backend {self._backend!r} was cut, or is not JSON.") from None
        if seen.error:
            raise errors.from_error(seen.error, backend=self._backend, window=self._window)
        if seen.type != "message":
            raise Problem(
                "broken", f"Backend {self._backend!r} sent something that is not a message. Is its `type` right?"
            )
        self._count(seen.usage)
        if self._renamed:
            data = renamed(data, self._model, lambda data: _named.decode(data).model)
        return unfold(data) if self._stream else [WholeAnswer(data, usage=self._usage, stop_reason=seen.stop_reason)]


def _passed(frames: list[bytes]) -> Passthrough:
    """Frames that need no look, as one."""
    pings = all(frame.startswith(b"event: ping") for frame in frames)
    return Passthrough(b"".join(frames), "ping" if pings else "content")


def _is_whole(rest: bytes) -> bool:
    """Is what was left over an event that lacks nothing but its blank line?"""
    decoder = Decoder()
    found = decoder.feed(rest) or decoder.close()
    try:
        return bool(found) and isinstance(msgspec.json.decode(found[0][1]), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _ends(data: bytes) -> bool:
    """May a frame end in `data`?"""
    return b"\n\n" in data or (CR in data and (b"\r\n\r\n" in data or b"\r\r" in data))


def _end(data: bytes) -> int:
    """Where the last whole frame of `data` ends; 0 when there is none."""
    marks = (b"\n\n", b"\r\n\r\n", b"\r\r") if CR in data else (b"\n\n",)
    ends = [at + len(mark) for mark in marks if (at := data.rfind(mark)) >= 0]
    return max(ends, default=0)


def _split(data: bytes) -> list[bytes]:
    """The frames of `data`, each with its closing blank line."""
    mark = (
        b"\n\n" if CR not in data else b"\r\n\r\n" if b"\r\n\r\n" in data else b"\r\r" if b"\r\r" in data else b"\n\n"
    )
    return [frame + mark for frame in data.split(mark) if frame]


def reader(request: Request, target: Target, attempt: Attempt = FIRST) -> AnthropicReader:
    return AnthropicReader(request, target)


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
    return errors.from_response(status, headers, body, backend=target.backend, window=target.window)


def count(request: Request, target: Target) -> Call | None:
    return Call(
        "POST", "/v1/messages/count_tokens", (_JSON, *_versions(request)), _without_ours(request.patched(target.model))
    )


class _Count(Struct):
    input_tokens: Annotated[int, Meta(ge=0)]


def read_count(body: bytes) -> int:
    """The `input_tokens` of `count_tokens`; raises Problem `broken` for anything else."""
    try:
        return msgspec.json.decode(body, type=_Count).input_tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Problem("broken", "The backend's token count was not understood.") from None


def models() -> Call:
    return Call("GET", "/v1/models?limit=1000", (("anthropic-version", "2023-06-01"),))


class _Model(Struct):
    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _Models(Struct):
    data: list[_Model]


def read_models(body: bytes) -> dict[str, ModelFacts]:
    """The ids of `GET /v1/models`, each with its window and longest answer; raises Problem `broken` for anything else."""
    try:
        listed = msgspec.json.decode(body, type=_Models).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Problem(
            "broken", "The list of models was not understood. Is the backend's `url` that of its API?"
        ) from None
    return {
        one.id: ModelFacts(
            one.max_input_tokens, max_output=one.max_tokens, source="backend" if one.max_input_tokens else ""
        )
        for one in listed
    }


def describe(target: Target) -> tuple[Call, ...]:
    return ()


def read_description(body: bytes, target: Target) -> ModelFacts:
    return ModelFacts()
