"""Malformed and hostile input from clients, backends and headers: each gets an answer, none an internal failure."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from casefile import CASES, Case, Reply, Turn
from growth import assert_linear
from test_line import Network, ask
from test_readers import MODULES, REQUEST, run

from byway.backends import anthropic, errors
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages import request as messages
from byway.messages import sse
from byway.messages.events import Passthrough
from byway.messages.sse import EVENT_LIMIT, Decoder
from byway.messages.stream import fold, unfold
from byway.pipeline import exchange
from byway.problems import MESSAGE_LIMIT, Problem
from byway.scrub import Scrubber
from byway.server.checks import host_name


def test_the_model_of_a_body_with_many_model_fields_is_replaced_in_linear_time() -> None:
    def request(count: int) -> messages.Request:
        content = [{"type": "text", "text": "a", "x": [{"model": "m"}] * count}]
        many = [{"role": "user", "content": content}]
        return messages.parse(
            json.dumps({"messages": many, "max_tokens": 1, "model": "claude-x"}).encode(), {}, "msg_1"
        )

    small = json.loads(request(3).patched("other"))
    assert small["model"] == "other" and small["messages"][0]["content"][0]["x"] == [{"model": "m"}] * 3
    assert_linear(request, lambda parsed: parsed.patched("other"))


def test_the_model_is_renamed_in_a_message_start_with_many_model_fields() -> None:
    message = {"x": [{"model": "m"}] * 100, "model": "claude-y", "usage": {"input_tokens": 1, "output_tokens": 1}}
    data = json.dumps({"type": "message_start", "message": message}).encode()
    tap = anthropic.reader(REQUEST, Target("box", "claude-y", VENDORS["anthropic"]))
    (event,) = tap.feed(b"event: message_start\ndata: " + data + b"\n\n")
    assert isinstance(event, Passthrough)
    assert json.loads(event.data.partition(b"data: ")[2])["message"]["model"] == REQUEST.model


@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_an_endless_event_is_broken(size: int) -> None:
    decoder = Decoder()
    decoder.feed(b"data: a")
    with pytest.raises(Problem, match="did not end"):
        for _ in range(EVENT_LIMIT // size + 1):
            decoder.feed(b"a" * size)


def test_an_endless_event_of_many_lines_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.messages.sse.EVENT_LIMIT", 1 << 20)
    decoder = Decoder()
    decoder.feed(b"data: a\n" * 125_000)
    with pytest.raises(Problem, match="an event of over 1 MiB that did not end"):
        decoder.feed(b"data: a\n" * 125_000)


def test_an_endless_event_of_an_anthropic_backend_is_broken() -> None:
    tap = anthropic.reader(REQUEST, Target("box", "claude-y", VENDORS["anthropic"]))
    with pytest.raises(Problem, match="an event of over"):
        for _ in range(EVENT_LIMIT // (1 << 20) + 2):
            tap.feed(b"event: content_block_delta\ndata: " + b"a" * (1 << 20))


def test_a_long_event_in_small_pieces_is_decoded_in_linear_time() -> None:
    def pieces(count: int) -> list[bytes]:
        # Small, so that the limit of an event is not reached however fast the machine is.
        return [b"data: ", *[b"a" * 8] * count, b"\n\n"]

    def decode(chunks: list[bytes]) -> list[tuple[str, bytes]]:
        decoder = Decoder()
        return [event for chunk in chunks for event in decoder.feed(chunk)]

    (event,) = decode(pieces(10))
    assert len(event[1]) == 80
    assert_linear(pieces, decode)


@pytest.mark.parametrize("stream", [True, False])
def test_deeply_nested_content_is_broken(stream: bool) -> None:
    nested: Any = "a"
    for _ in range(450):
        nested = [nested]
    part = {"delta" if stream else "message": {"content": nested}, "finish_reason": "stop"}
    data = json.dumps({"choices": [part]}).encode()
    _, problem = run(*MODULES[0], [b"data: " + data + b"\n\n" if stream else data])
    assert problem is None or problem.kind == "broken"


ODD: tuple[Any, ...] = (
    {"type": "message", "content": "text", "usage": {}},
    {"type": "message", "content": [3], "usage": {}},
    {"type": "message", "content": [{}], "usage": []},
    {"type": "message", "content": [{"type": "text", "text": 3}], "usage": {"output_tokens": "many"}},
    {"type": "message", "content": {"a": 1}, "usage": {}},
    [],
    3,
)


@pytest.mark.parametrize("odd", ODD)
def test_a_malformed_messages_answer_is_broken_or_read(odd: Any) -> None:
    try:
        unfold(json.dumps(odd).encode())
    except Problem as problem:
        assert problem.kind == "broken"


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}],
        [{"type": "message_start", "message": {}}, {"type": "content_block_start", "index": 0}],
        [
            {"type": "message_start", "message": {"content": []}},
            {"type": "content_block_delta", "index": 9, "delta": {}},
        ],
        [{"type": "message_start", "message": []}],
        [{"no": "type"}],
        [3],
    ],
)
def test_malformed_events_are_broken(items: list[Any]) -> None:
    frames = [Passthrough(b"data: " + json.dumps(item).encode() + b"\n\n", "content") for item in items]
    with pytest.raises(Problem) as raised:
        fold(frames)
    assert raised.value.kind == "broken"


@pytest.mark.parametrize(
    "text",
    [
        f"This model's maximum context length is {'9' * 400} tokens. However, you requested {'9' * 400} tokens",
        f"prompt is too long: {'9' * 300} tokens > {'9' * 300} maximum",
        f"max_tokens: {'9' * 300} > {'9' * 300}, which is the maximum allowed",
    ],
)
def test_huge_numbers_in_errors_are_ignored(text: str) -> None:
    problem = errors.from_response(
        400, {"retry-after": "inf"}, json.dumps({"error": {"message": text}}).encode(), backend="b"
    )
    assert all(not isinstance(fact, int) or fact < 1 << 53 for fact in problem.facts.values())
    assert problem.retry_after is None or problem.retry_after <= 86_400


@pytest.mark.parametrize(
    "body", [b'{"input_tokens":1e30}', b'{"input_tokens":-1}', b'{"input_tokens":' + b"9" * 40 + b"}"]
)
def test_an_invalid_token_count_is_broken(body: bytes) -> None:
    with pytest.raises(Problem, match="cannot be read"):
        completions.read_count(body)


def test_a_cut_message_shows_no_half_secret() -> None:
    secret = "sesame-0123456789"
    problem = Problem("upstream", "x" * (MESSAGE_LIMIT - 8) + secret + " and more")
    assert "sesame" not in Scrubber([secret]).scrub(problem.message)


@pytest.mark.parametrize(
    "form", ["se+sa/me-0123456789", "SE+SA/ME-0123456789", "se%2Bsa%2Fme-0123456789", "c2Urc2EvbWUtMDEyMzQ1Njc4OQ=="]
)
def test_encoded_secrets_are_scrubbed(form: str) -> None:
    assert "[secret]" in Scrubber(["se+sa/me-0123456789"]).scrub(f"refused: {form}!")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:38080", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("LocalHost", "localhost"),
        ("[::1]evil", ""),
        ("[::1].evil:80", ""),
        ("127.0.0.1:80@evil", ""),
        ("127.0.0.1/evil", ""),
        ("a b", ""),
        ("", ""),
    ],
)
def test_the_host_header_is_a_name_with_an_optional_port(host: str, name: str) -> None:
    assert host_name(host) == name


def test_an_endless_answer_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_ANSWER_LIMIT", 1000)
    body = json.dumps({"choices": [{"message": {"content": "a" * 2000}, "finish_reason": "stop"}]}).encode()
    request = Turn(
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}', replies=[Reply(200, {}, body)]
    )
    case = Case(CASES / "openai" / "long.case", "", {}, [request])
    status, _, value = asyncio.run(ask(case, request, Network(request.replies)))
    assert status == 502 and b"did not end" in value


def test_the_size_limit_of_the_decoder_is_per_event() -> None:
    decoder = Decoder()
    for _ in range(40):
        assert decoder.feed(b"data: " + b"a" * (1 << 20) + b"\n\n")
    assert sse.EVENT_LIMIT < 40 << 20
