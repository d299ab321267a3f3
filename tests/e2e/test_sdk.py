"""The official `anthropic` SDK by way of Byway: synchronous, asynchronous, streaming, lists, counts, error classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anthropic
import pytest
import scripted
from anthropic.types import MessageParam, ToolParam
from e2e.conftest import ASK, SECRET, Wire
from gateway import Gateway, config
from scripted import Reply, Say, Scripted, Tool, cut
from strict import check_count, check_error, check_event, check_message, check_model

from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParserPool

TOOLS: list[ToolParam] = [
    {"name": name, "description": name, "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    for name in ("look", "list")
]
CALLS = (Tool("look", {"path": "/tmp/ü"}), Tool("list", {}))
HI: list[MessageParam] = [{"role": "user", "content": "hi"}]
MODEL = "claude-sonnet-5-5"


@contextmanager
def client(gateway: Gateway, **options: Any) -> Iterator[anthropic.Anthropic]:
    url = f"{gateway.url}/anthropic"
    with anthropic.Anthropic(base_url=url, api_key="dummy", **{"max_retries": 0, **options}) as resource:
        yield resource


@asynccontextmanager
async def async_client(gateway: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = f"{gateway.url}/anthropic"
    async with anthropic.AsyncAnthropic(base_url=url, auth_token="dummy", max_retries=0) as resource:
        yield resource


# -------------------------------- every answer, to the letter

ANSWERS: dict[str, Say] = {
    "text": Say("Hello there, you."),
    "empty": Say(""),
    "thinking": Say("So.", thinking="let me see"),
    "tools": Say("I look.", tools=CALLS),
    "woven tools": Say("I look.", tools=CALLS, woven=True),
    "tools without text": Say(tools=CALLS),
    "length": Say("cut o", stop="length"),
    "a filter": Say("no", stop="content_filter"),
    "an unknown reason": Say("x", stop="eos_token_found"),
    "no usage": Say("x", tokens=None),
    "gzip": Say("Hello there, you.", gzip=True),
    "no [DONE]": Say("Hello", done=False),
    "no finish": Say("Hello", edit=scripted.without(b'"finish_reason": "stop"')),
}


#: What only chat completions can say; a Messages backend's own bytes go through unopened.
CHAT_ONLY = ("empty", "a filter", "an unknown reason", "no usage", "no [DONE]", "no finish")
SAID = [("generic", name) for name in ANSWERS] + [("anthropic", name) for name in ANSWERS if name not in CHAT_ONLY]


@pytest.mark.parametrize(("vendor", "name"), SAID)
def test_every_answer_is_official_to_the_letter(vendor: str, name: str, both: dict[str, Wire]) -> None:
    wire = both[vendor]
    wire.play([ANSWERS[name]] * 2)
    whole = wire.post(tools=TOOLS)
    assert whole.status == 200, whole.body
    check_message(whole.json)
    streamed = wire.post(tools=TOOLS, stream=True)
    assert streamed.status == 200 and streamed.headers["content-type"].startswith("text/event-stream")
    events = [event for event in streamed.events if event["type"] != "ping"]
    for event in events:
        check_event(event)
    for answer in (whole.json, events[0]["message"]):
        assert answer["model"] == ASK["model"]
    for headers in (whole.headers, streamed.headers):
        assert headers["request-id"].startswith("req_")
        assert (headers["x-byway-backend"], headers["x-byway-model"]) == ("one", "one/local")
    assert events[-1]["type"] == "message_stop" and events[-2]["delta"]["stop_reason"] == whole.json["stop_reason"]


@pytest.fixture(scope="module")
def both(_wire: Wire) -> Iterator[dict[str, Wire]]:
    """Byway before each of the two protocols."""
    with Scripted() as server, Gateway(config(server, type="anthropic")) as gateway:
        yield {"generic": _wire, "anthropic": Wire(server, gateway)}


# -------------------------------- as people use it


def test_create(wire: Wire) -> None:
    wire.play([Say("Hello there.", tokens=(11, 3), thinking="hm")])
    with client(wire.gateway) as sdk:
        message = sdk.messages.create(model=MODEL, max_tokens=50, messages=HI, system="Be brief.")
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[1].type == "text" and message.content[1].text == "Hello there."
    assert (message.model, message.stop_reason) == (MODEL, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 3)
    assert message._request_id and message._request_id.startswith("req_")
    sent = wire.received[0].json
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert sent["model"] == "local" and 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_the_streaming_helper(wire: Wire) -> None:
    wire.play([Say("one two three", tools=CALLS, tokens=(11, 3))])
    with client(wire.gateway) as sdk:
        with sdk.messages.stream(model=MODEL, max_tokens=50, messages=HI, tools=TOOLS) as stream:
            text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "one two three"
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("look", {"path": "/tmp/ü"}), ("list", {})]
    assert message.stop_reason == "tool_use" and message.usage.input_tokens == 11


def test_a_tool_loop(wire: Wire) -> None:
    wire.play([Say("I look.", tools=CALLS), Say("There is nothing.")])
    with client(wire.gateway) as sdk:
        first = sdk.messages.create(model=MODEL, max_tokens=50, messages=HI, tools=TOOLS)
        ids = [block.id for block in first.content if block.type == "tool_use"]
        lines: Sequence[MessageParam] = [
            *HI,
            first.to_param(),
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": ids[0], "content": "nothing"},
                    {"type": "tool_result", "tool_use_id": ids[1], "content": "broken", "is_error": True},
                ],
            },
        ]
        second = sdk.messages.create(model=MODEL, max_tokens=50, messages=lines, tools=TOOLS)
    assert second.content[0].type == "text" and second.content[0].text == "There is nothing."
    sent = wire.received[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [message["tool_call_id"] for message in sent[2:]]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"path": "/tmp/ü"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_search_finds_a_tool_that_the_model_calls(wire: Wire, stream: bool) -> None:
    """By a pattern that runs in a child process; the next request repeats the search in its history."""
    search = Tool("tool_search_tool_regex", {"pattern": "^get_.*er$"})
    wire.play([Say("I search.", tools=[search]), Say(tools=[Tool("get_weather", {"place": "Oslo"})]), Say("Sun.")])
    schema: Any = {"type": "object", "properties": {"place": {"type": "string"}}}
    tools: list[Any] = [
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        {"name": "get_weather", "input_schema": schema, "defer_loading": True},
        {"name": "get_time", "input_schema": schema, "defer_loading": True},
    ]
    given: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "tools": tools}
    with client(wire.gateway) as sdk:
        if stream:
            with sdk.messages.stream(**given, messages=HI) as events:
                first = events.get_final_message()
        else:
            first = sdk.messages.create(**given, messages=HI)
        (result,) = [block for block in first.content if block.type == "tool_search_tool_result"]
        assert result.content.type == "tool_search_tool_search_result"
        assert [reference.tool_name for reference in result.content.tool_references] == ["get_weather"]
        (call,) = [block for block in first.content if block.type == "tool_use"]
        results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]
        lines: Any = [*HI, first.to_param(), {"role": "user", "content": results}]
        second = sdk.messages.create(**given, messages=lines)
    assert second.content[0].type == "text" and second.content[0].text == "Sun."
    names = [[tool["function"]["name"] for tool in request.json["tools"]] for request in wire.received]
    assert names == [["tool_search_tool_regex"], *[["tool_search_tool_regex", "get_weather"]] * 2]


def test_the_tool_runner_without_threads_and_with_a_compaction(wire: Wire) -> None:
    """It begins with a thread, goes on without, and replaces its history by the summary."""

    @anthropic.beta_tool
    def look(place: str) -> str:
        """Looks at a place.

        Args:
            place: The place.
        """
        return f"{place} is empty"

    turns = iter([Say(tools=[Tool("look", {"place": "here"})]), Say("SUMMARY"), Say("Nothing is there.")])
    wire.play(lambda request: next(turns))
    with client(wire.gateway) as sdk:
        runner = sdk.beta.messages.tool_runner(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "look"}], tools=[look]
        )
        reasons = []
        for message in runner:
            reasons.append(message.stop_reason)
            if len(reasons) == 1:
                runner.compact_before_next_turn()
    assert reasons == ["tool_use", "compaction", "end_turn"]
    assert [line["status"] for line in wire.logs(4)].count(400) == 1
    last = wire.received[-1].json["messages"]
    assert "SUMMARY" in json.dumps(last) and "is empty" not in json.dumps(last)


def test_a_pattern_that_needs_exponential_time_ends() -> None:
    texts = json.dumps([["a" * 60 + "!"]]).encode()
    with pytest.raises(ParseError) as caught:
        asyncio.run(ParserPool(time_limit=1).parse(ParseJob("pattern", pattern="(a+)+$"), texts))
    assert caught.value.reason == "limit"


def test_asynchronously_and_several_at_once(wire: Wire) -> None:
    """Answers that run at the same time do not mix; the key comes as a bearer token."""

    def script(request: scripted.Asked) -> Say:
        return Say(f"You said {request.json['messages'][-1]['content']}.", gap=0.01)

    wire.play(script)

    async def ask(sdk: anthropic.AsyncAnthropic, word: str, stream: bool) -> str:
        messages: list[MessageParam] = [{"role": "user", "content": word}]
        if not stream:
            message = await sdk.messages.create(model=MODEL, max_tokens=50, messages=messages)
        else:
            async with sdk.messages.stream(model=MODEL, max_tokens=50, messages=messages) as flow:
                message = await flow.get_final_message()
        assert message.content[0].type == "text"
        return message.content[0].text

    async def main() -> list[str]:
        async with async_client(wire.gateway) as sdk:
            return await asyncio.gather(*(ask(sdk, f"w{at}", at % 2 == 0) for at in range(12)))

    assert asyncio.run(main()) == [f"You said w{at}." for at in range(12)]


def test_an_image_reaches_the_model(wire: Wire) -> None:
    wire.play([Say("A dot.")])
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    with client(wire.gateway) as sdk:
        sdk.messages.create(
            model=MODEL,
            max_tokens=50,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": dot}},
                        {"type": "text", "text": "What is it?"},
                    ],
                }
            ],
        )
    parts = wire.received[0].json["messages"][-1]["content"]
    assert {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{dot}"}} in parts


def test_count_tokens(wire: Wire, both: dict[str, Wire]) -> None:
    wire.play([])
    both["anthropic"].server.count = 4321
    with client(wire.gateway) as sdk:
        short = sdk.messages.count_tokens(model=MODEL, messages=HI).input_tokens
        long = sdk.messages.count_tokens(
            model=MODEL, messages=[{"role": "user", "content": "Once upon a time. " * 500}]
        ).input_tokens
    assert 0 < short < 60 and 1500 < long < 5000
    assert wire.received == []
    answer = both["anthropic"].gateway.post(ASK, "/v1/messages/count_tokens")
    check_count(answer.json)
    assert answer.json == {"input_tokens": 4321}


def test_models() -> None:
    names = ("qwen3:8b", "mistralai/devstral", "claude-like")
    with Scripted(models=names) as server:
        backend = {"name": "box", "type": "generic", "url": f"{server.url}/v1"}
        with Gateway({"backends": [backend], "model_aliases": {"sonnet": "qwen3:8b"}}) as gateway:
            with client(gateway) as sdk:
                listed = list(sdk.models.list(limit=2))
                ids = [model.id for model in listed]
                assert len(set(ids)) == len(ids) and set(names) <= set(ids)
                for name in names:
                    assert sdk.models.retrieve(name).id == name
                # Claude Code keeps only what has its name in it, so every model is there under such a name too.
                assert all(any(name in id for id in ids if "claude" in id) for name in names)
                assert all(model.display_name for model in listed)
                with pytest.raises(anthropic.NotFoundError):
                    sdk.models.retrieve("no/such")
            page = gateway.get("/v1/models?limit=2").json
            assert page["has_more"] is True and page["object"] == "list" and len(page["data"]) == 2
            assert (page["first_id"], page["last_id"]) == (ids[0], ids[1])
            assert [model["id"] for model in gateway.get(f"/v1/models?limit=1&after_id={ids[0]}").json["data"]] == ids[
                1:2
            ]
            assert [model["id"] for model in gateway.get(f"/v1/models?before_id={ids[2]}").json["data"]] == ids[:2]
            for model in gateway.get("/anthropic/v1/models").json["data"]:
                check_model(model)
            check_model(gateway.get("/v1/models/mistralai/devstral").json)
            check_model(gateway.get("/v1/models/mistralai%2Fdevstral").json)


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_both_versions_and_any_beta_are_fine(wire: Wire, version: str) -> None:
    wire.play([Say("x")])
    headers = {"anthropic-version": version, "anthropic-beta": "no-such-2099-01-01,effort-2025-11-24", "x-odd": "1"}
    extra = {"temperature": 0.5} if version == "2023-06-01" else {}
    body = {**ASK, **extra, "no_such_field": {"a": 1}, "output_config": {"effort": "high"}}
    answer = wire.gateway.post(body, "/v1/messages?beta=true&x=1", headers)
    assert answer.status == 200, answer.body
    check_message(answer.json)


# -------------------------------- errors

ERRORS: dict[str, tuple[Reply, type[anthropic.APIStatusError], str, str]] = {
    "400": (
        scripted.openai_error(400, "Unsupported value.", "invalid_request_error"),
        anthropic.BadRequestError,
        "invalid_request_error",
        "Unsupported value",
    ),
    "422 of FastAPI": (
        scripted.detail(422, [{"loc": ["seed"], "msg": "no"}]),
        anthropic.BadRequestError,
        "invalid_request_error",
        "seed",
    ),
    "an overflow": (
        scripted.llamacpp_overflow(23016, 8192),
        anthropic.BadRequestError,
        "invalid_request_error",
        "prompt is too long: 23016 tokens > 8192 maximum",
    ),
    "401": (
        scripted.openai_error(401, f"Incorrect API key provided: {SECRET}.", "invalid_request_error"),
        anthropic.InternalServerError,
        "api_error",
        "`api_key`",
    ),
    "404 of Ollama": (
        scripted.ollama_error(404, 'model "local" not found'),
        anthropic.NotFoundError,
        "not_found_error",
        "not found",
    ),
    "429": (
        scripted.openai_error(429, "Slow down.", "requests", "rate_limit_exceeded", retry_after="7"),
        anthropic.RateLimitError,
        "rate_limit_error",
        "Slow down.",
    ),
    "500 of vLLM": (
        scripted.vllm_error(500, "CUDA error", "InternalServerError"),
        anthropic.InternalServerError,
        "api_error",
        "CUDA",
    ),
    "loading": (
        scripted.llamacpp_error(503, "Loading model", "unavailable_error"),
        anthropic.ServiceUnavailableError,
        "overloaded_error",
        "Loading model",
    ),
    "502 page": (scripted.page(502), anthropic.InternalServerError, "api_error", "HTTP 502"),
    "529": (
        scripted.anthropic_error(529, "overloaded_error", "Overloaded"),
        anthropic.OverloadedError,
        "overloaded_error",
        "Overloaded",
    ),
    "an error chunk in a 200": (
        scripted.sse({"error": {"message": "boom", "code": 500}}),
        anthropic.InternalServerError,
        "api_error",
        "boom",
    ),
    "a page with 200": (scripted.page(200, "Sign in"), anthropic.InternalServerError, "api_error", "web page"),
    "no choices": (
        scripted.json_reply(200, {"id": "x", "choices": []}),
        anthropic.InternalServerError,
        "api_error",
        "",
    ),
    "an error in a 200": (
        scripted.json_reply(200, {"error": "out of memory"}),
        anthropic.InternalServerError,
        "api_error",
        "out of memory",
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("reply", "kind", "type", "words"), ERRORS.values(), ids=ERRORS)
def test_errors_come_as_their_class(
    wire: Wire, reply: Reply, kind: type[anthropic.APIStatusError], type: str, words: str, stream: bool
) -> None:
    wire.play([reply] * 2)
    with client(wire.gateway) as sdk, pytest.raises(kind) as caught:
        sdk.messages.create(model=MODEL, max_tokens=50, messages=HI, stream=stream)
    error = caught.value
    assert error.type == type and words in (error.api_message or "")
    assert SECRET not in str(error.body) and "<html>" not in str(error.body)
    assert isinstance(error.body, dict)
    check_error(error.body)
    assert error.request_id == error.body["request_id"] == error.response.headers["request-id"]
    if kind is anthropic.RateLimitError:
        assert error.response.headers["retry-after"] == "7"
    if "`api_key`" in words:
        assert error.response.headers["x-should-retry"] == "false"


def test_the_sdk_waits_and_tries_again_by_itself(wire: Wire) -> None:
    wire.play([scripted.openai_error(429, "Slow down.", "requests", retry_after="3"), Say("Now.")])
    with client(wire.gateway, max_retries=1) as sdk:
        message = sdk.messages.create(model=MODEL, max_tokens=50, messages=HI)
    assert message.content[0].type == "text" and message.content[0].text == "Now."
    assert wire.received[1].at - wire.received[0].at >= 2.9


def test_a_stream_that_breaks_raises(wire: Wire) -> None:
    wire.play([Say("one two three", edit=cut(3))])
    with (
        client(wire.gateway) as sdk,
        pytest.raises(anthropic.APIStatusError) as caught,
        sdk.messages.stream(model=MODEL, max_tokens=50, messages=HI) as stream,
    ):
        stream.get_final_message()
    assert isinstance(caught.value.body, dict)
    check_error(caught.value.body)


def test_a_model_that_is_not_there_names_those_that_are() -> None:
    with Scripted() as server:
        # A single model would be the default.
        backends = [{**config(server)["backends"][0], "models": ["local", "other"]}]
    with Gateway({"backends": backends}) as gateway, client(gateway) as sdk:
        with pytest.raises(anthropic.NotFoundError) as caught:
            sdk.messages.create(model="claude-haiku-4-5-20251001", max_tokens=50, messages=HI)
        message = str(caught.value.api_message)
        assert caught.value.type == "not_found_error"
        assert "claude-haiku-4-5-20251001" in message and "local" in message and "model_aliases" in message
