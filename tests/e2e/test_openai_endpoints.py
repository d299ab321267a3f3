"""The endpoints of the OpenAI API that pass through, with the official `openai` SDK: only the model changes on the way."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from gateway import Gateway, config
from scripted import Asked, End, Gate, Reply, Scripted, json_reply, openai_error, page, sse

from byway.backends.openai.endpoints import ENDPOINTS
from byway.platform import resident_memory

VECTOR = [0.25, -1.5, 3.0]
USAGE = {"prompt_tokens": 7, "total_tokens": 7}


def embeddings(request: Asked) -> Reply:
    """Answer as OpenAI does: a vector for each input, as numbers or in base64."""
    body = request.json
    inputs = body["input"]
    count = 1 if isinstance(inputs, str) or isinstance(inputs[0], int) else len(inputs)
    vector: Any = VECTOR[: body.get("dimensions", 3)]
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(count)]
    return json_reply(200, {"object": "list", "data": data, "model": body["model"], "usage": USAGE})


@contextmanager
def client(gateway: Gateway, **options: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", **{"api_key": "dummy", "max_retries": 0, **options}) as resource:
        yield resource


def logged(gateway: Gateway, model: str) -> dict[str, Any]:
    """The log line of the request for `model`."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in gateway.requests("") if line.get("asked") == model]

    gateway.wait(lines, what="the log line")
    return lines()[-1]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Scripted, Scripted, Gateway]]:
    with (
        Scripted() as first,
        Scripted() as second,
        Gateway(config(first, second, timeouts={"commit_after": 0.2, "ping_after": 1})) as gateway,
    ):
        yield first, second, gateway


@pytest.fixture
def first(pair: tuple[Scripted, Scripted, Gateway]) -> Scripted:
    return pair[0]


@pytest.fixture
def second(pair: tuple[Scripted, Scripted, Gateway]) -> Scripted:
    return pair[1]


@pytest.fixture(scope="module")
def single() -> Iterator[tuple[Scripted, Gateway]]:
    """One backend, whose cool-down changes no other test."""
    with Scripted() as server, Gateway(config(server, timeouts={"commit_after": 0.2, "ping_after": 1})) as gateway:
        yield server, gateway


@pytest.fixture
def gateway(pair: tuple[Scripted, Scripted, Gateway]) -> Gateway:
    return pair[2]


