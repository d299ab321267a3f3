"""What models say in their text that is no text: thinking between tags, and tool calls. Recognised while it streams.

Only where marks count and what is held back for them; how each family writes a call is `forms`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from byway.backends.openai.arguments import Braces
from byway.backends.openai.toolformats import BARE, FORMS, Form, Types, promising

# Gemma and Google's own endpoint, Mistral's Magistral, Seed-OSS, and the plain words.
_THINKING: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
}
# gpt-oss. https://cookbook.openai.com/articles/openai-harmony (seen 2026-11-21).
_CHANNEL: Final = ("<|channel|>", "<|start|>")
_ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
_MESSAGE: Final = "<|message|>"
_RECIPIENT: Final = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_HEADER_MOST: Final = 256
_THINK: Final = "<think>"
_LONE: Final = "</think>"
_LEFT: Final = ("</tool_call>", ";")
_COMMENTARY: Final = Form("", ("{",), lambda text, known, last: None)
#: How long a call may be, in characters.
_BODY_MOST: Final = 1 << 16
#: How often something in a call may look like its end.
_TRIES_MOST: Final = 50
_RUNS: Final = re.compile(r"`+|[^`]+")


@cache
def _pattern(marks: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of `marks`, or at the end of the text the beginning of one."""
    return re.compile("|".join(_gradual(mark) for mark in marks))


def _gradual(mark: str) -> str:
    pattern = re.escape(mark[-1])
    for letter in reversed(mark[:-1]):
        pattern = f"{re.escape(letter)}(?:\\Z|{pattern})"
    return pattern


class _Code:
    """Is this place in Markdown's code? A line end closes what one or two backticks opened."""

    __slots__ = ("_run", "open")

    def __init__(self) -> None:
        self.open = 0
        """How many backticks opened it."""
        self._run = 0
        """Backticks just before here, perhaps not all of them yet."""

    @property
    def quiet(self) -> bool:
        """It is no code, and text without a backtick leaves that so."""
        return not self._run and not self.open

    @property
    def fenced(self) -> bool:
        """It is code, and text without a backtick leaves that so."""
        return not self._run and self.open > 2

    def feed(self, text: str) -> None:
        """The next piece of text, whatever the cut."""
        if "`" not in text and not self._run and (not self.open or self.open > 2):
            return
        for run in _RUNS.findall(text):
            if run[0] == "`":
                self._run += len(run)
                continue
            self.settle()
            if self.open < 3 and "\n" in run:
                self.open = 0

    def settle(self) -> bool:
        """What comes next is no backtick. Is it in code?"""
        run, self._run = self._run, 0
        if run:
            if not self.open or (self.open < 3 <= run):
                self.open = run
            elif run == self.open or (run > self.open > 2):
                self.open = 0
        return self.open > 0


