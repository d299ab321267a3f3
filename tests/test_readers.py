"""The state machines of a stream (sse, the Readers, the Writer) against generated inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from casefile import SHORT
from grammar import plain, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from strict import check_event

from byway.backends import anthropic
from byway.backends.openai import completions
from byway.backends.protocol import BackendProtocol, Target
from byway.backends.vendors import VENDORS
from byway.messages import request as messages
from byway.messages import signature, sse
from byway.messages.events import BlockStart, MessageUsage, Part, SignatureDelta, Stop, Usage
from byway.messages.stream import Writer, fold
from byway.problems import Problem

REQUEST = messages.parse(SHORT, {}, "msg_x")
MODULES: tuple[tuple[BackendProtocol, Target], ...] = (
    (completions, Target("box", "local", VENDORS["generic"])),
    (anthropic, Target("box", "claude-x", VENDORS["anthropic"])),
)

steady = settings(max_examples=examples(150), deadline=None, derandomize=True)
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of `sizes`, the rest in one."""
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    return [*chunks, data[at:]]


def run(module: BackendProtocol, target: Target, chunks: list[bytes]) -> tuple[list[Part], Problem | None]:
    reader = module.reader(REQUEST, target)
    events: list[Part] = []
    try:
        for chunk in chunks:
            events += reader.feed(chunk)
        events += reader.close()
    except Problem as problem:
        return events, problem
    return events, None


# White space alone makes no block, see the Writer's own test.
seen = words.filter(lambda text: not text.isspace())
sizes = st.lists(st.integers(0, 9), max_size=60)

# ------------------------------------------------------------------------------------------------------------------ sse


@steady
@given(
    events=st.lists(st.tuples(words.map(str.strip), st.lists(words, min_size=1, max_size=3)), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    noise=st.sampled_from(["", ": hello", "id: 7", "retry: 10", "unknown: x"]),
    bom=st.booleans(),
    sizes=sizes,
)
def test_encoded_events_are_decoded_unchanged(
    events: list[tuple[str, list[str]]], end: str, noise: str, bom: bool, sizes: list[int]
) -> None:
    lines = []
    for name, data in events:
        lines += [noise] * bool(noise) + [f"event: {name}"] * bool(name) + [f"data: {text}" for text in data] + [""]
    wire = (b"\xef\xbb\xbf" if bom else b"") + "".join(line + end for line in lines).encode()
    decoder = sse.Decoder()
    decoded = [event for chunk in chunked(wire, sizes) for event in decoder.feed(chunk)] + decoder.close()
    assert decoded == [(name, "\n".join(data).encode()) for name, data in events]


@steady
@given(data=st.binary(max_size=200), sizes=sizes)
def test_bytes_are_decoded_the_same_wherever_they_are_cut(data: bytes, sizes: list[int]) -> None:
    once, cut = sse.Decoder(), sse.Decoder()
    whole = once.feed(data) + once.close()
    assert [event for chunk in chunked(data, sizes) for event in cut.feed(chunk)] + cut.close() == whole


# -------------------------------------------------------------------------------------------------------------- readers

FIELDS = (
    "choices delta message content tool_calls function name arguments id index type usage prompt_tokens "
    "completion_tokens prompt_tokens_details cached_tokens finish_reason stop_reason error text code detail "
    "content_block partial_json input_tokens output_tokens reasoning_content"
)
shapes = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS.split()), inner, max_size=4),
    max_leaves=12,
)
lines = st.one_of(
    shapes.map(lambda value: b"data: " + json.dumps(value).encode()),
    st.tuples(st.sampled_from(["message_start", "message_delta", "error", "message_stop"]), shapes).map(
        lambda pair: f"event: {pair[0]}\ndata: {json.dumps(pair[1])}".encode()
    ),
    st.binary(max_size=20),
)


