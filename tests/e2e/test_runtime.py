"""Windows and token counts that a running Byway learns from its backends."""

from __future__ import annotations

from gateway import Gateway, config
from scripted import Scripted, ScriptedPages, llamacpp_overflow


def test_the_window_is_learned_from_a_real_overflow() -> None:
    with (
        Scripted(lambda _: llamacpp_overflow(23016, 8192)) as server,
        Gateway(config(server)) as gateway,
    ):
        assert gateway.get("/v1/models/local").json["max_input_tokens"] is None
        answer = gateway.post({"model": "sonnet", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]})
        assert answer.json["error"]["message"] == "prompt is too long: 23016 tokens > 8192 maximum"
        assert gateway.get("/v1/models/local").json["max_input_tokens"] == 8192


COUNTERS = {
    "llamacpp": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234, "object": "response.input_tokens"}),
    "builtin": ("/v1/chat/completions/input_tokens", {"input_tokens": 1234}),
    "vllm": ("/tokenize", {"count": 1234, "max_model_len": 8192, "tokens": [1, 2]}),
    "anthropic": ("/v1/messages/count_tokens", {"input_tokens": 1234}),
}


def test_a_header_names_the_source_of_a_count() -> None:
    path, page = COUNTERS["llamacpp"]
    ask = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]}
    with ScriptedPages({path: page}) as server, Gateway(config(server, type="llamacpp")) as gateway:
        answer = gateway.post(ask, "/v1/messages/count_tokens")
        assert (answer.json, answer.headers["x-byway-count"]) == ({"input_tokens": 1234}, "backend")
    with ScriptedPages({}) as server, Gateway(config(server)) as gateway:
        answer = gateway.post(ask, "/v1/messages/count_tokens")
        assert answer.headers["x-byway-count"] == "estimate" and 5 < answer.json["input_tokens"] < 50
