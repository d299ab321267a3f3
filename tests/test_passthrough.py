"""Chat completions that pass through to a backend that speaks the same protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from byway.backends.openai import passthrough
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.fronts import chat
from byway.messages.events import Part, Passthrough
from byway.messages.request import Request
from byway.problems import Problem

TARGET = Target("box", "local", VENDORS["generic"])


def chat_request(**body: Any) -> Request:
    full = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **body}
    return chat.read(json.dumps(full).encode(), {}, "msg_x")[0]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"model": "local", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def stream(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(item).encode() for item in chunks) + b"data: [DONE]\n\n"


def frames(request: Request, *pieces: bytes) -> list[Passthrough]:
    reader = passthrough.PassthroughReader(request, TARGET)
    events: list[Part] = []
    for piece in pieces:
        if not reader.finished:
            events += reader.feed(piece)
    return [event for event in [*events, *reader.close()] if isinstance(event, Passthrough)]


def joined(parts: list[Passthrough]) -> bytes:
    return b"".join(part.data for part in parts)


CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
CALLS = stream(
    chunk({"role": "assistant", "content": None}),
    chunk({"tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}),
    chunk({}, "tool_calls"),
)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_is_the_same_wherever_it_is_cut(end: bytes) -> None:
    data = CALLS.replace(b"\n", end)
    whole = joined(frames(chat_request(), data))
    assert whole.count(b"tool_calls") == 3 and whole.endswith(b"data: [DONE]\n\n")
    for at in range(1, len(data)):
        assert joined(frames(chat_request(), data[:at], data[at:])) == whole, data[:at]


def test_a_stream_that_ends_in_the_middle_is_an_error() -> None:
    ends = CALLS.index(b'"finish_reason": "tool_calls"')
    for at in range(0, ends, 7):
        with pytest.raises(Problem) as caught:
            frames(chat_request(), CALLS[:at])
        assert caught.value.kind == "broken"


@pytest.mark.parametrize("name", ["function_call", "audio", "annotations", "reasoning_details"])
def test_unknown_fields_of_a_delta_count_as_content(name: str) -> None:
    # A head that is committed early drops the beginnings that come behind it, and content must not be among them.
    parts = frames(
        chat_request(),
        stream(chunk({"role": "assistant", "content": ""}), chunk({name: {"x": "y"}}), chunk({}, "stop")),
    )
    assert [part.kind for part in parts[:2]] == ["start", "content"] and name.encode() in parts[1].data


def test_an_event_of_several_data_lines_is_sent_as_one_line() -> None:
    lines = json.dumps(chunk({"content": "a\nb"}), indent=1).encode().replace(b"\n", b"\ndata: ")
    (first, *_) = frames(chat_request(), b"data: %b\n\n" % lines, stream(chunk({}, "stop")))
    assert first.data.startswith(b"data: {") and first.data.count(b"\n") == 2
    assert json.loads(first.data[6:])["choices"][0]["delta"]["content"] == "a\nb"


def test_usage_is_requested_beside_the_clients_own_stream_options() -> None:
    sent = json.loads(passthrough.request(chat_request(stream_options={"include_obfuscation": False}), TARGET).body)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True} and sent["model"] == "local"


@pytest.mark.parametrize("given", [{}, {"stream_options": None}, {"stream_options": {}}])
def test_usage_is_requested_once_whatever_the_client_has_sent_of_it(given: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **given})
    request, _ = chat.outline(b" " + body.encode(), {}, "msg_x")
    sent = passthrough.request(request, TARGET).body
    assert json.loads(sent)["stream_options"] == {"include_usage": True} and sent.count(b"stream_options") == 1
    assert json.loads(sent)["model"] == "local" and json.loads(sent)["messages"][0]["content"] == "hi"


@pytest.mark.parametrize(
    "choice",
    [{"message": "no"}, {"message": {"tool_calls": 5}}, {"message": {"tool_calls": ["x"]}}, {"message": None}, {}],
)
def test_an_incomplete_whole_answer_is_passed_on_as_a_stream(choice: dict[str, Any]) -> None:
    (only,) = frames(chat_request(), json.dumps({"model": "local", "choices": [choice]}).encode())
    assert only.data.startswith(b'data: {"model":"m"') and only.data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_web_page_instead_of_an_answer_is_a_problem_with_advice(streamed: bool) -> None:
    with pytest.raises(Problem, match="web page instead of JSON") as caught:
        frames(chat_request(stream=streamed), b"\n<html><body>Log in</body></html>")
    assert caught.value.kind == "broken"
