"""The Anthropic protocol where an answer of another server is not passed through unchanged."""

from __future__ import annotations

import json

import pytest

from byway.backends import anthropic
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages.events import Passthrough
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


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_in_a_form_of_minimax_is_the_problem_that_it_names(stream: bool) -> None:
    reader = anthropic.reader(parse(json.dumps({**BODY, "stream": stream}).encode(), {}, "msg_1"), TARGET)
    reader.feed(b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}')
    with pytest.raises(Problem, match="insufficient balance") as caught:
        reader.close()
    assert caught.value.kind == "billing"
