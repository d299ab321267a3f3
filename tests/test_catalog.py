"""Lists of models in every form, and what they report of each model."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from byway import config
from byway.backends import anthropic, catalog
from byway.backends.openai import completions
from byway.backends.protocol import BackendProtocol, ModelFacts
from byway.call import Call
from byway.problems import Problem
from byway.runtime import Runtime

PROTOCOLS: list[BackendProtocol] = [completions, anthropic]

#: The forms of a list with the one model `a-model`.
FORMS: dict[str, Any] = {
    "OpenAI": {"object": "list", "data": [{"id": "a-model", "object": "model"}]},
    "Together, a bare list": [{"id": "a-model", "object": "model"}],
    "a bare list of names": ["a-model"],
    "names in data": {"data": ["a-model"]},
    "Google": {"models": [{"name": "models/a-model", "supportedGenerationMethods": ["generateContent"]}]},
    "Google on the face of OpenAI": {"object": "list", "data": [{"id": "models/a-model", "object": "model"}]},
    "Ollama": {"models": [{"name": "a-model", "model": "a-model", "size": 1}]},
    "LM Studio": {"models": [{"key": "a-model", "format": "gguf"}]},
    "Cloudflare": {"success": True, "errors": [], "result": [{"name": "a-model", "id": None}]},
    "Vertex": {"publisherModels": [{"name": "a-model"}]},
    "by name": {"data": {"a-model": {"context_length": None}}},
    "Cohere": {"models": [{"name": "a-model", "endpoints": ["chat"]}], "next_page_token": ""},
    "null ids between": {"data": [{"id": None}, {"id": 7}, {"id": ""}, None, 5, [], {"id": "a-model"}, {}]},
    "patterns between": {"data": [{"id": "*"}, {"id": "openai/*"}, {"id": "a-model"}]},
    "the same model twice": {"data": [{"id": "a-model"}, {"id": "a-model", "context_length": 7}]},
    "llama.cpp": {"models": [{"name": "x"}], "object": "list", "data": [{"id": "a-model", "meta": {"n_ctx_train": 9}}]},
}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=["openai", "anthropic"])
@pytest.mark.parametrize("name", FORMS)
def test_a_list_of_models_is_read_in_every_form(name: str, protocol: BackendProtocol) -> None:
    assert protocol.read_models(json.dumps(FORMS[name]).encode()) == {"a-model": ModelFacts()}


@pytest.mark.parametrize("body", [{"data": []}, {"data": None}, [], {"models": []}])
def test_an_empty_list_has_no_models(body: Any) -> None:
    assert catalog.read_models(json.dumps(body).encode()) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"<html>",
        b'"x"',
        b"7",
        b"{}",
        b'{"data":5}',
        b'{"error":{"message":"x"}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_another_body_is_a_problem_that_names_the_url(body: bytes) -> None:
    with pytest.raises(Problem, match="`url`") as caught:
        catalog.read_models(body)
    assert caught.value.kind == "broken"


def test_a_path_of_a_file_keeps_its_prefix() -> None:
    names = ["models/7B/ggml.gguf", "models/tiny.gguf", "accounts/fireworks/models/x", "models/gemini-3-pro"]
    assert [*catalog.read_models(json.dumps(names).encode())] == [*names[:3], "gemini-3-pro"]


def test_a_name_is_used_as_the_list_gives_it() -> None:
    names = ["My Model 7B (Q4)", " padded ", "x" * 1000]
    dropped = ["openai/*", "a?", "", "x" * 1001, "two\nlines", "bell\a"]
    body = json.dumps({"data": [{"id": name} for name in names + dropped]}).encode()
    assert list(catalog.read_models(body)) == names


def test_thousands_of_models_are_read() -> None:
    body = json.dumps({"data": [{"id": f"m{at}", "context_length": 4096 + at} for at in range(5000)]}).encode()
    models = catalog.read_models(body)
    assert len(models) == 5000 and models["m4999"].window == 9095


#: Fields of an entry, and what they report.
FACTS: dict[str, tuple[dict[str, Any], ModelFacts]] = {
    "OpenRouter": (
        {
            "description": "  A model\n for code. ",
            "context_length": 200000,
            "top_provider": {"context_length": 200000, "max_completion_tokens": 64000},
            "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image"]},
            "supported_parameters": ["tools", "temperature"],
            "pricing": {"prompt": "0.000003", "completion": "0.000015"},
        },
        ModelFacts(200000, True, True, 64000, "backend", "A model for code.", 3.0, 15.0),
    ),
    "OpenRouter, modality only": (
        {"architecture": {"modality": "text->text+image"}, "supported_parameters": []},
        ModelFacts(None, False, False),
    ),
    "OpenRouter, a router": ({"pricing": {"prompt": "-1", "completion": "-1"}}, ModelFacts()),
    "Together": (
        {"context_length": 131072, "pricing": {"input": 0.88, "output": 0.88, "hourly": 0}},
        ModelFacts(131072, source="backend", input_price=0.88, output_price=0.88),
    ),
    "Groq": (
        {"context_window": 131072, "max_completion_tokens": 32768, "owned_by": "Meta"},
        ModelFacts(131072, max_output=32768, source="backend"),
    ),
    "Mistral": (
        {"max_context_length": 32768, "capabilities": {"function_calling": True, "vision": False}},
        ModelFacts(32768, True, False, source="backend"),
    ),
    "Moonshot": (
        {"context_length": 262144, "supports_image_in": True, "supports_reasoning": True},
        ModelFacts(262144, None, True, source="backend"),
    ),
    "Google": (
        {"displayName": "Gemini", "description": "Fast.", "inputTokenLimit": 1048576, "outputTokenLimit": 65536},
        ModelFacts(1048576, max_output=65536, source="backend", description="Fast."),
    ),
    "Anthropic": (
        {"type": "model", "display_name": "Claude", "max_input_tokens": 1000000, "max_tokens": 128000},
        ModelFacts(1000000, max_output=128000, source="backend"),
    ),
    "Copilot": (
        {
            "capabilities": {
                "limits": {
                    "max_context_window_tokens": 128000,
                    "max_prompt_tokens": 120000,
                    "max_output_tokens": 16384,
                },
                "supports": {"tool_calls": True, "vision": True},
            }
        },
        ModelFacts(120000, True, True, 16384, "backend"),
    ),
    "LiteLLM": (
        {
            "model_info": {
                **{"max_input_tokens": 128000, "max_output_tokens": 16384, "supports_function_calling": True},
                **{"supports_vision": False, "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07},
            }
        },
        ModelFacts(128000, True, False, 16384, "backend", "", 0.15, 0.6),
    ),
    "xAI": ({"input_modalities": ["text", "image"]}, ModelFacts(None, None, True)),
    "vLLM": ({"max_model_len": 40960}, ModelFacts(40960, source="backend")),
    "llama.cpp": ({"meta": {"n_ctx": 8192, "n_ctx_train": 131072}}, ModelFacts(8192, source="backend")),
    "LM Studio, loaded": (
        {"type": "vlm", "loaded_context_length": 4096, "max_context_length": 131072, "capabilities": ["tool_use"]},
        ModelFacts(4096, True, True, source="backend"),
    ),
    "LM Studio, not loaded": ({"type": "llm", "max_context_length": 131072}, ModelFacts(None, None, False)),
    "TabbyAPI": ({"max_seq_len": 16384}, ModelFacts(16384, source="backend")),
    "words with dashes": ({"features": ["function-calling", "Vision"]}, ModelFacts(None, True, True)),
    "max_tokens that may be the window": ({"max_tokens": 8192}, ModelFacts()),
    "nonsense": (
        {
            **{"context_length": "big", "max_model_len": -5, "context_window": 1 << 40, "max_completion_tokens": True},
            **{"pricing": {"prompt": "free", "completion": [1]}, "description": 7, "capabilities": 5, "features": {}},
            **{"architecture": [], "supported_parameters": "tools", "supports_vision": "yes"},
        },
        ModelFacts(),
    ),
    "a huge price": ({"pricing": {"prompt": "1e400", "completion": "nan"}}, ModelFacts()),
}


@pytest.mark.parametrize("name", FACTS)
def test_an_entry_reports_what_its_server_calls_it(name: str) -> None:
    fields, facts = FACTS[name]
    models = catalog.read_models(json.dumps({"data": [{"id": "m", "object": "model", **fields}]}).encode())
    assert models == {"m": facts}


def test_a_long_description_is_cut() -> None:
    body = json.dumps([{"id": "m", "description": "word " * 5000}]).encode()
    assert len(catalog.read_models(body)["m"].description) <= 300


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ({"has_more": True, "last_id": "m/9"}, "after_id=m%2F9&after=m%2F9"),
        ({"models": [], "nextPageToken": "a=b"}, "pageToken=a%3Db"),
        ({"models": [], "next_page_token": "x"}, "page_token=x"),
        ({"has_more": False, "last_id": "m"}, None),
        ({"has_more": True, "last_id": None}, None),
        ({"nextPageToken": ""}, None),
        ([{"id": "m"}], None),
    ],
)
def test_the_next_page_is_known(page: Any, query: str | None) -> None:
    body = json.dumps(page).encode()
    for protocol in PROTOCOLS:
        first = protocol.models()
        call = protocol.next_models(body)
        assert (call.path if call else None) == (query and f"{first.path}{'&' if '?' in first.path else '?'}{query}")
        assert call is None or (call.method, call.headers) == (first.method, first.headers)


class Pages:
    """A server that lists 10 models on each page, up to `count` models. `stuck`: every page is the first one."""

    status = 200

    def __init__(self, count: int, stuck: bool = False) -> None:
        self.headers: dict[str, str] = {}
        self.count, self.stuck = count, stuck
        self.paths: list[str] = []

    async def open(self, call: Call) -> Pages:
        self.paths.append(call.path)
        return self

    async def body(self, limit: int = 0) -> bytes:
        at = 0 if self.stuck else 10 * (len(self.paths) - 1)
        models = [{"id": f"m{n}"} for n in range(at, min(at + 10, self.count))]
        more = self.stuck or at + 10 < self.count
        return json.dumps({"data": models, "has_more": more, "last_id": models[-1]["id"] if models else None}).encode()

    def close(self) -> None:
        pass


def listed(server: Pages) -> tuple[str, ...]:
    """The models of a backend whose list comes from `server`."""
    text = json.dumps({"backends": [{"name": "box", "type": "anthropic", "url": "http://127.0.0.1:9"}]})
    backend = Runtime(config.load(text, {})).backends["box"]
    backend.upstream = cast(Any, server)
    asyncio.run(backend.refresh(1.0))
    assert backend.state == "ready", backend.message
    return backend.models or ()


def test_all_pages_of_a_list_are_fetched() -> None:
    server = Pages(35)
    assert listed(server) == tuple(f"m{n}" for n in range(35))
    assert [path.partition("after=")[2] for path in server.paths] == ["", "m9", "m19", "m29"]


def test_a_list_without_an_end_is_left_at_a_page_without_a_new_model() -> None:
    server = Pages(10, stuck=True)
    assert len(listed(server)) == 10 and len(server.paths) == 2


def test_a_list_has_20_pages_at_most() -> None:
    server = Pages(100_000)
    assert len(listed(server)) == 200 and len(server.paths) == 20
