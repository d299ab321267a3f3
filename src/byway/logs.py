"""The log: one structured line per event, JSON or (on a terminal) for people. Prompts, answers and secrets never."""

from __future__ import annotations

import datetime
import logging
import re
import sys
from typing import Any, Final, TextIO

import msgspec

log: Final = logging.getLogger("byway")
_encode: Final = msgspec.json.Encoder().encode
_LINE_LIMIT: Final = 8192
#: Control characters, and those that turn the direction of text: a log line must not be able to draw on a terminal.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS: Final = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}


def safe(text: str) -> str:
    """`text` on one line, with what could draw on a terminal escaped."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def say(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log `message` with `fields`; a field that is None or "" is left out."""
    if log.isEnabledFor(level):
        log.log(level, message, extra={"fields": {name: value for name, value in fields.items() if value not in (None, "")}})


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        # JSON escapes control characters below 0x20 itself; the others are escaped here.
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", _encode(line).decode())[:_LINE_LIMIT]


class Pretty(logging.Formatter):
    """Time, message, fields: for a terminal, coloured with restraint."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        clock = self.formatTime(record, "%H:%M:%S")
        message = safe(record.getMessage())
        if self._colour:
            clock = f"\x1b[2m{clock}\x1b[0m"
            code = _COLOURS.get(record.levelname)
            message = f"\x1b[{code}m{message}\x1b[0m" if code else message
            text = f"{clock} {message} \x1b[2m{safe(fields)}\x1b[0m"
        else:
            text = f"{clock} {record.levelname.lower()} {message} {safe(fields)}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text[:_LINE_LIMIT].rstrip()


def start(level: str = "info", form: str = "auto", stream: TextIO | None = None, colour: bool | None = None) -> None:
    """Send the log to `stream` (stderr) in `form`: `json`, `pretty`, or `auto` (pretty on a terminal)."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    pretty = form == "pretty" or (form == "auto" and terminal)
    handler.setFormatter(Pretty(terminal if colour is None else colour) if pretty else Json())
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
    log.propagate = False
    logging.getLogger("uvicorn").handlers[:] = [handler]
    logging.getLogger("uvicorn").setLevel("WARNING")
    logging.getLogger("asyncio").handlers[:] = [handler]
