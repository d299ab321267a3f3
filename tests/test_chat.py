"""Chat completions of clients: translation to Messages requests and back, and what is rejected."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.responses import responses
from byway.backends.vendors import VENDORS
from byway.fronts import chat, ollama
from byway.messages.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    MessageStop,
    MessageUsage,
    Passthrough,
    Started,
    Stop,
    TextDelta,
    TextStart,
    ToolStart,
    Usage,
)
from byway.messages.request import Content, Request
from byway.messages.sse import Decoder
from byway.messages.stream import Writer
from byway.problems import Problem


def sent(**body: Any) -> dict[str, Any]:
    """The Messages request of a chat completion, as a server of that API gets it."""
    parsed: dict[str, Any] = json.loads(translated(**body).patched("m"))
    return parsed


def translated(**body: Any) -> Request:
    full = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    return chat.read(json.dumps(full).encode(), {}, "msg_x")[0]


def read(**body: Any) -> dict[str, Any]:
    """The same without the marks for the prompt cache that Byway adds."""
    result = sent(**body)
    for holder, name in ((result, "system"), (result["messages"][-1], "content")):
        if name in holder:
            assert holder[name][-1].pop("cache_control") == {"type": "ephemeral"}
            if holder[name][-1].keys() == {"type", "text"} and len(holder[name]) == 1:
                holder[name] = holder[name][0]["text"]
    return result


def conversation(*messages: dict[str, Any]) -> Any:
    return read(messages=list(messages))["messages"]


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 1.9}, {"temperature": 1.0}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"], "top_p": 0.5}, {"stop_sequences": ["x", "y"], "top_p": 0.5}),
        (
            {"reasoning_effort": "minimal"},
            {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive", "display": "summarized"}},
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "array"}}}},
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
            {
                "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            },
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
            {
                "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": True}],
                "tool_choice": {"type": "tool", "name": "f"},
            },
        ),
    ],
)
def test_parameters_are_translated(given: dict[str, Any], fields: dict[str, Any]) -> None:
    result = read(**given)
    assert {name: result[name] for name in fields} == fields


def test_leading_system_messages_become_the_system_text() -> None:
    result = read(
        messages=[
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "Three."},
        ]
    )
    assert result["system"] == "One.\n\nTwo."
    assert [turn["role"] for turn in result["messages"]] == ["user", "user"]
    assert "Three." in result["messages"][1]["content"]


def test_images_and_files_are_translated() -> None:
    parts = [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
    ]
    assert conversation({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"},
            "title": "a.pdf",
        },
    ]


def test_arguments_that_are_not_json_are_kept_as_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{oops"}}
    turns = conversation({"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]})
    assert turns[1]["content"][0]["input"] == {"__unparsedToolInput": {"raw": "{oops", "len": 5}}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not valid JSON"),
        (b'{"model":"m","messages":[]}', "at least one message"),
        (b'{"model":"m","messages":[{"content":"x"}]}', r"messages.0: Object missing required field `role`"),
        (b"[" * 100_000, "nested too deeply|not valid JSON|Expected"),
    ],
)
def test_an_invalid_chat_completion_is_rejected(body: bytes, says: str) -> None:
    with pytest.raises(Problem, match=says) as caught:
        chat.read(body, {}, "msg_x")
    assert caught.value.kind == "invalid_request"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": 3}, "^n: "),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "^tools.0: the type must be 'function'"),
        ({"tool_choice": "sometimes", "tools": [{"function": {"name": "f"}}]}, "^tool_choice: "),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "^messages.0.content.0.type: 'input_audio'",
        ),
        ({"messages": [{"role": "user", "content": 5}]}, "^messages.0.content: "),
        ({"messages": [{"role": "function", "content": "x"}]}, "^messages.0.role: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "^messages.0.tool_call_id: "),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}]}, "only text"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "file_data"),
    ],
)
def test_an_untranslatable_field_is_rejected_only_for_a_messages_backend(given: dict[str, Any], says: str) -> None:
    full = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **given}
    body = json.dumps(full).encode()
    request, _ = chat.read(body, {}, "msg_x")
    assert request.chat == body
    with pytest.raises(Problem, match=says):
        request.patched("m")


jsons = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["user", "text", "image_url"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "id"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(st.sampled_from(["messages", "tools", "tool_choice", "stop", "n", "response_format"]), jsons))
def test_any_body_is_read_or_rejected(given: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **given}).encode()
    try:
        request, _ = chat.read(body, {}, "msg_x")
        request.patched("other")
    except Problem as problem:
        assert problem.kind == "invalid_request"


def test_messages_events_are_encoded_as_chunks() -> None:
    request, _ = chat.read(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', {}, "msg_abc")
    chunks = chat.Chunks(request, 7, counted=True)
    data = chunks.encode(
        [
            MessageStart(Started("msg_abc", "m", MessageUsage(10, 0, 5))),
            BlockStart(0, TextStart()),
            BlockDelta(0, TextDelta("Hi")),
            BlockStop(0),
            BlockStart(1, ToolStart("c1", "f")),
            BlockStop(1),
            MessageDelta(Stop("tool_use"), Usage(10, 0, 5, 3)),
            MessageStop(),
        ]
    )
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    results = [json.loads(line) for line in lines[:-1]]
    assert all(item["id"] == "chatcmpl-abc" and item["created"] == 7 for item in results)
    assert [value["choices"][0]["delta"] for value in results[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert results[-1]["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 3,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 5},
    }


def test_a_deeply_nested_body_is_read_or_rejected() -> None:
    for depth in range(100, 1100):
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "x": %b%b}' % (
            b"[" * depth,
            b"]" * depth,
        )
        try:
            chat.read(body, {}, "msg_x")
        except Problem as problem:
            assert problem.kind == "invalid_request" and "nested" in problem.message


def test_a_missing_schema_is_named_in_the_error() -> None:
    with pytest.raises(Problem, match=r"^response_format\.json_schema\.schema: Field required"):
        read(response_format={"type": "json_schema", "json_schema": {"name": "a"}})


def chunks(*frames: Passthrough) -> list[Any]:
    request, _ = chat.read(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}', {}, "msg_x")
    data = chat.Chunks(request, 0, counted=True).encode(frames)
    return [value if value == b"[DONE]" else json.loads(value) for _, value in Decoder().feed(data)]


def test_events_without_an_event_line_are_read() -> None:
    """Some servers of the Messages API send `data:` alone, or a comment first."""
    begin = b'data: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\n\n'
    end = (
        b': x\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"}}\n\ndata: {"type":"message_stop"}\n\n'
    )
    first, second, third, last = chunks(Passthrough(begin, "start"), Passthrough(end, "end"))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert second["choices"][0]["finish_reason"] == "length"
    assert third["usage"]["prompt_tokens"] == 3 and last == b"[DONE]"


def test_the_beginning_of_a_stream_of_chunks_passes_through() -> None:
    begin = b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    assert chunks(Passthrough(begin, "start", chat=True))[0]["id"] == "1"


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"{}", b'{"type":"content_block_delta"}', b'{"type":"message_delta","usage":5}']
)
def test_an_invalid_event_of_the_backend_is_broken(data: bytes) -> None:
    with pytest.raises(Problem) as caught:
        chunks(Passthrough(b"event: content_block_delta\ndata: %b\n\n" % data, "content"))
    assert caught.value.kind == "broken"


def required(schema: Any) -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return read(response_format=form)["output_config"]["format"]["schema"]


def test_a_required_schema_is_closed_and_refused_words_move_to_the_description() -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": True}
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2, "description": "A name."},
            "items": {"type": "array", "minItems": 3, "items": item},
            "minimum": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/D"}]},
        },
        "required": ["name"],
        "$defs": {"D": {"type": ["object", "null"], "properties": {}}},
    }
    assert required(schema) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "A name.\n\n{minLength: 2}"},
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                    "additionalProperties": False,
                },
                "description": "{minItems: 3}",
            },
            "minimum": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/D"}]},
        },
        "required": ["name"],
        "$defs": {"D": {"type": ["object", "null"], "properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "form",
    [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}],
)
def test_any_json_object_is_required_in_words(form: dict[str, Any]) -> None:
    """A closed object without properties would permit only `{}`."""
    body = read(response_format=form)
    assert "output_config" not in body and body["system"] == "Answer with one JSON object and nothing else."


def test_a_deep_schema_is_closed_in_linear_time() -> None:
    def deep(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(min(levels, 500)):
            schema = {"type": "array", "items": schema}
        return {"type": "object", "properties": {str(at): schema for at in range(levels // 500 + 1)}}

    assert_linear(deep, required, size=500)


FUNCTIONS = [{"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}]


def test_the_older_form_of_tools_is_translated() -> None:
    body = read(
        functions=FUNCTIONS,
        function_call={"name": "look"},
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": '{"at": "x"}'}},
            {"role": "function", "name": "look", "content": "nothing"},
        ],
    )
    assert [tool["name"] for tool in body["tools"]] == ["look"]
    assert body["tool_choice"] == {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    _, call, result = body["messages"]
    assert call["content"] == [{"type": "tool_use", "id": "call_function_1", "name": "look", "input": {"at": "x"}}]
    assert result["content"] == [{"type": "tool_result", "tool_use_id": "call_function_1", "content": "nothing"}]


def test_a_result_without_its_older_call_is_rejected_with_its_path() -> None:
    request, _ = chat.read(b'{"model":"m","messages":[{"role":"function","name":"f","content":"x"}]}', {}, "msg_x")
    assert request.untranslatable is not None
    assert request.untranslatable.message == "messages.0.role: there is no function_call before this result"


def test_the_answer_to_the_older_form_has_a_function_call() -> None:
    writer = Writer("msg_abc", "m", MessageUsage(3))
    writer.tool("toolu_1", "look")
    writer.input('{"at":')
    writer.input('"x"}')
    writer.finish(Stop("tool_use"), Usage(3, output_tokens=2))
    (choice,) = json.loads(chat.completion(list(writer.events), 7, functions=True))["choices"]
    assert choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    assert choice["message"]["function_call"] == {"name": "look", "arguments": '{"at":"x"}'}
    request, fields = chat.read(
        json.dumps({"model": "m", "functions": FUNCTIONS, "messages": [{"role": "user"}]}).encode(), {}, "m"
    )
    assert fields.functions is not None
    data = chat.Chunks(request, 7, counted=False, functions=True).encode(writer.events).decode()
    chunks = [json.loads(line[6:])["choices"][0] for line in data.splitlines() if line.startswith("data: {")]
    deltas = [chunk["delta"]["function_call"] for chunk in chunks if "function_call" in chunk["delta"]]
    assert deltas[0] == {"name": "look", "arguments": ""}
    assert "".join(delta["arguments"] for delta in deltas) == '{"at":"x"}'
    assert chunks[-1]["finish_reason"] == "function_call" and "tool_calls" not in data


@pytest.mark.parametrize("arguments", ['{"a":"b', ""])
@pytest.mark.parametrize("functions", [False, True])
def test_a_tool_call_that_is_cut_has_the_same_arguments_in_a_stream_and_in_a_whole_answer(
    arguments: str, functions: bool
) -> None:
    request, _ = chat.read(b'{"messages":[{"role":"user","content":"x"}]}', {}, "msg_x")
    writer = Writer("msg_abc", "m", MessageUsage(3))
    writer.tool("toolu_1", "look")
    writer.input(arguments)
    writer.finish(Stop("max_tokens"), Usage(3, output_tokens=2))
    (choice,) = json.loads(chat.completion(list(writer.events), 7, functions=functions))["choices"]
    message = choice["message"]
    called = message["function_call"] if functions else message["tool_calls"][0]["function"]
    assert (called, choice["finish_reason"]) == ({"name": "look", "arguments": arguments}, "length")
    data = chat.Chunks(request, 7, counted=False, functions=functions).encode(writer.events).decode()
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in data.splitlines() if line.startswith("data: {")]
    named = [
        delta["function_call"] if functions else delta["tool_calls"][0]["function"]
        for delta in deltas
        if "function_call" in delta or "tool_calls" in delta
    ]
    assert "".join(function["arguments"] for function in named) == called["arguments"]


def test_a_chat_completion_without_a_model_is_for_the_alias_default() -> None:
    request, _ = chat.read(b' {"messages":[{"role":"user","content":"x"}]}', {}, "msg_x")
    assert request.model == "default" and json.loads(request.chat)["model"] == "default"
    call = completions.request(request, Target("box", "local", VENDORS["generic"]))
    assert json.loads(call.body) == {"model": "local", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
        {"messages": [{"role": "user", "content": "hi"}], "stream": True, "stream_options": {"include_usage": True}},
        {"model": "m", "messages": [{"role": "user", "content": "ü"}], "functions": [{"name": "f"}]},
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "input_audio"}]}],
            "max_completion_tokens": 7,
        },
    ],
)
def test_the_outline_is_what_the_whole_request_has(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    request, outline = chat.outline(data, {}, "msg_x")
    whole, fields = chat.read(data, {}, "msg_x")
    assert (request.model, request.stream, request.chat) == (whole.model, whole.stream, whole.chat)
    assert request.params.max_tokens == whole.params.max_tokens or whole.untranslatable is not None
    assert outline == (fields.counted, fields.functions is not None)
    assert request.content.translation is not None
    translated = request.content.translation()
    assert (translated.body, translated.extra) == (whole.body, whole.extra)
    target = Target("box", "local", VENDORS["generic"])
    assert completions.request(request, target) == completions.request(whole, target)
    request.content.release()
    assert request.content.translation is None and not request.chat


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages": []}',
        b'{"messages": "x"}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
    ],
)
def test_the_outline_rejects_what_no_backend_can_read(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        chat.outline(body, {}, "msg_x")
    assert raised.value.kind == "invalid_request"


def test_a_wish_for_reasoning_reaches_servers_with_other_apis() -> None:
    """With a temperature: servers of Anthropic refuse it together with thinking, others do not."""
    request = translated(reasoning_effort="high", temperature=0.5, verbosity="low", service_tier="flex")
    by_responses = Target("box", "gpt-5.6", VENDORS["openai"].by("responses"))
    given = json.loads(responses.request(request, by_responses).body)
    assert given["reasoning"]["effort"] == "high" and "temperature" not in given
    vllm = json.loads(completions.request(unchanged(request), Target("box", "qwen3", VENDORS["vllm"])).body)
    assert vllm["chat_template_kwargs"]["enable_thinking"] is True and vllm["temperature"] == 0.5
    body = json.loads(request.patched("m"))
    assert body["thinking"]["type"] == "adaptive" and "temperature" not in body


def unchanged(request: Request) -> Request:
    """The request as it is translated for a backend that gets the messages of Byway."""
    content = request.content
    return msgspec.structs.replace(
        request, content=Content(request.body, content.params, content.turns, extra=content.extra)
    )


def test_a_forced_choice_goes_without_thinking_to_a_messages_backend() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = translated(reasoning_effort="low", tools=tools, tool_choice="required", temperature=0.5)
    body = json.loads(request.patched("m"))
    assert "thinking" not in body and body["output_config"] == {"effort": "low"} and body["temperature"] == 0.5
    assert request.params.thinking is not None


def test_fields_that_the_responses_api_has_too_go_on_to_it() -> None:
    fields = {"service_tier": "flex", "metadata": {"a": "b"}, "prompt_cache_key": "k", "user": "u"}
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }
    by_responses = Target("box", "gpt-5.6", VENDORS["openai"].by("responses"))
    request = translated(**fields, verbosity="low", seed=1, response_format=schema)
    given = json.loads(responses.request(request, by_responses).body)
    assert {name: given[name] for name in fields} == fields
    assert given["text"]["verbosity"] == "low" and given["text"]["format"]["type"] == "json_schema"
    assert "seed" not in given and "verbosity" not in given


@pytest.mark.parametrize("content", ["", " ", None, [], [{"type": "text", "text": "\n"}]])
def test_a_message_of_the_user_without_text_is_left_out(content: Any) -> None:
    empty = {"role": "user", "content": content}
    hi, answer = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hm."}
    go_on = {"role": "user", "content": "Continue."}
    spoken = {"role": "assistant", "content": [{"type": "text", "text": "Hm."}]}
    assert conversation(empty) == conversation({"role": "system", "content": "Be."}) == [go_on]
    assert conversation(hi, empty) == [hi]
    assert conversation(empty, answer, empty) == [go_on, spoken, go_on]
    system = {"role": "system", "content": content or ""}
    assert "system" not in read(messages=[system, hi]) and conversation(hi, answer, hi, system)[-1] == hi


def test_parts_without_text_are_left_out() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    parts = [{"type": "text", "text": ""}, image, {"type": "text", "text": "See"}, {"type": "text", "text": " "}]
    (turn,) = conversation({"role": "user", "content": parts})
    assert [block["type"] for block in turn["content"]] == ["image", "text"]


def loop(*ids: str) -> list[dict[str, Any]]:
    """One turn of a tool loop with calls of these ids."""
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    results = [{"role": "tool", "tool_call_id": id, "content": f"{at}"} for at, id in enumerate(ids)]
    return [{"role": "assistant", "tool_calls": calls}, *results]


def test_ids_of_calls_are_valid_and_unique_with_their_results() -> None:
    kept = "toolu_byway" + "r" * 150
    turns = conversation(
        {"role": "user", "content": "hi"},
        *loop("functions.f:0", "call_0", kept),
        *loop("call_0", "call_0_2"),
        *loop("functions.f:0", "same", "same"),
    )
    calls = [[block["id"] for block in turn["content"]] for turn in turns if turn["role"] == "assistant"]
    results = [[block["tool_use_id"] for block in turn["content"]] for turn in turns[2::2]]
    assert calls == results
    ids = [id for turn in calls for id in turn]
    assert len(set(ids)) == len(ids) == 8 and all(re.fullmatch("[a-zA-Z0-9_-]+", id) for id in ids)
    assert calls[0][1:] == ["call_0", kept]


def test_repeated_ids_are_made_unique_in_linear_time() -> None:
    assert_linear(lambda size: loop(*["call_0"] * size), lambda turns: conversation(*turns), size=500)


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize(("given", "pieces"), [({}, [""]), ({}, []), ({"a": 1}, []), ({}, ['{"a"', ":1}"])])
@pytest.mark.parametrize(
    "ending",
    [
        [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}],
        [{"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}],
    ],
)
def test_the_arguments_of_a_streamed_call_are_an_object(
    given: Any, pieces: list[str], functions: bool, ending: list[dict[str, Any]]
) -> None:
    events: list[dict[str, Any]] = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": given},
        },
        *[
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces
        ],
        {"type": "content_block_stop", "index": 0},
        *ending,
    ]
    writer = chat.Chunks(translated(), 0, counted=False, functions=functions)
    frames = [
        Passthrough(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode(), "content") for event in events
    ]
    deltas = [json.loads(data)["choices"][0]["delta"] for _, data in Decoder().feed(writer.encode(frames))]
    texts = [
        (delta["function_call"] if functions else delta["tool_calls"][0]["function"])["arguments"]
        for delta in deltas
        if delta
    ]
    assert json.loads("".join(texts)) == ({"a": 1} if given or len(pieces) > 1 else {})


MARK = {"type": "ephemeral", "ttl": "1h"}


def test_a_messages_backend_gets_marks_for_its_prompt_cache() -> None:
    turns = [{"role": "system", "content": "Be."}, {"role": "user", "content": "hi"}, *loop("c")]
    body = sent(messages=turns)
    assert body["system"] == [{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}]
    assert body["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
    assert json.dumps(body).count("cache_control") == 2
    other = completions.request(unchanged(translated(messages=turns)), Target("box", "m", VENDORS["generic"]))
    assert b"cache_control" not in other.body


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": [{"type": "text", "text": "Be.", "cache_control": MARK}]},
        {"role": "system", "content": "Be.", "cache_control": MARK},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": MARK}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://a.b", "cache_control": MARK}]},
        {"role": "assistant", "content": [{"type": "text", "text": "x", "cache_control": MARK}]},
    ],
)
def test_marks_of_the_client_are_passed_on_and_none_is_added(message: dict[str, Any]) -> None:
    body = json.dumps(sent(messages=[message, {"role": "user", "content": "hi"}]))
    assert body.count("cache_control") == 1 and json.dumps(MARK) in body


def test_marks_on_tools_and_results_are_passed_on() -> None:
    tools = [{"type": "function", "function": {"name": "f"}, "cache_control": MARK}]
    result = {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "1", "cache_control": MARK}]}
    messages = [{"role": "user", "content": "hi"}, *loop("c")[:1], result]
    assert sent(tools=tools)["tools"][0]["cache_control"] == MARK
    body = json.dumps(sent(messages=messages))
    assert body.count("cache_control") == 1 and json.dumps(MARK) in body


def test_a_mark_divides_the_system_prompt() -> None:
    parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": MARK}]
    messages = [{"role": "system", "content": "Be."}, {"role": "developer", "content": parts}]
    more = {"role": "system", "content": "C"}
    assert sent(messages=[*messages, more, {"role": "user", "content": "hi"}])["system"] == [
        {"type": "text", "text": "Be.\n\nAB", "cache_control": MARK},
        {"type": "text", "text": "C"},
    ]


@pytest.mark.parametrize(("stop", "kept"), [("\n", None), (["\n", "END", " "], ["END"]), ([" "], None)])
def test_a_stop_sequence_of_white_space_does_not_go_to_a_messages_backend(stop: Any, kept: list[str] | None) -> None:
    assert sent(stop=stop).get("stop_sequences") == kept
    # Other servers accept it, or Byway ends the answer there.
    assert translated(stop=stop).params.stop_sequences == ([stop] if isinstance(stop, str) else stop)


def ollama_body(*messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    given = {"model": "m", "messages": messages, **options}
    made = ollama.read(json.dumps(given).encode(), {}, "msg_x", str, chat=True).request
    assert made is not None
    body: dict[str, Any] = json.loads(made.patched("m"))
    return body


def test_ollama_messages_and_ids_that_a_messages_backend_refuses() -> None:
    call = {"id": "functions.f:0", "function": {"name": "f", "arguments": {}}}
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
    ]
    empty = {"role": "user", "content": " "}
    body = ollama_body(empty, *turn, empty, *turn, options={"stop": ["\n", "END"], "temperature": 0.5}, think=True)
    assert body["messages"][0]["content"] == "Continue." and len(body["messages"]) == 5
    calls = [turn["content"][0]["id"] for turn in body["messages"][1::2]]
    assert calls == [turn["content"][0]["tool_use_id"] for turn in body["messages"][2::2]]
    assert len(set(calls)) == 2 and all(re.fullmatch("[a-zA-Z0-9_-]+", id) for id in calls)
    assert body["stop_sequences"] == ["END"] and "temperature" not in body
    assert body["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
