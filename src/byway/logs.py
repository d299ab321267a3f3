"""The log: one structured line per event, JSON or (on a terminal) for people. It never contains prompts, answers or secrets.

A thread writes the lines, so that a pipe that is not read or a slow disk never stops the event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_LINE_LIMIT: Final = 8192
#: Characters that wait for the writing thread; further lines are dropped and counted.
QUEUE_LIMIT: Final = 1 << 20
#: Lines that wait for their turn to be formatted. They are formatted every 50 ms.
GATHER_LIMIT: Final = 20_000
#: Lines that are kept in memory for the page and `byway log`, and their characters.
RECENT_LINES: Final = 2_000
RECENT_SIZE: Final = 2 << 20
#: Seconds that the end of the process waits for the last lines.
_LAST_SECONDS: Final = 1.0
#: Control characters, and those that change the direction of text: a log line must not be able to draw on a terminal.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS: Final = {"warning": "33", "error": "31"}
_NAMES: Final = {logging.DEBUG: "debug", logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}
#: Seconds for which lines are gathered before they are formatted and written together.
_GATHER_SECONDS: Final = 0.05


def safe(text: str) -> str:
    """`text` on one line, with characters that could draw on a terminal escaped."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


@lru_cache(64)
def _quoted(message: str) -> str:
    return safe(_encode(message).decode())


#: `000` to `999`: formatting a number takes longer than the rest of the time of a line.
_THOUSANDTHS: Final = [f"{number:03d}" for number in range(1000)]
Fields = dict[str, Any] | msgspec.Struct


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log."""

    number: int
    """Lines are numbered since the start of the process."""
    at: float
    """Seconds since the epoch."""
    level: str
    message: str
    fields: dict[str, Any]


class RecentLines:
    """The newest lines, in memory. They are kept as they were gathered, so that a busy server pays for a batch, not a line."""

    def __init__(self, lines: int = RECENT_LINES, size: int = RECENT_SIZE) -> None:
        self.count = 0
        """How many lines there were since the start."""
        self._most_lines = lines
        self._most_size = size
        self._batches: deque[tuple[int, int, list[tuple[float, str, str, Fields]]]] = deque()
        """The number of the first line, the characters, and the lines of each batch."""
        self._lines = 0
        self._size = 0

    def add(self, lines: list[tuple[float, str, str, Fields]], size: int) -> None:
        """Keep a batch that takes `size` characters as text."""
        self._batches.append((self.count + 1, size, lines))
        self.count += len(lines)
        self._lines += len(lines)
        self._size += size
        while self._batches and (
            self._size > self._most_size or self._lines - len(self._batches[0][2]) >= self._most_lines
        ):
            _, size, lines = self._batches.popleft()
            self._size -= size
            self._lines -= len(lines)

    def after(self, number: int) -> Iterator[LogLine]:
        """Yield the lines with a higher number, newest first. Safe in another thread."""
        # A copy: the event loop adds batches meanwhile.
        for first, _, lines in reversed(list(self._batches)):
            for at in range(len(lines) - 1, -1, -1):
                if first + at <= number:
                    return
                seconds, level, message, fields = lines[at]
                values: dict[str, Any] = msgspec.to_builtins(fields, enc_hook=str)
                yield LogLine(
                    first + at, seconds, level, message, {name: _cut(value) for name, value in values.items()}
                )


def _cut(value: Any) -> Any:
    return value[:_LINE_LIMIT] if isinstance(value, str) else value


class LogWriter:
    """Formats lines and writes them to a stream. Lines are gathered for 50 ms while the event loop runs."""

    def __init__(self, stream: TextIO, pretty: bool, colour: bool) -> None:
        self._output = _Output(stream)
        self._pretty = pretty
        self._colour = colour
        self._lines: list[tuple[float, str, str, Fields]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._second = 0
        self._clock = ""
        self.recent = RecentLines()

    def put(self, level: str, message: str, fields: Fields) -> None:
        """Add a line. A struct of fields costs a busy server less than a dictionary."""
        if len(self._lines) >= GATHER_LIMIT:
            self._output.dropped(1)
            return
        self._lines.append((time.time(), level, message, fields))
        if self._loop is not None and self._loop.is_running() and level not in _COLOURS:
            # It is written with the lines before it.
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            self._output.wait(_LAST_SECONDS)
            return
        if level in _COLOURS:
            # A problem is passed on at once: the process may be about to end.
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(_GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Pass the gathered lines to the writing thread."""
        self._loop = None
        if self._lines:
            lines, self._lines = self._lines, []
            form = self._for_people if self._pretty else self._json
            texts = [form(*line) for line in lines]
            self.recent.add(lines, sum(map(len, texts)))
            self._output.write("".join([text[:_LINE_LIMIT] + "\n" for text in texts]), len(lines), self._dropped)

    def wait(self, seconds: float) -> None:
        """Wait until every line is written, at most `seconds`."""
        self._output.wait(seconds)

    def _dropped(self, count: int) -> str:
        """The line that says how many lines were dropped."""
        form = self._for_people if self._pretty else self._json
        return (
            form(time.time(), "warning", "Log lines were dropped: the log is not read fast enough", {"lines": count})
            + "\n"
        )

    def _time(self, now: float, form: str, zone: Any) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._clock = time.strftime(form, zone(second))
        return self._clock

    def _json(self, now: float, level: str, message: str, fields: Fields) -> str:
        clock = self._time(now, "%Y-%m-%dT%H:%M:%S", time.gmtime)
        text = _encode(fields).decode()
        if not text.isascii() or "\x7f" in text:
            # JSON escapes control characters below 0x20 itself; the others are escaped here.
            text = _UNSAFE.sub(_escape, text)
        rest = "}" if text == "{}" else f",{text[1:]}"
        thousandths = _THOUSANDTHS[int(now % 1 * 1000)]
        return f'{{"time":"{clock}.{thousandths}Z","level":"{level}","message":{_quoted(message)}{rest}'

    def _for_people(self, now: float, level: str, message: str, fields: Fields) -> str:
        values: dict[str, Any] = msgspec.to_builtins(fields)
        clock = self._time(now, "%H:%M:%S", time.localtime)
        text = safe(" ".join(f"{name}={value}" for name, value in values.items() if name != "trace"))
        trace = "\n" + "\n".join(safe(line) for line in values["trace"].splitlines()) if "trace" in values else ""
        if not self._colour:
            return f"{clock} {level} {safe(message)} {text}".rstrip() + trace
        code = _COLOURS.get(level)
        shown = f"\x1b[{code}m{safe(message)}\x1b[0m" if code else safe(message)
        return f"\x1b[2m{clock}\x1b[0m {shown} \x1b[2m{text}\x1b[0m{trace}"


