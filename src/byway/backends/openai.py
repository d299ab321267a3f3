"""The OpenAI chat-completions protocol: what to send for a Messages request, and how to read what comes back. No I/O.

https://platform.openai.com/docs/api-reference/chat (seen 2026-11-20); what servers really answer was recorded with
llama.cpp b11549 and transformers 5.23. Reading never depends on the vendor: a field is understood wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from byway import claudecode, faults
from byway.backends import Call, Facts, Target
from byway.messages import (
    Base64Source,
    Block,
    ContentSource,
    Document,
    Event,
    FileSource,
    Image,
    Request,
    Stop,
    Text,
    TextSource,
    ToolReference,
    ToolResult,
    ToolUse,
    Turn,
    Unknown,
    UrlSource,
    Usage,
    blocks,
    check,
    given,
)
from byway.problems import Problem
from byway.sse import Decoder
from byway.stream import Writer

# ---------------------------------------------------------------------------------------------------- wire: what we send


class _Part(Struct, omit_defaults=True):
    type: str
    text: str | None = None
    image_url: dict[str, str] | None = None


class _Function(Struct):
    name: str
    arguments: str


class _CallOut(Struct):
    id: str
    function: _Function
    type: str = "function"


class _Out(Struct):
    role: str
    content: str | list[_Part] | None | UnsetType = UNSET
    tool_calls: list[_CallOut] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class _ToolOut(Struct):
    function: dict[str, Any]
    type: str = "function"


_encode: Final = msgspec.json.Encoder().encode
_EMPTY_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')

# ------------------------------------------------------------------------------------------------------------- request


def request(request: Request, target: Target) -> Call:
    """The call for `request`. Only what the protocol knows is sent: no cache marks, no metadata, no betas.

    The order of the keys is that of a prompt: tools, then messages, so that a server which hashes the body sees the
    same beginning turn after turn.
    """
    params, vendor = request.params, target.vendor
    body: dict[str, Any] = {"model": target.model}
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    body["messages"] = _messages(request)
    if isinstance(params.max_tokens, UnsetType):
        raise Problem("invalid_request", "max_tokens: Field required")
    # 0 asks Anthropic to fill its cache; the smallest that these servers take is 1.
    body[vendor.max_tokens_field] = max(1, params.max_tokens)
    for name in vendor.sampling:
        value = getattr(params, name)
        if value is not None:
            body[name] = value
    if params.stop_sequences:
        # Servers refuse an empty stop sequence, and some a long list: the rest is left out rather than the request lost.
        body["stop"] = [text for text in params.stop_sequences if text][: vendor.stop_limit]
    if tools and params.tool_choice is not None:
        choice = params.tool_choice
        match choice.type:
            case "any":
                body["tool_choice"] = "required"
            case "tool":
                if choice.name is None:
                    raise Problem("invalid_request", "tool_choice.name: Field required when type is 'tool'")
                body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
            case _:
                body["tool_choice"] = choice.type
        if choice.disable_parallel_tool_use:
            body["parallel_tool_calls"] = False
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Call("POST", "/v1/chat/completions", _JSON, _encode(body))


_JSON: Final = (("content-type", "application/json"),)


def _tools(request: Request) -> list[_ToolOut]:
    found = []
    for at, tool in enumerate(claudecode.tools(request)):
        if tool.type not in (None, "custom"):
            raise Problem(
                "invalid_request",
                f"tools.{at}.type: {tool.type!r} is a tool that Anthropic's servers run; this backend cannot, and Byway "
                "does not run it yet. Leave the tool out, or send this request to an Anthropic backend.",
            )
        if not tool.name:
            raise Problem("invalid_request", f"tools.{at}.name: Field required")
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        schema = tool.input_schema if given(tool.input_schema) else _EMPTY_SCHEMA
        check(schema, f"tools.{at}.input_schema")
        function["parameters"] = schema
        found.append(_ToolOut(function))
    return found


def _messages(request: Request) -> list[_Out]:
    """The conversation in chat form. A turn's messages depend on that turn and those before it, never on later ones."""
    out: list[_Out] = []
    system = claudecode.system(request.system)
    for turn in request.turns:
        if turn.role == "system":
            texts = [block.text for block in turn.blocks if isinstance(block, Text)]
            if not out:
                system.extend(texts)
            else:
                _say(out, [_Part("text", claudecode.reminder(text)) for text in texts if text])
        elif turn.role == "assistant":
            out.append(_assistant(turn))
        else:
            _user(out, turn)
    text = "\n\n".join(text for text in system if text)
    return [_Out("system", text), *out] if text else out


