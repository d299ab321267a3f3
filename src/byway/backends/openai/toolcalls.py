"""The tool calls of an answer as they come: whole, in pieces, interleaved, without index or id. One block is open at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from byway.backends.openai.arguments import Braces, mended
from byway.messages.blocks import Wire
from byway.messages.stream import Writer
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
#: No model calls so many tools at once.
_MOST: Final = 1000
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


class FunctionIn(Wire):
    name: str | None = None
    arguments: Any = None


class CallIn(Wire):
    """A piece of a tool call, or a whole one."""

    index: Any = None
    id: str | None = None
    function: FunctionIn | None = None


class _Call:
    """One tool call of the answer, as far as it has come. `pieces` is all of its input so far."""

    __slots__ = ("_braces", "_seen", "name", "pieces", "state", "streams", "wire")

    def __init__(self, wire: str | None) -> None:
        self.wire = wire
        self.name = ""
        self.pieces: list[str] = []
        self.state = "waiting"
        """waiting -> open -> closed"""
        self.streams: bool | None = None
        """Its input goes on piece by piece. What does not begin as an object is kept until it can be mended whole."""
        self._braces = Braces()
        self._seen = 0

    @property
    def braces(self) -> Braces:
        """Its input as far as braces tell. Each piece is looked at once, and only when somebody asks."""
        while self._seen < len(self.pieces):
            if not self._braces.whole:
                self._braces.feed(self.pieces[self._seen])
            self._seen += 1
        return self._braces

    @property
    def whole(self) -> bool:
        return self.braces.whole


class Calls:
    """Puts text, thinking and tool calls into one order for the writer: what comes in the middle of a call waits."""

    def __init__(self, writer: Writer, id: str, backend: str, own: Mapping[str, str]) -> None:
        """`own`: the names of tools that were sent by others."""
        self._writer = writer
        self._message = id
        self._backend = backend
        self._own = own
        self._calls: list[_Call] = []
        self._known: dict[object, _Call] = {}
        """The latest call of each index (a number) and each id (a text)."""
        self._begun = 0
        """How many of the calls have a block."""
        self._held: list[tuple[str, str]] = []
        self._ids: set[str] = set()
        self._open: _Call | None = None

    @property
    def called(self) -> bool:
        """Was a tool called?"""
        return bool(self._calls)

    def say(self, kind: str, text: str) -> None:
        """Text or thinking."""
        if self._open is not None:
            if not self._open.whole:
                self._held.append((kind, text))
                return
            self._shut()
        if kind == "text":
            self._writer.text(text)
        else:
            self._writer.thinking(text)

    def add(self, name: str, arguments: str) -> None:
        """A whole call, which the model wrote as text."""
        call = self._new(None, None)
        call.name = name
        call.pieces.append(arguments)
        self._advance(call)

    def piece(self, piece: CallIn) -> int:
        """A piece of a call, or a whole one; how many characters of input it brought."""
        function = piece.function or FunctionIn()
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
                return 0
            if not arguments.isprintable():
                arguments = call.braces.clean(arguments)
            call.pieces.append(arguments)
        if call.state == "open":
            self._pass_on(call, arguments or "")
        else:
            self._advance(call)
        return len(arguments or "")

    def finish(self, *, cut: bool) -> None:
        """All has come. `cut`: the answer ended at its limit, so nothing that is missing may be made up."""
        while (call := self._next()) is not None:
            if not call.name:
                raise Problem("broken", f"Backend {self._backend!r} called a tool without a name.")
            self._begin(call, cut=cut)
        self._shut(cut=cut)

    def _which(self, piece: CallIn, function: FunctionIn) -> _Call:
        """The call that a piece belongs to. Servers differ: some give every call index 0, some no index, some no id."""
        index = piece.index if isinstance(piece.index, int) else None
        if index is not None:
            last = self._known.get(index)
        elif piece.id:
            last = self._known.get(piece.id)
        else:
            last = self._calls[-1] if self._calls else None
        if last is not None:
            other = bool(piece.id and last.wire and piece.id != last.wire)
            # Some servers repeat id and name in every piece: another call has begun only when this one is complete.
            again = bool(function.name and function.arguments and last.name and last.whole)
            if not other and not again:
                if piece.id and not last.wire:
                    last.wire = piece.id
                    self._known[piece.id] = last
                return last
        return self._new(index, piece.id or None)

    def _new(self, index: int | None, wire: str | None) -> _Call:
        if len(self._calls) >= _MOST:
            raise Problem("broken", f"Backend {self._backend!r} called tools without end.")
        call = _Call(wire)
        self._calls.append(call)
        if index is not None:
            self._known[index] = call
        if wire:
            self._known[wire] = call
        return call

    def _next(self) -> _Call | None:
        """The first call that has no block yet."""
        return self._calls[self._begun] if self._begun < len(self._calls) else None

    def _advance(self, call: _Call) -> None:
        """Open the block of `call` if its turn has come."""
        if call.name and call is self._next() and (self._open is None or self._open.whole):
            self._begin(call)

    def _begin(self, call: _Call, *, cut: bool = False) -> None:
        self._shut(cut=cut)
        call.state = "open"
        self._begun += 1
        self._open = call
        # The one place where a call's name goes out.
        self._writer.tool(self._id(call.wire), self._own.get(call.name, call.name))
        self._pass_on(call, "".join(call.pieces))

    def _pass_on(self, call: _Call, piece: str) -> None:
        """Hand on the next piece of the open call's input."""
        if call.streams is None:
            begun = piece.lstrip() or "".join(call.pieces).lstrip()
            if not begun:
                return
            call.streams = begun.startswith("{")
            if call.streams and call.whole:
                piece = mended("".join(call.pieces))
        if call.streams:
            self._writer.input(piece)

    def _shut(self, *, cut: bool = False) -> None:
        """Close the open call's block, and say what waited for that."""
        call = self._open
        if call is None:
            return
        text = "".join(call.pieces)
        better = text if cut else mended(text)
        if not call.streams:
            self._writer.input(better)
        elif better.startswith(text):
            self._writer.input(better[len(text) :])
        call.state = "closed"
        self._open = None
        self._writer.end()
        held, self._held = self._held, []
        for kind, said in held:
            (self._writer.text if kind == "text" else self._writer.thinking)(said)

    def _id(self, wire: str | None) -> str:
        """An id that is unique in the answer and fits the official pattern; the backend's own where it does."""
        id = (
            wire
            if wire and _ID.match(wire) and wire not in self._ids
            else f"toolu_{self._message[4:]}_{len(self._ids)}"
        )
        self._ids.add(id)
        return id