class _Output:
    """A bounded queue of text and the thread that writes it. A write that fails or blocks costs lines, never requests."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._queue: deque[str] = deque()
        self._size = 0
        self._lost = 0
        self._writing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, text: str, lines: int, lost: Callable[[int], str]) -> None:
        """Queue `text`, which has `lines` lines. When the queue is full they are dropped, and `lost(count)` says so later."""
        with self._changed:
            if self._size + len(text) > QUEUE_LIMIT:
                self._lost += lines
                return
            if self._lost:
                text = lost(self._lost) + text
                self._lost = 0
            self._queue.append(text)
            self._size += len(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def dropped(self, lines: int) -> None:
        """Count lines that were dropped before they were formatted."""
        self._lost += lines

    def wait(self, seconds: float) -> None:
        """Wait until the queue is written, at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._writing, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                text = "".join(self._queue)
                self._queue.clear()
                self._writing = True
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()
            with self._changed:
                self._size -= len(text)
                self._writing = False
                self._changed.notify_all()


def log(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log `message` with `fields`; a field that is None or "" is left out."""
    output = writer(level)
    if output is not None:
        for name in [name for name, value in fields.items() if value is None or value == ""]:
            del fields[name]
        output.put(_NAMES.get(level, "info"), message, fields)


def writer(level: int) -> LogWriter | None:
    """The writer for a line of `level`; None when such lines are not logged."""
    if level < _state.level or (_state.filter is not None and not _state.filter(level)):
        return None
    return _state.writer


def recent_lines() -> RecentLines:
    """The newest lines of this process."""
    return _state.writer.recent if _state.writer is not None else RecentLines()


def log_exception(message: str, **fields: Any) -> None:
    """Log the exception that is being handled, with its traceback."""
    log(message, logging.ERROR, **fields, trace=traceback.format_exc())


def flush() -> None:
    """Write what is gathered before the process ends, or give up after a second when the log is not read."""
    if _state.writer is not None:
        _state.writer.flush()
        _state.writer.wait(_LAST_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # The reader is gone. Python's own flush at exit would fail too, and end the process with code 120.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def filtering(accept: Callable[[int], bool]) -> Iterator[None]:
    """Within this context a line is logged only when `accept(level)` is true."""
    _state.filter = accept
    try:
        yield
    finally:
        _state.filter = None


class _State:
    # Attributes of the instance: each line of the log reads them, and a default of the class takes longer to read.
    def __init__(self) -> None:
        self.filter: Callable[[int], bool] | None = None
        self.writer: LogWriter | None = None
        self.level = logging.INFO


_state: Final = _State()


class _LibraryHandler(logging.Handler):
    """Passes the lines of libraries that use the standard library's logging to the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log(record.getMessage(), record.levelno, logger=record.name, **fields)


def start(level: str = "info", form: str = "auto", stream: TextIO | None = None, colour: bool | None = None) -> None:
    """Send the log to `stream` (stderr) in `form`: `json`, `pretty`, or `auto` (pretty on a terminal)."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    pretty = form == "pretty" or (form == "auto" and terminal)
    if _state.writer is not None:
        _state.writer.flush()
    _state.writer = LogWriter(stream, pretty, terminal if colour is None else colour)
    _state.level = {"trace": logging.DEBUG}.get(level) or logging.getLevelNamesMapping()[level.upper()]
    for name in ("asyncio", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_LibraryHandler()]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


atexit.register(flush)
