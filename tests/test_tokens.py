"""Token estimates: their error, what they learn from answers, and when a prompt is rejected."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages import request as messages
from byway.messages.tokens import Counter, Estimate, image_tokens, may_exceed, refuses, text_tokens, weigh

SAMPLES = json.loads((Path(__file__).parent / "recorded" / "counts.json").read_text(encoding="utf-8"))["samples"]
TARGET = Target("box", "m", VENDORS["generic"])


def body(sample: dict[str, Any]) -> bytes:
    return json.dumps(sample["body"], separators=(",", ":"), ensure_ascii=False).encode()


def request(text: str = "hi", **fields: Any) -> messages.Request:
    sent = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}], **fields}
    return messages.parse(json.dumps(sent).encode(), {}, "msg_1")


def test_the_median_error_of_the_uncorrected_estimate_is_at_most_10_percent() -> None:
    errors = {
        f"{at} {value['kind']}": weigh(body(value), value["tools"]).text / value["tokens"] - 1
        for at, value in enumerate(SAMPLES)
    }
    assert len(errors) >= 30
    assert median(map(abs, errors.values())) <= 0.1
    worst = max(errors, key=lambda name: abs(errors[name]))
    assert abs(errors[worst]) <= 0.2, f"{worst}: {errors[worst]:+.0%}"


@pytest.mark.parametrize("true_factor", [0.7, 1.0, 1.4])
def test_three_answers_correct_the_estimate_for_another_tokenizer(true_factor: float) -> None:
    counter = Counter()
    text = "the quick brown fox jumps over the lazy dog, and again. " * 200
    received = request(text)
    sent = completions.request(received, TARGET).body
    true = round(weigh(sent).text * true_factor)
    for _ in range(3):
        counter.learn("m", counter.estimate(received, "m", sent), true)
    assert counter.tokens("m", sent) == pytest.approx(true, rel=0.02)
    assert counter.estimate(received, "m").tokens == pytest.approx(true, rel=0.02)
    assert counter.tokens("other", sent) == pytest.approx(weigh(sent).text, rel=0.01), "each model for itself"


@pytest.mark.parametrize("wrong", [1_001, 5_000_000])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_single_wrong_count_changes_nothing(wrong: int, before: int) -> None:
    counter = Counter()
    for _ in range(before):
        counter.learn("m", Estimate(2000, 8000, 2000.0), 2000)
    sent = completions.request(request("word " * 2000), TARGET).body
    right = counter.tokens("m", sent)
    counter.learn("m", Estimate(2000, 8000, 2000.0), wrong)
    assert counter.tokens("m", sent) == right


def test_nothing_is_learned_from_short_prompts() -> None:
    counter = Counter()
    for _ in range(20):
        counter.learn("m", Estimate(500, 2000, 500.0), 999)
    assert counter.estimate(request("x" * 4000), "m").tokens == round(request("x" * 4000).size / 4)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.floats(0, 1e7)), max_size=30))
def test_the_correction_stays_between_a_half_and_two(reports: list[tuple[int, int, float]]) -> None:
    counter = Counter()
    for tokens, size, weight in reports:
        counter.learn("m", Estimate(1, size, weight), tokens)
    sent = completions.request(request("some words " * 100), TARGET).body
    plain = Counter().tokens("m", sent)
    assert plain // 2 <= counter.tokens("m", sent) <= plain * 2 + 1


def test_prompts_are_weighed_less_often_once_enough_is_learned() -> None:
    counter = Counter()
    received = request("word " * 2000)
    sent = completions.request(received, TARGET).body
    weighed = 0
    for _ in range(200):
        guess = counter.estimate(received, "m", sent)
        weighed += guess.weight > 0
        counter.learn("m", guess, 2010)
    assert 9 <= weighed <= 13


@given(st.text())
def test_any_text_has_an_estimate(text: str) -> None:
    tokens = text_tokens(text.encode())
    assert 0 <= tokens <= 5 * len(text.encode()) + 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda item: st.lists(item) | st.dictionaries(st.text(max_size=9), item),
    )
)
def test_any_body_has_a_weight(value: Any) -> None:
    for sent in (value, {"messages": [value]}, {"messages": [{"role": "user", "content": value}], "system": value}):
        assert weigh(json.dumps(sent).encode()).text >= 0


def test_an_estimate_takes_time_in_proportion_to_the_text() -> None:
    def body(lines: int) -> bytes:
        text = "def some_name(self) -> int:\n    return 42\n" * lines
        return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()

    assert_linear(body, weigh)


# --- images and files -------------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    head = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 100_000


PICTURES = {
    "png": png(300, 500),
    "gif": b"GIF89a" + struct.pack("<HH", 300, 500) + b"\0" * 50,
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF"
    + b"\0" * 10
    + b"\xff\xc0\x00\x11\x08"
    + struct.pack(">HH", 500, 300)
    + b"\0" * 20,
    "webp lossy": b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 300, 500) + b"\0" * 20,
    "webp lossless": b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 299 | 499 << 14) + b"\0" * 20,
    "webp extended": b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0"
    + (299).to_bytes(3, "little")
    + (499).to_bytes(3, "little"),
}


@pytest.mark.parametrize("form", PICTURES)
def test_an_image_counts_by_its_width_and_height(form: str) -> None:
    assert image_tokens(base64.b64encode(PICTURES[form]).decode()) == 300 * 500 // 750


def test_a_large_image_and_an_unknown_format_count_as_the_maximum() -> None:
    assert image_tokens(base64.b64encode(png(8000, 6000)).decode()) == 1600
    assert image_tokens("AAAA") == image_tokens("not base64!") == image_tokens("") == 1600


@given(st.binary(max_size=200), st.sampled_from(sorted(PICTURES)), st.integers(0, 60))
def test_a_broken_image_has_an_estimate(noise: bytes, form: str, cut: int) -> None:
    assert 85 <= image_tokens(base64.b64encode(PICTURES[form][:cut] + noise).decode()) <= 1600


@pytest.mark.parametrize("vendor", ["generic", "anthropic"])
def test_an_image_in_a_request_counts_by_its_size_and_nothing_is_learned(vendor: str) -> None:
    data = base64.b64encode(png(300, 500)).decode()
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    received = request(messages=[{"role": "user", "content": [{"type": "text", "text": "word " * 3000}, picture]}])
    sent = completions.request(received, TARGET).body if vendor == "generic" else received.body
    counter = Counter()
    assert weigh(sent).media == 200
    assert 3000 < counter.tokens("m", sent) < 3600
    guess = counter.estimate(received, "m", sent)
    assert guess.tokens < 6000
    for _ in range(9):
        counter.learn("m", guess, 100_000)
    assert counter.estimate(received, "m") == msgspec.structs.replace(guess, weight=0.0)


def test_a_passed_on_file_counts_by_its_pages() -> None:
    data = base64.b64encode(b"%PDF-1.4" + b"<</Type /Page>>" * 3 + b"<</Type /Pages>>").decode()
    part = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}"}}
    assert weigh(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()).media == 6000


def test_base64_inside_a_text_counts_as_text() -> None:
    data = base64.b64encode(bytes(range(256)) * 20).decode()
    sent = completions.request(request(f'{{"url":"data:image/png;base64,{data}"}}'), TARGET).body
    assert weigh(sent).media == 0
    assert weigh(sent).text > len(data) / 3


def test_tools_that_the_template_does_not_show_are_not_counted() -> None:
    tools = [{"name": "Read", "description": "Reads a file. " * 50, "input_schema": {"type": "object"}}]
    received = request("hi", tools=tools)
    sent = completions.request(received, TARGET).body
    assert weigh(sent, False).text < 40 < 200 < weigh(sent).text
    counter = Counter()
    assert counter.estimate(received, "m", tools=False).tokens < counter.estimate(received, "m").tokens - 150


# --- what follows from a count ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "exact", "window", "refused"),
    [
        (1000, None, None, False),
        (9830, None, 8192, False),
        (9831, None, 8192, True),
        (99_999, 8192, 8192, False),
        (1, 8193, 8192, True),
    ],
)
def test_only_a_prompt_that_cannot_fit_is_rejected(
    estimate: int, exact: int | None, window: int | None, refused: bool
) -> None:
    problem = refuses(estimate, exact, window)
    assert (problem is not None) == refused
    if problem is not None:
        tokens = exact or estimate
        assert (problem.kind, problem.row.status) == ("prompt_too_long", 400)
        assert problem.message == f"prompt is too long: {tokens} tokens > {window} maximum"
        assert problem.facts == {"tokens": tokens, "window": window}


def test_a_short_body_is_not_estimated() -> None:
    assert not may_exceed(10**9, None)
    assert not may_exceed(60_000, 32_768)
    assert may_exceed(60_000, 8192)