@pytest.mark.parametrize("inputs", ["hi", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_embeddings_of_texts_and_tokens(first: Scripted, gateway: Gateway, inputs: Any) -> None:
    first.play(embeddings)
    with client(gateway) as api:
        answer = api.embeddings.create(model="text-embedding-3-small", input=inputs)
    # The SDK requests base64 and decodes it.
    assert answer.data[0].embedding == VECTOR
    assert answer.usage.prompt_tokens == 7
    assert first.last.path == "/v1/embeddings"
    assert first.last.json == {"model": "local", "input": inputs, "encoding_format": "base64"}


def test_dimensions_and_unknown_fields_pass_through(first: Scripted, gateway: Gateway) -> None:
    first.play(embeddings)
    with client(gateway) as api:
        answer = api.embeddings.create(
            model="any", input="hi", dimensions=2, encoding_format="float", extra_body={"input_type": "query"}
        )
    assert answer.data[0].embedding == VECTOR[:2]
    assert first.last.json == {
        "model": "local", "input": "hi", "dimensions": 2, "encoding_format": "float", "input_type": "query",
    }  # fmt: skip


def test_the_record_has_the_reported_usage(first: Scripted, gateway: Gateway) -> None:
    first.play(embeddings)
    with client(gateway) as api:
        api.embeddings.create(model="counted", input="hi")
    line = logged(gateway, "counted")
    assert (line["path"], line["backend"], line["model"], line["input_tokens"]) == ("/v1/embeddings", "one", "local", 7)
    assert not line.get("estimated")


def test_a_request_without_a_model_uses_the_default(first: Scripted, gateway: Gateway) -> None:
    first.play(embeddings)
    answer = gateway.ask("POST", "/v1/embeddings", b'{"input": "hi"}', {"content-type": "application/json"})
    assert answer.status == 200 and first.last.json == {"model": "local", "input": "hi"}


def test_completions_stream_byte_for_byte(first: Scripted, gateway: Gateway) -> None:
    chunks = [
        {
            "id": "c",
            "object": "text_completion",
            "created": 1,
            "model": "local",
            "choices": [{"index": 0, "text": text}],
        }
        for text in ("once ", "upon")
    ]
    reply = sse(*chunks, done=True)
    first.play([reply] * 2)
    body = json.dumps({"model": "m", "prompt": "tell", "stream": True, "suffix": "x"}).encode()
    raw = gateway.ask("POST", "/v1/completions", body)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.body == reply.body
    with client(gateway) as api:
        texts = [chunk.choices[0].text for chunk in api.completions.create(model="m", prompt="tell", stream=True)]
    assert texts == ["once ", "upon"]


def test_a_stream_that_takes_long_starts_with_comments_and_ends_with_an_error(single: tuple[Scripted, Gateway]) -> None:
    first, gateway = single
    gate = Gate()
    first.play([Reply(steps=(gate, End.CLOSE), kind="text/event-stream", chunked=True)])
    body = json.dumps({"model": "m", "prompt": "tell", "stream": True}).encode()
    with gateway.open("POST", "/v1/completions", body) as response:
        assert response.status == 200
        assert response.readline() == b": ping\n"
        gate.set()
        rest = response.read()
    last = json.loads(rest.decode().strip().rpartition("data: ")[2])
    assert "in the middle of its answer" in last["error"]["message"]


def test_an_answer_of_audio_is_the_same_bytes(first: Scripted, gateway: Gateway) -> None:
    sound = bytes(range(256)) * 400
    first.play([Reply(steps=(sound[:1000], sound[1000:]), kind="audio/mpeg")])
    with client(gateway) as api:
        answer = api.audio.speech.create(model="tts", voice="alloy", input="hello")
    assert answer.content == sound
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert first.last.json["model"] == "local" and first.last.json["voice"] == "alloy"


def test_a_form_keeps_every_byte_but_the_model(first: Scripted, gateway: Gateway) -> None:
    first.play(
        [json_reply(200, {"text": "hello", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3}})]
    )
    sound = b"RIFF\r\n--not-a-boundary\r\n" + bytes(range(256)) * 3000
    with client(gateway) as api:
        answer = api.audio.transcriptions.create(model="whisper-1", file=("ü.wav", sound), language="en")
    assert answer.text == "hello"
    kind = first.last.headers["content-type"]
    mark = kind.partition("boundary=")[2].encode()
    assert first.last.body.count(mark) == 4 and sound in first.last.body
    assert b'name="model"\r\n\r\nlocal\r\n' in first.last.body and b"whisper-1" not in first.last.body
    assert int(first.last.headers["content-length"]) == len(first.last.body)
    line = logged(gateway, "whisper-1")
    assert (line["input_tokens"], line["output_tokens"]) == (14, 3)


def test_a_form_without_a_model_gets_the_one_of_default(first: Scripted, gateway: Gateway) -> None:
    first.play([json_reply(200, {"data": []})])
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG\r\n--b--\r\n'
    answer = gateway.ask("POST", "/v1/images/variations", form, {"content-type": "multipart/form-data; boundary=b"})
    assert answer.status == 200, answer.body
    assert first.last.body == b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlocal\r\n' + form


def test_an_upload_is_in_memory_once(first: Scripted, gateway: Gateway) -> None:
    size, gate = 30 << 20, Gate()
    first.play([Reply(steps=(gate, b'{"text": "x"}'), chunked=True)])
    gateway.get("/v1/models")
    before = resident_memory(gateway.process.pid)
    if before is None:
        pytest.skip("this system does not tell the memory of a process")
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = head + bytes(size) + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.ask, "POST", "/v1/audio/transcriptions", body, kind)
        first.wait_for(1)
        held = resident_memory(gateway.process.pid)
        gate.set()
        assert answer.result().json == {"text": "x"}
    assert held is not None
    assert held - before < 1.6 * size, f"{(held - before) >> 20} MiB"


def test_an_upload_is_sent_again_to_the_second_backend(first: Scripted, second: Scripted, gateway: Gateway) -> None:
    first.play([openai_error(402, "no credit", "billing_error")])
    second.play([json_reply(200, {"text": "second"})])
    with client(gateway) as api:
        answer = api.audio.transcriptions.create(model="w", file=("a.wav", b"x" * (2 << 20)))
    assert answer.text == "second" and len(second.last.body) > 2 << 20


@pytest.mark.parametrize(
    "reply",
    [
        json_reply(404, {"detail": "Not Found"}),
        page(404),
        Reply(405),
        openai_error(
            501, "This server does not support embeddings. Start it with `--embeddings`", "not_supported_error"
        ),
        openai_error(400, "The model does not support Embeddings API", "BadRequestError"),
        json_reply(200, {"error": "Unexpected endpoint or method. (POST /v1/embeddings)"}),
    ],
    ids=["fastapi", "page", "method", "llama.cpp", "vllm", "lmstudio"],
)
def test_a_backend_without_the_endpoint_is_skipped_and_named(
    reply: Reply, first: Scripted, second: Scripted, gateway: Gateway
) -> None:
    first.play([reply])
    second.play(embeddings)
    with client(gateway) as api:
        assert api.embeddings.create(model="m", input="hi").data[0].embedding == VECTOR
    first.play([reply])
    second.play([reply])
    with client(gateway) as api, pytest.raises(openai.NotFoundError) as raised:
        api.embeddings.create(model="m", input="hi")
    message = raised.value.body["message"]  # type: ignore[index]
    assert "Backend 'two' has no embeddings for model 'local'" in message and "model_aliases" in message


