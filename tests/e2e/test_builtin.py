"""What a real llama.cpp does with what Byway sends: the built-in model, whose template has no tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from gateway import Gateway
from strict import check_event, check_message

pytestmark = pytest.mark.real
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {
    "name": "get_time",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    with Gateway(model=True) as gateway:
        gateway.wait(lambda: gateway.get("/readyz").json["backends"][0]["state"] == "ready", what="the model is loaded")
        yield gateway


def body(**fields: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    return {"model": "sonnet", "max_tokens": 100, "messages": [question], **fields}


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "get_weather"}, {"type": "any"}])
def test_a_forced_tool_choice_gives_a_call(gateway: Gateway, choice: dict[str, str]) -> None:
    answer = gateway.post(body(tools=[WEATHER, CLOCK], tool_choice=choice)).json
    check_message(answer)
    assert answer["stop_reason"] == "tool_use"
    call = answer["content"][0]
    assert call["type"] == "tool_use" and call["name"] in ("get_weather", "get_time")
    if choice["type"] == "tool":
        assert call["name"] == "get_weather" and isinstance(call["input"]["city"], str)


def test_a_forced_tool_choice_is_streamed_too(gateway: Gateway) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    events = gateway.post(body(stream=True, tools=[WEATHER], tool_choice=choice)).events
    for event in events:
        check_event(event)
    assert [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"] == [
        "tool_use"
    ]


def test_the_form_of_an_answer_is_kept(gateway: Gateway) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = gateway.post(body(output_config=form)).json
    check_message(answer)
    assert answer["content"][0]["text"].lstrip().startswith("{") and '"title"' in answer["content"][0]["text"]


def test_count_tokens_equals_the_usage_of_the_answer(gateway: Gateway) -> None:
    request = body(system="Be brief.", tools=[WEATHER], max_tokens=1)
    counted = gateway.post(
        {name: request[name] for name in request if name != "max_tokens"}, "/v1/messages/count_tokens"
    )
    assert counted.headers["x-byway-count"] == "backend"
    usage = gateway.post(request).json["usage"]
    assert counted.json["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


@pytest.mark.parametrize(
    "property",
    [
        {"type": "array", "items": {"type": "string"}, "minItems": 5, "maxItems": 2},
        {"$ref": "#/$defs/loop"},
        {"type": "string", "minLength": 3000, "pattern": "^(?=a)b$"},
        {"type": "any", "enum": []},
    ],
)
def test_a_schema_that_kills_llama_cpp_does_not(gateway: Gateway, property: dict[str, Any]) -> None:
    """Each of them, as it is, is refused by b11549 or takes all memory until the server dies (run 2026-11-21)."""
    schema = {"type": "object", "properties": {"a": property}, "$defs": {"loop": {"$ref": "#/$defs/loop"}}}
    form = {"format": {"type": "json_schema", "schema": schema}}
    check_message(gateway.post(body(output_config=form, max_tokens=8)).json)
    tool = {"name": "odd", "input_schema": schema}
    check_message(gateway.post(body(tools=[tool], tool_choice={"type": "any"}, max_tokens=8)).json)


def test_a_file_reaches_the_built_in_model_as_content(gateway: Gateway) -> None:
    text = "The code word is halibut. " * 20
    with anthropic.Anthropic(base_url=gateway.url, api_key="dummy", max_retries=0) as client:
        file = client.files.upload(file=("notes.txt", text.encode()))
        document: Any = {"type": "document", "source": {"type": "file", "file_id": file.id}}
        inline: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}
        used = [
            client.messages.create(model="sonnet", max_tokens=4, messages=[{"role": "user", "content": [block]}]).usage
            for block in (document, inline)
        ]
        client.files.delete(file.id)
    sums = [usage.input_tokens + (usage.cache_read_input_tokens or 0) for usage in used]
    assert sums[0] == sums[1] > 100