@steady
@given(
    data=st.binary(max_size=120)
    | st.lists(lines, max_size=6).map(b"\n\n".join)
    | shapes.map(lambda value: json.dumps(value).encode())
)
def test_answers_of_any_bytes_raise_only_problems(data: bytes) -> None:
    for module, target in MODULES:
        run(module, target, [data])
        assert isinstance(module.problem(500, {}, data, target), Problem)


@steady
@given(value=shapes, status=st.sampled_from([301, 400, 401, 404, 413, 422, 429, 500, 503, 529]), wait=words)
def test_error_bodies_of_any_shape_give_a_problem(value: Any, status: int, wait: str) -> None:
    for module, target in MODULES:
        body = json.dumps({"error": value}).encode()
        problem = module.problem(status, {"retry-after": wait}, body, target)
        assert problem.message and problem.row.status >= 400


calls = st.lists(st.tuples(st.sampled_from(["Read", "Bash"]), st.dictionaries(words, words, max_size=2)), max_size=3)


@st.composite
def answers(draw: Callable[..., Any]) -> tuple[list[dict[str, Any]], str, list[tuple[str, dict[str, str]]]]:
    """Deltas of one answer in an order that a server may choose, its text, and its calls in the order they begin."""
    text = draw(st.lists(seen, max_size=4))
    wanted = draw(calls)
    queues: list[list[dict[str, Any]]] = [[{"content": piece} for piece in text]]
    for index, (name, arguments) in enumerate(wanted):
        whole = json.dumps(arguments)
        cut = draw(st.integers(0, len(whole)))
        start = {"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": whole[:cut]}}
        rest = {"index": index, "function": {"arguments": whole[cut:]}}
        queues.append([{"tool_calls": [start]}, {"tool_calls": [rest]}])
    deltas, begun = [], []
    while any(queues):
        at = draw(st.sampled_from([at for at, queue in enumerate(queues) if queue]))
        delta = queues[at].pop(0)
        if at and delta["tool_calls"][0].get("id"):
            begun.append(wanted[at - 1])
        deltas.append(delta)
    return deltas, "".join(text), begun


@steady
@given(answer=answers(), sizes=sizes, counted=st.booleans())
def test_deltas_in_any_order_give_a_valid_stream_without_losses(
    answer: tuple[list[dict[str, Any]], str, list[tuple[str, dict[str, str]]]], sizes: list[int], counted: bool
) -> None:
    deltas, text, wanted = answer
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if wanted else "stop"}]})
    if counted:
        chunks.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
    wire = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    events, problem = run(*MODULES[0], chunked(wire, sizes))
    assert problem is None, problem
    sent = plain(events)
    lines = summary(sent)
    for event in sent:
        check_event(event)
    assert "".join(line[1] for line in lines if line[0] == "text") == text
    assert [line[2:] for line in lines if line[0] == "tool"] == wanted
    assert lines[-1][1] == ("tool_use" if wanted else "end_turn")
    assert summary([json.loads(fold(events))]) == lines


# --------------------------------------------------------------------------------------------------------------- writer

steps = st.one_of(
    st.tuples(st.just("text"), seen),
    st.tuples(st.just("thinking"), seen),
    st.tuples(st.just("tool"), st.lists(st.sampled_from(['{"a":', "1}", ""]), max_size=3)),
    st.tuples(st.just("end"), st.none()),
)


@steady
@given(written=st.lists(steps, max_size=12))
def test_the_writer_gives_a_valid_stream_for_any_input(written: list[tuple[str, Any]]) -> None:
    writer = Writer("msg_x", "sonnet", MessageUsage())
    for at, (step, value) in enumerate(written):
        match step:
            case "text":
                writer.text(value)
            case "thinking":
                writer.thinking(value)
            case "tool":
                writer.tool(f"call_{at}", "Read")
                for piece in value:
                    writer.input(piece)
            case "end":
                writer.end()
    writer.finish(Stop("end_turn"), Usage(output_tokens=1))
    lines = summary(plain(writer.take()))
    for kind in ("text", "thinking"):
        assert "".join(line[1] for line in lines if line[0] == kind) == "".join(v for s, v in written if s == kind)
    assert sum(line[0] == "tool" for line in lines) == sum(step == "tool" for step, _ in written)


