"""Decompression of answers that arrive compressed although plain ones were requested. Streaming and bounded; no I/O."""

from __future__ import annotations

import zlib
from collections import deque
from typing import Final

#: A compressed megabyte can be a gigabyte: at most so many bytes leave at a time, and the rest stays compressed until then.
_OUTPUT_LIMIT: Final = 1 << 20
#: zlib copies what it has not consumed, so it gets the input in slices: many small gzip members stay linear.
_SLICE: Final = 16 << 10
_GZIP: Final = zlib.MAX_WBITS | 16


class Unpacker:
    """One compressed body. Raises ValueError for what cannot be decompressed."""

    __slots__ = ("_full", "_input", "_wbits", "_zlib", "started")

    def __init__(self, coding: str) -> None:
        """`coding` is "gzip" or "deflate"."""
        self._wbits = _GZIP if coding == "gzip" else 0
        self._zlib: zlib._Decompress | None = None
        self._input: deque[bytes] = deque()
        self._full = False
        """zlib may have more output of what it has consumed."""
        self.started = False

    @property
    def needs_input(self) -> bool:
        """Everything that was passed in has come out."""
        return not self._input and not self._full

    @property
    def finished(self) -> bool:
        """The compressed stream has ended, or there was none."""
        return not self.started or (self.needs_input and self._zlib is not None and self._zlib.eof)

    def unpack(self, data: bytes) -> bytes:
        """Decompress `data` and what is left of earlier data: about a megabyte at most; b"" when more input is needed."""
        self._input.extend(data[at : at + _SLICE] for at in range(0, len(data), _SLICE))
        pieces: list[bytes] = []
        size = 0
        while size < _OUTPUT_LIMIT and not self.needs_input:
            piece = self._step(_OUTPUT_LIMIT - size)
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, limit: int) -> bytes:
        """Decompress one slice, or what zlib still has, to `limit` bytes at most."""
        data = self._input.popleft() if self._input else b""
        if not self._wbits:
            # "deflate" means zlib's format (RFC 9110 section 8.4.1.2); some servers omit its two bytes of header.
            self._wbits = zlib.MAX_WBITS if data[0] & 15 == 8 else -zlib.MAX_WBITS
        self.started = True
        if self._zlib is None or (self._zlib.eof and self._wbits == _GZIP):
            # A gzip body may have several members, one after the other.
            self._zlib = zlib.decompressobj(self._wbits)
        elif self._zlib.eof:
            raise ValueError("bytes after the end")
        try:
            plain = self._zlib.decompress(data, limit)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        rest = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        if rest:
            self._input.appendleft(rest)
        self._full = len(plain) == limit and not self._zlib.eof
        return plain
