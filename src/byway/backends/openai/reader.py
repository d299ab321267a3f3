"""How to read a chat-completions answer, streamed or whole, leniently: servers differ in everything but the idea."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway import faults
from byway.backends import Target
from byway.messages import Event, Request, Stop, Usage
from byway.problems import Problem
from byway.sse import Decoder
from byway.stream import Writer

_encode: Final = msgspec.json.Encoder().encode


class _FunctionIn(Struct):
    name: str | None = None
    arguments: Any = None


class _CallIn(Struct):
    index: Any = None
    id: str | None = None
    function: _FunctionIn | None = None


class _Delta(Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_CallIn] | None = None


class _Choice(Struct):
    index: Any = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None


class _Usage(Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    prompt_cache_hit_tokens: Any = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


#: How much of an answer's ends is looked at to tell what it is.
_PEEK: Final = 256
_any: Final = msgspec.json.Decoder()
_chunk: Final = msgspec.json.Decoder(_Chunk)
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
#: What can open or close something in JSON, and what hides it: an escape, whose other half may be in the next piece.
_MARKS: Final = re.compile(r'\\.|["{}\[\]\\]', re.DOTALL)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


class _ToolCall:
    """One tool call of the answer, as far as it has come. `pieces` is all of its input so far."""

    __slots__ = ("_carry", "_depth", "_quoted", "_seen", "id", "index", "name", "pieces", "state", "wire")

    def __init__(self, index: Any, wire: str | None) -> None:
        self.index = index
        self.wire = wire
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.state = "waiting"
        """waiting -> open -> closed"""
        self._seen = 0
        self._depth = 0
        self._quoted = False
        self._carry = ""

    @property
    def whole(self) -> bool:
        """Is its input complete, as far as braces tell? Each piece is looked at once, and only when somebody asks."""
        for piece in self.pieces[self._seen :]:
            marks = _MARKS.findall(self._carry + piece)
            self._carry = ""
            for mark in marks:
                if mark == "\\":
                    self._carry = mark
                elif mark == '"':
                    self._quoted = not self._quoted
                elif not self._quoted and mark in "{[":
                    self._depth += 1
                elif not self._quoted and mark in "}]":
                    self._depth -= 1
        self._seen = len(self.pieces)
        return bool(self.pieces) and self._depth == 0 and not self._quoted and self.pieces[-1].rstrip().endswith("}")


class ChatReader:
    """Reads one chat-completions answer, streamed or whole (told by its first byte, whatever its content-type says)."""

    def __init__(self, request: Request, target: Target) -> None:
        self._id = request.id
        self._backend = target.backend
        self._window = target.window
        self._estimate = request.estimate
        self._writer = Writer(request.id, request.model, Usage(self._estimate))
        self._calls: list[_ToolCall] = []
        self._held: list[tuple[str, str]] = []
        self._ids: set[str] = set()

    # What an answer begins with stands here: most of it never changes, and one is made for every request.
    finished = False
    """Nothing more is wanted from the backend: `close` gives the rest or raises."""
    _whole: list[bytes] | None = None
    _head = b""
    _sse: Decoder | None = None
    _open: _ToolCall | None = None
    _reason: str | None = None
    _stop: str | None = None
    _usage: _Usage | None = None
    _written = 0
    _done = False
    _problem: Problem | None = None

    # -------------------------------------------------------------------------------------------------- bytes to events

    def feed(self, data: bytes) -> list[Event]:
        if self.finished:
            return []
        if self._sse is None:
            if self._whole is not None:
                self._whole.append(data)
                return []
            data = self._head + data
            start = data[:_PEEK].lstrip(b"\xef\xbb\xbf \t\r\n")
            if not start:
                self._head = data
                return []
            if start[:1] in b"{[<":
                self._whole = [data]
                return []
            self._sse = Decoder()
        self._eat(self._sse.feed(data))
        return self._writer.take()

    def _eat(self, found: list[tuple[str, bytes]]) -> None:
        for name, data in found:
            try:
                if data == b"[DONE]":
                    self._done = True
                    self._finish()
                    return
                if data.strip():
                    self._read(data, name)
            except Problem as problem:
                # What was read before the failure still belongs to the client; `close` raises.
                self._problem = problem
                self.finished = True
                return

    def close(self) -> list[Event]:
        """The end of the answer; raises Problem when it was cut short or is no answer."""
        if not self.finished:
            if self._whole is not None:
                whole = b"".join(self._whole)
                if self._complete(whole):
                    self._read(whole, "")
                    self._done = True
            elif self._sse is not None:
                self._eat(self._sse.close())
                if self._problem is not None and self._problem.kind == "broken":
                    # Half a line: what stood before it decides whether the answer was finished.
                    self._problem, self.finished = None, False
        if not self.finished:
            if not self._done and self._reason is None:
                raise Problem(
                    "broken",
                    f"The answer of backend {self._backend!r} ended before it was finished. "
                    "Look in that server's log: it may have stopped, run out of memory, or hit a proxy's time limit.",
                )
            self._finish()
        if self._problem is not None:
            raise self._problem
        return self._writer.take()

    def _complete(self, whole: bytes) -> bool:
        start = whole[:_PEEK].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if start == b"<":
            raise Problem(
                "broken",
                f"Backend {self._backend!r} answered with a web page. Is its `url` that of the API, and not of a page or a "
                "login in front of it?",
            )
        return whole[-_PEEK:].rstrip().endswith((b"}", b"]"))

    # ------------------------------------------------------------------------------------------------- chunks to writer

    def _read(self, data: bytes, name: str) -> None:
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        try:
            chunk = _chunk.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if name == "error":
                chunk = _Chunk(error=data.decode(errors="replace"))
            else:
                raise Problem(
                    "broken",
                    f"Backend {self._backend!r} sent something that is not a chat completion, or only the beginning of one.",
                ) from None
        if name == "error" and not chunk.error:
            chunk.error = _any.decode(data)
        if chunk.error:
            raise faults.said(chunk.error, backend=self._backend, window=self._window)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if not chunk.choices:
            if self._whole is not None:
                raise Problem("broken", f"The answer of backend {self._backend!r} has no choices.")
            return
        choice = chunk.choices[0]
        for other in chunk.choices:
            if other.index == 0:
                choice = other
                break
        else:
            if choice.index:
                return
        delta = choice.delta or choice.message
        if delta is not None:
            self._writer.start()
            self._take(delta)
        if choice.finish_reason:
            self._reason = str(choice.finish_reason)
        if isinstance(choice.stop_reason, str):
            self._stop = choice.stop_reason

    def _take(self, delta: _Delta) -> None:
        if (thought := delta.reasoning_content or delta.reasoning) and (thought := _text(thought)):
            self._say("thinking", thought)
        if (text := delta.content or delta.refusal) and (text := _text(text)):
            self._say("text", text)
        for call in delta.tool_calls or ():
            self._call(call)

    def _say(self, kind: str, text: str) -> None:
        self._written += len(text)
        if self._open is not None:
            if not self._open.whole:
                # Text in the middle of a call's input: one block may be open at a time, so it waits for its turn.
                self._held.append((kind, text))
                return
            self._shut()
        if kind == "text":
            self._writer.text(text)
        else:
            self._writer.thinking(text)

    def _call(self, piece: _CallIn) -> None:
        function = piece.function or _FunctionIn()
        call = self._which(piece, function)
        if function.name and not call.name:
            call.name = function.name
        arguments = function.arguments
        if arguments is not None and not isinstance(arguments, str):
            arguments = _encode(arguments).decode()
        if arguments:
            if call.state == "closed":
                if arguments.strip():
                    raise Problem("broken", f"Backend {self._backend!r} went on with a tool call that was complete.")
                return
            call.pieces.append(arguments)
            self._written += len(arguments)
        if call.state == "open":
            self._writer.input(arguments or "")
        elif call.name and call is self._next():
            if self._open is not None and not self._open.whole:
                return
            self._begin(call)

    def _which(self, piece: _CallIn, function: _FunctionIn) -> _ToolCall:
        """The call that a piece belongs to. Servers differ: some give every call index 0, some no index, some no id."""
        if piece.index is not None:
            same = [call for call in self._calls if call.index == piece.index]
        elif piece.id:
            same = [call for call in self._calls if call.wire == piece.id]
        else:
            same = self._calls[-1:]
        if same:
            last = same[-1]
            other = bool(piece.id and last.wire and piece.id != last.wire)
            # Some servers repeat id and name in every piece: another call has begun only when this one is complete.
            again = bool(function.name and function.arguments and last.name and last.whole)
            if not other and not again:
                if piece.id and not last.wire:
                    last.wire = piece.id
                return last
        call = _ToolCall(piece.index, piece.id or None)
        self._calls.append(call)
        return call

    def _next(self) -> _ToolCall | None:
        """The first call that has no block yet."""
        return next((call for call in self._calls if call.state == "waiting"), None)

    def _begin(self, call: _ToolCall) -> None:
        self._shut()
        call.id = self._name(call.wire)
        call.state = "open"
        self._open = call
        self._writer.tool(call.id, call.name)
        self._writer.input("".join(call.pieces))

    def _shut(self) -> None:
        """Close the open call's block, and say what waited for that."""
        if self._open is not None:
            self._open.state = "closed"
            self._open = None
            self._writer.end()
            held, self._held = self._held, []
            for kind, text in held:
                (self._writer.text if kind == "text" else self._writer.thinking)(text)

    def _name(self, wire: str | None) -> str:
        """An id that is unique in the answer and fits the official pattern; the backend's own where it does."""
        id = wire if wire and _ID.match(wire) and wire not in self._ids else f"toolu_{self._id[4:]}_{len(self._ids)}"
        self._ids.add(id)
        return id

    # --------------------------------------------------------------------------------------------------------- the end

    def _finish(self) -> None:
        self.finished = True
        while self._calls and (call := self._next()) is not None:
            if not call.name:
                self._problem = Problem("broken", f"Backend {self._backend!r} called a tool without a name.")
                return
            self._begin(call)
        self._shut()
        reason = _REASONS.get(self._reason or "", "end_turn")
        if self._calls and reason == "end_turn":
            reason = "tool_use"
        elif reason == "tool_use" and not self._calls:
            reason = "end_turn"
        stop = self._stop if reason == "end_turn" else None
        self._writer.finish(Stop("stop_sequence" if stop else reason, stop), self._counted())

    def _counted(self) -> Usage:
        said = self._usage or _Usage()
        details = said.prompt_tokens_details
        cached = _number(said.prompt_cache_hit_tokens)
        if isinstance(details, dict):
            cached = _number(details.get("cached_tokens")) or cached
        prompt = _number(said.prompt_tokens) or self._estimate
        cached = min(cached, prompt)
        return Usage(
            input_tokens=prompt - cached,
            cache_read_input_tokens=cached,
            output_tokens=_number(said.completion_tokens) or (self._written + 3) // 4,
        )


_NUMBERS: Final = (int, float)


def _number(value: Any) -> int:
    return int(value) if isinstance(value, _NUMBERS) and value > 0 else 0


def _text(value: Any) -> str:
    """Text from what servers put in `content`: a string, null, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part.get("text")) if isinstance(part, dict) else _text(part) for part in value)
    return ""


def reader(request: Request, target: Target) -> ChatReader:
    return ChatReader(request, target)