@steady
@given(pieces=st.lists(st.text(" \nab", max_size=3), max_size=6), kind=st.sampled_from(["text", "thinking"]))
def test_white_space_alone_makes_no_block(pieces: list[str], kind: str) -> None:
    writer = Writer("msg_x", "sonnet", MessageUsage())
    for piece in pieces:
        writer.text(piece) if kind == "text" else writer.thinking(piece)
    writer.tool("call_1", "Read")
    writer.finish(Stop("tool_use"), Usage())
    lines = summary(plain(writer.take()))
    joined = "".join(pieces)
    assert [line[0] for line in lines] == [kind] * bool(joined.strip()) + ["tool", "end"]
    assert not joined.strip() or lines[0][1].strip() == joined.strip()


@steady
@given(pieces=st.lists(seen, max_size=6))
def test_a_thinking_block_ends_with_the_signature_of_its_text(pieces: list[str]) -> None:
    writer = Writer("msg_x", "sonnet", MessageUsage())
    for piece in pieces:
        writer.thinking(piece)
    writer.text("x")
    writer.finish(Stop("end_turn"), Usage())
    events = writer.take()
    if "".join(pieces):
        signed = [at for at, event in enumerate(events) if isinstance(getattr(event, "delta", None), SignatureDelta)]
        assert len(signed) == 1 and events[signed[0] + 1].name == "content_block_stop"
    for block in json.loads(fold(events))["content"]:
        assert block["type"] != "thinking" or signature.holds("".join(pieces), block["signature"])


@steady
@given(pieces=st.lists(words, max_size=200))
def test_a_signature_does_not_depend_on_how_its_text_was_cut(pieces: list[str]) -> None:
    signer = signature.Signer()
    for piece in pieces:
        signer.add(piece)
    assert signer.signature() == signature.sign("".join(pieces)) and signature.ours(signer.signature())


def test_more_than_a_thousand_calls_are_an_error() -> None:
    for count, kind in ((1000, None), (1001, "broken"), (30_000, "broken")):
        calls = [{"index": at, "function": {"name": "Read", "arguments": "{}"}} for at in range(count)]
        chunk = {"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
        data = b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()
        events, problem = run(*MODULES[0], [data])
        assert (problem and problem.kind) == kind
        if kind is None:
            assert sum(isinstance(event, BlockStart) for event in events) == count


@pytest.mark.parametrize("index", [None, [], {}, [0], "0", 0.5, True, -1])
def test_pieces_of_a_call_with_any_index_are_one_call(index: Any) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "Read", "arguments": '{"path":'}}
    deltas = [{"tool_calls": [first]}, {"tool_calls": [{"index": index, "function": {"arguments": '"a"}'}}]}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    data = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    parts, problem = run(*MODULES[0], [data])
    assert problem is None or problem.kind == "broken"
    assert problem is not None or json.loads(fold(parts))["content"][0]["input"] == {"path": "a"}


def test_an_event_that_arrives_in_several_pieces_keeps_its_name_and_its_lines() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b"data: 0\n\n") == [("", b"0")]
    assert decoder.feed(b"event: error\n") == [] and decoder.feed(b"data: 1\n\n") == [("error", b"1")]
    assert decoder.feed(b"data: 2\n") == [] and decoder.feed(b"data: 3\n\n") == [("", b"2\n3")]
    assert decoder.feed(b"data: 4") == [] and decoder.feed(b"data: 5\n\n") == [("", b"4data: 5")]
    assert decoder.feed(b"data: 6\n\n") == [("", b"6")] and decoder.close() == []