def test_a_model_that_the_backend_does_not_know_is_no_missing_endpoint(
    first: Scripted, second: Scripted, gateway: Gateway
) -> None:
    for server in (first, second):
        server.play([openai_error(404, "model 'local' not found", "invalid_request_error", "model_not_found")])
    with client(gateway) as api, pytest.raises(openai.NotFoundError, match="model 'local' not found"):
        api.embeddings.create(model="m", input="hi")


def test_an_answer_that_is_cut_off_is_never_completed(single: tuple[Scripted, Gateway]) -> None:
    first, gateway = single
    first.play([Reply(steps=(b'{"data": [', End.CLOSE), chunked=True)])
    with client(gateway) as api, pytest.raises(openai.APIConnectionError):
        api.embeddings.create(model="m", input="hi")
    assert "Internal error" not in gateway.text


def test_a_client_that_disconnects_ends_the_call(single: tuple[Scripted, Gateway]) -> None:
    first, gateway = single
    first.play([Reply(steps=(b"data: {}\n\n", End.HANG), kind="text/event-stream", chunked=True)])
    with gateway.open("POST", "/v1/completions", b'{"model": "m", "prompt": "p", "stream": true}') as response:
        assert response.readline() == b"data: {}\n"
    first.last.left()


@pytest.mark.parametrize("endpoint", [endpoint.path for endpoint in ENDPOINTS])
def test_every_endpoint_replaces_the_model(endpoint: str, first: Scripted, gateway: Gateway) -> None:
    first.play([json_reply(200, {"results": []})])
    answer = gateway.ask("POST", endpoint, b'{"a": {"model": "x"}, "model": "m"}')
    assert answer.status == 200 and answer.headers["x-byway-model"] == "one/local"
    assert first.last.path == endpoint and first.last.body == b'{"a": {"model": "x"}, "model": "local"}'


def test_a_batch_of_embeddings(first: Scripted, gateway: Gateway) -> None:
    first.play(embeddings)
    rows = [
        {"custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": id}} for id in "ab"
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    with client(gateway) as api:
        file = api.files.create(file=("lines.jsonl", content), purpose="batch")
        id = api.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h").id
        gateway.wait(lambda: api.batches.retrieve(id).status == "completed", what="the batch is completed")
        output = api.batches.retrieve(id).output_file_id
        assert output is not None
        answers = [json.loads(line) for line in api.files.content(output).text.splitlines()]
    assert sorted(answer["custom_id"] for answer in answers) == ["a", "b"]
    assert answers[0]["response"]["body"]["data"][0]["embedding"] == VECTOR


def test_invalid_bodies_name_the_fault(gateway: Gateway) -> None:
    form = {"content-type": "multipart/form-data; boundary=b"}
    for body, headers in ((b"[]", {}), (b'{"model": 5}', {}), (b"--b\r\nno", form), (b"", form)):
        answer = gateway.ask("POST", "/v1/audio/transcriptions", body, headers)
        assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error", answer.body
    large = gateway.ask("POST", "/v1/audio/transcriptions", b"x", {**form, "content-length": str(33 << 20)})
    assert large.status == 413


def test_a_base_url_without_v1_is_served_or_named(first: Scripted, gateway: Gateway) -> None:
    first.play(embeddings)
    with openai.OpenAI(base_url=gateway.url, api_key="dummy", max_retries=0) as api:
        assert api.embeddings.create(model="m", input="hi").usage.prompt_tokens == 7
        with pytest.raises(openai.AuthenticationError, match="GET /v1/models"):
            api.models.list()


def test_a_messages_backend_has_none_of_them() -> None:
    with Scripted() as server:
        settings = config(server, type="anthropic")
        with Gateway(settings) as gateway, client(gateway) as api, pytest.raises(openai.NotFoundError) as raised:
            api.embeddings.create(model="m", input="hi")
    message = raised.value.body["message"]  # type: ignore[index]
    assert "is called by the Messages API, which has no embeddings" in message


def test_keys_limits_and_guardrails_apply() -> None:
    rule = {"name": "project", "words": ["hydra"], "action": "block"}
    with Scripted() as server:
        key = {"key": "sk-byway-test-0123456789abcdef", "id": "k", "scopes": ["write"]}
        settings = config(
            server,
            api_keys={"api_keys": [key]},
            guardrails={"enabled": True, "rules": [rule]},
            limits=[{"for": "key", "requests_per_minute": 3, "tokens_per_minute": 100_000}],
        )
        server.play(embeddings)
        with Gateway(settings) as gateway:
            with client(gateway) as api, pytest.raises(openai.AuthenticationError):
                api.embeddings.create(model="embed", input="hi")
            with client(gateway, api_key=key["key"]) as api:
                assert api.embeddings.create(model="embed", input="hi").usage.prompt_tokens == 7
                with pytest.raises(openai.BadRequestError, match="project"):
                    api.embeddings.create(model="embed", input=["fine", "project hydra"])
                with pytest.raises(openai.BadRequestError, match="project"):
                    api.images.edit(model="embed", prompt="a hydra", image=("a.png", b"PNG"))
                with pytest.raises(openai.RateLimitError, match="requests per minute"):
                    api.embeddings.create(model="embed", input="hi")
