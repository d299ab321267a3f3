"""Embeddings and reranking by the real llama.cpp that Byway runs, with tiny models, and the official `openai` SDK."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import ollama
import openai
import pytest
from embeddingmodel import WIDTH, WINDOW, embedding_model
from gateway import Gateway

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    folder = tmp_path_factory.mktemp("weights")
    files: list[Path] = []
    for name, pooling in (("embed", 1), ("rank", 4)):
        files.append(folder / f"{name}.gguf")
        files[-1].write_bytes(embedding_model(pooling))
    backends = [{"name": file.stem, "type": "builtin", "path": str(file), "threads": 1} for file in files]
    with Gateway({"backends": [{"name": "chat", "type": "builtin", "threads": 1}, *backends]}, model=True) as gateway:

        def ready() -> bool:
            return all(backend["state"] == "ready" for backend in gateway.get("/readyz").json["backends"])

        gateway.wait(ready, 180, what="the models are loaded")
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="dummy", max_retries=0) as resource:
        yield resource


def length(vector: list[float]) -> float:
    return math.sqrt(sum(number * number for number in vector))


def test_embeddings_of_a_batch_of_texts(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="embed", input=["the cat sat", "the cat sat", "a fast car"])
    first, same, other = (entry.embedding for entry in answer.data)
    assert len(first) == WIDTH and abs(length(first) - 1) < 1e-4
    assert first == pytest.approx(same, abs=1e-6) and first != pytest.approx(other, abs=1e-2)
    assert answer.usage.prompt_tokens > 8


def test_the_forms_of_langchain_are_accepted(client: openai.OpenAI) -> None:
    """It sends tokens in batches, reads base64 or numbers, and may set `dimensions`."""
    tokens = client.embeddings.create(model="embed", input=[[5, 6, 7], [8, 9]], encoding_format="float")
    assert [len(entry.embedding) for entry in tokens.data] == [WIDTH, WIDTH]
    whole = client.embeddings.create(model="embed", input="the cat", encoding_format="float").data[0].embedding
    short = client.embeddings.create(model="embed", input="the cat", encoding_format="float", dimensions=8)
    vector = short.data[0].embedding
    assert len(vector) == 8 and abs(length(vector) - 1) < 1e-4
    assert vector == pytest.approx([number / length(whole[:8]) for number in whole[:8]], abs=1e-4)
    raw = client.embeddings.with_raw_response.create(
        model="embed", input="the cat", encoding_format="base64", dimensions=8
    )
    encoded = raw.http_response.json()["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(encoded)) == pytest.approx(vector, abs=1e-4)


def test_ollamas_form(gateway: Gateway) -> None:
    with ollama.Client(host=gateway.url) as client:
        answer = client.embed("embed", ["the cat", "the dog"], dimensions=4)
        assert [len(vector) for vector in answer.embeddings] == [4, 4]
        assert client.show("embed").capabilities == ["embedding"]


def test_reranking(gateway: Gateway) -> None:
    body = b'{"model": "rank", "query": "cat", "documents": ["the cat", "a car"], "top_n": 1}'
    answer = gateway.ask("POST", "/v1/rerank", body)
    assert answer.status == 200 and len(answer.json["results"]) == 1


def test_a_text_over_the_window_is_refused_with_the_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=f"> {WINDOW} maximum") as raised:
        client.embeddings.create(model="embed", input="the cat " * WINDOW)
    assert raised.value.code == "context_length_exceeded"


def test_the_wrong_kind_of_model_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"Backend 'chat' .* has no embeddings"):
        client.embeddings.create(model="chat", input="hi")
    with pytest.raises(openai.NotFoundError, match=r"Backend 'embed': .* writes no answers"):
        client.chat.completions.create(model="embed", messages=[{"role": "user", "content": "hi"}], max_tokens=5)


def test_any_other_name_goes_to_the_model_for_answers(gateway: Gateway, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any-name", messages=[{"role": "user", "content": "Say hello."}], max_tokens=5
    )
    assert answer.choices[0].message.content
    line = [line for line in gateway.requests("") if line.get("asked") == "any-name"][-1:]
    assert not line or line[0]["backend"] == "chat"
