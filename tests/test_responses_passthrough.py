"""Responses between a client and a backend of the same API: bytes pass through however they are cut, and failures are seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import responsesfake as fake
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples, stride

from byway.backends.protocol import Target
from byway.backends.responses import responses as backend
from byway.backends.vendors import VENDORS
from byway.fronts import responses
from byway.fronts.responseevents import NewResponse, ResponseWriter
from byway.fronts.responsetools import Names
from byway.messages import carriers
from byway.messages.events import (
    MessageStart,
    MessageUsage,
    Part,
    Passthrough,
    Ping,
    Started,
    WholeAnswer,
    has_content,
)
from byway.messages.request import Request
from byway.messages.stream import Writer
from byway.problems import Problem
from byway.responseitems import ResponseObject

OPENAI = Target("cloud", "gpt-5.6", VENDORS["openai"].by("responses"), key=b"k")
OTHER = Target("box", "local", VENDORS["vllm"].by("responses"), key=b"k")
OUTPUT = (fake.reasoning("Hm."), fake.message("Hello there."), fake.call("c1", "look", '{"path":"a"}'))


def request(target: Target = OPENAI, **body: Any) -> Request:
    full = {"model": "m", "input": "hi", "stream": True, **body}
    return responses.read(json.dumps(full).encode(), {}, "msg_ab12").request


def sent(target: Target = OPENAI, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(backend.request(request(**body), target).body)
    return made


def read(pieces: Sequence[bytes], *, stream: bool = True) -> list[Part]:
    reader = backend.reader(request(stream=stream), OPENAI)
    parts: list[Part] = []
    for piece in pieces:
        parts += reader.feed(piece)
    return [*parts, *reader.close()]


def joined(parts: Sequence[Part]) -> bytes:
    return b"".join(part.data for part in parts if isinstance(part, Passthrough))


STREAM = fake.encode(fake.stream(*OUTPUT))
RENAMED = STREAM.replace(b'"gpt-5.6-terra"', b'"m"')


# --------------------------------------------------------------------------------------------------------------------- request


def test_only_the_model_changes() -> None:
    body = {
        "input": [{"type": "mcp_approval_response", "zzz": 1}],
        "tools": [{"type": "mcp"}],
        "new_field": {"a": [1.0]},
    }
    assert sent(OPENAI, **body) == {"model": "gpt-5.6", "stream": True, **body}
    assert sent(client_metadata={"a": "b"})["client_metadata"] == {"a": "b"}
    assert "client_metadata" not in sent(OTHER, client_metadata={"a": "b"})


def test_thinking_of_other_backends_is_removed_and_a_summary_becomes_text() -> None:
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": carriers.pack_thinking("", "sig")}
    own = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAA"}
    summary = {"type": "compaction", "encrypted_content": carriers.pack_summary("So far.")}
    message = {"role": "user", "content": "hi"}
    made = sent(input=[foreign, own, summary, message])["input"]
    assert made[0] == own and made[2] == message
    assert made[1]["content"][0]["text"].endswith("So far.")


def test_reasoning_that_went_through_messages_comes_back_as_the_item_of_the_backend() -> None:
    """As after a search of Byway's, for which a request is translated."""
    answer = Writer("msg_1", "m", MessageUsage(), OPENAI.key)
    answer.thinking("Let me see.")
    answer.reasoning.item = {"id": "rs_7", "encrypted_content": "gAAAA7", "summary": [11]}
    answer.end()
    writer = ResponseWriter(NewResponse(ResponseObject("resp_ab12", "m", 1), Names()))
    writer.encode(answer.take())
    item = json.loads(json.dumps(writer.output[0]))
    made = sent(input=[item, {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}])["input"][0]
    assert made == {
        "type": "reasoning",
        "id": "rs_7",
        "summary": [{"type": "summary_text", "text": "Let me see."}],
        "encrypted_content": "gAAAA7",
    }
    elsewhere = Target("cloud2", "gpt-5.6", OPENAI.vendor, key=b"other")
    assert sent(elsewhere, input=[item, {"role": "user", "content": "y"}])["input"] == [
        {"role": "user", "content": "y"}
    ]


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        ({}, True),
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, True),
        ({"tools": [{"type": "custom", "name": "f"}]}, False),
        ({"input": [{"type": "compaction_trigger"}]}, False),
        # What cannot be translated passes through: the server may know it.
        ({"tools": [{"type": "file_search"}]}, True),
    ],
)
def test_other_servers_get_what_they_know(body: dict[str, Any], passes: bool) -> None:
    given = request(**body)
    assert backend.passes(given, OTHER) is passes and backend.passes(given, OPENAI)


# ---------------------------------------------------------------------------------------------------------------------- answer


