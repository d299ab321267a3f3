"""The tool calls of an answer, each exactly once: from pieces, interleaved or repeated, with or without index and id."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway.backends.openai.arguments import SURPLUS, JsonTracker, decode_json, repaired, with_schema_types
from byway.backends.openai.toolformats import ArgumentTypes, argument_types
from byway.backends.openai.toolids import ClientIds
from byway.backends.openai.toolnames import offered_name
from byway.messages.blocks import Wire
from byway.messages.request import Request, call_ids
from byway.messages.stream import Writer
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
#: No model calls so many tools in one answer.
_CALLS_MOST: Final = 1000


class FunctionDelta(Wire):
    name: str | None = None
    arguments: Any = None


class ToolCallDelta(Wire):
    """A piece of a tool call, or a whole one."""

    index: Any = None
    id: Any = None
    function: FunctionDelta | None = None
    # Gemini's thought signature, which must come back with the call.
    extra_content: Any = None


_NO_FUNCTION: Final = FunctionDelta()
#: So much white space may stand around the colon in front of a value of the wrong type.
_SPACES: Final = 8
_WATCHED_MOST: Final = 64


class TypeWatch:
    """Finds in a streamed input the place where a string begins although the schema wants another type."""

    __slots__ = ("pattern", "window")

    def __init__(self, names: tuple[str, ...]) -> None:
        keys = "|".join(re.escape(name) for name in names)
        self.pattern = re.compile(rf'"(?:{keys})"\s{{0,{_SPACES}}}:\s{{0,{_SPACES}}}(?=")')
        self.window = max(len(name) for name in names) + 2 * _SPACES + 3
        """How many characters before a quotation mark decide."""


@lru_cache(256)
def _type_watch(names: tuple[str, ...]) -> TypeWatch:
    return TypeWatch(names)


class CallInput:
    """The JSON input of one call, from its pieces.

    Repetitions are left out: a piece that holds all that came before it, and the whole input once more at the end.
    """

    __slots__ = (
        "_ambiguous",
        "_blanks",
        "_cumulative",
        "_fed",
        "_length",
        "_may_be_complete",
        "_offset",
        "_surplus",
        "_tracker",
        "first",
        "ordinary",
        "pieces",
    )

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.first = ""
        """The first character that is no white space."""
        self.ordinary = False
        """It is an object that has not ended and no piece of which was repeated: most pieces need one check."""
        self._cumulative = False
        """Each piece has held all that came before it."""
        self._ambiguous = ""
        """A piece that either holds all that came before it, or continues it."""
        self._blanks: list[str] = []
        """White space that followed it."""
        self._may_be_complete = False
        """The ambiguous piece is an object of its own."""
        self._surplus: list[str] | None = None
        """What came after the end of the object."""
        self._tracker = JsonTracker()
        self._fed = self._offset = self._length = 0
        """How far the tracker has read: pieces, characters of the next piece, all characters. It reads where that matters."""

    @property
    def text(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
            self._fed, self._offset = 0, self._length
        return self.pieces[0] if self.pieces else ""

    @property
    def complete(self) -> bool:
        return self._track().complete

    @property
    def announced(self) -> bool:
        """It is an empty object, with which some servers announce the input."""
        return len(self.pieces) < _ANNOUNCEMENT_MOST and self.text.strip() == "{}"

    def _track(self) -> JsonTracker:
        pieces, tracker = self.pieces, self._tracker
        while self._fed < len(pieces):
            piece = pieces[self._fed]
            if not tracker.complete:
                tracker.feed(piece, self._offset)
            self._length += len(piece) - self._offset
            self._offset = 0
            self._fed += 1
        return tracker

    def add(self, piece: str) -> str:
        """Add a piece. Returns what is new in it, with raw control characters escaped."""
        start = piece.lstrip()[:1]
        if self.ordinary and start not in _SUSPICIOUS and piece.isprintable():
            self.pieces.append(piece)
            return piece
        if self._surplus is not None:
            self._surplus.append(piece)
            return ""
        if self._ambiguous:
            if not start:
                self._blanks.append(piece)
                return ""
            if not piece.startswith(self._ambiguous):
                new = self.settle(piece)
                return new + self.add(piece)
            self._ambiguous, self._blanks = "", []
            self._cumulative = True
        if not self.first:
            self.first = start
            self.ordinary = start == "{"
        elif start == self.first or start == "}" or self._cumulative:
            piece = self._without_repetition(piece)
            self.ordinary = self.first == "{" and not (self._cumulative or self._ambiguous or self._surplus is not None)
            if not piece:
                return ""
        return self._keep(piece)

    def _keep(self, piece: str) -> str:
        clean = piece if piece.isprintable() else self._track().escape_controls(piece)
        self.pieces.append(piece)
        return clean

    def _without_repetition(self, piece: str) -> str:
        """What is new in a piece that begins as the input does, or that could stand behind its end."""
        tracker = self._track()
        if tracker.complete:
            if self.announced and piece.lstrip().startswith("{"):
                self.pieces, self._fed, self._offset, self._length = [], 0, 0, 0
                self._tracker = JsonTracker()
                return piece
            self._surplus = [piece]
            return ""
        if len(piece) < self._length or not piece.startswith(text := self.text):
            return piece
        if self._cumulative or not _may_hold_itself(text, tracker):
            self._cumulative = True
            return piece[self._length :]
        # Only what follows can tell.
        self._ambiguous = piece
        self._may_be_complete = _object(piece) is not None
        return ""

    def settle(self, following: str) -> str:
        """Decide about the ambiguous piece by the one that follows it, unless that holds it too. Returns what is new."""
        held = self._ambiguous
        if not held or following.startswith(held):
            return ""
        blanks = self._take_ambiguous()[1]
        # No object follows an object: then the held piece was the whole input, and the following one repeats it.
        repeats = self._may_be_complete and following.lstrip().startswith("{")
        self._track()
        return self._keep(held[self._length :] if repeats else held + blanks)

    def _take_ambiguous(self) -> tuple[str, str]:
        piece, blanks = self._ambiguous, "".join(self._blanks)
        self._ambiguous, self._blanks = "", []
        return piece, blanks

    def end(self) -> str:
        """No more pieces will come: decide about the ambiguous one by which reading is an object. Returns what is new."""
        piece, blanks = self._take_ambiguous()
        if not piece:
            return ""
        self._track()
        repeats = self._may_be_complete and _object(self.text + piece) is None
        return self._keep(piece[self._length :] if repeats else piece + blanks)

    def leftover(self) -> str:
        """What came after the end of the object and does not repeat it. Forgets it."""
        text, self._surplus = "".join(self._surplus or ()).strip(), []
        if SURPLUS.match(text):
            return ""
        own = self.text.strip()
        repeats = own.startswith(text) or _same_object(own, text) or not text.replace(own, "").strip()
        return "" if repeats else text


def _json_text(arguments: Any) -> str:
    """Arguments as JSON text: some servers send them as an object."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return _encode(arguments).decode()


