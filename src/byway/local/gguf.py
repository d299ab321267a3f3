"""Parses the header of a GGUF file: name, window, quantisation. Bytes in, facts out.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (seen 2026-11-21). The file may be hostile: a number in it
counts only when the bytes that it promises exist."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from byway.backends.protocol import ModelUse

#: Bytes of a header. Those of vocabularies with 256,000 entries have about 15 MB.
HEADER_LIMIT: Final = 64 << 20
#: The versions that llama.cpp b11549 reads.
_VERSIONS: Final = (2, 3)
#: Elements of all arrays together: more than any vocabulary and its merges have.
_ELEMENTS: Final = 4_000_000
_PAIRS: Final = 100_000
_NESTED: Final = 3
_LONGEST_KEY: Final = 65_535
#: Characters that are kept of a text. Of a chat template only its existence is used.
_LONGEST_TEXT: Final = 200
_STRING, _ARRAY, _BOOL = 8, 9, 7
#: The formats of the types of fixed size, by number.
_FIXED: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_SIZES: Final = {kind: struct.calcsize(form) for kind, form in _FIXED.items()}
_COUNT: Final = struct.Struct("<Q")
#: `general.file_type` in the numbering of llama.cpp's enum llama_ftype (include/llama.h, seen 2026-11-21).
_QUANTISATIONS: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip


#: Architectures of models that only make embeddings, by the names of llama.cpp (src/llama-arch.cpp, seen 2026-11-30).
_EMBEDDING_ARCHITECTURES: Final = frozenset(
    "bert modern-bert neo-bert eurobert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 gemma-embedding llama-embed "
    "t5encoder".split()
)
#: `pooling_type` in the numbering of llama.cpp's enum llama_pooling_type (include/llama.h, seen 2026-11-30): an embedding is the
#: mean, the first or the last token; or the output is the rank of a document.
_MAKES_EMBEDDINGS: Final = (1, 2, 3)
_RANKS: Final = 4


class InvalidFile(ValueError):
    """The file cannot be used. The message follows the file's name."""


class TruncatedFile(InvalidFile):
    """The header is longer than the given bytes."""


class ModelHeader(NamedTuple):
    """The facts of a header; empty or None where it has none."""

    version: int
    architecture: str
    name: str = ""
    kind: str = ""
    """`general.type`: model, adapter, mmproj, ..."""
    size: str = ""
    """The number of parameters: `8B`, `8x7B`."""
    quantisation: str = ""
    window: int | None = None
    """The window of its training, in tokens."""
    layers: int | None = None
    parts: int = 1
    template: bool = False
    """It has a chat template."""
    cache: int | None = None
    """Bytes of memory for each token of context."""
    pooling: int | None = None
    """How the output of a text becomes one embedding, or a rank."""

    @property
    def loadable(self) -> bool:
        """True for a model, False for a file that belongs to one."""
        return self.kind in ("", "model")

    @property
    def use(self) -> ModelUse:
        """What the model is for."""
        if self.pooling == _RANKS:
            return "reranking"
        return (
            "embeddings"
            if self.pooling in _MAKES_EMBEDDINGS or self.architecture in _EMBEDDING_ARCHITECTURES
            else "answers"
        )


def parse_header(data: bytes) -> ModelHeader:
    """Parse the first bytes of a file. Raises InvalidFile, and TruncatedFile when more bytes may help."""
    if data[:4] != b"GGUF":
        if len(data) < 4 and b"GGUF".startswith(data):
            raise TruncatedFile("is cut off")
        raise InvalidFile("is not a GGUF file (it does not begin with GGUF)")
    cursor = _HeaderCursor(data, 4)
    version = cursor.number("<I")
    if version not in _VERSIONS:
        swapped = version > 0xFFFF
        what = (
            "is a file for big-endian machines"
            if swapped
            else f"is GGUF version {version}, and llama.cpp reads 2 and 3"
        )
        raise InvalidFile(what)
    cursor.number("<Q")
    pairs = cursor.number("<Q")
    if pairs > _PAIRS:
        raise InvalidFile(f"has {pairs:,} values in its header; the limit is {_PAIRS:,}")
    values: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text(_LONGEST_KEY)
        values[key] = cursor.value(cursor.number("<I"))
    architecture = _text(values, "general.architecture")
    file_type = _whole(values, "general.file_type")
    return ModelHeader(
        version,
        architecture,
        _text(values, "general.name"),
        _text(values, "general.type"),
        _text(values, "general.size_label"),
        "" if file_type is None else _QUANTISATIONS.get(file_type & 1023, ""),
        _whole(values, f"{architecture}.context_length"),
        _whole(values, f"{architecture}.block_count"),
        max(1, _whole(values, "split.count") or 1),
        bool(values.get("tokenizer.chat_template")),
        _cache(values, architecture),
        _whole(values, f"{architecture}.pooling_type"),
    )