class Spoken:
    """Divides an answer's text into text, thinking and tool calls; the same whatever the cut.

    Ordinary text is never kept: what is held back is at most the beginning of a mark, and after a mark what may become a
    call. Thinking is looked for at the start of an answer only (`tags`), calls only of tools that were offered (`known`),
    neither in Markdown's code (of backticks). `bare`: JSON without a mark may be a call.

    A closing `</think>` without its opener (templates that open it in the prompt, as DeepSeek-R1's do, under a server
    that does not read it) comes when its thinking has gone out as text, for nothing told it from an answer: the tag alone
    is left out, and the server's own parser (vLLM: `--reasoning-parser`) is the remedy. Thinking whose end never comes
    stays thinking, as in vLLM: a client that gets nothing else asks again, which is better than thoughts as an answer.
    """

    def __init__(
        self,
        say: Callable[[str, str], None],
        call: Callable[[str, str], None],
        known: Types,
        *,
        tags: bool,
        bare: bool,
        begun: bool = False,
    ) -> None:
        """`begun`: plain text has gone out already."""
        self._say = say
        self._call = call
        self._known = known
        self._tags = tags
        self._bare = bare
        self._code = _Code()
        self._state = Spoken._text if begun else Spoken._fresh
        self._body: list[str] = []
        self.holds = False
        """Something is kept back."""
        self._plain = begun
        """In the middle of text, with nothing held: the only test that most pieces pay for."""
        self._begun = begun
        """Something was said that is not thinking."""
        self._trim = False
        """White space belongs to the mark before it."""
        self._harmony = False
        self._lone = True
        """No thinking has been marked so far, so a closing tag may stand alone."""
        self._left: tuple[str, ...] = ()
        """What may be left over of the call just read."""
        self._held = ""
        """The beginning of a mark, perhaps."""
        self._opener = ""
        """The mark that opened what is gathered in `_body`."""
        self._marks: re.Pattern[str] | None = None
        self._closers: re.Pattern[str]
        self._form: Form
        self._braces: Braces
        self._name = self._tail = ""
        self._sure = False
        self._size = self._tries = 0

    def _expected(self, *, first: bool) -> tuple[str, ...]:
        """The marks that count from here on."""
        marks = [*FORMS] if self._known else []
        if self._tags:
            if first and not self._begun:
                marks += [*_THINKING, *_CHANNEL]
            elif self._lone:
                marks.append(_THINK)
            if self._lone:
                marks.append(_LONE)
            if self._harmony:
                marks += [*_ENDS, *_CHANNEL]
        if first:
            marks += self._left
            if self._bare and self._known:
                marks.append("{")
        return tuple(marks)

    def feed(self, text: str) -> None:
        """The next piece of the answer's text."""
        if self._plain and "<" not in text and "[" not in text and "`" not in text:
            self._say("text", text)
            return
        text, self._held = self._held + text, ""
        while text:
            text = self._state(self, text)
        self.holds = bool(self._held or self._opener)
        self._plain = self._state is Spoken._text and not self.holds and self._code.quiet

    def flush(self, *, cut: bool) -> None:
        """Something else comes, or the end: what is held shows what it is. `cut`: a call that is not whole stays text."""
        self.holds = self._plain = False
        held, self._held = self._held, ""
        if self._opener:
            self._body.append(held)
            self._conclude(self._read(last=True) if not cut else None)
        elif held and self._state is Spoken._thinking:
            self._say("thinking", held)
        elif held:
            self._to_text()
            self._plainly(held)

    # ------------------------------------------------------------------------------- states: text in, what is left out

    def _fresh(self, text: str) -> str:
        """The start of an answer, or what follows a mark: here more marks count than in the middle of text."""
        said = text.lstrip()
        if len(said) < len(text) and not self._trim:
            self._say("text", text[: len(text) - len(said)])
        if not said:
            return ""
        found = _pattern(self._expected(first=True)).match(said)
        if found is not None:
            return self._mark(found[0], said)
        self._to_text()
        return said

    def _to_text(self) -> None:
        self._begun, self._trim, self._left = True, False, ()
        self._state = Spoken._text
        self._marks = None

    def _text(self, text: str) -> str:
        if self._code.fenced and "`" not in text:
            self._say("text", text)
            return ""
        if self._marks is None:
            self._marks = _pattern(self._expected(first=False))
        found = self._marks.search(text)
        at = found.start() if found else len(text)
        if at:
            self._plainly(text[:at])
        if found is None:
            return ""
        if self._code.settle():
            self._plainly(text[at])
            return text[at + 1 :]
        return self._mark(found[0], text[at:])

    def _plainly(self, text: str) -> None:
        self._code.feed(text)
        self._say("text", text)

    def _mark(self, mark: str, text: str) -> str:
        """`text` begins with a mark, or with the beginning of one."""
        rest = text[len(mark) :]
        if mark in _THINKING and not self._begun:
            self._closers = _pattern((_THINKING[mark],))
            self._state, self._trim, self._lone = Spoken._thinking, True, False
        elif mark == _THINK:
            # Somebody writes about the tag: both of them are text.
            self._lone = False
            self._to_text()
            self._plainly(mark)
        elif mark in _CHANNEL:
            self._opener, self._body = mark, []
            self._state = Spoken._header
        elif mark == _LONE or mark in _ENDS or mark in self._left:
            self._lone = self._lone and mark != _LONE
            self._state, self._trim = Spoken._fresh, True
        elif mark in FORMS:
            self._gather(mark, FORMS[mark])
        elif mark == "{":
            self._gather(mark, BARE)
        else:
            self._held, rest = text, ""
        return rest

    def _thinking(self, text: str) -> str:
        if self._trim:
            text = text.lstrip()
            if not text:
                return ""
            self._trim = False
        found = self._closers.search(text)
        if found is None:
            self._say("thinking", text)
            return ""
        if found.start():
            self._say("thinking", text[: found.start()])
        mark = found[0]
        if mark in _CHANNEL:
            return self._mark(mark, text[found.start() :])
        if mark in _ENDS or mark in _THINKING.values():
            self._state = Spoken._fresh
            self._trim = True
            return text[found.end() :]
        self._held = text[found.start() :]
        return ""

    def _header(self, text: str) -> str:
        """Between `<|channel|>` and `<|message|>`: what comes next, and for whom."""
        self._body.append(text)
        head = "".join(self._body)
        at = head.find(_MESSAGE)
        if at < 0:
            if len(head) > _HEADER_MOST:
                self._conclude(None)
            return ""
        self._harmony, self._lone = True, False
        to = _RECIPIENT.search(head, 0, at)
        if to and to[1] in self._known:
            self._gather(self._opener + head[: at + len(_MESSAGE)], _COMMENTARY, to[1])
        else:
            self._opener, self._trim = "", True
            thinks = "analysis" in head[:at]
            self._closers = _pattern((*_ENDS, *_CHANNEL))
            self._state = Spoken._thinking if thinks else Spoken._fresh
            self._begun = self._begun or not thinks
        return head[at + len(_MESSAGE) :]

    def _gather(self, opener: str, form: Form, name: str = "") -> None:
        self._opener, self._form, self._name = opener, form, name
        self._body, self._size, self._tries, self._tail, self._sure = [], 0, 0, "", False
        self._braces = Braces()
        if form is BARE:
            self._braces.feed(opener)
        self._state = Spoken._called

    def _called(self, text: str) -> str:
        """After the opener of a call: up to its end, or to where it turns out to be none."""
        if not self._sure:
            head = "".join([*self._body, text])
            promise = promising(self._form, head, self._known)
            if promise is None and len(head) < _HEADER_MOST:
                self._body.append(text)
                return ""
            if not promise:
                return self._none(head)
            self._sure, self._body, text = True, [], head
        end = 0
        while (end := self._end(text, end)) >= 0:
            self._body.append(text[:end])
            calls = self._read(last=False)
            if calls is not None:
                self._conclude(calls)
                return text[end:]
            self._body.pop()
            self._braces = Braces()
            self._tries += 1
            if self._tries > _TRIES_MOST:
                self._body.append(text)
                self._conclude(None)
                return ""
        self._body.append(text)
        self._tail = (self._tail + text)[1 - len(self._form.closer) :]
        self._size += len(text)
        if self._size > _BODY_MOST:
            self._conclude(None)
        return ""

    def _end(self, text: str, start: int) -> int:
        """Where in `text`, behind `start`, the body may be complete; -1: nowhere."""
        if not self._form.closer:
            end = self._braces.feed(text[start:])
            return end if end < 0 else start + end
        tail = self._tail if not start else ""
        at = (tail + text).find(self._form.closer, start)
        return -1 if at < 0 else at + len(self._form.closer) - len(tail)

    def _read(self, *, last: bool) -> list[tuple[str, str]] | None:
        body = "".join(self._body)
        if self._state is Spoken._header:
            return None
        if self._name:
            body = f'{{"name":"{self._name}","arguments":{body}}}'
            return BARE.read(body, self._known, last)
        return self._form.read(self._opener + body, self._known, last)

    def _none(self, head: str) -> str:
        """No call after all, seen early: the opener is text, and what follows is looked at again."""
        opener, self._opener, self._body = self._opener, "", []
        self._to_text()
        self._plainly(opener)
        return head

    def _conclude(self, calls: list[tuple[str, str]] | None) -> None:
        """The calls that a body held; without any it was text."""
        opener, body = self._opener, "".join(self._body)
        self._opener, self._body = "", []
        if calls:
            for name, input in calls:
                self._call(name, input)
            self._begun, self._trim, self._left = True, True, _LEFT
            self._state = Spoken._fresh
        else:
            self._to_text()
            self._plainly(opener + body)
