"""A strict server refuses one thing until the call has another form. It gets through, in the words of several vendors, and the
next call has that form at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
from test_repairs import MESSAGES, TOOL, Strict, request, runtime

from byway.backends.repairs import apply
from byway.fronts import chat
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record

Body = dict[str, Any]


def sentence(text: str, **fields: Any) -> Body:
    return {"error": {"message": text, "type": "invalid_request_error", **fields}}


def google(text: str) -> list[Body]:
    return [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}]


def pydantic(*path: str | int, text: str = "Extra inputs are not permitted") -> Body:
    return {
        "object": "error",
        "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", *path], "msg": text}]},
    }


def openrouter(text: str) -> Body:
    return sentence(
        "Provider returned error", code=400, metadata={"raw": json.dumps(sentence(text)), "provider_name": "x"}
    )


class Refused(NamedTuple):
    """One thing that servers refuse."""

    fields: Body
    """Of the client's request."""
    rule: Callable[[Body], object]
    """The server refuses a call for which this is true."""
    words: list[Any]
    vendor: str = "generic"
    model: str = "gpt-x"
    chat: bool = False
    """The client sends a chat completion, which passes through."""


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
SCHEMA = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}
LOOP = [
    {"role": "user", "content": "Read a."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}]},
]
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "A"}


#: A tool whose schema fits the rules for strict tools.
STRICT = {
    **TOOL,
    "strict": True,
    "input_schema": {**cast(Body, TOOL["input_schema"]), "required": ["path"], "additionalProperties": False},
}


def role(body: Body, at: int) -> str:
    return str(body["messages"][at]["role"])


def thinks(body: Body) -> bool:
    return body.get("thinking", {}).get("type") == "enabled" or body.get("reasoning_effort") not in (None, "none")


