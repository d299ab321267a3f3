"""Windows, model lists and token counts: what the runtime queries from backends and how it uses the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from scripted import Scripted, ScriptedPages, json_reply, llamacpp_overflow

from byway import config as settings
from byway.backend import Backend
from byway.backends.protocol import Attempt, ModelFacts
from byway.messages import request as messages
from byway.problems import Problem
from byway.runtime import Runtime

TOOLS = [{"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object"}}]


def live_with(server: Scripted, act: Callable[[Runtime, Backend], Coroutine[Any, Any, None]], **fields: Any) -> None:
    """Run `act` with a runtime whose one backend, `box`, is `server`."""

    async def run() -> None:
        backend = {"name": "box", "url": server.url, **fields}
        text = json.dumps({"backends": [backend], "model_aliases": {"default": "box/local"}})
        runtime = Runtime(settings.load(text, {}))
        try:
            await act(runtime, runtime.backends["box"])
        finally:
            await runtime.close()

    asyncio.run(run())


def request(text: str = "hi", **fields: Any) -> messages.Request:
    call = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}], **fields}
    return messages.parse(json.dumps(call).encode(), {}, "msg_1")


SHOW = {"capabilities": ["completion", "tools", "vision"], "model_info": {"qwen3.context_length": 262144}}
LISTED = {"id": "local", "object": "model"}
WINDOWS: dict[str, tuple[str, dict[str, Any], ModelFacts]] = {
    "llama.cpp says the window of one slot": (
        "llamacpp",
        {
            "/props": {
                "default_generation_settings": {"n_ctx": 8192},
                "chat_template_caps": {"supports_tools": False},
                "modalities": {"vision": True},
            }
        },
        ModelFacts(8192, False, True, None, "backend"),
    ),
    "Ollama says the window of a loaded model": (
        "ollama",
        {
            "/api/ps": {"models": [{"name": "local:latest", "model": "local:latest", "context_length": 16384}]},
            "/api/show": SHOW,
        },
        ModelFacts(16384, True, True, None, "backend"),
    ),
    "what Ollama's model was trained on is no window": (
        "ollama",
        {"/api/ps": {"models": []}, "/api/show": SHOW},
        ModelFacts(None, True, True),
    ),
    "a Modelfile's own window is one": (
        "ollama",
        {"/api/ps": {"models": []}, "/api/show": {**SHOW, "parameters": 'temperature 0.7\nnum_ctx    32768\nstop "x"'}},
        ModelFacts(32768, True, True, None, "backend"),
    ),
    "an Ollama model that can only complete has no tools": (
        "ollama",
        {"/api/show": {"capabilities": ["completion"]}},
        ModelFacts(None, False, False),
    ),
    "vLLM says it in its list": (
        "vllm",
        {"/v1/models": {"data": [{**LISTED, "max_model_len": 40960}]}},
        ModelFacts(40960, source="backend"),
    ),
    "LM Studio says it of a loaded model": (
        "lmstudio",
        {
            "/api/v0/models": {
                "data": [
                    {
                        **LISTED,
                        "type": "vlm",
                        "state": "loaded",
                        "max_context_length": 131072,
                        "loaded_context_length": 4096,
                        "capabilities": ["tool_use"],
                    }
                ]
            }
        },
        ModelFacts(4096, True, True, None, "backend"),
    ),
    "LM Studio does not say it of a model on disk": (
        "lmstudio",
        {"/api/v0/models": {"data": [{**LISTED, "type": "llm", "state": "not-loaded", "max_context_length": 131072}]}},
        ModelFacts(None, None, False),
    ),
    "OpenRouter says it in its list, with tools, images and the longest answer": (
        "generic",
        {
            "/v1/models": {
                "data": [
                    {
                        **LISTED,
                        "context_length": 200000,
                        "top_provider": {"max_completion_tokens": 64000},
                        "architecture": {"input_modalities": ["text", "image"]},
                        "supported_parameters": ["tools", "temperature"],
                    }
                ]
            }
        },
        ModelFacts(200000, True, True, 64000, "backend"),
    ),
    "Groq has a name of its own for it": (
        "generic",
        {"/v1/models": {"data": [{**LISTED, "context_window": 131072}]}},
        ModelFacts(131072, source="backend"),
    ),
    "Anthropic says it in its list": (
        "anthropic",
        {"/v1/models": {"data": [{"id": "local", "type": "model", "max_input_tokens": 1000000, "max_tokens": 128000}]}},
        ModelFacts(1000000, max_output=128000, source="backend"),
    ),
}


@pytest.mark.parametrize("named", [False, True], ids=["listed", "named in the config"])
@pytest.mark.parametrize("title", WINDOWS)
def test_the_window_that_the_backend_reports_is_used(title: str, named: bool) -> None:
    vendor, pages, facts = WINDOWS[title]

    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.state == "ready"
        assert backend.registry.get("local") == facts

    with ScriptedPages(pages) as server:
        live_with(server, act, type=vendor, **({"models": ["local"]} if named else {}))


def test_a_window_of_the_config_wins_over_the_backend() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.registry.get("local") == ModelFacts(32768, False, source="config")
        backend.learn_from(Problem("prompt_too_long", "", facts={"tokens": 9000, "window": 8192}), "local", Attempt())
        assert backend.registry.target("local").window == 32768

    props = {"default_generation_settings": {"n_ctx": 8192}, "chat_template_caps": {"supports_tools": False}}
    with ScriptedPages({"/props": props}) as server:
        live_with(server, act, type="llamacpp", models=[{"id": "local", "window": 32768}])


@pytest.mark.parametrize(
    "page", [404, 500, [], "text", {"data": 1}, {"models": [{"model": "local", "context_length": "x"}]}]
)
def test_an_invalid_description_changes_nothing(page: Any) -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.state == "ready"
        assert backend.registry.target("local").window is None

    pages = {"/api/ps": page, "/api/show": page, "/v1/models": {"data": [LISTED]}}
    with ScriptedPages(pages) as server:
        live_with(server, act, type="ollama")


def test_a_window_is_learned_from_an_overflow_and_only_gets_smaller() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        for said_window, known in ((16384, 16384), (8192, 8192), (32768, 8192)):
            problem = Problem("prompt_too_long", "", facts={"tokens": 99999, "window": said_window})
            assert not backend.learn_from(problem, "local", Attempt())
            assert backend.registry.get("local") == ModelFacts(known, source="learned")

    with Scripted() as server:
        live_with(server, act, type="generic", models=["local"])


def test_a_smaller_learned_window_wins_over_the_backends_list() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        backend.learn_from(Problem("prompt_too_long", "", facts={"tokens": 99999, "window": 8192}), "local", Attempt())
        await runtime.refresh()
        assert backend.registry.get("local") == ModelFacts(8192, source="learned")
        server.pages["/v1/models"] = {"data": [{**LISTED, "max_model_len": 4096}]}
        await runtime.refresh()
        assert backend.registry.get("local") == ModelFacts(4096, source="backend")

    with ScriptedPages({"/v1/models": {"data": [{**LISTED, "max_model_len": 200000}]}}) as server:
        live_with(server, act, type="vllm")


@pytest.mark.parametrize("page", [404, 401, "a web page"])
def test_models_of_the_config_need_no_list(page: Any) -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.state == "ready" and backend.models == ("local",)

    with ScriptedPages({"/v1/models": page}) as server:
        live_with(server, act, type="generic", models=["local"])


def test_an_unreachable_backend_is_failed_although_the_config_names_its_models() -> None:
    async def act() -> None:
        backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:1", "models": ["local"]}
        runtime = Runtime(settings.load(json.dumps({"backends": [backend]}), {}))
        await runtime.refresh()
        assert runtime.backends["box"].state == "failed" and "cannot be reached" in runtime.backends["box"].message
        assert runtime.backends["box"].models == ("local",), "it is asked all the same"
        await runtime.close()

    asyncio.run(act())


def test_a_client_does_not_wait_for_a_slow_list_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.runtime._CLIENT_WAITS", 0.1)
    monkeypatch.setattr("byway.backend._LIST_TIMEOUT", 60.0)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def act() -> None:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        text = {"backends": [{"name": "box", "type": "generic", "url": f"http://127.0.0.1:{port}"}]}
        runtime = Runtime(settings.load(json.dumps(text), {}))
        await runtime.refresh(0.01)
        (listing,) = runtime._tasks
        assert not listing.done(), "the client does not wait for it"
        listing.cancel()
        monkeypatch.setattr("byway.backend._LIST_TIMEOUT", 0.1)
        await runtime.refresh()
        backend = runtime.backends["box"]
        assert backend.state == "failed" and "did not list its models" in backend.message
        await runtime.close()
        server.close()
        await asyncio.sleep(0.05)

    asyncio.run(act())


def test_a_refresh_fetches_each_page_once_for_at_most_20_models() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.models is not None and len(backend.models) == 50
        assert len(server.received("/api/ps")) == 1
        assert len(server.received("/api/show")) == 20

    names = [f"m{number}" for number in range(50)]
    with ScriptedPages({"/api/ps": {"models": []}, "/api/show": SHOW}, models=names) as server:
        live_with(server, act, type="ollama")


def test_a_model_beyond_those_is_described_when_it_is_first_used() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.registry.target("m49").tools is None
        for _ in range(3):
            await runtime.route("m49")
        await asyncio.gather(*runtime._tasks)
        assert backend.registry.target("m49").tools is True
        assert [call.json["model"] for call in server.received("/api/show")].count("m49") == 1

    names = [f"m{number}" for number in range(50)]
    with ScriptedPages({"/api/ps": {"models": []}, "/api/show": SHOW}, models=names) as server:
        live_with(server, act, type="ollama")


def test_a_used_model_is_described_again_by_each_refresh() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        await runtime.refresh()
        assert backend.registry.target("local").window is None
        await runtime.route("local")
        server.pages["/api/ps"] = {"models": [{"model": "local:latest", "context_length": 4096}]}
        await runtime.refresh()
        assert backend.registry.target("local").window == 4096
        server.pages["/api/ps"] = {"models": []}
        await runtime.refresh()
        assert backend.registry.target("local").window == 4096, "it was unloaded, and will be loaded as before"

    with ScriptedPages({"/api/ps": {"models": []}, "/api/show": SHOW}) as server:
        live_with(server, act, type="ollama")


COUNTERS = {
    "llamacpp": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234, "object": "response.input_tokens"}),
    "builtin": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234}),
    "vllm": ("/tokenize", {"count": 1234, "max_model_len": 8192, "tokens": [1, 2]}),
    "anthropic": ("/v1/messages/count_tokens", {"input_tokens": 1234}),
}


@pytest.mark.parametrize("vendor", ["llamacpp", "vllm"])
def test_a_backend_counts_the_prompt_as_it_would_be_sent(vendor: str) -> None:
    path, page = COUNTERS[vendor]

    async def act(runtime: Runtime, backend: Backend) -> None:
        call = request("Read it.", system="Be brief.", tools=TOOLS, stop_sequences=["x"], metadata={"user_id": "u"})
        target = backend.registry.target("local")
        assert await backend.count_tokens(call, target) == (1234, True)
        counted = server.received(path)[0].json
        sent = json.loads(backend.protocol.request(call, target).body)
        assert counted == {name: sent[name] for name in ("model", "tools", "messages", "chat_template_kwargs")}

    with ScriptedPages({path: page}) as server:
        live_with(server, act, type=vendor, models=["local"])


@pytest.mark.parametrize("page", [404, 405, 501])
def test_a_backend_without_a_counting_page_is_queried_once(page: int) -> None:
    path, _ = COUNTERS["llamacpp"]

    async def act(runtime: Runtime, backend: Backend) -> None:
        for _ in range(5):
            tokens, counted = await backend.count_tokens(request("word " * 100), backend.registry.target("local"))
            assert not counted and 90 < tokens < 180
        assert len(server.received(path)) == 1

    with ScriptedPages({path: page}) as server:
        live_with(server, act, type="llamacpp", models=["local"])


@pytest.mark.parametrize("page", [500, 503, 401, "what", {"tokens": [1]}, {"input_tokens": -1}])
@pytest.mark.parametrize("vendor", ["llamacpp", "anthropic"])
def test_a_failed_count_gives_an_estimate(vendor: str, page: Any) -> None:
    path, _ = COUNTERS[vendor]

    async def act(runtime: Runtime, backend: Backend) -> None:
        tokens, counted = await backend.count_tokens(request("word " * 100), backend.registry.target("local"))
        assert not counted and 90 < tokens < 180

    with ScriptedPages({path: page}) as server:
        live_with(server, act, type=vendor, models=["local"])


def test_an_unreachable_backend_gives_an_estimate() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        tokens, counted = await backend.count_tokens(request("word " * 100), backend.registry.target("local"))
        assert not counted and 90 < tokens < 180

    with Scripted() as server:
        pass
    live_with(server, act, type="llamacpp", models=["local"])


def test_a_count_of_an_invalid_request_is_an_error() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        with pytest.raises(Problem, match="thinking"):
            await backend.count_tokens(request(), backend.registry.target("local"))

    with ScriptedPages({"/v1/messages/count_tokens": 400}) as server:
        server.answer = lambda request: json_reply(  # type: ignore[method-assign]
            400, {"type": "error", "error": {"type": "invalid_request_error", "message": "thinking: no"}}
        )
        live_with(server, act, type="anthropic", models=["local"])


def test_a_prompt_over_the_window_is_counted() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        assert await backend.count_tokens(request(), backend.registry.target("local")) == (23016, True)

    with ScriptedPages({}) as server:
        server.answer = lambda request: llamacpp_overflow(23016, 8192)  # type: ignore[method-assign]
        live_with(server, act, type="llamacpp", models=["local"])


def test_26_counts_run_at_the_same_time() -> None:
    """Claude Code's /context sends so many (measured, 2.1.329). The server answers none before all have arrived."""

    async def main() -> None:
        arrived, complete = 0, asyncio.Event()

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal arrived
            await reader.readuntil(b"\r\n\r\n")
            arrived += 1
            if arrived == 26:
                complete.set()
            await complete.wait()
            body = b'{"input_tokens": 1234}'
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            writer.close()

        server = await asyncio.start_server(count, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        backend = {"name": "box", "type": "llamacpp", "url": url, "models": ["local"]}
        box = Runtime(settings.load(json.dumps({"backends": [backend]}), {})).backends["box"]
        target = box.registry.target("local")
        counts = await asyncio.gather(*(box.count_tokens(request("Some text."), target) for _ in range(26)))
        assert counts == [(1234, True)] * 26
        await box.close()
        server.close()

    asyncio.run(main())


def test_a_prompt_far_over_the_window_is_refused_without_a_call() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        target = backend.registry.target("local")
        long = backend.protocol.request(request("word " * 3000), target).body
        problem = backend.too_long(target, long)
        assert problem is not None and problem.message.startswith("prompt is too long: ")
        assert problem.message.endswith(" tokens > 2000 maximum")
        assert backend.too_long(target, backend.protocol.request(request("word " * 2000), target).body) is None
        assert backend.too_long(target, backend.protocol.request(request(), target).body) is None

    with Scripted() as server:
        live_with(server, act, type="generic", models=[{"id": "local", "window": 2000}])


def test_anthropic_itself_refuses_long_prompts() -> None:
    async def act(runtime: Runtime, backend: Backend) -> None:
        assert backend.too_long(backend.registry.target("local"), request("word " * 9000).body) is None

    with Scripted() as server:
        live_with(server, act, type="anthropic", models=[{"id": "local", "window": 2000}])
