"""The header of a GGUF file: what a model is called, how large its window is, how it was quantised. Bytes in, facts out.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (seen 2026-11-21). A file may be anybody's, so no number
in it is believed before the bytes that it promises are there.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

#: No header is larger; those of vocabularies with 256,000 entries have about 15 MB.
HEADER_LIMIT: Final = 64 << 20
#: llama.cpp b11549 reads these versions.
_VERSIONS: Final = (2, 3)
#: More elements in all arrays together than any vocabulary and its merges have.
_ELEMENTS: Final = 4_000_000
_PAIRS: Final = 100_000
_NESTED: Final = 3
_LONGEST_KEY: Final = 65_535
#: Text that is kept of a value; a chat template is only noted.
_LONGEST_TEXT: Final = 200
_STRING, _ARRAY, _BOOL = 8, 9, 7
#: Formats of the fixed types by number.
_FIXED: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_SIZES: Final = {kind: struct.calcsize(form) for kind, form in _FIXED.items()}
_COUNT: Final = struct.Struct("<Q")
#: `general.file_type` as llama.cpp's enum llama_ftype has it (include/llama.h, seen 2026-11-21).
_QUANTISATIONS: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip


class InvalidFile(ValueError):
    """It cannot be read. The words follow the file's name."""


class TruncatedFile(InvalidFile):
    """The header goes on behind the bytes that were given."""


class ModelHeader(NamedTuple):
    """What a header says; empty or None where it says nothing."""

    version: int
    architecture: str
    name: str = ""
    kind: str = ""
    """`general.type`: model, adapter, mmproj, ..."""
    size: str = ""
    """The number of parameters in words: `8B`, `8x7B`."""
    quantisation: str = ""
    window: int | None = None
    """Tokens that it was trained on."""
    layers: int | None = None
    parts: int = 1
    template: bool = False
    """Has it a chat template?"""

    @property
    def loadable(self) -> bool:
        """Is it a model by itself, and no part to another?"""
        return self.kind in ("", "model")


def parse_header(data: bytes) -> ModelHeader:
    """The facts in the first bytes of a file. Raises Broken; Short when more bytes may help."""
    if data[:4] != b"GGUF":
        if len(data) < 4 and b"GGUF".startswith(data):
            raise TruncatedFile("is cut off")
        raise InvalidFile("is no GGUF file (it does not begin with GGUF)")
    cursor = _HeaderCursor(data, 4)
    version = cursor.number("<I")
    if version not in _VERSIONS:
        swapped = version > 0xFFFF
        what = (
            "was made for big-endian machines" if swapped else f"is GGUF version {version}, and llama.cpp reads 2 and 3"
        )
        raise InvalidFile(what)
    cursor.number("<Q")
    pairs = cursor.number("<Q")
    if pairs > _PAIRS:
        raise InvalidFile(f"promises {pairs:,} settings in its header, which no model has")
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text(_LONGEST_KEY)
        found[key] = cursor.value(cursor.number("<I"))
    architecture = _text(found, "general.architecture")
    file_type = _whole(found, "general.file_type")
    return ModelHeader(
        version,
        architecture,
        _text(found, "general.name"),
        _text(found, "general.type"),
        _text(found, "general.size_label"),
        "" if file_type is None else _QUANTISATIONS.get(file_type & 1023, ""),
        _whole(found, f"{architecture}.context_length"),
        _whole(found, f"{architecture}.block_count"),
        max(1, _whole(found, "split.count") or 1),
        bool(found.get("tokenizer.chat_template")),
    )


def _text(found: dict[str, Any], key: str) -> str:
    """What a person may see of a text: without what would steer a terminal."""
    value = found.get(key)
    return "".join(letter for letter in value if letter.isprintable()) if isinstance(value, str) else ""


def _whole(found: dict[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else None


class _HeaderCursor:
    """A place in the bytes. Nothing is taken that is not there."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._elements = _ELEMENTS

    def _skip(self, size: int) -> int:
        """Go on by `size` bytes; gives where they begin."""
        began = self._at
        if size > len(self._data) - began:
            raise TruncatedFile(
                "is cut off within its header" if size < HEADER_LIMIT else "promises more than a header holds"
            )
        self._at = began + size
        return began

    def number(self, form: str) -> Any:
        return struct.unpack_from(form, self._data, self._skip(struct.calcsize(form)))[0]

    def text(self, longest: int = HEADER_LIMIT) -> str:
        """A text, of which no more than a person would read is kept."""
        size = self.number("<Q")
        if size > longest:
            raise InvalidFile(f"promises a text of {size:,} bytes in its header")
        began = self._skip(size)
        kept = min(size, longest if longest == _LONGEST_KEY else _LONGEST_TEXT)
        return self._data[began : began + kept].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of the type numbered `kind`; None for an array, which is passed over."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._array(depth + 1)
            return None
        if kind not in _FIXED:
            raise InvalidFile(f"has a value of the type {kind}, which GGUF does not know")
        value = self.number(_FIXED[kind])
        return bool(value) if kind == _BOOL else value

    def _array(self, depth: int) -> None:
        if depth > _NESTED:
            raise InvalidFile("has lists within lists within lists in its header")
        kind, count = self.number("<I"), self.number("<Q")
        if kind in _SIZES:
            if count > HEADER_LIMIT:
                raise InvalidFile(f"promises a list of {count:,} values in its header")
            self._skip(_SIZES[kind] * count)
            return
        if kind not in (_STRING, _ARRAY):
            raise InvalidFile(f"has a list of the type {kind}, which GGUF does not know")
        self._elements -= count
        if self._elements < 0:
            raise InvalidFile(f"promises a list of {count:,} values in its header")
        if kind == _STRING:
            self._strings(count)
        else:
            for _ in range(count):
                self._array(depth + 1)

    def _strings(self, count: int) -> None:
        """Pass over `count` texts: a vocabulary has hundreds of thousands, so nothing is called for each that is Python's."""
        data, at, size = self._data, self._at, _COUNT.unpack_from
        try:
            for _ in range(count):
                at += 8 + size(data, at)[0]
        except (struct.error, OverflowError):
            raise TruncatedFile("is cut off within its header") from None
        if at > len(data):
            raise TruncatedFile("is cut off within its header")
        self._at = at