#: An empty object comes in no more pieces.
_ANNOUNCEMENT_MOST: Final = 8
#: First characters of pieces that may repeat the input or follow its end; "" is a piece of white space.
_SUSPICIOUS: Final = ("", "{", "}")
_BEFORE_VALUE: Final = (":", ",", "[")
_AFTER_STRING: Final = ("", ":", ",", "}", "]", " ", "\t", "\r", "\n")


def _may_hold_itself(text: str, tracker: JsonTracker) -> bool:
    """Whether JSON that begins with `text` may continue with `text`, as `{"a":` in `{"a":{"a":1}}`."""
    if tracker.in_string:
        # The first quotation mark of the second `text` would end the string.
        quote = text.find('"')
        return text[quote + 1 : quote + 2] in _AFTER_STRING
    return text.rstrip()[-1:] in _BEFORE_VALUE


def _object(text: str) -> dict[str, Any] | None:
    value = decode_json(text)
    return value if isinstance(value, dict) else None


def _same_object(text: str, other: str) -> bool:
    """Whether two JSON texts hold the same object."""
    value = _object(text)
    return value is not None and value == _object(other)


class PendingCall:
    """One tool call of the answer, as far as it has arrived."""

    __slots__ = (
        "anonymous", "chunk", "id", "input", "name", "sent", "state", "streams", "suspect", "twin", "watch", "written",
    )  # fmt: skip

    def __init__(self, id: str | None, chunk: int) -> None:
        self.id = id
        """The backend's id."""
        self.chunk = chunk
        self.name = ""
        self.written = False
        """The model wrote it as text."""
        self.anonymous = False
        """It came without an index and without an id."""
        self.input = CallInput()
        self.state = "waiting"
        """waiting, open, closed, or dropped as a repetition."""
        self.streams: bool | None = None
        """Its input goes on piece by piece. Otherwise it is kept until it can be repaired whole."""
        self.sent = 0
        """How many characters of its input have gone to the client where it does not stream any more."""
        self.watch: TypeWatch | None = None
        self.suspect = False
        """It may repeat an earlier call: it waits until its input is complete and can be compared."""
        self.twin: PendingCall | None = None
        """The call that it may repeat; None: any call of an earlier chunk."""

    def key(self) -> tuple[str, bytes | str]:
        """Equal for calls of one tool with one input."""
        text = self.input.text.strip()
        value = _object(text)
        return self.name, _encode_sorted(value) if value is not None else text


