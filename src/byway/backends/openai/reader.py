"""How to read a chat-completions answer, streamed or whole, leniently: servers differ in everything but the idea.

Bytes to chunks to what they say. Tool calls are put in order by `calls`, what models write as text is read by `spoken`,
tokens are counted by `counts`. Reading never depends on the vendor, but for two fields of its row: whether a model's own
marks may stand in the text.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UnsetType, field

from byway.backends import errors
from byway.backends.openai.toolcalls import CallIn, Calls
from byway.backends.openai.toolformats import Types, types
from byway.backends.openai.toolparser import Spoken
from byway.backends.openai.usage import Counts, Progress, Timings, UsageIn
from byway.backends.protocol import FIRST, Attempt, Target
from byway.messages import claudecode
from byway.messages.blocks import Wire
from byway.messages.events import Event, Stop, Usage
from byway.messages.request import Request
from byway.messages.sse import Decoder
from byway.messages.stream import Writer
from byway.problems import Problem


class _Delta(Wire):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking: Any = None
    refusal: Any = None
    tool_calls: list[CallIn] | None = None


class _Choice(Wire):
    index: Any = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    # The stop sequence that was met: vLLM's word, and SGLang's.
    stop_reason: Any = None
    matched_stop: Any = None
    # Moonshot's place for it
    usage: UsageIn | None = None


class _Verbose(Wire):
    stop_type: Any = None
    stopping_word: Any = None


class _Chunk(Wire):
    choices: list[_Choice] | None = None
    usage: UsageIn | None = None
    error: Any = None
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    stop_type: Any = None
    stopping_word: Any = None
    verbose: _Verbose | None = field(default=None, name="__verbose")


#: How much of an answer's ends is looked at to tell what it is.
_PEEK: Final = 256
_any: Final = msgspec.json.Decoder()
_chunk: Final = msgspec.json.Decoder(_Chunk)
# By OpenAI, and by others: Text Generation Inference, Cohere, Mistral, Gemini, GLM, and proxies before Anthropic.
_REASONS: Final = {
    "stop": "end_turn",
    "end_turn": "end_turn",
    "eos": "end_turn",
    "eos_token": "end_turn",
    "complete": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_length": "model_context_window_exceeded",
    "model_context_window_exceeded": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "tool_call": "tool_use",
    "tool_use": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "safety": "refusal",
    "sensitive": "refusal",
}
#: Finish reasons of an answer that was not finished: OpenRouter and Mistral, GLM, vLLM, DeepSeek.
_FAILED: Final = frozenset(("error", "network_error", "abort", "insufficient_system_resource"))
_CUT: Final = frozenset(("max_tokens", "model_context_window_exceeded"))
#: An escaped half of a character that takes two. What hides it is matched first.
_HALVES: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)


_NO_TOOLS: Final[tuple[Types, dict[str, str]]] = ({}, {})


class ChatReader:
    """Reads one chat-completions answer, streamed or whole (told by its first byte, whatever its content-type says)."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self.finished = False
        """Nothing more is wanted from the backend: `close` gives the rest or raises."""
        self._whole: list[bytes] | None = None
        self._head = self._half = b""
        self._sse: Decoder | None = None
        self._spoken: Spoken | None = None
        self._reason: str | None = None
        self._stop: str | None = None
        self._written = 0
        self._refused = self._done = False
        self._problem: Problem | None = None
        self.estimated = False
        """Is a count of the usage given out a guess, since the backend has not said it?"""
        params = request.params
        self._target = target
        estimate = attempt.estimate or request.estimate
        self._counts = Counts(estimate)
        self._writer = Writer(request.id, request.model, Usage(estimate))
        self._stops = params.stop_sequences or ()
        self._most = None if isinstance(params.max_tokens, UnsetType) else params.max_tokens
        vendor, choice = target.vendor, params.tool_choice
        tools = claudecode.tools(request) if request.loose else params.tools
        self._known, self._own = types(tools) if tools else _NO_TOOLS
        self._id = request.id
        self._streams = request.stream
        self._calls: Calls | None = None
        """Made when the first tool is called: most answers call none."""
        if not vendor.tools_as_text or (choice is not None and choice.type == "none"):
            self._known = {}
        self._marked = bool(self._known) or vendor.thinking_as_text
        """A model's own marks may stand in the text."""
        self._formed = bool(params.output_format or (params.output_config and params.output_config.format))
        self._begun = False

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
            if start.startswith((b"{", b"[", b"<")):
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
            except (Problem, RecursionError) as problem:
                # What was read before the failure still belongs to the client; `close` raises.
                self._problem = problem if isinstance(problem, Problem) else self._nested()
                self.finished = True
                return

    def close(self) -> list[Event]:
        """The end of the answer; raises Problem when it was cut short or is no answer."""
        if not self.finished:
            if self._whole is not None:
                whole = b"".join(self._whole)
                if self._complete(whole):
                    try:
                        self._read(whole, "")
                    except RecursionError:
                        raise self._nested() from None
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
                    f"The answer of backend {self._target.backend!r} ended before it was finished. "
                    "Look in that server's log: it may have stopped, run out of memory, or hit a proxy's time limit.",
                )
            self._finish()
        if self._problem is not None:
            raise self._problem
        return self._writer.take()

    def _nested(self) -> Problem:
        return Problem("broken", f"The answer of backend {self._target.backend!r} is nested too deeply.")

    def _complete(self, whole: bytes) -> bool:
        start = whole[:_PEEK].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if start == b"<":
            raise Problem(
                "broken",
                f"Backend {self._target.backend!r} answered with a web page. Is its `url` that of the API, and not of a page "
                "or a login in front of it?",
            )
        return whole[-_PEEK:].rstrip().endswith((b"}", b"]"))

    # ------------------------------------------------------------------------------------------------- chunks to writer

    def _called(self) -> Calls:
        if self._calls is None:
            self._calls = Calls(self._writer, self._id, self._target.backend, self._own)
        return self._calls

    def _say(self, kind: str, text: str) -> None:
        """Text or thinking, to go out. In the middle of a tool call it waits."""
        if self._calls is not None:
            self._calls.say(kind, text)
        elif kind == "text":
            self._writer.text(text)
        else:
            self._writer.thinking(text)

    def _hear(self, text: str) -> None:
        """Text of the answer. It is looked at closely from the first piece on that may hold a mark."""
        spoken = self._spoken
        if spoken is None:
            if not self._marked or (
                "<" not in text and "[" not in text and "`" not in text and (self._begun or text.lstrip()[:1].isalnum())
            ):
                self._begun = True
                if self._calls is None:
                    self._writer.text(text)
                else:
                    self._calls.say("text", text)
                return
            spoken = self._spoken = self._listen()
        spoken.feed(text)

    def _listen(self) -> Spoken:
        return Spoken(
            self._say,
            lambda name, input: self._called().add(name, input),
            self._known,
            tags=self._target.vendor.thinking_as_text,
            bare=not self._formed,
            begun=self._begun,
        )

    def _read(self, data: bytes, name: str) -> None:
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        try:
            chunk = _chunk.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            chunk = self._odd(data, name)
        if name == "error" and not chunk.error:
            chunk.error = _any.decode(data)
        if chunk.error:
            raise errors.from_error(chunk.error, backend=self._target.backend, window=self._target.window)
        if chunk.usage is not None or chunk.prompt_progress is not None:
            self._count(chunk)
        if not chunk.choices:
            if self._whole is not None:
                raise Problem("broken", f"The answer of backend {self._target.backend!r} has no choices.")
            return
        choice = chunk.choices[0]
        if choice.index != 0:
            for other in chunk.choices:
                if other.index == 0:
                    choice = other
                    break
            else:
                if choice.index:
                    return
        delta = choice.delta
        if delta is None and not self._written:
            # Some end a stream with the whole message once more.
            delta = choice.message
        if delta is not None:
            if not self._writer.started:
                self._writer.start()
            self._take(delta)
        if choice.finish_reason:
            self._ended(choice, chunk)

    def _odd(self, data: bytes, name: str) -> _Chunk:
        """What no decoder takes: an error in plain words, half a character, or nothing that can be read."""
        if name == "error":
            return _Chunk(error=data.decode(errors="replace"))
        mended, self._half = _joined(data, self._half)
        try:
            return _chunk.decode(mended)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Problem(
                "broken",
                f"Backend {self._target.backend!r} sent something that is not a chat completion, or only the beginning of one.",
            ) from None

    def _count(self, chunk: _Chunk) -> None:
        if chunk.usage is not None:
            self._counts.usage(chunk.usage)
        if chunk.prompt_progress is not None:
            self._counts.progress(chunk.prompt_progress)
        if self._streams and not self._writer.started:
            self._writer.expect(self._counts.total(0))

    def _ended(self, choice: _Choice, chunk: _Chunk) -> None:
        """A finish reason, and what comes with it: counts, and the stop sequence that was met where the server says which."""
        self._reason = str(choice.finish_reason)
        if choice.usage is not None:
            self._counts.usage(choice.usage)
        if chunk.timings is not None:
            self._counts.timings(chunk.timings)
        verbose = chunk.verbose or chunk
        if choice.stop_reason or choice.matched_stop or verbose.stopping_word:
            word = verbose.stopping_word if verbose.stop_type == "word" else None
            for said in (choice.stop_reason, choice.matched_stop, word):
                if isinstance(said, str) and said:
                    self._stop = said

    def _take(self, delta: _Delta) -> None:
        thought = delta.reasoning_content or delta.reasoning or delta.reasoning_details or delta.thinking
        if thought:
            # The same under two names counts once.
            self._think(thought if isinstance(thought, str) else _text(thought))
        if text := delta.content:
            if isinstance(text, str):
                self._written += len(text)
                self._hear(text)
            else:
                self._parts(text)
        if (refusal := delta.refusal) and (text := _text(refusal)):
            self._refused = True
            self._written += len(text)
            self._say("text", text)
        if delta.tool_calls:
            if self._spoken is not None and self._spoken.holds:
                # Something else than text comes: what was held of it is not going to be more.
                self._spoken.flush(cut=False)
            calls = self._called()
            for call in delta.tool_calls:
                self._written += calls.piece(call)

    def _parts(self, parts: Any) -> None:
        """`content` as a list of parts; Mistral's thinking is one of them."""
        for part in parts if isinstance(parts, list) else (parts,):
            if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
                self._think(_text(part))
            elif text := _text(part):
                self._written += len(text)
                self._hear(text)

    def _think(self, text: str) -> None:
        if text:
            if self._spoken is not None and self._spoken.holds:
                self._spoken.flush(cut=False)
            self._written += len(text)
            self._say("thinking", text)

    # --------------------------------------------------------------------------------------------------------- the end

    def _finish(self) -> None:
        self.finished = True
        said = (self._reason or "").lower()
        if said in _FAILED:
            self._problem = Problem(
                "broken",
                f"Backend {self._target.backend!r} gave up in the middle of its answer ({said}). Look in its log.",
            )
            return
        reason = _REASONS.get(said, "end_turn")
        try:
            if self._spoken is not None and self._spoken.holds:
                self._spoken.flush(cut=reason in _CUT)
            # It knows the reader, and the reader it: nothing of an answer should wait for the garbage collector.
            self._spoken = None
            if self._calls is not None:
                self._calls.finish(cut=reason in _CUT)
        except Problem as problem:
            self._problem = problem
            return
        self.estimated = self._counts.estimated
        self._writer.finish(self._stopped(reason), self._counts.total(self._written))

    def _stopped(self, reason: str) -> Stop:
        """Why the answer ended, from what the server calls it and what is known besides."""
        if reason == "stop_sequence" and self._stop is None and len(self._stops) == 1:
            self._stop = self._stops[0]
        if reason in ("end_turn", "tool_use", "stop_sequence"):
            if self._refused:
                return Stop("refusal")
            if self._calls is not None and self._calls.called:
                return Stop("tool_use")
            return Stop("stop_sequence", self._stop) if self._stop else Stop("end_turn")
        if reason == "max_tokens" and self._target.window:
            counts = self._counts
            # The window's last token is left empty by some.
            full = not counts.estimated and counts.prompt + counts.output >= self._target.window - 1
            if full and (self._most is None or counts.output < self._most):
                return Stop("model_context_window_exceeded")
        return Stop(reason)


def _joined(data: bytes, half: bytes) -> tuple[bytes, bytes]:
    """`data` without half characters, and the half that the next chunk may complete. `half`: the one before.

    Servers that cut a character's two escapes apart send what no decoder takes (msgspec refuses it, as JSON's RFC 8259
    lets it). The first half waits for the second; one that stays alone is a replacement character.
    """
    waiting = b""

    def one(found: re.Match[bytes]) -> bytes:
        nonlocal half, waiting
        text = found[0]
        if text[1:2] != b"u" or len(text) == 12:
            return text
        if text[3:4] in b"89abAB":
            if found.string[found.end() : found.end() + 1] != b'"':
                return b"\\ufffd"
            waiting = text
            return b""
        first, half = half, b""
        return first + text if first else b"\\ufffd"

    return _HALVES.sub(one, data), waiting


def _text(value: Any) -> str:
    """Text from what servers put where text belongs: a string, null, a part, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join([_text(part) for part in value])
    if isinstance(value, dict):
        return next((said for name in _WORDS if (said := _text(value.get(name)))), "")
    return ""


_WORDS: Final = ("text", "summary", "thinking", "reasoning", "content")