THINGS: dict[str, Refused] = {
    # Function tools are refused with an effort, or without an explicit "none".
    "tools beside an effort": Refused(
        {"tools": [TOOL], "thinking": {"type": "adaptive"}},
        lambda body: body.get("tools") and body.get("reasoning_effort") != "none",
        [
            sentence(
                f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. To use function "
                "tools, use /v1/responses or set reasoning_effort to 'none'.",
                param="reasoning_effort",
            )
            for model in ("gpt-5.4", "gpt-5.6-terra")
        ],
        model="gpt-5.6-terra",
    ),
    "tools without an effort": Refused(
        {"tools": [TOOL]},
        lambda body: body.get("tools") and body.get("reasoning_effort") != "none",
        [sentence("Function tools with reasoning_effort are not supported for gpt-5.6. Set reasoning_effort to 'none'.")],
        model="gpt-5.6-terra",
    ),
    "any effort": Refused(
        {"tools": [TOOL], "thinking": {"type": "adaptive"}},
        lambda body: "reasoning_effort" in body,
        [
            sentence("Unrecognized request argument supplied: reasoning_effort"),
            sentence("Unsupported parameter: 'reasoning_effort' is not supported with this model.", param="reasoning_effort"),
            google('Invalid JSON payload received. Unknown name "reasoning_effort": Cannot find field.'),
            pydantic("reasoning_effort"),
            openrouter("Model grok-4 does not support parameter reasoning_effort."),
        ],
        "openai",
        "gpt-5-chat-latest",
    ),
    "a value of effort": Refused(
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        lambda body: body.get("reasoning_effort") not in ("low", "medium"),
        [
            sentence("Unsupported value: 'reasoning_effort' does not support 'high' with this model. Supported values are: 'low' "
                     "and 'medium'.", param="reasoning_effort", code="unsupported_value"),
            sentence("reasoning_effort: please use low or medium"),
            sentence("`reasoning_effort` must be one of `low` or `medium`"),
            pydantic("reasoning_effort", text="Input should be one of: expected one of low, medium"),
            openrouter("reasoning_effort: unknown variant `high`, expected one of `low`, `medium`"),
        ],
        "openai",
        "gpt-5",
    ),
    "a forced tool choice while thinking": Refused(
        {"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}},
        lambda body: thinks(body) and body.get("tool_choice") not in (None, "auto"),
        [
            sentence("Thinking mode does not support this tool_choice"),
            sentence("tool_choice 'required' is incompatible with thinking enabled"),
            sentence("<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to "
                     "required or object in thinking mode", code="invalid_parameter_error"),
            openrouter("Thinking may not be enabled when tool_choice forces tool use."),
            {"type": "error", "error": {"type": "bad_request_error", "message": "tool_choice is not supported while reasoning"}},
        ],
        "deepseek",
    ),
    "strict tools": Refused(
        {"tools": [STRICT]},
        lambda body: any("strict" in tool["function"] for tool in body.get("tools", ())),
        [
            sentence("Invalid schema for function 'Read': In context=(), 'additionalProperties' is required to be false.",
                     code="invalid_function_parameters"),
            google("Invalid JSON payload received. Unknown name \"strict\" at 'tools[0].function': Cannot find field."),
            pydantic("tools", 0, "function", "strict"),
            sentence("property 'strict' is unsupported"),
            openrouter("The compiled grammar is too large. Simplify the tools or turn strict off."),
        ],
        "openai",
        "gpt-4.1",
    ),
    "a format with a schema": Refused(
        {"output_config": SCHEMA},
        lambda body: body.get("response_format", {}).get("type") == "json_schema",
        [
            sentence("This response_format type is unavailable now"),
            sentence("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
            google('Unknown name "json_schema" at \'response_format\': Cannot find field.'),
            pydantic("response_format", "json_schema"),
            openrouter("Structured outputs are not supported by this provider"),
        ],
    ),
    "any format": Refused(
        {"output_config": SCHEMA},
        lambda body: "response_format" in body,
        [
            sentence("Unsupported parameter: 'response_format'"),
            sentence("property 'response_format' is unsupported"),
            google('Unknown name "response_format": Cannot find field.'),
            pydantic("response_format"),
            openrouter("response_format is not supported with this model"),
        ],
    ),
    "images": Refused(
        {"messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What is it?"}]}]},
        lambda body: "image_url" in json.dumps(body),
        [
            sentence("Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, "
                     "expected `text` at line 1 column 9000"),
            {"object": "error", "message": "local is not a multimodal model", "type": "BadRequestError"},
            sentence("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
            sentence("No endpoints found that support image input", code=404),
            openrouter("This model does not support image input."),
            {"object": "error", "message": "At most 0 image(s) may be provided in one request."},
        ],
    ),
    "a user message after a result": Refused(
        {"messages": [*LOOP, {"role": "user", "content": [RESULT, {"type": "text", "text": "<system-reminder>x"}]}]},
        lambda body: any(role(body, at) == "tool" and role(body, at + 1) == "user" for at in range(len(body["messages"]) - 1)),
        [
            {"object": "error", "message": "Unexpected role 'user' after role 'tool'", "type": "invalid_request_error"},
            sentence("After the optional system message, conversation roles must alternate user and assistant roles except for "
                     "tool calls and results."),
            openrouter("Unexpected role 'user' after role 'tool'"),
        ],
    ),
    "a system message in the middle": Refused(
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}]},
        lambda body: any(message["role"] in ("system", "developer") for message in body["messages"][1:]),
        [
            sentence("System message must be at the beginning."),
            {"object": "error", "message": "Unexpected role 'system' after role 'user'", "type": "invalid_request_error"},
            {"type": "error", "error": {"message": "invalid params, only one system message is allowed (2013)"}},
            openrouter("Multiple system messages are not supported"),
            pydantic("messages", 1, "role", text="system message must be the first message"),
        ],
        chat=True,
    ),
    "any system message": Refused(
        {"system": "Be brief."},
        lambda body: role(body, 0) == "system",
        [
            sentence("System role not supported"),
            {"object": "error", "message": "role 'system' is not supported by this chat template"},
            openrouter("This model does not support system messages"),
        ],
    ),
    "a message of the assistant at the end": Refused(
        {"messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "1, 2,"}]},
        lambda body: role(body, -1) == "assistant",
        [
            sentence("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
            sentence("This model does not support assistant message prefill. The conversation must end with a user message."),
        ],
    ),
    "an empty message of the assistant": Refused(
        {"messages": [{"role": "user", "content": "Hi."},
                      {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "byway.x"}]},
                      {"role": "user", "content": "Are you there?"}]},
        lambda body: any(message["role"] == "assistant" and not message.get("content") for message in body["messages"]),
        [
            sentence("Invalid request: the message at position 1 with role 'assistant' must not be empty"),
            sentence("Assistant message must have either content or tool_calls, but not none."),
        ],
    ),
    "a temperature of its own": Refused(
        {"temperature": 0},
        lambda body: body.get("temperature", 1) != 1,
        [
            sentence("invalid temperature: only 1 is allowed for this model"),
            sentence("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
                     "supported."),
            sentence("temperature: range is (0, 1]"),
            pydantic("temperature", text="temperature must be greater than 0"),
            openrouter("`temperature` is deprecated for this model."),
        ],
    ),
    "a whole answer": Refused(
        {},
        lambda body: not body.get("stream"),
        [
            sentence("Requests with max_tokens > 4096 must have stream=true"),
            sentence("This model only support stream mode, please enable the stream parameter to access the model."),
        ],
    ),
}  # fmt: skip
PAIRS = [(name, at) for name, thing in THINGS.items() for at in range(len(thing.words))]


@pytest.mark.parametrize(("name", "at"), PAIRS)
def test_a_refused_form_is_replaced_and_not_sent_again(name: str, at: int) -> None:
    thing = THINGS[name]
    server = Strict(lambda body: thing.words[at] if thing.rule(body) else None)
    gateway = runtime(thing.vendor, thing.model)
    gateway.backends["box"].upstream = cast(Any, server)
    for turn in (1, 2):
        before = len(server.bodies)
        if thing.chat:
            body = {"model": "sonnet", "max_tokens": 9, **thing.fields}
            value, _ = chat.read(json.dumps(body).encode(), {}, f"msg_{turn}")
        else:
            value = request(**thing.fields)
        asyncio.run(exchange.answer(gateway, value, HeldReply(), Record()))
        calls = server.bodies[before:]
        assert not thing.rule(calls[-1])
        if turn == 2:
            assert not thing.rule(calls[0]), "the form is remembered"
        else:
            # Where a vendor's row has the form already, the first call is right.
            assert len(calls) <= 4


def test_the_system_text_joins_the_first_user_message() -> None:
    result = json.loads(apply(json.dumps({"messages": MESSAGES}).encode(), ["messages nosystem"]))["messages"]
    assert result[0]["role"] == "user" and result[0]["content"][0] == {"type": "text", "text": "One.\n\nTwo."}
    assert all(message["role"] != "system" for message in result)
