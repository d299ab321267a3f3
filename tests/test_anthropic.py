"""The Anthropic protocol where an answer of another server is not passed through unchanged."""

from __future__ import annotations

import json

import pytest

from byway.backends import anthropic
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.fronts import chat
from byway.messages.events import BilledUsage, Passthrough, WholeAnswer
from byway.messages.request import parse
from byway.problems import Problem

TARGET = Target("box", "MiniMax-M3", VENDORS["anthropic"])
BODY = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
START = {"type": "message_start", "message": {"model": "MiniMax-M3", "content": [], "usage": {"input_tokens": 10}}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "more": 1}


def events(*sent: object) -> list[dict[str, object]]:
    """What a client gets of these events."""
    reader = anthropic.reader(parse(json.dumps({**BODY, "stream": True}).encode(), {}, "msg_1"), TARGET)
    data = b"".join(b"event: x\ndata: %b\n\n" % json.dumps(event).encode() for event in sent)
    parts = [*reader.feed(data), *reader.close()]
    text = b"".join(part.data for part in parts if isinstance(part, Passthrough)).decode()
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n") if line.startswith("data: ")]


def test_a_message_delta_without_usage_gets_one_because_the_sdks_require_it() -> None:
    sent = events(START, END, {"type": "message_stop"})
    assert sent[1] == {**END, "usage": {"output_tokens": 0}}


def test_a_message_delta_with_usage_is_passed_through() -> None:
    end = {**END, "usage": {"output_tokens": 7, "other": 1}}
    assert events(START, end, {"type": "message_stop"})[1] == end


@pytest.mark.parametrize("usage", [[], "", 7, {"input_tokens": "10", "output_tokens": 2.0}])
def test_a_usage_of_another_type_does_not_break_an_answer(usage: object) -> None:
    message = {"model": "MiniMax-M3", "content": [], "usage": usage}
    sent = events({**START, "message": message}, {**END, "usage": usage}, {"type": "message_stop"})
    output = 2 if isinstance(usage, dict) else 0
    assert [event["type"] for event in sent] == ["message_start", "message_delta", "message_stop"]
    assert sent[1]["usage"] == ({"input_tokens": None} if output else {}) | {"output_tokens": output}
    reader = anthropic.reader(parse(json.dumps(BODY).encode(), {}, "msg_1"), TARGET)
    reader.feed(json.dumps({"type": "message", "stop_reason": "end_turn", **message}).encode())
    (whole,) = reader.close()
    assert isinstance(whole, WholeAnswer)
    assert whole.usage == BilledUsage(output_tokens=output)
    assert json.loads(whole.data)["usage"] == {"input_tokens": None if output else 0, "output_tokens": output}


BILLED = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 50,
    "cache_read_input_tokens": 7,
    "output_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "standard",
    "speed": "fast",
}


@pytest.mark.parametrize("stream", [True, False])
def test_the_counts_that_anthropic_bills_differently_are_read(stream: bool) -> None:
    reader = anthropic.reader(parse(json.dumps({**BODY, "stream": stream}).encode(), {}, "msg_1"), TARGET)
    if stream:
        start = {"type": "message_start", "message": {"model": "m", "content": [], "usage": BILLED}}
        end = {**END, "usage": {"output_tokens": 9}}
        sent = b"".join(b"event: x\ndata: %b\n\n" % json.dumps(event).encode() for event in (start, end))
    else:
        sent = json.dumps({"type": "message", "content": [], "usage": {**BILLED, "output_tokens": 9}}).encode()
    parts = [*reader.feed(sent), *reader.close()]
    usage = next(part.usage for part in reversed(parts) if getattr(part, "usage", None) is not None)  # type: ignore[union-attr]
    assert usage == BilledUsage(10, 50, 7, 9, cache_write_1h_tokens=30, web_searches=2, fast=True)


@pytest.mark.parametrize(
    "odd", [{"cache_creation": 5}, {"cache_creation": {"ephemeral_1h_input_tokens": None}}, {"server_tool_use": []}]
)
def test_counts_in_another_form_are_ignored(odd: dict[str, object]) -> None:
    reader = anthropic.reader(parse(json.dumps(BODY).encode(), {}, "msg_1"), TARGET)
    body = {"type": "message", "content": [], "usage": {"input_tokens": 10, "output_tokens": 9, **odd}}
    (part,) = [*reader.feed(json.dumps(body).encode()), *reader.close()]
    assert isinstance(part, WholeAnswer) and part.usage == BilledUsage(10, 0, 0, 9)


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_in_a_form_of_minimax_is_the_problem_that_it_names(stream: bool) -> None:
    reader = anthropic.reader(parse(json.dumps({**BODY, "stream": stream}).encode(), {}, "msg_1"), TARGET)
    reader.feed(b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}')
    with pytest.raises(Problem, match="insufficient balance") as caught:
        reader.close()
    assert caught.value.kind == "billing"


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 7}, {"max_completion_tokens": 8}])
def test_a_chat_completion_without_a_limit_gets_one(limit: dict[str, int]) -> None:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "Hi"}], **limit}
    request, _ = chat.read(json.dumps(body).encode(), {}, "msg_1")
    sent = json.loads(anthropic.request(request, TARGET).body)
    assert sent["max_tokens"] == next(iter(limit.values()), 32_000)
    assert sent["model"] == "MiniMax-M3" and sent["messages"]
