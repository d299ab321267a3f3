"""The official `openai` SDK by way of Byway: backends that speak chat, others that speak Messages, searches that Byway runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest
import scripted
from gateway import Gateway, config
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers import KEY, FakeProviders, ProviderResponse, brave_error
from scripted import Asked, Reply, Say, Scripted, Tool, cut

pytestmark = pytest.mark.real

LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}
SEARCH: Any = {
    "type": "function",
    "function": {"name": "web_search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}
HI: Any = [{"role": "user", "content": "hi"}]
#: A backend of each protocol.
KINDS = {"openai": "generic", "anthropic": "anthropic"}


@contextmanager
def stage(script: Any, type: str = "generic", **sections: Any) -> Iterator[tuple[openai.OpenAI, Scripted, Gateway]]:
    with Scripted(script) as server:
        settings = config(server, type=type, **sections)
        # The fake server listens on loopback, but stands for a cloud where its vendor is one.
        settings["backends"][0]["local"] = type not in ("openai", "anthropic")
        with Gateway(settings) as gateway:
            with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="dummy", max_retries=0) as client:
                yield client, server, gateway
            server.check()


def strictly(value: Any) -> None:
    """No field that the SDK does not know, but for what everybody adds."""
    extra = set(value.model_extra or {}) - {"timings"}
    assert not extra, extra


def joined(chunks: Sequence[ChatCompletionChunk]) -> tuple[str, list[tuple[str, Any]], str | None]:
    """Text, tool calls and finish reason of a stream."""
    text, finish = "", None
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        strictly(chunk)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                known = calls.setdefault(call.index, [call.function.name or "", ""])
                known[1] += call.function.arguments or ""
    return text, [(name, json.loads(given)) for name, given in calls.values()], finish


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
def test_an_answer_whole_and_streamed(type: str) -> None:
    with stage([Say("Hello there."), Say("Hello there.")], type) as (client, server, gateway):
        whole = client.chat.completions.create(model="gpt-4o", messages=HI, max_tokens=50)
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=HI, max_tokens=50, stream=True))
    strictly(whole)
    assert isinstance(whole, ChatCompletion)
    assert whole.choices[0].message.content == "Hello there." and whole.choices[0].finish_reason == "stop"
    assert whole.model == "gpt-4o" and all(chunk.model == "gpt-4o" for chunk in chunks)
    assert whole.usage is not None and (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (100, 20)
    assert joined(chunks) == ("Hello there.", [], "stop")
    # Nobody asked for the usage, so no chunk without choices comes; the meter knows it all the same.
    assert all(chunk.choices for chunk in chunks)
    line = gateway.requests("/v1/chat/completions")[-1]
    assert (line["input_tokens"], line["output_tokens"], line["status"]) == (100, 20, 200)
    assert server.requests[0].json["model"] == "local"


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
def test_usage_at_the_end_of_a_stream_that_asks_for_it(type: str) -> None:
    with stage([Say("Hello")], type) as (client, _, _):
        options: Any = {"include_usage": True}
        last = list(client.chat.completions.create(model="x", messages=HI, stream=True, stream_options=options))[-1]
    assert last.choices == [] and last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (100, 20)


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_their_results(type: str, stream: bool) -> None:
    call = Tool("look", {"path": "/ü"}, id="call_1")
    with stage([Say("I look.", tools=[call, Tool("look", {"path": "b"}, id="call_2")]), Say("Done.")], type) as (
        client,
        server,
        _,
    ):
        messages: Any = [{"role": "system", "content": "Be brief."}, *HI]
        if stream:
            given = client.chat.completions.create(model="x", messages=messages, tools=[LOOK], stream=True)
            text, calls, finish = joined(list(given))
        else:
            choice = client.chat.completions.create(model="x", messages=messages, tools=[LOOK]).choices[0]
            text, finish = choice.message.content or "", choice.finish_reason
            calls = [
                (item.function.name, json.loads(item.function.arguments))
                for item in choice.message.tool_calls or ()
                if item.type == "function"
            ]
        assert (text, calls, finish) == ("I look.", [("look", {"path": "/ü"}), ("look", {"path": "b"})], "tool_calls")
        messages += [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": "look", "arguments": '{"path": "a"}'}}
                    for id in ("call_1", "call_2")
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "And?"},
        ]
        answer = client.chat.completions.create(model="x", messages=messages, tools=[LOOK], max_tokens=20)
        assert answer.choices[0].message.content == "Done."
    sent = server.requests[1].json
    if type == "anthropic":
        assert sent["system"] == [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
        assert sent["max_tokens"] == 20
        assert sent["tools"] == [
            {"name": "look", "description": "Looks.", "input_schema": LOOK["function"]["parameters"]}
        ]
        results = sent["messages"][2]["content"]
        assert [result["tool_use_id"] for result in results] == ["call_1", "call_2"]
        assert server.requests[0].json["max_tokens"] == 32000, "the Messages API wants a limit"
    else:
        assert sent["messages"] == messages, "the client's own words go through"


def test_fields_that_byway_does_not_know_go_through() -> None:
    with stage([Say("x"), Say("y")]) as (client, server, _):
        extra = {"min_p": 0.1, "chat_template_kwargs": {"a": 1}}
        client.chat.completions.create(
            model="x", messages=HI, seed=7, logprobs=True, n=2, temperature=1.7, extra_body=extra
        )
        audio: Any = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
        client.chat.completions.create(model="x", messages=[{"role": "user", "content": audio}])
    first, second = (request.json for request in server.requests)
    assert (first["seed"], first["n"], first["logprobs"], first["min_p"], first["temperature"]) == (
        7,
        2,
        True,
        0.1,
        1.7,
    )
    assert second["messages"][0]["content"] == audio


def test_what_has_no_words_in_the_messages_api_is_refused_in_words() -> None:
    with stage([], "anthropic") as (client, _, _):
        audio: Any = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
        with pytest.raises(openai.BadRequestError, match="'input_audio' is not supported by the Messages API"):
            client.chat.completions.create(model="x", messages=[{"role": "user", "content": audio}])
        with pytest.raises(openai.BadRequestError, match="n: must be 1 or absent"):
            client.chat.completions.create(model="x", messages=HI, n=2)


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
def test_errors_have_the_form_that_chat_clients_read(type: str) -> None:
    broken: Reply = scripted.openai_error(429, "slow down", "rate_limit", retry_after="7")
    with stage([broken, broken], type) as (client, _, _):
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            client.chat.completions.create(model="x", messages=HI)
        assert caught.value.response.headers["retry-after"] == "7"
        with pytest.raises(openai.BadRequestError, match="messages: Expected `array`"):
            client.post("/chat/completions", body={"model": "x", "messages": 1}, cast_to=object)
    keys = {"api_keys": [{"key": "the-key-of-the-team"}]}
    refused = pytest.raises(openai.AuthenticationError, match="requires a valid API key")
    with stage([], api_keys=keys) as (client, _, _), refused:
        client.chat.completions.create(model="x", messages=HI)


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
def test_a_stream_that_breaks_off_ends_with_an_error(type: str) -> None:
    broken = pytest.raises(openai.APIError, match=r"ended before it was finished|closed the connection")
    with stage([Say("one two three four", edit=cut(4))], type) as (client, _, _), broken:
        list(client.chat.completions.create(model="x", messages=HI, stream=True))


def test_a_backend_that_does_not_stream() -> None:
    def whole(request: Asked) -> Reply:
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "local",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        }
        return scripted.json_reply(200, body)

    with stage(whole) as (client, _, _):
        chunks = list(client.chat.completions.create(model="x", messages=HI, stream=True))
    assert joined(chunks) == ("Hi", [], "stop")


def test_the_next_target_answers_in_the_other_protocol() -> None:
    with Scripted([scripted.openai_error(503, "no", "x")]) as first_server, Scripted([Say("from the second")]) as two:
        backends = [
            {"name": "one", "type": "generic", "url": first_server.url, "models": ["a"]},
            {"name": "two", "type": "anthropic", "url": two.url, "models": ["b"]},
        ]
        with (
            Gateway({"backends": backends, "model_aliases": {"default": ["one/a", "two/b"]}}) as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        ):
            chunks = list(client.chat.completions.create(model="x", messages=HI, stream=True))
        assert joined(chunks)[0] == "from the second"


# -------------------------------- searches that Byway runs


def searching(request: Asked) -> Say:
    """A model that searches once, and then answers from what it was told."""
    last = request.json["messages"][-1]
    if last["role"] == "tool":
        return Say(f"I have read: {last['content'][:400]}")
    offered = [tool["function"]["name"] for tool in request.json.get("tools") or ()]
    if "web_search" in offered:
        return Say(tools=[Tool("web_search", {"query": "rust release"}, id="call_s")])
    return Say(f"no search among {offered}")


@contextmanager
def searched(
    inject: str, script: Any = searching, failing: ProviderResponse | None = None, type: str = "generic"
) -> Iterator[tuple[openai.OpenAI, Scripted, FakeProviders, Gateway]]:
    with FakeProviders(lambda seen: failing) as provider:
        web = {
            "enabled": True,
            "provider": "brave",
            "api_key": KEY,
            "base_url": provider.url,
            "cache_ttl": 0,
            "inject": inject,
            "max_tool_iterations": 2,
        }
        with stage(script, type, web_search=web) as (client, server, gateway):
            yield client, server, provider, gateway


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("inject", "tools"), [("when_asked", [SEARCH]), ("always", []), ("always", [LOOK])])
def test_byway_searches_for_a_client_that_knows_nothing_of_it(inject: str, tools: list[Any], stream: bool) -> None:
    with searched(inject) as (client, server, provider, gateway):
        more: Any = {"tools": tools} if tools else {}
        made = client.chat.completions.create(model="x", messages=HI, seed=5, stream=stream, **more)
        if isinstance(made, ChatCompletion):
            text = made.choices[0].message.content or ""
            calls: list[Any] = []
            finish: str | None = made.choices[0].finish_reason
            assert made.choices[0].message.tool_calls is None
            assert made.usage is not None and made.usage.prompt_tokens == 200, "both turns of the model"
        else:
            text, calls, finish = joined(list(made))
    assert text.startswith("I have read: ") and "https://" in text and not calls and finish == "stop"
    assert [seen.text for seen in provider.seen] == ["rust release"]
    assert all(request.json["seed"] == 5 for request in server.requests), "fields of chat alone stay in every turn"
    assert any(line.get("message") == "web_search loop round complete" for line in gateway.logs)


@pytest.mark.parametrize(
    ("inject", "type", "tools"),
    [
        ("off", "generic", [SEARCH]),
        ("when_asked", "generic", [LOOK]),
        ("always", "generic", [SEARCH]),
        ("always", "openai", [LOOK]),
    ],
)
def test_clients_with_their_own_search_get_none_from_byway(inject: str, type: str, tools: list[Any]) -> None:
    """Off; no tool of that name; a client that runs its own; and a cloud that has one of its own."""
    with searched(inject, lambda request: Say("plain"), type=type) as (client, server, provider, _):
        client.chat.completions.create(model="x", messages=HI, tools=tools)
    assert server.requests[0].json["tools"] == tools and not provider.seen


def test_what_has_no_words_in_the_messages_api_goes_on_as_it_is_where_all_others_are_searched_for() -> None:
    with searched("always", lambda request: Say("plain")) as (client, server, provider, _):
        client.chat.completions.create(model="x", messages=HI, n=2)
    (sent,) = server.requests
    assert sent.json == {"model": "local", "messages": HI, "n": 2} and not provider.seen


def test_a_failed_search_is_reported_to_the_model() -> None:
    with searched("when_asked", failing=(429, brave_error("RATE_LIMITED", "Request rate limit exceeded", 429))) as (
        client,
        _,
        _,
        _,
    ):
        made = client.chat.completions.create(model="x", messages=HI, tools=[SEARCH])
    text = made.choices[0].message.content or ""
    assert json.loads(text.removeprefix("I have read: "))["error"].startswith("too_many_requests")


def test_a_model_that_never_stops_searching_has_to_answer() -> None:
    def again(request: Asked) -> Say:
        if not request.json.get("tools"):
            return Say("Enough.")
        return Say(tools=[Tool("web_search", {"query": "more"}, id=f"call_{len(request.json['messages'])}")])

    with searched("always", again) as (client, server, provider, _):
        made = client.chat.completions.create(model="x", messages=HI)
    assert made.choices[0].message.content == "Enough."
    assert len(provider.seen) == 2 and len(server.requests) == 3


def test_calls_of_the_clients_own_tools_reach_it() -> None:
    with searched("always", lambda request: Say(tools=[Tool("look", {"path": "a"}, id="call_l")])) as (client, _, _, _):
        made = client.chat.completions.create(model="x", messages=HI, tools=[LOOK])
    calls = made.choices[0].message.tool_calls
    assert calls is not None and calls[0].id == "call_l" and made.choices[0].finish_reason == "tool_calls"


def test_messages_clients_get_it_too() -> None:
    with (
        searched("when_asked") as (_, _, provider, gateway),
        anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0) as client,
    ):
        made = client.messages.create(
            model="x",
            max_tokens=100,
            messages=[{"role": "user", "content": "hi"}],
            tools=[{"name": "web_search", "input_schema": {"type": "object", "properties": {}}}],
        )
    assert [block.type for block in made.content] == ["text"] and len(provider.seen) == 1
