"""Estimates the tokens of a prompt by classes of characters, corrects the estimate from answers, and rejects long prompts. Pure.

docs/tokens.md has the measured errors. The weights were fitted to SmolLM2's tokenizer; other models are learned.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from byway.decoding import DECODE_ERRORS
from byway.messages.request import Request
from byway.problems import Problem

# ------------------------------------------------------------------------------------------------------------------ text


def _classes() -> bytes:
    """A letter for the class of each byte; bytes without a rule are punctuation."""
    table = bytearray(b"." * 256)
    for first, last, mark in (
        ("a", "z", "a"),
        ("A", "Z", "A"),
        ("0", "9", "0"),
        ("\t", "\t", "_"),
        ("\r", "\r", "_"),
        (" ", " ", "_"),
        ("\n", "\n", "\n"),
        # UTF-8: the first byte gives the length of a character, and roughly its script.
        ("\x80", "\xbf", "c"),
        ("\xc0", "\xc5", "l"),
        ("\xc6", "\xdf", "L"),
        ("\xe0", "\xef", "H"),
        ("\xe2", "\xe2", "E"),
        ("\xf0", "\xff", "F"),
    ):
        table[ord(first) : ord(last) + 1] = mark.encode() * (ord(last) - ord(first) + 1)
    return bytes(table)


_CLASSES: Final = _classes()
_ANY_CASE: Final = bytes.maketrans(b"A", b"a")
#: Tokens for each occurrence of the marks. A word is one token; a change from small to capital letters splits it (`camelCase`,
#: base64); each digit is one; punctuation is joined; an indent joins its newline; accents mean a language that the tokenizer
#: encodes less well.
_WORD: Final = 1.07
_LONG: Final = 1.5
_WEIGHTS: Final = (
    (b"aA", 2.3),
    (b"AA", 0.47),
    (b"0", 1.0),
    (b"_0", 1.5),
    (b".", 0.185),
    (b"\n", 1.0),
    (b"\n_", -0.37),
    (b"l", 5.0),
    (b"L", 0.86),
    (b"H", 1.6),
    (b"E", 0.3),
    (b"F", 3.0),
)
_PUNCTUATION: Final = 0.87
_BEFORE_WORDS: Final = (b"_a", b"\na", b".a", b"0a")
_BEFORE_PUNCTUATION: Final = (b"_.", b"\n.", b"a.", b"0.")


#: How many samples of a long text are weighed, and their bytes.
_SAMPLES: Final = 64
_SAMPLE: Final = 16 << 10


def text_tokens(text: bytes) -> float:
    """The uncorrected estimate for UTF-8 text. 60 KB take about half a millisecond; of a text over 1 MiB evenly
    spaced samples are weighed, so that no text takes more than 25 ms."""
    if len(text) > _SAMPLES * _SAMPLE:
        step = len(text) // _SAMPLES
        sampled = b"".join([text[at : at + _SAMPLE] for at in range(0, step * _SAMPLES, step)])
        return text_tokens(sampled) * (len(text) / len(sampled))
    marks = (b" " + text).translate(_CLASSES)
    letters = marks.translate(_ANY_CASE)
    tokens = _WORD * sum(map(letters.count, _BEFORE_WORDS)) + _LONG * letters.count(b"a" * 16)
    tokens += _PUNCTUATION * sum(map(letters.count, _BEFORE_PUNCTUATION))
    return tokens + sum(weight * marks.count(mark) for mark, weight in _WEIGHTS)


# ----------------------------------------------------------------------------------------------------------------- media

#: https://docs.anthropic.com/en/docs/build-with-claude/vision (seen 2026-11-20): width x height / 750, scaled down to about
#: 1,600 tokens. Qwen's models take width x height / 784.
_PIXELS: Final = 750
_MOST_FOR_IMAGE: Final = 1600
_LEAST_FOR_IMAGE: Final = 85
#: https://docs.anthropic.com/en/docs/build-with-claude/pdf-support (seen 2026-11-20): 1,500 to 3,000 tokens a page.
_PAGE: Final = 2000
_PAGE_BYTES: Final = 50_000
_PAGE_OBJECT: Final = re.compile(rb"/Type\s*/Page\b")
#: Base64 characters that are decoded for an image's size: a camera may put a preview before it.
_HEAD: Final = 1 << 17
_MEDIA: Final = re.compile(r"data:([\w/+.-]*);base64,")
#: A search for these bytes with `in` takes twice as long.
_BASE64: Final = re.compile(rb"base64")
_BLOB: Final = re.compile(rb'"(?:data:[\w/+.-]*;base64,)?[A-Za-z0-9+/]{1024,}=*"')


def image_tokens(data: str) -> int:
    """The tokens of an image in base64, by its width and height; an unknown format counts as the largest."""
    width, height = _size(_decoded(data[:_HEAD]))
    if not width or not height:
        return _MOST_FOR_IMAGE
    return min(max(width * height // _PIXELS, _LEAST_FOR_IMAGE), _MOST_FOR_IMAGE)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, GIF, WebP or JPEG; (0, 0) for other formats and cut files."""

    def number(at: int, size: int = 2, order: Any = "little") -> int:
        return int.from_bytes(data[at : at + size], order)

    if data.startswith(b"\x89PNG"):
        return number(16, 4, "big"), number(20, 4, "big")
    if data.startswith(b"GIF8"):
        return number(6), number(8)
    if data[8:12] == b"WEBP":
        match data[12:16]:
            case b"VP8X":
                return number(24, 3) + 1, number(27, 3) + 1
            case b"VP8 ":
                return number(26) & 0x3FFF, number(28) & 0x3FFF
            case b"VP8L":
                bits = number(21, 4)
                return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data.startswith(b"\xff\xd8"):
        at = 2
        while at + 9 < len(data) and data[at] == 0xFF:
            if 0xC0 <= data[at + 1] <= 0xCF and data[at + 1] not in (0xC4, 0xC8, 0xCC):
                return number(at + 7, 2, "big"), number(at + 5, 2, "big")
            at += 2 + max(number(at + 2, 2, "big"), 2)
    return 0, 0


