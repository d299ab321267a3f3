"""Ollama's API with the official `ollama` package, in front of a chat server and of a Messages server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from gateway import Gateway, config
from scripted import Asked, End, Gate, Reply, Say, Scripted, Tool, json_reply, openai_error

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module", params=["generic", "anthropic"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Scripted, Gateway, ollama.Client]]:
    timeouts = {"commit_after": 0.2, "ping_after": 1}
    with (
        Scripted() as server,
        Gateway(config(server, type=request.param, timeouts=timeouts)) as gateway,
        ollama.Client(host=gateway.url) as client,
    ):
        yield server, gateway, client


@pytest.fixture
def server(pair: tuple[Scripted, Gateway, ollama.Client]) -> Scripted:
    return pair[0]


@pytest.fixture
def gateway(pair: tuple[Scripted, Gateway, ollama.Client]) -> Gateway:
    return pair[1]


@pytest.fixture
def client(pair: tuple[Scripted, Gateway, ollama.Client]) -> ollama.Client:
    return pair[2]


def test_chat_whole_and_streamed(server: Scripted, client: ollama.Client) -> None:
    server.play([Say("Hello there, you.", thinking="hm")] * 2)
    whole = client.chat("local", HI, think=True)
    assert (whole.message.content, whole.message.thinking) == ("Hello there, you.", "hm")
    assert (whole.done, whole.done_reason, whole.prompt_eval_count, whole.eval_count) == (True, "stop", 100, 20)
    chunks = list(client.chat("local", HI, think=True, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == "Hello there, you."
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == "hm"
    assert len(chunks) > 3 and [chunk.done for chunk in chunks].count(True) == 1
    assert (chunks[-1].done_reason, chunks[-1].prompt_eval_count, chunks[-1].eval_count) == ("stop", 100, 20)
    assert chunks[0].model == "local" and chunks[0].created_at


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop(stream: bool, server: Scripted, client: ollama.Client) -> None:
    calls = (Tool("weather", {"city": "Köln"}), Tool("weather", {"city": "Bonn"}))
    server.play([Say("I look.", tools=calls), Say("Rain in Köln.")])

    def ask(conversation: list[Any]) -> list[ollama.ChatResponse]:
        if stream:
            return list(client.chat("local", conversation, tools=[WEATHER], stream=True))
        return [client.chat("local", conversation, tools=[WEATHER])]

    made = [call for chunk in ask(HI) for call in chunk.message.tool_calls or ()]
    assert [(call.function.name, call.function.arguments) for call in made] == [
        ("weather", {"city": "Köln"}), ("weather", {"city": "Bonn"}),
    ]  # fmt: skip
    results = [{"role": "tool", "content": text, "tool_name": "weather"} for text in ("rain", "sun")]
    answers = ask([*HI, {"role": "assistant", "content": "I look.", "tool_calls": made}, *results])
    assert "".join(chunk.message.content or "" for chunk in answers) == "Rain in Köln."
    sent = json.dumps(server.last.json["messages"])
    assert sent.index("rain") < sent.index("sun")
    ids = [call["id"] for call in _calls(server.last)]
    assert ids == [id for id in _results(server.last)] and len(set(ids)) == 2


def _calls(request: Asked) -> list[dict[str, Any]]:
    """The tool calls of the conversation, in either protocol."""
    if request.anthropic:
        blocks = [
            block for turn in request.json["messages"] if isinstance(turn["content"], list) for block in turn["content"]
        ]
        return [block for block in blocks if block["type"] == "tool_use"]
    return [call for turn in request.json["messages"] for call in turn.get("tool_calls") or ()]


def _results(request: Asked) -> list[str]:
    """The ids of calls that have a result."""
    if request.anthropic:
        blocks = [
            block for turn in request.json["messages"] if isinstance(turn["content"], list) for block in turn["content"]
        ]
        return [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    return [turn["tool_call_id"] for turn in request.json["messages"] if turn["role"] == "tool"]


def test_images_options_and_formats_arrive(server: Scripted, client: ollama.Client) -> None:
    server.play([Say('{"a": 1}')])
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    message = {"role": "user", "content": "what is it?", "images": [PNG]}
    options = {"temperature": 0.5, "num_predict": 77, "stop": ["END"], "num_ctx": 4096, "top_p": 0.9}
    answer = client.chat(
        "local", [{"role": "system", "content": "Be brief."}, message], format=schema, options=options, keep_alive="5m"
    )
    assert answer.message.content == '{"a": 1}'
    sent = server.last.json
    text = json.dumps(sent)
    assert PNG in text and "Be brief." in text and '"a"' in text and "num_ctx" not in text and "keep_alive" not in text
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (77, 0.5, 0.9)


def test_generate_whole_and_streamed(server: Scripted, client: ollama.Client) -> None:
    server.play([Say("Once upon a time.")] * 2)
    whole = client.generate("local", "Tell a tale", system="Be brief.")
    assert (whole.response, whole.done, whole.eval_count) == ("Once upon a time.", True, 20)
    assert "".join(chunk.response or "" for chunk in client.generate("local", "x", stream=True)) == "Once upon a time."


def test_a_request_without_a_conversation_loads_the_model(server: Scripted, client: ollama.Client) -> None:
    server.play([])
    assert client.generate("local").done_reason == "load"
    assert client.chat("local", [], keep_alive=0).done_reason == "unload"
    assert not server.requests


def test_errors_have_ollamas_form(server: Scripted, gateway: Gateway, client: ollama.Client) -> None:
    server.play(lambda request: openai_error(400, "the prompt is odd", "invalid_request_error"))
    with pytest.raises(ollama.ResponseError, match="the prompt is odd") as raised:
        client.chat("local", HI)
    assert raised.value.status_code == 400
    for body in (b"no", b"{}", b'{"model": "local", "messages": [{"role": "user", "images": ["?"]}]}'):
        answer = gateway.ask("POST", "/api/chat", body)
        assert answer.status == 400 and list(answer.json) == ["error"], answer.body


def test_a_slow_stream_has_signs_of_life_and_may_end_with_an_error(
    server: Scripted, gateway: Gateway, client: ollama.Client
) -> None:
    gate = Gate()
    server.play([Reply(steps=(gate, End.CLOSE), kind="text/event-stream", chunked=True)])
    with gateway.open("POST", "/api/chat", json.dumps({"model": "local", "messages": HI}).encode()) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        first = json.loads(response.readline())
        assert first["message"] == {"role": "assistant", "content": ""} and first["done"] is False
        gate.set()
        lines = response.read().decode().splitlines()
    assert list(json.loads(lines[-1])) == ["error"]


def test_the_models_are_listed_and_described(gateway: Gateway, client: ollama.Client) -> None:
    listed = client.list().models
    assert "local" in [model.model for model in listed]
    assert not [model for model in listed if (model.model or "").startswith("claude-byway-")]
    described = client.show("local:latest")
    assert "completion" in (described.capabilities or []) and "tools" in (described.capabilities or [])
    assert described.modelinfo and described.modelinfo["general.architecture"] == "byway"
    assert client.ps().models == []
    assert tuple(map(int, gateway.get("/api/version").json["version"].split("."))) >= (0, 6, 4)


def test_the_settings_page_keeps_its_paths(gateway: Gateway) -> None:
    page = gateway.ask("GET", "/api", headers={"accept": "text/html"})
    assert page.status == 401 and b"<html" in page.body
    assert gateway.get("/api/tags").headers["content-type"] == "application/json"
    wrong = gateway.ask("GET", "/api/chat")
    assert wrong.status == 405 and "POST" in wrong.json["error"]


def test_embeddings() -> None:
    def answer(request: Asked) -> Reply:
        inputs = request.json["input"]
        count = 1 if isinstance(inputs, str) else len(inputs)
        data = [{"object": "embedding", "index": at, "embedding": [at, 0.5]} for at in reversed(range(count))]
        return json_reply(200, {"object": "list", "data": data, "model": "x", "usage": {"prompt_tokens": 6}})

    with Scripted(answer) as server, Gateway(config(server)) as gateway, ollama.Client(host=gateway.url) as client:
        several = client.embed("local:latest", ["a", "b"], dimensions=2)
        assert list(several.embeddings) == [[0, 0.5], [1, 0.5]] and several.prompt_eval_count == 6
        assert server.last.json == {
            "model": "local", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2,
        }  # fmt: skip
        assert list(client.embeddings("local", "a").embedding) == [0, 0.5]
        server.play(lambda request: json_reply(404, {"detail": "Not Found"}))
        with pytest.raises(ollama.ResponseError, match="has no embeddings"):
            client.embed("local", "a")


def test_a_key_is_required_where_byway_has_keys() -> None:
    key = {"key": "sk-byway-test-0123456789abcdef", "id": "k"}
    with Scripted([Say("hi")]) as server, Gateway(config(server, api_keys={"api_keys": [key]})) as gateway:
        for method, path in (
            ("GET", "/api/tags"),
            ("GET", "/api/version"),
            ("POST", "/api/chat"),
            ("POST", "/api/show"),
        ):
            answer = gateway.ask(method, path)
            assert answer.status == 401 and list(answer.json) == ["error"]
        with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {key['key']}"}) as client:
            assert client.chat("local", HI).message.content == "hi"
