"""Unpacking of answers that come compressed although we ask for them plain. Bounded and streaming; no I/O."""

from __future__ import annotations

import zlib
from typing import Final

#: A packed megabyte can be a gigabyte: so much comes out at a time, and the rest stays packed until it is wanted.
_PIECE: Final = 1 << 20
_GZIP: Final = zlib.MAX_WBITS | 16


class Unpacker:
    """One compressed body. Raises ValueError for what cannot be unpacked."""

    __slots__ = ("_full", "_rest", "_unzip", "_wbits", "started")

    def __init__(self, coding: str) -> None:
        """`coding` is "gzip" or "deflate"."""
        self._wbits = _GZIP if coding == "gzip" else 0
        self._unzip: zlib._Decompress | None = None
        self._rest = b""
        self._full = False
        self.started = False

    @property
    def hungry(self) -> bool:
        """Everything that was fed has come out."""
        return not self._rest and not self._full

    @property
    def finished(self) -> bool:
        """The packed stream is at its end, or there never was one."""
        return not self.started or (self.hungry and self._unzip is not None and self._unzip.eof)

    def unpack(self, data: bytes) -> bytes:
        """What `data` (and what is left of earlier data) unpacks to, a megabyte at most; b"" when more is needed."""
        data = self._rest + data
        if not data and not self._full:
            return b""
        self.started = True
        if not self._wbits:
            # "deflate" is zlib's format by RFC 9110 section 8.4.1.2; some servers leave its two bytes of head out.
            self._wbits = zlib.MAX_WBITS if data[0] & 15 == 8 else -zlib.MAX_WBITS
        if self._unzip is None or (self._unzip.eof and self._wbits == _GZIP):
            # A gzip body may be several, one behind the other.
            self._unzip = zlib.decompressobj(self._wbits)
        elif self._unzip.eof:
            raise ValueError("bytes after the end")
        try:
            plain = self._unzip.decompress(data, _PIECE)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        self._rest = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
        # The last of it may still be inside zlib, with all that was fed consumed.
        self._full = len(plain) == _PIECE and not self._unzip.eof
        return plain