def _media_tokens(kind: str, data: str) -> int:
    """The tokens of base64 data: an image by its size, a document by its pages."""
    if kind.startswith("image/"):
        return image_tokens(data)
    whole = _decoded(data)
    pages = len(_PAGE_OBJECT.findall(whole))
    return _PAGE * (pages or -(-len(whole) // _PAGE_BYTES))


# --------------------------------------------------------------------------------------------------------------- prompts

#: Tokens that the chat templates of Qwen and SmolLM2 add: around each message and tool call, at the beginning of the answer, as
#: instructions when the request has none, and to explain tool calls.
_AROUND_MESSAGE: Final = 5.0
_AROUND_CALL: Final = 12.0
_ANSWER: Final = 3.0
_INSTRUCTIONS: Final = 20.0
_TOOLS: Final = 130.0
#: Fields that no chat template shows.
_UNSEEN: Final = frozenset(("id", "type", "role", "signature", "tool_call_id", "tool_use_id", "media_type", "model"))


class _Sent(Struct):
    messages: list[dict[str, Any]] = []
    system: Any = None
    tools: Raw = Raw()


class Weight(NamedTuple):
    """The uncorrected tokens of a prompt: those of its text, and those of images and files."""

    text: float
    media: int


def weigh(body: bytes, tools: bool = True) -> Weight:
    """The weight of the body of a chat or Messages request. `tools`: the template shows them."""
    texts: list[str] = []
    try:
        sent = msgspec.json.decode(body, type=_Sent)
        if not tools:
            for message in sent.messages:
                message.pop("tool_calls", None)
        media = _texts("", [sent.system, *sent.messages], texts)
        around = _ANSWER + _AROUND_MESSAGE * len(sent.messages)
    except DECODE_ERRORS:
        return Weight(text_tokens(body), 0)
    text = text_tokens("\n".join(texts).encode(errors="replace"))
    if not sent.system and b'"role":"system"' not in body:
        around += _INSTRUCTIONS
    if tools and len(sent.tools) > 2:
        around += _TOOLS
        text += text_tokens(bytes(sent.tools).replace(b"\\n", b"\n").replace(b'\\"', b'"'))
    if tools:
        around += _AROUND_CALL * (body.count(b'"arguments":"') + body.count(b'"type":"tool_use"'))
    return Weight(text + around, media)


def _texts(name: str, value: Any, texts: list[str]) -> int:
    """Collect the texts of the field `name` that a model reads. Returns the tokens of its images and files."""
    media = 0
    if isinstance(value, str):
        if name not in ("url", "file_data"):
            texts.append(value)
        elif (kind := _MEDIA.match(value[:200])) is not None:
            media = _media_tokens(kind[1], value[kind.end() :])
        else:
            media = _MOST_FOR_IMAGE
    elif isinstance(value, list):
        for item in value:
            media += _texts(name, item, texts)
    elif isinstance(value, dict):
        if value.get("type") == "base64" and isinstance(value.get("data"), str):
            return _media_tokens(str(value.get("media_type")), value["data"])
        for key, item in value.items():
            if key == "input":
                texts.append(msgspec.json.encode(item).decode())
            elif key not in _UNSEEN:
                media += _texts(key, item, texts)
    return media


# ----------------------------------------------------------------------------------------------------------- calibration

#: Tokens per byte of a request, before any answer has corrected it.
_PER_BYTE: Final = 0.25
_LEAST, _MOST = 0.5, 2.0
#: Shorter prompts measure the template rather than the tokenizer.
_ENOUGH: Final = 1000
#: Ratios that are kept. Two neutral ones come first, so that a single wrong number changes nothing.
_KEPT: Final = 9
_ASSUMED: Final = (1.0, 1.0)
#: After the first prompts one in this many is weighed to learn from it: weighing takes longer than translating.
_SOMETIMES: Final = 512
_MODELS: Final = 256
#: Bytes of a body that is weighed to learn from it: about 25 ms.
_WEIGHED: Final = 1 << 20
#: Bytes below which a request is not searched for images.
_LARGE: Final = 100_000
#: Bytes below which a request is too short to learn from.
_SMALL: Final = 2_000


class Estimate(Struct, frozen=True, gc=False):
    """An estimate of a prompt's tokens, and what it was made from."""

    tokens: int
    size: int
    """Bytes of the request; 0 when it contains images or files."""
    weight: float = 0.0
    """The uncorrected weight of its text; 0 when it was not weighed or contains images or files."""


class _Ratios:
    """The latest ratios of reported to assumed tokens; their median is the correction."""

    def __init__(self) -> None:
        self.kept = deque(_ASSUMED, _KEPT)
        self.learned = 0
        self.factor = 1.0

    def learn(self, ratio: float) -> None:
        self.learned += 1
        self.kept.append(min(max(ratio, _LEAST), _MOST))
        self.factor = _median(self.kept)


def _median(values: Iterable[float]) -> float:
    """The median. The module `statistics` takes a quarter of a megabyte."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class _Model:
    """The corrections for one model."""

    def __init__(self) -> None:
        self.sizes = _Ratios()
        self.weights = _Ratios()
        self.seen = 0


class Counter:
    """Estimates for the models of one backend, corrected by the usage of their answers."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def _model(self, model: str) -> _Model:
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= _MODELS:
                self._models.clear()
            known = self._models[model] = _Model()
        return known

    def estimate(self, request: Request, model: str, body: bytes = b"", *, tools: bool = True) -> Estimate:
        """A quick guess by the request's size. `learn` takes it back with the true count.

        With the `body` that is sent, some prompts are weighed too, to learn from. `tools`: the template shows tools.
        """
        known = self._models.get(model) or self._model(model)
        size = request.size
        if size < _SMALL and tools:
            return Estimate(int(size * _PER_BYTE * known.sizes.factor) or 1, 0)
        if not tools:
            size -= sum(len(tool.description) + len(tool.input_schema) for tool in request.params.tools or ())
        text = True
        if size > _LARGE and _BASE64.search(request.body):
            blobs = sum(len(blob) for blob in _BLOB.findall(request.body))
            text = blobs == 0
            size -= blobs
        tokens = max(1, round(size * _PER_BYTE * known.sizes.factor))
        weight = 0.0
        if body and text and size * _PER_BYTE * _MOST > _ENOUGH and len(body) <= _WEIGHED:
            known.seen += 1
            if known.seen <= _KEPT or known.seen % _SOMETIMES == 0:
                weighed = weigh(body, tools)
                tokens = max(1, round(weighed.text * known.weights.factor) + weighed.media)
                text = weighed.media == 0
                weight = weighed.text if text else 0.0
        return Estimate(tokens, size if text else 0, weight)

    def prompt_tokens(self, request: Request, model: str) -> int:
        """The tokens of `estimate`, in fewer steps."""
        if request.size < _SMALL:
            known = self._models.get(model) or self._model(model)
            return int(request.size * _PER_BYTE * known.sizes.factor) or 1
        return self.estimate(request, model).tokens

    def learn(self, model: str, estimated: Estimate, tokens: int) -> None:
        """Correct the estimates by `tokens`, which a model reported for the whole prompt, cached tokens included."""
        if tokens < _ENOUGH:
            return
        known = self._model(model)
        if estimated.size:
            known.sizes.learn(tokens / (estimated.size * _PER_BYTE))
        if estimated.weight:
            known.weights.learn(tokens / estimated.weight)

    def tokens(self, model: str, body: bytes, tools: bool = True) -> int:
        """The best estimate for the body of a call."""
        weighed = weigh(body, tools)
        return max(1, round(weighed.text * self._model(model).weights.factor) + weighed.media)


# ----------------------------------------------------------------------------------------------------------- what follows

#: An estimate rejects a prompt only above this multiple of the window.
SURE: Final = 1.2
#: Tokens per byte that prompts do not exceed. Numbers alone may; the backend rejects those itself.
_DENSEST: Final = 0.5


def may_exceed(size: int, window: int | None) -> bool:
    """Return whether a body of `size` bytes may exceed the window, so that an estimate is worth its time."""
    return window is not None and size * _DENSEST > window * SURE


def refuses(estimate: int, exact: int | None, window: int | None) -> Problem | None:
    """The Problem of a prompt that cannot fit, with the message on which Claude Code compacts; None when it may fit.

    An exact count rejects above the window, an estimate only above 1.2 times the window.
    """
    if window is None:
        return None
    tokens = estimate if exact is None else exact
    if tokens <= (window * SURE if exact is None else window):
        return None
    return Problem(
        "prompt_too_long",
        f"prompt is too long: {tokens} tokens > {window} maximum",
        facts={"tokens": tokens, "window": window},
    )
