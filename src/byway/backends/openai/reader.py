"""Reads a chat-completions answer, streamed or whole: from bytes to chunks to events. Servers differ, so it is lenient.

Tool calls are assembled in `toolcalls`, calls and thinking in the text are found by `toolparser`, tokens are counted in
`usage`. Reading depends on the vendor in one point only: whether a model's own marks may stand in the text.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UnsetType

from byway.backends import errors
from byway.backends.openai.chunks import (
    ChatChoice,
    ChatChunk,
    ChatDelta,
    GroqFields,
    VerboseFields,
    decode_chunk,
    joined_halves,
    text_of,
)
from byway.backends.openai.framing import FramedReader, cut_short
from byway.backends.openai.repetition import TextPieces, is_whole_text
from byway.backends.openai.toolcalls import ToolCallDelta, ToolCalls, callable_tools
from byway.backends.openai.toolformats import OPENING_FORMATS
from byway.backends.openai.toolparser import ToolCallParser
from byway.backends.openai.usage import TokenCounts
from byway.backends.protocol import FIRST, Attempt, Target
from byway.decoding import DECODE_ERRORS
from byway.messages.events import Event, MessageUsage, Stop, Usage, message_usage
from byway.messages.request import Request
from byway.messages.stream import Writer
from byway.problems import Problem

#: With these words gpt-oss may begin a call: `commentary to=functions.`, `analysis to=functions.`, `to=functions.`.
_CALL_WORDS: Final = tuple(opening for opening in OPENING_FORMATS if opening[0].isalpha())
_CALL_LETTERS: Final = frozenset(opening[0] for opening in _CALL_WORDS)
#: Every beginning of them: an answer that is one may still become a call.
_CALL_BEGINNINGS: Final = frozenset(words[:length] for words in _CALL_WORDS for length in range(1, len(words) + 1))
_LONGEST_BEGINNING: Final = max(map(len, _CALL_WORDS))
_decode: Final = msgspec.json.Decoder().decode
# Of OpenAI and of others: Text Generation Inference, Cohere, Mistral, Gemini, GLM, and proxies in front of Anthropic.
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
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FAILED_GENERATION: Final = b'"failed_generation"'
_CUT: Final = frozenset(("max_tokens", "model_context_window_exceeded"))


class ChatReader(FramedReader):
    """Reads one chat-completions answer, streamed or whole: its first byte decides which, not its content-type."""

    # Most answers neither set nor read these. A default of the class takes longer to read than an attribute of the instance.
    _half = b""
    """Half of a character that takes two escapes, from the end of the last chunk."""
    _done = False
    _pieces: TextPieces | None = None
    """Made when the second piece of text holds the first."""
    _thoughts: TextPieces | None = None
    """Made for the first thinking in a field."""
    _continues = False
    """The second piece of text continues the first."""
    _thinking_settled = False
    _thought_in_field = False
    _thought_in_tags = False
    _thought_calls: list[tuple[list[tuple[str, str]], str]] | None = None
    """Calls that the model wrote into its thinking. They count when nothing follows them."""

    def __init__(self, request: Request, target: Target, attempt: Attempt = FIRST) -> None:
        self.finished = False
        self._sse = None
        self._parser: ToolCallParser | None = None
        self._thinking_parser: ToolCallParser | None = None
        self._text_length = self._other_length = 0
        self._first_text: str | None = None
        self._reason: str | None = None
        self._stop: str | None = None
        self._refused = False
        self._holds = False
        """Something of the text or the thinking may be held."""
        params = request.content.params
        self._target = target
        estimate = attempt.estimate or request.estimate
        self._counts = TokenCounts(estimate, reasons_in_total=target.vendor.reasons_in_total)
        self._writer = Writer(request.id, request.model, MessageUsage(estimate), target.key)
        self._stops = params.stop_sequences or ()
        self._max_tokens = params.max_tokens
        vendor, choice = target.vendor, params.tool_choice
        self._tools = tools = callable_tools(request)
        self._id = request.id
        self._streams = request.stream
        self._calls: ToolCalls | None = None
        """Made when the first tool is called: most answers call none."""
        self._written_types = tools.types if vendor.tools_as_text and (choice is None or choice.type != "none") else {}
        """Of the tools that may be called in the text."""
        self._marked = bool(self._written_types) or vendor.thinking_as_text
        """A model's own marks may stand in the text."""
        self._json_wanted = bool(params.output_format or (params.output_config and params.output_config.format))
        self._begun = False
        """Ordinary text has been passed on."""
        self._settled = False
        """Text is passed on piece by piece: it does not repeat itself, and no thinking in front of it is undecided."""

    # -------------------------------------------------------------------------------------------------- bytes to events

    def _end_stream(self) -> None:
        self._done = True
        self._finish()

    def close(self) -> list[Event]:
        """End the answer. Raises Problem when it was cut short or is no answer."""
        if not self.finished:
            if self._whole is not None:
                whole = b"".join(self._whole)
                if self._is_complete(whole):
                    # One piece repeats nothing.
                    self._settled = True
                    try:
                        self._read(whole, "")
                    except RecursionError:
                        raise self._too_deep() from None
                    self._done = True
            elif self._sse is not None:
                self._read_rest(self._sse)
        if not self.finished:
            if not self._done and self._reason is None:
                raise cut_short(self._target.backend)
            self._finish()
        if self._problem is not None:
            raise self._problem
        return self._writer.take()

    def read_error(self, body: bytes) -> bool:
        """Read the body of an error response, which may hold a tool call that the server could not parse (Groq)."""
        if _FAILED_GENERATION not in body:
            return False
        try:
            return self._read(body, "")
        except (Problem, RecursionError):
            return False

    # ------------------------------------------------------------------------------------------------- chunks to writer

    def _tool_calls(self) -> ToolCalls:
        if self._calls is None:
            self._calls = self._tools.calls(self._id, self._target.backend, self._writer)
        return self._calls

    def _write(self, kind: str, text: str) -> None:
        """Write text or thinking. In the middle of a tool call it waits."""
        if self._calls is not None:
            self._calls.write(kind, text)
        elif kind == "text":
            self._writer.text(text)
        else:
            self._writer.thinking(text)

    def _read_text(self, text: str) -> None:
        """Read text of the answer. It is parsed from the first piece on that may hold a mark."""
        parser = self._parser
        if parser is None:
            if not self._marked or (
                "<" not in text and "[" not in text and "`" not in text and (self._begun or _is_prose(text))
            ):
                self._begun = True
                if self._calls is None:
                    self._writer.text(text)
                else:
                    self._calls.write("text", text)
                return
            parser = self._parser = self._new_parser()
        parser.feed(text)
        if parser.holds:
            self._holds = True

    def _release(self) -> None:
        """Something other than text and thinking follows: what was held of them is complete."""
        self._holds = False
        self._end_pieces()
        if self._parser is not None and self._parser.holds:
            self._parser.flush(cut=False)
        if self._thinking_parser is not None:
            self._end_thinking()

    def _end_pieces(self) -> None:
        """Read what was held because it may have been a repetition."""
        if self._thoughts is not None and (thought := self._thoughts.end()):
            self._other_length += len(thought)
            self._write_thinking(thought)
        if self._pieces is not None and (text := self._pieces.end()):
            self._text_length += len(text)
            self._read_text(text)

    def _new_parser(self) -> ToolCallParser:
        return ToolCallParser(
            self._write_parsed,
            self._add_calls,
            self._written_types,
            tags=self._target.vendor.thinking_as_text,
            bare=not self._json_wanted,
            begun=self._begun,
        )

    def _add_calls(self, calls: list[tuple[str, str]], written: str) -> None:
        """Add the calls that the model wrote in its text."""
        if self._thinking_parser is not None:
            self._end_thinking()
        for name, arguments in calls:
            self._tool_calls().add(name, arguments)

    def _write_parsed(self, kind: str, text: str) -> None:
        """Write what the parser has found in the text."""
        if kind == "thinking":
            # MiniMax sends its thinking in a field and in tags.
            if not self._thought_in_field:
                self._thought_in_tags = self._thought_in_tags or not text.isspace()
                self._write_thinking(text)
            return
        if self._thinking_parser is not None and not text.isspace():
            self._end_thinking()
        self._write(kind, text)

    def _first_pieces(self, text: str) -> str:
        """Text while it may still repeat itself, or follow thinking that is not decided yet. Returns what is new in it."""
        if self._thoughts is not None and (thought := self._thoughts.end()):
            self._other_length += len(thought)
            self._write_thinking(thought)
        if self._thinking_parser is not None and not text.isspace() and self._parser is None:
            self._end_thinking()
        if self._first_text is None:
            self._first_text = text
            return text
        if self._pieces is None and not self._continues:
            if text.startswith(self._first_text):
                self._pieces = TextPieces()
                self._pieces.add(self._first_text)
            else:
                self._continues = True
        if self._pieces is not None:
            self._holds = True
            text = self._pieces.add(text)
            self._continues = self._pieces.settled
        self._settled = self._continues and self._thinking_parser is None
        return text

    # ---------------------------------------------------------------------------------------------------------- thinking

    def _think(self, text: str) -> None:
        """Read thinking that came in a field of its own."""
        if not self._thinking_settled:
            self._holds = True
            if self._thoughts is None:
                self._thoughts = TextPieces()
                self._settled = False
            text = self._thoughts.add(text) if not self._thought_in_tags else ""
            self._thought_in_field = self._thought_in_field or bool(text.strip())
            self._thinking_settled = self._thoughts.settled and self._thought_in_field
            if not text:
                return
        if self._parser is not None and self._parser.holds:
            self._parser.flush(cut=False)
        self._other_length += len(text)
        if self._calls is None and self._thinking_parser is None and "<" not in text and "[" not in text:
            self._writer.thinking(text)
        else:
            self._write_thinking(text)

    def _write_thinking(self, text: str) -> None:
        """Write thinking. Models write calls into it where their server's parser does not find its end (Kimi, Qwen)."""
        if self._thinking_parser is None:
            if not self._written_types or ("<" not in text and "[" not in text):
                self._write("thinking", text)
                return
            self._settled, self._holds = False, True
            self._thinking_parser = ToolCallParser(
                self._write_thought,
                self._add_thought_calls,
                self._written_types,
                tags=False,
                bare=False,
                begun=True,
                kind="thinking",
            )
        self._thinking_parser.feed(text)

    def _write_thought(self, kind: str, text: str) -> None:
        if self._thought_calls and not text.isspace():
            self._discard_thought_calls()
        self._write(kind, text)

    def _add_thought_calls(self, calls: list[tuple[str, str]], written: str) -> None:
        if self._thought_calls is None:
            self._thought_calls = []
        self._thought_calls.append((calls, written))

    def _discard_thought_calls(self) -> None:
        """Something follows the calls in the thinking: they were only thought of."""
        calls, self._thought_calls = self._thought_calls, None
        for _, written in calls or ():
            self._write("thinking", written)

    def _end_thinking(self) -> None:
        """Text or a tool call follows the thinking."""
        parser, self._thinking_parser = self._thinking_parser, None
        if parser is not None and parser.holds:
            parser.flush(cut=True)
        self._discard_thought_calls()

    # ------------------------------------------------------------------------------------------------------------ chunks

    def _read(self, data: bytes, name: str) -> bool:
        """Read one chunk. Returns whether it has finished the answer."""
        try:
            chunk = decode_chunk(data)
        except DECODE_ERRORS:
            if data.startswith(_BYTE_ORDER_MARK):
                return self._read(data.removeprefix(_BYTE_ORDER_MARK), name)
            chunk = self._repaired_chunk(data, name)
        if name == "error" and not chunk.error:
            chunk.error = _decode(data)
        if chunk.error:
            if self._read_failed_generation(chunk.error):
                return True
            raise errors.from_error(chunk.error, backend=self._target.backend, window=self._target.window)
        if chunk.usage is not None or chunk.prompt_progress is not None:
            self._count(chunk)
        if not chunk.choices:
            if self._whole is not None:
                raise self._reported(data) or Problem(
                    "broken", f"The answer of backend {self._target.backend!r} has no choices."
                )
            if chunk.usage is None and (problem := self._reported(data)) is not None:
                raise problem
            return False
        choice = chunk.choices[0]
        if choice.index != 0:
            for other in chunk.choices:
                if other.index == 0:
                    choice = other
                    break
            else:
                if choice.index:
                    return False
        delta = choice.delta
        if choice.message is not None and not self._holds and not self._text_length and not self._other_length:
            # Some servers end a stream with the whole message, which counts where no pieces came.
            delta = choice.message
        if delta is not None:
            if choice.finish_reason and self._first_text is not None and self._is_repetition(delta.content):
                delta.content = None
            self._take(delta)
        if choice.finish_reason:
            self._end(choice, chunk)
        return False

    def _is_repetition(self, text: Any) -> bool:
        """Whether the last piece of text is all of the text once more."""
        first = self._first_text
        return isinstance(text, str) and first is not None and is_whole_text(text, first, self._text_length)

    def _repaired_chunk(self, data: bytes, name: str) -> ChatChunk:
        """A chunk that is not valid JSON: an error in plain text, or text that was cut within a character."""
        if name == "error" and not data.lstrip().startswith(b"{"):
            return ChatChunk(error=data.decode(errors="replace"))
        joined, self._half = joined_halves(data, self._half)
        try:
            return decode_chunk(joined)
        except DECODE_ERRORS:
            raise self._reported(data) or Problem(
                "broken",
                f"Backend {self._target.backend!r} sent something that is not a chat completion, or only its beginning.",
            ) from None

    def _reported(self, data: bytes) -> Problem | None:
        """The failure that data without choices reports."""
        return errors.from_success(data, backend=self._target.backend, window=self._target.window)

    def _read_failed_generation(self, error: Any) -> bool:
        """Read the tool call that Groq could not parse, which its error holds. Returns whether there was one."""
        if isinstance(error, dict) and isinstance(error.get("error"), dict):
            error = error["error"]
        text = error.get("failed_generation") if isinstance(error, dict) else None
        if not isinstance(text, str) or self._calls is not None or not self._tools.types:
            return False
        parts: list[tuple[str, str]] = []
        calls: list[tuple[str, str]] = []
        parser = ToolCallParser(
            lambda kind, piece: parts.append((kind, piece)),
            lambda written_calls, written: calls.extend(written_calls),
            self._tools.types,
            tags=True,
            bare=True,
        )
        parser.feed(text)
        parser.flush(cut=False)
        if not calls:
            return False
        for kind, piece in parts:
            self._write(kind, piece)
        self._add_calls(calls, text)
        self._other_length += len(text)
        self._reason = "tool_calls"
        self._finish()
        return True

    def _count(self, chunk: ChatChunk) -> None:
        if chunk.usage is not None:
            self._counts.add_usage(chunk.usage)
        if chunk.prompt_progress is not None:
            self._counts.add_progress(chunk.prompt_progress)
        if self._streams and not self._writer.started:
            self._writer.expect(message_usage(self._counts.total(0)))

    def _end(self, choice: ChatChoice, chunk: ChatChunk) -> None:
        """Take a finish reason and what comes with it: counts, and the stop sequence where the server names it."""
        reason = str(choice.finish_reason)
        if reason != "null":
            self._reason = reason
        if choice.usage is not None:
            self._counts.add_usage(choice.usage)
        elif type(chunk.x_groq) is GroqFields and chunk.x_groq.usage is not None:
            self._counts.add_usage(chunk.x_groq.usage)
        if chunk.timings is not None:
            self._counts.add_timings(chunk.timings)
        verbose = chunk.verbose if type(chunk.verbose) is VerboseFields else chunk
        if choice.stop_reason or choice.matched_stop or verbose.stopping_word:
            word = verbose.stopping_word if verbose.stop_type == "word" else None
            for stop in (choice.stop_reason, choice.matched_stop, word):
                if isinstance(stop, str) and stop:
                    self._stop = stop

    def _take(self, delta: ChatDelta) -> None:
        if not self._writer.started:
            self._writer.start()
        # The same thinking under two names counts once.
        thinking = delta.reasoning_content or delta.reasoning or delta.reasoning_details or delta.thinking
        if thinking:
            if delta.reasoning_details is not None:
                self._writer.reasoning.add_details(delta.reasoning_details)
            elif not self._thinking_settled and not self._target.vendor.reasoning_field:
                self._note_reasoning_field(delta)
            self._think(thinking if isinstance(thinking, str) else text_of(thinking))
        if text := delta.content:
            if isinstance(text, str):
                if not self._settled:
                    text = self._first_pieces(text)
                if text:
                    self._text_length += len(text)
                    self._read_text(text)
            else:
                self._read_parts(text)
        if (refusal := delta.refusal) and (text := text_of(refusal)):
            self._refused = True
            self._other_length += len(text)
            self._write("text", text)
        if delta.tool_calls:
            self._add_tool_calls(delta.tool_calls)
        elif not text and delta.function_call is not None:
            self._add_tool_calls([ToolCallDelta(index=0, function=delta.function_call)])

    def _note_reasoning_field(self, delta: ChatDelta) -> None:
        """Remember in which field an unknown server sends its reasoning: it goes back in the same field."""
        if delta.reasoning_content or delta.reasoning:
            self._writer.reasoning.field = "reasoning_content" if delta.reasoning_content else "reasoning"

    def _add_tool_calls(self, deltas: list[ToolCallDelta]) -> None:
        if self._holds:
            self._release()
        for delta in deltas:
            if delta.extra_content is not None:
                self._writer.reasoning.extra = delta.extra_content
                break
        self._other_length += self._tool_calls().add_chunk(deltas)

    def _read_parts(self, parts: Any) -> None:
        """Read `content` that is a list of parts. Mistral's thinking is one of them."""
        for part in parts if isinstance(parts, list) else (parts,):
            if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
                self._think(text_of(part))
            elif text := text_of(part):
                if self._thinking_parser is not None and not text.isspace():
                    self._end_thinking()
                self._text_length += len(text)
                self._read_text(text)

    # --------------------------------------------------------------------------------------------------------- the end

    def spent(self, size: int) -> Usage:
        return self._counts.total(self._text_length + self._other_length)

    def _finish(self) -> None:
        self.finished = True
        wire_reason = (self._reason or "").lower()
        if wire_reason in _FAILED:
            self._problem = Problem(
                "broken",
                f"Backend {self._target.backend!r} gave up in the middle of its answer ({wire_reason}). Look in its log.",
            )
            return
        reason = _REASONS.get(wire_reason, "end_turn")
        if self._holds or self._calls is not None or self._parser is not None or self._thinking_parser is not None:
            try:
                self._finish_blocks(cut=reason in _CUT)
            except Problem as problem:
                self._problem = problem
                return
        if not self._text_length and not self._other_length and (overflow := self._silent_overflow(reason)) is not None:
            self._problem = overflow
            return
        self._writer.finish(self._stop_of(reason), self._counts.total(self._text_length + self._other_length))

    def _finish_blocks(self, *, cut: bool) -> None:
        """Write all that was held. `cut`: the answer ended at its limit."""
        self._end_pieces()
        if self._parser is not None and self._parser.holds:
            self._parser.flush(cut=cut)
        if self._thinking_parser is not None:
            self._thinking_parser.flush(cut=cut)
            if cut or (self._calls is not None and self._calls.called):
                self._discard_thought_calls()
            thought_calls, self._thought_calls = self._thought_calls, None
            for calls, _ in thought_calls or ():
                for name, arguments in calls:
                    self._tool_calls().add(name, arguments)
        # They refer to the reader, and the reader to them: nothing of an answer should wait for the garbage collector.
        self._parser = self._thinking_parser = None
        if self._calls is not None:
            self._calls.finish(cut=cut)

    def _silent_overflow(self, reason: str) -> Problem | None:
        """The Problem of an empty answer to a prompt that has filled the window; None for any other empty answer.

        MiMo, Ollama and GLM report no error for such a prompt: https://github.com/earendil-works/pi (seen 2026-11-29).
        """
        window, prompt = self._target.window, self._counts.prompt
        if self._calls is not None and self._calls.called:
            return None
        full = window is not None and prompt >= window - window // 100
        if not full and reason != "model_context_window_exceeded":
            return None
        if window is not None and prompt > window:
            message = f"prompt is too long: {prompt} tokens > {window} maximum"
        else:
            message = f"prompt is too long: it fills the context window of backend {self._target.backend!r}"
        return Problem("prompt_too_long", message)

    def _stop_of(self, reason: str) -> Stop:
        """Why the answer ended, from the server's finish reason and what else is known."""
        if reason == "stop_sequence" and self._stop is None and len(self._stops) == 1:
            self._stop = self._stops[0]
        if reason in ("end_turn", "tool_use", "stop_sequence"):
            if self._refused:
                return Stop("refusal")
            if self._calls is not None and self._calls.called:
                return Stop("tool_use")
            if self._stop:
                return Stop("stop_sequence", self._stop)
            target = self._target
            if target.window is not None and target.vendor.overflows_silently and self._counts.prompt > target.window:
                # The answer is one to a prompt without its beginning.
                return Stop("model_context_window_exceeded")
            return Stop("end_turn")
        if reason == "max_tokens" and self._target.window:
            counts = self._counts
            # Some servers leave the last token of the window empty.
            full = not counts.estimated and counts.prompt + counts.output >= self._target.window - 1
            if full and (isinstance(self._max_tokens, UnsetType) or counts.output < self._max_tokens):
                return Stop("model_context_window_exceeded")
        return Stop(reason)


def _is_prose(text: str) -> bool:
    """Whether an answer that begins with `text` is ordinary text, and no call whose first words may be in it."""
    start = text.lstrip()
    first = start[:1]
    if first not in _CALL_LETTERS:
        return first.isalnum()
    if start.startswith(_CALL_WORDS):
        return False
    # A lookup reads all of a text, which may be a whole answer.
    return len(start) > _LONGEST_BEGINNING or start not in _CALL_BEGINNINGS
