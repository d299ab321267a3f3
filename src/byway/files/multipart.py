"""Parses a body of type `multipart/form-data`: as it arrives, without keeping it, or the places of its parts. Pure.

https://www.rfc-editor.org/rfc/rfc7578 (seen 2026-11-30). The work is proportional to the bytes, however they are cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from byway.problems import Problem

#: Bytes of the headers of a part, and of the value of a field.
_HEADER_LIMIT: Final = 8 << 10
_FIELD_LIMIT: Final = 4 << 10
_MOST_PARTS: Final = 32
_BOUNDARY: Final = re.compile(r"""boundary=(?:"([^"\r\n]{1,200})"|([^\s;,"]{1,200}))""", re.IGNORECASE)
_PARAMETER: Final = re.compile(r""";\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\\r\n]|\\.)*)"|([^;\s]*))""")


class FormField(NamedTuple):
    """A field of the form with its value."""

    name: str
    value: str


class FormFile(NamedTuple):
    """The beginning of a file. Its data follows as `bytes`, and its end as None."""

    name: str
    filename: str
    content_type: str


class FormParser:
    """A form as it arrives. `feed` yields a FormField, or a FormFile, then its data as `bytes`, then None.

    Raises Problem `invalid_request` for a body that is no form.
    """

    def __init__(self, content_type: str) -> None:
        self._mark = b"\r\n" + _mark(content_type)
        # The first mark has no line end before it.
        self._buffer = bytearray(b"\r\n")
        self._state = "preamble"
        self._parts = 0
        self._field = ""
        self._value = bytearray()

    @property
    def complete(self) -> bool:
        """The last part has ended. What follows is ignored."""
        return self._state == "end"

    def feed(self, data: bytes) -> Iterator[FormField | FormFile | bytes | None]:
        """Parse the next bytes of the body."""
        self._buffer += data
        while True:
            match self._state:
                case "preamble":
                    if not self._skip_to_mark():
                        return
                case "mark":
                    if len(self._buffer) < 2:
                        return
                    if self._buffer[:2] == b"--":
                        self._state = "end"
                        continue
                    # Blanks may follow a boundary (RFC 2046, section 5.1.1).
                    line = self._buffer.find(b"\r\n")
                    if line < 0:
                        if len(self._buffer) > _HEADER_LIMIT:
                            raise _invalid("a boundary has no end")
                        return
                    if self._buffer[:line].strip(b" \t"):
                        raise _invalid("a boundary is followed by other text")
                    # The line end stays: a part without headers has one empty line.
                    del self._buffer[:line]
                    self._state = "headers"
                case "headers":
                    end = self._buffer.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
                    if end < 0:
                        if len(self._buffer) >= _HEADER_LIMIT:
                            raise _invalid("the headers of a part are too long")
                        return
                    head = bytes(self._buffer[2:end]) if end else b""
                    del self._buffer[: end + 4]
                    yield from self._begin(head)
                case "file" | "field":
                    yield from self._data()
                    if self._state in ("file", "field"):
                        return
                case _:
                    self._buffer.clear()
                    return

    def _skip_to_mark(self) -> bool:
        at = self._buffer.find(self._mark)
        if at < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._mark))]
            return False
        del self._buffer[: at + len(self._mark)]
        self._state = "mark"
        return True

    def _begin(self, head: bytes) -> Iterator[FormFile]:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _invalid(f"it has more than {_MOST_PARTS} parts")
        name, filename, content_type = _read_head(head)
        if filename is None:
            self._state, self._field = "field", name
            self._value.clear()
        else:
            self._state = "file"
            yield FormFile(name, filename, content_type)

    def _data(self) -> Iterator[FormField | bytes | None]:
        """The data of a part, up to the next mark or to what may be the beginning of one."""
        at = self._buffer.find(self._mark)
        end = at if at >= 0 else max(0, len(self._buffer) - len(self._mark) + 1)
        if end:
            # One copy of the bytes.
            data = bytes(memoryview(self._buffer)[:end])
            del self._buffer[:end]
            if self._state == "file":
                yield data
            else:
                self._value += data
                if len(self._value) > _FIELD_LIMIT:
                    raise _invalid(f"the field {self._field[:60]!r} is over {_FIELD_LIMIT >> 10} KiB")
        if at < 0:
            return
        del self._buffer[: len(self._mark)]
        state, self._state = self._state, "mark"
        yield None if state == "file" else FormField(self._field, self._value.decode("utf-8", "replace"))


class FormPart(NamedTuple):
    """A part of a form that is in memory."""

    name: str
    filename: str | None
    """None: the part is a field, and no file."""
    start: int
    """Where its data begins, and where it ends."""
    end: int


def form_parts(body: bytes | bytearray, content_type: str) -> tuple[FormPart, ...]:
    """Find the parts of a whole form. Raises Problem `invalid_request` for a body that is no form."""
    mark = _mark(content_type)
    parts: list[FormPart] = []
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at == 1:
        raise incomplete()
    while True:
        at += len(mark)
        if body[at : at + 2] == b"--":
            return tuple(parts)
        line = body.find(b"\r\n", at, at + _HEADER_LIMIT)
        end_of_head = body.find(b"\r\n\r\n", at, at + _HEADER_LIMIT)
        if line < 0 or end_of_head < 0 or body[at:line].strip(b" \t"):
            raise _invalid("a part has no end of its headers")
        name, filename, _ = _read_head(bytes(body[line + 2 : end_of_head]))
        start = end_of_head + 4
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise incomplete()
        parts.append(FormPart(name, filename, start, end))
        if len(parts) > _MOST_PARTS:
            raise _invalid(f"it has more than {_MOST_PARTS} parts")
        at = end + 2


def form_field(name: str, value: str, content_type: str) -> bytes:
    """The bytes of another field, to put in front of a form."""
    return b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        _mark(content_type),
        name.encode(),
        value.encode(),
    )


def _mark(content_type: str) -> bytes:
    """What separates the parts. Raises Problem `invalid_request` when the type is not that of a form."""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise _invalid(
            "send the file as multipart/form-data with the field `file`, for example: curl -F file=@report.pdf"
        )
    return b"--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")


def _read_head(head: bytes) -> tuple[str, str | None, str]:
    """The name, the name of the file (None for a field) and the content type of a part."""
    headers = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    parameters = _parameters(headers.get("content-disposition", ""))
    name = parameters.get("name", "")
    filename = parameters.get("filename")
    if filename is None and "content-type" in headers and name == "file":
        filename = ""
    return name, filename, headers.get("content-type", "")


def _parameters(disposition: str) -> dict[str, str]:
    """The parameters of `Content-Disposition`. `filename*` (RFC 8187) counts before `filename`."""
    values: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(disposition):
        values[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
    extended = values.pop("filename*", "")
    charset, _, rest = extended.partition("'")
    if rest and charset.lower() in ("utf-8", "iso-8859-1"):
        values["filename"] = _unquoted(rest.partition("'")[2], charset)
    elif "filename" in values:
        # Browsers and Claude Code write quotes and line ends in this way (https://html.spec.whatwg.org, multipart form data).
        for code, char in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
            values["filename"] = values["filename"].replace(code, char)
    return values


def _unquoted(text: str, charset: str) -> str:
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode("latin-1", "replace"))
    return data.decode(charset, "replace")


def _invalid(reason: str) -> Problem:
    return Problem("invalid_request", f"The upload is not a valid form: {reason}.")


def incomplete() -> Problem:
    """The Problem of a form that ends before its last boundary."""
    return _invalid("it ends before its last boundary. Send it again")
