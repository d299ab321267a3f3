"""Chat completions between a client and a backend that both speak them: bytes pass through, the model's name is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from byway.backends import errors
from byway.backends.openai.framing import cut_short, web_page
from byway.backends.openai.usage import NotAnObject, ReportedUsage, TokenCounts
from byway.backends.protocol import FIRST, Attempt, Target
from byway.call import Call, json_headers
from byway.decoding import DECODE_ERRORS
from byway.messages.events import Part, Passthrough, Usage, WholeAnswer
from byway.messages.request import Request, extended, renamed
from byway.messages.sse import LF, Decoder
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class ModelField(Struct):
    model: str


class StreamFields(Struct):
    """What of a chat request decides about the usage in its stream."""

    model: str
    stream_options: dict[str, Any] | None = None

    @property
    def includes_usage(self) -> bool:
        """The client wants the usage at the end of a stream."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))


class PassthroughChoice(Struct):
    delta: dict[str, Any] | None = None
    finish_reason: Any = None


class PassthroughChunk(Struct):
    model: Any = None
    choices: list[PassthroughChoice] | None = None
    usage: ReportedUsage | NotAnObject = None
    error: Any = None


_model_field: Final = msgspec.json.Decoder(ModelField).decode
_stream_fields: Final = msgspec.json.Decoder(StreamFields).decode
_chunk: Final = msgspec.json.Decoder(PassthroughChunk).decode
_STOPS: Final = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def request(request: Request, target: Target) -> Call:
    """The call with the client's body. A stream always includes its usage, for the statistics; `PassthroughReader` removes it
    where the client did not request it."""
    body = renamed(request.chat, target.model, _model_of)
    if request.stream and not request.content.stream_options:
        body = extended(body, b'"stream_options":{"include_usage":true}')
    elif request.stream and not _includes_usage(request):
        options = _stream_fields(body)
        fields = _fields(body)
        fields["stream_options"] = Raw(_encode({**(options.stream_options or {}), "include_usage": True}))
        body = _encode(fields)
    return Call("POST", "/v1/chat/completions", json_headers(request.headers.get("user-agent")), body)


def _model_of(data: bytes) -> str:
    return _model_field(data).model


def _includes_usage(request: Request) -> bool:
    """The client wants the usage at the end of a stream."""
    content = request.content
    if content.includes_usage is None:
        content.includes_usage = _stream_fields(content.chat).includes_usage
    return content.includes_usage


