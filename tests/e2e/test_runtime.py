"""Windows and token counts that a running Byway learns from its backends."""

from __future__ import annotations

from typing import Any

from gateway import Gateway, config
from scripted import Asked, Reply, Scripted, json_reply, llamacpp_overflow


class Server(Scripted):
    """A server with pages of its own: path -> JSON, or status."""

    def __init__(self, pages: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.pages = pages

    def answer(self, call: Asked) -> Reply:
        page = self.pages.get(call.path.partition("?")[0])
        if page is None:
            return super().answer(call)
        self.others.append(call)
        return json_reply(page, {"error": {"message": "no"}}) if isinstance(page, int) else json_reply(200, page)

    def received(self, path: str) -> list[Asked]:
        return [call for call in self.others if call.path.partition("?")[0] == path]


def test_the_window_is_learned_from_a_real_overflow() -> None:
    with (
        Scripted(lambda _: llamacpp_overflow(23016, 8192)) as server,
        Gateway(config(server)) as gateway,
    ):
        assert "max_input_tokens" not in gateway.get("/v1/models/local").json
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
    with Server({path: page}) as server, Gateway(config(server, type="llamacpp")) as gateway:
        answer = gateway.post(ask, "/v1/messages/count_tokens")
        assert (answer.json, answer.headers["x-byway-count"]) == ({"input_tokens": 1234}, "backend")
    with Server({}) as server, Gateway(config(server)) as gateway:
        answer = gateway.post(ask, "/v1/messages/count_tokens")
        assert answer.headers["x-byway-count"] == "estimate" and 5 < answer.json["input_tokens"] < 50
