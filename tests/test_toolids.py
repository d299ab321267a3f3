"""Ids of tool calls: valid and unique for the client, in the vendor's own form for the backend."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.openai import completions
from byway.backends.openai.toolids import BackendIds, ClientIds, native_id
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages.request import parse

steady = settings(max_examples=examples(200), deadline=None, derandomize=True)
natives = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["call_0", "functions.Read:0", "call-1", "a" * 64, "a" * 65]
)


def target(vendor: str = "generic", model: str = "local", backend: str = "box") -> Target:
    return Target(backend, model, VENDORS[vendor])


@steady
@given(ids=st.lists(natives, max_size=6))
def test_client_ids_are_valid_and_unique_and_lead_back_to_the_backends_ids(ids: list[str]) -> None:
    taken = {"call_0", "toolu_x_0"}
    made = [ClientIds("msg_x", "box", taken).new(id) for id in ids]
    assert len({*made, "call_0", "toolu_x_0"}) == len(made) + 2
    for id, own in zip(made, ids, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id)
        assert native_id(id, "box") == own or id.startswith("toolu_x_")
        if own.isascii() and own.isprintable() and len(own) < 12:
            assert native_id(id, "box") == own


def test_ids_of_another_backend_are_not_unwrapped() -> None:
    id = ClientIds("msg_x", "box", set()).new("functions.Read:0")
    assert native_id(id, "box") == "functions.Read:0" and native_id(id, "other") == id


@pytest.mark.parametrize(
    "id", ["toolu_byway", "toolu_byway000_1_", "toolu_byway000_1_a-zz", "toolu_byway399_1_-ff", ""]
)
def test_ids_that_only_look_wrapped_stay_unchanged(id: str) -> None:
    assert native_id(id, "box") == id


@steady
@given(ids=st.lists(natives, max_size=5, unique=True))
@pytest.mark.parametrize(
    ("vendor", "model", "form"),
    [
        ("generic", "mistral-small", r"[A-Za-z0-9]{9}"),
        ("vllm", "devstral", r"[A-Za-z0-9]{9}"),
        ("generic", "kimi-k2.6", r"functions\.Read:\d+"),
        ("openai", "gpt-5", r"(?s).{1,40}"),
    ],
)
def test_each_vendor_gets_ids_of_its_form(vendor: str, model: str, form: str, ids: list[str]) -> None:
    out = BackendIds(target(vendor, model))
    sent = []
    for id in ids:
        out.in_message.clear()
        sent.append(out.call(id, "Read"))
    assert all(re.fullmatch(form, id) for id in sent)
    assert [out.result(id) for id in ids] == sent
    again = BackendIds(target(vendor, model))
    for id, expected in zip(ids, sent, strict=True):
        again.in_message.clear()
        assert again.call(id, "Read") == expected, "an id depends on earlier calls only"


def test_one_message_never_has_one_id_twice() -> None:
    first, second = (ClientIds("msg_x", "box", {"call_0"}).new("call_0") for _ in range(2))
    assert first == second
    ids = BackendIds(target())
    ids.in_message.clear()
    made = ClientIds("msg_x", "box", {"call_0"})
    sent = [ids.call(made.new("call_0"), "Read"), ids.call(made.new("call_0"), "Read")]
    assert sent[0] == "call_0" and sent[1] != "call_0"


def turns(native: str, rounds: int) -> list[dict[str, Any]]:
    """What a backend gets in the last of some rounds of a tool loop, in each of which it gives its call the same id."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Read."}]
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    body: dict[str, Any] = {}
    ids: set[str] = set()
    for _ in range(rounds):
        raw = {"model": "m", "max_tokens": 9, "messages": messages, "tools": tools}
        request = parse(json.dumps(raw).encode(), {}, "msg_x")
        reader = completions.reader(request, target())
        call = {"id": native, "function": {"name": "Read", "arguments": "{}"}}
        reply = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        events = [*reader.feed(json.dumps(reply).encode()), *reader.close()]
        (id,) = [block.id for event in events if (block := getattr(event, "content_block", None)) is not None]
        assert id not in ids
        ids.add(id)
        messages = [
            *messages,
            {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "A"}]},
        ]
        raw["messages"] = messages
        body = json.loads(completions.request(parse(json.dumps(raw).encode(), {}, "msg_x"), target()).body)
    sent: list[dict[str, Any]] = body["messages"]
    return sent


@pytest.mark.parametrize("native", ["call_0", "functions.Read:0", "a b", "toolu_byway399_1_x"])
def test_a_backend_gets_its_own_ids_back_in_each_turn(native: str) -> None:
    sent = turns(native, 4)
    assert [call["id"] for message in sent for call in message.get("tool_calls", ())] == [native] * 4
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == [native] * 4