class PassthroughReader:
    """Passes an answer on as frames. Reads from it the usage, the finish reason, errors, and whether it is complete."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self.finished = False
        self._model = request.model
        self._target = target
        self._streams = request.stream
        self._includes_usage = request.stream and _includes_usage(request)
        self._counts = TokenCounts(
            attempt.estimate or request.estimate, reasons_in_total=target.vendor.reasons_in_total
        )
        self._whole: list[bytes] | None = None if request.stream else []
        self._begun = False
        """The first bytes have shown whether the answer streams. Later pieces may begin with a brace in both cases."""
        self._sse = Decoder()
        self._reason = ""
        self._written = 0
        self._named = ("", b"", b"")
        """A model of the backend, its member `model` as bytes, and the member that replaces it."""

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
            if start in (b"{", b"<"):
                self._whole = []
        if self._whole is not None:
            self._whole.append(data)
            return []
        return self._frames(self._sse.feed(data))

    def _frames(self, read: list[tuple[str, bytes]]) -> list[Part]:
        events: list[Part] = []
        content: list[bytes] = []
        """Chunks that arrived together, which stay together."""
        for _, data in read:
            if data == b"[DONE]":
                self.finished = True
                self._reason = self._reason or "stop"
                frame: bytes | Passthrough | None = self._done()
            elif data.strip():
                frame = self._frame(data)
            else:
                continue
            if isinstance(frame, bytes):
                content.append(frame)
            elif frame is not None:
                if content:
                    events.append(_content(content))
                    content = []
                events.append(frame)
            if self.finished:
                break
        if content:
            events.append(_content(content))
        return events

    def _decoded(self, data: bytes) -> PassthroughChunk:
        """A chunk or a whole answer, whose usage is counted. Raises Problem."""
        try:
            chunk = _chunk(data)
        except DECODE_ERRORS:
            raise Problem(
                "broken",
                f"Backend {self._target.backend!r} sent something that is not a chat completion, or only its beginning.",
            ) from None
        if chunk.error:
            raise errors.from_error(chunk.error, backend=self._target.backend, window=self._target.window)
        if chunk.usage is not None:
            self._counts.add_usage(chunk.usage)
        return chunk

    def _done(self) -> Passthrough:
        """The end of the stream, with the usage of the whole answer."""
        return Passthrough(b"data: [DONE]\n\n", "end", True, *self._report())

    def _report(self) -> tuple[Usage, str]:
        return self._counts.total(self._written), _STOPS.get(self._reason, "end_turn")

    def _frame(self, data: bytes) -> bytes | Passthrough | None:
        """A chunk for the client: its data where it is content and nothing else; None where the client did not request it."""
        chunk = self._decoded(data)
        choices = chunk.choices
        if not choices:
            if not self._includes_usage:
                # The usage: the end of the stream reports it for the record.
                return None
            choices = []
        has_content = False
        for choice in choices:
            if choice.finish_reason:
                self._reason = str(choice.finish_reason)
            if choice.delta:
                for name, value in choice.delta.items():
                    # Anything beside the role is content, also fields that only newer servers and clients know.
                    if value and name != "role":
                        has_content = True
                        if type(value) is str:
                            self._written += len(value)
        if chunk.model != self._model and isinstance(chunk.model, str):
            data = self._renamed(data, chunk.model)
        if LF in data:
            # Several lines of data are joined by line ends, which JSON reads as spaces.
            data = data.replace(b"\n", b" ")
        if self._reason:
            return Passthrough(b"data: %b\n\n" % data, "content", True, *self._report())
        return data if has_content else Passthrough(b"data: %b\n\n" % data, "start", True)

    def _renamed(self, data: bytes, model: str) -> bytes:
        """The chunk of `model` under the requested name. All chunks of a server write the name alike, so that it is searched
        in the first one only."""
        if model == self._named[0] and data.count(self._named[1]) == 1:
            return data.replace(self._named[1], self._named[2])
        changed = renamed(data, self._model, lambda changed: msgspec.json.decode(changed, type=ModelField).model)
        for form in (b'"model":%b', b'"model": %b'):
            old, new = form % _encode(model), form % _encode(self._model)
            if data.count(old) == 1 and data.replace(old, new) == changed:
                self._named = (model, old, new)
        return changed

    def read_error(self, body: bytes) -> bool:
        """The client reads the error itself."""
        return False

    def close(self) -> list[Part]:
        """End the answer. Raises Problem when it was cut short or is no chat completion."""
        if self._whole is None:
            events = [] if self.finished else self._frames(self._sse.close())
            if not self.finished and self._reason:
                events.append(self._done())
            elif not self._reason:
                raise cut_short(self._target.backend)
            return events
        data = b"".join(self._whole)
        if data.lstrip()[:1] == b"<":
            raise web_page(self._target.backend)
        chunk = self._decoded(data)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._reason = str(choice.finish_reason)
        if not chunk.choices:
            problem = errors.from_success(data, backend=self._target.backend, window=self._target.window)
            if problem is not None:
                raise problem
            raise cut_short(self._target.backend)
        if isinstance(chunk.model, str):
            data = renamed(data, self._model, lambda changed: msgspec.json.decode(changed, type=ModelField).model)
        self._written = len(data)
        if self._streams:
            return [Passthrough(b"data: %b\n\ndata: [DONE]\n\n" % _streamed(data), "content", True, *self._report())]
        return [WholeAnswer(data, True, *self._report())]


def _content(chunks: Sequence[bytes]) -> Passthrough:
    """Chunks of content as events."""
    return Passthrough(b"data: %b\n\n" % b"\n\ndata: ".join(chunks), "content", True)


def _streamed(data: bytes) -> bytes:
    """A whole answer as one chunk, for a client that requested a stream from a server that did not stream."""
    body = msgspec.json.decode(data)
    body["object"] = "chat.completion.chunk"
    for choice in body["choices"]:
        message = choice.pop("message", None)
        choice["delta"] = delta = message if isinstance(message, dict) else {}
        calls = delta.get("tool_calls")
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                call.setdefault("index", index)
    return _encode(body)
