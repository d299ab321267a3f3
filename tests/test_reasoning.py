"""Reasoning that a backend has sent goes back to that backend, in its own form, and to no other one."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any, cast

import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st
from test_repairs import TOOL, Strict, request
from test_targets import Answered

from byway import config
from byway.backends.openai import completions
from byway.backends.openai.toolids import carried, native_id
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.messages import signature
from byway.messages.reasoning import Reasoning, pack, unpack
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.runtime import Runtime
from byway.store import Store

CALL: dict[str, Any] = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "Read", "arguments": '{"path":"a"}'},
}
TEXT: dict[str, Any] = {"type": "reasoning.text", "text": "A look first.", "index": 0, "format": "google"}
ENCRYPTED: dict[str, Any] = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "index": 1}
SIGNED: dict[str, Any] = {"google": {"thought_signature": "c2ln"}}


def target(vendor: str = "generic", key: bytes = b"one") -> Target:
    return Target("box", "local", VENDORS[vendor], key=key)


def answered(value: Request, at: Target, *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of an answer that streams `deltas`."""
    reader = completions.reader(value, at)
    parts: list[Any] = []
    for delta in (*deltas, None):
        choice = {"delta": delta or {}, "finish_reason": None if delta else "tool_calls"}
        parts += reader.feed(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode())
    content: list[dict[str, Any]] = json.loads(fold([*parts, *reader.close()]))["content"]
    return content


def returned(content: list[dict[str, Any]], at: Target) -> dict[str, Any]:
    """The assistant message that goes back to `at` in the next turn of a tool loop."""
    result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "7"}
    turns = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    body = {"model": "m", "max_tokens": 9, "tools": [TOOL], "messages": turns}
    sent = json.loads(completions.request(parse(json.dumps(body).encode(), {}, "msg_2"), at).body)
    (message,) = [message for message in sent["messages"] if message["role"] == "assistant"]
    return cast(dict[str, Any], message)


def parsed_request() -> Request:
    return request(tools=[TOOL], stream=True)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_generic_backend_gets_thinking_back_in_the_field_that_it_has_shown(field: str) -> None:
    content = answered(parsed_request(), target(), {field: "A look "}, {field: "first."}, {"tool_calls": [CALL]})
    assert [block["type"] for block in content] == ["thinking", "tool_use"]
    assert returned(content, target())[field] == "A look first."


def test_reasoning_details_go_back_whole_and_in_order() -> None:
    pieces = [{**TEXT, "text": "A look "}, {**TEXT, "text": "first."}]
    content = answered(
        parsed_request(),
        target(),
        {"reasoning": "A look ", "reasoning_details": [pieces[0]]},
        {"reasoning": "first.", "reasoning_details": [pieces[1]]},
        {"reasoning_details": [ENCRYPTED]},
        {"tool_calls": [CALL]},
    )
    assert content[0]["thinking"] == "A look first."
    message = returned(content, target())
    assert message["reasoning_details"] == [TEXT, ENCRYPTED]
    assert "reasoning" not in message


def test_encrypted_details_alone_make_a_block_without_text() -> None:
    content = answered(parsed_request(), target(), {"reasoning_details": [ENCRYPTED]}, {"tool_calls": [CALL]})
    assert content[0]["type"] == "thinking" and content[0]["thinking"] == ""
    assert returned(content, target())["reasoning_details"] == [ENCRYPTED]


def test_a_thought_signature_goes_back_with_its_call() -> None:
    calls = [{**CALL, "extra_content": SIGNED}, {**CALL, "index": 1, "id": "call_2"}]
    content = answered(parsed_request(), target(), {"tool_calls": [calls[0]]}, {"tool_calls": [calls[1]]})
    assert [block["type"] for block in content] == ["thinking", "tool_use", "tool_use"]
    first, second = returned(content, target())["tool_calls"]
    assert first["extra_content"] == SIGNED and "extra_content" not in second