def _user(out: list[_Out], turn: Turn) -> None:
    """A user turn: its tool results first (they must follow their assistant turn), then all that it says."""
    said: list[_Part] = []
    for block in turn.blocks:
        if isinstance(block, ToolResult):
            text, pictures = _result(block)
            out.append(_Out("tool", text, tool_call_id=block.tool_use_id))
            if pictures:
                said.append(_Part("text", f"Images in the result of {block.tool_use_id}:"))
                said.extend(pictures)
        else:
            said.extend(_parts(block))
    _say(out, said)


def _say(out: list[_Out], parts: list[_Part]) -> None:
    """Add `parts` as the user's, to the last message when that is the user's too: many templates want turns to alternate."""
    if not parts:
        return
    if out and out[-1].role == "user":
        before = out.pop().content
        parts = [*([_Part("text", before)] if isinstance(before, str) else before or []), *parts]
    texts = [part.text for part in parts if part.text is not None]
    out.append(_Out("user", "\n\n".join(texts) if len(texts) == len(parts) else parts))


def _result(block: ToolResult) -> tuple[str, list[_Part]]:
    """A tool result's text and its images: the `tool` role takes text alone."""
    pictures: list[_Part] = []
    if isinstance(block.content, str):
        text = block.content
    else:
        parts = [part for inner in blocks(block.content, "tool_result.content") for part in _parts(inner)]
        text = "\n\n".join(part.text for part in parts if part.text is not None)
        pictures = [part for part in parts if part.text is None]
    if block.is_error and not text.startswith(("Error", "<tool_use_error>")):
        text = f"Error: {text}" if text else "Error"
    if not text:
        text = "(see the images below)" if pictures else "(no output)"
    return text, pictures


def _parts(block: Block) -> list[_Part]:
    """What a user's block says, as chat parts; a block that chat has no form for is kept as text."""
    match block:
        case Text(text):
            return [_Part("text", text)] if text else []
        case Image(Base64Source(kind, data)):
            return [_Part("image_url", image_url={"url": f"data:{kind};base64,{data}"})]
        case Image(UrlSource(url)):
            return [_Part("image_url", image_url={"url": url})]
        case Document(TextSource(data), title):
            return [_Part("text", f"{title}\n\n{data}" if title else data)]
        case Document(ContentSource(content)):
            return [part for inner in blocks(content, "document.source.content") for part in _parts(inner)]
        case Document(UrlSource(url), title):
            return [_Part("text", f"[document {title or ''} {url}]")]
        case Document(source=Base64Source(kind)):
            return [_Part("text", f"[{kind} document, which this backend cannot read]")]
        case Image(FileSource()) | Document(FileSource()):
            raise Problem("invalid_request", "source.type: 'file' needs the Files API, which Byway does not have yet")
        case ToolReference(name):
            return [_Part("text", f"Tool {name} is loaded.")]
        case Unknown(_, raw):
            return [_Part("text", check(raw, "content"))]
        case _:
            return []


def _assistant(turn: Turn) -> _Out:
    texts: list[str] = []
    calls: list[_CallOut] = []
    for block in turn.blocks:
        match block:
            case Text(text):
                texts.append(text)
            case ToolUse(id, name, input):
                calls.append(_CallOut(id, _Function(name, check(input, "tool_use.input"))))
            case Unknown(_, raw):
                texts.append(check(raw, "content"))
            case _:
                # Thinking is the model's own and over; these servers have no place for it.
                pass
    text = "".join(texts)
    return _Out("assistant", text or (None if calls else ""), calls or UNSET)


