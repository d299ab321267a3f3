"""The Responses protocol: reasoning that goes back, stop sequences, what a strict server accepts, and growth."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
import responsesfake as fake
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st

from byway.backends.protocol import Target
from byway.backends.responses import responses
from byway.backends.vendors import VENDORS
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.problems import Problem

USER = {"role": "user", "content": "Read it."}
TOOL = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
ARGUMENTS = '{"path":"a"}'


def target(key: bytes = b"one", vendor: str = "openai", model: str = "gpt-5.6") -> Target:
    return Target("box", model, VENDORS[vendor].by("responses"), key=key)


def request(*turns: dict[str, Any], **fields: Any) -> Request:
    body = {"model": "m", "max_tokens": 64, "stream": True, "tools": [TOOL], "thinking": {"type": "adaptive"}}
    return parse(json.dumps({**body, "messages": [USER, *turns], **fields}).encode(), {}, "msg_1")


def answer(*output: dict[str, Any], value: Request | None = None, at: Target | None = None) -> dict[str, Any]:
    """The message that a client gets when the server streams `output`."""
    reader = responses.reader(value or request(), at or target())
    parts = [*reader.feed(fake.encode(fake.stream(*output))), *reader.close()]
    return cast(dict[str, Any], json.loads(fold(parts)))


def returned(content: list[dict[str, Any]], at: Target | None = None) -> list[dict[str, Any]]:
    """The items that go back to the server in the next turn of a tool loop."""
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "7"}
        for block in content
        if block["type"] == "tool_use"
    ]
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "content": content},
        {"role": "user", "content": results or "And?"},
    ]
    body = responses.request(request(*turns), at or target()).body
    return cast(list[dict[str, Any]], fake.check_request(body)["input"])


LOOP = [
    fake.reasoning("First.", "Second."),
    fake.message("I look.", phase="commentary"),
    fake.call("call_1", "Read", ARGUMENTS),
    fake.call("call_2", "Read", '{"path":"b"}'),
]


def test_a_strict_server_accepts_a_tool_loop_of_four_turns() -> None:
    turns: list[dict[str, Any]] = []
    for number in range(4):
        output = [fake.reasoning(f"Step {number}."), fake.call(f"call_{number}", "Read", ARGUMENTS)]
        sent = fake.check_request(responses.request(request(*turns), target()).body)
        assert [item["type"] for item in sent["input"]].count("reasoning") == number
        content = answer(*output)["content"]
        result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": f"result {number}"}
        turns += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    assert fake.check_request(responses.request(request(*turns), target()).body)["input"][-1]["output"] == "result 3"


def test_reasoning_goes_back_as_it_was_sent_before_the_item_that_it_led_to() -> None:
    items = returned(answer(*LOOP)["content"])
    assert items[1] == {**LOOP[0], "id": "rs_0"}
    assert items[2] == {"type": "message", "role": "assistant", "content": "I look.", "phase": "commentary"}
    assert [item["type"] for item in items[3:]] == ["function_call"] * 2 + ["function_call_output"] * 2


def test_each_reasoning_item_goes_back_as_an_item_of_its_own() -> None:
    output = [fake.reasoning("A.", encrypted="gAAAAone"), fake.reasoning(encrypted="gAAAAtwo"), LOOP[2]]
    message = answer(*output)
    assert [block["type"] for block in message["content"]] == ["thinking", "thinking", "tool_use"]
    items = returned(message["content"])
    assert [item.get("encrypted_content") for item in items[1:3]] == ["gAAAAone", "gAAAAtwo"]


def test_reasoning_between_two_calls_goes_back_between_them() -> None:
    output = [fake.reasoning("A."), LOOP[2], fake.reasoning(encrypted="gAAAAtwo"), LOOP[3]]
    items = returned(answer(*output)["content"])
    kinds = [item["type"] for item in items[1:5]]
    assert kinds == ["reasoning", "function_call", "reasoning", "function_call"]


def test_the_phase_of_later_messages_follows_from_their_place() -> None:
    first = answer(*LOOP)["content"]
    results = [{"type": "tool_result", "tool_use_id": id, "content": "7"} for id in ("call_1", "call_2")]
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "content": first},
        {"role": "user", "content": results},
        {"role": "assistant", "content": "It is 7."},
        {"role": "user", "content": "Thanks."},
    ]
    items = fake.check_request(responses.request(request(*turns), target()).body)["input"]
    (last,) = [item for item in items if item.get("content") == "It is 7."]
    assert last["phase"] == "final_answer"


@pytest.mark.parametrize(
    "at", [target(b"two"), target(b"two", "generic", "local")], ids=["other account", "other vendor"]
)
def test_another_backend_gets_no_reasoning(at: Target) -> None:
    items = returned(answer(*LOOP)["content"], at)
    assert "reasoning" not in {item["type"] for item in items}


def test_reasoning_whose_text_was_changed_does_not_go_back() -> None:
    content = answer(*LOOP)["content"]
    content[0]["thinking"] = "Something else."
    assert "reasoning" not in {item["type"] for item in returned(content)}


def test_reasoning_without_encrypted_content_is_not_sent_to_a_server_that_stores_nothing() -> None:
    content = answer(fake.reasoning("A.", encrypted=None), LOOP[2])["content"]
    assert content[0]["thinking"] == "A."
    assert "reasoning" not in {item["type"] for item in returned(content)}


def test_readable_reasoning_goes_back_to_the_server_that_sent_it() -> None:
    at = target(vendor="vllm", model="gpt-oss")
    content = answer(fake.reasoning(encrypted=None, content=("Let me see.",)), LOOP[2], at=at)["content"]
    turns = [{"role": "assistant", "content": content}, USER]
    sent = json.loads(responses.request(request(*turns), at).body)["input"]
    assert sent[1] == {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Let me see."}],
    }


def test_reasoning_without_a_following_item_is_left_out() -> None:
    content = answer(fake.reasoning("A."))["content"]
    turns = [{"role": "assistant", "content": content}, {"role": "user", "content": "Go on."}]
    items = fake.check_request(responses.request(request(*turns), target()).body)["input"]
    assert [item["type"] for item in items] == ["message", "message"]


def test_a_whole_answer_equals_the_streamed_one() -> None:
    reader = responses.reader(request(), target())
    parts = [*reader.feed(fake.whole(*LOOP)), *reader.close()]
    assert json.loads(fold(parts)) == answer(*LOOP)


def test_the_count_of_a_prompt_is_requested_with_the_fields_that_it_depends_on() -> None:
    call = responses.count(request(), target())
    assert call is not None and call.path == "/v1/responses/input_tokens"
    assert set(json.loads(call.body)) == {"model", "tools", "input", "reasoning"}
    assert responses.count(request(), target(vendor="generic")) is None


def test_a_conversation_keeps_its_cache_key_and_another_one_has_its_own() -> None:
    def key(value: Request) -> str:
        return str(json.loads(responses.request(value, target()).body)["prompt_cache_key"])

    later = request({"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"})
    other = request(messages=[{"role": "user", "content": "Another question."}])
    assert key(request()) == key(later) != key(other)


# ------------------------------------------------------------------------------------------------------------ stopping


def test_a_stop_sequence_ends_the_text_and_the_answer() -> None:
    message = answer(
        fake.message("One </b> EN two END three"), value=request(stop_sequences=["END", "</a>"]), at=target()
    )
    assert message["content"] == [{"type": "text", "text": "One </b> EN two ", "citations": None}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_text_that_only_begins_like_a_stop_sequence_is_complete() -> None:
    message = answer(fake.message("One EN"), value=request(stop_sequences=["END"]))
    assert message["content"] == [{"type": "text", "text": "One EN", "citations": None}]
    assert message["stop_reason"] == "end_turn"


_VALUES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.text("ab{}[]", max_size=3)
    | st.just([])
    | st.just({"type": "x"})
)


def _changed(value: Any, data: st.DataObject) -> Any:
    """A copy of an event in which some values are of another kind."""
    if data.draw(st.integers(0, 12)) == 0:
        return data.draw(_VALUES)
    if isinstance(value, dict):
        return {name: _changed(inner, data) for name, inner in value.items() if data.draw(st.integers(0, 20))}
    return [_changed(inner, data) for inner in value] if isinstance(value, list) else value


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_an_answer_of_any_shape_is_read_or_is_a_problem(data: st.DataObject) -> None:
    slim = [{**event, "response": {"status": "completed"}} if "response" in event else event for event in _EVENTS]
    reader = responses.reader(request(), target())
    try:
        parts = list(reader.feed(fake.joined([{"type": "", **_as_event(_changed(event, data))} for event in slim])))
        fold([*parts, *reader.close()])
    except Problem:
        pass


def _as_event(value: Any) -> dict[str, Any]:
    event = value if isinstance(value, dict) else {"value": value}
    return event if isinstance(event.get("type"), str) else {**event, "type": ""}


_EVENTS = fake.stream(*LOOP[:3], pieces=9)


# -------------------------------------------------------------------------------------------------------------- growth


def _turns(count: int) -> list[dict[str, Any]]:
    content = answer(*LOOP)["content"]
    results = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in ("call_1", "call_2")]
    return [{"role": "assistant", "content": content}, {"role": "user", "content": results}] * count


REQUESTS: dict[str, Callable[[int], Request]] = {
    "turns with reasoning": lambda n: request(*_turns(n)),
    "calls of one turn": lambda n: request(
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": f"c{at}", "name": "Read", "input": {}} for at in range(n)],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": f"c{at}", "content": "x"} for at in range(n)],
        },
    ),
    "texts of an assistant's turn": lambda n: request(
        {"role": "assistant", "content": [{"type": "text", "text": "word " * 5}] * n}, USER
    ),
    "texts of one turn": lambda n: request({"role": "user", "content": [{"type": "text", "text": "word " * 5}] * n}),
}
ANSWERS: dict[str, Callable[[int], bytes]] = {
    "pieces of text": lambda n: fake.joined(fake.stream(fake.message("word " * n), pieces=5)),
    "pieces of a summary": lambda n: fake.joined(fake.stream(fake.reasoning("word " * n), pieces=5)),
    "pieces of arguments": lambda n: fake.joined(
        fake.stream(fake.call("c", "Read", json.dumps({"path": "word " * n})), pieces=5)
    ),
    "items": lambda n: fake.joined(fake.stream(*[fake.message("word")] * n)),
    "reasoning items": lambda n: fake.joined(fake.stream(*[fake.reasoning("word"), fake.message("x")] * (n // 2))),
    "one long line": lambda n: fake.joined(fake.stream(fake.message("word " * 20 * n), pieces=1 << 30)),
}
#: Items of an answer, and lines that are shorter than the limit of an event.
BOUNDS = {"items": 10_000, "reasoning items": 10_000, "one long line": 300_000}


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_work_on_a_request_is_linear(kind: str) -> None:
    assert_linear(REQUESTS[kind], lambda value: responses.request(value, target()), 200)


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_work_on_an_answer_is_linear(kind: str) -> None:
    assert_linear(ANSWERS[kind], lambda data: _read(request(), data), 400, BOUNDS.get(kind))


def test_the_work_on_stop_sequences_is_linear() -> None:
    assert_linear(ANSWERS["pieces of text"], lambda data: _read(request(stop_sequences=["word END" * 9]), data), 400)


def _read(value: Request, data: bytes) -> None:
    reader = responses.reader(value, target())
    for at in range(0, len(data), 4096):
        reader.feed(data[at : at + 4096])
    reader.close()


@pytest.mark.parametrize("text", [b"\xff", b"\\ud83d", b"\xe2\x82"])
def test_an_error_with_broken_characters_is_reported(text: bytes) -> None:
    data = b'{"type":"error","message":"Slow down' + text + b'","code":"rate_limit_exceeded"}'
    reader = responses.reader(request(), target())
    reader.feed(b"event: error\ndata: " + data + b"\n\n")
    with pytest.raises(Problem, match="Slow down") as caught:
        reader.close()
    assert caught.value.kind == "rate_limit"


def test_what_is_remembered_of_items_and_parts_does_not_grow_with_their_events() -> None:
    reader = responses.reader(request(), target())
    for number in range(12_000):
        added = {"type": "response.output_item.added", "output_index": 0, "item": {"type": "x", "id": f"i{number}"}}
        part = {"type": "response.reasoning_summary_part.added", "output_index": 0, "item_id": "i0"}
        reader.feed(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (added, part, part)))
    assert len(reader._places) <= 10_000 and len(reader._items[0].summary) <= 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["summary_index", "content_index"])
@pytest.mark.parametrize("index", [-1, -7, 10**30, None, "1", True])
def test_thinking_at_any_place_is_kept(place: str, index: object) -> None:
    kind = "response.reasoning_summary_text.delta" if place == "summary_index" else "response.reasoning_text.delta"
    reader = responses.reader(request(), target())
    thinking = {"type": kind, "output_index": 0, place: index, "delta": "Let me see."}
    end = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    parts = reader.feed(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (thinking, end)))
    assert "Let me see." in json.loads(fold([*parts, *reader.close()]))["content"][0]["thinking"]