def test_a_thought_signature_goes_back_when_the_client_has_dropped_the_thinking() -> None:
    """The id of the call carries it too."""
    content = answered(parsed_request(), target(), {"tool_calls": [{**CALL, "extra_content": SIGNED}]})
    (call,) = [block for block in content if block["type"] == "tool_use"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", call["id"])
    message = returned([call], target())
    assert message["tool_calls"][0]["extra_content"] == SIGNED and message["tool_calls"][0]["id"] == "call_1"
    content = answered(parsed_request(), target(), {"reasoning_details": [ENCRYPTED]}, {"tool_calls": [CALL]})
    assert returned(content[1:], target())["reasoning_details"] == [ENCRYPTED]


def test_a_changed_id_and_another_backend_give_no_reasoning() -> None:
    content = answered(parsed_request(), target(), {"tool_calls": [{**CALL, "extra_content": SIGNED}]})
    call = content[-1]
    for id, at in (
        (call["id"], target(key=b"two")),
        (call["id"][:-1] + "9", target()),
    ):
        sent = returned([{**call, "id": id}], at)["tool_calls"][0]
        assert "extra_content" not in sent and "bywayr" not in sent["id"]


def test_a_long_signature_is_not_written_into_an_id() -> None:
    signed = {"google": {"thought_signature": os.urandom(300).hex()}}
    content = answered(parsed_request(), target(), {"tool_calls": [{**CALL, "extra_content": signed}]})
    assert content[-1]["id"] == "call_1"
    assert returned(content, target())["tool_calls"][0]["extra_content"] == signed


@given(st.text("toolu_bywayr09AZ-", max_size=230))
def test_any_id_is_read(text: str) -> None:
    for id in (text, "toolu_bywayr_" + text):
        assert carried(id, b"one") is None
        assert native_id(id, "box") or not id


def test_another_backend_gets_no_reasoning() -> None:
    content = answered(
        parsed_request(),
        target(),
        {"reasoning_content": "secret", "reasoning_details": [ENCRYPTED]},
        {"tool_calls": [{**CALL, "extra_content": SIGNED}]},
    )
    for vendor in ("generic", "deepseek", "vllm"):
        sent = json.dumps(returned(content, target(vendor, b"two")))
        assert "secret" not in sent and ENCRYPTED["data"] not in sent and "c2ln" not in sent


@pytest.mark.parametrize("change", [lambda text: text[:-2] + "AA", lambda text: text + "AA", lambda text: text[:20]])
def test_a_changed_signature_carries_nothing(change: Any) -> None:
    content = answered(parsed_request(), target(), {"reasoning_details": [ENCRYPTED]}, {"tool_calls": [CALL]})
    content[0]["signature"] = change(content[0]["signature"])
    content[1]["id"] = "call_1"
    assert "reasoning_details" not in returned(content, target())


def test_a_changed_text_carries_nothing() -> None:
    content = answered(parsed_request(), target(), {"reasoning_content": "A"}, {"tool_calls": [CALL]})
    content[0]["thinking"] = "B"
    assert "reasoning_content" not in returned(content, target())


def test_what_a_signature_carries_has_a_bound() -> None:
    reasoning = Reasoning(details=[{"type": "reasoning.encrypted", "data": ["x" * (1 << 20)]}])
    assert pack(reasoning) == ""
    small = Reasoning(details=[{"type": "reasoning.text", "text": ["ab" * 20_000]}])
    assert len(pack(small)) < 1000
    bomb = pack(Reasoning(field="x" * 400_000))
    assert unpack(bomb) is not None and unpack("z" + "A" * (1 << 18)) is None


@given(st.text(max_size=80))
def test_any_payload_is_read_or_refused(text: str) -> None:
    unpack(text)
    assert not signature.holds("x", f"{signature.PREFIX}{text}", b"key")


def test_details_are_collected_in_linear_time() -> None:
    def run(size: int) -> str:
        reasoning = Reasoning()
        for _ in range(size):
            reasoning.add_details([{"type": "reasoning.text", "text": "a", "index": 0}])
        return pack(reasoning)

    assert_linear(lambda size: size, run, 1000)


# --- backends that refuse a history without reasoning -----------------------------------------------------------------


def loop(at: Runtime, server: Any, *, thinking: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The second request of a tool loop whose first turn came from another model."""
    call = {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"path": "a"}}
    turns = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": [*(thinking or ()), call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "7"}]},
    ]
    at.backends["box"].upstream = server
    held = HeldReply()
    asyncio.run(exchange.answer(at, request(tools=[TOOL], messages=turns), held, Record()))
    answer: dict[str, Any] = json.loads(fold(held.parts))
    return answer


def runtime(vendor: str = "generic") -> Runtime:
    backend = {"name": "box", "type": vendor, "url": "http://127.0.0.1:9", "models": ["local"]}
    return Runtime(config.load(json.dumps({"backends": [backend], "model_aliases": {"default": ["box/local"]}}), {}))


def called(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [message for message in body["messages"] if message.get("tool_calls")]


def test_moonshots_refusal_of_missing_reasoning_gets_a_placeholder() -> None:
    def rule(body: dict[str, Any]) -> Any:
        if any(not message.get("reasoning_content") for message in called(body)):
            text = "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1"
            return {"error": {"message": text, "type": "invalid_request_error"}}
        return None

    server = Strict(rule)
    assert loop(runtime(), server)["stop_reason"] == "end_turn"
    assert called(server.bodies[1])[0]["reasoning_content"] == " "


def test_thinking_is_turned_off_where_a_placeholder_is_refused_too() -> None:
    def rule(body: dict[str, Any]) -> Any:
        if body.get("reasoning_effort") != "none" and called(body):
            return {"error": {"message": "The reasoning_content in the thinking mode must be passed back to the API."}}
        return None

    server = Strict(rule)
    loop(runtime(), server)
    assert server.bodies[-1]["reasoning_effort"] == "none" and len(server.bodies) == 3


def test_geminis_refusal_of_a_missing_signature_gets_the_sentinel() -> None:
    def rule(body: dict[str, Any]) -> Any:
        if any(not message["tool_calls"][0].get("extra_content") for message in called(body)):
            return [
                {
                    "error": {
                        "code": 400,
                        "message": "Function call is missing a thought_signature in functionCall parts.",
                    }
                }
            ]
        return None

    server = Strict(rule)
    loop(runtime(), server)
    signed = called(server.bodies[1])[0]["tool_calls"][0]["extra_content"]["google"]["thought_signature"]
    assert signed == "skip_thought_signature_validator"


def test_reasoning_is_not_sent_to_a_backend_that_refuses_it() -> None:
    class Thinking(Strict):
        async def open(self, call: Call) -> Answered:
            answer = await super().open(call)
            if answer.status == 200 and not called(self.bodies[-1]):
                message = {"content": None, "reasoning_content": "Hm.", "tool_calls": [CALL]}
                return Answered(
                    200, json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
                )
            return answer

    def rule(body: dict[str, Any]) -> Any:
        if any("reasoning_content" in message for message in body["messages"]):
            return {"error": {"message": "property 'reasoning_content' is unsupported"}}
        return None

    at, server = runtime(), Thinking(rule)
    at.backends["box"].upstream = cast(Any, server)
    held = HeldReply()
    asyncio.run(exchange.answer(at, request(tools=[TOOL]), held, Record()))
    content = json.loads(fold(held.parts))["content"]
    loop(at, server, thinking=content[:1])
    assert "reasoning_content" in called(server.bodies[-2])[0]
    assert "reasoning_content" not in called(server.bodies[-1])[0]


def test_the_signing_secret_outlives_the_process(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first = store.signing_secret()
    with Store(tmp_path) as store:
        assert store.signing_secret() == first and len(first) == 32


def test_backends_have_keys_of_their_own_that_survive_a_reload() -> None:
    backends = [
        {"name": name, "type": "generic", "url": f"http://127.0.0.1:{port}", "models": ["local"]}
        for name, port in (("one", 1), ("two", 2), ("again", 1))
    ]
    settings = config.load(json.dumps({"backends": backends}), {})
    at = Runtime(settings, secret=b"s" * 32)
    value, two, again = (at.backends[name].registry.target("local").key for name in ("one", "two", "again"))
    assert value == again != two and value
    assert Runtime(settings, at).backends["one"].registry.target("local").key == value
    assert Runtime(settings, secret=b"t" * 32).backends["one"].registry.target("local").key != value


def test_only_a_signature_of_byway_has_a_payload() -> None:
    signed = signature.sign("thought", b"key", "carried")
    assert signature.payload(signed) == "carried" and signature.holds("thought", signed, b"key")
    assert signature.payload(signature.sign("thought")) == ""
    for foreign in (None, "", "EqQBCgIYAhIkMDAwMDAwMDAwMDAwMDAw.payload", signed[1:]):
        assert signature.payload(foreign) == "" and not signature.holds("thought", foreign, b"key")
