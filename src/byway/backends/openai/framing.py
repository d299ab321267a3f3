"""The bytes of an answer as events: streamed or one JSON document. Shared by the chat-completions and Responses readers."""

from __future__ import annotations

from typing import Final

from byway.backends.openai.usage import TokenCounts
from byway.backends.protocol import Target
from byway.messages.events import Event
from byway.messages.sse import Decoder
from byway.messages.stream import Writer
from byway.problems import Problem

#: Bytes at the end of a whole answer that show whether it is complete.
_END: Final = 256
#: White space and the byte order mark, which some servers send before the answer.
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"


def broken(backend: str, what: str) -> Problem:
    """Return the Problem of an answer that cannot be read."""
    return Problem("broken", f"The answer of backend {backend!r} {what}.")


def cut_short(backend: str) -> Problem:
    """Return the Problem of an answer whose end is missing."""
    return broken(
        backend,
        "ended before it was finished. Look in that server's log: it may have stopped, run out of memory, or hit a proxy's "
        "time limit",
    )


def web_page(backend: str) -> Problem:
    """Return the Problem of an answer that is HTML."""
    return Problem(
        "broken",
        f"Backend {backend!r} answered with a web page instead of JSON. Check that its `url` is that of the API, and that no "
        "login page stands in front of it.",
    )


class FramedReader:
    """Reads an answer as it arrives: its first byte decides whether it is a stream, not its content-type."""

    finished = False
    """Nothing more is wanted from the backend: `close` returns the rest or raises."""
    _sse: Decoder | None = None
    """Set once the answer is known to be a stream."""
    _whole: list[bytes] | None = None
    """The parts of an answer that is one JSON document."""
    _problem: Problem | None = None
    _target: Target
    _counts: TokenCounts
    _writer: Writer

    @property
    def estimated(self) -> bool:
        return self._counts.estimated

    @property
    def reasoning(self) -> int:
        return self._counts.reasoning

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with `data`."""
        if self.finished:
            return []
        if self._sse is None:
            if self._whole is not None:
                self._whole.append(data)
                return []
            data = data.lstrip(_BLANK)
            if not data:
                return []
            if data.startswith((b"{", b"[", b"<")):
                self._whole = [data]
                return []
            self._sse = Decoder()
        self._read_events(self._sse.feed(data))
        return self._writer.take()

    def _read_events(self, events: list[tuple[str, bytes]]) -> None:
        for name, data in events:
            try:
                if data == b"[DONE]":
                    self._end_stream()
                    return
                if data.strip() and self._read(data, name):
                    return
            except (Problem, RecursionError) as problem:
                # What was read before the failure still goes to the client; `close` raises.
                self._problem = problem if isinstance(problem, Problem) else self._too_deep()
                self.finished = True
                return

    def _read(self, data: bytes, name: str) -> bool:
        """Read one event. Returns whether it has finished the answer."""
        raise NotImplementedError

    def _end_stream(self) -> None:
        """The stream has ended with `[DONE]`."""
        raise NotImplementedError

    def _read_rest(self, decoder: Decoder) -> None:
        """Read what is left of a stream that the server has closed."""
        self._read_events(decoder.close())
        if self._problem is not None and self._problem.kind == "broken":
            # Half a line: what came before it decides whether the answer was finished.
            self._problem, self.finished = None, False

    def _is_complete(self, whole: bytes) -> bool:
        """Return whether a whole answer has its end. Raises Problem for a web page."""
        if whole.startswith(b"<"):
            raise web_page(self._target.backend)
        return whole[-_END:].rstrip().endswith((b"}", b"]"))

    def _too_deep(self) -> Problem:
        """The Problem of JSON that is nested too deeply."""
        return broken(self._target.backend, "is nested too deeply")
