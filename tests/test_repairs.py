"""Calls that a backend refuses by naming a part of them are repaired, sent again, and sent right the next time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from growth import assert_linear
from test_targets import Answered, chat_answer

from byway import config
from byway.access.sync import KeySync
from byway.admin.repairs import forget_repairs, list_repairs
from byway.backends import repairs
from byway.backends.repairs import Refusal, _bridge, apply, describe, find, known, refusal
from byway.call import Call
from byway.cli.main import byway
from byway.fronts import chat
from byway.gateway import Gateway
from byway.learned import LIFETIME, LearnedRepair, LearnedRepairs
from byway.messages.pdf import PdfText
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime
from byway.store import Store

Words = Callable[[str], dict[str, Any]]
#: How five kinds of servers say that they do not take a parameter.
WORDS: dict[str, Words] = {
    "openai": lambda name: {
        "error": {
            "message": f"Unsupported parameter: '{name}' is not supported with this model.",
            "type": "invalid_request_error",
            "param": name,
            "code": "unsupported_parameter",
        }
    },
    "gemini": lambda name: [  # type: ignore[dict-item,return-value]
        {"error": {"code": 400, "message": f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'}}
    ],
    "mistral": lambda name: {
        "object": "error",
        "message": {
            "detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]
        },
    },
    "groq": lambda name: {"error": {"message": f"property '{name}' is unsupported", "type": "invalid_request_error"}},
    "openrouter": lambda name: {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"error": {"message": f"{name} is not supported with this model"}})},
        }
    },
}
DROPPED = ("temperature", "top_p", "parallel_tool_calls", "stream_options")


class Strict:
    """A server that refuses a call by its first rule that applies, and records every call."""

    def __init__(self, *rules: Callable[[dict[str, Any]], Any]) -> None:
        self._rules = rules
        self.bodies: list[dict[str, Any]] = []

    async def open(self, call: Call) -> Answered:
        body = json.loads(call.body)
        self.bodies.append(body)
        for rule in self._rules:
            answer = rule(body)
            if answer:
                return Answered(400, json.dumps(answer).encode())
        return Answered(200, json.dumps(chat_answer({"prompt_tokens": 5, "completion_tokens": 1})).encode())

    async def close(self) -> None:
        """Nothing is open."""


def runtime(vendor: str = "openai", model: str = "gpt-x") -> Runtime:
    backend = {
        "name": "box",
        "type": vendor,
        "url": "http://127.0.0.1:9",
        "models": [model],
        "api_key": "sesame-0123456789",
    }
    return Runtime(config.load(json.dumps({"backends": [backend], "model_aliases": {"default": [f"box/{model}"]}}), {}))


TOOL = {
    "name": "Read",
    "description": "Reads",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}


def request(**fields: Any) -> Request:
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse(json.dumps(body).encode(), {}, "msg_1")


def send(at: Runtime, server: Strict, value: Request) -> tuple[dict[str, Any], Record]:
    at.backends["box"].upstream = cast(Any, server)
    held, record = HeldReply(), Record()
    asyncio.run(exchange.answer(at, value, held, record))
    return json.loads(fold(held.parts)), record


def refuses(name: str, words: Words) -> Callable[[dict[str, Any]], Any]:
    return lambda body: words(name) if name in body else None


@pytest.mark.parametrize("vendor", WORDS)
@pytest.mark.parametrize("name", DROPPED)
def test_an_optional_field_is_left_out_when_it_is_refused_by_name(vendor: str, name: str) -> None:
    at, server = runtime(), Strict(refuses(name, WORDS[vendor]))
    by_name: dict[str, dict[str, Any]] = {
        "temperature": {"temperature": 0.5},
        "top_p": {"top_p": 0.5},
        "parallel_tool_calls": {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "stream_options": {"stream": True},
    }
    fields = by_name[name]
    send(at, server, request(**fields))
    assert [name in body for body in server.bodies] == [True, False]
    others = [{key: value for key, value in body.items() if key != name} for body in server.bodies]
    assert others[0] == others[1], "nothing else is changed"
    _, record = send(at, server, request(**fields))
    assert len(server.bodies) == 3 and name not in server.bodies[-1] and record.tries == 1
    (learned,) = at.learned.records()
    assert (learned.backend, learned.model, learned.repair) == ("box", "gpt-x", f"drop {name}")


@pytest.mark.parametrize("vendor", WORDS)
def test_the_limit_of_the_answer_is_sent_under_its_other_name(vendor: str) -> None:
    at = runtime("generic")
    server = Strict(refuses("max_tokens", WORDS[vendor]))
    send(at, server, request())
    assert [body.get("max_tokens") for body in server.bodies] == [9, None]
    assert server.bodies[1]["max_completion_tokens"] == 9


def test_three_things_are_repaired_in_one_request_and_a_fourth_is_not() -> None:
    rules = [refuses(name, WORDS["openai"]) for name in ("temperature", "top_p", "stream_options")]
    fields: dict[str, Any] = {"temperature": 0.5, "top_p": 0.5, "stream": True}
    at, server = runtime(), Strict(*rules)
    send(at, server, request(**fields))
    assert len(server.bodies) == 4 and len(at.learned.records()) == 3
    at = runtime()
    server = Strict(*rules, lambda body: {"error": {"message": "Something else is wrong."}})
    with pytest.raises(Problem, match="Something else"):
        send(at, server, request(**fields))
    assert len(server.bodies) == 4 and not at.learned.records(), "nothing is learned from a call that never passed"


def test_the_same_refusal_again_is_the_answer() -> None:
    server = Strict(lambda body: WORDS["openai"]("temperature"))
    with pytest.raises(Problem) as caught:
        send(runtime(), server, request(temperature=0.5))
    assert len(server.bodies) == 2 and caught.value.kind == "invalid_request"


@pytest.mark.parametrize("name", ["messages", "model", "tools", "stop", "response_format", "tool_choice"])
def test_what_a_call_needs_is_never_left_out(name: str) -> None:
    for words in WORDS.values():
        body = {"model": "m", "messages": [], "tools": [], "stop": ["x"], "response_format": {}, "tool_choice": "auto"}
        result = find(refusal(json.dumps(words(name)).encode()), json.dumps(body).encode())
        assert result is None or not result.repair.startswith("drop"), result


def test_a_field_that_was_not_sent_is_not_repaired() -> None:
    server = Strict(lambda body: WORDS["openai"]("temperature"))
    with pytest.raises(Problem):
        send(runtime(), server, request())
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("text", "sent", "repair"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         {"max_tokens": 5}, "rename max_tokens max_completion_tokens"),
        ("Unrecognized request argument supplied: max_completion_tokens", {"max_completion_tokens": 5},
         "rename max_completion_tokens max_tokens"),
        ("Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions.",
         {"tools": [], "reasoning_effort": "high"}, "set reasoning_effort none"),
        ("Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model. Supported values are: "
         "'low', 'medium', and 'high'.", {"reasoning_effort": "xhigh"}, "set reasoning_effort high"),
        ("invalid temperature: only 1 is allowed for this model", {"temperature": 0.2}, "drop temperature"),
        ("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
         {"temperature": 0.2}, "drop temperature"),
        ("tool_choice 'specified' is incompatible with thinking enabled",
         {"tool_choice": {}, "thinking": {"type": "enabled"}}, "drop thinking"),
        ("deepseek-reasoner does not support this tool_choice", {"tool_choice": {}}, "emulate tool_choice"),
        ("This response_format type is unavailable now", {"response_format": {"type": "json_schema"}}, "form json_object"),
        ("Invalid schema for response_format 'answer': In context=(), 'minItems' is not permitted.",
         {"response_format": {"type": "json_schema", "json_schema": {"strict": True}}}, "form loose"),
        ("Invalid schema for response_format 'answer': schema must be an object.",
         {"response_format": {"type": "json_schema", "json_schema": {}}}, "form json_object"),
        ("'response_format.type' must be 'text'", {"response_format": {"type": "json_object"}}, "form words"),
        ("Unexpected role 'user' after role 'tool'", {"messages": []}, "messages bridge"),
        ("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.", {"messages": []}, "ids nine"),
        ("Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40",
         {"messages": []}, "ids forty"),
        ("System message must be at the beginning.", {"messages": []}, "messages system"),
        ("Failed to deserialize: messages[0]: unknown variant `image_url`, expected `text`", {"messages": []}, "messages images"),
        ("local is not a multimodal model", {"messages": []}, "messages images"),
        ("No endpoints found that support image input", {"messages": []}, "messages images"),
        ("At most 0 image(s) may be provided in one request.", {"messages": []}, "messages images"),
        ("Invalid schema for function 'Read': 'pattern' is not permitted", {"tools": []}, "tools plain"),
        ("Unable to generate parser for this template", {"tools": []}, "tools plain"),
        ("The message at position 2 with role 'assistant' must not be empty", {"messages": []}, "messages empty"),
        ("This model only support stream mode, please enable the stream parameter", {"messages": []}, "stream on"),
        ("parameter.enable_thinking must be set to false for non-streaming calls", {"enable_thinking": True}, "stream on"),
        ("Reasoning is mandatory for this endpoint and cannot be disabled.", {"reasoning": {"effort": "none"}}, "drop reasoning"),
        ("`reasoning_effort` is not supported with this model", {"reasoning_effort": "low"}, "drop reasoning_effort"),
        ("Unknown parameter: 'store'.", {"store": False}, "drop store"),
        ("context_management: Extra inputs are not permitted", {"context_management": {}}, "drop context_management"),
        ("Additional properties are not allowed ('temperature' was unexpected)", {"temperature": 1}, "drop temperature"),
        ("不支持的参数: temperature", {"temperature": 1}, "drop temperature"),
        ("openai does not support parameters: ['temperature'], for model=gpt-5.", {"temperature": 1}, "drop temperature"),
        ("azure_ai does not support parameters: {'top_p': 0.9}, for model=x", {"top_p": 0.9}, "drop top_p"),
        ("Unsupported parameter(s): `parallel_tool_calls`", {"parallel_tool_calls": False}, "drop parallel_tool_calls"),
        ("Reasoning effort is not supported for this model", {"reasoning_effort": "low"}, "drop reasoning_effort"),
        ("This model does not support the effort parameter.", {"output_config": {"effort": "low"}},
         "drop output_config.effort"),
        ("This model does not support thinking", {"chat_template_kwargs": {}}, "drop chat_template_kwargs"),
        ('Invalid tool_choice: "required". Supported: auto, none', {"tool_choice": "required"}, "emulate tool_choice"),
        ("Input validation error: `stop` supports up to 4 stop sequences. Given: 5",
         {"stop": ["a", "b", "c", "d", "e"]}, "emulate stop 4"),
        ("Conversation roles must alternate; System role not supported", {"messages": []}, "messages nosystem"),
        ("Invalid value for 'content': expected a string, got null.", {"messages": [{"content": None}]}, "messages strings"),
        ("messages[0].content must be a string", {"messages": [{"content": [{"type": "image_url"}]}]}, "messages images"),
        (
            "Invalid 'messages[0].content[1].image_url.url': string too long. Expected a string with maximum length 20971520, "
            "but got a string with length 30000000 instead.",
            {"messages": [{"content": [{"type": "image_url"}]}]},
            None,
        ),
        ("messages[0].content must be a string", {"messages": [{"content": 5}]}, None),
        ("The model says: please be polite", {"temperature": 1}, None),
        ("Rate limit reached for temperature", {"temperature": 1}, None),
        ("unsupported parameter: 'messages'", {"messages": []}, None),
    ],
)  # fmt: skip
def test_the_words_of_vendors(text: str, sent: dict[str, Any], repair: str | None) -> None:
    result = find(Refusal(text, ""), json.dumps(sent).encode())
    assert (result and result.repair) == repair
    if result:
        assert known(result.repair) and describe(result.repair) != result.repair
        assert apply(json.dumps(sent).encode(), [result.repair])


MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "One."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_a", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": "7"},
    {"role": "user", "content": "And now?"},
    {"role": "developer", "content": "Two."},
    {"role": "assistant", "content": ""},
]


def changed(repair: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(apply(json.dumps({"messages": MESSAGES}).encode(), [repair]))["messages"]
    return result


def test_system_messages_are_joined_at_the_beginning() -> None:
    result = changed("messages system")
    assert result[0] == {"role": "system", "content": "One.\n\nTwo."}
    assert [message["role"] for message in result[1:]] == ["user", "assistant", "tool", "user", "assistant"]


def test_a_user_message_joins_the_result_before_it() -> None:
    result = changed("messages bridge")
    assert result[3] == {"role": "tool", "tool_call_id": "call_a", "content": "7\n\nAnd now?"} and len(result) == 6


def test_the_field_is_known_where_python_printed_the_errors_of_fastapi() -> None:
    words = (
        "[{'type': 'extra_forbidden', 'loc': ('body', 'top_p'), 'msg': 'Extra inputs are not permitted', 'input': 0.9}]"
    )
    refused = repairs.refusal(json.dumps({"object": "error", "message": words, "code": 400}).encode())
    result = find(refused, b'{"top_p":0.9}')
    assert result is not None and result.repair == "drop top_p"


def test_an_effort_is_left_out_and_what_else_the_field_has_stays() -> None:
    repair = ["drop output_config.effort"]
    assert json.loads(apply(b'{"model":"m","output_config":{"effort":"low"}}', repair)) == {"model": "m"}
    kept = {"output_config": {"format": {"type": "json_schema"}}}
    assert json.loads(apply(b'{"output_config":{"effort":"low","format":{"type":"json_schema"}}}', repair)) == kept


def test_missing_content_becomes_an_empty_text() -> None:
    body = {
        "messages": [{"role": "assistant", "content": None}, {"role": "assistant"}, {"role": "user", "content": "a"}]
    }
    contents = [
        message.get("content")
        for message in json.loads(apply(json.dumps(body).encode(), ["messages strings"]))["messages"]
    ]
    assert contents == ["", None, "a"]


def test_an_image_becomes_a_text() -> None:
    assert changed("messages images")[1] == {"role": "user", "content": f"Look\n{repairs.NO_IMAGE}"}


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
BLIND = {"error": {"code": 500, "message": "image input is not supported - hint: you may need to provide the mmproj"}}
UNREADABLE = {"error": {"message": "Invalid value: 'file'. Supported values are: 'text' and 'image_url'."}}


class Blind(Strict):
    """A server that refuses content with these words in its JSON, with a status of its own."""

    def __init__(self, mark: str, status: int, answer: dict[str, Any]) -> None:
        super().__init__(lambda body: answer if mark in json.dumps(body) else None)
        self._status = status

    async def open(self, call: Call) -> Answered:
        answered = await super().open(call)
        return answered if answered.status == 200 else Answered(self._status, answered._body[0])


@pytest.mark.parametrize("status", [400, 415, 422, 500, 501])
def test_an_image_is_replaced_once_it_was_refused_and_from_then_on(status: int) -> None:
    at, server = runtime("generic"), Blind("image_url", status, BLIND)
    look = request(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [IMAGE]}]},
        ]
    )
    _, record = send(at, server, look)
    assert ["image_url" in json.dumps(body) for body in server.bodies] == [True, False] and record.tries == 2
    user, _, result = server.bodies[1]["messages"]
    assert user["content"].startswith("Look\n\n[image: image/png")
    assert result["role"] == "tool" and result["content"].startswith("[image: image/png")
    assert [(known.model, known.repair) for known in at.learned.records()] == [("gpt-x", "messages images")]
    _, record = send(at, server, look)
    assert len(server.bodies) == 3 and record.tries == 1


def test_a_refused_pdf_is_sent_as_a_text_from_then_on() -> None:
    class Papers:
        """Reads PDFs without a process."""

        async def texts(self, files: list[Any], most: int) -> dict[str, PdfText]:
            return {"AAAA": PdfText(1, "The words of the page.", "")}

    at, server = runtime(), Blind('"file"', 400, UNREADABLE)
    at.pdfs = cast(Any, Papers())
    read = request(messages=[{"role": "user", "content": [{"type": "text", "text": "Read"}, PDF]}])
    send(at, server, read)
    assert ['"file"' in json.dumps(body) for body in server.bodies] == [True, False]
    assert "The words of the page." in server.bodies[1]["messages"][0]["content"]
    send(at, server, read)
    assert len(server.bodies) == 3 and [known.repair for known in at.learned.records()] == ["messages documents"]


def test_a_refused_image_in_a_chat_completion_becomes_a_text() -> None:
    at, server = runtime("generic"), Blind("image_url", 400, BLIND)
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    body = {"model": "sonnet", "messages": [{"role": "user", "content": parts}]}
    value, _ = chat.read(json.dumps(body).encode(), {}, "msg_1")
    at.backends["box"].upstream = cast(Any, server)
    asyncio.run(exchange.answer(at, value, HeldReply(), Record()))
    assert server.bodies[1]["messages"][0]["content"] == f"Look\n{repairs.NO_IMAGE}"


def test_a_refusal_of_images_without_an_image_is_not_repeated_and_carries_the_token() -> None:
    server = Blind("Hi", 500, BLIND)
    with pytest.raises(Problem, match=r"hint: .* \(capability_rejected: image_block\)$") as caught:
        send(runtime("generic"), server, request())
    assert len(server.bodies) == 1 and caught.value.status == 400


def test_when_the_replacement_is_refused_too_the_client_gets_the_token() -> None:
    at, server = runtime("generic"), Blind("Look", 400, BLIND)
    with pytest.raises(Problem, match="image_block"):
        send(at, server, request(messages=[{"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]}]))
    assert len(server.bodies) == 2 and not at.learned.records()


def test_images_and_documents_in_messages_blocks_become_texts_in_results_too() -> None:
    """For a backend with the Messages API that refuses them."""
    text = {"type": "document", "source": {"type": "text", "data": "kept"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE, PDF]}
    sent = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, result, text, PDF]}]}
    body = json.loads(apply(json.dumps(sent).encode(), ["messages images", "messages documents"]))
    no_image, no_document = ({"type": "text", "text": note} for note in (repairs.NO_IMAGE, repairs.NO_DOCUMENT))
    expected = [no_image, {**result, "content": [no_image, no_document]}, text, no_document]
    assert body["messages"][0]["content"][1:] == expected


def test_ids_are_changed_alike_in_call_and_result() -> None:
    for repair, form in (("ids nine", r"[a-zA-Z0-9]{9}"), ("ids forty", r"call_a")):
        result = changed(repair)
        id = result[2]["tool_calls"][0]["id"]
        assert re.fullmatch(form, id) and result[3]["tool_call_id"] == id


def test_an_empty_assistant_message_is_left_out() -> None:
    assert changed("messages empty") == MESSAGES[:-1]


def test_a_schema_keeps_its_properties_and_loses_hard_words() -> None:
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "a+"}},
        "additionalProperties": False,
    }
    body = {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}]}
    result = json.loads(apply(json.dumps(body).encode(), ["tools plain"]))["tools"][0]["function"]
    assert result == {"name": "f", "parameters": {"type": "object", "properties": {"pattern": {"type": "string"}}}}


def test_a_refused_forced_choice_is_emulated() -> None:
    """The call comes as JSON in a second turn; the choice is never dropped in silence."""

    def rule(body: dict[str, Any]) -> Any:
        if body.get("tool_choice") not in (None, "auto"):
            return {"error": {"message": "deepseek-reasoner does not support this tool_choice"}}
        return None

    class Calling(Strict):
        async def open(self, call: Call) -> Answered:
            answer = await super().open(call)
            if answer.status == 200 and "response_format" in self.bodies[-1]:
                text = json.dumps({"name": "Read", "arguments": {"path": "a.txt"}})
                return Answered(
                    200, json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
                )
            return answer

    at, server = runtime(), Calling(rule)
    answer, _ = send(at, server, request(tools=[TOOL], tool_choice={"type": "tool", "name": "Read"}))
    assert (answer["content"][0]["name"], answer["content"][0]["input"]) == ("Read", {"path": "a.txt"})
    assert answer["stop_reason"] == "tool_use"


def test_a_refused_schema_is_given_in_words() -> None:
    def rule(body: dict[str, Any]) -> Any:
        return {"error": {"message": "response_format is not supported"}} if "response_format" in body else None

    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    at, server = runtime(), Strict(rule)
    send(at, server, request(output_config={"format": {"type": "json_schema", "schema": schema}}))
    forms = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert forms == ["json_schema", "json_object", None]
    words = [message["content"] for message in server.bodies[-1]["messages"][1:]]
    assert len(words) == 1 and '"a"' in words[0], "the schema is given once"


def test_a_schema_that_is_refused_as_a_strict_one_is_sent_as_a_loose_one() -> None:
    def rule(body: dict[str, Any]) -> Any:
        strict = body.get("response_format", {}).get("json_schema", {}).get("strict")
        message = "Invalid schema for response_format 'answer': In context=(), 'minItems' is not permitted."
        return {"error": {"message": message}} if strict else None

    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    at, server = runtime("openai", "gpt-4.1"), Strict(rule)
    send(at, server, request(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert [body["response_format"]["json_schema"] for body in server.bodies] == [
        {"name": "answer", "schema": schema, "strict": True},
        {"name": "answer", "schema": schema},
    ]
    schema["properties"] = {"a": {"type": "string"}}
    schema["required"] = ["a"]
    send(at, server, request(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert server.bodies[2]["response_format"]["json_schema"]["strict"], "another schema may be accepted"


def test_a_chat_completion_that_passes_through_is_repaired_too() -> None:
    at, server = runtime("generic", "local"), Strict(refuses("temperature", WORDS["groq"]))
    body = {"model": "sonnet", "temperature": 1.5, "x": 1, "messages": [{"role": "user", "content": "Hi"}]}
    value, _ = chat.read(json.dumps(body).encode(), {}, "msg_1")
    at.backends["box"].upstream = cast(Any, server)
    held = HeldReply()
    asyncio.run(exchange.answer(at, value, held, Record()))
    assert server.bodies[1] == {"model": "local", "x": 1, "messages": body["messages"]}


def test_what_is_kept_of_a_refusal_has_no_secret_and_is_short() -> None:
    def rule(body: dict[str, Any]) -> Any:
        text = f"Unsupported parameter: 'temperature' (key sesame-0123456789) {'x' * 5000}"
        return {"error": {"message": text}} if "temperature" in body else None

    at = runtime()
    send(at, Strict(rule), request(temperature=0.5))
    (learned,) = at.learned.records()
    assert "sesame" not in learned.refusal and len(learned.refusal) <= 200


# --- what is remembered -----------------------------------------------------------------------------------------------


def learned(model: str = "m", repair: str = "drop top_p", at: float = 0.0, url: str = "u") -> LearnedRepair:
    return LearnedRepair("box", url, model, repair, "no", at)


def test_a_repair_is_forgotten_after_30_days() -> None:
    memory = LearnedRepairs([learned(at=0.0), learned(repair="drop top_k", at=100.0)])
    assert len(memory.get("box", "u", "m", LIFETIME - 1)) == 2
    assert [record.repair for record in memory.get("box", "u", "m", LIFETIME + 1)] == ["drop top_k"]
    assert memory.unsaved and len(memory.records()) == 1


def test_another_address_begins_anew() -> None:
    memory = LearnedRepairs([learned()])
    assert memory.get("box", "u", "m", 1) and not memory.get("box", "other", "m", 1)


def test_what_is_remembered_has_a_bound() -> None:
    memory = LearnedRepairs(learned(f"m{at}") for at in range(1000))
    assert len(memory.records()) == 256
    memory = LearnedRepairs(learned(repair=f"drop f{at}", at=at) for at in range(100))
    assert [record.repair for record in memory.records()] == [f"drop f{at}" for at in range(92, 100)]


def test_repairs_are_forgotten_on_request() -> None:
    memory = LearnedRepairs([learned("a"), learned("b"), learned("b", "drop top_k")])
    assert memory.forget("box", "b") == 2 and memory.forget("other") == 0
    assert [record.model for record in memory.records()] == ["a"]


def test_repairs_outlive_the_process(tmp_path: Path) -> None:
    at = runtime()
    with Store(tmp_path) as store:
        gateway = Gateway(at, store)
        at.learned.add(learned("gpt-x", at=5.0))

        async def act() -> None:
            sync = KeySync(gateway)
            await sync.write()
            await sync.close()

        asyncio.run(act())
        assert not at.learned.unsaved
    with Store(tmp_path) as store:
        assert store.repairs() == [learned("gpt-x", at=5.0)]


@pytest.mark.parametrize("data", [b"", b"[", b"<html>", b'{"error":5}', b"[" * 99, b'{"error":"{\\"a\\":"}', b"\xff"])
def test_any_error_body_is_read(data: bytes) -> None:
    assert find(refusal(data), b'{"temperature":1}') is None


def test_a_long_refusal_and_a_long_body_are_read_in_linear_time() -> None:
    words = "unsupported parameter tool_choice thinking reasoning_effort response is not "
    assert_linear(lambda size: json.dumps({"error": {"message": words * size}}).encode(), refusal, 100)
    assert len(refusal(json.dumps({"error": {"message": words * 1000}}).encode()).text) <= 2000, (
        "what is searched has a bound"
    )

    def body(size: int) -> bytes:
        return json.dumps({"messages": MESSAGES * size}).encode()

    every = ["messages system", "messages bridge", "messages images", "messages empty", "ids nine", "tools plain"]
    assert_linear(body, lambda data: apply(data, every), 20)


# --- where it is shown ------------------------------------------------------------------------------------------------


def test_the_admin_api_lists_repairs_and_forgets_them() -> None:
    at = runtime()
    now = time.time()
    for model, learned_at in (("a", now), ("b", now), ("old", now - LIFETIME - 1)):
        at.learned.add(learned(model, at=learned_at))
    shown = list_repairs(at.learned)
    assert [(info.model, info.description) for info in shown] == [
        ("a", "leaves out `top_p`"),
        ("b", "leaves out `top_p`"),
    ]
    assert forget_repairs(at.learned, "box", "a") == 1
    assert [info.model for info in list_repairs(at.learned)] == ["b"]
    assert forget_repairs(at.learned, "box") == 2


def test_byway_models_shows_repairs(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["gpt-x"]}
    file.write_text(json.dumps({"backends": [backend]}))
    file.chmod(0o600)
    with Store(tmp_path) as store:
        store.save_repairs([LearnedRepair("box", "u", "gpt-x", "drop top_p", "not supported", time.time())])
    arguments = ["models", "--config", str(file), "--data-dir", str(tmp_path)]
    shown = CliRunner().invoke(byway, arguments)
    assert "box/gpt-x: Byway leaves out `top_p` (not supported)" in shown.output
    (listed,) = json.loads(CliRunner().invoke(byway, [*arguments, "--json"]).stdout)["repairs"]
    assert (listed["model"], listed["repair"]) == ("gpt-x", "drop top_p")


def test_a_command_forgets_what_was_learned_while_no_byway_runs(tmp_path: Path) -> None:
    forget = ["models", "forget", "--data-dir", str(tmp_path)]
    assert "Nothing was learned of box" in CliRunner().invoke(byway, [*forget, "box"]).output
    with Store(tmp_path) as store:
        store.save_repairs([learned("a", at=time.time()), learned("b", at=time.time())])
    assert CliRunner().invoke(byway, [*forget, "box/b"]).output == "1 change to the calls of box/b forgotten.\n"
    assert json.loads(CliRunner().invoke(byway, [*forget, "box", "--json"]).output) == {"forgotten": 1}
    with Store(tmp_path) as store:
        assert store.repairs() == []


def test_a_user_message_after_a_result_joins_it_when_both_are_texts() -> None:
    result = {"role": "tool", "tool_call_id": "a", "content": "r"}
    text, parts = {"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "x"}]}
    line = {"role": "assistant", "content": "I have the result."}
    assert _bridge([result, text]) == [{**result, "content": "r\n\nx"}]
    assert _bridge([result, parts]) == [result, line, parts]
    listed = {**result, "content": parts["content"]}
    assert _bridge([listed, text]) == [listed, line, text]