def _cache(values: dict[str, Any], architecture: str) -> int | None:
    """Bytes of keys and values of a token, in 16 bits; None when the header does not have its facts.

    The keys are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (seen 2026-11-21), and
    `full_attention_interval` of models whose other layers keep no keys (Qwen3.5 and later).
    """

    def number(key: str) -> int:
        return _whole(values, f"{architecture}.{key}") or 0

    layers, heads = number("block_count"), number("attention.head_count")
    if interval := number("full_attention_interval"):
        layers //= interval
    if latent := number("attention.kv_lora_rank"):
        return 2 * layers * (latent + number("rope.dimension_count"))
    size = number("embedding_length") // heads if heads else 0
    key, value = number("attention.key_length") or size, number("attention.value_length") or size
    return 2 * layers * number("attention.head_count_kv") * (key + value) or None


def _text(values: dict[str, Any], key: str) -> str:
    """A text without control characters, which would change a terminal."""
    value = values.get(key)
    return "".join(letter for letter in value if letter.isprintable()) if isinstance(value, str) else ""


def _whole(values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else None


class _HeaderCursor:
    """A position in the bytes. Nothing beyond their end is used."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._elements = _ELEMENTS

    def _skip(self, size: int) -> int:
        """Advance by `size` bytes. Returns where they begin."""
        start = self._at
        if size > len(self._data) - start:
            raise TruncatedFile(
                "is cut off within its header" if size < HEADER_LIMIT else "has a header over the limit"
            )
        self._at = start + size
        return start

    def number(self, form: str) -> Any:
        return struct.unpack_from(form, self._data, self._skip(struct.calcsize(form)))[0]

    def text(self, longest: int = HEADER_LIMIT) -> str:
        """A text. Only its beginning is kept."""
        size = self.number("<Q")
        if size > longest:
            raise InvalidFile(f"has a text of {size:,} bytes in its header, which is over the limit")
        start = self._skip(size)
        kept = min(size, longest if longest == _LONGEST_KEY else _LONGEST_TEXT)
        return self._data[start : start + kept].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of the type numbered `kind`; None for an array, which is skipped."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._array(depth + 1)
            return None
        if kind not in _FIXED:
            raise InvalidFile(f"has a value of type {kind}, which GGUF does not define")
        value = self.number(_FIXED[kind])
        return bool(value) if kind == _BOOL else value

    def _array(self, depth: int) -> None:
        if depth > _NESTED:
            raise InvalidFile("has arrays that are nested too deeply in its header")
        kind, count = self.number("<I"), self.number("<Q")
        if kind in _SIZES:
            if count > HEADER_LIMIT:
                raise InvalidFile(f"has an array of {count:,} elements in its header, which is over the limit")
            self._skip(_SIZES[kind] * count)
            return
        if kind not in (_STRING, _ARRAY):
            raise InvalidFile(f"has an array of type {kind}, which GGUF does not define")
        self._elements -= count
        if self._elements < 0:
            raise InvalidFile(f"has an array of {count:,} elements in its header, which is over the limit")
        if kind == _STRING:
            self._strings(count)
        else:
            for _ in range(count):
                self._array(depth + 1)

    def _strings(self, count: int) -> None:
        """Skip `count` texts. A vocabulary has hundreds of thousands, so no Python function is called for each."""
        data, at, size = self._data, self._at, _COUNT.unpack_from
        try:
            for _ in range(count):
                at += 8 + size(data, at)[0]
        except (struct.error, OverflowError):
            raise TruncatedFile("is cut off within its header") from None
        if at > len(data):
            raise TruncatedFile("is cut off within its header")
        self._at = at
