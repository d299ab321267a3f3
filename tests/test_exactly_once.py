"""Tool calls and texts arrive exactly once, in whichever way a server cuts, repeats or numbers them."""

from __future__ import annotations

import json
from typing import Any

from grammar import plain, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.openai import completions
from byway.backends.openai.toolcalls import CallInput
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages import request as messages

steady = settings(max_examples=examples(300), deadline=None, derandomize=True)
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "Bash")]
words = st.text('ab{}[]":, \n\\', max_size=6)
values = st.recursive(words | st.integers(), lambda inner: st.dictionaries(words, inner, max_size=2), max_leaves=4)
inputs = st.dictionaries(words, values, min_size=1, max_size=3)
cuts = st.lists(st.integers(1, 9), max_size=5)


def pieces(text: str, sizes: list[int], *, cumulative: bool) -> list[str]:
    """`text` in pieces of `sizes`, each of which may hold all that came before it."""
    ends, at = [], 0
    for size in sizes:
        if at + size < len(text):
            at += size
            ends.append(at)
    ends.append(len(text))
    starts = [0] * len(ends) if cumulative else [0, *ends]
    return [text[start:end] for start, end in zip(starts, ends, strict=False)]


def read(deltas: list[dict[str, Any]], *, finish: str = "tool_calls") -> list[Any]:
    body = {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": TOOLS,
    }
    reader = completions.reader(
        messages.parse(json.dumps(body).encode(), {}, "msg_x"), Target("box", "local", VENDORS["generic"])
    )
    events: list[Any] = []
    for delta in [*deltas, None]:
        choice = {"index": 0, "delta": delta} if delta else {"index": 0, "delta": {}, "finish_reason": finish}
        events += reader.feed(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode())
    events += reader.close()
    return summary(plain(events))


@steady
@given(
    calls=st.lists(st.tuples(st.sampled_from(["Read", "Bash"]), inputs), min_size=1, max_size=3, unique_by=str),
    sizes=cuts,
    cumulative=st.booleans(),
    with_index=st.sampled_from(["own", "zero", "none"]),
    with_id=st.booleans(),
    repeat=st.sampled_from(["nothing", "each", "all", "input"]),
    spaced=st.booleans(),
)
def test_each_call_arrives_once_however_a_server_sends_it(
    calls: list[tuple[str, dict[str, Any]]],
    sizes: list[int],
    cumulative: bool,
    with_index: str,
    with_id: bool,
    repeat: str,
    spaced: bool,
) -> None:
    deltas: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for at, (name, arguments) in enumerate(calls):
        keys: dict[str, Any] = {"own": {"index": at}, "zero": {"index": 0}, "none": {}}[with_index]
        id = {"id": f"call_{at}"} if with_id else {}
        text = json.dumps(arguments)
        again = json.dumps(arguments, separators=(",", ":")) if spaced else text
        for number, piece in enumerate(pieces(text, sizes, cumulative=cumulative)):
            function = {"arguments": piece, **({"name": name} if not number else {})}
            deltas.append({"tool_calls": [{**keys, **(id if not number else {}), "function": function}]})
        entry = {**keys, **id, "function": {"name": name, "arguments": again}}
        if repeat == "each":
            deltas.append({"tool_calls": [entry]})
        elif repeat == "input":
            deltas.append({"tool_calls": [{**keys, "function": {"arguments": again}}]})
        whole.append(entry)
    if repeat == "all" and (with_id or with_index != "zero"):
        deltas.append({"tool_calls": whole})
    lines = read(deltas)
    assert [line[2:] for line in lines if line[0] == "tool"] == calls
    assert lines[-1][1] == "tool_use"