def test_a_stream_passes_through_however_it_is_cut() -> None:
    for at in range(0, len(STREAM), stride(7)):
        parts = read([STREAM[:at], STREAM[at:]])
        assert joined(parts) == RENAMED
    assert [part.kind for part in parts if isinstance(part, Passthrough)][:3] == ["start", "start", "content"]
    last = parts[-1]
    assert isinstance(last, Passthrough) and last.kind == "end" and last.stop_reason == "tool_use"
    assert last.usage is not None and (last.usage.input_tokens, last.usage.cache_read_input_tokens) == (100, 1000)


def test_a_stream_that_is_cut_is_a_failure() -> None:
    end = STREAM.index(b"event: response.completed")
    for at in range(0, end, stride(97)):
        with pytest.raises(Problem) as problem:
            read([STREAM[:at]])
        assert problem.value.kind == "broken"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "Rate limit reached.", "param": None},
            "rate_limit",
        ),
        (
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"code": "server_error", "message": "x"}},
            },
            "upstream",
        ),
        (
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {"code": "context_length_exceeded", "message": "Your input exceeds the context window."},
                },
            },
            "prompt_too_long",
        ),
    ],
)
def test_a_failure_of_the_backend_is_a_problem(event: dict[str, Any], kind: str) -> None:
    with pytest.raises(Problem) as problem:
        read([fake.joined([event])])
    assert problem.value.kind == kind


def test_an_incomplete_answer_keeps_its_reason() -> None:
    parts = read(
        [
            fake.encode(
                fake.stream(fake.message("x"), end="incomplete", incomplete_details={"reason": "max_output_tokens"})
            )
        ]
    )
    last = parts[-1]
    assert isinstance(last, Passthrough) and last.stop_reason == "max_tokens" and b"response.incomplete" in last.data


def test_servers_that_stream_always_or_never_are_understood() -> None:
    whole = fake.whole(*OUTPUT)
    (answer,) = read([STREAM], stream=False)
    assert (
        isinstance(answer, WholeAnswer)
        and answer.responses
        and json.loads(answer.data) == json.loads(whole) | {"model": "m"}
    )
    (same,) = read([whole[:9], whole[9:]], stream=False)
    assert isinstance(same, WholeAnswer) and json.loads(same.data) == json.loads(whole) | {"model": "m"}
    made = joined(read([whole])).decode()
    kinds = [line[7:] for line in made.splitlines() if line.startswith("event: ")]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.done") == 3 and "Hello there." in made


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"error":{"message":"no","type":"x"}}', b"data: {]\n\n", b"", b"[1]"]
)
def test_what_is_no_response_is_a_problem(body: bytes) -> None:
    for stream in (True, False):
        with pytest.raises(Problem):
            read([body], stream=stream)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([STREAM[:300], STREAM[300:900], STREAM[900:]]), max_size=8))
def test_any_bytes_are_an_answer_or_a_problem(pieces: list[bytes]) -> None:
    try:
        parts = read(pieces)
    except Problem:
        return
    assert has_content(parts)


def test_events_after_a_beginning_of_byway_get_its_id_and_numbers() -> None:
    writer = ResponseWriter(NewResponse(ResponseObject("resp_ab12", "m", 1), Names()))
    begun = writer.encode([MessageStart(Started("msg_ab12", "m", MessageUsage())), Ping()])
    data = begun + writer.encode(read([STREAM])[2:])
    values = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    assert {value["response"]["id"] for value in values if "response" in value} == {"resp_ab12"}
    assert json.loads(writer.final())["id"] == writer.final_id() == "resp_ab12"


def test_reading_a_stream_takes_time_in_proportion_to_it() -> None:
    def pieces(size: int) -> list[bytes]:
        data = fake.joined(fake.stream(fake.message("word " * size), pieces=5))
        return [data[at : at + 500] for at in range(0, len(data), 500)]

    assert_linear(pieces, read, 200)


def test_a_request_is_searched_for_carriers_only_where_reading_it_has_found_one() -> None:
    plain = {"model": "m", "input": [{"type": "message", "role": "user", "content": 'Say "byway-thinking."'}]}
    carried = {"type": "reasoning", "summary": [], "encrypted_content": carriers.pack_thinking("", "s")}
    summary = {"type": "compaction", "encrypted_content": carriers.pack_summary("So far.")}
    target = Target("box", "local", VENDORS["openai"].by("responses"))
    for item, kept in ((None, True), (carried, False), (summary, False)):
        body = {**plain, "input": [*plain["input"], *([item] if item else [])]}
        request = responses.read(json.dumps(body).encode(), {}, "msg_x").request
        assert request.content.carriers is not kept
        made = backend.request(request, target).body
        assert json.loads(made)["input"][0] == plain["input"][0] and b"encrypted_content" not in made
    # A request that cannot be translated has been read in part only.
    unread = {**plain, "input": [*plain["input"], carried, {"role": "nobody", "content": "x"}]}
    request = responses.read(json.dumps(unread).encode(), {}, "msg_x").request
    assert request.untranslatable is not None and request.content.carriers
    assert b"encrypted_content" not in backend.request(request, target).body
