"""Chat completions for a client that speaks them too: its own bytes go through, with only the model's name changed. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from byway.backends import errors
from byway.backends.openai.usage import Counts, UsageIn
from byway.backends.protocol import FIRST, Attempt, Target
from byway.call import Call
from byway.messages.events import Part, Passthrough, Usage, WholeAnswer
from byway.messages.request import Request, renamed
from byway.messages.sse import Decoder
from byway.problems import Problem

_JSON: Final = (("content-type", "application/json"),)
_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class _Model(Struct):
    model: str


class _Asked(Struct):
    model: str
    stream_options: dict[str, Any] | None = None

    @property
    def counted(self) -> bool:
        """Does the client want the usage at the end of a stream?"""
        return bool(self.stream_options and self.stream_options.get("include_usage"))


class _Choice(Struct):
    delta: dict[str, Any] | None = None
    finish_reason: Any = None


class _Chunk(Struct):
    model: Any = None
    choices: list[_Choice] | None = None
    usage: UsageIn | None = None
    error: Any = None


_asked: Final = msgspec.json.Decoder(_Asked).decode
_chunk: Final = msgspec.json.Decoder(_Chunk).decode
_STOPS: Final = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def request(request: Request, target: Target) -> Call:
    """The client's body. A stream is asked for its usage, which the meter wants; `same.Reader` keeps it from a client that did
    not ask."""
    body = renamed(request.chat, target.model, lambda data: msgspec.json.decode(data, type=_Model).model)
    asked = _asked(body)
    if request.stream and not asked.counted:
        fields = _fields(body)
        fields["stream_options"] = Raw(_encode({**(asked.stream_options or {}), "include_usage": True}))
        body = _encode(fields)
    return Call("POST", "/v1/chat/completions", _JSON, body)


class Reader:
    """Passes an answer on as frames, and notices what the meter wants, errors, and an end that is none."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self.finished = False
        self._model = request.model
        self._target = target
        self._streams = request.stream
        self._counted = _asked(request.chat).counted
        self._counts = Counts(attempt.estimate or request.estimate)
        self._whole: list[bytes] | None = None if request.stream else []
        self._begun = False
        """The first bytes have said whether it streams: any later piece may begin with a brace too."""
        self._sse = Decoder()
        self._reason = ""
        self._written = 0

    @property
    def estimated(self) -> bool:
        return self._counts.estimated

    def feed(self, data: bytes) -> list[Part]:
        if not self._begun and (start := data.lstrip()[:1]):
            self._begun = True
            if start in (b"{", b"<"):
                self._whole = []
        if self._whole is not None:
            self._whole.append(data)
            return []
        return self._eat(self._sse.feed(data))

    def _eat(self, found: list[tuple[str, bytes]]) -> list[Part]:
        events: list[Part] = []
        for _, data in found:
            if data == b"[DONE]":
                self.finished = True
                self._reason = self._reason or "stop"
                events.append(self._done())
                break
            if data.strip():
                frame = self._frame(data)
                if frame is not None:
                    events.append(frame)
        return events

    def _read(self, data: bytes) -> _Chunk:
        try:
            chunk = _chunk(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Problem(
                "broken",
                f"Backend {self._target.backend!r} sent something that is not a chat completion, or only the beginning of one.",
            ) from None
        if chunk.error:
            raise errors.from_error(chunk.error, backend=self._target.backend, window=self._target.window)
        if chunk.usage is not None:
            self._counts.usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._reason = str(choice.finish_reason)
        return chunk

    def _done(self) -> Passthrough:
        """The end of the stream, with the usage of the whole answer."""
        return Passthrough(b"data: [DONE]\n\n", "end", True, *self._report())

    def _report(self) -> tuple[Usage, str]:
        return self._counts.total(self._written), _STOPS.get(self._reason, "end_turn")

    def _frame(self, data: bytes) -> Passthrough | None:
        chunk = self._read(data)
        if not chunk.choices and not self._counted:
            # The client did not want the usage; the end of the stream reports it for the record.
            return None
        # Whatever stands there beside the role is an answer's beginning: also what only newer servers and clients know.
        deltas = [choice.delta for choice in chunk.choices or () if choice.delta]
        said = [one for delta in deltas for name, one in delta.items() if name != "role"]
        self._written += sum(len(one) for one in said if isinstance(one, str))
        ended = bool(self._reason)
        if chunk.model != self._model and isinstance(chunk.model, str):
            data = renamed(data, self._model, lambda changed: msgspec.json.decode(changed, type=_Model).model)
        # Several lines of data are joined by line ends, which inside JSON are equal to blanks.
        data = b"data: %b\n\n" % data.replace(b"\n", b" ")
        if ended:
            return Passthrough(data, "content", True, *self._report())
        return Passthrough(data, "content" if any(said) else "start", True)

    def close(self) -> list[Part]:
        """The end; raises Problem when the answer was cut short or is none."""
        if self._whole is None:
            events = [] if self.finished else self._eat(self._sse.close())
            if not self.finished and self._reason:
                events.append(self._done())
            elif not self._reason:
                self._cut()
            return events
        data = b"".join(self._whole)
        if data.lstrip()[:1] == b"<":
            raise Problem(
                "broken", f"Backend {self._target.backend!r} answered with a web page. Is its `url` that of the API?"
            )
        chunk = self._read(data)
        if not chunk.choices:
            self._cut()
        if isinstance(chunk.model, str):
            data = renamed(data, self._model, lambda changed: msgspec.json.decode(changed, type=_Model).model)
        self._written = len(data)
        if self._streams:
            return [Passthrough(b"data: %b\n\ndata: [DONE]\n\n" % _streamed(data), "content", True, *self._report())]
        return [WholeAnswer(data, True, *self._report())]

    def _cut(self) -> None:
        raise Problem(
            "broken",
            f"The answer of backend {self._target.backend!r} ended before it was finished. "
            "Look in that server's log: it may have stopped, run out of memory, or hit a proxy's time limit.",
        )


def _streamed(data: bytes) -> bytes:
    """A whole answer as one chunk, from a server that was asked for a stream and did not stream."""
    body = msgspec.json.decode(data)
    body["object"] = "chat.completion.chunk"
    for choice in body["choices"]:
        message = choice.pop("message", None)
        choice["delta"] = delta = message if isinstance(message, dict) else {}
        calls = delta.get("tool_calls")
        for at, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                call.setdefault("index", at)
    return _encode(body)
