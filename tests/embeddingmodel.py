"""A tiny embedding model made for tests: a GGUF file of BERT's architecture that llama.cpp loads, with fixed random weights."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Final

from models import text, value

WIDTH: Final = 32
"""Numbers of an embedding."""
WINDOW: Final = 128
_LAYERS, _HEADS, _INNER = 2, 2, 64
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: A word begins with this mark in the vocabulary that llama.cpp reads; a piece within a word has none.
_WORD: Final = "\u2581"
_WORDS: Final = ("cat", "dog", "the", "car", "red", "sat", "on", "mat", "fast")
_ALIGNED: Final = 32


def embedding_model(pooling: int = 1) -> bytes:
    """The file. `pooling` is llama.cpp's: 1 mean, 2 the first token, 4 a rank."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    tokens = [*_SPECIAL, *(_WORD + word for word in _WORDS), *(_WORD + letter for letter in letters), *letters]
    pairs = {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "Tiny Embedding",
        "general.file_type": 0,
        "bert.block_count": _LAYERS,
        "bert.context_length": WINDOW,
        "bert.embedding_length": WIDTH,
        "bert.feed_forward_length": _INNER,
        "bert.attention.head_count": _HEADS,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": pooling,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }
    tensors = list(_tensors(len(tokens), pooling))
    kinds = [3] * len(_SPECIAL) + [1] * (len(tokens) - len(_SPECIAL))
    head = b"".join(text(name) + value(given) for name, given in pairs.items())
    # Signed numbers: llama.cpp refuses others.
    head += text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{len(kinds)}i", 9, 5, len(kinds), *kinds)
    places, data = b"", b""
    numbers = random.Random(7)
    for name, shape in tensors:
        count = 1
        for size in shape:
            count *= size
        places += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        places += struct.pack("<IQ", 0, len(data))
        constant = 1.0 if name.endswith("norm.weight") else 0.0 if name.endswith(".bias") else None
        weights = [numbers.gauss(0, 0.3) if constant is None else constant for _ in range(count)]
        data += _padded(struct.pack(f"<{count}f", *weights))
    return _padded(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs) + 1) + head + places) + data


def _tensors(words: int, pooling: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (WIDTH, words)
    yield "token_types.weight", (WIDTH, 2)
    yield "position_embd.weight", (WIDTH, WINDOW)
    yield from _pair("token_embd_norm", WIDTH)
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield from _pair(f"blk.{layer}.{name}", WIDTH, WIDTH)
        yield from _pair(f"blk.{layer}.attn_output_norm", WIDTH)
        yield from _pair(f"blk.{layer}.ffn_up", _INNER, WIDTH)
        yield from _pair(f"blk.{layer}.ffn_down", WIDTH, _INNER)
        yield from _pair(f"blk.{layer}.layer_output_norm", WIDTH)
    if pooling == 4:
        yield from _pair("cls", WIDTH, WIDTH)
        yield from _pair("cls.output", 1, WIDTH)


def _pair(name: str, size: int, inputs: int = 0) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (inputs, size) if inputs else (size,)
    yield f"{name}.bias", (size,)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNED)