@steady
@given(value=inputs, sizes=cuts, cumulative=st.booleans(), rest=st.sampled_from(["", "}", " \n", "}}\n", "again"]))
def test_an_input_is_the_same_from_any_pieces(
    value: dict[str, Any], sizes: list[int], cumulative: bool, rest: str
) -> None:
    text = json.dumps(value)
    call = CallInput()
    new = [call.add(piece) for piece in pieces(text, sizes, cumulative=cumulative)]
    if cumulative and "}" in rest:
        # `{"a":` and `{"a":{}}` and `}` are an object in both readings.
        rest = " \n"
    if rest:
        call.add(text if rest == "again" else rest)
    new.append(call.end())
    assert json.loads(call.text) == value and call.leftover() == ""
    assert text.startswith("".join(new).strip())


@steady
@given(text=st.text("ab \n|", min_size=1, max_size=60), sizes=st.lists(st.integers(1, 9), max_size=12))
def test_text_in_pieces_that_continue_each_other_loses_nothing(text: str, sizes: list[int]) -> None:
    lines = read([{"content": piece} for piece in pieces(text, sizes, cumulative=False)], finish="stop")
    read_text = "".join(line[1] for line in lines if line[0] == "text")
    # A first piece of 8 characters that the only other piece holds counts as repeated.
    cut = pieces(text, sizes, cumulative=False)
    if len(cut) != 2 or not cut[1].startswith(cut[0]) or len(cut[0]) < 8:
        assert read_text.strip() == text.strip()


@steady
@given(
    text=st.lists(st.sampled_from(["The ", "user ", "likes ", "tables.\n", "| a |"]), min_size=12, max_size=20).map(
        "".join
    )
)
def test_text_in_cumulative_pieces_arrives_once(text: str) -> None:
    cut = pieces(text, [5, 9, 7, 11, 3], cumulative=True)
    lines = read([{"content": piece} for piece in cut], finish="stop")
    assert "".join(line[1] for line in lines if line[0] == "text") == text


def test_a_call_that_is_cut_off_after_another_one_is_kept() -> None:
    """It shares the index of the first call, so it could be a repetition until its end."""

    def piece(name: str, arguments: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments}}]}

    lines = read([piece("Read", '{"a": 1}'), piece("Bash", '{"b": "tr')], finish="length")
    assert [line[2] for line in lines if line[0] == "tool"] == ["Read", "Bash"]
    lines = read([piece("Read", '{"a": 1}'), piece("Read", '{"a":')], finish="length")
    assert [line[2] for line in lines if line[0] == "tool"] == ["Read"], "the beginning of the same call"


def test_only_the_first_closing_think_tag_without_an_opening_one_is_removed() -> None:
    lines = read([{"content": "a</think>one </think> two"}], finish="stop")
    assert [line[1] for line in lines if line[0] == "text"] == ["aone </think> two"]


def repeated(*inputs: str, id: str = "toolu_0123456789abcdef01234567_0") -> list[dict[str, Any]]:
    """The chat messages of a conversation with one call of Read for each input."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": "Read it."}]
    for number, path in enumerate(inputs):
        used = {"type": "tool_use", "id": f"{id}{number}", "name": "Read", "input": {"path": path}}
        turns.append({"role": "assistant", "content": [used]})
        result = {"type": "tool_result", "tool_use_id": used["id"], "content": "A"}
        turns.append({"role": "user", "content": [result]})
    body = {"model": "m", "max_tokens": 9, "messages": turns}
    sent: dict[str, Any] = json.loads(
        completions.request(
            messages.parse(json.dumps(body).encode(), {}, "msg_1"), Target("box", "m", VENDORS["llamacpp"])
        ).body
    )
    return list(sent["messages"])


def test_a_small_model_that_repeats_its_call_is_told_to_answer() -> None:
    """Only a model that writes its calls as text, so that their ids are Byway's, and only for the same input."""
    last = repeated("a", "a")[-1]
    assert last["role"] == "user" and last["content"].startswith("Above is the result of Read")
    for other in (repeated("a"), repeated("a", "b"), repeated("a", "a", id="call_")):
        assert other[-1]["role"] == "tool"
    assert repeated("a", "a", "b")[: len(repeated("a", "a"))] == repeated("a", "a"), (
        "a prompt stays a prefix of the next"
    )
