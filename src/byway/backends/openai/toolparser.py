"""Divides an answer's text into text, thinking and tool calls while it streams.

Here: where marks count, and what is held until it is clear what it is. How each model family writes a call: `toolformats`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from byway.backends.openai.arguments import JsonTracker
from byway.backends.openai.toolformats import (
    BARE_JSON,
    FORMATS,
    OPENING_FORMATS,
    ArgumentTypes,
    ParsedCalls,
    ToolFormat,
)

# Gemma and Google's own endpoint, Mistral's Magistral, Seed-OSS, Gemma 4, and the plain words.
_THINKING: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|channel>thought\n": "<channel|>",
}
_THINK: Final = "<think>"
_UNOPENED: Final = "</think>"
# gpt-oss. https://cookbook.openai.com/articles/openai-harmony (seen 2026-11-21).
_CHANNEL: Final = ("<|channel|>", "<|start|>")
_CHANNEL_ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
_MESSAGE: Final = "<|message|>"
_RECIPIENT: Final = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_HEADER_MOST: Final = 256
#: What templates leave behind a call.
_LEFTOVERS: Final = ("</tool_call>", ";", *_CHANNEL_ENDS)
_BRACKETS: Final = ("{", "[")
#: Characters of one call, and characters that are parsed in the search for its end.
_CALL_MOST: Final = 1 << 16
_PARSED_MOST: Final = 4 * _CALL_MOST
#: Marks in one answer. Reading them all in one piece takes less than 50 ms.
_MARKS_MOST: Final = 4000
_BACKTICKS: Final = re.compile(r"`+|[^`]+")
_SPACE: Final = re.compile(r"\s*")


@cache
def _pattern(marks: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of `marks`, or at the end of the text the beginning of one."""
    return re.compile("|".join(_with_beginnings(mark) for mark in marks))


def _with_beginnings(mark: str) -> str:
    pattern = re.escape(mark[-1])
    for letter in reversed(mark[:-1]):
        pattern = f"{re.escape(letter)}(?:\\Z|{pattern})"
    return pattern


class MarkdownCode:
    """Tracks whether text is in Markdown code. The end of a line closes what one or two backticks opened."""

    __slots__ = ("_backticks", "opener")

    def __init__(self) -> None:
        self.opener = 0
        """The number of backticks that opened the code; 0 outside code."""
        self._backticks = 0
        """Backticks just before this place, perhaps not all of them yet."""

    @property
    def outside(self) -> bool:
        """This is no code, and text without a backtick does not change that."""
        return not self._backticks and not self.opener

    @property
    def fenced(self) -> bool:
        """This is a code block, and text without a backtick does not change that."""
        return not self._backticks and self.opener > 2

    def feed(self, text: str) -> None:
        """Read the next piece of text, wherever it was cut."""
        if "`" not in text and not self._backticks and (not self.opener or self.opener > 2):
            return
        for run in _BACKTICKS.findall(text):
            if run[0] == "`":
                self._backticks += len(run)
                continue
            self.settle()
            if self.opener < 3 and "\n" in run:
                self.opener = 0

    def settle(self) -> bool:
        """Count the backticks, since the next character is none. True: the next character is in code."""
        run, self._backticks = self._backticks, 0
        if run:
            if not self.opener or (self.opener < 3 <= run):
                self.opener = run
            elif run == self.opener or (run > self.opener > 2):
                self.opener = 0
        return self.opener > 0


