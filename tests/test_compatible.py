"""The Messages APIs of vendors: `protocol: anthropic` sends each what it accepts, and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growth import assert_linear

from byway import config
from byway.backend import Backend
from byway.backends import anthropic
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS, thinking_rule
from byway.config import TimeoutSettings
from byway.messages.request import parse

OFFERED = [vendor for vendor in VENDORS.values() if vendor.messages is not None]


def sent(vendor: str, model: str = "m", max_output: int | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "sonnet", "max_tokens": 64_000, "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = parse(json.dumps(body).encode(), {}, "msg_1")
    target = Target("box", model, VENDORS[vendor].by("anthropic"), max_output=max_output)
    answer: dict[str, Any] = json.loads(anthropic.request(request, target).body)
    return answer


@pytest.mark.parametrize("vendor", OFFERED, ids=lambda vendor: vendor.name)
def test_a_plain_request_stays_as_it_is(vendor: Any) -> None:
    fields: dict[str, Any] = {"system": "Be kind.", "stop_sequences": ["x"], "temperature": 1.0}
    body = {"model": "m", "max_tokens": 64_000, "messages": [{"role": "user", "content": "Hi"}], **fields}
    rule = thinking_rule(vendor.messages.thinking, "m")
    assert sent(vendor.name, **fields) == {**body, **(rule.off if rule else {})}


def test_anthropic_gets_the_bytes_of_the_client() -> None:
    data = b'{"model":"sonnet", "max_tokens":5,"messages":[{"role":"system","content":"x"}]}'
    target = Target("box", "sonnet", VENDORS["anthropic"], max_output=2)
    assert anthropic.request(parse(data, {}, "msg_1"), target).body == data


def test_max_tokens_is_lowered_to_the_limit_of_the_model() -> None:
    assert sent("deepseek", max_output=8192)["max_tokens"] == 8192


@pytest.mark.parametrize(("effort", "word"), [("low", "low"), ("medium", "high"), ("xhigh", "high"), ("max", "max")])
def test_deepseek_gets_its_own_efforts(effort: str, word: str) -> None:
    body = sent("deepseek", thinking={"type": "adaptive"}, output_config={"effort": effort})
    assert body["output_config"] == {"effort": word} and body["thinking"] == {"type": "adaptive"}


def test_kimi_k3_gets_an_effort_and_no_thinking() -> None:
    body = sent("moonshot", "kimi-k3", thinking={"type": "adaptive"}, output_config={"effort": "xhigh"})
    assert body["output_config"] == {"effort": "max"} and "thinking" not in body


def test_a_model_that_always_thinks_gets_its_least_effort_for_a_request_without_thinking() -> None:
    format = {"type": "json_schema", "schema": {"type": "object"}}
    for vendor, model in (("moonshot", "kimi-k3"), ("minimax", "MiniMax-M3.1-Flash")):
        body = sent(vendor, model, thinking={"type": "disabled"}, output_config={"effort": "high", "format": format})
        assert body["output_config"] == {"effort": "low", "format": format} and "thinking" not in body
        assert sent(vendor, model)["output_config"] == {"effort": "low"}


@pytest.mark.parametrize("model", ["MiniMax-M2.5", "MiniMax-M3", "MiniMax-M3.1-Flash"])
def test_minimax_thinks_adaptively(model: str) -> None:
    body = sent("minimax", model, thinking={"type": "enabled", "budget_tokens": 4000}, output_config={"effort": "max"})
    assert body["thinking"] == {"type": "adaptive"} and body["output_config"] == {"effort": "max"}


def test_a_forced_tool_choice_turns_the_thinking_of_deepseek_off() -> None:
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    body = sent("deepseek", thinking={"type": "adaptive"}, tools=tools, tool_choice={"type": "any"})
    assert body["thinking"] == {"type": "disabled"} and body["tool_choice"] == {"type": "any"}


def test_ollama_gets_no_tool_choice() -> None:
    assert "tool_choice" not in sent("ollama", tool_choice={"type": "auto"}, metadata={"user_id": "x"})


def test_system_messages_become_reminders_behind_the_results_of_tools() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a"}
    turns = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}]},
        {"role": "system", "content": "First."},
        {"role": "user", "content": [result]},
        {"role": "system", "content": "Second."},
    ]
    messages = sent("deepseek", messages=turns)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"][0] == result
    assert ["First." in block["text"] for block in messages[2]["content"][1:]] == [True, False]


def test_system_messages_take_linear_time() -> None:
    def turns(size: int) -> list[dict[str, Any]]:
        return [{"role": "user", "content": "Hi"}, *({"role": "system", "content": "x"} for _ in range(size // 40))]

    assert_linear(turns, lambda turns: sent("deepseek", messages=turns))


def test_the_calls_and_the_list_of_models_have_their_own_paths() -> None:
    text = "backends: [{type: zai, protocol: anthropic, url: 'http://127.0.0.1:9/api/anthropic', api_key: sesame-0123456789}]"
    backend = Backend(config.load(text, {}).backends[0], TimeoutSettings(), 1)
    assert backend.upstream is not None and backend._lists is not None
    target = Target("zai", "glm-5.3", backend.vendor)
    call = anthropic.request(
        parse(b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}', {}, "msg_1"), target
    )
    assert backend.upstream._build_head(call).startswith(b"POST /api/anthropic/v1/messages HTTP/1.1\r\n")
    call = backend._lists.protocol.models()
    assert backend._lists.upstream._build_head(call).startswith(b"GET /api/paas/v4/models HTTP/1.1\r\n")