class CallableTools(Struct, frozen=True, gc=False):
    """What a reader keeps of a request to read the calls of its answer. It does not keep the request alive."""

    types: ArgumentTypes
    """The types of the arguments, by the names of the tools that were sent."""
    client_names: Mapping[str, str]
    """The client's names of tools that were sent by others."""
    ids: Collection[str]
    """The ids of all calls in the conversation."""

    def calls(self, id: str, backend: str, writer: Writer) -> ToolCalls:
        """The calls of the answer with this `id`: before the first one."""
        return ToolCalls(writer, ClientIds(id, backend, set(self.ids)), backend, self.types, self.client_names)


_NO_TOOLS: Final = CallableTools({}, {}, ())


def callable_tools(request: Request) -> CallableTools:
    """Return what the calls of the answer to `request` are read with."""
    if request.content.params.tools or request.loose:
        return CallableTools(*argument_types(request), call_ids(request))
    return _NO_TOOLS


class ToolCalls:
    """Puts text, thinking and tool calls in one order for the writer: what arrives in the middle of a call waits."""

    def __init__(
        self, writer: Writer, ids: ClientIds, backend: str, types: ArgumentTypes, client_names: Mapping[str, str]
    ) -> None:
        """`types`: of the offered tools, by the names that were sent. `client_names`: of tools that were sent by others."""
        self._writer = writer
        self._ids = ids
        self._backend = backend
        self._types = types
        self._client_names = client_names
        self._calls: list[PendingCall] = []
        self._begun = 0
        """The number of calls that have a block or were dropped."""
        self._known: dict[object, PendingCall] = {}
        """The latest call of each index (int), id (str), both (tuple), or place in a list (a tuple with "place")."""
        self._written = self._received = False
        """A call was written as text; a call was received as one. A server may do both with the same call."""
        self._keys: dict[tuple[bool, str, bytes | str], int] = {}
        """The chunks of the calls that later ones are compared with."""
        self._compared = 0
        self._chunk = 0
        self._held: list[tuple[str, str]] = []
        self._open: PendingCall | None = None

    @property
    def called(self) -> bool:
        """A tool was called."""
        return bool(self._calls)

    @property
    def busy(self) -> bool:
        """The input of the open call is not complete: what is written waits."""
        return self._open is not None and not self._open.input.complete

    def write(self, kind: str, text: str) -> None:
        """Write text or thinking, behind the open call."""
        if self._open is not None:
            if not self._open.input.complete:
                self._held.append((kind, text))
                return
            self._close()
        if kind == "text":
            self._writer.text(text)
        else:
            self._writer.thinking(text)

    def add(self, name: str, arguments: str) -> None:
        """Add a whole call that the model wrote as text."""
        self._chunk += 1
        call = self._new(None, None)
        call.name, call.written = name, True
        call.suspect = self._received
        self._written = True
        call.input.add(arguments)
        self._advance()

    def add_chunk(self, deltas: Sequence[ToolCallDelta]) -> int:
        """Add the pieces of one chunk. Returns how many characters of input they have."""
        self._chunk += 1
        if len(deltas) == 1:
            delta = deltas[0]
            function, call, index = delta.function, self._open, delta.index
            if function is None or call is None or function.name or type(index) is not int:
                # An index of another type is none: a list could not even be looked up.
                return self._add_piece(delta, None)
            if self._known.get(index) is call:
                # What most pieces are: more of the open call's input.
                arguments = function.arguments
                if call.streams and type(arguments) is str and (not delta.id or delta.id == call.id):
                    new = call.input.add(arguments)
                    if new:
                        if call.watch is not None and '"' in new:
                            self._pass_on(call, new)
                        else:
                            self._writer.input(new)
                    return len(arguments)
            return self._add_piece(delta, None)
        # Calls in one list are told apart by their places where nothing else does it.
        return sum([self._add_piece(delta, place) for place, delta in enumerate(deltas)])

    def _add_piece(self, delta: ToolCallDelta, place: int | None) -> int:
        function = delta.function or _NO_FUNCTION
        call = self._call_of(delta, function, place)
        if function.name and call.state == "waiting":
            if not call.name:
                call.name = function.name
            elif function.name != call.name and not call.input.first and not self._is_offered(call.name):
                # The name itself came in pieces.
                call.name += function.name
        arguments = _json_text(function.arguments)
        if arguments:
            new = call.input.add(arguments)
            if new and call.state == "open":
                self._pass_on(call, new)
        if call.state == "waiting":
            self._advance()
        return len(arguments)

    def finish(self, *, cut: bool) -> None:
        """All has arrived. `cut`: the answer ended at its limit, so nothing that is missing may be added."""
        for call in self._calls:
            self._pass_on_rest(call, call.input.end())
        while (next_call := self._next()) is not None:
            if next_call.suspect and self._is_repetition(next_call, ended=True):
                next_call.state = "dropped"
                continue
            if not next_call.name:
                raise Problem("broken", f"Backend {self._backend!r} called a tool without a name.")
            self._begin(next_call, cut=cut)
        self._close(cut=cut)
        for call in self._calls:
            if call.state == "closed" and call.input.leftover():
                raise Problem("broken", f"Backend {self._backend!r} sent more arguments after a tool call had ended.")

    # ------------------------------------------------------------------------------------------- which call a piece belongs to

    def _call_of(self, delta: ToolCallDelta, function: FunctionDelta, place: int | None) -> PendingCall:
        """The call that a piece belongs to. Some servers give every call index 0, some no index, some no id."""
        index = delta.index if isinstance(delta.index, int) else None
        id = str(delta.id) if delta.id not in (None, "") else None
        call = self._latest(index, id, place if function.name else None)
        if call is not None:
            other = bool(id and call.id and id != call.id and (function.name or call.input.complete))
            if function.name and function.arguments:
                self._pass_on_rest(call, call.input.settle(_json_text(function.arguments)))
            # Some servers repeat id and name in every piece: another call has begun only when this one is complete.
            again = bool(function.name and function.arguments and call.name and call.input.complete)
            again = again and not call.input.announced
            if not other and not again:
                if id and not call.id:
                    call.id = id
                    self._known[id] = call
                return call
            if other:
                call = None
        new = self._new(index, id)
        self._received = True
        if call is None and id:
            call = self._known.get(id)
        new.twin = call
        new.anonymous = index is None and id is None
        new.suspect = call is not None or self._written or (new.anonymous and len(self._calls) > 1)
        if id:
            self._known[id] = new
        if index is None and id is None and place is not None:
            self._known["place", place] = new
        return new

    def _latest(self, index: int | None, id: str | None, place: int | None) -> PendingCall | None:
        known = self._known
        if index is not None:
            return (known.get((index, id)) if id else None) or known.get(index)
        if id:
            return known.get(id)
        if place is not None:
            return known.get(("place", place))
        return self._calls[-1] if self._calls else None

    def _new(self, index: int | None, id: str | None) -> PendingCall:
        if len(self._calls) >= _CALLS_MOST:
            raise Problem("broken", f"Backend {self._backend!r} called more than {_CALLS_MOST} tools in one answer.")
        call = PendingCall(id, self._chunk)
        self._calls.append(call)
        if index is not None:
            self._known[index] = call
            if id:
                self._known[index, id] = call
        return call

    def _is_repetition(self, call: PendingCall, *, ended: bool = False) -> bool:
        """Whether a call is one that came before: the same tool with the same input. `ended`: it may have been cut off."""
        twin = call.twin
        if twin is not None:
            if not call.name:
                call.name = twin.name
            text = call.input.text.strip()
            return call.key() == twin.key() or (ended and call.name == twin.name and twin.input.text.startswith(text))
        while self._calls[self._compared] is not call:
            earlier = self._calls[self._compared]
            self._keys.setdefault((earlier.written, *earlier.key()), earlier.chunk)
            self._compared += 1
        # Two equal calls that the model wrote are two calls, and so are two with an index or id of their own.
        key = call.key()
        if (not call.written, *key) in self._keys:
            return True
        return call.anonymous and self._keys.get((False, *key), call.chunk) < call.chunk

    # ------------------------------------------------------------------------------------------------------ calls to the writer

    def _is_offered(self, name: str) -> bool:
        return offered_name(name, self._types) is not None

    def _next(self) -> PendingCall | None:
        """The first call that has no block yet."""
        while self._begun < len(self._calls):
            call = self._calls[self._begun]
            if call.state != "dropped":
                return call
            self._begun += 1
        return None

    def _advance(self) -> None:
        """Open the blocks of the calls whose turn has come."""
        while (call := self._next()) is not None and (self._open is None or self._open.input.complete):
            if call.suspect:
                if not call.input.complete:
                    return
                call.suspect = False
                if self._is_repetition(call):
                    call.state = "dropped"
                    continue
            if not call.name or not (call.input.first or self._is_offered(call.name)):
                return
            self._begin(call)

    def _begin(self, call: PendingCall, *, cut: bool = False) -> None:
        self._close(cut=cut)
        name = offered_name(call.name, self._types) or call.name
        types = self._types.get(name)
        if types:
            watched = tuple(types)
            call.streams = None if len(watched) <= _WATCHED_MOST else False
            call.watch = _type_watch(watched) if call.streams is None else None
        call.state = "open"
        self._begun += 1
        self._open = call
        # The one place where the name of a call goes out.
        writer = self._writer
        reasoning = writer.packed_reasoning() if writer.has_reasoning else ""
        writer.tool(self._ids.new(call.id, reasoning, writer.key), self._client_names.get(name, name))
        self._pass_on(call, "")

    def _pass_on(self, call: PendingCall, new: str) -> None:
        """Pass on what is new in the input of the open call."""
        if call.streams is None:
            if not call.input.first:
                return
            # Complete at once: it can be repaired when it is closed. What does not begin as an object, too.
            call.streams = call.input.first == "{" and not call.input.complete
            new = _escaped(call.input.text).lstrip()
        if call.streams:
            if call.watch is not None and '"' in new:
                new = self._before_wrong_type(call, call.watch, new)
            self._writer.input(new)

    def _pass_on_rest(self, call: PendingCall, new: str) -> None:
        """Pass on what was held of a call's input."""
        if new and call.state == "open":
            self._pass_on(call, new)

    def _before_wrong_type(self, call: PendingCall, watch: TypeWatch, new: str) -> str:
        """What of `new` stands before a string where the schema wants another type; the rest waits until it is complete."""
        before = ""
        pieces = call.input.pieces
        # From the last piece before `new` on, by index: a copy of the list for each piece would make this quadratic.
        for index in range(len(pieces) - 2, -1, -1):
            before = pieces[index] + before
            if len(before) > watch.window:
                before = before[-watch.window :]
                break
        for match in watch.pattern.finditer(before + new):
            if match.end() >= len(before):
                end = match.end() - len(before)
                call.streams = False
                call.sent = len(_escaped(call.input.text).lstrip()) - len(new) + end
                return new[:end]
        return new

    def _close(self, *, cut: bool = False) -> None:
        """Close the block of the open call, and write what waited for that."""
        call = self._open
        if call is None:
            return
        text = _escaped(call.input.text).lstrip()
        final = text
        if not cut:
            final = repaired(text)
            if types := self._types.get(offered_name(call.name, self._types) or ""):
                final = with_schema_types(final, types)
        sent = len(text) if call.streams else call.sent
        if not final.startswith(text[:sent]):
            # What has gone out cannot be repaired.
            final = text
        self._writer.input(final[sent:] + call.input.leftover())
        call.state = "closed"
        self._open = None
        self._writer.end()
        held, self._held = self._held, []
        for kind, waiting in held:
            (self._writer.text if kind == "text" else self._writer.thinking)(waiting)


def _escaped(text: str) -> str:
    """A JSON text with the raw control characters in its strings escaped."""
    return text if text.isprintable() else JsonTracker().escape_controls(text)
