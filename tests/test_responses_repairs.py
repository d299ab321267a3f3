"""Calls by Responses that a server refuses are repaired, and calls go by the API that a server has for the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal, cast

import pytest
import responsesfake as fake
from test_targets import Answered, chat_answer

from byway import config
from byway.backends.repairs import describe, known
from byway.call import Call
from byway.fronts import chat
from byway.largebodies import LARGE
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime

TOOL = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
CALL = fake.call("call_1", "Read", '{"path":"a"}')
TOOLS_REFUSED = (
    "Function tools with reasoning_effort are not supported for gpt-5.6-terra in /v1/chat/completions. To use function "
    "tools, use /v1/responses or set reasoning_effort to 'none'."
)
Rule = Callable[[dict[str, Any]], str | Literal[False]]


class Server:
    """OpenAI with both APIs, or a gateway with one of them."""

    def __init__(self, *rules: Rule, responses: bool = True, chat: bool = True) -> None:
        """`rules` return the words of a refusal of a Responses request."""
        self._rules = rules
        self._responses, self._chat = responses, chat
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def open(self, call: Call) -> Answered:
        body = json.loads(call.body)
        self.calls.append((call.path, body))
        if call.path == "/v1/responses":
            if not self._responses:
                return Answered(404, b'{"error":{"message":"Invalid URL (POST /v1/responses)"}}')
            for rule in self._rules:
                if words := rule(body):
                    return refused(words)
            fake.check_request(call.body)
            return Answered(200, fake.whole(fake.reasoning("Hm."), CALL if body.get("tools") else fake.message("Hi.")))
        if not self._chat:
            return Answered(404, b'{"error":{"message":"This model is only supported in v1/responses and not in '
                            b'v1/chat/completions.","type":"invalid_request_error","param":"model"}}')  # fmt: skip
        if body.get("tools") and body.get("reasoning_effort") != "none":
            return refused(TOOLS_REFUSED)
        answer: dict[str, Any] = chat_answer({"prompt_tokens": 5, "completion_tokens": 1})
        if body.get("tools"):
            function = {"name": "Read", "arguments": '{"path":"a"}'}
            calls = [{"id": "call_1", "type": "function", "function": function}]
            answer["choices"][0] = {"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}
        return Answered(200, json.dumps(answer).encode())

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def paths(self) -> list[str]:
        return [path.removeprefix("/v1/") for path, _ in self.calls]


def refused(words: str) -> Answered:
    return Answered(400, json.dumps({"error": {"message": words, "type": "invalid_request_error"}}).encode())


def runtime(vendor: str = "openai", model: str = "gpt-5.6-terra", **fields: Any) -> Runtime:
    backend = {"name": "box", "type": vendor, "url": "http://127.0.0.1:9", "models": [model], **fields}
    return Runtime(config.load(json.dumps({"backends": [backend], "model_aliases": {"default": [f"box/{model}"]}}), {}))


def request(*turns: dict[str, Any], **fields: Any) -> Request:
    body = {"model": "sonnet", "max_tokens": 64, "tools": [TOOL], "thinking": {"type": "adaptive"}, **fields}
    return parse(json.dumps({**body, "messages": [{"role": "user", "content": "Hi"}, *turns]}).encode(), {}, "msg_1")


def send(at: Runtime, server: Server, value: Request) -> tuple[dict[str, Any], Record]:
    at.backends["box"].upstream = cast(Any, server)
    held, record = HeldReply(), Record()
    asyncio.run(exchange.answer(at, value, held, record))
    return json.loads(fold(held.parts)), record


def tool_names(message: dict[str, Any]) -> list[str]:
    return [block["name"] for block in message["content"] if block["type"] == "tool_use"]


def test_a_model_that_needs_responses_is_called_by_them_at_once() -> None:
    server = Server()
    message, _ = send(runtime(), server, request())
    assert tool_names(message) == ["Read"] and message["stop_reason"] == "tool_use"
    assert server.paths == ["responses"]


def test_a_chat_model_of_openai_is_called_by_chat_completions() -> None:
    server = Server()
    send(runtime(model="gpt-5.6-chat-latest"), server, request(tools=None))
    send(runtime(model="gpt-4.1"), server, request(tools=None))
    assert server.paths == ["chat/completions"] * 2


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "disabled"}])
def test_a_gateway_without_responses_is_called_by_chat_completions_from_then_on(thinking: dict[str, str]) -> None:
    at, server = runtime(), Server(responses=False)
    for _ in range(2):
        message, _ = send(at, server, request(thinking=thinking))
        assert tool_names(message) == ["Read"]
    assert server.paths == ["responses", "chat/completions", "chat/completions"]


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "disabled"}])
def test_a_server_that_answers_each_path_with_the_words_of_chat_gets_the_effort_none(thinking: dict[str, str]) -> None:
    server = Server(lambda body: TOOLS_REFUSED)
    message, _ = send(runtime(), server, request(thinking=thinking))
    assert tool_names(message) == ["Read"]
    assert server.paths[0] == "responses" and server.calls[-1][1]["reasoning_effort"] == "none"


def test_a_gateway_whose_refusal_names_responses_is_called_by_them() -> None:
    at, server = runtime("generic", "team-model"), Server(chat=False)
    for _ in range(2):
        message, _ = send(at, server, request())
        assert tool_names(message) == ["Read"]
    assert server.paths == ["chat/completions", "responses", "responses"]


def test_a_configured_protocol_is_never_changed() -> None:
    server = Server(responses=False)
    with pytest.raises(Problem):
        send(runtime(protocol="responses"), server, request())
    assert server.paths == ["responses"]


def test_a_chat_completion_passes_through_and_goes_by_responses_where_chat_refuses_it() -> None:
    function = {"name": "Read", "parameters": TOOL["input_schema"]}
    body: dict[str, Any] = {"model": "sonnet", "messages": [{"role": "user", "content": "Hi"}]}
    at, server = runtime(), Server()
    plain, _ = chat.read(json.dumps(body).encode(), {}, "msg_1")
    with_tools, _ = chat.read(
        json.dumps({**body, "tools": [{"type": "function", "function": function}]}).encode(), {}, "msg_2"
    )
    at.backends["box"].upstream = cast(Any, server)
    for value in (plain, with_tools):
        asyncio.run(exchange.answer(at, value, HeldReply(), Record()))
    assert server.paths == ["chat/completions", "chat/completions", "responses"]


@pytest.mark.parametrize("extra", [{}, {"metadata": {"padding": "p" * (LARGE + 1)}}], ids=["small", "large"])
def test_a_chat_completion_goes_by_responses_whole_once_that_is_learned(extra: dict[str, Any]) -> None:
    function = {"name": "Read", "parameters": TOOL["input_schema"]}
    body: dict[str, Any] = {"model": "sonnet", "messages": [{"role": "user", "content": "Hi"}], **extra}
    with_tools = json.dumps({**body, "tools": [{"type": "function", "function": function}]}).encode()
    at, server = runtime(), Server()
    at.backends["box"].upstream = cast(Any, server)
    for _ in range(2):
        asyncio.run(exchange.answer(at, chat.outline(with_tools, {}, "msg_1")[0], HeldReply(), Record()))
    assert server.paths == ["chat/completions", "responses", "responses"]
    repaired, learned = server.calls[1][1], server.calls[2][1]
    assert learned == repaired
    assert [tool["name"] for tool in learned["tools"]] == ["Read"] and "Hi" in json.dumps(learned["input"])


REFUSALS: dict[str, tuple[Rule, str]] = {
    "summary": (
        lambda body: (
            "summary" in body["reasoning"] and "Your organization must be verified to generate reasoning summaries."
        ),
        "drop reasoning.summary",
    ),
    "include": (
        lambda body: "include" in body and "Encrypted content is not supported with this model.",
        "drop include",
    ),
    "effort": (
        lambda body: (
            body["reasoning"]["effort"] == "high"
            and "Unsupported value: 'high' is not supported with this model. Supported values are: 'low', and 'medium'."
        ),
        "set reasoning.effort medium",
    ),
    "cache key": (
        lambda body: "prompt_cache_key" in body and "Unknown parameter: 'prompt_cache_key'.",
        "drop prompt_cache_key",
    ),
    "tools": (
        lambda body: (
            "required" in body["tools"][0]["parameters"]
            and not body["tools"][0]["parameters"].get("plain")
            and "format" in json.dumps(body["tools"])
            and "Invalid schema for function 'Read': 'format' is not permitted."
        ),
        "tools plain",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refused_part_is_repaired_once_and_sent_right_from_then_on(kind: str) -> None:
    rule, repair = REFUSALS[kind]
    at, server = runtime(), Server(rule)
    path = {"type": "string", "format": "path"}
    tool = {**TOOL, "input_schema": {"type": "object", "properties": {"path": path}, "required": ["path"]}}
    for _ in range(2):
        message, record = send(at, server, request(tools=[tool], output_config={"effort": "high"}))
        assert tool_names(message) == ["Read"] and record.repairs == (repair,)
    assert server.paths == ["responses"] * 3
    assert known(repair) and describe(repair) != repair


def test_a_refused_format_is_described_in_words() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    server = Server(lambda body: "text" in body and "text.format of type json_schema is not supported.")
    value = request(tools=None, output_config={"format": {"type": "json_schema", "schema": schema}})
    send(runtime(), server, value)
    last = server.calls[-1][1]
    assert "text" not in last and json.dumps(schema, separators=(",", ":")) in last["input"][-1]["content"]


def test_a_format_that_is_refused_as_a_strict_one_is_sent_as_a_loose_one() -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    server = Server(
        lambda body: (
            body.get("text", {}).get("format", {}).get("strict")
            and "Invalid schema for response_format 'answer': In context=(), 'minItems' is not permitted."
        )
    )
    at = runtime()
    send(at, server, request(tools=None, output_config={"format": {"type": "json_schema", "schema": schema}}))
    formats = [body["text"]["format"] for _, body in server.calls]
    assert [form["strict"] for form in formats] == [True, False] and formats[1]["schema"] == schema


def test_reasoning_that_cannot_be_decrypted_is_left_out_of_this_request_alone() -> None:
    at, server = runtime(), Server()
    content = send(at, server, request())[0]["content"]
    foreign = Server(
        lambda body: (
            any(item["type"] == "reasoning" for item in body["input"])
            and "The encrypted content gAAA could not be verified."
        )
    )
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "7"}
    turns = [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    send(at, foreign, request(*turns))
    assert [any(item["type"] == "reasoning" for item in body["input"]) for _, body in foreign.calls] == [True, False]
    assert at.learned.records() == []


def test_a_limit_of_tokens_that_a_refusal_names_is_kept() -> None:
    server = Server(
        lambda body: (
            body["max_output_tokens"] > 32
            and "max_output_tokens is too large: 64. This model supports at most 32 completion tokens."
        )
    )
    send(runtime(), server, request())
    assert server.calls[-1][1]["max_output_tokens"] == 32
