"""Windows, model lists and token counts: what the runtime queries from backends and how it uses the answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from scripted import Asked, Reply, Scripted, llamacpp_overflow, said

from byway import config as settings
from byway.backend import Backend
from byway.backends.protocol import Attempt, ModelFacts
from byway.messages import request as messages
from byway.problems import Problem
from byway.runtime import Runtime

TOOLS = [{"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object"}}]


class Server(Scripted):
    """A server with pages of its own: path -> JSON, or status."""

    def __init__(self, pages: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.pages = pages

    def answer(self, asked: Asked) -> Reply:
        page = self.pages.get(asked.path.partition("?")[0])
        if page is None:
            return super().answer(asked)
        self.others.append(asked)
        return said(page, {"error": {"message": "no"}}) if isinstance(page, int) else said(200, page)

    def asked(self, path: str) -> list[Asked]:
        return [one for one in self.others if one.path.partition("?")[0] == path]


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
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}], **fields}
    return messages.parse(json.dumps(asked).encode(), {}, "msg_1")


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
@pytest.mark.parametrize("sentence", WINDOWS)
def test_the_window_is_the_backend_s_own_word(sentence: str, named: bool) -> None:
    vendor, pages, facts = WINDOWS[sentence]

    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.state == "ready"
        assert live.registry.get("local") == facts

    with Server(pages) as server:
        live_with(server, act, type=vendor, **({"models": ["local"]} if named else {}))


def test_the_config_s_word_stands_above_the_backend_s() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.registry.get("local") == ModelFacts(32768, False, source="config")
        live.learn_from(Problem("prompt_too_long", "", facts={"tokens": 9000, "window": 8192}), "local", Attempt())
        assert live.registry.target("local").window == 32768

    props = {"default_generation_settings": {"n_ctx": 8192}, "chat_template_caps": {"supports_tools": False}}
    with Server({"/props": props}) as server:
        live_with(server, act, type="llamacpp", models=[{"id": "local", "window": 32768}])


@pytest.mark.parametrize(
    "page", [404, 500, [], "text", {"data": 1}, {"models": [{"model": "local", "context_length": "x"}]}]
)
def test_a_page_that_says_nothing_harms_nothing(page: Any) -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.state == "ready"
        assert live.registry.target("local").window is None

    pages = {"/api/ps": page, "/api/show": page, "/v1/models": {"data": [LISTED]}}
    with Server(pages) as server:
        live_with(server, act, type="ollama")


def test_a_window_is_learned_from_an_overflow_and_only_made_smaller() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        for said_window, known in ((16384, 16384), (8192, 8192), (32768, 8192)):
            problem = Problem("prompt_too_long", "", facts={"tokens": 99999, "window": said_window})
            assert not live.learn_from(problem, "local", Attempt())
            assert live.registry.get("local") == ModelFacts(known, source="learned")

    with Scripted() as server:
        live_with(server, act, type="generic", models=["local"])


def test_a_backend_that_says_too_much_is_not_believed_again() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        live.learn_from(Problem("prompt_too_long", "", facts={"tokens": 99999, "window": 8192}), "local", Attempt())
        await runtime.refresh()
        assert live.registry.get("local") == ModelFacts(8192, source="learned")
        server.pages["/v1/models"] = {"data": [{**LISTED, "max_model_len": 4096}]}
        await runtime.refresh()
        assert live.registry.get("local") == ModelFacts(4096, source="backend")

    with Server({"/v1/models": {"data": [{**LISTED, "max_model_len": 200000}]}}) as server:
        live_with(server, act, type="vllm")


@pytest.mark.parametrize("page", [404, 401, "a web page"])
def test_models_that_the_config_names_need_no_list(page: Any) -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.state == "ready" and live.models == ("local",)

    with Server({"/v1/models": page}) as server:
        live_with(server, act, type="generic", models=["local"])


def test_a_dead_backend_is_not_called_ready_for_the_models_that_the_config_names() -> None:
    async def act() -> None:
        backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:1", "models": ["local"]}
        runtime = Runtime(settings.load(json.dumps({"backends": [backend]}), {}))
        await runtime.refresh()
        assert runtime.backends["box"].state == "failed" and "cannot be reached" in runtime.backends["box"].message
        assert runtime.backends["box"].models == ("local",), "it is asked all the same"
        await runtime.close()

    asyncio.run(act())


def test_a_client_does_not_wait_for_a_backend_that_lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.runtime._CLIENT_WAITS", 0.1)
    monkeypatch.setattr("byway.backend._LIST_TIMEOUT", 0.5)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def act() -> None:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        backend = {"name": "box", "type": "generic", "url": f"http://127.0.0.1:{port}"}
        runtime = Runtime(settings.load(json.dumps({"backends": [backend]}), {}))
        async with asyncio.timeout(0.4):
            await runtime.refresh(0.01)
        await runtime.refresh()
        await asyncio.gather(*runtime._tasks)
        live = runtime.backends["box"]
        assert live.state == "failed" and "did not list its models" in live.message
        await runtime.close()
        server.close()
        await asyncio.sleep(0.05)

    asyncio.run(act())


def test_a_list_is_asked_for_once_each_page_once_and_20_models_at_most() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.models is not None and len(live.models) == 50
        assert len(server.asked("/api/ps")) == 1
        assert len(server.asked("/api/show")) == 20

    names = [f"m{number}" for number in range(50)]
    with Server({"/api/ps": {"models": []}, "/api/show": SHOW}, models=names) as server:
        live_with(server, act, type="ollama")


def test_a_model_beyond_those_is_asked_about_when_it_is_first_led_to() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.registry.target("m49").tools is None
        for _ in range(3):
            await runtime.route("m49")
        await asyncio.gather(*runtime._tasks)
        assert live.registry.target("m49").tools is True
        assert [one.json["model"] for one in server.asked("/api/show")].count("m49") == 1

    names = [f"m{number}" for number in range(50)]
    with Server({"/api/ps": {"models": []}, "/api/show": SHOW}, models=names) as server:
        live_with(server, act, type="ollama")


def test_what_is_known_of_a_used_model_is_kept_fresh() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        await runtime.refresh()
        assert live.registry.target("local").window is None
        await runtime.route("local")
        server.pages["/api/ps"] = {"models": [{"model": "local:latest", "context_length": 4096}]}
        await runtime.refresh()
        assert live.registry.target("local").window == 4096
        server.pages["/api/ps"] = {"models": []}
        await runtime.refresh()
        assert live.registry.target("local").window == 4096, "it was unloaded, and will be loaded as before"

    with Server({"/api/ps": {"models": []}, "/api/show": SHOW}) as server:
        live_with(server, act, type="ollama")


COUNTERS = {
    "llamacpp": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234, "object": "response.input_tokens"}),
    "builtin": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234}),
    "vllm": ("/tokenize", {"count": 1234, "max_model_len": 8192, "tokens": [1, 2]}),
    "anthropic": ("/v1/messages/count_tokens", {"input_tokens": 1234}),
}


@pytest.mark.parametrize("vendor", ["llamacpp", "vllm"])
def test_a_backend_counts_the_very_prompt_that_would_be_sent(vendor: str) -> None:
    path, page = COUNTERS[vendor]

    async def act(runtime: Runtime, live: Backend) -> None:
        asked = request("Read it.", system="Be brief.", tools=TOOLS, stop_sequences=["x"], metadata={"user_id": "u"})
        target = live.registry.target("local")
        assert await live.count_tokens(asked, target) == (1234, True)
        counted = server.asked(path)[0].json
        sent = json.loads(live.protocol.request(asked, target).body)
        assert counted == {name: sent[name] for name in ("model", "tools", "messages", "chat_template_kwargs")}

    with Server({path: page}) as server:
        live_with(server, act, type=vendor, models=["local"])


@pytest.mark.parametrize("page", [404, 405, 501])
def test_a_backend_that_has_no_such_page_is_asked_once(page: int) -> None:
    path, _ = COUNTERS["llamacpp"]

    async def act(runtime: Runtime, live: Backend) -> None:
        for _ in range(5):
            tokens, counted = await live.count_tokens(request("word " * 100), live.registry.target("local"))
            assert not counted and 90 < tokens < 180
        assert len(server.asked(path)) == 1

    with Server({path: page}) as server:
        live_with(server, act, type="llamacpp", models=["local"])


@pytest.mark.parametrize("page", [500, 503, 401, "what", {"tokens": [1]}, {"input_tokens": -1}])
@pytest.mark.parametrize("vendor", ["llamacpp", "anthropic"])
def test_a_backend_that_cannot_count_now_gets_an_estimate(vendor: str, page: Any) -> None:
    path, _ = COUNTERS[vendor]

    async def act(runtime: Runtime, live: Backend) -> None:
        tokens, counted = await live.count_tokens(request("word " * 100), live.registry.target("local"))
        assert not counted and 90 < tokens < 180

    with Server({path: page}) as server:
        live_with(server, act, type=vendor, models=["local"])


def test_a_count_of_a_backend_that_is_down_is_an_estimate() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        tokens, counted = await live.count_tokens(request("word " * 100), live.registry.target("local"))
        assert not counted and 90 < tokens < 180

    with Scripted() as server:
        pass
    live_with(server, act, type="llamacpp", models=["local"])


def test_what_would_be_refused_is_not_counted() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        with pytest.raises(Problem, match="thinking"):
            await live.count_tokens(request(), live.registry.target("local"))

    with Server({"/v1/messages/count_tokens": 400}) as server:
        server.answer = lambda asked: said(  # type: ignore[method-assign]
            400, {"type": "error", "error": {"type": "invalid_request_error", "message": "thinking: no"}}
        )
        live_with(server, act, type="anthropic", models=["local"])


def test_a_prompt_that_is_too_long_is_counted_all_the_same() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        assert await live.count_tokens(request(), live.registry.target("local")) == (23016, True)

    with Server({}) as server:
        server.answer = lambda asked: llamacpp_overflow(23016, 8192)  # type: ignore[method-assign]
        live_with(server, act, type="llamacpp", models=["local"])


@pytest.mark.parametrize("vendor", ["generic", "llamacpp"])
def test_26_counts_at_once_take_300_ms(vendor: str) -> None:
    """Claude Code's /context asks so many (measured, 2.1.329)."""
    many = [{**tool, "name": f"{tool['name']}{at}"} for at in range(20) for tool in TOOLS]
    asked = request("Some text to count, with a few words more. " * 50, tools=many)

    async def act(runtime: Runtime, live: Backend) -> None:
        took: list[float] = []
        # The machine may be busy with something else for a moment.
        while len(took) < 5 and min(took, default=1) > 0.3:
            began = time.monotonic()
            await asyncio.gather(*(live.count_tokens(asked, live.registry.target("local")) for _ in range(26)))
            took.append(time.monotonic() - began)
        assert min(took) < 0.3, took

    path, page = COUNTERS["llamacpp"]
    with Server({path: page}) as server:
        live_with(server, act, type=vendor, models=["local"])


def test_a_prompt_that_surely_does_not_fit_is_refused_without_asking() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        target = live.registry.target("local")
        long = live.protocol.request(request("word " * 3000), target).body
        problem = live.too_long(target, long)
        assert problem is not None and problem.message.startswith("prompt is too long: ")
        assert problem.message.endswith(" tokens > 2000 maximum")
        assert live.too_long(target, live.protocol.request(request("word " * 2000), target).body) is None
        assert live.too_long(target, live.protocol.request(request(), target).body) is None

    with Scripted() as server:
        live_with(server, act, type="generic", models=[{"id": "local", "window": 2000}])


def test_anthropic_says_itself_what_is_too_long() -> None:
    async def act(runtime: Runtime, live: Backend) -> None:
        assert live.too_long(live.registry.target("local"), request("word " * 9000).body) is None

    with Scripted() as server:
        live_with(server, act, type="anthropic", models=[{"id": "local", "window": 2000}])
