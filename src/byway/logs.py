"""The log: one structured line per event, JSON or (on a terminal) for people. Prompts, answers and secrets never."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_LINE_LIMIT: Final = 8192
#: Control characters, and those that turn the direction of text: a log line must not be able to draw on a terminal.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS: Final = {"warning": "33", "error": "31"}
_NAMES: Final = {logging.DEBUG: "debug", logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}
#: Seconds that lines are gathered before they are written.
_GATHER: Final = 0.05


def safe(text: str) -> str:
    """`text` on one line, with what could draw on a terminal escaped."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


@lru_cache(64)
def _quoted(message: str) -> str:
    return safe(_encode(message).decode())


Fields = dict[str, Any] | msgspec.Struct


class LogWriter:
    """Where lines go. They are gathered for a moment while the loop runs, so that a busy server does not write one by one."""

    def __init__(self, stream: TextIO, pretty: bool, colour: bool) -> None:
        self._stream = stream
        self._pretty = pretty
        self._colour = colour
        self._lines: list[tuple[float, str, str, Fields]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._second = 0
        self._clock = ""

    def put(self, level: str, message: str, fields: Fields) -> None:
        """Take a line; it gets its form when it is written. A struct of fields costs a busy server less than a dictionary."""
        self._lines.append((time.time(), level, message, fields))
        if self._loop is not None and self._loop.is_running() and level not in _COLOURS:
            # It will be written with those before it.
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if level in _COLOURS:
            # What went wrong is not kept back: the next thing may be the end.
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(_GATHER, self.flush)

    def flush(self) -> None:
        """Write what was gathered. A log that cannot be written must not stop the work."""
        self._loop = None
        if self._lines:
            lines, self._lines = self._lines, []
            form = self._people if self._pretty else self._json
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join([form(*line)[:_LINE_LIMIT] + "\n" for line in lines]))
                self._stream.flush()

    def _at(self, now: float, form: str, zone: Any) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._clock = time.strftime(form, zone(second))
        return self._clock

    def _json(self, now: float, level: str, message: str, fields: Fields) -> str:
        clock = self._at(now, "%Y-%m-%dT%H:%M:%S", time.gmtime)
        text = _encode(fields).decode()
        if not text.isascii() or "\x7f" in text:
            # JSON escapes control characters below 0x20 itself; the others are escaped here.
            text = _UNSAFE.sub(_escape, text)
        head = f'{{"time":"{clock}.{str(int(now * 1000))[-3:]}Z","level":"{level}","message":{_quoted(message)}'
        return f"{head}}}" if text == "{}" else f"{head},{text[1:]}"

    def _people(self, now: float, level: str, message: str, said: Fields) -> str:
        fields: dict[str, Any] = msgspec.to_builtins(said)
        clock = self._at(now, "%H:%M:%S", time.localtime)
        text = safe(" ".join(f"{name}={value}" for name, value in fields.items() if name != "trace"))
        trace = "\n" + "\n".join(safe(line) for line in fields["trace"].splitlines()) if "trace" in fields else ""
        if not self._colour:
            return f"{clock} {level} {safe(message)} {text}".rstrip() + trace
        code = _COLOURS.get(level)
        shown = f"\x1b[{code}m{safe(message)}\x1b[0m" if code else safe(message)
        return f"\x1b[2m{clock}\x1b[0m {shown} \x1b[2m{text}\x1b[0m{trace}"


def log(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log `message` with `fields`; a field that is None or "" is left out."""
    sink = writer(level)
    if sink is not None:
        for name in [name for name, value in fields.items() if value is None or value == ""]:
            del fields[name]
        sink.put(_NAMES.get(level, "info"), message, fields)


def writer(level: int) -> LogWriter | None:
    """What takes a line of `level` now; None: there is to be none."""
    if level < _state.level or (_state.look is not None and not _state.look(level)):
        return None
    return _state.sink


def log_exception(message: str, **fields: Any) -> None:
    """Log an exception that is being handled, with its trace."""
    log(message, logging.ERROR, **fields, trace=traceback.format_exc())


def flush() -> None:
    """Write at once what is gathered: before the process ends."""
    if _state.sink is not None:
        _state.sink.flush()


@contextlib.contextmanager
def looking(look: Callable[[int], bool]) -> Iterator[None]:
    """While this lasts `look(level)` is asked before each line, and a line is left out when it says False."""
    _state.look = look
    try:
        yield
    finally:
        _state.look = None


class _State:
    look: Callable[[int], bool] | None = None
    sink: LogWriter | None = None
    level: int = logging.INFO


_state: Final = _State()


class _Others(logging.Handler):
    """Takes the lines of the libraries that log by the standard library into the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log(record.getMessage(), record.levelno, logger=record.name, **fields)


def start(level: str = "info", form: str = "auto", stream: TextIO | None = None, colour: bool | None = None) -> None:
    """Send the log to `stream` (stderr) in `form`: `json`, `pretty`, or `auto` (pretty on a terminal)."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    pretty = form == "pretty" or (form == "auto" and terminal)
    _state.sink = LogWriter(stream, pretty, terminal if colour is None else colour)
    _state.level = {"trace": logging.DEBUG}.get(level) or logging.getLevelNamesMapping()[level.upper()]
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_Others()]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


atexit.register(flush)