class ToolCallParser:
    """Divides an answer's text into text, thinking and tool calls, with the same result wherever it is cut.

    Ordinary text is never kept. Held back are the beginning of a mark, and after a mark what may become a call (256
    characters, or 4 KB at the start of an answer, until it names an offered tool). Thinking is looked for at the start
    of an answer only (`tags`), calls only of offered tools (`types`), neither in Markdown code, with one exception: a
    code block or JSON that opens the answer may be a call (`bare`), since small models write calls like that.

    A `</think>` without its opener arrives after its thinking has been passed on as text: templates that open it in the
    prompt do this (DeepSeek-R1) under a server without a parser of its own. The tag alone is left out; the remedy is the
    server's option (vLLM: `--reasoning-parser`). Thinking without an end stays thinking, as in vLLM: the client asks
    again when it gets nothing else, which is better than thoughts as an answer.
    """

    def __init__(
        self,
        write: Callable[[str, str], None],
        call: Callable[[list[tuple[str, str]], str], None],
        types: ArgumentTypes,
        *,
        tags: bool,
        bare: bool,
        begun: bool = False,
        kind: str = "text",
    ) -> None:
        """`write` gets the kind and the text; `call` gets the calls and the text in which they were written.

        `begun`: ordinary text was passed on before. `kind`: what text is called that is neither thinking nor a call.
        """
        self._write = write
        self._call = call
        self._types = types
        self._tags = tags
        self._bare = bare and bool(types)
        self._kind = kind
        self._code = MarkdownCode()
        self._state = ToolCallParser._read_text if begun else ToolCallParser._read_start
        self.holds = False
        """Something is held back."""
        self._plain = begun
        """In the middle of text, with nothing held: the only check that most pieces need."""
        self._answered = begun
        """Something other than thinking was passed on."""
        self._prose = begun
        """Text was passed on."""
        self._trim = False
        """White space belongs to the mark in front of it."""
        self._harmony = False
        self._unopened = True
        """No thinking has been marked so far, so a closing tag may come without its opener."""
        self._leftovers: tuple[str, ...] = ()
        self._held = ""
        """The end of the last piece, to be read again with the next one."""
        self._opener = ""
        """The mark that opened the call which is being read."""
        self._marks: re.Pattern[str] | None = None
        self._closers: re.Pattern[str]
        self._format: ToolFormat
        self._tracker: JsonTracker
        self._body: list[str] = []
        self._recipient = ""
        self._promised = False
        self._size = self._parsed = self._marks_read = 0

    def feed(self, text: str) -> None:
        """Read the next piece of the answer's text."""
        if self._plain and "<" not in text and "[" not in text and "`" not in text:
            self._write(self._kind, text)
            return
        if self._held:
            text, self._held = self._held + text, ""
        at, end = 0, len(text)
        while at < end:
            at = self._state(self, text, at)
        self.holds = bool(self._held or self._opener)
        self._plain = self._state is ToolCallParser._read_text and not self.holds and self._code.outside

    def flush(self, *, cut: bool) -> None:
        """Decide what the held text is: something else follows, or the answer ends. `cut`: an incomplete call stays text."""
        self.holds = self._plain = False
        held, self._held = self._held, ""
        if self._opener:
            self._body.append(held)
            self._conclude(self._parse(last=True) if not cut else None)
        elif held and self._state is ToolCallParser._read_thinking:
            self._write("thinking", held)
        elif held:
            self._begin_text()
            self._pass_on(held)

    def _expected(self, *, first: bool) -> tuple[str, ...]:
        """The marks that count from here on. `first`: nothing but marks stands before this place."""
        marks = [*FORMATS] if self._types else []
        if self._tags:
            if first and not self._answered:
                marks += [*_THINKING, *_CHANNEL]
            elif self._unopened:
                marks.append(_THINK)
            if self._unopened:
                marks.append(_UNOPENED)
            if self._harmony:
                marks += [*_CHANNEL_ENDS, *_CHANNEL]
        if first:
            marks += self._leftovers
            if self._bare:
                if not self._prose:
                    marks += OPENING_FORMATS
                marks += _BRACKETS
        return tuple(marks)

    # -------------------------------------------------------------------- states: read `text` from `at`, return where they stop

    def _read_start(self, text: str, at: int) -> int:
        """The start of an answer, or what follows a mark: more marks count here than in the middle of text."""
        space = _SPACE.match(text, at)
        start = space.end() if space else at
        if start > at and not self._trim:
            self._write(self._kind, text[at:start])
        if start == len(text):
            return start
        match = _pattern(self._expected(first=True)).match(text, start)
        if match is not None:
            return self._take_mark(match[0], text, start)
        self._begin_text()
        return start

    def _begin_text(self) -> None:
        self._answered, self._prose, self._trim, self._leftovers = True, True, False, ()
        self._state = ToolCallParser._read_text
        self._marks = None

    def _read_text(self, text: str, at: int) -> int:
        if self._code.fenced:
            backtick = text.find("`", at)
            end = len(text) if backtick < 0 else backtick
            if end > at:
                self._write(self._kind, text[at:end])
                return end
        if self._marks is None:
            self._marks = _pattern(self._expected(first=False))
        match = self._marks.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._pass_on(text[at:end])
        if match is None:
            return end
        if self._code.settle():
            self._marks_read += 1
            self._pass_on(text[end])
            return end + 1
        return self._take_mark(match[0], text, end)

    def _read_verbatim(self, text: str, at: int) -> int:
        """No model writes so many marks: the rest of the answer is text."""
        self._write(self._kind, text[at:])
        return len(text)

    def _pass_on(self, text: str) -> None:
        self._code.feed(text)
        self._write(self._kind, text)

    def _take_mark(self, mark: str, text: str, at: int) -> int:
        """At `at` stands a mark, or at the end of the text the beginning of one."""
        end = at + len(mark)
        self._marks_read += 1
        if self._marks_read > _MARKS_MOST:
            self._begin_text()
            self._state = ToolCallParser._read_verbatim
            return at
        if end == len(text) and mark == "[":
            # Also the beginning of longer marks.
            self._marks_read -= 1
            self._held = mark
        elif mark in _THINKING and not self._answered:
            self._closers = _pattern((_THINKING[mark],))
            self._state, self._trim, self._unopened = ToolCallParser._read_thinking, True, False
        elif mark == _THINK:
            # The model writes about the tag: it and its closing tag are text.
            self._unopened = False
            self._begin_text()
            self._pass_on(mark)
        elif mark in _CHANNEL and self._tags:
            self._opener, self._body = mark, []
            self._state = ToolCallParser._read_header
        elif mark in FORMATS:
            self._begin_call(mark, FORMATS[mark])
        elif mark in self._leftovers or mark == _UNOPENED or (mark in _CHANNEL_ENDS and self._harmony):
            self._unopened = self._unopened and mark != _UNOPENED
            self._state, self._trim = ToolCallParser._read_start, True
        elif mark in _BRACKETS:
            self._begin_call(mark, BARE_JSON)
        elif mark in OPENING_FORMATS:
            self._begin_call(mark, OPENING_FORMATS[mark])
        else:
            self._marks_read -= 1
            self._held = text[at:]
            return len(text)
        return end

    def _read_thinking(self, text: str, at: int) -> int:
        if self._trim:
            space = _SPACE.match(text, at)
            at = space.end() if space else at
            if at == len(text):
                return at
            self._trim = False
        match = self._closers.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._write("thinking", text[at:end])
        if match is None:
            return end
        mark = match[0]
        if mark in _CHANNEL:
            return self._take_mark(mark, text, end)
        if mark in _CHANNEL_ENDS or mark in _THINKING.values():
            self._state, self._trim = ToolCallParser._read_start, True
            return match.end()
        self._held = text[end:]
        return len(text)

    def _read_header(self, text: str, at: int) -> int:
        """Between `<|channel|>` and `<|message|>` stand what follows and its recipient."""
        end = text.find(_MESSAGE, at, at + _HEADER_MOST + len(_MESSAGE))
        if end < 0:
            if len(text) - at < _HEADER_MOST + len(_MESSAGE):
                self._held = text[at:]
                return len(text)
            return self._refuse_call(at)
        self._harmony, self._unopened = True, False
        recipient = _RECIPIENT.search(text, at, end)
        start = end + len(_MESSAGE)
        if recipient and recipient[1] in self._types:
            self._begin_call(self._opener + text[at:start], BARE_JSON, recipient[1])
        else:
            self._opener, self._trim = "", True
            thinks = text.find("analysis", at, end) >= 0
            self._closers = _pattern((*_CHANNEL_ENDS, *_CHANNEL))
            self._state = ToolCallParser._read_thinking if thinks else ToolCallParser._read_start
            self._answered = self._answered or not thinks
        return start

    def _begin_call(self, opener: str, form: ToolFormat, recipient: str = "") -> None:
        """`recipient`: the tool that gets the call, where the opener has named it."""
        self._opener, self._format, self._recipient = opener, form, recipient
        self._body, self._size, self._parsed, self._promised = [], 0, 0, False
        self._tracker = JsonTracker()
        if opener in _BRACKETS:
            self._tracker.feed(opener)
        self._state = ToolCallParser._read_call

    def _read_call(self, text: str, at: int) -> int:
        """Behind the opener of a call: read up to its end, or to where it turns out to be none."""
        if not self._promised:
            look = _HEADER_MOST if self._recipient else self._format.look
            head = text[at : at + look]
            promise = self._format.promise(head, self._types) if not self._recipient else _opens_object(head)
            if promise is None and len(head) < look:
                self._held = text[at:]
                return len(text)
            if not promise:
                return self._refuse_call(at)
            self._promised = True
        limit = at + _CALL_MOST - self._size
        start, search = at, at
        while (end := self._end_of_call(text, search, limit)) >= 0:
            self._body.append(text[start:end])
            self._parsed += self._size + end - at
            calls = self._parse(last=False)
            if calls is not None:
                self._conclude(calls)
                return end
            start = search = end
            self._tracker = JsonTracker()
            if self._parsed > _PARSED_MOST:
                self._conclude(None)
                return end
        if len(text) >= limit:
            self._body.append(text[start:limit])
            self._conclude(None)
            return limit
        # A closer may have begun at the end of this piece.
        keep = min(max(0, len(self._format.closer) - 1), len(text) - start) if not self._recipient else 0
        end = len(text) - keep
        self._body.append(text[start:end])
        self._size += end - at
        self._held = text[end:]
        return len(text)

    def _end_of_call(self, text: str, at: int, limit: int) -> int:
        """Where in `text`, from `at` on, the call may be complete; -1: nowhere before `limit`."""
        if not self._format.closer or self._recipient:
            end = self._tracker.feed(text, at)
            return end if end <= limit else -1
        closer = text.find(self._format.closer, at, limit)
        return -1 if closer < 0 else closer + len(self._format.closer)

    def _parse(self, *, last: bool) -> ParsedCalls:
        body = "".join(self._body)
        if self._state is ToolCallParser._read_header:
            return None
        if self._recipient:
            body = f'{{"name":"{self._recipient}","arguments":{body}}}'
            return BARE_JSON.parse(body, self._types, last)
        return self._format.parse(self._opener + body, self._types, last)

    def _refuse_call(self, at: int) -> int:
        """The opener has no call behind it: it is text, and what follows is read again."""
        opener, self._opener = self._opener, ""
        self._begin_text()
        self._pass_on(opener)
        return at

    def _conclude(self, calls: ParsedCalls) -> None:
        """Pass on the calls that were read; what held none was text."""
        written = self._opener + "".join(self._body)
        self._opener, self._body = "", []
        if calls:
            self._call(calls, written)
            self._answered, self._trim, self._leftovers = True, True, _LEFTOVERS
            self._state = ToolCallParser._read_start
        else:
            self._begin_text()
            self._pass_on(written)


def _opens_object(head: str) -> bool | None:
    text = head.lstrip()
    return text.startswith("{") if text else None