# ---------------------------------------------------------------------------------------------------- wire: what we read


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
        self.finished = False
        """Nothing more is wanted from the backend: `close` gives the rest or raises."""
        self._id = request.id
        self._backend = target.backend
        self._window = target.window
        self._estimate = request.estimate
        self._writer = Writer(request.id, request.model, Usage(input_tokens=request.estimate))
        self._whole: list[bytes] | None = None
        self._head = b""
        self._sse: Decoder | None = None
        self._calls: list[_ToolCall] = []
        self._open: _ToolCall | None = None
        self._held: list[tuple[str, str]] = []
        self._ids: set[str] = set()
        self._reason: str | None = None
        self._stop: str | None = None
        self._usage: _Usage | None = None
        self._written = 0
        self._done = False
        self._problem: Problem | None = None

    # -------------------------------------------------------------------------------------------------- bytes to events

    def feed(self, data: bytes) -> list[Event]:
        if self.finished:
            return []
        if self._sse is None:
            if self._whole is not None:
                self._whole.append(data)
                return []
            self._head += data
            start = self._head.lstrip(b"\xef\xbb\xbf \t\r\n")
            if not start or (len(self._head) < 3 and self._head.startswith(b"\xef")):
                return []
            data, self._head = self._head, b""
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
        start = whole.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if start == b"<":
            raise Problem(
                "broken",
                f"Backend {self._backend!r} answered with a web page. Is its `url` that of the API, and not of a page or a "
                "login in front of it?",
            )
        return whole.rstrip().endswith((b"}", b"]"))

    # ------------------------------------------------------------------------------------------------- chunks to writer

    def _read(self, data: bytes, name: str) -> None:
        data = data.lstrip(b"\xef\xbb\xbf")
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
        thought = _text(delta.reasoning_content) or _text(delta.reasoning)
        if thought:
            self._say("thinking", thought)
        text = _text(delta.content) or _text(delta.refusal)
        if text:
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
        while (call := self._next()) is not None:
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


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _text(value: Any) -> str:
    """Text from what servers put in `content`: a string, null, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part.get("text")) if isinstance(part, dict) else _text(part) for part in value)
    return ""


def reader(request: Request, target: Target) -> ChatReader:
    return ChatReader(request, target)


# ---------------------------------------------------------------------------------------- problems, counting, models, facts


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
    return faults.read(status, headers, body, backend=target.backend, window=target.window)


def count(request: Request, target: Target) -> Call | None:
    return None


def read_count(body: bytes) -> int:
    raise Problem("internal", "Chat completions have no call that counts tokens.")


def models() -> Call:
    return Call("GET", "/v1/models")


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


def read_models(body: bytes) -> list[str]:
    """The ids of `GET /v1/models`; raises Problem `broken` for anything else."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Problem("broken", "The list of models was not understood. Is the backend's `url` that of its API?") from None


def describe(target: Target) -> Call | None:
    """llama.cpp says its window at `/props`; others are asked nothing."""
    return Call("GET", "/props") if target.vendor.props else None


class _Settings(Struct):
    n_ctx: int | None = None


class _Caps(Struct):
    supports_tools: bool | None = None


class _Props(Struct):
    default_generation_settings: _Settings | None = None
    chat_template_caps: _Caps | None = None


def read_description(body: bytes, target: Target) -> Facts:
    """Facts from llama.cpp's `/props`: the window of one slot, and whether its template has tools."""
    try:
        props = msgspec.json.decode(body, type=_Props)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Facts()
    settings = props.default_generation_settings or _Settings()
    return Facts(settings.n_ctx, (props.chat_template_caps or _Caps()).supports_tools)

