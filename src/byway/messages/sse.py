"""Server-sent events both ways, no I/O. https://html.spec.whatwg.org/multipage/server-sent-events.html (seen 2026-11-20)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from byway.messages.events import Part, Passthrough
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_BOM: Final = b"\xef\xbb\xbf"
#: Numbers: searching a byte string with `in` raises and catches an exception inside (Python 3.11).
LF: Final = 10
CR: Final = 13
#: Bytes of one event.
EVENT_LIMIT: Final = 32 << 20


def encode(parts: Iterable[Part]) -> bytes:
    """The bytes of a stream's `parts`, to be written at once."""
    return b"".join(
        [
            part.data if type(part) is Passthrough else b"event: %b\ndata: %b\n\n" % (part.name.encode(), _encode(part))  # type: ignore[union-attr]
            for part in parts
        ]
    )


def _is_one_event(chunk: bytes) -> bool:
    """Return whether `chunk` is a whole event of one line of data."""
    return (
        chunk.find(LF) == len(chunk) - 2 and chunk.startswith(b"data: ") and chunk.endswith(b"\n") and CR not in chunk
    )


class Decoder:
    """Decodes bytes to (event name, data), however they are cut. An absent name is "". Comments and ids are ignored."""

    def __init__(self) -> None:
        self._rest = b""
        self._pieces: list[bytes] = []
        """The continuation of `_rest`, joined when its line ends, so that a long line is not copied for each piece."""
        self._size = 0
        """Bytes of the current event."""
        self._started = False
        self._cut_crlf = False
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """The events that `chunk` completes. Raises Problem `broken` for an event that does not end."""
        if not chunk:
            return []
        if not self._size and not self._rest and _is_one_event(chunk) and self._started:
            # What most servers send at once, and by far the most frequent chunk.
            self._cut_crlf = False
            return [("", chunk[6:-2])]
        self._size += len(chunk)
        if self._size > EVENT_LIMIT:
            raise Problem("broken", f"The backend sent an event of over {EVENT_LIMIT >> 20} MiB that did not end.")
        if self._rest and LF not in chunk and CR not in chunk:
            self._pieces.append(chunk)
            self._cut_crlf = False
            return []
        if self._pieces:
            chunk = b"".join([*self._pieces, chunk])
            self._pieces.clear()
        data = self._rest + chunk if self._rest else chunk
        if not self._started:
            if len(data) < 3 and _BOM.startswith(data):
                self._rest = data
                return []
            self._started = True
            if data.startswith(_BOM):
                data = data[3:]
        if self._cut_crlf and not self._rest and data.startswith(b"\n"):
            # The second half of a CRLF that was cut.
            data = data[1:]
        self._cut_crlf = data.endswith(b"\r")
        if CR in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        self._rest = lines.pop()
        events: list[tuple[str, bytes]] = []
        for line in lines:
            if not line:
                self._size = 0
                if self._data:
                    events.append((self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                    self._data = []
                self._name = ""
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode(errors="replace")
            elif line == b"data":
                self._data.append(b"")
        return events

    def close(self) -> list[tuple[str, bytes]]:
        """Return an event whose closing blank line is missing: some servers end with their last line."""
        events = self.feed(b"\n\n") if self._rest or self._data else []
        self._rest = b""
        return events
